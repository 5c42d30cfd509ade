"""Which layers are quantised: those that save most time for least error."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Arrays
from costopt.methods.mixed_precision import MixedPrecision, worth_it
from costopt.rounding.activations import batches
from costopt.rounding.layer_times import operations, saved_ms
from costopt.rounding.layers import layers
from costopt.rounding.qdq import Rounding, ranged, ready, rounded_layers
from costopt.rounding.ranges import Ranging
from costopt.rounding.rounding_errors import errors
from tests import onnx_graphs
from tests.onnx_graphs import Held, normal, written

TWO = "(float[N,64] x) => (float[N,64] y) { a = MatMul(x, even)   b = Relu(a)   y = MatMul(b, uneven) }"


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """The second layer reads a few channels that are a thousand times larger than the others, and hardly uses them."""
    even, uneven = normal(64, 64), normal(64, 64, seed=1)
    even[:, :2] *= 1000
    uneven[:2] /= 1000
    return written(tmp_path / "two.onnx", TWO, {"even": even, "uneven": uneven})


DATA: Arrays = {"x": normal(32, 64, seed=5)}


def quantised_layers(path: Path) -> set[str]:
    model = onnx.load(path)
    rounded = {name for node in model.graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return {node.output[0] for node in model.graph.node if node.op_type == "MatMul" and node.input[0] in rounded}


def test_the_layer_that_hurts_more_for_the_same_work_is_the_one_left_in_float(two: Path, tmp_path: Path) -> None:
    target = tmp_path / "mixed.onnx"
    MixedPrecision(quantized=0.5, by="operations")(two, target, Held(DATA))
    assert quantised_layers(target) == {"a"}


def test_errors_are_those_of_models_with_that_layer_alone_quantised(two: Path, tmp_path: Path) -> None:
    model, rounding = ready(two), Rounding()
    ranges = Ranging().measured(model, ranged(model), lambda: batches(model, Held(DATA), 32))
    found = errors(model, rounded_layers(model, rounding.quantised(model, ranges)), [DATA])
    names = [layer.node.name for layer in layers(model)]
    for name in names:
        alone = tmp_path / "alone.onnx"
        onnx.save(rounding.quantised(model, ranges, [other for other in names if other != name]), alone)
        assert found[name] == pytest.approx(onnx_graphs.relative_error(alone, two, DATA) ** 2, rel=0.1)


def test_each_layer_s_time_is_measured_and_alike_layers_take_alike(two: Path) -> None:
    model, rounding = ready(two), Rounding()
    ranges = Ranging().measured(model, ranged(model), lambda: batches(model, Held(DATA), 32))
    saved = saved_ms(model, layers(model), rounding, ranges, [DATA])
    assert len(saved) == 2
    assert len(set(saved.values())) == 1
    assert all(np.isfinite(value) for value in saved.values())


@pytest.mark.parametrize(
    ("text", "shape", "given_shape", "expected"),
    [
        ("(float[N,3] x) => (float[N,5] y) { y = MatMul(x, w) }", (3, 5), (2, 3), 2 * 3 * 5),
        ("(float[N,4,6] x) => (float[N,8,4] y) { y = Conv<group=2>(x, w) }", (8, 2, 3), (1, 4, 6), 8 * 4 * 2 * 3),
        ("(float[N,4,6] x) => (float[N,6,8] y) { y = ConvTranspose<group=2>(x, w) }", (4, 3, 3), (1, 4, 6), 24 * 9),
    ],
)
def test_operations_are_multiplications(
    text: str, shape: tuple[int, ...], given_shape: tuple[int, ...], expected: int, tmp_path: Path
) -> None:
    model = onnx.load(written(tmp_path / "m.onnx", text, {"w": normal(*shape)}))
    assert list(operations(model, layers(model), [{"x": normal(*given_shape)}]).values()) == [expected]


named = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.tuples(st.floats(0, 1), st.floats(-1, 1)))


@given(measured=named, shares=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)))
def test_a_larger_share_keeps_what_a_smaller_one_kept(
    measured: dict[str, tuple[float, float]], shares: tuple[float, float]
) -> None:
    error, saved = {name: one[0] for name, one in measured.items()}, {name: one[1] for name, one in measured.items()}
    if all(value <= 0 for value in saved.values()):
        with pytest.raises(NotApplicable, match="no layer runs faster in int8"):
            worth_it(error, saved, max(shares))
        return
    fewer, more = (worth_it(error, saved, share) for share in sorted(shares))
    assert fewer <= more
    assert all(saved[name] > 0 for name in more)
    total = sum(value for value in saved.values() if value > 0)
    assert sum(saved[name] for name in more) >= max(shares) * total * (1 - 1e-9)


@pytest.mark.parametrize("share", [0.0, 1.1, -0.5])
def test_a_share_outside_its_range_is_refused(share: float, two: Path, tmp_path: Path) -> None:
    with pytest.raises(CandidateError, match=f"quantized: {share} is not above 0 and up to 1"):
        MixedPrecision(quantized=share)(two, tmp_path / "out.onnx", Held(DATA))
