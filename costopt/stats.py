"""How sure can we be? Percentiles, speed-ups and accuracy drops from raw samples, each with its interval.

Pure functions of recorded facts; nothing here measures. Three questions, in this order below:

- *latency*: below what do p of all calls stay? From the calls' order alone, by the early-stopping rule of MLPerf
  LoadGen, so that no percentile is shown from fewer calls than it needs;
- *speed*: how much faster than the original? From rounds in which the two took turns, on the logarithm of the ratio,
  so that a drift of the machine cancels and twice as fast is as far from 1 as half as fast;
- *accuracy*: how far under the original? Sample by sample, in pairs, so that what both get wrong cancels.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costopt.metrics import Facts, Metric
from costopt.records import Interval, Latency, Percentile, Timing

LATENCY_CONFIDENCE = 0.99
"""MLPerf LoadGen's confidence for latency percentiles (MLPerf inference rules, appendix on early stopping)."""

PROCESS_SPREAD = 0.006
"""Standard deviation of log(speed-up) between processes that run the same file, beyond what rounds inside them show.

Where a process's memory comes to lie stays with it for life (Mytkowicz et al., "Producing wrong data without doing
anything obviously wrong!", ASPLOS 2009). Measured 2026-11-22 on a 2-core EPYC: 14 pairs of processes that served the
shipped example's float32 model in 80 rounds each; the means spread by 0.0085, of which the rounds explain 0.0058.
"""

JACKKNIFE_GROUPS = 32
"""Groups that the grouped jackknife leaves out in turn: its standard error is then good to 1/sqrt(2*31) = 13 %, and
Student's t with 31 degrees of freedom allows for that (2.04 standard errors at 95 %, where the normal has 1.96)."""

Floats = NDArray[np.float64]

# ---------------------------------------------------------------------------------------- latency


def queries_needed(percentile: float, overs: int = 1, confidence: float = LATENCY_CONFIDENCE) -> int:
    """The fewest calls that show `percentile` (a share) to lie under a bound that `overs` of the calls exceed.

    The least h + t with I_p(h, t + 1) <= 1 - c for t = overs: I is the regularised incomplete beta function, here the
    chance that at most t of h + t independent calls exceed the bound although only a share p stays under it. One call
    over needs 64 calls for p = 0.90, 130 for 0.95 and 662 for 0.99.
    Source: MLPerf inference rules, appendix on early stopping; `odds` in LoadGen's early_stopping.cc, tolerance d = 0.
    """
    from scipy.special import betainc

    enough, short = 1, 0
    while betainc(enough, overs + 1, percentile) > 1 - confidence:
        enough, short = 2 * enough, enough
    while enough - short > 1:
        middle = (enough + short) // 2
        passes = betainc(middle, overs + 1, percentile) <= 1 - confidence
        enough, short = (middle, short) if passes else (enough, middle)
    return enough + overs


def percentile(seconds: Sequence[float], share: float) -> Percentile:
    """The latency that `share` of calls stay under: as seen (nearest rank), and with 99 % confidence.

    The upper bound is the t-th slowest call for the largest t with `queries_needed(share, t)` calls at hand, as
    LoadGen reports it. Both are None below `queries_needed(share)`. Calls count as independent.
    """
    needs = queries_needed(share)
    if len(seconds) < needs:
        return Percentile(share, None, None, needs)
    ordered = np.sort(np.asarray(seconds, dtype=np.float64))
    # 0.07 * 100 is 7.000000000000001: without the allowance the rank would be one too high.
    rank = math.ceil(share * len(ordered) - 1e-9)
    overs = _overs_allowed(len(ordered), share)
    return Percentile(share, 1e3 * float(ordered[rank - 1]), 1e3 * float(ordered[-overs]), needs)


def _overs_allowed(calls: int, share: float) -> int:
    """The largest t with `queries_needed(share, t) <= calls`: I_p(n - t, t + 1) is the binomial sum up to t."""
    from scipy.special import bdtr

    overs = np.arange(1, calls, dtype=np.float64)
    return int(np.searchsorted(bdtr(overs, calls, 1 - share), 1 - LATENCY_CONFIDENCE, side="right"))


def latency(timing: Timing) -> Latency:
    """Milliseconds per call at p50, p95 and p99."""
    seconds = timing.seconds
    p50, p95, p99 = (percentile(seconds, share) for share in (0.50, 0.95, 0.99))
    return Latency(p50, p95, p99, len(seconds))


# ---------------------------------------------------------------------------------------- speed


