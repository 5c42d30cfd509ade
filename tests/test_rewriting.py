"""ONNX graphs made ready for other people's tools: nothing is lost on the way, and nothing leaks out of the tools."""

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt import rewriting
from costopt.errors import CandidateError, NotApplicable
from tests import onnx_graphs
from tests.onnx_graphs import normal, relative_error, written

INNER, OUTER = 3, 5


# ---------------------------------------------------------------------------------------- Gemm is MatMul and Add


@given(
    alpha=st.sampled_from([1.0, 0.5]),
    beta=st.sampled_from([1.0, 2.0]),
    transposed_input=st.booleans(),
    transposed_weight=st.booleans(),
    bias=st.sampled_from([None, (), (OUTER,), (1, OUTER), (INNER, OUTER)]),
)
def test_a_gemm_means_the_same_however_it_is_written(
    tmp_path_factory: pytest.TempPathFactory,
    alpha: float,
    beta: float,
    transposed_input: bool,
    transposed_weight: bool,
    bias: tuple[int, ...] | None,
) -> None:
    folder = tmp_path_factory.mktemp("gemm")
    options = f"alpha={alpha}, beta={beta}, transA={int(transposed_input)}, transB={int(transposed_weight)}"
    inputs = "x, w" if bias is None else "x, w, b"
    weights = {"w": normal(OUTER, INNER) if transposed_weight else normal(INNER, OUTER)}
    weights |= {} if bias is None else {"b": normal(*bias, seed=1)}
    text = f"(float[{INNER},{INNER}] x) => (float[{INNER},{OUTER}] y) {{ y = Gemm<{options}>({inputs}) }}"
    source = written(folder / "gemm.onnx", text, weights)
    model = rewriting.read(source)
    rewriting.gemms_as_matmuls(model)
    rewriting.write(model, folder / "matmul.onnx")
    onnx.checker.check_model(str(folder / "matmul.onnx"))
    plain = alpha == beta == 1.0 and not transposed_input
    assert ("Gemm" not in onnx_graphs.operators(folder / "matmul.onnx")) == plain
    assert relative_error(folder / "matmul.onnx", source, {"x": normal(INNER, INNER, seed=2)}) < 1e-5


def test_a_weight_that_two_gemms_and_an_addition_share_is_not_lost(tmp_path: Path) -> None:
    text = "(float[4,4] x) => (float[4,4] y) { a = Gemm<transB=1>(x, w) b = Gemm<transB=1>(a, w) y = Add(b, w) }"
    source = written(tmp_path / "shared.onnx", text, {"w": normal(4, 4)})
    model = rewriting.read(source)
    rewriting.gemms_as_matmuls(model)
    rewriting.write(model, tmp_path / "matmul.onnx")
    assert set(onnx_graphs.weights_of(tmp_path / "matmul.onnx")) == {"w", "w_transposed"}
    assert relative_error(tmp_path / "matmul.onnx", source, {"x": normal(4, 4, seed=1)}) < 1e-5


def test_a_weight_that_nothing_reads_any_more_is_dropped(tmp_path: Path) -> None:
    source = written(
        tmp_path / "m.onnx", "(float[N,3] x) => (float[N,5] y) { y = Gemm<transB=1>(x, w) }", {"w": normal(5, 3)}
    )
    model = rewriting.read(source)
    rewriting.gemms_as_matmuls(model)
    assert [tensor.name for tensor in model.graph.initializer] == ["w_transposed"]


# ---------------------------------------------------------------------------------------- made ready


def test_constants_are_folded_and_every_shape_is_known(tmp_path: Path) -> None:
    text = """(float[N,4] x) => (float[N,2] y) {
        moved = Transpose<perm=[1,0]>(w)   product = MatMul(x, moved)   y = Relu(product)
    }"""
    model = rewriting.prepared(written(tmp_path / "m.onnx", text, {"w": normal(2, 4)}))
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Relu"]
    assert rewriting.weighted_nodes(model, {"MatMul"}) == 1
    assert "product" in {value.name for value in model.graph.value_info}


def test_nodes_without_names_get_names_of_their_own(tmp_path: Path) -> None:
    text = "(float[N,4] x) => (float[N,4] y) { a = MatMul(x, w) y = MatMul(a, w) }"
    model = rewriting.prepared(written(tmp_path / "m.onnx", text, {"w": normal(4, 4)}))
    names = [node.name for node in model.graph.node]
    assert len(set(names) - {""}) == 2


