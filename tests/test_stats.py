import itertools
import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm

from costopt import stats
from costopt.metrics import Array, Facts, Metric
from costopt.metrics.f1 import F1
from costopt.metrics.mae import Mae
from costopt.metrics.perplexity import Perplexity
from costopt.metrics.top1 import Top1
from costopt.records import Round, Timing
from costopt.verdict import Interval
from tests.bench_statistics import LOUD, NOISES, coverage, told_apart
from tests.factories import right_and_wrong, timing

shares = st.floats(0.3, 0.99)
CALM = stats.PROCESS_SPREAD

# ---------------------------------------------------------------------------------------- latency


@pytest.mark.parametrize(("share", "needs"), [(0.50, 11), (0.90, 64), (0.95, 130), (0.99, 662)])
def test_the_minima_are_those_of_mlperf_loadgen(share: float, needs: int) -> None:
    assert stats.queries_needed(share) == needs


@given(shares, st.integers(1, 40), st.floats(0.6, 0.999))
def test_the_queries_needed_are_the_fewest_by_the_binomial_distribution(share: float, overs: int, sure: float) -> None:
    """At most `overs` of n calls are over the bound by chance, each with probability 1 - share: scipy's own sum."""
    needed = stats.queries_needed(share, overs, sure)
    assert binom.cdf(overs, needed, 1 - share) <= (1 - sure) * (1 + 1e-9)
    assert needed == overs + 1 or binom.cdf(overs, needed - 1, 1 - share) >= (1 - sure) * (1 - 1e-9)


