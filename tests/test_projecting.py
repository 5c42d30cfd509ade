"""What models ask, what a machine's rates make of it, and what a calibration file is believed: counted by hand."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.errors import CandidateError, UsageError
from costopt.projecting import calibration, calibration_words, counting, fitting, hardware, roofline
from costopt.projecting.calibration import Calibration
from costopt.projecting.fitting import COLUMNS, accuracy, demand, fitted, predicted_s
from costopt.projecting.references import references
from costopt.projecting.work import Work, unknown
from costopt.records import Machine
from tests.onnx_graphs import normal, written

# ---------------------------------------------------------------------------------------- counting


def one(path: Path, text: str, weights: Mapping[str, object], sizes: Mapping[str, int] | None = None) -> Work:
    file = written(path, text, {name: np.asarray(value) for name, value in weights.items()})
    works = [work for work in counting.of_file(file, sizes or {}) if work.kind != "free"]
    assert len(works) == 1
    return works[0]


def test_a_product_is_two_operations_for_each_weight_and_row(tmp_path: Path) -> None:
    text = "(float[N,8] x) => (float[N,4] y) { y = MatMul(x, w) }"
    work = one(tmp_path / "m.onnx", text, {"w": normal(8, 4)}, {"N": 3})
    assert (work.kind, work.precision, work.operations) == ("matmul", "fp32", 2 * 3 * 8 * 4)
    assert (work.weight_bytes, work.read_bytes, work.written_bytes) == (8 * 4 * 4, 3 * 8 * 4, 3 * 4 * 4)
    assert work.intensity == pytest.approx(192 / 272)


def test_a_convolution_counts_its_window_and_its_groups_and_a_fused_relu_costs_nothing(tmp_path: Path) -> None:
    text = "(float[1,4,6,6] x) => (float[1,8,6,6] y) { z = Conv <pads=[1,1,1,1], group=2> (x, w) y = Relu(z) }"
    work = one(tmp_path / "c.onnx", text, {"w": normal(8, 2, 3, 3)})
    assert work.operations == 2 * (8 * 36) * (2 * 9)
    assert (work.kind, work.written_bytes) == ("conv", 8 * 36 * 4)


def test_whole_blocks_of_16_channels_are_what_a_convolution_is_timed_by(tmp_path: Path) -> None:
    text = "(float[1,24,6,6] x) => (float[1,24,6,6] y) { y = Conv <pads=[1,1,1,1]> (x, w) }"
    work = one(tmp_path / "c.onnx", text, {"w": normal(24, 24, 3, 3)})
    assert work.rounded / work.operations == pytest.approx((32 / 24) ** 2)


def test_a_depthwise_convolution_is_a_class_of_its_own(tmp_path: Path) -> None:
    text = "(float[1,16,6,6] x) => (float[1,16,6,6] y) { y = Conv <pads=[1,1,1,1], group=16> (x, w) }"
    work = one(tmp_path / "c.onnx", text, {"w": normal(16, 1, 3, 3)})
    assert (work.kind, work.operations, work.rounded) == ("depthwise", 2 * 16 * 36 * 9, 2 * 16 * 36 * 9)


def test_a_gather_reads_the_rows_that_it_takes_and_not_the_table(tmp_path: Path) -> None:
    text = "(int64[3] x) => (float[3,8] y) { y = Gather(w, x) }"
    work = one(tmp_path / "g.onnx", text, {"w": normal(1000, 8)})
    assert (work.weight_bytes, work.written_bytes) == (3 * 8 * 4, 3 * 8 * 4)


def test_rows_are_counted_where_each_has_a_start_of_its_own(tmp_path: Path) -> None:
    text = "(float[2,5,8] x) => (float[2,5,8] y) { y = Softmax <axis=-1> (x) }"
    work = one(tmp_path / "s.onnx", text, {})
    assert (work.kind, work.rows) == ("rowwise", 10)


def test_an_operator_that_is_not_known_is_named_and_counted(tmp_path: Path) -> None:
    text = "(float[2,3] x) => (float[2,2] y) { z = MatMul(x, w) y = Hardmax(z) }"
    file = written(tmp_path / "u.onnx", text, {"w": normal(3, 2)})
    assert unknown(counting.of_file(file, {})) == {"Hardmax": 1}


def test_an_axis_without_a_size_is_named(tmp_path: Path) -> None:
    file = written(tmp_path / "m.onnx", "(float[N,8] x) => (float[N,4] y) { y = MatMul(x, w) }", {"w": normal(8, 4)})
    with pytest.raises(CandidateError, match="axis 'N' of input 'x' has no size"):
        counting.of_file(file, {})


def test_every_reference_graph_is_valid_and_all_its_nodes_are_known(tmp_path: Path) -> None:
    seen: set[str] = set()
    for number, (_, make) in enumerate(references()):
        if number % 6 == 0:  # a sixth of all, of each kind some
            onnx.save(make(), tmp_path / "r.onnx")
            works = counting.of_file(tmp_path / "r.onnx", {})
            assert unknown(works) == {}
            seen |= {work.kind for work in works}
    assert {"conv", "depthwise", "matmul", "light", "heavy", "quantize"} <= seen


# ---------------------------------------------------------------------------------------- fitting

RATES = st.fixed_dictionaries({name: st.floats(1e-12, 1e-9) for name in COLUMNS})
AMOUNTS = st.fixed_dictionaries({name: st.floats(0, 1e6) for name in COLUMNS})


@given(RATES, AMOUNTS, st.sampled_from(tuple(COLUMNS)), st.floats(0, 1e6))
def test_more_work_never_takes_less_time(
    rates: dict[str, float], asked: dict[str, float], column: str, more: float
) -> None:
    assert predicted_s(rates, {**asked, column: asked[column] + more}) >= predicted_s(rates, asked)


def test_rates_that_made_the_times_are_found_again() -> None:
    chance = np.random.default_rng(1)
    asked = [dict(zip(COLUMNS, row, strict=True)) for row in chance.random((60, len(COLUMNS))) * 1e6]
    true = dict(zip(COLUMNS, chance.random(len(COLUMNS)) * 1e-9, strict=True))
    found = fitted(asked, [predicted_s(true, each) for each in asked])
    assert found == pytest.approx(true, rel=1e-6)


@given(st.lists(st.floats(1e-6, 1.0), min_size=3, max_size=12), st.integers(0, 99))
def test_no_rate_is_negative_and_times_twice_as_long_double_all(seconds: list[float], seed: int) -> None:
    amounts = np.random.default_rng(seed).random((len(seconds), len(COLUMNS)))
    asked = [dict(zip(COLUMNS, row, strict=True)) for row in amounts]
    once, twice = fitted(asked, seconds), fitted(asked, [2 * second for second in seconds])
    assert min(once.values()) >= 0
    for each in asked:
        assert predicted_s(twice, each) == pytest.approx(2 * predicted_s(once, each), rel=1e-6)


@pytest.mark.parametrize("seconds", [[], [0.0], [-1.0]])
def test_no_time_or_one_that_is_not_above_zero_is_refused(seconds: list[float]) -> None:
    with pytest.raises(ValueError, match="times above zero"):
        fitted([dict.fromkeys(COLUMNS, 1.0)] * len(seconds), seconds)


def test_weights_that_no_cache_holds_come_from_memory() -> None:
    def asked(weight_bytes: float) -> fitting.Demand:
        return demand([Work("n", "Gemm", "matmul", "fp32", 1.0, 1.0, weight_bytes)], 1000)

    assert asked(400)["weights_streamed"] == 0
    assert asked(4000)["weights_streamed"] == 4000
    assert 0 < asked(1000)["weights_streamed"] < 1000
    assert asked(1000)["weights_streamed"] + asked(1000)["weights_cached"] == pytest.approx(1000)


def test_the_accuracy_is_the_median_and_worst_error_and_the_share_of_pairs_in_order() -> None:
    found = accuracy([1.1, 1.8, 5.0], [1.0, 2.0, 4.0])
    assert found.models == 3
    assert (found.median, found.worst) == pytest.approx((0.1, 0.25))
    assert found.ordered == 1
    assert accuracy([3.0, 2.0, 5.0], [1.0, 2.0, 4.0]).ordered == pytest.approx(2 / 3)


# ---------------------------------------------------------------------------------------- the file

HERE = Machine("AMD EPYC", 2, 2**33, "Linux", ("avx2",))
KNOWN = Calibration(
    1, "0.1.0", "1.31.1", "2026-11-22T00:00:00+00:00", HERE, "aws/c7a.large", "cpu", 2, 2**25,
    {**dict.fromkeys(COLUMNS, 1e-9), "call": 5e-6, "pool": 0.0}, {"conv": 0.1, "gemm": -0.2},
)  # fmt: skip


def test_a_calibration_comes_home_as_it_was_written(tmp_path: Path) -> None:
    calibration.write(KNOWN, tmp_path / "c.json")
    assert replace(calibration.read(tmp_path / "c.json"), digest="") == KNOWN
    assert list(tmp_path.iterdir()) == [tmp_path / "c.json"]


def test_it_is_shown_in_units_that_people_know() -> None:
    words = "\n".join(calibration_words.lines(KNOWN))
    assert "aws/c7a.large (AMD EPYC), 2 threads, provider cpu, ONNX Runtime 1.31.1" in words
    assert "fitted to 2 reference graphs: median error 15 %, worst 20 %" in words
    assert "overhead: 5.0 us a call" in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "its schema is 2, this costopt reads 1"),
        ({"rates": {**KNOWN.rates, "node": -1e-9}}, "the rate of node is -1e-09, and must lie between 0 and 1 s"),
        ({"rates": {"call": 1e-6}}, "it was made by costopt 0.1.0, whose rates are others"),
        ({"threads": 0}, "threads and cache_bytes must be above 0"),
        ({"instance": "aws/c7g.large"}, "its figures were changed after they were measured"),
        ({"rates": {**KNOWN.rates, "node": 2e-9}}, "its figures were changed after they were measured"),
        ({"machine": 3}, "is no calibration, cut short, or of another version of costopt (at 'machine')"),
    ],
)
def test_a_file_that_cannot_be_believed_is_refused_with_the_reason(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    path = tmp_path / "c.json"
    calibration.write(KNOWN, path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError) as refused:
        calibration.read(path)
    assert words in str(refused.value)
    assert str(refused.value).endswith("run `costopt calibrate` on that machine again")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', "\x00\xff"])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(UsageError, match="is no calibration, cut short"):
        calibration.read(tmp_path / "c.json")
    with pytest.raises(UsageError, match="can't read the calibration"):
        calibration.read(tmp_path)


# ---------------------------------------------------------------------------------------- rooflines

T4, H100 = hardware.chips()["NVIDIA T4"], hardware.chips()["NVIDIA H100 SXM"]
GENOA, GRAVITON = hardware.chips()["EPYC Genoa core"], hardware.chips()["Graviton3 core"]
DENSE = Work("n", "MatMul", "matmul", "fp32", 8.1e9, 8.1e9)
MOVED = Work("n", "Add", "light", "fp32", 1.0, 1.0, read_bytes=2e8, written_bytes=1e8)


def test_a_roofline_is_the_longer_of_computing_and_moving() -> None:
    assert roofline.roofline_s([DENSE], T4) == pytest.approx(1e-3)  # 8.1 Gop at 8.1 Top/s
    assert roofline.roofline_s([MOVED], T4) == pytest.approx(1e-3)  # 300 MB at 300 GB/s
    assert roofline.roofline_s([DENSE, MOVED], T4) == pytest.approx(2e-3)


def test_an_accelerator_reaches_a_share_of_it_and_pays_for_each_launch() -> None:
    view = Work("v", "Reshape", "free", "fp32")
    assert roofline.accelerated_s([DENSE, view], T4) == pytest.approx(1e-3 / 0.5 + 7.5e-6)
    assert roofline.accelerated_s([DENSE, view], H100) == pytest.approx(8.1e9 / 66.9e12 / 0.75 + 7.5e-6)


def test_other_cores_are_projected_in_proportion_and_overheads_stay() -> None:
    overhead_s = roofline.CALL_S + roofline.NODE_S
    same = roofline.other_core_s([DENSE], 0.1, GENOA, GENOA, 1.0)
    assert same == pytest.approx(0.1)
    slower = roofline.other_core_s([DENSE], 0.1, GENOA, GRAVITON, 1.0)
    assert slower == pytest.approx(overhead_s + (0.1 - overhead_s) * 0.118 / 0.0832)
    assert roofline.other_core_s([DENSE], 1e-6, GENOA, GRAVITON, 1.0) == pytest.approx(1e-6)


def test_8_bits_are_never_projected_to_gain_more_than_float32_does() -> None:
    narrow = replace(DENSE, precision="int8")
    amx = hardware.chips()["Sapphire Rapids core"]
    gained = roofline.other_core_s([narrow], 0.1, GENOA, amx, 1.0)
    assert gained == pytest.approx(roofline.other_core_s([DENSE], 0.1, GENOA, amx, 1.0))
