"""Scaling channels (smoothing, equalisation) changes no output, and does even out what it is for."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Arrays
from costopt.rounding import equalization, smoothing
from costopt.rounding.activations import flowing
from costopt.rounding.equalization import equalised
from costopt.rounding.layers import Weights, largest, layers, scaled
from costopt.rounding.smoothing import smoothed
from tests.onnx_graphs import normal, relative_error, written

NORMALISED = """(float[N,5,8] x) => (float[N,5,4] y) {
    n = LayerNormalization(x, gamma, beta)   a = MatMul(n, w1)   b = MatMul(n, w2)   s = Add(a, b)
    g = Gelu(s)   y = MatMul(g, w3)
}"""
CHAIN = """(float[N,2,8,8] x) => (float[N,6] y) {
    a = Conv<pads=[1,1,1,1]>(x, w1, b1)   b = Relu(a)   c = MaxPool<kernel_shape=[2,2], strides=[2,2]>(b)
    d = Conv<pads=[1,1,1,1], group=2>(c, w2, b2)   e = LeakyRelu(d)
    f = ConvTranspose<group=3>(e, w3)   g = Relu(f)   h = Conv(g, w4)   i = GlobalAveragePool(h)   y = Flatten(i)
}"""
CHAIN_WEIGHTS = {
    "w1": normal(4, 2, 3, 3), "b1": normal(4), "w2": normal(6, 2, 3, 3, seed=1), "b2": normal(6, seed=2),
    "w3": normal(6, 2, 2, 2, seed=3), "w4": normal(6, 6, 1, 1, seed=4),
}  # fmt: skip


def normalised(path: Path) -> Path:
    gamma = np.array([1, 1, 50, 1, 1, 0, 1, 1], np.float32)
    weights = {"gamma": gamma, "beta": normal(8), "w1": normal(8, 6), "w2": normal(8, 6, seed=1)}
    return written(path, NORMALISED, {**weights, "w3": normal(6, 4, seed=2)})


def saved(model: onnx.ModelProto, path: Path) -> Path:
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


X: Arrays = {"x": normal(16, 5, 8, seed=7)}
IMAGES: Arrays = {"x": normal(8, 2, 8, 8, seed=7)}


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def unevenness(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> float:
    """The largest channel over the median one."""
    peaks = np.abs(array.astype(np.float32)).reshape(-1, array.shape[-1]).max(axis=0)
    return float(peaks.max() / np.median(peaks))


# ---------------------------------------------------------------------------------------- smoothing


@pytest.mark.parametrize("alpha", [0.3, 0.75, 1.0])
def test_smoothing_changes_no_output_even_where_a_channel_is_always_zero(alpha: float, tmp_path: Path) -> None:
    source = normalised(tmp_path / "m.onnx")
    made = saved(smoothed(onnx.load(source), [X], alpha), tmp_path / "smoothed.onnx")
    assert relative_error(made, source, {"x": normal(4, 5, 8, seed=9)}) < 1e-5


def test_what_a_normalisation_gives_is_divided_by_its_own_constants_and_what_a_function_gives_by_a_node(
    tmp_path: Path,
) -> None:
    made = smoothed(onnx.load(normalised(tmp_path / "m.onnx")), [X], 0.75)
    assert operators(made) == ["LayerNormalization", "MatMul", "MatMul", "Add", "Gelu", "Mul", "MatMul"]


def test_a_normalisation_that_the_residual_reads_too_is_left_alone(tmp_path: Path) -> None:
    text = """(float[N,8] x) => (float[N,8] y) {
        n = LayerNormalization(x, gamma)   a = MatMul(n, w)   y = Add(a, n)
    }"""
    source = written(tmp_path / "m.onnx", text, {"gamma": normal(8), "w": normal(8, 8)})
    data: Arrays = {"x": normal(16, 8)}
    made = saved(smoothed(onnx.load(source), [data], 0.5), tmp_path / "smoothed.onnx")
    assert operators(onnx.load(made)) == ["LayerNormalization", "Mul", "MatMul", "Add"]
    assert relative_error(made, source, data) < 1e-5


def test_smoothing_evens_out_an_outlier_channel(tmp_path: Path) -> None:
    model = onnx.load(normalised(tmp_path / "m.onnx"))
    (before,) = flowing(model, ["n"], [X])
    (after,) = flowing(smoothed(model, [X], 0.75), ["n"], [X])
    assert unevenness(before["n"]) > 20
    assert unevenness(after["n"]) < 5


def test_a_weight_that_two_products_share_is_not_scaled(tmp_path: Path) -> None:
    text = "(float[N,8] x) => (float[N,8] y) { a = MatMul(x, w)   b = Relu(a)   y = MatMul(b, w) }"
    source = written(tmp_path / "m.onnx", text, {"w": normal(8, 8)})
    with pytest.raises(NotApplicable, match="weights of its own"):
        smoothed(onnx.load(source), [{"x": normal(4, 8)}], 0.5)


@pytest.mark.parametrize("alpha", [0.0, 1.5, -1.0, float("nan")])
def test_a_strength_that_is_no_share_is_refused(alpha: float, tmp_path: Path) -> None:
    with pytest.raises(CandidateError, match=r"smooth: .* is not above 0 and up to 1"):
        smoothed(onnx.load(normalised(tmp_path / "m.onnx")), [X], alpha)


positive = st.floats(1e-3, 1e3).map(np.float32)


@given(activation=positive, weight=positive)
def test_half_strength_makes_activation_and_weight_equally_large(activation: np.float32, weight: np.float32) -> None:
    (factor,) = smoothing.factors_of(np.array([activation]), np.array([weight]), 0.5)
    assert activation / factor == pytest.approx(weight * factor, rel=1e-4)


# ---------------------------------------------------------------------------------------- equalisation


def test_equalisation_changes_no_output_of_plain_grouped_and_transposed_convolutions(tmp_path: Path) -> None:
    source = written(tmp_path / "m.onnx", CHAIN, CHAIN_WEIGHTS)
    made = saved(equalised(onnx.load(source)), tmp_path / "equal.onnx")
    assert relative_error(made, source, IMAGES) < 1e-5


def test_after_equalisation_both_layers_weights_are_equally_large_in_each_channel(tmp_path: Path) -> None:
    made = equalised(onnx.load(written(tmp_path / "m.onnx", CHAIN, CHAIN_WEIGHTS)))
    weights, found = Weights(made), list(equalization.pairs(made))
    assert len(found) == 3
    for first, second in found:
        before = largest(first, weights[first.weight], first.axis_out)
        after = largest(second, weights[second.weight], second.axis_in)
        np.testing.assert_allclose(before, after, rtol=5e-3)


def test_a_dead_channel_keeps_its_weights_as_they_are() -> None:
    zero, one = np.array([0.0, 4.0], np.float32), np.array([2.0, 1.0], np.float32)
    assert equalization.factors_of(zero, one).tolist() == [1.0, 2.0]


def test_layers_whose_output_others_read_too_are_no_pair(tmp_path: Path) -> None:
    text = "(float[N,8] x) => (float[N,8] y) { a = MatMul(x, w1)   b = MatMul(a, w2)   y = Add(a, b) }"
    source = written(tmp_path / "m.onnx", text, {"w1": normal(8, 8), "w2": normal(8, 8)})
    with pytest.raises(NotApplicable, match="equalize: no layer is read by one other layer alone"):
        equalised(onnx.load(source))


@settings(max_examples=30)
@given(groups=st.integers(1, 3), inside=st.integers(1, 3), outside=st.integers(1, 3), transposed=st.booleans())
def test_scaling_an_axis_scales_its_largest_weights(groups: int, inside: int, outside: int, transposed: bool) -> None:
    kind = "ConvTranspose" if transposed else "Conv"
    shape = (groups * inside, outside, 2) if transposed else (groups * outside, inside, 2)
    node = onnx.helper.make_node(kind, ["x", "w"], ["y"], "n", group=groups)
    weight = normal(*shape)
    graph = onnx.helper.make_graph([node], "g", [], [], [onnx.numpy_helper.from_array(weight, "w")])
    (layer,) = layers(onnx.helper.make_model(graph))
    for axis, channels in ((layer.axis_in, groups * inside), (layer.axis_out, groups * outside)):
        factors = np.arange(1, channels + 1, dtype=np.float32)
        after = largest(layer, scaled(layer, weight, axis, factors), axis)
        np.testing.assert_allclose(after, factors * largest(layer, weight, axis), rtol=1e-6)
