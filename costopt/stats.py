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
from statistics import median

import numpy as np
from numpy.typing import NDArray

from costopt.benching.measurements import Outliers
from costopt.metrics import Facts, Metric
from costopt.records import Timing
from costopt.verdict import Interval, Latency, Percentile

LATENCY_CONFIDENCE = 0.99
"""MLPerf LoadGen's confidence for latency percentiles (MLPerf inference rules, appendix on early stopping)."""

PROCESS_SPREAD = 0.006
"""Standard deviation of log(speed-up) between processes that run the same file, beyond what rounds inside them show.

Where a process's memory comes to lie stays with it for life (Mytkowicz et al., "Producing wrong data without doing
anything obviously wrong!", ASPLOS 2009). Measured 2026-11-22 on a 2-core EPYC: 14 pairs of processes that served the
shipped example's float32 model in 80 rounds each; the means spread by 0.0085, of which the rounds explain 0.0058.
"""

MOST_BATCHES = 128
"""Values that are resampled, at most: it bounds the work, and Student's t with 64 degrees is 2 % over the normal's."""

FEWEST_TO_RESAMPLE = 8
"""Under this it is Student's t: five values have but 126 different resamples, eight have 6,435."""

RESAMPLES = 1000
"""The 950th of 1,000 is the 95 % quantile, give or take 0.7 points."""

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
    """Milliseconds per call at p50, p90, p95 and p99."""
    seconds = timing.seconds
    p50, p90, p95, p99 = (percentile(seconds, share) for share in (0.50, 0.90, 0.95, 0.99))
    return Latency(p50, p95, p99, len(seconds), p90)


def outliers(seconds: Sequence[float]) -> Outliers:
    """Calls over Q3 + 3 (Q3 - Q1), "far out" in Tukey's words: counted, never dropped. Raises ValueError for no calls.

    Source: Tukey 1977, "Exploratory data analysis", section 2D.
    """
    if not seconds:
        raise ValueError("no calls, no outliers: measure at least one")
    lower, upper = np.quantile(seconds, [0.25, 0.75])
    far_out = sum(second > upper + 3 * (upper - lower) for second in seconds)
    return Outliers(int(far_out), len(seconds), 1e3 * max(seconds))


# ---------------------------------------------------------------------------------------- speed


@dataclass(frozen=True, slots=True)
class _LogRatio:
    """log(time per inference of the baseline / of the candidate): its mean over rounds, and how far that may be off.

    `half` is the half-width of its interval for the rounds alone; `processes` is how many processes' spread stays in
    it: 1 for one pair of processes, 1/g for g pairs with equally many rounds.
    """

    mean: float
    half: float
    processes: float


def _log_ratio(timing: Timing, confidence: float) -> _LogRatio:
    """From each round's ratio of medians, per inference: medians, because a stray pause should not move a round."""
    per_inference = timing.batch / timing.baseline_batch
    generations: dict[int, list[float]] = {}
    for one in timing.rounds:
        if one.seconds and one.baseline_seconds:
            ratio = median(one.baseline_seconds) / median(one.seconds) * per_inference
            generations.setdefault(one.generation, []).append(math.log(ratio))
    if not generations:
        raise ValueError("a timing without a round has no speed-up: measure at least one call of each in turn")
    series = [np.array(logs) for logs in generations.values()]
    rounds = sum(map(len, series))
    processes = sum((len(logs) / rounds) ** 2 for logs in series)
    return _LogRatio(float(np.concatenate(series).mean()), mean_half_width(series, confidence), processes)


def mean_half_width(series: Sequence[Floats], confidence: float) -> float:
    """Half the width of the bootstrap interval for the mean of all rounds, on the scale of their values.

    `series` has one array a generation, shape (rounds,), in the order of the rounds. What a generation's processes
    have in common is taken out: these are the rounds alone. The interval is Hall's symmetric bootstrap-t: the mean,
    plus and minus as many standard errors as the means of 95 % of resamples lie from it in their own standard errors.
    Unlike percentiles of resampled means, it holds with ten rounds, and with skewed ones. Over `MOST_BATCHES` rounds,
    means of neighbours are resampled. Infinite with fewer than two rounds in every generation.
    Source: Hall 1988, "On symmetric bootstrap confidence intervals", J. R. Statist. Soc. B 50:35-45.
    """
    length = math.ceil(sum(map(len, series)) / MOST_BATCHES)
    batches = [_batch_means(values, length) for values in series]
    residuals = np.concatenate([means - means.mean() for means in batches])
    degrees = len(residuals) - len(batches)
    if degrees < 1:
        return math.inf
    error = math.sqrt(float(residuals @ residuals) / degrees / len(residuals))
    return error * _standard_errors(residuals, degrees, confidence) * _lasting(residuals) if error else 0.0


