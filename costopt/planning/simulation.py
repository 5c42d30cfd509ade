"""One queue before several servers, request by request: M/G/c, first come first served, from service times as measured.

A server may take several requests in one call (`Batching`). A call that is not full is taken to last as long as a full
one was measured to: with most models it is shorter, so waits are longer here than they will be.

Random numbers are common to all simulations of a seed: at a higher rate the same requests come in the same order, only
sooner, and with more servers they find the same work before them. A request then never answers sooner at a higher rate,
nor later with another server (Kiefer & Wolfowitz 1955, "On the theory of queues with many servers"), so what follows
from simulations is as monotone as what it stands for. (Batches have no such law: a call that started early may leave
out a request that a later one would have taken.)
"""

import heapq
import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REQUESTS = 60_000
"""Simulated by `simulated` unless told otherwise: p99 then leaves out 540, known to 4 % where they were independent."""

PER_SERVER = 20
"""Requests for each of many servers: all have worked twice before the first request counts."""

MOST_REQUESTS = 1_000_000
"""With so many servers that this is less than `PER_SERVER` for each, and a load up to 0.95, nobody waits: by Halfin &
Whitt 1981 the share that does is below 1e-20 from (1 - load) sqrt(servers) = 11 on."""

WARM_UP = 0.1
"""The share of the first requests that doesn't count: they find empty servers."""


CALLS = 10_000
"""Simulated at least where a call serves many requests: those that share a call are no independent witnesses."""


@dataclass(frozen=True, slots=True)
class Batching:
    """A free server takes up to `size` waiting requests; it waits for them to be so many, but no request for longer
    than `max_wait_s` seconds once a server is free. 0 takes what is there.
    """

    size: int = 1
    max_wait_s: float = 0.0


ALONE = Batching()
"""One request a call."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of the requests that count, in order: seconds in the queue, and seconds from arrival to answer."""

    waits_s: Floats
    seconds: Floats

    def percentile_s(self, share: float) -> float:
        """The response time that `share` of the requests stay under, by nearest rank, in seconds."""
        return quantile(self.seconds, share)


def quantile(values: Floats, share: float) -> float:
    """The value that `share` of `values` stay at or under, by nearest rank."""
    rank = max(math.ceil(share * len(values) - 1e-9), 1) - 1
    return float(np.partition(values, rank)[rank])


def requests_for(servers: int, size: int = 1) -> int:
    """How many requests tell what so many servers do that take `size` of them at a time."""
    return min(max(REQUESTS, PER_SERVER * servers * size, CALLS * size if size > 1 else 0), MOST_REQUESTS)


def simulated(
    calls_s: Floats,
    rate_per_s: float,
    servers: int,
    requests: int = REQUESTS,
    seed: int = 0,
    batching: Batching = ALONE,
) -> Answers:
    """Requests of a Poisson process at `rate_per_s`; each call lasts as long as one of the measured `calls_s`.

    Calls are drawn independently: spells in which a machine is slow for seconds are not in it.
    """
    chance = np.random.default_rng(seed)
    arrivals = chance.standard_exponential(requests).cumsum() / rate_per_s
    services = np.sort(calls_s)[(chance.random(requests) * len(calls_s)).astype(np.intp)]
    counted = slice(int(WARM_UP * requests), None)
    if batching.size == 1:
        waits = (np.array(_starts(arrivals.tolist(), services.tolist(), servers)) - arrivals)[counted]
        return Answers(waits, waits + services[counted])
    starts, served = in_batches(arrivals.tolist(), services.tolist(), servers, batching)
    waits = (np.repeat(starts, served) - arrivals)[counted]
    return Answers(waits, waits + np.repeat(services[: len(served)], served)[counted])


def _starts(arrivals_s: list[float], services_s: list[float], servers: int) -> list[float]:
    """When each request is taken up: whichever server is free first takes it."""
    free_s = [0.0] * servers
    starts = []
    for arrival, service in zip(arrivals_s, services_s, strict=True):
        start = max(arrival, free_s[0])
        heapq.heapreplace(free_s, start + service)
        starts.append(start)
    return starts


def in_batches(
    arrivals_s: list[float], services_s: list[float], servers: int, batching: Batching
) -> tuple[list[float], list[int]]:
    """When each call starts, and how many requests it serves; the n-th call lasts `services_s[n]`.

    Whichever server is free first waits until the batch is full or its first request has waited long enough.
    """
    free_s = [0.0] * servers
    starts: list[float] = []
    served: list[int] = []
    first, requests = 0, len(arrivals_s)
    while first < requests:
        last = first + batching.size - 1
        full = arrivals_s[last] if last < requests else math.inf
        start = max(free_s[0], min(full, arrivals_s[first] + batching.max_wait_s))
        behind = bisect_right(arrivals_s, start, first, min(last + 1, requests))
        heapq.heapreplace(free_s, start + services_s[len(starts)])
        starts.append(start)
        served.append(behind - first)
        first = behind
    return starts, served
