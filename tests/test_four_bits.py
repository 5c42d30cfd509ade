"""Rounding to 4 bits: blocks are packed as ONNX Runtime reads them, and GPTQ keeps outputs nearer."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from costopt.errors import CandidateError
from costopt.methods.int4_weights import Int4Weights
from costopt.rounding import four_bits
from costopt.rounding.four_bits import gptq, nearest
from tests.onnx_graphs import Held, normal, relative_error, weights_of, written

TEXT = "(float[N,80] x) => (float[N,24] y) { y = MatMul(x, w) }"


def together(samples: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Inputs of 80 channels that go together: mixtures of 12 sources, and a little of their own."""
    mixed = normal(samples, 12) @ normal(12, 80, seed=1) + normal(samples, 80, seed=2) / 10
    return mixed.astype(np.float32)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("size", [32, 64])
def test_the_file_computes_what_the_codes_stand_for(symmetric: bool, size: Literal[32, 64], tmp_path: Path) -> None:
    source = written(tmp_path / "m.onnx", TEXT, {"w": normal(80, 24)})
    target, x = tmp_path / "out.onnx", together(64)
    method = Int4Weights(size, symmetric, "float32", "gptq")
    method(source, target, Held({"x": x}))
    hessian = sum(x[start : start + 4].T @ x[start : start + 4] for start in range(0, 64, 4))
    codes = gptq(normal(80, 24), np.asarray(hessian, np.float64), size, symmetric)
    expected = written(tmp_path / "expected.onnx", TEXT, {"w": codes.values(size)})
    assert relative_error(target, expected, {"x": x}) < 1e-3
    assert not any(name == "w" or name.startswith("w_") for name in weights_of(target))


def error_of(rule: Literal["rtn", "mse", "gptq"], symmetric: bool, source: Path, x: NDArray[np.float32]) -> float:
    """How far the outputs for `x` move when a file's weights are rounded by a rule."""
    target = source.with_name(f"{rule}.onnx")
    Int4Weights(32, symmetric, "float32", rule)(source, target, Held({"x": x}))
    return relative_error(target, source, {"x": x})


@pytest.mark.parametrize("symmetric", [True, False])
def test_correction_takes_back_most_of_the_error_where_inputs_go_together(symmetric: bool, tmp_path: Path) -> None:
    source, x = written(tmp_path / "m.onnx", TEXT, {"w": normal(80, 24)}), together(256)
    errors = [error_of(rule, symmetric, source, x) for rule in ("rtn", "gptq")]
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("symmetric", [True, False])
def test_inputs_and_weights_that_are_all_zero_do_no_harm(symmetric: bool) -> None:
    blocks = gptq(np.zeros((40, 3), np.float32), np.zeros((40, 40)), 32, symmetric)
    assert not blocks.values(32).any()


@pytest.mark.parametrize("symmetric", [True, False])
def test_independent_inputs_leave_nothing_to_correct(symmetric: bool) -> None:
    weight = normal(80, 8)
    corrected, plain = gptq(weight, np.eye(80), 32, symmetric), nearest(weight, 32, symmetric)
    assert np.array_equal(corrected.codes, plain.codes)
    assert np.array_equal(corrected.scales, plain.scales)


@given(
    arrays(np.float32, st.tuples(st.integers(1, 70), st.integers(1, 3)), elements=st.floats(-8, 8, width=16)),
    st.booleans(),
)
def test_levels_of_least_error_are_never_worse_than_those_of_the_extremes(
    weight: NDArray[np.float32], symmetric: bool
) -> None:
    block = weight.astype(np.float64)
    apart = [
        np.square((np.clip(np.round(block / scale) + zero, 0, 15) - zero) * scale - block).sum(0)
        for scale, zero in (four_bits.levels(block, symmetric), four_bits._of_extremes(block, symmetric))
    ]
    assert np.all(apart[0] <= apart[1])


@pytest.mark.parametrize("symmetric", [True, False])
def test_an_outlier_costs_the_other_weights_of_its_block_less(symmetric: bool, tmp_path: Path) -> None:
    weight = normal(96, 24)
    weight[::32] *= 3
    source, x = written(tmp_path / "m.onnx", TEXT.replace("80", "96"), {"w": weight}), normal(64, 96)
    errors = [error_of(rule, symmetric, source, x) for rule in ("rtn", "mse")]
    assert errors[1] < 0.98 * errors[0]


def test_bad_numbers_are_refused_by_name(tmp_path: Path) -> None:
    method, target = Int4Weights(rule="gptq"), tmp_path / "out.onnx"
    weight = normal(80, 24)
    weight[3, 3] = np.nan
    damaged = written(tmp_path / "nan.onnx", TEXT, {"w": weight})
    with pytest.raises(CandidateError, match="hold NaN or infinity"):
        method(damaged, target, Held({"x": normal(8, 80)}))
    sound = written(tmp_path / "m.onnx", TEXT, {"w": normal(80, 24)})
    with pytest.raises(CandidateError, match="calibration saw values in 'x' that are not finite"):
        method(sound, target, Held({"x": np.full((8, 80), np.inf, np.float32)}))
