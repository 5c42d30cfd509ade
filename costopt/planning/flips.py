"""At which traffic, and at which price, would the choice be another?

By the capacity curves alone, without the check by simulation: "about" is meant.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


def by_traffic(ranking: Ranking, demand: Demand, choice: Row) -> tuple[TrafficFlip, ...]:
    """The nearest changes of the choice, at less traffic and at more; none within a hundredfold gives none.

    Where the curves alone would choose another pair at this very traffic, that is the change, and the only one.
    """

    def first(factor: float) -> Row | None:
        rows = ranking.rows(demand.times(factor))
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
    return row.service.id, row.place.instance


def by_price(choice: Row, rows: Sequence[Row]) -> PriceFlip | None:
    """What the next machine would have to cost for it to be chosen; `rows` in order, checked. None without one."""
    other = next((one for one in rows if one.verdict == "meets" and one.place.instance != choice.place.instance), None)
    if other is None or other.bill is None or choice.bill is None:
        return None
    return PriceFlip((choice.bill.usd - (other.bill.usd - other.bill.compute_usd)) / other.bill.compute_usd, other)
