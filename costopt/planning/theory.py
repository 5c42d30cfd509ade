"""What queueing theory says in closed form; the simulation is held against it.

Notation: `rate_per_s` requests arrive a second, by a Poisson process, into one queue before `servers` servers, first
come first served; `mean_s` is the mean service time, and the load a server bears is rate * mean / servers.
"""

import math


def erlang_c(servers: int, offered: float) -> float:
    """The share of requests that wait in M/M/c; `offered` is rate * mean service time, in Erlang (no unit).

    C = B / (1 - (1 - B) a / c), with Erlang's B by its recursion B(0) = 1, B(k) = a B(k-1) / (k + a B(k-1)), which is
    stable where factorials overflow. 1 where the servers can't keep up (a >= c).
    Source: A. K. Erlang 1917, "Solution of some problems in the theory of probabilities of significance in automatic
    telephone exchanges".
    """
    if offered >= servers:
        return 1.0
    blocked = 1.0
    for busy in range(1, servers + 1):
        blocked = offered * blocked / (busy + offered * blocked)
    return blocked / (1 - (1 - blocked) * offered / servers)


def mmc_wait_tail(servers: int, rate_per_s: float, mean_s: float, wait_s: float) -> float:
    """P(W > t) = C(c, a) exp(-(c / s - rate) t) in M/M/c: the share of requests that wait longer than `wait_s`.

    Source: as `erlang_c`; service times are exponential with mean `mean_s`. 1 where the servers can't keep up.
    """
    spare_per_s = servers / mean_s - rate_per_s
    if spare_per_s <= 0:
        return 1.0
    return erlang_c(servers, rate_per_s * mean_s) * math.exp(-spare_per_s * wait_s)


def mmc_mean_wait_s(servers: int, rate_per_s: float, mean_s: float) -> float:
    """C(c, a) / (c / s - rate), in seconds: the mean of `mmc_wait_tail`. Infinite where the servers can't keep up."""
    spare_per_s = servers / mean_s - rate_per_s
    return erlang_c(servers, rate_per_s * mean_s) / spare_per_s if spare_per_s > 0 else math.inf


def mmc_wait_percentile_s(servers: int, rate_per_s: float, mean_s: float, share: float) -> float:
    """max(0, ln(C(c, a) / (1 - share)) / (c / s - rate)): the wait in seconds that `share` of requests stay under.

    It is `mmc_wait_tail` solved for the wait. Infinite where the servers can't keep up.
    """
    spare_per_s = servers / mean_s - rate_per_s
    if spare_per_s <= 0:
        return math.inf
    waiting = erlang_c(servers, rate_per_s * mean_s)
    return max(0.0, math.log(waiting / (1 - share)) / spare_per_s) if waiting > 0 else 0.0


def pollaczek_khinchine_s(rate_per_s: float, mean_s: float, squared_variation: float) -> float:
    """The mean wait in M/G/1, in seconds: rho (1 + c^2) s / (2 (1 - rho)), where rho = rate * s.

    `squared_variation` c^2 is variance over squared mean of the service time: 0 where all take the same, 1 for
    exponential times. Infinite where the server can't keep up.
    Source: F. Pollaczek 1930, A. Khinchine 1932; Kleinrock 1975, "Queueing Systems", volume 1.
    """
    load = rate_per_s * mean_s
    return load * (1 + squared_variation) * mean_s / (2 * (1 - load)) if load < 1 else math.inf


def bulk_mean_wait_s(size: int, rate_per_s: float, mean_s: float) -> float:
    """The mean wait in M/M(1,b)/1, in seconds: one server that takes all who wait, up to `size` = b, in one call.

    Calls are exponential with mean 1 / mu = `mean_s` whatever they hold, and nobody joins one that has begun. The
    chance that the server works and n wait is A r^n, where r in (0, 1) solves mu r^(b+1) - (rate + mu) r + rate = 0
    and A = 1 / (mu / rate + 1 / (1 - r)); so the wait is A r / (1 - r)^2 / rate. Infinite where the server can't keep
    up (rate >= b mu). Source: N. T. J. Bailey 1954, "On queueing processes with bulk service"; Medhi 2003,
    "Stochastic Models in Queueing Theory", chapter 4.
    """
    load = rate_per_s * mean_s
    if load >= size:
        return math.inf
    low, high = 0.0, ((load + 1) / (size + 1)) ** (1 / size)  # the polynomial falls up to its one minimum
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if middle ** (size + 1) - (load + 1) * middle + load > 0 else (low, middle)
    weight = 1 / (1 / load + 1 / (1 - low))
    return weight * low / (1 - low) ** 2 / rate_per_s
