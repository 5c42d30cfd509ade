"""Why is the original the best there is? What usually stands behind it, as far as the measurements show it.

Eight-bit arithmetic is what most candidates gain by, so the question is why it gained nothing here: no instructions for
it, time that goes elsewhere, roundings that no integer kernel takes up, or calls too short for anything to matter.
"""

from collections.abc import Iterator, Sequence

from costopt import units
from costopt.records import Machine
from costopt.verdict import Row

FASTER = 1.1
"""A candidate that gains less than this counts as gaining nothing."""

INT8_FEATURES = frozenset({"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})
"""Instructions that add up four products of 8 bits at once, as the kernel names them: without them float32 is as fast.
Sources: Intel 64 Software Developer's Manual (VPDPBUSD, TDPBUSD), Arm Architecture Reference Manual (SDOT, SMMLA)."""

INT8_OPERATORS = frozenset(
    {"Attention", "Conv", "ConvTranspose", "FusedConv", "FusedGemm", "FusedMatMul", "Gemm", "LSTM", "MatMul"}
)
"""What ONNX Runtime has integer kernels for, under the names that its optimiser gives them."""

ROUNDING = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")

MOST_ROUNDING = 0.2
MOST_ELSEWHERE = 0.5
"""Shares of the time from which on they are told: judgements."""

SHORT_CALL_MS = 0.1
"""Under this a call is mostly its own fixed cost: an empty one takes some 0.04 ms from Python (measured 2026-11, 2-core
EPYC)."""


def causes(original: Row, rows: Sequence[Row], machine: Machine) -> Iterator[str]:
    """Why 8 bits gained nothing, in words; nothing when some candidate gained, or none in 8 bits was measured."""
    quantised = [row for row in rows if row.status == "measured" and _in_8_bits(row)]
    if not quantised or any(row.speedup is None or row.speedup.value >= FASTER for row in quantised):
        return
    if machine.features and INT8_FEATURES.isdisjoint(machine.features):
        yield f"int8 gains nothing: {machine.cpu} has no instructions for sums of 8-bit products (VNNI, dot product)"
    if original.latency is not None and (original.latency.p50.seen_ms or SHORT_CALL_MS) < SHORT_CALL_MS:
        yield "int8 gains nothing: a call is so short that its fixed cost is most of it; a larger batch shares that out"
    yield from _elsewhere(original)
    yield from _rounding(quantised)


def _in_8_bits(row: Row) -> bool:
    return any("int8" in spec.name for spec in row.candidate.recipe)


def _elsewhere(original: Row) -> Iterator[str]:
    """Time of the original in operators that have no integer kernel."""
    others = {name: share for name, share in original.operator_share.items() if name not in INT8_OPERATORS}
    if sum(others.values()) >= MOST_ELSEWHERE:
        names = ", ".join(sorted(others, key=lambda name: -others[name])[:3])
        yield f"int8 gains nothing: {units.percent(sum(others.values()))} of the time goes into others ({names})"


def _rounding(quantised: Sequence[Row]) -> Iterator[str]:
    """Time of the best 8-bit candidate in roundings that were not taken up by an integer kernel."""
    best = max(quantised, key=lambda row: row.speedup.value if row.speedup else 0.0)
    share = sum(best.operator_share.get(name, 0.0) for name in ROUNDING)
    if share >= MOST_ROUNDING:
        yield (
            f"{best.candidate.label} gains nothing: {units.percent(share)} of its time goes into QuantizeLinear and "
            "DequantizeLinear that no integer kernel took up"
        )
