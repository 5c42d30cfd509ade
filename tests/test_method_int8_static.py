"""Static quantisation: what is measured on calibration data, and what is rounded by it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import TensorsData

from costopt import graph
from costopt.errors import CandidateError
from costopt.methods import Arrays
from costopt.methods.int8_static import Int8Static
from costopt.rounding.activations import BATCH, batches
from costopt.rounding.ranges import BINS, Ranging
from tests import onnx_graphs
from tests.onnx_graphs import Held, normal, relative_error, written

CONVOLUTIONS = """(float[N,2,8,8] x) => (float[N,4,2,2] y) {
    a = Conv<pads=[1,1,1,1]>(x, w1)   b = Relu(a)   c = MaxPool<kernel_shape=[2,2], strides=[2,2]>(b)
    d = Conv<pads=[1,1,1,1]>(c, w2)   e = Relu(d)   y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(e)
}"""
CONVOLUTION_WEIGHTS = {"w1": normal(4, 2, 3, 3) / 4, "w2": normal(4, 4, 3, 3, seed=1) / 6}

ATTENTION = """(float[N,6,16] x) => (float[N,6,16] y) {
    q = MatMul(x, wq)   k = MatMul(x, wk)   v = MatMul(x, wv)   kt = Transpose<perm=[0,2,1]>(k)
    scores = MatMul(q, kt)   weights = Softmax<axis=-1>(scores)   y = MatMul(weights, v)
}"""
ATTENTION_WEIGHTS = {name: normal(16, 16, seed=seed) / 4 for seed, name in enumerate(("wq", "wk", "wv"))}


@pytest.fixture
def convolutions(tmp_path: Path) -> Path:
    return written(tmp_path / "convolutions.onnx", CONVOLUTIONS, CONVOLUTION_WEIGHTS)


def images(samples: int, seed: int = 0) -> Arrays:
    return {"x": normal(samples, 2, 8, 8, seed=seed)}


def quantised(method: Int8Static, source: Path, data: Arrays) -> Path:
    target = source.with_name("quantised.onnx")
    method(source, target, Held(data))
    return target


def input_scale(path: Path) -> float:
    """The scale by which the graph's input is rounded."""
    model = onnx.load(path)
    (node,) = (node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "x")
    return float(onnx_graphs.weights_of(path)[node.input[1]])


# ---------------------------------------------------------------------------------------- what is read


class Watched:
    """Calibration data that remembers how it was asked."""

    def __init__(self, arrays: Arrays) -> None:
        self.held = Held(arrays)
        self.asked: list[tuple[int, int | None]] = []

    @property
    def samples(self) -> int:
        return self.held.samples

    def batches(self, size: int, limit: int | None = None) -> Iterator[Arrays]:
        self.asked.append((size, limit))
        return self.held.batches(size, limit)


def test_calibration_is_read_once_in_small_batches_up_to_the_limit(convolutions: Path, tmp_path: Path) -> None:
    data = Watched(images(32))
    Int8Static(samples=10)(convolutions, tmp_path / "out.onnx", data)
    assert data.asked == [(BATCH, 10)]


def test_cutting_the_rare_takes_a_second_reading(convolutions: Path, tmp_path: Path) -> None:
    data = Watched(images(32))
    Int8Static(calibration="percentile", samples=10)(convolutions, tmp_path / "out.onnx", data)
    assert data.asked == [(BATCH, 10), (BATCH, 10)]


@given(fixed=st.integers(1, 5), samples=st.integers(1, 12), limit=st.integers(1, 12))
def test_a_model_with_a_fixed_batch_sees_every_sample_in_full_batches(fixed: int, samples: int, limit: int) -> None:
    sizes = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [fixed, 3])
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [sizes], []))
    numbers = np.arange(samples * 3, dtype=np.float32).reshape(samples, 3)
    given_out = [batch["x"] for batch in batches(model, Held({"x": numbers}), limit)]
    assert {batch.shape for batch in given_out} == {(fixed, 3)}
    wanted = {tuple(row) for row in numbers[:limit].tolist()}
    assert {tuple(row) for batch in given_out for row in batch.tolist()} == wanted


def test_a_model_with_a_fixed_batch_is_quantised(tmp_path: Path) -> None:
    source = written(tmp_path / "fixed.onnx", CONVOLUTIONS.replace("N,", "3,"), CONVOLUTION_WEIGHTS)
    assert relative_error(quantised(Int8Static(), source, images(8)), source, images(3)) < 0.05


@pytest.mark.parametrize(("method", "samples"), [(Int8Static(), 0), (Int8Static(samples=0), 8)])
def test_calibration_without_samples_is_refused(method: Int8Static, samples: int, convolutions: Path) -> None:
    with pytest.raises(CandidateError, match=r"of \d calibration samples: ranges can't be measured without one"):
        quantised(method, convolutions, images(samples))


def test_infinite_values_are_refused_and_the_tensor_is_named(tmp_path: Path) -> None:
    text = "(float[N,4] x) => (float[N,2] y) { inverse = Reciprocal(x) y = MatMul(inverse, w) }"
    source = written(tmp_path / "m.onnx", text, {"w": normal(4, 2)})
    with pytest.raises(CandidateError, match=r"calibration saw values from .* to inf in 'inverse'"):
        quantised(Int8Static(), source, {"x": np.zeros((4, 4), np.float32)})