def test_weights_that_old_files_list_as_inputs_become_weights_alone(tmp_path: Path) -> None:
    model = onnx.load(
        written(tmp_path / "new.onnx", "(float[N,4] x) => (float[N,2] y) { y = MatMul(x, w) }", {"w": normal(4, 2)})
    )
    model.graph.input.append(onnx.helper.make_tensor_value_info("w", onnx.TensorProto.FLOAT, [4, 2]))
    model.ir_version = 3
    model.opset_import[0].version = 8
    onnx.save(model, tmp_path / "old.onnx")
    ready = rewriting.prepared(tmp_path / "old.onnx")
    assert [value.name for value in ready.graph.input] == ["x"]
    rewriting.write(ready, tmp_path / "ready.onnx")
    assert relative_error(tmp_path / "ready.onnx", tmp_path / "old.onnx", {"x": normal(3, 4)}) < 1e-6


def test_a_quantised_model_is_not_treated_again(tmp_path: Path) -> None:
    text = """(float[N,4] x) => (float[N,4] y) {
        scale = Constant<value_float=0.1>()   q = QuantizeLinear(x, scale)   y = DequantizeLinear(q, scale)
    }"""
    with pytest.raises(NotApplicable, match="quantised already: it holds DequantizeLinear, QuantizeLinear"):
        rewriting.prepared(written(tmp_path / "m.onnx", text, {}))


def test_half_precision_is_not_widened(tmp_path: Path) -> None:
    text = "(float16[N,4] x) => (float16[N,2] y) { y = MatMul(x, w) }"
    model = rewriting.prepared(written(tmp_path / "m.onnx", text, {"w": normal(4, 2).astype(np.float16)}))
    assert [node.op_type for node in model.graph.node] == ["MatMul"]


def test_a_model_too_large_for_one_file_keeps_its_weights_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = onnx_graphs.save_mlp(tmp_path / "in.onnx")
    monkeypatch.setattr(rewriting, "SINGLE_FILE_BYTES", 1000)
    model, target = rewriting.prepared(source), tmp_path / "out" / "model.onnx"
    before = model.SerializeToString()
    target.parent.mkdir()
    rewriting.write(model, target)
    assert model.SerializeToString() == before
    assert sorted(path.name for path in target.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert relative_error(target, source, {"x": normal(3, 32)}) < 1e-6


def test_an_old_operator_set_is_raised_and_a_new_one_left_alone(tmp_path: Path) -> None:
    text = "(float[N,4] x) => (float[N,4] y) { y = Softmax<axis=1>(x) }"
    for opset, expected in ((9, 13), (17, 17)):
        source = written(tmp_path / f"{opset}.onnx", text, {}, opset)
        model = rewriting.with_opset(rewriting.read(source), 13)
        assert [one.version for one in model.opset_import] == [expected]
        rewriting.write(model, tmp_path / "out.onnx")
        assert relative_error(tmp_path / "out.onnx", source, {"x": normal(3, 4)}) < 1e-6


# ---------------------------------------------------------------------------------------- tools at work


def test_what_a_tool_prints_and_logs_stays_inside(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    with rewriting.third_party("the tool"):
        print("progress")
        logging.basicConfig(level=logging.DEBUG)
        logging.info("more progress")
    assert capfd.readouterr() == ("", "")
    assert (root.level, list(root.handlers)) == before


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (ValueError("two\n  lines"), "the tool failed: two lines"),
        (AssertionError(), "the tool failed: AssertionError"),
        (RuntimeError("x" * 1000), f"the tool failed: {'x' * 300}"),
    ],
)
def test_what_a_tool_raises_becomes_one_line(problem: Exception, words: str) -> None:
    with pytest.raises(CandidateError) as raised, rewriting.third_party("the tool"):
        raise problem
    assert (raised.value.stage, raised.value.reason) == ("compress", words)


def test_a_weight_that_two_products_share_is_stored_once_in_blocks(tmp_path: Path) -> None:
    text = "(float[N,64] x) => (float[N,64] y) { a = MatMul(x, w) y = MatMul(a, w) }"
    source = written(tmp_path / "m.onnx", text, {"w": normal(64, 64) / 8})
    model = rewriting.with_weights_in_blocks(rewriting.prepared(source), 8, 32, True, True)
    names = [tensor.name for tensor in model.graph.initializer]
    assert len(names) == len(set(names)) == 2
    rewriting.write(model, tmp_path / "blocks.onnx")
    assert relative_error(tmp_path / "blocks.onnx", source, {"x": normal(3, 64)}) < 0.02