@given(st.integers(1, 3000), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
@settings(max_examples=60)
def test_the_bound_is_the_slowest_call_but_as_many_as_the_rule_allows(calls: int, share: float) -> None:
    seconds = [number / 1000 for number in range(1, calls + 1)]
    found = stats.percentile(seconds, share)
    if calls < stats.queries_needed(share):
        assert (found.seen_ms, found.upper_ms) == (None, None)
        return
    assert found.upper_ms is not None
    overs = calls + 1 - round(found.upper_ms)
    assert stats.queries_needed(share, overs) <= calls < stats.queries_needed(share, overs + 1)


@given(st.lists(st.floats(1e-6, 10), min_size=130, max_size=400))
def test_the_bound_is_never_under_what_was_seen_and_the_order_of_calls_says_nothing(seconds: list[float]) -> None:
    found = stats.percentile(seconds, 0.95)
    assert found.seen_ms is not None
    assert found.upper_ms is not None
    assert found.seen_ms <= found.upper_ms <= 1e3 * max(seconds)
    assert stats.percentile(sorted(seconds), 0.95) == found


def test_what_is_seen_is_the_nearest_rank() -> None:
    found = stats.percentile([number / 1000 for number in range(1, 201)], 0.95)
    assert found.seen_ms == pytest.approx(190)  # the 190th of 200 calls of 1, 2, 3 ... ms


def test_a_rank_that_floats_would_push_up_by_one_stays() -> None:
    assert 0.07 * 100 > 7
    assert stats.percentile([number / 1000 for number in range(1, 101)], 0.07).seen_ms == pytest.approx(7)


def test_the_bound_holds_in_at_least_ninety_nine_of_a_hundred_runs() -> None:
    rng = np.random.default_rng(3)
    true_p90_ms = 1e3 * -math.log(0.1)
    bounds = [stats.percentile(list(rng.exponential(size=300)), 0.90).upper_ms or 0.0 for _ in range(1000)]
    assert np.mean(np.array(bounds) >= true_p90_ms) >= 0.98  # 0.99 less three standard errors of a thousand runs


def test_one_call_fewer_than_needed_shows_no_percentile() -> None:
    shown, hidden = (stats.latency(timing(calls=calls, rounds=1)) for calls in (130, 129))
    assert shown.p95.upper_ms is not None
    assert (hidden.p95.seen_ms, hidden.p95.upper_ms, hidden.p95.needs) == (None, None, 130)
    assert hidden.p50.seen_ms is not None
    assert (shown.samples, hidden.samples) == (130, 129)


def test_calls_far_over_the_rest_are_counted_and_the_slowest_is_named() -> None:
    usual = [0.010 + 0.00001 * number for number in range(100)]  # Q1, Q3 = 10.25, 10.74 ms: far out is over 12.23 ms
    found = stats.outliers([*usual, 0.0120, 0.0125, 0.0410])
    assert (found.count, found.calls) == (2, 103)
    assert found.slowest_ms == pytest.approx(41.0)
    assert stats.outliers([0.01, 0.02] * 50).count == 0  # two modes are no outliers
    assert stats.outliers([0.01] * 50).count == 0
    with pytest.raises(ValueError, match="no calls"):
        stats.outliers([])


# ---------------------------------------------------------------------------------------- speed

ratios = st.floats(0.5, 2)
pairs = st.lists(st.tuples(ratios, ratios), min_size=2, max_size=24)


def test_half_the_time_is_twice_the_speed() -> None:
    found = stats.speedup(timing(0.5, 1.0), 0.95)
    assert found.value == pytest.approx(2)
    assert 1.97 < found.low < 2 < found.high < 2.03


def test_a_call_of_eight_inferences_counts_as_eight() -> None:
    assert stats.speedup(timing(4.0, 1.0, batch=8), 0.95).value == pytest.approx(2)
    assert stats.speedup(timing(1.0, 4.0, baseline_batch=8), 0.95).value == pytest.approx(0.5)


@given(pairs, st.floats(0.1, 10))
def test_a_drift_of_the_machine_cancels(rounds: list[tuple[float, float]], drift: float) -> None:
    """Each round's two sides slow down together, each round by another factor."""
    steady = _timing([([mine], [its]) for mine, its in rounds])
    factors = [drift ** (number / len(rounds)) for number in range(len(rounds))]
    drifting = _timing([([mine * f], [its * f]) for (mine, its), f in zip(rounds, factors, strict=True)])
    assert _close(stats.speedup(drifting, 0.95), stats.speedup(steady, 0.95))


@given(pairs)
def test_turning_the_ratio_round_turns_the_interval_round(rounds: list[tuple[float, float]]) -> None:
    there = stats.speedup(_timing([([mine], [its]) for mine, its in rounds]), 0.95)
    back = stats.speedup(_timing([([its], [mine]) for mine, its in rounds]), 0.95)
    assert _close(back, Interval(1 / there.value, 1 / there.high, 1 / there.low))


def test_one_round_proves_nothing() -> None:
    for found in (stats.speedup(timing(0.5, rounds=1), 0.95), stats.between(timing(0.5), timing(1, rounds=1), 0.95)):
        assert found.value == pytest.approx(2)
        assert (found.low, found.high) == (0.0, math.inf)


def test_no_round_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="without a round"):
        stats.speedup(Timing((Round((), (1.0,)),), 1, 1, "here"), 0.95)


def test_two_of_one_kind_are_indistinguishable_and_two_kinds_are_not() -> None:
    assert stats.indistinguishable(stats.between(timing(0.500, wobble=0.01), timing(0.502, wobble=0.01), 0.95))
    assert not stats.indistinguishable(stats.between(timing(0.500, wobble=0.01), timing(0.600, wobble=0.01), 0.95))


def test_however_alike_the_rounds_the_spread_between_processes_remains() -> None:
    found = stats.speedup(timing(1.0, wobble=0.0), 0.95)
    assert math.log(found.high) == pytest.approx(1.96 * CALM, rel=1e-3)
    assert math.log(stats.between(timing(), timing(), 0.95).high) == pytest.approx(1.96 * math.sqrt(2) * CALM, rel=1e-3)


