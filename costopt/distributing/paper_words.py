"""A plan on paper in words: the answer in a sentence, and what a reader must know to trust it."""

import datetime
from collections.abc import Iterator

from costopt import units
from costopt.distributing.paper import Fleet, Paper, PaperRow
from costopt.distributing.parallel import HELD_AGAINST, REACHED
from costopt.planning.places import BAND
from costopt.pricing import offers


def fleet(row: PaperRow) -> str:
    """`3 aws/g6e.xlarge`, `3 + 1 aws/g6e.xlarge` with a spare one."""
    if row.fleet is None:
        return row.offer.instance
    spare = f" + {units.count(row.fleet.spare)}" if row.fleet.spare else ""
    return f"{units.count(row.fleet.instances)}{spare} {row.offer.instance}"


def headline(paper: Paper) -> str:
    """The choice in one sentence, without a full stop; or why there is none, with the nearest."""
    choice = paper.choice
    if choice is not None and choice.fleet is not None:
        told = f"{paper.asked.workload.name}, on {fleet(choice)}, costs {units.cents(choice.fleet.month_usd)} a month"
        return f"On paper: {told}, projected{_limits(paper, choice.fleet)}"
    if not paper.rows:
        return "Nothing can be planned: there is no machine in the price book"
    nearest = paper.rows[0]
    who = f"the nearest, {nearest.offer.instance}"
    match nearest.verdict:
        case "undecided":
            return f"Nothing meets this for certain on paper: {who}, is undecided ({nearest.words})"
        case "impossible":
            return f"Impossible on any number of these machines: {_nearest(paper)}"
        case _:
            return f"Nothing here can hold this model: {who}: {nearest.words}"


def _limits(paper: Paper, one: Fleet) -> str:
    if not paper.asked.limits.any:
        return "; no latency is promised"
    share = f"{100 * paper.asked.limits.share:.0f}"
    if not one.pace.answer_tokens:
        return f"; p{share} {units.ms(1e3 * one.served.ttft_s)} ms at the slow end"
    slow_ms = 1e3 * one.factor * one.pace.tpot_s
    return f"; p{share} TTFT {units.ms(1e3 * one.served.ttft_s)} ms, TPOT {units.ms(slow_ms)} ms at the slow end"


def _nearest(paper: Paper) -> str:
    """Of the impossible the one that misses its worst limit least; rows are in that order."""
    nearest = paper.rows[0]
    times = "" if nearest.miss is None else f" ({units.ratio(nearest.miss.times)} too slow)"
    return f"the nearest, {nearest.offer.instance}: {nearest.words}{times}"


def notes(paper: Paper, today: datetime.date) -> Iterator[str]:
    """What a reader must know to trust it."""
    yield from paper.asked.notes
    yield _projected()
    if not paper.asked.limits.any:
        yield "no latency is promised: waits may be long; --p99-ms limits the whole answer" + _more_limits(paper)
    if any(_cached(row) for row in paper.rows):
        yield "processors' caches are not counted: a small model may be faster there than projected"
    if paper.asked.workload.bits == 16 and any(_on_cores(row) for row in paper.rows):
        yield "16 bits on a processor need a runtime that multiplies in them (AMX, SVE); --bits 32 for others"
    if paper.choice is not None:
        yield from _about(paper.choice, today)
    if paper.alike:
        names = ", ".join(one.offer.instance for one in paper.alike[:3])
        more = f" and {len(paper.alike) - 3} more" if len(paper.alike) > 3 else ""
        yield f"indistinguishable from the choice on paper, because the ranges of their bills overlap: {names}{more}"


def _projected() -> str:
    shares = " to ".join(units.percent(share) for share in sorted({one.operations for one in REACHED.values()}))
    held = HELD_AGAINST
    return (
        f"all times are projected from data sheets ({shares} of peak rates), {units.percent(BAND)} either way; none "
        f"was measured. Of {held.times} published times of Llama 2 on A100s {held.within_band} lay within that, the "
        f"median {units.percent(held.median)} off, the worst {units.percent(held.worst)}"
    )


def _more_limits(paper: Paper) -> str:
    return ", --ttft-ms and --tpot-ms its parts" if paper.asked.workload.answer_tokens else ""


_CACHED_BYTES = 256e6
"""About what the last level of a server processor's cache holds: smaller models may stay in it."""


def _on_cores(row: PaperRow) -> bool:
    return row.fleet is not None and row.fleet.way.spread.chip.kind == "cpu"


def _cached(row: PaperRow) -> bool:
    carried, ways = row.found.carried, row.found.ways
    return carried is not None and carried.chip.kind == "cpu" and bool(ways) and ways[0].bytes_per_chip < _CACHED_BYTES


def _about(choice: PaperRow, today: datetime.date) -> Iterator[str]:
    offer, carried = choice.offer, choice.found.carried
    if carried is not None and carried.chip.confidence == "recalled":
        yield f"the figures of {carried.chip.name} are recalled: check them"
    if carried is not None and carried.chip.kind == "cpu":
        yield f"the share of its peak rates that {carried.chip.name} reaches is taken from one EPYC core: measure there"
    spread = None if choice.fleet is None else choice.fleet.way.spread
    recalled = [
        one.kind for one in ((spread.link, spread.stage_link) if spread else ()) if one and one.confidence == "recalled"
    ]
    if recalled:
        yield f"the rate of {' and '.join(recalled)} is recalled: check it"
    age_days = offers.age_days(offer.as_of, today)
    if age_days is None:
        yield f"the price of {offer.instance} has no date: check it"
    elif age_days > offers.OLD_AFTER_DAYS:
        yield f"the price of {offer.instance} is of {offer.as_of}, {age_days} days old: check it"
