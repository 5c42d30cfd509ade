"""Does a server keep its promise at a rate, and what is the highest rate at which it does?

    stretches of requests ─▶ judge ─▶ Rate: holds, does not hold, or can't be told yet
                                        │
                     next_rate ◀────────┘  bracket, then bisect

The promise is MLPerf's: 99 of 100 requests are answered within the bound; the metric of its server scenario is the
highest Poisson rate that keeps it (inference rules, "Scenarios"). LoadGen counts requests as independent, which is
right for long runs only: one stall makes hundreds of requests late together. Here a stretch of many late requests in
a row counts as little as it tells.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from costopt.benching.measurements import Attempt, Batching, Rate, Served, ServerAnswer
from costopt.measuring.queueing import HOPELESS_SHARE, PROMISED_SHARE
from costopt.stats import LATENCY_CONFIDENCE, queries_needed
from costopt.verdict import Interval

LOOKS = 4
"""Stretches at one rate before the search takes it as undecided. As judging again after each gives chance more than
one throw, the error that the confidence allows is shared among them (Bonferroni). Without that, a rate just on its
limit was called one that holds in up to 8 of 100 simulated searches; with it in 3 (2026-11; tests/bench_queueing.py
counts anew)."""

FIRST_REQUESTS = 1500
"""Requests in the first stretch at a rate, at least: twice what p99 needs, so that a light load is decided at once."""

MOST_REQUESTS = 100_000
"""In one stretch: latencies are stored raw, and so many take a megabyte."""

FIRST_SHARE = 0.02
"""Of the time that is left, what a search spends on the first look at a rate; it has ten to fifteen to look at."""

LONGEST_GROWTH = 4
"""A further stretch has at most so many times the requests that were there before: the estimate may be poor."""

FURTHER_SHARE = 0.2
"""Of the time that is left, what a search may spend on a further look at one rate: on the limit itself no stretch is
long enough, and other rates may tell more."""

UNKNOWN_SHARE = 0.3
"""The same while no rate is known to hold: one that does is the first thing to know."""

CLUSTERS = 40
"""Units (busy periods) that must exceed a latency before the dependence of requests is estimated from them: the
estimate's standard error is then about a quarter of it, for which `_Seen` allows."""

WIDTH = 0.01
"""The search ends when the gaps between rates that hold, are undecided, and fail are at most so wide (relatively)."""

FIRST_STEP = 1.1
"""The first step away from the guess; each further step in the same direction is the square of the last ..."""

LONGEST_STEP = 2.0
"""... up to this one."""

Floats = NDArray[np.float64]
Sizes = NDArray[np.intp]

# ---------------------------------------------------------------------------------------- one rate


def judge(stretches: Sequence[Attempt], bound_ms: float, confidence: float = LATENCY_CONFIDENCE) -> Rate:
    """Whether the promise holds at one rate, from all stretches of requests at that rate (one at least).

    `late_share` holds the share of late requests in the long run; each of its ends is right with `confidence`, however
    often one looked (up to `LOOKS` times). The promise holds when the upper end is at most 1 %, from no fewer effective
    requests than p99 needs (`stats.queries_needed`: 662); it does not when the lower end is above. Stretches in which a
    quarter was late have failed however few requests they had (`queueing.HOPELESS_SHARE`).
    """
    seen = _Seen(stretches, bound_ms / 1e3, confidence)
    late_share = seen.late_share()
    holds = None
    if late_share.value >= HOPELESS_SHARE or late_share.low > 1 - PROMISED_SHARE:
        holds = False
    elif late_share.high <= 1 - PROMISED_SHARE and seen.effective >= queries_needed(PROMISED_SHARE):
        holds = True
    first = stretches[0]
    seconds = sum(one.seconds for one in stretches)
    return Rate(
        rate_per_s=first.rate_per_s,
        batching=first.batching,
        p50_ms=1e3 * seen.quantile_s(0.5),
        p99_ms=1e3 * seen.quantile_s(PROMISED_SHARE),
        p99_upper_ms=seen.p99_upper_ms(),
        late_share=late_share,
        holds=holds,
        throughput_per_s=seen.requests / seconds,
        goodput_per_s=(seen.requests - seen.late) / seconds,
        utilisation=sum(one.busy_s for one in stretches) / (seconds * first.instances),
        requests=seen.requests,
    )


