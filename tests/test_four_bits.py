"""Rounding to 4 bits: blocks are packed as ONNX Runtime reads them, and GPTQ keeps outputs nearer."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from costopt.errors import CandidateError
from costopt.four_bits import gptq
from costopt.methods.int4_weights import Int4Weights
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


@pytest.mark.parametrize("symmetric", [True, False])
def test_correction_takes_back_most_of_the_error_where_inputs_go_together(symmetric: bool, tmp_path: Path) -> None:
    source, x = written(tmp_path / "m.onnx", TEXT, {"w": normal(80, 24)}), together(256)
    rules: tuple[Literal["rtn", "gptq"], ...] = ("rtn", "gptq")
    errors = []
    for rule in rules:
        Int4Weights(32, symmetric, "float32", rule)(source, tmp_path / f"{rule}.onnx", Held({"x": x}))
        errors.append(relative_error(tmp_path / f"{rule}.onnx", source, {"x": x}))
    assert errors[1] < 0.5 * errors[0]


@pytest.mark.parametrize("symmetric", [True, False])
def test_inputs_and_weights_that_are_all_zero_do_no_harm(symmetric: bool) -> None:
    blocks = gptq(np.zeros((40, 3), np.float32), np.zeros((40, 40)), 32, symmetric)
    assert not blocks.values(32).any()


def test_independent_inputs_leave_nothing_to_correct() -> None:
    weight = normal(64, 8)
    codes = gptq(weight, np.eye(64), 32, True)
    scale = np.repeat(codes.scales, 32, axis=0)
    assert np.all(np.abs(codes.values(32) - weight) <= np.abs(scale) * 1.001)


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
