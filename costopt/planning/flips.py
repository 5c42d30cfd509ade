"""At which traffic, at which price and at which limit on accuracy would the choice be another?

By the capacity curves alone, without the check by simulation: "about" is meant.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from costopt.planning import bills
from costopt.planning.demand import Demand
from costopt.planning.ranking import Ranking, Row

STEP = 1.25
"""Traffic is looked at in steps of a quarter: a choice that holds over less than that between two others may be
missed."""

STEPS = 21
"""In each direction: a hundredfold."""

HALVINGS = 10
"""Of the step in which the choice changes: to 0.03 %."""


@dataclass(frozen=True, slots=True)
class TrafficFlip:
    """From about `mean_per_s` on (downwards where it lies below today's), this row's pair is the choice."""

    mean_per_s: float
    row: Row


@dataclass(frozen=True, slots=True)
class PriceFlip:
    """The best row on another machine is the choice once that costs less than `factor` times its price."""

    factor: float
    row: Row


@dataclass(frozen=True, slots=True)
class AccuracyFlip:
    """With a limit of `limit` on the drop, in the metric's unit, the choice would be this row's pair.

    `looser` limits make it so from `limit` on; the other way it is so under `limit`, where today's choice is no longer
    certified. No row where nothing meets any more.
    """

    limit: float
    looser: bool
    row: Row | None


def by_traffic(ranking: Ranking, demand: Demand, choice: Row) -> tuple[TrafficFlip, ...]:
    """The nearest changes of the choice, at less traffic and at more; none within a hundredfold gives none.

    Where the curves alone would choose another pair at this very traffic, that is the change, and the only one.
    """

    def first(factor: float) -> Row | None:
        rows = ranking.heads(demand.times(factor))
        return next((row for row in rows if row.verdict == "meets" and row.bill is not None), None)

    start = first(1.0)
    if start is not None and _pair(start) != _pair(choice):
        return (TrafficFlip(demand.mean_per_s, start),)
    found = (_flip(first, demand, choice, step) for step in (1 / STEP, STEP))
    return tuple(one for one in found if one is not None)


def _flip(first: Callable[[float], Row | None], demand: Demand, choice: Row, step: float) -> TrafficFlip | None:
    same, other = 1.0, 1.0
    for _ in range(STEPS):
        same, other = other, other * step
        row = first(other)
        if row is not None and _pair(row) != _pair(choice):
            break
    else:
        return None
    for _ in range(HALVINGS):
        middle = (same * other) ** 0.5
        found = first(middle)
        if found is not None and _pair(found) != _pair(choice):
            other, row = middle, found
        else:
            same = middle
    return TrafficFlip(other * demand.mean_per_s, row)


def _pair(row: Row) -> tuple[str, str]:
    return row.service.id, row.place.name


def by_price(choice: Row, rows: Sequence[Row]) -> PriceFlip | None:
    """What the next machine would have to cost for it to be chosen; `rows` in order, checked.

    None without one, or where the other lines of its bill alone come to more.
    """
    other = next((one for one in rows if one.verdict == "meets" and one.place.name != choice.place.name), None)
    if other is None or other.bill is None or choice.bill is None:
        return None
    left_usd = choice.bill.usd - (other.bill.usd - other.bill.compute_usd)
    return PriceFlip(left_usd / other.bill.compute_usd, other) if left_usd > 0 else None


def by_accuracy(ranking: Ranking, choice: Row) -> tuple[AccuracyFlip, ...]:
    """The nearest looser limit that makes the bill smaller, and the limit under which today's choice is out.

    A candidate meets a limit that its whole interval lies inside (`Service.worst_drop`), and misses none but this.
    """
    return tuple(one for one in (_tighter(ranking, choice), _looser(ranking, choice)) if one is not None)


def _looser(ranking: Ranking, choice: Row) -> AccuracyFlip | None:
    cheaper = [
        row
        for row in ranking.whatever_accuracy().heads()
        if row.verdict == "meets" and bills.is_money(choice.key[0] - row.key[0]) and row.service.meets_but_accuracy
    ]
    # Rows come cheapest first, so among equals by limit the cheapest stays.
    nearest = min(cheaper, key=lambda row: row.service.worst_drop or 0.0, default=None)
    if nearest is None or nearest.service.worst_drop is None:
        return None
    return AccuracyFlip(nearest.service.worst_drop, True, nearest)


def _tighter(ranking: Ranking, choice: Row) -> AccuracyFlip | None:
    worst = choice.service.worst_drop
    if worst is None or worst <= 0 or choice.service.is_original:
        return None  # no limit is below nothing
    left = (
        row
        for row in ranking.heads()
        if row.verdict == "meets" and row.service.worst_drop is not None and row.service.worst_drop < worst
    )
    return AccuracyFlip(worst, False, next(left, None))
