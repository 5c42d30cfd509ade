"""The integer program as matrices: one column a filling, a level, and a model.

    x[p]   how many machines are filled in the way p (a `Filling`: a type of machine, and replicas on it)
    y[l]   whether a model is served by the item and the cap of level l; one level a model
    s[m]   whether a model is left out: only where there are limited machines, and dearer than any fleet

    minimise  sum price[p] x[p] + penalty * sum s[m]
    such that sum min(replicas of i in p, c) x[p] >= sum counted[l, c] y[l]    for each item i and each of its caps c
              sum y[l] + s[m] = 1                                             for each model
              sum x[p] <= most[t]                                             for each limited type of machine

When any `spare` machines fail at once, a model loses the replicas on the fullest of its machines. With at most `cap`
replicas on each it loses spare * cap at most, so need = replicas + spare * cap of them are enough; and for the cap that
equals the count on the spare-th fullest machine it is also what is needed (the dual of a sum of the k largest:
Bertsimas & Sim 2004, "The price of robustness"). So a choice among all caps loses nothing.

The rows of the other caps of the same item follow: with `need` replicas, at most `cap` a machine, there are at least
need * c / cap where no machine counts for more than c < cap, because min(n, c) >= n c / cap for n <= cap. They say
nothing new in whole numbers, but without them the program in fractions is served by a bit of each cap for next to
nothing, and its bound is worthless.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from costopt.scheduling.filling import Counts, Item, Machine, best_filling, copies

Floats = NDArray[np.float64]

FEWER = 1e-6
"""What a machine is taken to cost beyond its price, as a share of the cheapest price: of fleets that cost the same, the
one with the fewest machines is found."""

_PAYS = 1e-9
"""By how much a filling must be worth more than its price to be new: less is rounding."""


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


@dataclass(frozen=True, slots=True, eq=False)
class Prices:
    """What the program in fractions costs and pays: for a replica by level, for a limited machine beyond its limit."""

    cost: float
    levels: Floats
    limits: Floats


class Columns:
    """What stays the same whatever fillings there are, and the matrices for some of them."""

    def __init__(self, items: tuple[Item, ...], machines: tuple[Machine, ...], models: int, spare: int) -> None:
        self.items = items
        self.machines = machines
        self.models = models
        self.levels = tuple(one for place in range(len(items)) for one in self._levels_of(place, spare))
        self._limited = tuple(place for place, one in enumerate(machines) if one.most is not None)
        self.most = np.array([float(machines[place].most or 0) for place in self._limited])
        self._rows: dict[int, NDArray[np.intp]] = {
            place: np.array([row for row, one in enumerate(self.levels) if one.item == place], dtype=np.intp)
            for place in range(len(items))
        }
        self._caps = np.array([one.cap for one in self.levels])

    def _levels_of(self, place: int, spare: int) -> tuple[Level, ...]:
        """Without spare machines a cap is of no use; with them, all caps that a machine has room for."""
        item = self.items[place]
        most = max((copies(item, self.machines[one]) for one in item.machines), default=0)
        caps = range(1 if spare else most, most + 1) if most else ()
        return tuple(Level(place, cap, item.replicas + spare * cap) for cap in caps)

    # ------------------------------------------------------------------------------------ the matrices

    def costs(self, fillings: Sequence[Filling]) -> Floats:
        """What each column costs, in USD/hour."""
        more = FEWER * min(one.usd_per_hour for one in self.machines)
        prices = [self.machines[one.machine].usd_per_hour + more for one in fillings]
        return np.array([*prices, *[0.0] * len(self.levels), *[self._penalty()] * self.models])

    def _penalty(self) -> float:
        """More than any fleet that could be wanted costs: every replica on a machine of its own, the dearest."""
        most_needed = [0] * self.models
        for level in self.levels:
            model = self.items[level.item].model
            most_needed[model] = max(most_needed[model], level.need)
        return 1.0 + 2 * max(one.usd_per_hour for one in self.machines) * sum(most_needed)

    def bounds(self, fillings: Sequence[Filling]) -> list[tuple[float, float]]:
        """Least and most of each column; no model is left out where no machine is limited."""
        left_out = 1.0 if self._limited else 0.0
        return [(0.0, np.inf)] * len(fillings) + [(0.0, 1.0)] * len(self.levels) + [(0.0, left_out)] * self.models

    def cover(self, fillings: Sequence[Filling]) -> "csr_array":
        """A row a level: replicas that count at its cap, less those that are needed."""
        size = len(fillings)
        rows, columns, values = list[int](), list[int](), list[float]()
        for column, one in enumerate(fillings):
            for item, number in one.counts:
                mine = self._rows[item]
                rows += mine.tolist()
                columns += [column] * len(mine)
                values += np.minimum(number, self._caps[mine]).tolist()
        for row, level in enumerate(self.levels):
            for other in self._rows[level.item].tolist():
                rows.append(row)
                columns.append(size + other)
                values.append(-self.levels[other].counted(level.cap))
        return self._matrix(values, rows, columns, len(self.levels), size)

    def choose(self, fillings: Sequence[Filling]) -> "csr_array":
        """A row a model: one of its levels, or left out."""
        size, count = len(fillings), len(self.levels)
        rows = [self.items[level.item].model for level in self.levels] + list(range(self.models))
        return self._matrix([1.0] * len(rows), rows, list(range(size, size + count + self.models)), self.models, size)

    def limits(self, fillings: Sequence[Filling]) -> "csr_array":
        """A row a limited type of machine: how many there are of it."""
        row_of = {place: row for row, place in enumerate(self._limited)}
        places = [(row_of[one.machine], column) for column, one in enumerate(fillings) if one.machine in row_of]
        rows, columns = [row for row, _ in places], [column for _, column in places]
        return self._matrix([1.0] * len(rows), rows, columns, len(self._limited), len(fillings))

    def _matrix(
        self, values: list[float], rows: list[int], columns: list[int], height: int, fillings: int
    ) -> "csr_array":
        return csr_array((values, (rows, columns)), shape=(height, fillings + len(self.levels) + self.models))

    # ------------------------------------------------------------------------------------ new columns

    def better(self, prices: Prices) -> tuple[list[Filling], float]:
        """The best filling of each machine where it pays, and the most that any is worth per dollar."""
        worth = {place: self._worth(place, prices.levels) for place in range(len(self.items))}
        paid = dict(zip(self._limited, prices.limits.tolist(), strict=True))
        found, ratio = [], 0.0
        for place, machine in enumerate(self.machines):
            counts, value = best_filling(self.items, place, machine, worth)
            share = (value - paid.get(place, 0.0)) / machine.usd_per_hour
            ratio = max(ratio, share)
            if counts and share > 1 + _PAYS:
                found.append(Filling(place, counts))
        return found, ratio

    def _worth(self, item: int, paid: Floats) -> Floats:
        """What 0, 1, 2 ... replicas of an item on one machine are worth at these prices."""
        mine = self._rows[item]
        most = int(self._caps[mine].max(initial=0))
        counted = np.minimum(np.arange(most + 1)[:, None], self._caps[mine])
        worth: Floats = counted @ paid[mine]
        return worth
