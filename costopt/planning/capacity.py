"""How much load may a server bear before the promise breaks? Found once for many candidates, then looked up.

    measured calls ─▶ times their mean is 1 ─▶ response percentile at a grid of loads, for 1, 2, 4 ... servers ─▶ curves
    a promise, as a multiple of the mean call ─▶ the highest load per server that keeps it

Time has no scale in a queue: calls twice as long at half the rate wait twice as long. So a curve holds for any speed of
the same calls, and the same curves serve every machine, price and rate. All candidates are simulated at once, in lanes
side by side, with common random numbers.

Between points of the grids the lookup errs on the safe side. Percentiles curve upwards with load, so the line between
two points lies above them; the load that a server may bear curves downwards with the number of servers (each further
one helps less: it lies below 1 by about 1/sqrt(servers), Halfin & Whitt 1981, "Heavy-traffic limits for queues with
many exponential servers"), so the line between two points lies below. Beyond the grid it stays where it was. What is
shown to a reader is simulated again at its own rate and number of servers (`simulation`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from costopt.planning.simulation import quantile

Floats = NDArray[np.float64]

MOST_LOAD = 0.95
"""No server is planned to be busier, promise or not: near 1 the smallest error in rate or speed makes the queue grow
without end, and simulations of any length disagree. A judgement."""

LOADS = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, MOST_LOAD])
"""At which each curve is simulated; at no load at all nobody waits."""

SERVERS = (1, 2, 4, 8, 16, 32)
"""For which there are curves. With 32 servers and exponential calls, 99 of 100 wait for at most one call up to a load
of 0.88, and for two up to 0.94 (`theory.mmc_wait_tail`): more of them gain little."""

LANES = 8
"""Independent stretches of requests that make one point of a curve."""

REQUESTS = 3000
"""A lane: an empty system with a load of 0.9 forgets its beginning in some 350 requests (the relaxation time of
M/M/1 is 1 / (1 - sqrt(load))^2 services; Cohen 1982, "The Single Server Queue")."""

WARM_UP = 1000
"""Requests of a lane that don't count."""


class Capacities:
    """Curves for several candidates, drawn when first asked for.

    `calls_s` are one candidate's calls each, in seconds; `share` is the percentile that is promised, or None where
    nothing is (then a server bears `MOST_LOAD`).
    """

    def __init__(self, calls_s: Sequence[Floats], share: float | None, seed: int = 0) -> None:
        self._shapes = [np.sort(calls) / calls.mean() for calls in calls_s]
        self._share = share
        self._seed = seed
        self._curves: dict[int, Floats] = {}
        self._found: dict[tuple[int, int, float], float] = {}

    def load(self, place: int, servers: int, multiple: float) -> float:
        """The highest load per server at which the candidate at `place` keeps a promise of `multiple` mean calls.

        0 where no rate does: the promise lies below what the calls themselves take.
        """
        if self._share is None:
            return MOST_LOAD
        below = max(one for one in SERVERS if one <= servers)
        least = self._at(place, below, multiple)
        if below == SERVERS[-1] or below == servers:
            return least
        weight = (servers - below) / below
        return (1 - weight) * least + weight * self._at(place, 2 * below, multiple)

    def _at(self, place: int, servers: int, multiple: float) -> float:
        """The same for a number of servers that there is a curve for; more servers never bear less each."""
        asked = place, servers, multiple
        if asked not in self._found:
            self._found[asked] = self._looked_up(*asked)
        return self._found[asked]

    def _looked_up(self, place: int, servers: int, multiple: float) -> float:
        if servers not in self._curves:
            self._curves[servers] = self._drawn(servers)
        responses = self._curves[servers][place]
        own = _highest(responses, multiple)
        return own if servers == SERVERS[0] else max(own, self._at(place, servers // 2, multiple))

    def _drawn(self, servers: int) -> Floats:
        """Response percentiles in mean calls, shape (candidates, 1 + loads), at no load and at each of `LOADS`."""
        seconds = _responses(self._shapes, servers, self._seed)
        share = 0.0 if self._share is None else self._share
        idle = np.array([[quantile(shape, share)] for shape in self._shapes])
        loaded = np.array([[quantile(lanes.ravel(), share) for lanes in loads] for loads in seconds])
        return np.maximum.accumulate(np.concatenate([idle, loaded], axis=1), axis=1)


def _highest(responses: Floats, multiple: float) -> float:
    """The highest load at which a response, interpolated between the loads that were simulated, is within bounds."""
    loads = np.concatenate([[0.0], LOADS])
    within = int(np.searchsorted(responses, multiple, side="right"))
    if within == 0:
        return 0.0
    if within == len(loads):
        return MOST_LOAD
    low, high = responses[within - 1], responses[within]
    return float(loads[within - 1] + (multiple - low) / (high - low) * (loads[within] - loads[within - 1]))


def _responses(shapes: Sequence[Floats], servers: int, seed: int) -> Floats:
    """Response times in mean calls, shape (candidates, loads, lanes, requests that count)."""
    chance = np.random.default_rng(seed)
    gaps = chance.standard_exponential((REQUESTS, LANES))
    draws = chance.random((REQUESTS, LANES))
    arrivals = gaps.cumsum(axis=0)[:, None, :] / (LOADS[:, None] * servers)
    services = np.stack([shape[(draws * len(shape)).astype(np.intp)] for shape in shapes], axis=1)
    free = np.zeros((servers, len(shapes), len(LOADS), LANES))
    found = np.empty((REQUESTS - WARM_UP, len(shapes), len(LOADS), LANES))
    for number in range(REQUESTS):
        ends = np.maximum(free[0], arrivals[number]) + services[number][:, None, :]
        if number >= WARM_UP:
            np.subtract(ends, arrivals[number], out=found[number - WARM_UP])
        _keep_sorted(free, ends)
    return np.moveaxis(found, 0, -1)


def _keep_sorted(free: Floats, ends: Floats) -> None:
    """Put `ends` in the place of the servers that were free first; `free` stays sorted along its first axis."""
    for place in range(1, len(free)):
        np.minimum(free[place], ends, out=free[place - 1])
        ends = np.maximum(free[place], ends)
    free[-1] = ends
