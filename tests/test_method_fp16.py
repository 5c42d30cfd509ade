"""Conversion to float16: what becomes half as large, and what can't."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from costopt.errors import CandidateError, NotApplicable
from costopt.methods.fp16 import Fp16
from tests import onnx_graphs
from tests.onnx_graphs import Held, normal, relative_error, run, written

NO_DATA = Held({"x": np.zeros((0, 1), np.float32)})
PRODUCT = "(float[N,4] x) => (float[N,2] y) { y = MatMul(x, w) }"


def converted(source: Path) -> Path:
    target = source.with_name("converted.onnx")
    Fp16()(source, target, NO_DATA)
    return target


def test_weights_are_float16_and_the_casts_stand_at_the_ends(tmp_path: Path) -> None:
    target = converted(onnx_graphs.save_mlp(tmp_path / "mlp.onnx"))
    assert {str(array.dtype) for array in onnx_graphs.weights_of(target).values()} == {"float16"}
    order = [node.op_type for node in onnx.load(target).graph.node]
    assert order == ["Cast", "Gemm", "Relu", "Gemm", "Relu", "Gemm", "Cast"]


def test_a_weight_beyond_float16_is_refused_and_named(tmp_path: Path) -> None:
    weights = normal(4, 2)
    weights[1, 1] = -70000
    with pytest.raises(CandidateError, match=r"weight 'w' reaches 7e[+]04; float16 ends at 65504"):
        converted(written(tmp_path / "m.onnx", PRODUCT, {"w": weights}))


def test_the_largest_float16_is_not_refused(tmp_path: Path) -> None:
    weights = np.full((4, 2), 65504, np.float32)
    source = written(tmp_path / "m.onnx", PRODUCT, {"w": weights})
    assert relative_error(converted(source), source, {"x": normal(3, 4) / 100}) < 2e-3


def test_a_constant_that_fills_masks_is_clamped(tmp_path: Path) -> None:
    text = """(float[N,4] x, bool[N,4] mask) => (float[N,4] y) {
        hidden = MatMul(x, w)   filled = Where(mask, hidden, lowest)   y = Softmax<axis=-1>(filled)
    }"""
    lowest = np.array(np.finfo(np.float32).min)
    source = written(tmp_path / "m.onnx", text, {"w": normal(4, 4), "lowest": lowest})
    inputs = {"x": normal(2, 4), "mask": np.array([[True, False, True, True], [True, True, False, False]])}
    target = converted(source)
    assert np.all(run(target, inputs)[0][~inputs["mask"]] == 0)
    assert relative_error(target, source, inputs) < 2e-3


def test_operators_without_a_float16_form_stay_in_float32(tmp_path: Path) -> None:
    text = """(float[N,4] x) => (float[N,4] y) {
        hidden = MatMul(x, w)   axis = Constant<value_int=1>()   y = CumSum(hidden, axis)
    }"""
    source = written(tmp_path / "m.onnx", text, {"w": normal(4, 4)})
    assert relative_error(converted(source), source, {"x": normal(3, 4)}) < 2e-3


@pytest.mark.parametrize("weights", [np.eye(4, 2, dtype=np.float16), np.eye(4, 2)], ids=["float16", "float64"])
def test_a_model_without_float32_weights_is_left_alone(tmp_path: Path, weights: np.ndarray[tuple[int, int]]) -> None:
    kind = {"float16": "float16", "float64": "double"}[str(weights.dtype)]
    source = written(tmp_path / "m.onnx", PRODUCT.replace("float", kind), {"w": weights})
    with pytest.raises(NotApplicable, match="the graph holds no float32 weights"):
        converted(source)


def test_operators_without_a_float16_form_may_share_a_constant(tmp_path: Path) -> None:
    text = """(float[N,4] x) => (float[N,4] y) {
        hidden = MatMul(x, w)   low = Max(hidden, one)   doubled = Add(hidden, hidden)   high = Max(doubled, one)
        y = Add(low, high)
    }"""
    source = written(tmp_path / "m.onnx", text, {"w": normal(4, 4), "one": np.array(1.0, np.float32)})
    assert relative_error(converted(source), source, {"x": normal(3, 4)}) < 2e-3