@given(pairs, st.floats(0.1, 10))
def test_a_candidate_that_is_so_many_times_slower_shifts_the_whole_interval(
    rounds: list[tuple[float, float]], times: float
) -> None:
    found = stats.speedup(_timing([([mine], [its]) for mine, its in rounds]), 0.95)
    slower = stats.speedup(_timing([([mine * times], [its]) for mine, its in rounds]), 0.95)
    assert _close(slower, Interval(found.value / times, found.low / times, found.high / times))


@given(pairs, st.floats(1, 5))
def test_widening_multiplies_the_half_width_on_the_logarithmic_scale(
    rounds: list[tuple[float, float]], widen: float
) -> None:
    taken = _timing([([mine], [its]) for mine, its in rounds])
    found, wider = stats.speedup(taken, 0.95), stats.speedup(taken, 0.95, widen)
    assert wider.value == found.value
    assert math.log(wider.value / wider.low) == pytest.approx(widen * math.log(found.value / found.low), rel=1e-6)


@given(pairs)
def test_who_wants_to_be_surer_gets_a_wider_interval(rounds: list[tuple[float, float]]) -> None:
    taken = _timing([([mine], [its]) for mine, its in rounds])
    found = [stats.speedup(taken, confidence) for confidence in (0.8, 0.9, 0.95, 0.99)]
    assert all(one.low > other.low and one.high < other.high for one, other in itertools.pairwise(found))


def test_more_rounds_narrow_the_interval_by_the_square_root_of_their_number() -> None:
    rng = np.random.default_rng(6)
    widths = [
        np.mean([stats.mean_half_width([rng.normal(size=rounds)], 0.95) for _ in range(60)])
        for rounds in (8, 16, 32, 64, 128, 256, 512)
    ]
    assert all(more < 0.85 * fewer for fewer, more in itertools.pairwise(widths))
    assert widths[-1] == pytest.approx(1.96 / math.sqrt(512), rel=0.1)


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=30), st.floats(-1, 1))
def test_what_the_rounds_of_a_generation_have_in_common_is_not_the_rounds_noise(logs: list[float], off: float) -> None:
    values = np.array(logs)
    there, shifted = (stats.mean_half_width([values, values + by], 0.95) for by in (0.0, off))
    assert shifted == pytest.approx(there, rel=1e-6, abs=1e-9)


def test_the_spread_between_processes_falls_with_the_generations_that_have_a_share_in_the_rounds() -> None:
    def half(*counts: int) -> float:
        rounds = [Round((1.0,), (1.0,), number) for number, count in enumerate(counts) for _ in range(count)]
        return math.log(stats.speedup(Timing(tuple(rounds), 1, 1, "here"), 0.95).high)

    assert half(20, 20) == pytest.approx(half(40) / math.sqrt(2))
    assert half(10, 10, 10, 10) == pytest.approx(half(40) / 2)
    assert half(40) > half(39, 1) > 0.95 * half(40)  # 0.976: a second process with a single round hardly counts


def test_one_odd_round_among_equal_ones_leaves_an_interval_that_ends() -> None:
    found = stats.speedup(_timing([([1.0], [1.0])] * 9 + [([1.1], [1.0])]), 0.95)
    assert 0.9 < found.low < 1 < found.high < 1.1


@pytest.mark.parametrize("rounds", [8, 24, 100])
@pytest.mark.parametrize("noise", NOISES)
def test_the_interval_holds_the_true_ratio_about_as_often_as_it_says(noise: str, rounds: int) -> None:
    assert coverage(NOISES[noise], LOUD, rounds, 400) >= 0.93 - 0.0128  # less one standard error of 400 repetitions


@pytest.mark.parametrize("noise", NOISES)
def test_two_equal_things_are_told_apart_five_times_in_a_hundred_at_most(noise: str) -> None:
    assert told_apart(NOISES[noise], 24, 400) <= 0.05 + 0.0109  # and one standard error of 400 repetitions


def _timing(rounds: list[tuple[list[float], list[float]]]) -> Timing:
    return Timing(tuple(Round(tuple(mine), tuple(its)) for mine, its in rounds), 1, 1, "here")


