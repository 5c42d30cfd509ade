"""The integer program: which machines, how many, and what stands on each, at the least cost.

    x[p]   how many machines are filled in the way p (a `Filling`: a type of machine, and replicas on it)
    y[l]   whether a model is served by the item and the cap of level l; one level a model
    s[m]   whether a model is left out, at a price at which no model is left out that could be placed

    minimise  sum price[p] x[p] + penalty * sum s[m]
    such that sum min(replicas of l's item in p, cap[l]) x[p] >= need[l] y[l]     for each level
              sum y[l] + s[m] = 1                                                for each model
              sum x[p] <= most[t]                                                for each limited type of machine

When any `spare` machines fail at once, a model loses the replicas on the fullest of its machines. With at most `cap`
replicas on each it loses spare * cap at most, so need = replicas + spare * cap is enough; and for the cap that equals
the count on the spare-th fullest machine it is also what is needed (the dual of a sum of the k largest; Bertsimas & Sim
2004, "The price of robustness"). So the choice among all caps loses nothing.

Where the fillings are few, all of them are in the program, and its optimum is the fleet's. Otherwise fillings are
generated: the program without whole numbers is solved, its prices tell which filling would lower the cost most
(`filling.best_filling`), until none would (Gilmore & Gomory 1961, "A linear programming approach to the cutting-stock
problem"). Then the whole numbers are found among those fillings only, and how far that may lie above the least cost is
told by the bound: for any prices, cost / (the most that a machine's best filling is worth per dollar) bounds the
optimum from below (Farley 1990, "A note on bounding a class of linear programming problems").
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import csr_array

from costopt.scheduling.filling import Counts, Item, Machine, all_fillings, best_filling, copies

Floats = NDArray[np.float64]

MOST_FILLINGS = 1500
"""Of all machines together, up to which every filling is in the program."""

CLOSE = 1e-4
"""Generating fillings ends when the bound is so near, as a share of the cost: more of them change cents."""


@dataclass(frozen=True, slots=True)
class Filling:
    """A type of machine, by its place, and the replicas on it."""

    machine: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class Level:
    """A model served by one item with at most `cap` replicas on a machine; then `need` of them are enough."""

    item: int
    cap: int
    need: int

    def counted(self, at_most: int) -> int:
        """How many of the needed replicas there are at least if no machine counts for more than `at_most`."""
        return self.need if at_most >= self.cap else math.ceil(self.need * at_most / self.cap - 1e-9)


@dataclass(frozen=True, slots=True)
class Solution:
    """What was found. `used` are fillings with the number of machines filled so.

    `levels` are the chosen ones, by model; None for a model that can't be placed. No fleet costs less than
    `bound_usd_per_hour`. `in_time` is whether the solver came to its end.
    """

    used: tuple[tuple[Filling, int], ...]
    levels: tuple[Level | None, ...]
    usd_per_hour: float
    bound_usd_per_hour: float
    in_time: bool


def solve(items: Sequence[Item], machines: Sequence[Machine], models: int, spare: int, limit_s: float) -> Solution:
    """The cheapest fleet for `models` models, each served by one of its items. Deterministic where it ends in time."""
    program = _Program(tuple(items), tuple(machines), models, _levels(items, machines, spare))
    end_s = time.monotonic() + limit_s
    fillings = _all(items, machines)
    if fillings is not None:
        return program.whole(fillings, None, end_s)
    fillings, bound = _generated(program, end_s - limit_s / 2)
    return program.whole(fillings, bound, end_s)


def _levels(items: Sequence[Item], machines: Sequence[Machine], spare: int) -> tuple[Level, ...]:
    """Without spare machines a cap is of no use; with them, all caps that a machine has room for."""
    found = []
    for place, item in enumerate(items):
        most = max((copies(item, machines[one]) for one in item.machines), default=0)
        caps = range(1, most + 1) if spare else range(most, most + 1)
        found += [Level(place, cap, item.replicas + spare * cap) for cap in caps if cap]
    return tuple(found)


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


def _generated(program: "_Program", end_s: float) -> tuple[list[Filling], float]:
    """Fillings that matter, and a lower bound of the cost in USD/hour; stops early at `end_s`, with a lesser bound."""
    fillings = _alone(program.items, program.machines)
    known = set(fillings)
    bound = 0.0
    while True:
        prices = program.relaxed(fillings)
        better, ratio = program.better(prices)
        bound = max(bound, prices.cost / max(ratio, 1.0))
        new = [one for one in better if one not in known]
        if not new or bound >= prices.cost * (1 - CLOSE) or time.monotonic() > end_s:
            return fillings, bound
        fillings += new
        known.update(new)


@dataclass(frozen=True, slots=True)
class _Prices:
    """What the program without whole numbers pays: for a replica of each level, and for each machine beyond its limit."""

    cost: float
    levels: Floats
    limits: dict[int, float]


@dataclass(frozen=True, slots=True)
class _Program:
    """What stays the same, whatever fillings there are."""

    items: tuple[Item, ...]
    machines: tuple[Machine, ...]
    models: int
    levels: tuple[Level, ...]

    @property
    def penalty(self) -> float:
        """More than any fleet that could be wanted costs: every replica on a machine of its own, the dearest."""
        dearest = max(one.usd_per_hour for one in self.machines)
        return 1.0 + dearest * sum(
            max(one.need for one in self.levels if self.items[one.item].model == model)
            for model in {self.items[one.item].model for one in self.levels}
        )

    @property
    def limited(self) -> tuple[int, ...]:
        """The machines of which there are only so many."""
        return tuple(place for place, one in enumerate(self.machines) if one.most is not None)

    def relaxed(self, fillings: Sequence[Filling]) -> _Prices:
        """The program without whole numbers, and its prices."""
        limits = self._limits(fillings)
        found = linprog(
            self._costs(fillings),
            A_ub=csr_array(np.vstack([-self._cover(fillings), limits])),
            b_ub=np.concatenate([np.zeros(len(self.levels)), self._most()]),
            A_eq=csr_array(self._choose(fillings)),
            b_eq=np.ones(self.models),
            method="highs",
        )
        paid = -np.asarray(found.ineqlin.marginals)
        count = len(self.levels)
        return _Prices(
            float(found.fun), np.maximum(paid[:count], 0.0), dict(zip(self.limited, -paid[count:], strict=True))
        )

    def better(self, prices: _Prices) -> tuple[list[Filling], float]:
        """The best filling of each machine where it pays, and the most that any is worth per dollar."""
        worth = self._worth(prices.levels)
        found, ratio = [], 0.0
        for place, machine in enumerate(self.machines):
            counts, value = best_filling(self.items, place, machine, worth)
            share = (value + prices.limits.get(place, 0.0)) / machine.usd_per_hour
            ratio = max(ratio, share)
            if counts and share > 1 + 1e-9:
                found.append(Filling(place, counts))
        return found, ratio

    def whole(self, fillings: Sequence[Filling], bound: float | None, end_s: float) -> Solution:
        """The program in whole numbers; its own bound holds for all fleets where `bound` is None."""
        rows = np.vstack([self._cover(fillings), -self._limits(fillings)])
        low = np.concatenate([np.zeros(len(self.levels)), -self._most()])
        size = len(fillings)
        found = milp(
            self._costs(fillings),
            constraints=(
                LinearConstraint(csr_array(rows), lb=low),
                LinearConstraint(csr_array(self._choose(fillings)), lb=1, ub=1),
            ),
            integrality=np.ones(rows.shape[1]),
            bounds=Bounds(0, np.concatenate([np.full(size, np.inf), np.ones(rows.shape[1] - size)])),
            options={"time_limit": max(1.0, end_s - time.monotonic()), "mip_rel_gap": 1e-9},
        )
        x = np.rint(found.x).astype(int)
        return self._read(fillings, x, float(found.mip_dual_bound) if bound is None else bound, found.status == 0)

    def _read(self, fillings: Sequence[Filling], x: NDArray[np.int_], bound: float, in_time: bool) -> Solution:
        size = len(fillings)
        used = tuple((one, int(times)) for one, times in zip(fillings, x[:size], strict=True) if times)
        levels: list[Level | None] = [None] * self.models
        for level, on in zip(self.levels, x[size : size + len(self.levels)], strict=True):
            if on:
                levels[self.items[level.item].model] = level
        cost = sum(self.machines[one.machine].usd_per_hour * times for one, times in used)
        return Solution(used, tuple(levels), cost, min(bound, cost), in_time)

    # ------------------------------------------------------------------------------------ the matrices

    def _costs(self, fillings: Sequence[Filling]) -> Floats:
        prices = [self.machines[one.machine].usd_per_hour for one in fillings]
        return np.array([*prices, *[0.0] * len(self.levels), *[self.penalty] * self.models])

    def _cover(self, fillings: Sequence[Filling]) -> Floats:
        """A row a level: replicas that count, less those that are needed where it is chosen."""
        size = len(fillings)
        rows = np.zeros((len(self.levels), size + len(self.levels) + self.models))
        of_item: dict[int, list[int]] = {}
        for row, level in enumerate(self.levels):
            of_item.setdefault(level.item, []).append(row)
        for mine in of_item.values():
            for row in mine:
                for other in mine:
                    rows[row, size + other] = -self.levels[other].counted(self.levels[row].cap)
        for column, one in enumerate(fillings):
            for item, number in one.counts:
                for row in of_item[item]:
                    rows[row, column] = min(number, self.levels[row].cap)
        return rows

    def _choose(self, fillings: Sequence[Filling]) -> Floats:
        """A row a model: one of its levels, or left out."""
        size = len(fillings)
        rows = np.zeros((self.models, size + len(self.levels) + self.models))
        for number, level in enumerate(self.levels):
            rows[self.items[level.item].model, size + number] = 1
        rows[:, size + len(self.levels) :] = np.eye(self.models)
        return rows

    def _limits(self, fillings: Sequence[Filling]) -> Floats:
        """A row a limited type of machine: how many there are of it."""
        rows = np.zeros((len(self.limited), len(fillings) + len(self.levels) + self.models))
        for row, place in enumerate(self.limited):
            rows[row, : len(fillings)] = [one.machine == place for one in fillings]
        return rows

    def _most(self) -> Floats:
        return np.array([float(self.machines[place].most or 0) for place in self.limited])

    def _worth(self, paid: Floats) -> dict[int, Floats]:
        """What 0, 1, 2 ... replicas of each item on one machine are worth at these prices."""
        found = {}
        for place, item in enumerate(self.items):
            most = max((copies(item, self.machines[one]) for one in item.machines), default=0)
            numbers = np.arange(most + 1)
            mine = [row for row, level in enumerate(self.levels) if level.item == place]
            found[place] = np.sum([paid[row] * np.minimum(numbers, self.levels[row].cap) for row in mine], axis=0)
        return found
