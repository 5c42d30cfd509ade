"""What did each step of the winner buy? Pure: the recipe before a step and after it, in one and the same setting.

A step is told only where both were measured, and scored on as many samples as the winner: what a few hundred say of an
accuracy is off by a point. `explore` sees to that at the end of a search.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from costopt import units
from costopt.records import Candidate
from costopt.verdict import Bought, Interval, Row


def bought(winner: Row, rows: Sequence[Row]) -> tuple[Bought, ...]:
    """The winner's steps in order, those that can be told; none where it has one only: then its row says it all."""
    samples = winner.drop.samples if winner.drop is not None else 0
    whole = [row for row in rows if row.status == "measured" and row.drop is not None and row.drop.samples == samples]
    measured = {row.candidate.id: row for row in whole}
    return tuple(_steps(winner.candidate, measured)) if len(winner.candidate.recipe) > 1 else ()


def _steps(winner: Candidate, measured: Mapping[str, Row]) -> Iterator[Bought]:
    recipe = winner.recipe
    for place, step in enumerate(recipe):
        before = measured.get(replace(winner, recipe=recipe[:place]).id)
        after = measured.get(replace(winner, recipe=recipe[: place + 1]).id)
        if before and after and before.speedup and after.speedup and before.drop and after.drop:
            ratio = before.speedup.value / after.speedup.value
            drop = after.drop.drop.value - before.drop.drop.value
            yield Bought(step, ratio, _told_apart(before.speedup, after.speedup), drop, _usd(before, after))


def _told_apart(one: Interval, other: Interval) -> bool:
    """Whether two speed-ups against the same original differ for certain: their intervals do not meet."""
    return one.high < other.low or other.high < one.low


def _usd(before: Row, after: Row) -> float | None:
    if before.usd is None or after.usd is None or before.usd.saturated is None or after.usd.saturated is None:
        return None
    return after.usd.saturated - before.usd.saturated


def in_words(one: Bought, metric: str) -> str:
    """ "prune_channels(macs=0.5): -$0.0040 per million (1.90x), top1 -0.60 points"."""
    if not one.certain:
        cost = "no certain change of cost"
    elif one.usd_per_million is None:
        cost = f"cost x {units.given(round(one.relative_cost, 3))}"
    else:
        sign = "-" if one.usd_per_million < 0 else "+"
        cost = f"{sign}{units.usd(abs(one.usd_per_million))} per million ({units.ratio(1 / one.relative_cost)})"
    return f"{one.step}: {cost}, {metric} {units.changes(metric, -one.drop)}"
