"""Many simulations of a queue side by side: candidates, loads and independent lanes, a request or a call at a step.

Times are in mean calls. The random numbers are common to all of a lane: every candidate, load and number of servers
meets the same requests, only sooner or later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costopt.planning.simulation import quantile

Floats = NDArray[np.float64]
Places = NDArray[np.intp]

LANES = 8
"""Independent stretches of requests that make one point of a curve."""

REQUESTS = 3000
"""A lane: an empty system with a load of 0.9 forgets its beginning in some 350 requests (the relaxation time of
M/M/1 is 1 / (1 - sqrt(load))^2 services; Cohen 1982, "The Single Server Queue")."""

WARM_UP = 1000
"""Requests of a lane that don't count."""

BATCH_LANES = 4
CALLS = 2000
"""Lanes, and calls of a lane, where a call serves several requests, and `WARM_UP_CALLS` of them that don't count."""

WARM_UP_CALLS = 700

LOOKED_AT = 4
"""Requests of a full batch that are looked at, about: those of one call are answered together."""


def percentiles(shapes: Sequence[Floats], loads: Floats, servers: int, share: float, seed: int) -> Floats:
    """The response time that `share` of the requests stay under, one request a call; shape (candidates, loads).

    `shapes` are each candidate's calls, sorted, with a mean of 1.
    """
    if not shapes:
        return np.empty((0, len(loads)))
    seconds = _responses(shapes, loads, servers, seed)
    return np.array([[quantile(lanes.ravel(), share) for lanes in one] for one in seconds])


def _responses(shapes: Sequence[Floats], loads: Floats, servers: int, seed: int) -> Floats:
    """Response times in mean calls, shape (candidates, loads, lanes, requests that count)."""
    chance = np.random.default_rng(seed)
    gaps = chance.standard_exponential((REQUESTS, LANES))
    draws = chance.random((REQUESTS, LANES))
    arrivals = gaps.cumsum(axis=0)[:, None, :] / (loads[:, None] * servers)
    services = np.stack([shape[(draws * len(shape)).astype(np.intp)] for shape in shapes], axis=1)
    free = np.zeros((servers, len(shapes), len(loads), LANES))
    found = np.empty((REQUESTS - WARM_UP, len(shapes), len(loads), LANES))
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


# ---------------------------------------------------------------------------------------- several requests a call


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A candidate's calls (sorted, with a mean of 1), and how they are filled: `simulation.Batching` in mean calls."""

    shape: Floats
    size: int
    max_wait: float


@dataclass(frozen=True, slots=True, eq=False)
class _Calls:
    """What became of every call: its end and how many requests it served, shape (calls, candidates, loads, lanes).

    Times are in mean gaps between two requests; `arrivals` has those of all lanes, one lane after the other, and
    `begins` the place of each lane's first.
    """

    ends: Floats
    served: Places
    arrivals: Floats
    begins: Places


def batch_percentiles(lines: Sequence[Line], loads: Floats, servers: int, share: float, seed: int) -> Floats:
    """As `percentiles`, for candidates that serve several requests a call. The load is relative to full batches."""
    if not lines:
        return np.empty((0, len(loads)))
    per_call = np.array([[load * servers * one.size for load in loads] for one in lines])
    calls = _in_batches(lines, per_call, servers, seed)
    gaps = [[_counted(calls, line.size, place, load) for load in range(len(loads))] for place, line in enumerate(lines)]
    in_calls: Floats = np.array([[quantile(one, share) for one in rows] for rows in gaps]) / per_call
    return in_calls


def _in_batches(lines: Sequence[Line], per_call: Floats, servers: int, seed: int) -> _Calls:
    """The loop of `simulation.in_batches` for all lanes at once; `per_call` are requests that arrive in a mean call."""
    sizes = np.array([one.size for one in lines], dtype=np.intp)[:, None, None]
    waits = np.array([one.max_wait for one in lines])[:, None, None] * per_call[:, :, None]
    chance = np.random.default_rng(seed)
    draws = chance.random((CALLS, BATCH_LANES))
    services = np.stack([one.shape[(draws * len(one.shape)).astype(np.intp)] for one in lines], axis=1)
    arrivals, begins = _arrivals(chance, int(CALLS * sizes.max() + sizes.max()))
    first = np.broadcast_to(begins, (*per_call.shape, BATCH_LANES))
    free = np.broadcast_to(arrivals[begins] - 1, (servers, *first.shape)).copy()
    ends, served = np.empty((CALLS, *first.shape)), np.empty((CALLS, *first.shape), dtype=np.intp)
    for number in range(CALLS):
        full = np.minimum(arrivals[first + sizes - 1], arrivals[first] + waits)
        start = np.maximum(free[0], full)
        behind = np.minimum(np.searchsorted(arrivals, start, side="right"), first + sizes)
        ends[number] = start + services[number][:, None, :] * per_call[:, :, None]
        served[number] = behind - first
        first = behind
        _keep_sorted(free, ends[number])
    return _Calls(ends, served, arrivals, begins)


def _arrivals(chance: np.random.Generator, requests: int) -> tuple[Floats, Places]:
    """Arrivals of all lanes in one rising line, in mean gaps, and the place where each lane begins.

    Between two lanes lies as long a pause as a lane takes, so that no lane reaches into the next.
    """
    times = chance.standard_exponential((BATCH_LANES, requests)).cumsum(axis=1)
    apart = np.arange(BATCH_LANES)[:, None] * 2 * float(times[:, -1].max())
    return (times + apart).ravel(), np.arange(BATCH_LANES, dtype=np.intp) * requests


def _counted(calls: _Calls, size: int, place: int, load: int) -> Floats:
    """Response times of the requests that count, or of some in each batch, in mean gaps between two requests."""
    step = max(1, size // LOOKED_AT)
    found = []
    for lane, begin in enumerate(calls.begins):
        served = calls.served[:, place, load, lane]
        skipped = served[:WARM_UP_CALLS].sum()
        counted = served[WARM_UP_CALLS:]
        arrivals = calls.arrivals[begin + skipped : begin + skipped + counted.sum()]
        ends = np.repeat(calls.ends[WARM_UP_CALLS:, place, load, lane], counted)
        found.append((ends - arrivals)[::step])
    return np.concatenate(found)