def requests_to_decide(stretches: Sequence[Attempt], bound_ms: float, confidence: float = LATENCY_CONFIDENCE) -> int:
    """How many more requests at this rate would settle whether the promise holds, if they came as those before.

    At least what p99 needs; at most a thousand times those that there are, for on the limit itself nothing would ever
    settle it. 0 when it is settled.
    """
    if judge(stretches, bound_ms, confidence).holds is not None:
        return 0
    seen = _Seen(stretches, bound_ms / 1e3, confidence)
    effective = max(seen.effective, float(queries_needed(PROMISED_SHARE)))
    while effective < 1e3 * seen.effective and _straddles(seen.late_share(effective)):
        effective *= 1.1
    return math.ceil(max((effective - seen.effective) * seen.design_effect, 0.1 * seen.requests))


def _straddles(late_share: Interval) -> bool:
    return late_share.low <= 1 - PROMISED_SHARE < late_share.high


class _Seen:
    """Requests in stretches: how many were late, and how many independent ones they are worth.

    Requests of one busy period wait for one another, those of two do not: busy periods are the independent units (the
    regenerative method: Crane & Iglehart 1975, "Simulating stable stochastic systems III", Operations Research
    23:33-45). The share of late requests is then a ratio of two sums over units, and the variance of that ratio over
    the variance of as many independent requests is the design effect (Kish 1965, "Survey Sampling").
    """

    def __init__(self, stretches: Sequence[Attempt], bound_s: float, confidence: float) -> None:
        self._bound_s = bound_s
        self._confidence = 1 - (1 - confidence) / LOOKS
        self._latencies_s = np.concatenate([np.asarray(one.latencies_s) for one in stretches])
        self.requests = len(self._latencies_s)
        self.late = int((self._latencies_s > bound_s).sum())
        periods = np.concatenate([np.asarray(one.busy_periods, dtype=np.intp) for one in stretches])
        self.design_effect = self._design_effect(periods)
        self.effective = self.requests / self.design_effect

    def _design_effect(self, periods: Sizes) -> float:
        """How many requests tell as much as one independent request would.

        Taken at the bound when enough units exceed it, otherwise at the latency that enough of them reach: the lower
        the latency, the more requests exceed it together, so this errs on the side of fewer effective requests. Without
        independent units, or when none stands out, all requests of a busy period count as one (Kish's effect for full
        dependence).
        """
        fully_dependent = float((periods.astype(np.float64) ** 2).sum()) / self.requests
        sizes = self._units(periods)
        if sizes is None:
            return fully_dependent
        starts, units = np.cumsum(sizes) - sizes, len(sizes)
        slowest = np.sort(np.maximum.reduceat(self._latencies_s, starts))
        over = (self._latencies_s > self._bound_s) | (self._latencies_s >= slowest[-CLUSTERS])
        share = float(over.mean())
        if share == 1:
            return fully_dependent
        overs = np.add.reduceat(over.astype(np.float64), starts)
        variance = units / (units - 1) * float(((overs - share * sizes) ** 2).sum()) / self.requests**2
        effect = max(1.0, variance / (share * (1 - share) / self.requests))
        return effect * self._allowance(int((overs > 0).sum()))

    def _units(self, periods: Sizes) -> Sizes | None:
        """Requests in each independent unit, in order; None when there are too few units.

        Busy periods, unless one of them holds so much that there are too few to speak of: a server that waits for
        company is never idle. Then blocks of requests, if they are so long that one tells nothing of the next (batch
        means: Law & Carson 1979, "A sequential procedure for determining the length of a steady-state simulation",
        Operations Research 27:1011-1025). In a queue that keeps growing no blocks are.
        """
        if periods.max() * CLUSTERS <= self.requests:
            return periods
        for blocks in (4 * CLUSTERS, 2 * CLUSTERS):
            edges = np.linspace(0, self.requests, blocks + 1).astype(np.intp)
            sizes = edges[1:] - edges[:-1]
            if sizes.min() and _unrelated(np.add.reduceat(self._latencies_s, np.cumsum(sizes) - sizes) / sizes):
                return sizes
        return None

    def _allowance(self, clusters: int) -> float:
        """For a variance that was estimated from so many clusters: Student's quantile over the normal's, squared."""
        from scipy.special import ndtri, stdtrit

        return float(stdtrit(clusters - 1, self._confidence) / ndtri(self._confidence)) ** 2

    def late_share(self, effective: float | None = None) -> Interval:
        """Clopper and Pearson's limits from the effective requests (or from so many), each at this look's confidence.

        Source: Korn & Graubard 1998, "Confidence intervals for proportions with small expected number of positive
        counts estimated from survey data", Survey Methodology 24:193-201. With all requests independent, the upper
        limit is at most 1 % just when LoadGen's early stopping says that p99 is within the bound.
        """
        from scipy.special import betaincinv

        value = self.late / self.requests
        effective = effective or self.effective
        late, on_time = value * effective, (1 - value) * effective
        low = float(betaincinv(late, on_time + 1, 1 - self._confidence)) if late else 0.0
        high = float(betaincinv(late + 1, on_time, self._confidence)) if on_time else 1.0
        return Interval(value, low, high)

    def quantile_s(self, share: float) -> float:
        """The latency that `share` of the requests stay under, by nearest rank."""
        rank = math.ceil(share * self.requests - 1e-9)
        return float(np.partition(self._latencies_s, rank - 1)[rank - 1])

    def p99_upper_ms(self) -> float | None:
        """The lowest bound that these requests would show to hold; None when p99 needs more of them."""
        if self.effective < queries_needed(PROMISED_SHARE):
            return None
        allowed = _overs_allowed(self.effective, self._confidence) / self.effective
        return 1e3 * float(np.sort(self._latencies_s)[-math.floor(allowed * self.requests) - 1])


