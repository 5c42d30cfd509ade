"""What ranges and biases become: least squared error, means kept, and lists of layers."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costopt import plugins
from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Arrays, OnnxMethod
from costopt.methods.int8_static import Int8Static
from costopt.records import Spec, Value
from costopt.rounding.ranges import BINS, STEPS, least_error
from tests import onnx_graphs
from tests.onnx_graphs import Held, normal, relative_error, written

MIDDLES = np.linspace(-1, 1, BINS["mse"])
EDGES = np.append(MIDDLES, MIDDLES[-1] + (MIDDLES[1] - MIDDLES[0])) - (MIDDLES[1] - MIDDLES[0]) / 2


def counted(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.histogram(values, EDGES)[0]


def squared_error(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], low: float, high: float) -> float:
    step = (high - low) / STEPS
    zero = np.round(-low / step)
    rounded = (np.clip(np.round(values / step) + zero, 0, STEPS) - zero) * step
    return float(np.sum((values - rounded) ** 2))


@settings(max_examples=25)
@given(spread=st.floats(0.001, 0.3), outliers=st.integers(0, 3), symmetric=st.booleans(), seed=st.integers(0, 99))
def test_least_error_is_never_worse_than_the_whole_range(
    spread: float, outliers: int, symmetric: bool, seed: int
) -> None:
    values = np.random.default_rng(seed).normal(0, spread, 5000).clip(-0.99, 0.99)
    values[:outliers] = 0.95
    centred = MIDDLES[np.digitize(values, EDGES) - 1]
    low, high = float(centred.min()), float(centred.max())
    found = least_error(counted(values), EDGES, low, high, symmetric)
    whole = (-max(-low, high), max(-low, high)) if symmetric else (low, high)
    assert squared_error(centred, *found) <= squared_error(centred, *whole) * (1 + 1e-9)


def test_one_outlier_among_many_small_values_is_cut_and_a_range_of_zeros_and_positives_keeps_its_zero() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(0, 0.01, 1_000_000), [0.9]])
    _, high = least_error(counted(values), EDGES, -0.05, 0.9, False)
    assert high < 0.5
    low, _ = least_error(counted(np.abs(values)), EDGES, 0.0, 0.9, False)
    assert low == 0.0


# ---------------------------------------------------------------------------------------- biases

LAYERS = {
    "MatMul, Add": "(float[N,8] x) => (float[N,4] y) { a = MatMul(x, w)   y = Add(a, b) }",
    "MatMul": "(float[N,8] x) => (float[N,4] y) { y = MatMul(x, w) }",
    "Gemm": "(float[N,8] x) => (float[N,4] y) { y = Gemm(x, w, b) }",
    "Conv": "(float[N,4,64] x) => (float[N,8,62] y) { y = Conv<group=2>(x, k) }",
    "ConvTranspose": "(float[N,8,64] x) => (float[N,4,129] y) { y = ConvTranspose<group=2, strides=[2]>(x, k, b) }",
}
WEIGHTS = {"w": normal(8, 4), "b": normal(4, seed=1), "k": normal(8, 2, 3, seed=2)}


@pytest.mark.parametrize("name", LAYERS)
def test_bias_correction_brings_the_mean_of_each_channel_back(name: str, tmp_path: Path) -> None:
    text = LAYERS[name]
    source = written(tmp_path / "m.onnx", text, {key: one for key, one in WEIGHTS.items() if f" {key}" in text})
    shape = {"Conv": (64, 4, 64), "ConvTranspose": (64, 8, 64)}.get(name, (64, 8))
    data: Arrays = {"x": (normal(*shape, seed=3) + 0.3).astype(np.float32)}
    moved = []
    for correct in (False, True):
        target = tmp_path / f"{correct}.onnx"
        Int8Static(per_channel=False, bias_correction=correct)(source, target, Held(data))
        difference = onnx_graphs.run(target, data)[0] - onnx_graphs.run(source, data)[0]
        moved.append(np.abs(difference.mean(axis=(0, 2) if difference.ndim == 3 else 0)).mean())
    assert moved[1] < 0.5 * moved[0]


# ---------------------------------------------------------------------------------------- which layers

TWO = """(float[N,2,8,8] x) => (float[N,3] y) {
    a = Conv<pads=[1,1,1,1]>(x, w1)   b = Relu(a)   c = Conv(b, w2)   d = Relu(c)   e = GlobalAveragePool(d)
    f = Flatten(e)   y = MatMul(f, w3)
}"""
TWO_WEIGHTS = {"w1": normal(4, 2, 3, 3), "w2": normal(4, 4, 3, 3), "w3": normal(4, 3)}
IMAGES: Arrays = {"x": normal(16, 2, 8, 8)}


def rounded(path: Path) -> list[str]:
    """The types of layers that read rounded values."""
    model = onnx.load(path)
    given_out = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return [one.op_type for one in model.graph.node if one.op_type in ("Conv", "MatMul") and one.input[0] in given_out]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"only": "Conv"}, ["Conv", "Conv"]),
        ({"exclude": "Conv"}, ["MatMul"]),
        ({"exclude": " Conv , MatMul_x"}, None),
        ({"only": "Conv", "exclude": "Conv"}, None),
    ],
)
def test_layers_are_chosen_by_operator_and_what_is_unknown_is_refused(
    options: dict[str, Value], left: list[str] | None, tmp_path: Path
) -> None:
    source, target = written(tmp_path / "m.onnx", TWO, TWO_WEIGHTS), tmp_path / "out.onnx"
    method = plugins.make("methods", Spec("int8_static", options), OnnxMethod)
    if left is None:
        with pytest.raises(CandidateError, match=r"no layer is called 'MatMul_x'|leave no layer to quantise"):
            method(source, target, Held(IMAGES))
    else:
        method(source, target, Held(IMAGES))
        assert rounded(target) == left


def test_an_activation_behind_an_excluded_layer_is_not_rounded_on_its_own(tmp_path: Path) -> None:
    source, target = written(tmp_path / "m.onnx", TWO, TWO_WEIGHTS), tmp_path / "out.onnx"
    Int8Static(only="MatMul")(source, target, Held(IMAGES))
    kinds = [node.op_type for node in onnx.load(target).graph.node]
    assert kinds.count("QuantizeLinear") == 1


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    "options", [{}, {"calibration": "mse"}, {"bias_correction": True}, {"smooth": 0.5}, {"equalize": True}], ids=str
)
def test_constant_calibration_and_layers_that_are_all_zero_do_no_harm(
    options: dict[str, Value], tmp_path: Path
) -> None:
    weights = {**TWO_WEIGHTS, "w2": np.zeros((4, 4, 3, 3), np.float32)}
    source, target = written(tmp_path / "m.onnx", TWO, weights), tmp_path / "out.onnx"
    method = plugins.make("methods", Spec("int8_static", options), OnnxMethod)
    method(source, target, Held({"x": np.zeros((3, 2, 8, 8), np.float32)}))
    (output,) = onnx_graphs.run(target, IMAGES)
    np.testing.assert_allclose(output, 0, atol=1e-6)


def test_weights_with_nan_are_refused_and_the_layer_is_named(tmp_path: Path) -> None:
    weights = {**TWO_WEIGHTS, "w1": np.full((4, 2, 3, 3), np.nan, np.float32)}
    source = written(tmp_path / "m.onnx", TWO, weights)
    with pytest.raises(CandidateError, match=r"the weights of '.*' \(Conv\) hold NaN or infinity"):
        Int8Static()(source, tmp_path / "out.onnx", Held(IMAGES))


def test_options_that_find_nothing_to_do_say_so(tmp_path: Path) -> None:
    text = "(float[N,2,8,8] x) => (float[N,4,6,6] y) { y = Conv(x, w1) }"
    source = written(tmp_path / "m.onnx", text, {"w1": TWO_WEIGHTS["w1"]})
    for method in (Int8Static(smooth=0.5), Int8Static(equalize=True)):
        with pytest.raises(NotApplicable, match=r"^(smooth|equalize): no "):
            method(source, tmp_path / "out.onnx", Held(IMAGES))


@pytest.mark.parametrize("options", [{"smooth": 0.75, "bias_correction": True, "equalize": True}], ids=str)
def test_all_options_together_work_on_layers_with_a_shared_weight(options: dict[str, Value], tmp_path: Path) -> None:
    text = """(float[N,8] x) => (float[N,8] y) {
        a = MatMul(x, w)   b = Relu(a)   c = MatMul(b, w)   d = Relu(c)   e = MatMul(d, v)   f = Relu(e)
        y = MatMul(f, u)
    }"""
    weights = {"w": normal(8, 8) / 3, "v": normal(8, 8, seed=1) / 3, "u": normal(8, 8, seed=2) / 3}
    source, target = written(tmp_path / "m.onnx", text, weights), tmp_path / "out.onnx"
    data: Arrays = {"x": normal(64, 8)}
    plugins.make("methods", Spec("int8_static", options), OnnxMethod)(source, target, Held(data))
    assert relative_error(target, source, data) < 0.05
