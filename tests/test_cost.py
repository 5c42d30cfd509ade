"""Worked examples: every expected figure was computed by hand, as the comment beside it shows."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.judging import cost
from costopt.records import Round, Timing, Traffic
from costopt.verdict import Interval, Quote

QUOTE = Quote(0.09, "example/small", "an example", "2026-08-01")
TWICE = Interval(2.0, 1.6, 2.5)


def test_a_saturated_machine_at_nine_cents_and_one_millisecond_costs_two_and_a_half_cents_a_million() -> None:
    # 0.09 / 3600 = 0.000025 USD a second; times 0.001 s = 2.5e-8 USD an inference; times a million = 0.025 USD.
    assert cost.saturated_usd_per_million(0.09, 0.001) == pytest.approx(0.025)


def test_traffic_is_served_by_whole_machines_sized_at_the_peak() -> None:
    # 50 a second, three times that at the peak, 10 ms each: 1.5 machines busy, so 2.
    assert cost.instances_needed(Traffic(50, 3), 0.010) == 2


def test_machines_that_idle_between_peaks_are_paid_all_the_same() -> None:
    # 2 * 0.09 = 0.18 USD an hour for 50 * 3600 = 180,000 inferences: 1 USD a million.
    assert cost.traffic_usd_per_million(0.09, 2, Traffic(50, 3)) == pytest.approx(1.0)


def test_a_load_that_fits_one_machine_exactly_rents_one_machine() -> None:
    assert cost.instances_needed(Traffic(10, 3), 0.1 / 3) == 1  # 30 a second at 33.3 ms: busy to the last moment


def test_even_no_traffic_to_speak_of_needs_a_machine() -> None:
    assert cost.instances_needed(Traffic(0.001), 0.001) == 1


def test_the_originals_time_is_per_inference() -> None:
    # 8 ms a call of 4 inferences is 2 ms an inference.
    assert cost.original_seconds([Timing((Round((0.001,), (0.008,)),), 1, 4, "here")]) == pytest.approx(0.002)


def test_a_slow_minute_does_not_set_the_originals_time() -> None:
    quiet = [Timing((Round((0.001,), (0.002,)),), 1, 1, "here")] * 2
    disturbed = Timing((Round((0.004,), (0.008,)),), 1, 1, "here")
    assert cost.original_seconds([disturbed, *quiet]) == pytest.approx(0.002)


def test_stray_pauses_of_the_original_are_paid_for() -> None:
    # 1, 1 and 4 ms: the median is 1 ms and the mean, which a busy machine takes, is 2 ms.
    calls = (0.001, 0.001, 0.004)
    assert cost.original_seconds([Timing((Round(calls, calls),), 1, 1, "here")]) == pytest.approx(0.002)


def test_without_calls_there_is_no_cost() -> None:
    with pytest.raises(ValueError, match="no timed calls"):
        cost.original_seconds([Timing((), 1, 1, "here")])


def test_all_of_it_together() -> None:
    # The original takes 20 ms, the candidate 10 ms: 0.25 USD saturated; at 50 a second and a peak of 3 as above, 1 USD.
    found = cost.usd(0.02, TWICE, QUOTE, Traffic(50, 3))
    assert found.saturated == pytest.approx(0.25)
    assert found.at_traffic == pytest.approx(1.0)
    assert found.instances == 2
    assert found.relative == Interval(0.5, 0.4, 0.625)


def test_without_a_price_costs_are_relative_and_machines_are_counted() -> None:
    found = cost.usd(0.02, TWICE, None, Traffic(50, 3))
    assert (found.saturated, found.at_traffic, found.instances) == (None, None, 2)
    assert found.relative.value == 0.5


def test_an_unknown_speed_up_leaves_the_cost_open_at_both_ends() -> None:
    assert cost.reciprocal(Interval(2.0, 0.0, math.inf)) == Interval(0.5, 0.0, math.inf)


@given(st.floats(0.001, 100), st.floats(1e-6, 10), st.floats(0.01, 10_000), st.floats(1, 20))
def test_at_traffic_is_never_cheaper_than_saturated(price: float, seconds: float, rate: float, peak: float) -> None:
    traffic = Traffic(rate, peak)
    at_traffic = cost.traffic_usd_per_million(price, cost.instances_needed(traffic, seconds), traffic)
    assert at_traffic >= cost.saturated_usd_per_million(price, seconds) * (1 - 1e-9)


@given(st.floats(1e-6, 10), st.floats(0.01, 10_000), st.floats(1, 20))
def test_the_machines_bear_the_peak_and_one_fewer_would_not(seconds: float, rate: float, peak: float) -> None:
    needed = cost.instances_needed(Traffic(rate, peak), seconds)
    busy = rate * peak * seconds
    assert needed >= busy * (1 - 1e-9)
    assert needed == 1 or needed - 1 < busy
