"""Padding is cut off inside the graph, outputs stay as they are, and what reads its padding is left alone."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from costopt import graph
from costopt.errors import NotApplicable
from costopt.methods import Arrays
from costopt.methods.trim_padding import TrimPadding
from tests.onnx_graphs import BAG_OF_WORDS, Held, padded, run, word_weights, written

CARELESS = """(int64[N,S] ids, int64[N,S] attention_mask) => (float[N,32] y) {
    x = Gather(table, ids)   h = MatMul(x, w)
    over = Constant<value_ints=[1]>()   y = ReduceSum<keepdims=0>(h, over)
}"""
"""It never looks at its mask."""

BY_TOKEN = "(int64[N,S] ids, int64[N,S] attention_mask) => (float[N,S,32] y) { y = Gather(table, ids) }"


def trimmed(folder: Path, text: str = BAG_OF_WORDS, calibration: Arrays | None = None) -> tuple[Path, Path]:
    source, target = written(folder / "m.onnx", text, word_weights()), folder / "out.onnx"
    TrimPadding()(source, target, Held(calibration or padded(3, 8, 5, 1)))
    return source, target


@pytest.mark.parametrize("lengths", [(3,), (3, 5), (8, 2), (1,), (0,), (0, 0)])
def test_outputs_stay_as_they_are(tmp_path: Path, lengths: tuple[int, ...]) -> None:
    source, target = trimmed(tmp_path)
    given = padded(*lengths)
    np.testing.assert_allclose(run(target, given)[0], run(source, given)[0], rtol=1e-5, atol=1e-6)


def test_no_more_than_the_longest_sequence_is_computed(tmp_path: Path) -> None:
    _, target = trimmed(tmp_path)
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "profile")
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(target, options, providers=["CPUExecutionProvider"])
    session.run(None, padded(3, 5))
    trace = Path(session.end_profiling()).read_text(encoding="utf-8").replace(" ", "")
    assert '"float":[2,5,32]' in trace, "the product gives five places, not eight"
    assert '"float":[2,8,32]' not in trace


def test_a_gap_inside_a_sequence_stays(tmp_path: Path) -> None:
    source, target = trimmed(tmp_path)
    given = padded(6)
    given["attention_mask"][0, 2] = 0
    np.testing.assert_allclose(run(target, given)[0], run(source, given)[0], rtol=1e-5, atol=1e-6)


def test_inputs_and_outputs_are_declared_as_before(tmp_path: Path) -> None:
    source, target = trimmed(tmp_path)
    graph.check(target)
    before, after = graph.describe(source), graph.describe(target)
    assert (after.inputs, after.outputs) == (before.inputs, before.outputs)


def test_a_model_that_reads_its_padding_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="'y' depends on the padding: without it, it differs by"):
        trimmed(tmp_path, CARELESS)
    assert not (tmp_path / "out.onnx").exists()


def test_data_without_padding_on_the_right_gain_nothing(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="none of 2 calibration samples is padded on the right"):
        trimmed(tmp_path, calibration=padded(8, 8))
    left: Arrays = {name: array[:, ::-1].copy() for name, array in padded(3, 4).items()}
    with pytest.raises(NotApplicable, match="none of 2 calibration samples is padded on the right"):
        trimmed(tmp_path, calibration=left)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BY_TOKEN, "'y' has a value for each place of a sequence"),
        (BAG_OF_WORDS.replace("[N,S]", "[N,8]"), "'attention_mask' always has 8 places"),
        ("(int64[N,S] ids) => (float[N,S,32] y) { y = Gather(table, ids) }", "no input is a mask"),
    ],
)
def test_what_it_can_do_nothing_for_is_told_from_the_graph(tmp_path: Path, text: str, reason: str) -> None:
    source = written(tmp_path / "m.onnx", text, word_weights())
    why = TrimPadding().unsuitable(graph.describe(source))
    assert why is not None
    assert reason in why
    with pytest.raises(NotApplicable, match=reason):
        TrimPadding()(source, tmp_path / "out.onnx", Held(padded(3)))