def _close(one: Interval, other: Interval) -> bool:
    return np.allclose([one.value, one.low, one.high], [other.value, other.low, other.high], rtol=1e-9)


# ---------------------------------------------------------------------------------------- accuracy: rows of 0 and 1


def test_with_many_samples_the_score_interval_is_the_plain_one() -> None:
    """(b - c) / n +- z sqrt(b + c - (b - c)^2 / n) / n, as in every textbook, for 4,000 lost and 2,000 gained."""
    found = stats.score_drop(lost=4000, gained=2000, samples=160_000, confidence=0.95)
    half = 1.959964 * math.sqrt(6000 - 2000**2 / 160_000) / 160_000
    assert (found.value, found.low, found.high) == pytest.approx((0.0125, 0.0125 - half, 0.0125 + half), rel=1e-3)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 400), st.sampled_from([0.9, 0.95, 0.99]))
@settings(max_examples=60)
def test_at_its_ends_the_score_test_rejects_just_not(lost: int, gained: int, same: int, confidence: float) -> None:
    """The nuisance share comes from maximising the likelihood on a grid here, not from Tango's quadratic."""
    samples = lost + gained + same
    found = stats.score_drop(lost, gained, samples, confidence)
    assert -1 <= found.low < found.value < found.high <= 1
    z = float(normal_quantile(confidence))
    for end in (found.low, found.high):
        assert abs(_score_by_search(lost, gained, samples, end)) == pytest.approx(z, rel=2e-3)


def normal_quantile(confidence: float) -> float:
    return float(norm.ppf((1 + confidence) / 2))


def _score_by_search(lost: int, gained: int, samples: int, difference: float) -> float:
    same = samples - lost - gained

    def minus_likelihood(share: float) -> float:
        cells = ((lost, share + difference), (gained, share), (same, 1 - 2 * share - difference))
        return -sum(count * math.log(chance) if chance > 0 else -1e12 for count, chance in cells if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    share = minimize_scalar(minus_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return (lost - gained - samples * difference) / math.sqrt(samples * (2 * share + difference * (1 - difference)))


@given(st.integers(2, 100_000), st.sampled_from([0.9, 0.95, 0.99]))
def test_without_a_differing_pair_the_interval_still_has_its_width(samples: int, confidence: float) -> None:
    z = normal_quantile(confidence)
    found = stats.score_drop(0, 0, samples, confidence)
    assert found.value == 0
    assert found.high == pytest.approx(z * z / (samples + z * z), rel=1e-6)
    assert found.low == -found.high


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 500))
def test_what_is_lost_one_way_is_gained_the_other(lost: int, gained: int, same: int) -> None:
    samples = lost + gained + same + 1
    there, back = (stats.score_drop(*pair, samples, 0.95) for pair in ((lost, gained), (gained, lost)))
    assert (there.value, there.low, there.high) == (-back.value, -back.high, -back.low)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(1, 300), st.integers(2, 9))
def test_more_samples_of_the_same_kind_narrow_the_interval(lost: int, gained: int, same: int, times: int) -> None:
    samples = lost + gained + same
    few, many = (
        stats.score_drop(lost, gained, samples, 0.95),
        stats.score_drop(times * lost, times * gained, times * samples, 0.95),
    )
    assert many.high - many.low < few.high - few.low


def test_the_score_interval_covers_small_drops_of_good_models() -> None:
    """4,000 samples, 0.6 % lost and 0.4 % gained: a drop of 0.2 points."""
    rng = np.random.default_rng(7)
    counts = rng.multinomial(4000, [0.006, 0.004, 0.99], size=1000).tolist()
    found = [stats.score_drop(lost, gained, 4000, 0.95) for lost, gained, _ in counts]
    assert 0.93 <= np.mean([one.low <= 0.002 <= one.high for one in found]) <= 0.975


# ---------------------------------------------------------------------------------------- accuracy: every kind


