"""How many instances does a rate need? A table a candidate and size of machine, made once from the capacity curves."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from costopt.planning.capacity import SERVERS, Capacities
from costopt.planning.services import Service

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

MOST_INSTANCES = 10**6
"""More than any region has of a type."""


class Sizes:
    """Instances by rate, for several services; `promise_s` is what a request may take, None where nothing is promised.

    A fleet of one service is told by the service's number, how many of it run side by side on an instance, and by how
    much its calls are slower than measured (`band`, a share).
    """

    def __init__(self, services: Sequence[Service], promise_s: float | None, capacities: Capacities) -> None:
        self._services = tuple(services)
        self._promise_s = promise_s
        self._capacities = capacities
        self._tables: dict[tuple[int, int, float], tuple[float, ...]] = {}

    def highest(self, number: int, servers: int, band: float) -> float:
        """The highest rate per second at which so many servers keep the promise."""
        service = self._services[number]
        mean_s = service.mean_s * (1 + band)
        multiple = math.inf if self._promise_s is None else self._promise_s / mean_s
        return self._capacities.load(number, servers, multiple, 1 + band) * servers * service.batch / mean_s

    def instances(self, number: int, side_by_side: int, band: float, rate_per_s: float) -> int:
        """The least number of instances that bear a rate; over `MOST_INSTANCES` where none known does."""
        table = self._table(number, side_by_side, band)
        found = bisect_left(table, rate_per_s)
        if found < len(table):
            return found + 1
        if table[-1] <= 0:
            return MOST_INSTANCES + 1
        # Beyond the curves each further instance bears the same; the allowance is for 3 * 0.1 > 0.3.
        many = math.ceil(min(rate_per_s / (table[-1] / len(table)), 2 * MOST_INSTANCES) * (1 - 1e-12))
        return max(many, len(table))

    def each(self, number: int, side_by_side: int, band: float, rates_per_s: Floats) -> Counts:
        """The same for many rates at once: hours share few numbers of instances, so these are looked for instead."""
        most = self.instances(number, side_by_side, band, float(rates_per_s.max()))
        if most == 1:
            return np.ones(len(rates_per_s), dtype=np.int64)
        if most > len(rates_per_s):
            return np.array([self.instances(number, side_by_side, band, float(one)) for one in rates_per_s])
        bears = [self.bears(number, side_by_side, band, count) for count in range(1, most)]
        return np.searchsorted(np.array(bears), rates_per_s, side="left") + 1

    def bears(self, number: int, side_by_side: int, band: float, instances: int) -> float:
        """The highest rate per second of so many instances, never less than fewer of them bear."""
        table = self._table(number, side_by_side, band)
        if instances <= len(table):
            return table[instances - 1]
        return table[-1] / len(table) * instances * (1 + 1e-12)

    def _table(self, number: int, side_by_side: int, band: float) -> tuple[float, ...]:
        """The highest rate of 1, 2, 3 ... instances, up to as many as there are curves for."""
        key = number, side_by_side, band
        if key not in self._tables:
            count = math.ceil(SERVERS[-1] / side_by_side)
            rates = (self.highest(number, one * side_by_side, band) for one in range(1, count + 1))
            self._tables[key] = tuple(accumulate(rates, max))
        return self._tables[key]
