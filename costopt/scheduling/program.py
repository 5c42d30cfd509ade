"""The integer program: which machines, how many, and what stands on each, at the least cost.

Where the fillings of all machines are few, all of them are in the program (`columns`), and its optimum is the fleet's.
Otherwise fillings are generated: the program without whole numbers is solved, its prices tell which filling would lower
the cost most (`filling.best_filling`), until none would (Gilmore & Gomory 1961, "A linear programming approach to the
cutting-stock problem"). Then whole numbers are found among those fillings only, and the bound tells how far that may
lie above the least cost: at any prices, the cost over the most that a filling is worth per dollar is a bound from below
(Farley 1990, "A note on bounding a class of linear programming problems").
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import vstack

from costopt.errors import CostoptError
from costopt.scheduling.columns import FEWER, Columns, Filling, Level, Prices
from costopt.scheduling.filling import Item, Machine, all_fillings, copies

MOST_FILLINGS = 4000
"""Of all machines together, up to which every filling is in the program."""

CLOSE = 1e-4
"""Generating fillings ends when the bound is so near, as a share of the cost: more of them would change little."""

GAP = 5e-3
"""Among generated fillings whole numbers are searched until none can be cheaper by more than this share. A judgement:
proving the last half per cent takes most of the time, and the bound often lies further off than that anyway."""

EXACT_GAP = 1e-7
"""The same where all fillings are in the program: small enough for the solver's own rounding."""


@dataclass(frozen=True, slots=True)
class Solution:
    """What was found. `used` are fillings with the number of machines filled so.

    `levels` are the chosen ones, by model; None for a model that was not placed. No fleet costs less than
    `bound_usd_per_hour`. `in_time` is whether the solver came to its end.
    """

    used: tuple[tuple[Filling, int], ...]
    levels: tuple[Level | None, ...]
    usd_per_hour: float
    bound_usd_per_hour: float
    in_time: bool = True


def solve(items: Sequence[Item], machines: Sequence[Machine], models: int, spare: int, limit_s: float) -> Solution:
    """The cheapest fleet for `models` models, each served by one of its items and keeping its replicas when any `spare`
    machines fail. The same every time where it ends within `limit_s` seconds."""
    columns = Columns(tuple(items), tuple(machines), models, spare)
    end_s = time.monotonic() + limit_s
    fillings = _all(items, machines)
    if fillings is not None:
        return _whole(columns, fillings, None, end_s)
    fillings, bound = _generated(columns, end_s - limit_s / 2)
    return _whole(columns, fillings, bound, end_s)


def each_alone(
    items: Sequence[Item], machines: Sequence[Machine], models: int, spare: int, limit_s: float
) -> tuple[Solution, ...]:
    """The cheapest machines for each model by itself; `levels` and fillings name items by their places in `items`."""
    found = []
    for model in range(models):
        places = [place for place, item in enumerate(items) if item.model == model]
        own = solve([replace(items[place], model=0) for place in places], machines, 1, spare, limit_s / models)
        used = [
            (Filling(one.machine, tuple((places[item], number) for item, number in one.counts)), times)
            for one, times in own.used
        ]
        levels = tuple(None if one is None else replace(one, item=places[one.item]) for one in own.levels)
        found.append(replace(own, used=tuple(used), levels=levels))
    return tuple(found)


def better_of(together: Solution, alone: Sequence[Solution], machines: Sequence[Machine]) -> Solution:
    """A solver that was stopped may have found worse than each model on machines of its own: then it is that."""
    if together.in_time or any(level is None for one in alone for level in one.levels):
        return together
    used = tuple(pair for one in alone for pair in one.used)
    count = Counter[int]()
    for filling, times in used:
        count[filling.machine] += times
    if any(machine.most is not None and count[place] > machine.most for place, machine in enumerate(machines)):
        return together
    usd_per_hour = sum(one.usd_per_hour for one in alone)
    if all(together.levels) and together.usd_per_hour <= usd_per_hour:
        return together
    levels = tuple(level for one in alone for level in one.levels)
    return Solution(used, levels, usd_per_hour, together.bound_usd_per_hour, in_time=False)


# ---------------------------------------------------------------------------------------- fillings


