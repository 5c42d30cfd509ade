"""Why the original is left alone, in words."""

from dataclasses import replace

import pytest

from costopt.judging.causes import causes
from costopt.records import Candidate, Machine, Spec
from costopt.verdict import Interval, Latency, Percentile, Row

WITH_VNNI = Machine("a CPU", 2, 8 << 30, "Linux", ("avx2", "avx512_vnni"))
WITHOUT = Machine("an old CPU", 2, 8 << 30, "Linux", ("avx2",))


def latency(ms: float) -> Latency:
    one = Percentile(0.5, ms, ms, 11)
    return Latency(one, one, one, 1000)


ORIGINAL = Row(Candidate((), "cpu", 1, 2), "measured", latency=latency(1.0), operator_share={"Conv": 0.9, "Relu": 0.1})
SLOW = Row(
    Candidate((Spec("int8_static"),), "cpu", 1, 2),
    "measured",
    speedup=Interval(0.8, 0.7, 0.9),
    operator_share={"QLinearConv": 1.0},
)


def words(original: Row = ORIGINAL, quantised: Row = SLOW, machine: Machine = WITH_VNNI) -> str:
    return "; ".join(causes(original, (original, quantised), machine))


def test_a_processor_without_8_bit_sums_is_named() -> None:
    assert "an old CPU has no instructions" in words(machine=WITHOUT)
    assert words(machine=WITH_VNNI) == ""


def test_a_machine_whose_instructions_are_not_known_is_not_blamed() -> None:
    assert words(machine=replace(WITHOUT, features=())) == ""


def test_time_that_goes_into_other_operators_is_told_with_their_names() -> None:
    told = words(replace(ORIGINAL, operator_share={"Conv": 0.3, "Resize": 0.6, "Exp": 0.1}))
    assert told.endswith("70 % of the time goes into others (Resize, Exp)")


def test_roundings_that_were_not_fused_are_told() -> None:
    told = words(quantised=replace(SLOW, operator_share={"QuantizeLinear": 0.3, "DequantizeLinear": 0.2, "Conv": 0.5}))
    assert "50 % of its time goes into QuantizeLinear" in told


def test_calls_that_are_mostly_their_own_fixed_cost_are_told() -> None:
    assert "fixed cost" in words(replace(ORIGINAL, latency=latency(0.05)))


@pytest.mark.parametrize("ratio", [1.2, 3.0])
def test_nothing_is_explained_where_something_gained(ratio: float) -> None:
    assert words(quantised=replace(SLOW, speedup=Interval(ratio, ratio, ratio)), machine=WITHOUT) == ""


def test_nothing_is_said_of_8_bits_where_they_were_not_tried() -> None:
    assert words(quantised=replace(SLOW, candidate=ORIGINAL.candidate), machine=WITHOUT) == ""