def _facts(*columns: list[float]) -> Facts:
    return np.array(columns, dtype=np.float64).T


class _LowerIsBetter(Top1):
    higher_is_better: ClassVar[bool] = False


def test_losing_is_a_positive_drop_whatever_the_metrics_sense() -> None:
    right, wrong = np.array(right_and_wrong(90, 100)), np.array(right_and_wrong(80, 100))
    assert stats.drop_interval(Top1(), right, wrong, 0.95).value == pytest.approx(0.1)
    assert stats.drop_interval(_LowerIsBetter(), right, wrong, 0.95).value == pytest.approx(-0.1)
    error = _facts([1.0, 2.0, 3.0]), _facts([1.5, 2.0, 3.7])
    assert stats.drop_interval(Mae(), *error, 0.95).value == pytest.approx(0.4)


def test_a_score_whose_rows_are_not_zero_and_one_gets_the_interval_of_a_mean() -> None:
    before, after = _facts([0.9, 0.8, 1.0]), _facts([0.8, 0.8, 0.9])
    assert stats.drop_interval(Top1(), before, after, 0.95) == stats.mean_drop((before - after)[:, 0], 0.95)


def test_a_mean_whose_rows_are_zero_and_one_gets_the_score_interval() -> None:
    same = _facts([0.0, 1.0] * 20)
    assert stats.drop_interval(Mae(), same, same, 0.95).high > 0