def _unrelated(means: Floats) -> bool:
    """Whether neighbours among the means of blocks look independent: by von Neumann's ratio of their ranks.

    Its standard deviation is near 2 / sqrt(blocks) around 2 when they are, and neighbours that are alike make it small;
    ranks, so that one stall does not hide the rest (Bartels 1982, "The rank version of von Neumann's ratio test for
    randomness", Journal of the American Statistical Association 77:40-46).
    """
    ranks = np.argsort(np.argsort(means)).astype(np.float64)
    ratio = float((np.diff(ranks) ** 2).sum() / ((ranks - ranks.mean()) ** 2).sum())
    return ratio > 2 - 1.64 * 2 / math.sqrt(len(means))


def _overs_allowed(effective: float, confidence: float) -> float:
    """How many of the effective requests may be late while p99 is still shown; not a whole number as they are none."""
    from scipy.special import betainc

    low, high = 0.0, effective * (1 - PROMISED_SHARE)
    for _ in range(40):
        middle = (low + high) / 2
        passes = betainc(effective - middle, middle + 1, PROMISED_SHARE) <= 1 - confidence
        low, high = (middle, high) if passes else (low, middle)
    return low


# ---------------------------------------------------------------------------------------- many rates

AttemptAt = Callable[[float, int, int], Attempt]
"""Serves a stretch: the rate per second, how many requests, and the stretch's number at that rate, from 0."""


def answer(served: Served, confidence: float = LATENCY_CONFIDENCE) -> ServerAnswer:
    """Every rate that was tried, in order, and between which two the truth lies.

    A rate above one that failed is not taken to hold, whatever it showed. Of several ways to batch, the one that held
    at the highest rate counts; the rate that fails is then one of the same way.
    """
    rates = tuple(judge(group, served.bound_ms, confidence) for group in _same_rate(served.attempts))
    ends = [_ends([rate for rate in rates if rate.batching == batching]) for batching in _batchings(rates)]
    shown = [(holds, fails) for holds, fails in ends if holds is not None]
    if shown:
        holds, fails = max(shown, key=lambda both: both[0].rate_per_s)
        return ServerAnswer(served.bound_ms, rates, holds, fails)
    failed = [fails for _, fails in ends if fails is not None]
    return ServerAnswer(served.bound_ms, rates, None, min(failed, key=lambda rate: rate.rate_per_s, default=None))


