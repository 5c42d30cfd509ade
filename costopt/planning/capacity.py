"""How much load may a server bear before the promise breaks? Found once for many candidates, then looked up.

    measured calls ─▶ times their mean is 1 ─▶ response percentile at a grid of loads, for 1, 2, 4 ... servers ─▶ curves
    a promise, as a multiple of the mean call ─▶ the highest load per server that keeps it

Time has no scale in a queue: calls twice as long at half the rate wait twice as long. So a curve holds for any speed of
the same calls, and the same curves serve every machine, price and rate. (A wait for a full batch has a scale of its
own, so there are other curves for calls that may be slower.) All candidates are simulated at once, in `lanes`.

Between points of the grids the lookup errs on the safe side. Percentiles curve upwards with load, so the line between
two points lies above them. (Those of batches rise steeply at first, as soon as one of a hundred requests finds a call
begun; there the lower point stands.) The load that a server may bear curves downwards with the number of servers (each
further one helps less: it lies below 1 by about 1/sqrt(servers), Halfin & Whitt 1981, "Heavy-traffic limits for queues
with many exponential servers"), so the line between two points lies below. Beyond the grid it stays where it was. What
is shown to a reader is simulated again at its busiest rate and number of servers (`simulation`).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from costopt.planning import lanes
from costopt.planning.simulation import ALONE, Batching, quantile

Floats = NDArray[np.float64]

MOST_LOAD = 0.95
"""No server is planned to be busier, promise or not: near 1 the smallest error in rate or speed makes the queue grow
without end, and simulations of any length disagree. A judgement."""

LOADS = np.array([0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, MOST_LOAD])
"""At which each curve is simulated; at no load at all nobody waits."""

SERVERS = (1, 2, 4, 8, 16, 32)
"""For which there are curves. With 32 servers and exponential calls, 99 of 100 wait for at most one call up to a load
of 0.88, and for two up to 0.94 (`theory.mmc_wait_tail`): more of them gain little."""


class Capacities:
    """Curves for several candidates, drawn when first asked for.

    `calls_s` are one candidate's calls each, in seconds, and `batchings` how each takes requests (one a call where
    there are none); `share` is the percentile that is promised, or None where nothing is (then a server bears
    `MOST_LOAD`). The load of a server is the rate over the most that it serves: full batches, one after the other.
    """

    def __init__(
        self, calls_s: Sequence[Floats], share: float | None, seed: int = 0, batchings: Sequence[Batching] = ()
    ) -> None:
        self._means_s = [float(calls.mean()) for calls in calls_s]
        self._shapes = [np.sort(calls) / calls.mean() for calls in calls_s]
        self._batchings = tuple(batchings) or (ALONE,) * len(self._shapes)
        self._share = share
        self._seed = seed
        self._curves: dict[tuple[int, float], dict[int, Floats]] = {}
        self._found: dict[tuple[int, int, float, float], float] = {}

    def load(self, place: int, servers: int, multiple: float, slower: float = 1.0) -> float:
        """The highest load per server at which the candidate at `place` keeps a promise of `multiple` mean calls.

        0 where no rate does: the promise lies below what the calls themselves take. Calls may be `slower` than
        measured by a factor (`multiple` is of such calls): only a wait for a full batch doesn't scale with them.
        """
        if self._share is None:
            return MOST_LOAD
        factor = slower if self._batchings[place].max_wait_s else 1.0
        below = max(one for one in SERVERS if one <= servers)
        least = self._at(place, below, multiple, factor)
        if below == SERVERS[-1] or below == servers:
            return least
        weight = (servers - below) / below
        return (1 - weight) * least + weight * self._at(place, 2 * below, multiple, factor)

    def _at(self, place: int, servers: int, multiple: float, slower: float) -> float:
        """The same for a number of servers that there is a curve for; more servers never bear less each."""
        asked = place, servers, multiple, slower
        if asked not in self._found:
            own = _highest(self._curve(place, servers, slower), multiple, self._batchings[place].size > 1)
            fewer = 0.0 if servers == SERVERS[0] else self._at(place, servers // 2, multiple, slower)
            self._found[asked] = max(own, fewer)
        return self._found[asked]

    def _curve(self, place: int, servers: int, slower: float) -> Floats:
        """Response percentiles in mean calls, shape (1 + loads,), at no load and at each of `LOADS`."""
        if (servers, slower) not in self._curves:
            self._curves[servers, slower] = self._drawn(servers, slower)
        return self._curves[servers, slower][place]

    def _drawn(self, servers: int, slower: float) -> dict[int, Floats]:
        """The curves of all candidates that this number of servers and factor can be asked for."""
        alone = [place for place, one in enumerate(self._batchings) if one.size == 1 and slower == 1.0]
        batched = [
            place for place, one in enumerate(self._batchings) if one.size > 1 and (one.max_wait_s or slower == 1.0)
        ]
        share = 0.0 if self._share is None else self._share
        shapes = [self._shapes[place] for place in alone]
        found = dict(zip(alone, lanes.percentiles(shapes, LOADS, servers, share, self._seed), strict=True))
        lines = [
            lanes.Line(self._shapes[place], self._batchings[place].size, self._wait(place, slower)) for place in batched
        ]
        found |= dict(zip(batched, lanes.batch_percentiles(lines, LOADS, servers, share, self._seed), strict=True))
        return {place: self._whole(place, curve, share, slower) for place, curve in found.items()}

    def _whole(self, place: int, curve: Floats, share: float, slower: float) -> Floats:
        """With its beginning, when nobody else is there, and never falling: a quieter hour must keep the promise too.

        (Where requests wait for a batch to fill, more of them may wait less.)
        """
        idle = quantile(self._shapes[place], share) + self._wait(place, slower)
        return np.maximum.accumulate(np.concatenate([[idle], curve]))

    def _wait(self, place: int, slower: float) -> float:
        """The longest wait for a full batch, in mean calls."""
        return self._batchings[place].max_wait_s / (self._means_s[place] * slower)


def _highest(responses: Floats, multiple: float, bulging: bool) -> float:
    """The highest load at which a response, interpolated between the loads that were simulated, is within bounds.

    Where a curve may be `bulging` above the line between two points, only a slope that has grown is one to follow;
    else the lower point stands.
    """
    loads = np.concatenate([[0.0], LOADS])
    within = int(np.searchsorted(responses, multiple, side="right"))
    if within == 0:
        return 0.0
    if within == len(loads):
        return MOST_LOAD
    slopes = np.diff(responses[: within + 1]) / np.diff(loads[: within + 1])
    if bulging and (within == 1 or slopes[-1] < slopes[-2]):
        return float(loads[within - 1])
    return float(loads[within - 1] + (multiple - responses[within - 1]) / slopes[-1])
