"""How many copies of a model does a rate need, so that few enough requests wait too long?

A request waits twice: for a place in a batch (`copies * batch` places, each taken for the whole stay), and then for the
prompts before it (each copy works on one at a time, at most one step later). Both queues are taken as M/M/c by Erlang's
formula; where all requests are alike (one forward pass), as M/D/c by `pass_wait_tail_s`. Their percentiles are added,
each with half of the requests that may be late: by the union bound the sum is not passed by more.
"""

import functools
import math
from dataclasses import dataclass

from costopt.distributing.pace import Pace
from costopt.planning.capacity import MOST_LOAD
from costopt.planning.theory import erlang_c

MOST_COPIES = 10**6
"""More than any region has machines for."""

POOL = 1024
"""Servers that share a queue at most: larger fleets are taken as several of them. Waits are a little longer so."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is promised to `share` of the requests, in seconds; None is not limited.

    `ttft_s` to the first token, wait included; `tpot_s` for each further one, on average over an answer; `whole_s` to
    the end of the answer.
    """

    share: float
    ttft_s: float | None = None
    tpot_s: float | None = None
    whole_s: float | None = None

    @property
    def any(self) -> bool:
        """Whether anything is promised."""
        return not (self.ttft_s is None and self.tpot_s is None and self.whole_s is None)


@dataclass(frozen=True, slots=True)
class Served:
    """A rate on so many copies: `ttft_s` and `whole_s` are the promised percentile, `load` the share of busy time."""

    copies: int
    ttft_s: float
    whole_s: float
    load: float


def least_copies(pace: Pace, rate_per_s: float, limits: Limits, step_of: int = 1) -> Served | None:
    """The fewest copies that keep the limits, in multiples of `step_of`; None where no number does.

    No copy is planned to work more than `MOST_LOAD` of the time.
    """
    if not _alone_keeps(pace, limits):
        return None
    most = MOST_COPIES // step_of
    high = max(1, math.ceil(rate_per_s / (MOST_LOAD * pace.requests_per_s) / step_of - 1e-9))
    low = high - 1
    if high > most:
        return None
    while (found := served(pace, rate_per_s, high * step_of, limits.share)) is None or not _keeps(found, limits):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        one = served(pace, rate_per_s, middle * step_of, limits.share)
        if one is not None and _keeps(one, limits):
            high, found = middle, one
        else:
            low = middle
    return found


def served(pace: Pace, rate_per_s: float, copies: int, share: float) -> Served | None:
    """What so many copies make of a rate; None where they would be busier than `MOST_LOAD`."""
    load = rate_per_s / (copies * pace.requests_per_s)
    if load > MOST_LOAD * (1 + 1e-9):
        return None
    lanes = copies * pace.stages
    if pace.answer_tokens:
        late = (1 - share) / 2
        wait_s = wait_tail_s(lanes * pace.batch, rate_per_s, pace.stay_s, late)
        wait_s += wait_tail_s(lanes, rate_per_s, pace.prefill_s, late) + pace.step_s
    else:
        wait_s = pass_wait_tail_s(lanes, rate_per_s, pace.prefill_s, 1 - share)
    ttft_s = wait_s + pace.prefill_s
    return Served(copies, ttft_s, ttft_s + pace.answer_tokens * pace.tpot_s, load)


def wait_tail_s(servers: int, rate_per_s: float, mean_s: float, late: float) -> float:
    """The wait that all but `late` of the requests stay under in M/M/c: ln(C / late) / (c / s - rate), at least 0.

    C is Erlang's share of requests that wait at all. Source: `planning.theory`.
    """
    pool = min(servers, POOL)
    rate = rate_per_s * pool / servers
    waiting = _erlang_c(pool, rate * mean_s)
    return max(0.0, math.log(waiting / late)) / (pool / mean_s - rate) if waiting else 0.0


def pass_wait_tail_s(servers: int, rate_per_s: float, pass_s: float, late: float) -> float:
    """The wait that all but `late` of the requests stay under in M/D/c (all take `pass_s`): the longer of two.

    In a queue: half of that in M/M/c (Allen & Cunneen's factor (1 + c^2) / 2; Allen 1990, "Probability, Statistics, and
    Queueing Theory"). With nobody before it: until the first of c passes ends, each equally likely to be anywhere, so
    P(W > t) = C (1 - t/s)^c. At loads of 0.01 to 0.9 and 1 to 16 servers, no more than 5 % of wait and pass too short
    against simulations.
    """
    queued_s = wait_tail_s(servers, rate_per_s, pass_s, late) / 2
    pool = min(servers, POOL)
    waiting = _erlang_c(pool, rate_per_s * pool / servers * pass_s)
    first_s = pass_s * (1 - (late / waiting) ** (1 / pool)) if waiting > late else 0.0
    return max(queued_s, first_s)


@functools.lru_cache(maxsize=4096)
def _erlang_c(servers: int, offered: float) -> float:
    return erlang_c(servers, offered)


def _alone_keeps(pace: Pace, limits: Limits) -> bool:
    """Whether a request that never waits keeps the limits; the others it can't keep either."""
    first_s = pace.prefill_s + pace.step_s
    whole_s = first_s + pace.answer_tokens * pace.tpot_s
    return (
        (limits.ttft_s is None or first_s <= limits.ttft_s)
        and (limits.tpot_s is None or pace.tpot_s <= limits.tpot_s)
        and (limits.whole_s is None or whole_s <= limits.whole_s)
    )


def _keeps(one: Served, limits: Limits) -> bool:
    return (limits.ttft_s is None or one.ttft_s <= limits.ttft_s) and (
        limits.whole_s is None or one.whole_s <= limits.whole_s
    )