@pytest.mark.parametrize("per_channel", [True, False])
def test_a_graph_of_an_old_operator_set_is_quantised_too(per_channel: bool, tmp_path: Path) -> None:
    source = written(tmp_path / "old.onnx", CONVOLUTIONS, CONVOLUTION_WEIGHTS, opset=9)
    target = quantised(Int8Static(per_channel=per_channel), source, images(8))
    graph.check(target)
    assert relative_error(target, source, images(8)) < 0.05


# ---------------------------------------------------------------------------------------- how ranges are set


def with_outlier(value: float) -> Arrays:
    """Many ordinary images and one value that is not ordinary."""
    data = images(64)
    data["x"][5, 0, 0, 0] = value
    return data


def test_minmax_takes_the_whole_range(convolutions: Path) -> None:
    data = with_outlier(100.0)
    scale = input_scale(quantised(Int8Static(), convolutions, data))
    assert scale == pytest.approx((100 - data["x"].min()) / 255, rel=1e-3)


@pytest.mark.parametrize("calibration", ["percentile", "entropy"])
def test_percentile_and_entropy_cut_an_outlier(
    calibration: Literal["percentile", "entropy"], convolutions: Path
) -> None:
    data = with_outlier(30.0)
    whole = input_scale(quantised(Int8Static(), convolutions, data))
    cut = input_scale(quantised(Int8Static(calibration=calibration, percentile=99.0), convolutions, data))
    assert cut < 0.5 * whole


@pytest.mark.parametrize("calibration", ["percentile", "entropy"])
def test_an_outlier_in_a_late_batch_adds_no_bins(calibration: Literal["percentile", "entropy"]) -> None:
    method, name = Ranging(calibration), "x"
    seen = TensorsData(CalibrationMethod.MinMax, {name: (np.array([-1.0], np.float32), np.array([1e6], np.float32))})
    collector = method.histograms(seen)
    for batch in (normal(1000), np.array([1e6], np.float32)):
        collector.collect({name: [batch]})
    counts = collector.histogram_dict[name][0]
    assert (len(counts), counts.sum()) == (BINS[calibration], 1001)


def test_a_lower_percentile_cuts_more(convolutions: Path) -> None:
    scales = [
        input_scale(quantised(Int8Static(calibration="percentile", percentile=kept), convolutions, images(64)))
        for kept in (90.0, 99.0, 100.0)
    ]
    assert scales == sorted(scales)
    assert scales[0] < 0.8 * scales[2]


def test_a_percentile_beyond_a_hundred_is_refused(convolutions: Path) -> None:
    with pytest.raises(CandidateError, match="calibration failed: Invalid percentile"):
        quantised(Int8Static(calibration="percentile", percentile=101.0), convolutions, images(4))


# ---------------------------------------------------------------------------------------- what is rounded, and to what


@pytest.mark.parametrize(("activations", "weights"), [("uint8", "int8"), ("int8", "int8"), ("uint8", "uint8")], ids=str)
def test_activations_and_weights_have_the_types_asked_for(
    activations: Literal["uint8", "int8"], weights: Literal["uint8", "int8"], convolutions: Path
) -> None:
    target = quantised(Int8Static(activations=activations, weights=weights), convolutions, images(32))
    model, held = onnx.load(target), onnx_graphs.weights_of(target)
    zero_points = [held[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {str(one.dtype) for one in zero_points} == {activations}
    assert {str(array.dtype) for array in held.values() if array.ndim == 4} == {weights}
    assert relative_error(target, convolutions, images(8)) < 0.05


def test_signed_activations_are_symmetric(convolutions: Path) -> None:
    target = quantised(Int8Static(activations="int8"), convolutions, with_outlier(10.0))
    held = onnx_graphs.weights_of(target)
    zero_points = [held[node.input[2]] for node in onnx.load(target).graph.node if node.op_type == "QuantizeLinear"]
    assert not np.any(zero_points)


def scales_of_weights(path: Path) -> set[int]:
    """How many scales the 4-dimensional weights have."""
    held = onnx_graphs.weights_of(path)
    nodes = [
        node for node in onnx.load(path).graph.node if node.op_type == "DequantizeLinear" and node.input[0] in held
    ]
    return {held[node.input[1]].size for node in nodes if held[node.input[0]].ndim == 4}


def test_weights_have_one_scale_a_channel_or_one_in_all(convolutions: Path) -> None:
    assert scales_of_weights(quantised(Int8Static(), convolutions, images(8))) == {4}
    assert scales_of_weights(quantised(Int8Static(per_channel=False), convolutions, images(8))) == {1}


def reads_floats(path: Path, operator: str) -> list[bool]:
    """Of each node of a type, whether none of its inputs is rounded."""
    model = onnx.load(path)
    rounded = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return [rounded.isdisjoint(node.input) for node in model.graph.node if node.op_type == operator]


def test_products_of_activations_and_softmax_stay_in_float(tmp_path: Path) -> None:
    source = written(tmp_path / "attention.onnx", ATTENTION, ATTENTION_WEIGHTS)
    target = quantised(Int8Static(), source, {"x": normal(16, 6, 16)})
    assert sorted(reads_floats(target, "MatMul")) == [False, False, False, True, True]
    assert reads_floats(target, "Softmax") == [True]


def test_a_relu_between_convolutions_costs_nothing_and_pooling_works_on_8_bits(convolutions: Path) -> None:
    target = quantised(Int8Static(), convolutions, images(32))
    assert "Relu" not in onnx_graphs.operators(target)
    assert reads_floats(target, "MaxPool") == [False]
