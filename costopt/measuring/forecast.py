"""Which way to gather requests into batches is worth trying? Foretold from call times, before any request is served.

    seconds per call, by batch ─▶ CallTimes ─▶ the line in virtual time, at many rates ─▶ forecasts, best first

A forecast only says where to look: it knows calls that were measured one after the other, not beside waiting requests.
What is reported was measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from costopt.benching.measurements import Batching
from costopt.measuring.queueing import PROMISED_SHARE, schedule, simulate

REQUESTS = 3000
"""Simulated at each rate: p99 then leaves out thirty requests, enough to tell ways to batch apart."""

HALVINGS = 8
"""Of the rates up to the server's capacity: a forecast is then good to 1/256 of it, far better than it is true."""

PATIENCE = 0.25
"""Of the bound: how long the first request of a batch may wait for others, in the ways that wait at all."""


class CallTimes:
    """Seconds of calls by batch size, drawn at random from those measured, in an order that the seed fixes.

    Between two sizes that were measured, calls are drawn from both and weighed by distance; a batch smaller than the
    smallest takes as long as that one.
    """

    def __init__(self, seconds: Mapping[int, Sequence[float]], seed: int) -> None:
        self._sizes = sorted(seconds)
        self._seconds = {size: sorted(seconds[size]) for size in self._sizes}
        self._draws: list[float] = np.random.default_rng(seed).random(1 << 12).tolist()
        self._drawn = 0

    def __call__(self, size: int) -> float:
        """How long the next call of `size` requests takes."""
        self._drawn = (self._drawn + 1) % len(self._draws)
        draw = self._draws[self._drawn]
        above = next((one for one in self._sizes if one >= size), self._sizes[-1])
        below = max((one for one in self._sizes if one <= size), default=above)
        if above == below:
            return self._at(above, draw)
        weight = (size - below) / (above - below)
        return (1 - weight) * self._at(below, draw) + weight * self._at(above, draw)

    def _at(self, size: int, draw: float) -> float:
        seconds = self._seconds[size]
        return seconds[int(draw * len(seconds))]

    def fastest_s(self) -> float:
        """The fastest call of all: no request is answered sooner."""
        return min(seconds[0] for seconds in self._seconds.values())

    def capacity_per_s(self, most: int) -> float:
        """Requests per second in calls of the best size up to `most` (or of the smallest there is)."""
        sizes = [size for size in self._sizes if size <= most] or self._sizes[:1]
        return max(min(size, most) / float(np.mean(self._seconds[size])) for size in sizes)


@dataclass(frozen=True, slots=True)
class Forecast:
    """The highest rate that a way to batch should hold; 0 when it should hold none."""

    batching: Batching
    rate_per_s: float


def ways(sizes: Sequence[int], max_batch: int | None, max_wait_ms: float | None, bound_ms: float) -> list[Batching]:
    """Every way to batch that is worth a forecast: what was asked for, and all of `sizes` where nothing was."""
    found: list[Batching] = []
    for most in (max_batch,) if max_batch is not None else sizes:
        waits = (0.0, PATIENCE * bound_ms) if max_wait_ms is None and most > 1 else (max_wait_ms or 0.0,)
        found.extend(Batching(most, wait) for wait in waits)
    return found


def forecasts(
    calls: Mapping[int, Sequence[float]], batchings: Sequence[Batching], bound_ms: float, instances: int, seed: int
) -> list[Forecast]:
    """The rate that each way to batch should hold, highest first."""
    found = [Forecast(one, _highest(calls, one, bound_ms, instances, seed)) for one in batchings]
    return sorted(found, key=lambda one: -one.rate_per_s)


def _highest(
    calls: Mapping[int, Sequence[float]], batching: Batching, bound_ms: float, instances: int, seed: int
) -> float:
    """Bisect for the highest rate at which the simulated p99 is within the bound."""
    low, high = 0.0, instances * CallTimes(calls, seed).capacity_per_s(batching.max_batch)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        arrivals = schedule(middle, REQUESTS, seed)
        attempt = simulate(middle, arrivals, batching, bound_ms / 1e3, CallTimes(calls, seed), instances)
        late = sum(one > bound_ms / 1e3 for one in attempt.latencies_s)
        holds = late <= math.floor((1 - PROMISED_SHARE) * len(attempt.latencies_s))
        low, high = (middle, high) if holds else (low, middle)
    return low
