"""What a plan's own figures say of kinds of hardware, and which machines only a measurement can tell apart.

this traffic         the month's bill, with the promise kept
work in batches      machines that never idle: US dollars per million requests
one request alone    the shortest mean call

Said only where machines of more than one kind are in the plan, and only from its rows.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from costopt import units
from costopt.planning.ranking import Ranking, Row
from costopt.projecting import hardware
from costopt.projecting.hardware import Kind

KINDS: Mapping[Kind, str] = {"cpu": "CPU", "gpu": "GPU", "tpu": "TPU", "asic": "Neuron", "fpga": "FPGA"}

NAMED = 3
"""How many machines a sentence names."""


@dataclass(frozen=True, slots=True)
class Open:
    """A machine that could be cheaper than the choice: its bill between the fast end of its band and the slow one."""

    row: Row
    least_usd: float
    most_usd: float


def sentences(rows: Sequence[Row]) -> Iterator[str]:
    """When which kind wins, a sentence a way of looking; nothing where there is but one kind."""
    running = [row for row in rows if row.is_timed and row.service.meets is not False]
    running = [row for row in running if row.service.meets] or running
    if len({_kind(row) for row in running} - {None}) < 2:
        return
    paid = [row for row in running if row.bill is not None and row.verdict in ("meets", "undecided")]
    yield from _told("this traffic", paid, lambda row: 0.0 if row.bill is None else row.bill.usd, _a_month)
    yield from _told("work that never lets machines idle", running, lambda row: row.saturated or 0.0, _a_million)
    yield from _told("one request alone", running, lambda row: 1e3 * row.mean_s, _in_ms)


def _told(what: str, rows: Iterable[Row], figure: Callable[[Row], float], written: Callable[[float], str]) -> list[str]:
    """`this traffic: CPU $105.85 a month (aws/c7g.large); GPU 3.6x (aws/g4dn.xlarge)`."""
    best: dict[Kind, Row] = {}
    for row in sorted(rows, key=lambda row: (figure(row), row.key)):
        kind = _kind(row)
        if kind is not None:
            best.setdefault(kind, row)
    if len(best) < 2:
        return []
    (first, row), *others = best.items()
    told = [f"{KINDS[first]}, {written(figure(row))} ({_where(row)})"]
    told += [f"{KINDS[kind]} {units.ratio(figure(one) / figure(row))} ({_where(one)})" for kind, one in others]
    return [f"{what}: {'; '.join(told)}"]


def _kind(row: Row) -> Kind | None:
    return hardware.kind_of(row.place.accelerator)


def _where(row: Row) -> str:
    verdict = "" if row.verdict == "meets" else f", {row.verdict}"
    candidate = row.service.candidate
    return f"{row.place.name} with {candidate.label if candidate.recipe else 'the original'}{verdict}"


def _a_month(usd: float) -> str:
    return f"{units.cents(usd)} a month"


def _a_million(usd: float) -> str:
    return f"{units.usd(usd)} a million"


def _in_ms(milliseconds: float) -> str:
    return f"{units.ms(milliseconds)} ms"


# ---------------------------------------------------------------------------------------- only measuring tells


def not_told_apart(ranking: Ranking, choice: Row, rows: Sequence[Row]) -> tuple[Open, ...]:
    """Machines whose bill would be below the choice's at the fast end of what is known, the cheapest then first."""
    assert choice.bill is not None  # a choice has one
    best: dict[str, Row] = {}
    for row in rows:
        if row.bill is not None and row.verdict in ("meets", "undecided"):
            best.setdefault(row.place.name, row)
    best.pop(choice.place.name, None)
    found = [
        Open(row, least.usd, row.bill.usd)
        for row in best.values()
        if row.place.band and row.bill is not None and (least := ranking.at_best(row)) and least.usd < choice.bill.usd
    ]
    return tuple(sorted(found, key=lambda one: (one.least_usd, one.row.key)))


def in_words(found: Sequence[Open]) -> str:
    """`indistinguishable until measured: aws/c8g.large ($58.22 to $116.45 a month), and 3 others`; "" for none."""
    if not found:
        return ""
    spans = [
        f"{one.row.place.name} ({units.span(one.least_usd, one.most_usd, units.cents)} a month)"
        for one in found[:NAMED]
    ]
    more = f", and {units.count_of(len(found) - NAMED, 'other machine')}" if len(found) > NAMED else ""
    return f"indistinguishable until they are measured: {', '.join(spans)}{more}"
