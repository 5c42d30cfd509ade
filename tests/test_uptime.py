"""Machines that come, go and sleep: closed forms against processes played through, and what must hold for any hours."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costopt.planning import uptime
from costopt.planning.commitment import Committed, commitment
from costopt.planning.demand import HOUR_S, Demand, constant, hourly
from costopt.planning.uptime import Autoscaling, Levels, ScaleToZero, levels

HOURS = st.lists(st.floats(0.0, 100.0), min_size=24, max_size=24).filter(lambda rates: max(rates) > 0.1)


# ---------------------------------------------------------------------------------------- scale to zero


def played(rate_per_s: float, to_zero: ScaleToZero, requests: int) -> tuple[float, float, float]:
    """Share of time up, share of requests that meet a cold start, cold starts a second; request by request."""
    times = np.random.default_rng(0).standard_exponential(requests).cumsum() / rate_per_s
    up_s = cold = starts = begun = 0.0
    ready = down = -math.inf
    for time in times.tolist():
        if time > down:
            up_s += max(0.0, down - begun) if starts else 0.0
            begun, ready, starts = time, time + to_zero.cold_start_s, starts + 1
        cold += time < ready
        down = max(time, ready) + to_zero.idle_s
    span_s = float(times[-1] - times[0])
    return (up_s + times[-1] - begun) / span_s, cold / requests, starts / span_s


@pytest.mark.parametrize(("rate", "idle", "cold"), [(0.01, 100.0, 30.0), (0.02, 20.0, 60.0), (0.5, 5.0, 1.0)])
def test_the_closed_forms_are_what_a_process_played_through_does(rate: float, idle: float, cold: float) -> None:
    to_zero = ScaleToZero(idle, cold)
    up, met, starts = played(rate, to_zero, 100_000)
    assert to_zero.up_share(rate) == pytest.approx(up, rel=0.02)
    assert to_zero.cold_share(rate) == pytest.approx(met, rel=0.02)
    assert to_zero.starts_per_s(rate) == pytest.approx(starts, rel=0.02)


def test_where_starting_takes_no_time_only_the_gaps_count() -> None:
    """One request a hundred seconds, given back after 230: up 1 - e^-2.3, 90 % of the time."""
    to_zero = ScaleToZero(230.0, 1e-12)
    assert to_zero.up_share(0.01) == pytest.approx(1 - math.exp(-2.3))
    assert to_zero.cold_share(0.01) == pytest.approx(math.exp(-2.3))


@given(st.floats(1e-12, 100.0), st.floats(1.0, 10.0), st.floats(1.0, 3600.0), st.floats(0.1, 3600.0))
def test_more_requests_keep_more_up_and_fewer_of_them_meet_a_cold_start(
    rate: float, more: float, idle: float, cold: float
) -> None:
    to_zero = ScaleToZero(idle, cold)
    assert 0 < to_zero.up_share(rate) <= to_zero.up_share(rate * more) * (1 + 1e-12) <= 1 + 1e-9
    assert to_zero.cold_share(rate * more) <= to_zero.cold_share(rate) * (1 + 1e-12) <= 1 + 1e-9


def test_nights_without_a_request_are_slept_through() -> None:
    day = hourly([0.0] * 12 + [10.0] * 12, None)
    found = levels(day, None, ScaleToZero(300.0, 30.0))
    assert found.up == pytest.approx(0.5)
    assert found.cold < 1e-6


# ---------------------------------------------------------------------------------------- autoscaling


def machines(demand: Demand, start_up_s: float, least: int = 1) -> float:
    """Mean machines where one serves ten requests a second."""
    found = levels(demand, Autoscaling(start_up_s, least), None)
    return found.mean(np.maximum(np.ceil(found.rates_per_s / 10).astype(np.int64), least))


def test_a_worked_day() -> None:
    """Twenty hours of one machine, four of five; half an hour ahead they are up for four and a half."""
    day = hourly([10.0] * 10 + [50.0] * 4 + [10.0] * 10, None)
    assert machines(day, 1e-9) == pytest.approx((20 * 1 + 4 * 5) / 24)
    assert machines(day, 1800.0) == pytest.approx((19.5 * 1 + 4.5 * 5) / 24)
    assert machines(day, 3600.0) == pytest.approx((19 * 1 + 5 * 5) / 24)


@given(HOURS, st.floats(0.1, 7200.0), st.integers(0, 23))
def test_looking_ahead_is_the_highest_rate_within_the_start_up_second_by_second(
    rates: list[float], start_up_s: float, hour: int
) -> None:
    """Against a walk through the day in steps of ten seconds."""
    day = hourly(rates, None)
    found = levels(day, Autoscaling(start_up_s), None)
    walk_s = np.arange(5.0, 24 * HOUR_S, 10.0)
    seen = np.array(rates)[(walk_s // HOUR_S).astype(int)]
    for ahead_s in np.append(np.arange(0.0, start_up_s, HOUR_S), start_up_s):
        seen = np.maximum(seen, np.array(rates)[((walk_s + ahead_s) // HOUR_S).astype(int) % 24])
    assert found.shares @ found.rates_per_s == pytest.approx(seen.mean(), rel=0.01, abs=0.01)
    assert found.shares[found.rates_per_s >= rates[hour]].sum() >= np.mean(np.array(rates) >= rates[hour]) - 1e-9


@given(HOURS, st.floats(1.0, 3600.0), st.floats(1.0, 3.0), st.floats(1.0, 4.0))
def test_more_traffic_or_a_longer_start_never_needs_fewer_and_never_more_than_always_up(
    rates: list[float], start_up_s: float, longer: float, more: float
) -> None:
    day = hourly(rates, None)
    mean = machines(day, start_up_s)
    assert mean <= machines(day, start_up_s * longer) + 1e-9
    assert mean <= machines(day.times(more), start_up_s) + 1e-9
    assert mean <= math.ceil(day.peak_per_s / 10) + 1e-9
    assert mean >= max(1.0, day.mean_per_s / 10) - 1e-9


def test_the_busiest_minute_of_a_log_is_ready_for_wherever_it_begins() -> None:
    log = Demand(2.0, 7.0, "a log", None, (1.0, 5.0, 0.0), 60.0)
    assert levels(log, Autoscaling(60.0), None).rates_per_s[-1] == 7.0


def test_without_anything_asked_the_busiest_time_is_always_ready_for() -> None:
    found = levels(constant(10.0, 3.0), None, None)
    assert (found.rates_per_s.tolist(), found.shares.tolist(), found.up) == ([30.0], [1.0], 1.0)
    assert uptime.fixed(constant(10.0, 3.0)).cold == 0.0


# ---------------------------------------------------------------------------------------- committed


def test_machines_that_are_busy_for_longer_than_is_paid_are_committed_to() -> None:
    """One machine always, a second 70 % of the time, a third 20 %; at 37 % off two pay: (1 - 0.63) + (0.7 - 0.63)."""
    day = Levels(np.array([1.0, 2.0, 3.0]), np.array([0.3, 0.5, 0.2]))
    found = commitment(Committed(0.37, 8760.0), day, np.array([1, 2, 3]), 0.10, 730.0)
    assert (found.committed, found.machines) == (2, 3)
    assert found.saved_usd == pytest.approx((0.37 + 0.07) * 73.0)
    assert found.least_hours == pytest.approx(0.63 / 0.85 * 8760)


@settings(max_examples=50)
@given(HOURS, st.floats(0.05, 0.9))
def test_no_other_number_of_committed_machines_costs_less(rates: list[float], discount: float) -> None:
    found = levels(hourly(rates, None), Autoscaling(60.0), None)
    counts = np.ceil(found.rates_per_s / 10 + 1e-9).astype(np.int64)
    term = commitment(Committed(discount, 8760.0), found, counts, 1.0, 1.0)

    def usd(committed: int) -> float:
        beyond = found.mean(np.maximum(counts - committed, 0))
        return committed * (1 - discount) + beyond

    best = min(usd(one) for one in range(int(counts[-1]) + 1))
    assert usd(term.committed) == pytest.approx(best)
    assert usd(0) - usd(term.committed) == pytest.approx(term.saved_usd, abs=1e-9)