def remark(served: Served) -> str:
    """What a reader must know beside the rates: that the promise can't be kept at any rate; "" otherwise."""
    quickest_ms = 1e3 * min(min(one.latencies_s) for one in served.attempts)
    if quickest_ms <= served.bound_ms:
        return ""
    return (
        f"no rate can hold: the quickest of all answers took {quickest_ms:.3g} ms, and {served.bound_ms:g} ms were "
        "promised; promise more, or make the model faster"
    )


def _same_rate(attempts: Sequence[Attempt]) -> list[list[Attempt]]:
    groups: dict[tuple[float, Batching], list[Attempt]] = {}
    for one in attempts:
        groups.setdefault((one.rate_per_s, one.batching), []).append(one)
    return list(groups.values())


def _batchings(rates: Sequence[Rate]) -> list[Batching]:
    return list(dict.fromkeys(rate.batching for rate in rates))


def _ends(rates: Sequence[Rate]) -> tuple[Rate | None, Rate | None]:
    """The highest rate that holds below all that fail, and the lowest that fails."""
    fails = min((rate for rate in rates if rate.holds is False), key=lambda rate: rate.rate_per_s, default=None)
    limit = fails.rate_per_s if fails else math.inf
    below = (rate for rate in rates if rate.holds and rate.rate_per_s < limit)
    return max(below, key=lambda rate: rate.rate_per_s, default=None), fails


def decide(
    attempt_at: AttemptAt,
    rate_per_s: float,
    bound_ms: float,
    seconds_left: Callable[[], float],
    first_share: float = 0.0,
    further_share: float = 1.0,
) -> tuple[Attempt, ...]:
    """Stretches at one rate until `judge` decides, `LOOKS` were not enough, or the next would take too long.

    Each is as long as it would take to decide (`requests_to_decide`), as far as there is time: the shares say which
    part of what is left a stretch may take.
    """
    first = min(MOST_REQUESTS, max(FIRST_REQUESTS, rate_per_s * seconds_left() * first_share))
    stretches = [attempt_at(rate_per_s, int(first), 0)]
    while len(stretches) < LOOKS and (wanted := requests_to_decide(stretches, bound_ms)):
        before = sum(len(one.latencies_s) for one in stretches)
        affordable = rate_per_s * seconds_left() * further_share
        if affordable < min(wanted, before):
            break
        requests = int(min(wanted, LONGEST_GROWTH * before, affordable, MOST_REQUESTS))
        stretches.append(attempt_at(rate_per_s, requests, len(stretches)))
    return tuple(stretches)


def search(
    attempt_at: AttemptAt,
    guess_per_s: float,
    bound_ms: float,
    seconds_left: Callable[[], float],
    width: float = WIDTH,
) -> tuple[Attempt, ...]:
    """Attempts that close in on the highest rate that holds, in order: `answer` reads it from them.

    Ends when the gaps between the rates are within `width`, or the time is up.
    """
    attempts: list[Attempt] = []
    rates: list[Rate] = []
    rate_per_s: float | None = guess_per_s
    while rate_per_s is not None and (not rates or seconds_left() > 0):
        further = FURTHER_SHARE if any(rate.holds for rate in rates) else UNKNOWN_SHARE
        stretches = decide(attempt_at, rate_per_s, bound_ms, seconds_left, FIRST_SHARE, further)
        attempts.extend(stretches)
        rates.append(judge(stretches, bound_ms))
        rate_per_s = next_rate(rates, width)
    return tuple(attempts)


def next_rate(rates: Sequence[Rate], width: float = WIDTH) -> float | None:
    """The rate to try after those: outwards until one holds and one fails, then the middle of the widest-open gap.

    Undecided rates leave two gaps, one below them and one above. None when no gap is wider than `width`.
    """
    holds, fails = _ends(rates)
    ordered = sorted(rate.rate_per_s for rate in rates)
    if holds is None:
        return ordered[0] / _step(sum(rate.holds is not True for rate in rates))
    if fails is None:
        return ordered[-1] * _step(sum(rate.holds is not False for rate in rates))
    between = [rate for rate in ordered if holds.rate_per_s <= rate <= fails.rate_per_s]
    for low, high in ((between[0], between[1]), (between[-2], between[-1])):
        if high > low * (1 + width):
            return math.sqrt(low * high)
    return None


def _step(tries: int) -> float:
    return float(min(FIRST_STEP ** (2 ** (tries - 1)), LONGEST_STEP))
