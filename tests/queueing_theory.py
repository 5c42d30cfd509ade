"""What queueing theory says of the simplest servers, and such servers computed in another way than `queueing` does.

One server, Poisson arrivals at `load` per unit of time, calls that take one unit on average: M/D/1 when each takes the
same, M/M/1 when their time is exponential.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from costopt.benching.measurements import Attempt, Batching
from costopt.measuring.queueing import busy_periods

Floats = NDArray[np.float64]
CallTimes = Callable[[np.random.Generator, int], Floats]


def always_one(_: np.random.Generator, calls: int) -> Floats:
    """The calls of M/D/1."""
    return np.ones(calls)


def exponential(chance: np.random.Generator, calls: int) -> Floats:
    """The calls of M/M/1."""
    return chance.standard_exponential(calls)


def mean_wait(load: float, squared_variation: float) -> float:
    """Pollaczek and Khinchine's formula: `squared_variation` is variance over squared mean of the call times."""
    return load * (1 + squared_variation) / (2 * (1 - load))


def mean_wait_of_many(load: float, servers: int) -> float:
    """M/M/k, by Erlang's C formula; `load` per server."""
    offered = load * servers
    idle = sum(offered**busy / math.factorial(busy) for busy in range(servers))
    full = offered**servers / math.factorial(servers) / (1 - load)
    return full / (idle + full) / (servers * (1 - load))


def p99_mm1(load: float) -> float:
    """The latency of M/M/1 is exponential with rate 1 - load."""
    return math.log(100) / (1 - load)


def p99_md1(load: float) -> float:
    """From the distribution of the waiting time (Erlang 1909), by bisection. Cancels too much above 15 or so."""

    def waits_under(time: float) -> float:
        terms = ((load * (call - time)) ** call / math.factorial(call) for call in range(int(time) + 1))
        return (1 - load) * math.fsum(term * math.exp(-load * (call - time)) for call, term in enumerate(terms))

    return 1 + _where(lambda time: waits_under(time) >= 0.99, 0.0, 20.0)


def highest_load(p99: Callable[[float], float], bound: float) -> float:
    """The load at which p99 reaches the bound."""
    return _where(lambda load: p99(load) >= bound, 0.01, 0.97)


def _where(reached: Callable[[float], bool], low: float, high: float) -> float:
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def served(load: float, calls: CallTimes, requests: int, seed: int) -> Attempt:
    """One server without batching by Lindley's recursion, which NumPy does in one go: ends[n] = sums[n] + the largest
    over m <= n of (arrivals[m] - sums[m - 1]), where sums[n] is the time of the first n + 1 calls."""
    chance = np.random.default_rng(seed)
    arrivals = chance.standard_exponential(requests).cumsum() / load
    seconds = calls(chance, requests)
    sums = seconds.cumsum()
    ends = sums + np.maximum.accumulate(arrivals - (sums - seconds))
    return Attempt(
        rate_per_s=load,
        batching=Batching(),
        instances=1,
        latencies_s=tuple((ends - arrivals).tolist()),
        busy_periods=busy_periods(arrivals, ends),
        seconds=float(ends[-1] - arrivals[0]),
        busy_s=float(sums[-1]),
        calls=requests,
    )
