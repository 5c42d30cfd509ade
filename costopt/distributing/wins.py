"""When does a CPU, a GPU, a TPU or an FPGA win here? Said from this plan's own figures, and only as far as they go.

batch work           machines never idle, batches as large as memory holds: US dollars per million requests
this traffic         the month's bill, with the limits kept
one request alone    the shortest time to its end, wherever it is kept at a fixed latency
dense matrix work    operations per byte of this model against what chips do of both, and operations per dollar
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from costopt import units
from costopt.distributing.decoders import Work, Workload
from costopt.distributing.deployments import Way, precision_of
from costopt.distributing.pace import pace
from costopt.distributing.paper import Paper, PaperRow, saturated
from costopt.distributing.parallel import REACHED, passed
from costopt.judging.cost import SECONDS_PER_HOUR
from costopt.projecting.hardware import Chip, Kind, Precision

KINDS: dict[Kind, str] = {"cpu": "CPU", "gpu": "GPU", "tpu": "TPU", "asic": "Neuron", "fpga": "FPGA"}

PASSES_AT_ONCE = 256
"""Inputs in one pass of batch work, where the first pass is the answer."""


@dataclass(frozen=True, slots=True)
class Best:
    """The best machine of a kind of hardware by a figure of which less is better."""

    kind: Kind
    row: PaperRow
    value: float

    @property
    def where(self) -> str:
        """The machine, and its verdict where it doesn't meet for certain."""
        verdict = "" if self.row.verdict == "meets" else f", {self.row.verdict}"
        return f"{self.row.offer.instance}{verdict}"


def sentences(paper: Paper) -> tuple[str, ...]:
    """What this plan's figures say of the kinds of hardware."""
    runs = [row for row in paper.rows if row.found.ways]
    if not runs:
        return ()
    workload = paper.asked.workload
    billed = [row for row in runs if row.fleet is not None]
    told = (
        _ranked("batch work", best(runs, lambda row: batch_usd(row, workload)), _per_million),
        _ranked("this traffic", best(billed, _month_usd), _a_month),
        _ranked("one request alone, to its end", best(runs, lambda row: alone_s(row, workload)), _in_ms),
    )
    return tuple(one for one in (*told, *_dense(runs, workload), *_fpga(paper)) if one)


def best(rows: Iterable[PaperRow], figure: Callable[[PaperRow], float]) -> tuple[Best, ...]:
    """The best machine of each kind, the best kind first."""
    found: dict[Kind, Best] = {}
    for row in rows:
        if row.found.carried is not None:
            one = Best(row.found.carried.chip.kind, row, figure(row))
            found[one.kind] = min(found.get(one.kind, one), one, key=lambda other: other.value)
    return tuple(sorted(found.values(), key=lambda one: one.value))


def batch_usd(row: PaperRow, workload: Workload) -> float:
    """US dollars per million requests on machines that never idle, with the largest batch for which there is memory."""
    return min(_batch_usd(row, workload, way) for way in row.found.ways)


def _batch_usd(row: PaperRow, workload: Workload, way: Way) -> float:
    one = pace(workload, way, way.most)
    if not workload.answer_tokens:
        inputs = min(way.most, PASSES_AT_ONCE)
        whole = passed(_times(workload.prefill(), inputs), way.spread, precision_of(workload), workload.heads)
        one = replace(one, prefill=whole, batch=1)
        return saturated(row.offer, way, one).requests_usd / inputs
    return saturated(row.offer, way, one).requests_usd


def _times(work: Work, inputs: int) -> Work:
    """One pass over many inputs: weights are read once."""
    return replace(work, flops=inputs * work.flops, row_bytes=inputs * work.row_bytes)


def alone_s(row: PaperRow, workload: Workload) -> float:
    """Seconds that one request takes to its end when nobody else is there, on the quickest way."""
    return min(pace(workload, way, 1).seconds_per_request for way in row.found.ways)


def _month_usd(row: PaperRow) -> float:
    return 0.0 if row.fleet is None else row.fleet.month_usd


def _per_million(usd: float) -> str:
    return f"{units.usd(usd)} per million requests on machines that never idle"


def _a_month(usd: float) -> str:
    return f"{units.cents(usd)} a month"


def _in_ms(seconds: float) -> str:
    return f"{units.ms(1e3 * seconds)} ms"


def _ranked(title: str, found: Sequence[Best], write: Callable[[float], str]) -> str:
    """`batch work: GPU, $450 per million ... (lambda/...); TPU 1.60x (gcp/...), CPU 47.3x (aws/...)`."""
    if not found:
        return ""
    first, *others = found
    told = f"{title}: {KINDS[first.kind]}, {write(first.value)} ({first.where})"
    rest = ", ".join(f"{KINDS[one.kind]} {units.ratio(one.value / first.value)} ({one.where})" for one in others)
    return f"{told}; {rest}" if rest else told


# ---------------------------------------------------------------------------------------- dense matrix work


def _dense(runs: Sequence[PaperRow], workload: Workload) -> Iterator[str]:
    precision = precision_of(workload)
    chips = {row.found.carried.chip.name: row.found.carried.chip for row in runs if row.found.carried is not None}
    yield _bound("a prompt" if workload.answer_tokens else "a request", workload.prefill(), chips.values(), precision)
    if workload.answer_tokens:
        most = max(way.most for row in runs for way in row.found.ways)
        yield _bound(f"a token of {most} answers at once", workload.step(most), chips.values(), precision)
    per_usd = best(runs, lambda row: 1 / operations_per_usd(row, precision))
    if per_usd:
        told = ", ".join(
            f"{KINDS[one.kind]} {units.significant(1 / one.value / 1e15)} ({one.row.offer.instance})" for one in per_usd
        )
        yield f"dense matrix work, 10^15 {precision} operations per dollar at the peak rate: {told}"


def _bound(what: str, work: Work, chips: Iterable[Chip], precision: Precision) -> str:
    """On how many chips operations decide, and on how many memory, at the rates that they reach."""
    ridges = [
        peak * REACHED[chip.memory_kind].operations / (chip.bytes_per_s * REACHED[chip.memory_kind].memory)
        for chip in chips
        if (peak := chip.peak_per_s(precision)) is not None
    ]
    above = sum(work.intensity > ridge for ridge in ridges)
    of = f"on {above} of {units.count_of(len(ridges), 'chip')}"
    return f"{what} is {units.significant(work.intensity)} operations a byte: {of} operations decide, elsewhere memory"


def operations_per_usd(row: PaperRow, precision: Precision) -> float:
    """At the peak rate of all chips of the machine, for an hour, over its price."""
    carried = row.found.carried
    peak = None if carried is None else carried.chip.peak_per_s(precision)
    if carried is None or peak is None:
        return 0.0
    return peak * carried.count * SECONDS_PER_HOUR / row.offer.usd_per_hour


def _fpga(paper: Paper) -> Iterator[str]:
    """What can be said of FPGAs: what their best rate costs beside that of the others."""
    kinds = [(row, row.found.carried.chip.kind) for row in paper.rows if row.found.carried is not None]
    fpga = max((operations_per_usd(row, "int8") for row, kind in kinds if kind == "fpga"), default=0.0)
    others = max((operations_per_usd(row, "int8") for row, kind in kinds if kind != "fpga"), default=0.0)
    if fpga and others:
        yield (
            "FPGA: nothing runs this there without a design of its own, so no latency is projected; at peak rates the "
            f"best of the others does {units.ratio(others / fpga)} the int8 operations per dollar"
        )