def _batch_means(values: Floats, length: int) -> Floats:
    """Means of neighbours, at most `length` of them each."""
    count = math.ceil(len(values) / length)
    ends = np.arange(count + 1) * len(values) // count
    means: Floats = np.add.reduceat(values, ends[:-1]) / np.diff(ends)
    return means


def _standard_errors(residuals: Floats, degrees: int, confidence: float) -> float:
    """How many standard errors the interval reaches to each side, by resampling; between one and two of Student's t.

    Under `FEWEST_TO_RESAMPLE` it is Student's t. The upper bound is for rounds of which all but one are alike: many
    resamples then lack the odd one, and have no standard error to speak of.
    """
    student = _t_quantile(degrees, confidence)
    count = len(residuals)
    if count < FEWEST_TO_RESAMPLE:
        return student
    resamples = residuals[np.random.default_rng(0).integers(count, size=(RESAMPLES, count))]
    means, deviations = resamples.mean(axis=1), resamples.std(axis=1, ddof=1)
    off = np.sort(np.divide(abs(means), deviations, out=np.full(RESAMPLES, math.inf), where=deviations > 0))
    reached = float(off[math.ceil(confidence * RESAMPLES) - 1]) * math.sqrt(count)
    return min(max(reached, student), 2 * student)


def _lasting(residuals: Floats) -> float:
    """By what factor disturbances that outlast a round widen the interval of a mean: sqrt((1 + r) / (1 - r)).

    r is the correlation of neighbours, as in a first-order autoregression; seen in n values of which the mean was
    taken out, it comes out (1 + 3r)/n too low (Marriott & Pope 1954, "Bias in the estimation of autocorrelations",
    Biometrika 41:390-402): 2/n for r = 1/3. It never narrows an interval, and at most doubles it, for r = 0.6.
    """
    seen = float(residuals[1:] @ residuals[:-1] / (residuals @ residuals))
    correlation = min(max(seen + 2 / len(residuals), 0.0), 0.6)
    return math.sqrt((1 + correlation) / (1 - correlation))


def _ratio_interval(mean: float, parts: Sequence[_LogRatio], confidence: float, widen: float) -> Interval:
    """exp(mean), with the half-widths of independent parts and of the processes added in squares.

    Source: Zou & Donner 2008, "Construction of confidence limits about effect measures: a general approach",
    Statistics in Medicine 27:1693-1702 (MOVER). The spread between processes is a
    known constant, so its part is a normal's.
    """
    processes = process_half_width(confidence) * math.sqrt(sum(part.processes for part in parts))
    half = widen * math.hypot(processes, *(part.half for part in parts))
    return Interval(math.exp(mean), _exp(mean - half), _exp(mean + half))


def process_half_width(confidence: float) -> float:
    """How far one pair of processes may put log(speed-up) off, however many rounds they take."""
    return PROCESS_SPREAD * _t_quantile(math.inf, confidence)


def _exp(exponent: float) -> float:
    """exp, infinite where floats end."""
    return math.exp(exponent) if exponent < 700 else math.inf


def _t_quantile(degrees: float, confidence: float) -> float:
    """How many standard errors a two-sided interval reaches to each side; infinite degrees give the normal's."""
    from scipy.special import stdtrit

    return float(stdtrit(degrees, (1 + confidence) / 2))


def speedup(timing: Timing, confidence: float, widen: float = 1.0) -> Interval:
    """How many times faster than the baseline, per inference: 2 takes half the time.

    A bootstrap interval over the rounds' log ratios (`mean_half_width`), and `PROCESS_SPREAD`. `widen` multiplies its
    half-width on the logarithmic scale. Fewer than two rounds prove nothing: then it is (0, inf).
    Raises ValueError for a timing without a round.
    """
    part = _log_ratio(timing, confidence)
    return _ratio_interval(part.mean, [part], confidence, widen)


def between(first: Timing, second: Timing, confidence: float, widen: float = 1.0) -> Interval:
    """How many times faster `first` is than `second`, per inference, each by way of its own turns with the baseline.

    As `speedup`, from the rounds and the processes of both. Raises ValueError for a timing without a round.
    """
    one, other = _log_ratio(first, confidence), _log_ratio(second, confidence)
    return _ratio_interval(one.mean - other.mean, [one, other], confidence, widen)


def drift(timings: Iterable[Timing]) -> tuple[float, float]:
    """The original's fastest and slowest median seconds per call, over its turns beside each candidate.

    On a quiet machine they are nearly equal. Raises ValueError when there is no timing.
    """
    calls = ([second for one in timing.rounds for second in one.baseline_seconds] for timing in timings)
    medians = [float(np.median(seconds)) for seconds in calls]
    return min(medians), max(medians)


def baseline_median_s(timing: Timing) -> float:
    """The baseline's median seconds per call beside one candidate. Raises ValueError for a timing without a round."""
    fastest, _ = drift([timing])
    return fastest


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
