"""One big machine or several small ones? The same chips, the same limits, whole machines, and a spare one.

Small machines count finer and a spare one costs less; a big one needs no network within a copy and lets all its chips
share one queue (what that is worth is the pooling gain).
"""

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from costopt import units
from costopt.distributing.paper import Paper, PaperRow
from costopt.distributing.replicas import Limits, least_copies

SHOWN = 3

MOST_APART = 20
"""Times as many copies as with one queue, up to which a number for queues apart is looked for."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Two machines of one provider with the same chip that both meet: the one with fewest chips, and with most."""

    small: PaperRow
    big: PaperRow


def pairs(paper: Paper) -> tuple[Sizes, ...]:
    """All such pairs in which several of the small ones are needed, the cheapest first."""
    of: dict[tuple[str, str], list[PaperRow]] = {}
    for row in paper.rows:
        if row.verdict == "meets" and row.found.carried is not None and row.found.carried.chip.kind != "cpu":
            of.setdefault((row.offer.provider, row.found.carried.chip.name), []).append(row)
    found = (Sizes(min(rows, key=_small), max(rows, key=_big)) for rows in of.values())
    return tuple(one for one in found if _count(one.small) < _count(one.big) and _several(one.small))


def sentences(paper: Paper) -> tuple[str, ...]:
    """The first few pairs in words, and what one queue is worth to the chosen fleet."""
    return (*(_told(one, paper.asked.traffic.hours_per_month) for one in pairs(paper)[:SHOWN]), *_pooling(paper))


def queues_apart(row: PaperRow, rate_per_s: float, limits: Limits) -> int | None:
    """The copies that would be needed, were each to have a queue and an equal share of the requests of its own.

    None where there is no fleet, or no number is enough.
    """
    if row.fleet is None:
        return None
    one = row.fleet.pace.times(row.fleet.factor)

    def enough(copies: int) -> bool:
        alone = least_copies(one, rate_per_s / copies, limits)
        return alone is not None and alone.copies == 1

    looked_at = range(row.fleet.served.copies, MOST_APART * row.fleet.served.copies)
    first = bisect.bisect_left(looked_at, True, key=enough)
    return looked_at[first] if first < len(looked_at) else None


def _count(row: PaperRow) -> int:
    return 0 if row.found.carried is None else row.found.carried.count


def _small(row: PaperRow) -> tuple[int, float]:
    return _count(row), _usd(row)


def _big(row: PaperRow) -> tuple[int, float]:
    return _count(row), -_usd(row)


def _usd(row: PaperRow) -> float:
    return 0.0 if row.fleet is None else row.fleet.month_usd


def _several(row: PaperRow) -> bool:
    return row.fleet is not None and row.fleet.instances > 1


def _told(sizes: Sizes, hours: float) -> str:
    """The cheaper one first."""
    cheap, dear = sorted((sizes.small, sizes.big), key=_usd)
    chip = "" if sizes.big.found.carried is None else sizes.big.found.carried.chip.name
    return f"{chip}: {_fleet(cheap, hours)}; against {_fleet(dear, hours)}"


def _fleet(row: PaperRow, hours: float) -> str:
    """`16 aws/g6e.xlarge in groups of 4, $21,736.48 a month (a spare group $5,434.12)`."""
    if row.fleet is None:
        return ""
    one = row.fleet
    paid = one.instances + one.spare
    reserve = row.offer.usd_per_hour * one.way.spread.machines * hours
    several = f" in groups of {one.way.spread.machines}" if one.way.spread.machines > 1 else ""
    more = f"a spare {'group' if several else 'one'} {units.cents(reserve)}"
    return f"{units.count(paid)} {row.offer.instance}{several}, {units.cents(one.month_usd)} a month ({more})"


def _pooling(paper: Paper) -> Iterator[str]:
    choice, asked = paper.choice, paper.asked
    if choice is None or choice.fleet is None or choice.fleet.served.copies == 1 or not asked.limits.any:
        return
    copies = choice.fleet.served.copies
    apart = queues_apart(choice, asked.traffic.demand.peak_per_s, asked.limits)
    if apart is not None:
        yield f"one queue before all {units.count(copies)} copies; with a queue each, {units.count(apart)} are needed"