def test_the_interval_of_a_mean_is_students() -> None:
    # Differences 1, 2, 3: mean 2, standard error 1 / sqrt(3), t with 2 degrees of freedom 4.3027 (tables).
    found = stats.mean_drop(np.array([1.0, 2.0, 3.0]), 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((2.0, -0.4841, 4.4841), abs=1e-4)


@pytest.mark.parametrize("metric", [Top1(), F1()])
def test_classes_that_agree_on_every_sample_may_still_differ_on_the_next(metric: Metric) -> None:
    facts = _facts([0.0, 1.0, 1.0, 0.0] * 10, [0.0, 1.0, 0.0, 0.0] * 10)
    found = stats.drop_interval(metric, facts, facts, 0.95)
    assert found.value == 0
    assert (found.low, found.high) == (-stats.score_drop(0, 0, 40, 0.95).high, stats.score_drop(0, 0, 40, 0.95).high)


@pytest.mark.parametrize("metric", [Mae(), Perplexity()])
def test_the_same_numbers_on_a_continuous_scale_are_the_same_outputs(metric: Metric) -> None:
    facts = _facts([0.25, 1.5, 3.125], [2.0, 3.0, 4.0])
    assert stats.drop_interval(metric, facts, facts, 0.95) == Interval(0.0, 0.0, 0.0)


@pytest.mark.parametrize("metric", [Top1(), Mae(), F1(), Perplexity()])
def test_fewer_than_two_samples_prove_nothing(metric: Metric) -> None:
    found = stats.drop_interval(metric, _facts([1.0], [1.0]), _facts([0.5], [1.0]), 0.95)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_different_samples_make_no_pairs() -> None:
    with pytest.raises(ValueError, match="3 rows against 2"):
        stats.drop_interval(Mae(), _facts([1.0, 2.0, 3.0]), _facts([1.0, 2.0]), 0.95)


# ---------------------------------------------------------------------------------------- accuracy: resampled


class _MeanBySum(Metric):
    """A mean that does not say so, to hold the jackknife against Student."""

    interval: ClassVar[Literal["score", "mean", "bootstrap"]] = "bootstrap"

    def facts(self, outputs: Mapping[str, Array], targets: Mapping[str, Array]) -> Facts:
        raise NotImplementedError


def test_the_jackknife_of_a_mean_is_students_interval() -> None:
    """With one sample a group the two are the same by algebra."""
    rng = np.random.default_rng(0)
    before, after = rng.normal(1.0, 1.0, (30, 1)), rng.normal(0.9, 1.0, (30, 1))
    found = stats.drop_interval(_MeanBySum(), before, after, 0.95)
    assert _close(found, stats.mean_drop((before - after)[:, 0], 0.95))


def test_the_jackknife_of_perplexity_is_as_wide_as_its_delta_method() -> None:
    """d exp(L/T) = exp(L/T) (dL - (L/T) dT) / T: the textbook variance of a ratio, computed the other way."""
    rng = np.random.default_rng(1)
    tokens = rng.integers(20, 60, 4000).astype(float)
    before, after = tokens * rng.gamma(4.0, 0.5, 4000), np.zeros(4000)
    after = before + tokens * rng.normal(0.02, 0.1, 4000)
    found = stats.drop_interval(
        Perplexity(), _facts(list(before), list(tokens)), _facts(list(after), list(tokens)), 0.95
    )
    influence = [
        np.exp(nll.sum() / tokens.sum()) * (nll - nll.sum() / tokens.sum() * tokens) for nll in (before, after)
    ]
    error = np.std((influence[1] - influence[0]) * len(tokens) / tokens.sum(), ddof=1) / math.sqrt(len(tokens))
    assert (found.high - found.low) / 2 == pytest.approx(2.04 * error, rel=0.3)  # 13 % is one standard error of it


def test_the_jackknife_covers_the_drop_of_f1_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    true = np.mean([_f1_drop(*_two_models(rng, 100_000)) for _ in range(10)])
    found = [stats.drop_interval(F1(), *_two_models(rng, 1000), 0.95) for _ in range(150)]
    assert np.mean([one.low <= true <= one.high for one in found]) >= 0.89  # 0.95 less three standard errors


def _two_models(rng: np.random.Generator, samples: int) -> tuple[Facts, Facts]:
    """Facts of F1 over 5 classes: a model that is right on 9 of 10, and one that changes 3 % of its answers."""
    true, other = rng.integers(0, 5, samples), rng.integers(0, 5, samples)
    before = np.where(rng.random(samples) < 0.9, true, other)
    after = np.where(rng.random(samples) < 0.03, other, before)
    return np.column_stack([before, true]).astype(float), np.column_stack([after, true]).astype(float)


def _f1_drop(before: Facts, after: Facts) -> float:
    return F1().value(before) - F1().value(after)


def test_sorted_data_are_dealt_out_before_they_are_left_out() -> None:
    """Sorted by what changed, all of it would leave in two or three groups, and the interval would be far too wide."""
    before, after = _two_models(np.random.default_rng(4), 2000)
    order = np.argsort(before[:, 0] == after[:, 0], kind="stable")
    mixed, in_order = (stats.drop_interval(F1(), before[rows], after[rows], 0.95) for rows in (slice(None), order))
    assert (in_order.high - in_order.low) / (mixed.high - mixed.low) == pytest.approx(1, abs=0.4)


# ---------------------------------------------------------------------------------------- how many would do


@given(st.floats(-0.05, 0.05), st.floats(0.001, 0.05), st.floats(0.0, 0.04), st.integers(10, 10_000))
def test_so_many_samples_bring_the_end_of_the_interval_to_the_limit(
    value: float, half: float, limit: float, samples: int
) -> None:
    found = stats.samples_to_decide(Interval(value, value - half, value + half), limit, samples)
    if found is None:
        assert value == pytest.approx(limit, abs=1e-9)
        return
    reach = half * math.sqrt(samples / found)
    assert reach <= abs(limit - value) * (1 + 1e-9)
    assert found == 1 or half * math.sqrt(samples / (found - 1)) >= abs(limit - value) * (1 - 1e-9)


def test_an_estimate_on_the_limit_or_without_a_spread_can_not_be_decided() -> None:
    assert stats.samples_to_decide(Interval(0.01, 0.005, 0.015), 0.01, 4000) is None
    assert stats.samples_to_decide(Interval(0.0, -math.inf, math.inf), 0.01, 1) is None
