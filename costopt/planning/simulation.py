"""One queue before several servers, request by request: M/G/c, first come first served, from service times as measured.

Random numbers are common to all simulations of a seed: at a higher rate the same requests come in the same order, only
sooner, and with more servers they find the same work before them. A request then never answers sooner at a higher rate,
nor later with another server (Kiefer & Wolfowitz 1955, "On the theory of queues with many servers"), so what follows
from simulations is as monotone as what it stands for.
"""

import heapq
import math
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


def requests_for(servers: int) -> int:
    """How many requests tell what so many servers do."""
    return min(max(REQUESTS, PER_SERVER * servers), MOST_REQUESTS)


def simulated(calls_s: Floats, rate_per_s: float, servers: int, requests: int = REQUESTS, seed: int = 0) -> Answers:
    """Requests of a Poisson process at `rate_per_s`, each served as long as one of the measured `calls_s`, at random.

    Calls are drawn independently: spells in which a machine is slow for seconds are not in it.
    """
    chance = np.random.default_rng(seed)
    arrivals = chance.standard_exponential(requests).cumsum() / rate_per_s
    services = np.sort(calls_s)[(chance.random(requests) * len(calls_s)).astype(np.intp)]
    starts = _starts(arrivals.tolist(), services.tolist(), servers)
    counted = slice(int(WARM_UP * requests), None)
    waits = (np.array(starts) - arrivals)[counted]
    return Answers(waits, waits + services[counted])


def _starts(arrivals_s: list[float], services_s: list[float], servers: int) -> list[float]:
    """When each request is taken up: whichever server is free first takes it."""
    free_s = [0.0] * servers
    starts = []
    for arrival, service in zip(arrivals_s, services_s, strict=True):
        start = max(arrival, free_s[0])
        heapq.heapreplace(free_s, start + service)
        starts.append(start)
    return starts