def _all(items: Sequence[Item], machines: Sequence[Machine]) -> list[Filling] | None:
    found: list[Filling] = []
    for place, machine in enumerate(machines):
        some = all_fillings(items, place, machine, MOST_FILLINGS - len(found))
        if some is None:
            return None
        found += [Filling(place, counts) for counts in some]
    return found


def _alone(items: Sequence[Item], machines: Sequence[Machine]) -> list[Filling]:
    """Each item by itself on each machine that it may run on: enough for every model to be placed."""
    return [
        Filling(place, ((number, most),))
        for number, item in enumerate(items)
        for place in sorted(item.machines)
        if (most := copies(item, machines[place]))
    ]


def _generated(columns: Columns, end_s: float) -> tuple[list[Filling], float]:
    """Fillings that matter, and a lower bound of the cost in USD/hour; stops early at `end_s`, with a lesser bound."""
    fillings = _alone(columns.items, columns.machines)
    known = set(fillings)
    bound = 0.0
    while True:
        prices = _relaxed(columns, fillings)
        better, ratio = columns.better(prices)
        bound = max(bound, prices.cost / max(ratio, 1.0))
        new = [one for one in better if one not in known]
        if not new or bound >= prices.cost * (1 - CLOSE) or time.monotonic() > end_s:
            return fillings, bound
        fillings += new
        known.update(new)


# ---------------------------------------------------------------------------------------- solvers


def _relaxed(columns: Columns, fillings: Sequence[Filling]) -> Prices:
    """The program without whole numbers: its cost, and what it pays for a replica of each level."""
    found = linprog(
        columns.costs(fillings),
        A_ub=vstack([-columns.cover(fillings), columns.limits(fillings)], format="csr"),
        b_ub=np.concatenate([np.zeros(len(columns.levels)), columns.most]),
        A_eq=columns.choose(fillings).toarray(),
        b_eq=np.ones(columns.models),
        bounds=columns.bounds(fillings),
        method="highs",
    )
    if found.fun is None:
        raise CostoptError(f"the fleet's program could not be solved: {found.message}")
    paid = -np.asarray(found.ineqlin.marginals, dtype=np.float64)
    count = len(columns.levels)
    return Prices(float(found.fun), np.maximum(paid[:count], 0.0), np.maximum(paid[count:], 0.0))


def _whole(columns: Columns, fillings: Sequence[Filling], bound: float | None, end_s: float) -> Solution:
    """The program in whole numbers; its own bound holds for all fleets where `bound` is None."""
    rows = vstack([columns.cover(fillings), -columns.limits(fillings)], format="csr")
    choose = columns.choose(fillings)
    low, high = np.transpose(columns.bounds(fillings))
    found = milp(
        columns.costs(fillings),
        constraints=(
            LinearConstraint(rows, lb=np.concatenate([np.zeros(len(columns.levels)), -columns.most])),
            LinearConstraint(choose, lb=1, ub=1),
        ),
        integrality=np.ones(rows.shape[1], dtype=np.int64),
        bounds=Bounds(low, high),
        options={
            "time_limit": max(1.0, end_s - time.monotonic()),
            "mip_rel_gap": EXACT_GAP if bound is None else GAP,
        },
    )
    if found.x is None:
        return Solution((), (None,) * columns.models, 0.0, bound or 0.0, in_time=False)
    own_bound = float(found.mip_dual_bound or 0.0)
    return _read(
        columns, fillings, np.rint(found.x).astype(np.int64), own_bound if bound is None else bound, found.status == 0
    )


def _read(columns: Columns, fillings: Sequence[Filling], x: NDArray[np.int64], bound: float, in_time: bool) -> Solution:
    size = len(fillings)
    used = tuple((one, int(times)) for one, times in zip(fillings, x[:size], strict=True) if times)
    levels: list[Level | None] = [None] * columns.models
    for level, on in zip(columns.levels, x[size : size + len(columns.levels)], strict=True):
        if on:
            levels[columns.items[level.item].model] = level
    cost = sum(columns.machines[one.machine].usd_per_hour * times for one, times in used)
    return Solution(used, tuple(levels), cost, min(bound / (1 + FEWER), cost), in_time)
