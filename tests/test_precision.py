"""The format that a provider multiplies in: decoded from rounded numbers, and probed on the providers that are here."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from costopt import plugins
from costopt.measuring import precision
from costopt.measuring.precision import FACTORS, Format, decode, probe
from costopt.providers import Provider
from costopt.records import Spec

BITS: dict[Format, int] = {"float32": 23, "tensorfloat32": 10, "bfloat16": 7}


def rounded(factors: tuple[float, ...], bits: int, how: str) -> list[float]:
    """float32 numbers with `bits` bits of mantissa: cut off, rounded half to even, or half away from zero."""
    return [_rounded(factor, 23 - bits, how) for factor in factors]


def _rounded(number: float, dropped: int, how: str) -> float:
    (pattern,) = struct.unpack("<I", struct.pack("<f", number))
    half, last = (1 << dropped) >> 1, (pattern >> dropped) & 1
    more = {"cut": 0, "to even": half - 1 + last, "away": half}[how] if dropped else 0
    (kept,) = struct.unpack("<f", struct.pack("<I", (pattern + more) >> dropped << dropped))
    return float(kept)


def as_float16(factors: tuple[float, ...]) -> list[float]:
    with np.errstate(over="ignore"):
        return [float(np.float16(factor)) for factor in factors]


rounding = some.sampled_from(["cut", "to even", "away"])


@given(name=some.sampled_from(sorted(BITS)), inputs=rounding, weights=rounding)
def test_a_format_is_known_however_it_rounds(name: Format, inputs: str, weights: str) -> None:
    assert decode(rounded(FACTORS, BITS[name], inputs), rounded(FACTORS, BITS[name], weights)) == name


@given(beyond=some.sampled_from(["infinity", "nan", "largest"]))
def test_float16_is_told_from_tensorfloat32_by_its_range(beyond: str) -> None:
    seen = as_float16(FACTORS)
    seen[-2] = {"infinity": float("inf"), "nan": float("nan"), "largest": 65504.0}[beyond]
    assert decode(seen, seen) == "float16"
    assert decode(rounded(FACTORS, 10, "to even"), rounded(FACTORS, 10, "cut")) == "tensorfloat32"


@given(bits=some.integers(1, 22).filter(lambda bits: bits not in BITS.values()), how=rounding)
def test_what_is_no_known_format_is_unknown(bits: int, how: str) -> None:
    seen = rounded(FACTORS, bits, how)
    assert decode(seen, seen) == "unknown"


def test_weights_in_another_format_than_inputs_are_unknown() -> None:
    assert decode(rounded(FACTORS, 23, "cut"), rounded(FACTORS, 7, "cut")) == "unknown"
    assert decode(as_float16(FACTORS), rounded(FACTORS, 10, "cut")) == "unknown"


def test_a_fine_number_that_survives_where_a_coarse_one_did_not_fits_no_format() -> None:
    seen = rounded(FACTORS, 7, "cut")
    seen[20] = FACTORS[20]
    assert decode(seen, seen) == "unknown"


# ---------------------------------------------------------------------------------------- real providers


def test_the_cpu_provider_multiplies_in_float32() -> None:
    assert probe(Spec("cpu"), 1) == "float32"


@pytest.mark.parametrize("operator", ["product", "convolution"])
def test_the_probe_sees_a_graph_that_rounds_to_bfloat16(operator: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same graphs, whose constant weights were rounded: what a provider does that stores them in bfloat16."""
    exact = precision._weights
    coarse = np.array(rounded(tuple(exact().ravel().tolist()), 7, "to even"), np.float32).reshape(exact().shape)
    monkeypatch.setattr(precision, "_weights", lambda: coarse)
    graph = {"product": precision._product, "convolution": precision._convolution}[operator]()
    products = precision._products(graph, Spec("cpu"), 1)
    side, used = len(products) // 2, len(FACTORS)
    assert decode(products[:used].tolist(), products[:used].tolist()) == "float32"
    assert decode(products[side:][:used].tolist(), products[side:][:used].tolist()) == "bfloat16"


def test_openvino_computes_in_float32_when_it_is_told_to() -> None:
    spec = Spec("openvino", {"inference_precision": "f32"})
    reason = plugins.make("providers", spec, Provider).missing()
    if reason is not None:
        pytest.skip(f"openvino: {reason}")
    assert probe(spec, 1) == "float32"
    assert probe(Spec("openvino"), 1) in ("float32", "bfloat16", "float16"), "what it is depends on the CPU"


def test_a_provider_that_is_not_here_has_no_format() -> None:
    assert plugins.make("providers", Spec("xnnpack"), Provider).missing() is not None
    assert probe(Spec("xnnpack"), 1) == "unknown"


# ---------------------------------------------------------------------------------------- in words


def narrowed(name: str, probed: str) -> str | None:
    return plugins.make("providers", Spec(name), Provider).narrowed(probed)


def test_the_report_says_that_float32_is_multiplied_in_another_format_and_how_to_fix_it() -> None:
    assert narrowed("openvino", "bfloat16") == (
        "multiplies float32 numbers in bfloat16 here; openvino:inference_precision=f32 keeps float32"
    )
    assert narrowed("coreml", "float16") == "multiplies float32 numbers in float16 here"


@pytest.mark.parametrize("probed", ["float32", "unknown", ""])
def test_nothing_is_said_where_nothing_differs_or_nothing_is_known(probed: str) -> None:
    assert narrowed("openvino", probed) is None