@dataclass(frozen=True, slots=True)
class _LogRatio:
    """log(time per inference of the baseline / of the candidate): its mean, and the variance of that mean."""

    mean: float
    variance: float
    degrees: int


def _log_ratio(timing: Timing) -> _LogRatio:
    """From each round's ratio of medians, per inference: medians, because a stray pause should not move a round."""
    per_inference = timing.batch / timing.baseline_batch
    logs = np.array(
        [
            math.log(np.median(one.baseline_seconds) / np.median(one.seconds) * per_inference)
            for one in timing.rounds
            if one.seconds and one.baseline_seconds
        ]
    )
    if not logs.size:
        raise ValueError("a timing without a round has no speed-up: measure at least one call of each in turn")
    variance = float(logs.var(ddof=1)) / logs.size if logs.size > 1 else math.inf
    return _LogRatio(float(logs.mean()), variance, logs.size - 1)


def _ratio_interval(mean: float, parts: Sequence[_LogRatio], confidence: float) -> Interval:
    """exp(mean) with a t-interval: the rounds' variances, and one process's spread for each timing.

    Degrees of freedom by Welch and Satterthwaite (Welch 1947, Biometrika 34:28); the process spread, a known constant,
    counts as having infinitely many.
    """
    variance = sum(part.variance + PROCESS_SPREAD**2 for part in parts)
    if math.isinf(variance):
        return Interval(math.exp(mean), 0.0, math.inf)
    noise = sum(part.variance**2 / part.degrees for part in parts)
    half = _t_quantile(variance**2 / noise if noise else math.inf, confidence) * math.sqrt(variance)
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def _t_quantile(degrees: float, confidence: float) -> float:
    """How many standard errors a two-sided interval reaches to each side; infinite degrees give the normal's."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))


def speedup(timing: Timing, confidence: float) -> Interval:
    """How many times faster than the baseline, per inference: 2 takes half the time.

    A t-interval over the rounds' log ratios. Fewer than two rounds prove nothing: then it is (0, inf).
    Raises ValueError for a timing without a round.
    """
    part = _log_ratio(timing)
    return _ratio_interval(part.mean, [part], confidence)


def between(first: Timing, second: Timing, confidence: float) -> Interval:
    """How many times faster `first` is than `second`, per inference, each by way of its own turns with the baseline.

    Welch's interval for a difference of means, on the log ratios. Raises ValueError for a timing without a round.
    """
    one, other = _log_ratio(first), _log_ratio(second)
    return _ratio_interval(one.mean - other.mean, [one, other], confidence)


def drift(timings: Iterable[Timing]) -> tuple[float, float]:
    """The original's fastest and slowest median seconds per call, over its turns beside each candidate.

    On a quiet machine they are nearly equal. Raises ValueError when there is no timing.
    """
    calls = ([second for one in timing.rounds for second in one.baseline_seconds] for timing in timings)
    medians = [float(np.median(seconds)) for seconds in calls]
    return min(medians), max(medians)


def indistinguishable(ratio: Interval) -> bool:
    """Whether a ratio of two times (`speedup`, `between`) could as well be 1."""
    return ratio.low <= 1 <= ratio.high


# ---------------------------------------------------------------------------------------- accuracy


def drop_interval(metric: Metric, baseline: Facts, candidate: Facts, confidence: float) -> Interval:
    """How far the candidate's metric lies under the baseline's: positive is worse, whatever the metric's sense.

    `baseline` and `candidate` are facts of the same samples in the same order, shape (samples, columns). The interval
    is the one that `metric.interval` names, except that rows of 0 and 1 always get the score interval (a t-interval
    has no width where no pair differs) and that other rows under the name "score" get the mean's.
    Fewer than two samples prove nothing: (-inf, inf). Raises ValueError when the samples differ in number.
    """
    if len(baseline) != len(candidate):
        raise ValueError(f"pairs need the same samples: {len(baseline)} rows against {len(candidate)}")
    if len(baseline) < 2:
        value = metric.drop(metric.value(baseline), metric.value(candidate))
        return Interval(value, -math.inf, math.inf)
    if metric.interval == "bootstrap":
        return resampled_drop(metric, baseline, candidate, confidence)
    before, after = baseline[:, 0], candidate[:, 0]
    worse, better = (before, after) if metric.higher_is_better else (after, before)
    if _zeros_and_ones(before) and _zeros_and_ones(after):
        lost, gained = int(np.sum(worse > better)), int(np.sum(better > worse))
        return score_drop(lost, gained, len(before), confidence)
    return mean_drop(worse - better, confidence)


def _zeros_and_ones(column: Floats) -> bool:
    return bool(np.all((column == 0) | (column == 1)))


def score_drop(lost: int, gained: int, samples: int, confidence: float) -> Interval:
    """(lost - gained) / samples with Tango's score interval for a paired difference of proportions.

    `lost` samples are right before and wrong after, `gained` the other way round. The interval holds every difference
    that the score test does not reject; it has a width even where no pair differs: +-z^2 / (n + z^2).
    Source: Tango 1998, "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17:891-908.
    """
    z = _t_quantile(math.inf, confidence)
    low = -_tango_upper(gained, lost, samples, z)
    return Interval((lost - gained) / samples, low, _tango_upper(lost, gained, samples, z))


def _tango_upper(lost: int, gained: int, samples: int, z: float) -> float:
    """The largest difference that is not rejected: where the score statistic falls to -z, found by halving."""
    low, high = (lost - gained) / samples, 1.0
    # The statistic falls as the difference grows; 60 halvings of an interval of at most 2 reach float precision.
    for _ in range(60):
        middle = (low + high) / 2
        if _tango_statistic(lost, gained, samples, middle) > -z:
            low = middle
        else:
            high = middle
    return high


def _tango_statistic(lost: int, gained: int, samples: int, difference: float) -> float:
    """Standard errors from `difference` to what was seen, with the nuisance share at its constrained maximum.

    That share (right only after) is the larger root of a q^2 + b q + c = 0, Tango's equation for it.
    """
    a = 2 * samples
    b = (2 * samples - lost + gained) * difference - lost - gained
    c = -gained * difference * (1 - difference)
    share = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = samples * (2 * share + difference * (1 - difference))
    return (lost - gained - samples * difference) / math.sqrt(max(variance, 1e-300))


def mean_drop(differences: Floats, confidence: float) -> Interval:
    """The mean of paired differences, shape (samples,), with Student's t-interval.

    Where every difference is zero the interval is [0, 0]: a metric on a continuous scale is the same on every sample
    only if the outputs that it reads are, so the candidate computes the same there. Rows of 0 and 1, for which that
    does not hold, get `score_drop` instead.
    """
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    half = _t_quantile(len(differences) - 1, confidence) * error
    return Interval(mean, mean - half, mean + half)


def resampled_drop(metric: Metric, baseline: Facts, candidate: Facts, confidence: float) -> Interval:
    """The drop of a metric that is no mean (F1, perplexity), with a t-interval from the grouped jackknife.

    The samples are dealt into groups, and the drop is computed again without each of them: 32 computations where a
    bootstrap needs a thousand, and as good for smooth metrics. `costopt choose` judges stored runs anew, and a
    metric's `value` is all that can be asked of it. Where all facts are whole numbers (predicted and true classes),
    samples that differ may simply not have been met yet: then the interval is never narrower than the score interval
    without a differing pair.
    Source: Shao & Wu 1989, "A general theory for jackknife variance estimation", Annals of Statistics 17:1176-1197.
    """
    value = metric.drop(metric.value(baseline), metric.value(candidate))
    groups = min(JACKKNIFE_GROUPS, len(baseline))
    without = np.array(
        [
            metric.drop(metric.value(baseline[kept]), metric.value(candidate[kept]))
            for kept in _leaving_out_each(groups, len(baseline))
        ]
    )
    error = math.sqrt((groups - 1) / groups * float(np.sum((without - without.mean()) ** 2)))
    half = _t_quantile(groups - 1, confidence) * error
    if _whole(baseline) and _whole(candidate):
        half = max(half, score_drop(0, 0, len(baseline), confidence).high)
    return Interval(value, value - half, value + half)


def _leaving_out_each(groups: int, samples: int) -> list[NDArray[np.intp]]:
    """The samples that stay when one group leaves. Dealt at random, for data may be sorted; the seed is fixed."""
    dealt = np.random.default_rng(0).permutation(np.arange(samples) % groups)
    return [np.flatnonzero(dealt != group) for group in range(groups)]


def _whole(facts: Facts) -> bool:
    return bool(np.all(facts == np.rint(facts)))


def samples_to_decide(drop: Interval, limit: float, samples: int) -> int | None:
    """How many samples would settle on which side of `limit` the drop lies, if the estimate stayed where it is.

    An interval shrinks with the square root of the samples. None when the estimate sits on the limit, or nothing is
    known of its spread.
    """
    reach = drop.high - drop.value if drop.value < limit else drop.value - drop.low
    room = abs(limit - drop.value)
    if math.isinf(reach) or math.isclose(drop.value, limit, abs_tol=1e-12):
        return None
    return math.ceil(samples * (reach / room) ** 2)
