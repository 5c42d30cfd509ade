"""Queues: closed forms against worked figures, the simulation against them, and the curves against the simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from costopt.planning.capacity import MOST_LOAD, Capacities
from costopt.planning.simulation import quantile, simulated
from costopt.planning.theory import erlang_c, mmc_mean_wait_s, mmc_wait_tail, pollaczek_khinchine_s
from tests import queueing_theory

Floats = NDArray[np.float64]


def exponential(count: int = 100_000) -> Floats:
    """Calls as exponential as a list can be: their quantiles, with mean 1."""
    calls = -np.log1p(-(np.arange(count) + 0.5) / count)
    scaled: Floats = calls / calls.mean()
    return scaled


def alike(spread: float, count: int = 1000) -> Floats:
    """Calls of nearly one length, with mean 1."""
    calls: Floats = np.linspace(1 - spread, 1 + spread, count)
    return calls


# ---------------------------------------------------------------------------------------- closed forms


def test_erlang_c_of_one_server_is_its_load_and_of_two_what_the_sum_says() -> None:
    assert erlang_c(1, 0.7) == pytest.approx(0.7)
    assert erlang_c(2, 1.0) == pytest.approx(1 / 3)
    assert erlang_c(4, 5.0) == 1.0


@given(st.integers(1, 40), st.floats(0.01, 0.99))
def test_erlang_c_agrees_with_the_formula_with_factorials(servers: int, load: float) -> None:
    wait_s = queueing_theory.mean_wait_of_many(load, servers)
    assert mmc_mean_wait_s(servers, load * servers, 1.0) == pytest.approx(wait_s, rel=1e-9)


def test_a_thousand_servers_overflow_nothing() -> None:
    assert 0 < erlang_c(1000, 990.0) < 1


def test_a_tenth_of_a_load_of_a_half_waits_longer_than_this() -> None:
    assert mmc_wait_tail(1, 0.5, 1.0, 2 * math.log(5)) == pytest.approx(0.1)
    assert mmc_wait_tail(1, 2.0, 1.0, 5.0) == 1.0


def test_pollaczek_khinchine_halves_the_wait_where_calls_take_the_same() -> None:
    assert pollaczek_khinchine_s(0.5, 1.0, 1.0) == pytest.approx(1.0)
    assert pollaczek_khinchine_s(0.5, 1.0, 0.0) == pytest.approx(0.5)
    assert pollaczek_khinchine_s(1.0, 1.0, 0.0) == math.inf


# ---------------------------------------------------------------------------------------- the simulation


@pytest.mark.slow
@pytest.mark.parametrize("servers", [1, 4, 16])
def test_the_simulation_agrees_with_erlang_within_two_per_cent(servers: int) -> None:
    answers = simulated(exponential(), 0.8 * servers, servers, requests=4_000_000, seed=1)
    assert np.mean(answers.waits_s > 0) == pytest.approx(erlang_c(servers, 0.8 * servers), rel=0.02)
    assert answers.waits_s.mean() == pytest.approx(mmc_mean_wait_s(servers, 0.8 * servers, 1.0), rel=0.02)
    tail = mmc_wait_tail(servers, 0.8 * servers, 1.0, 2 / servers)
    assert np.mean(answers.waits_s > 2 / servers) == pytest.approx(tail, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("calls", [alike(0.0), alike(0.9), exponential()], ids=["one length", "spread", "exponential"])
def test_the_simulation_agrees_with_pollaczek_and_khinchine_within_two_per_cent(load: float, calls: Floats) -> None:
    answers = simulated(calls, load, 1, requests=4_000_000, seed=1)
    squared_variation = float(calls.var() / calls.mean() ** 2)
    assert answers.waits_s.mean() == pytest.approx(pollaczek_khinchine_s(load, 1.0, squared_variation), rel=0.02)


def test_a_short_simulation_is_near_erlang_already() -> None:
    answers = simulated(exponential(), 2.4, 4, requests=200_000)
    assert np.mean(answers.waits_s > 0) == pytest.approx(erlang_c(4, 2.4), rel=0.05)


@settings(max_examples=25)
@given(st.floats(0.1, 3.0), st.floats(1.0, 2.0), st.integers(1, 4), st.integers(0, 3), st.integers(0, 5))
def test_no_request_waits_less_at_a_higher_rate_or_with_fewer_servers(
    rate_per_s: float, busier: float, servers: int, more: int, seed: int
) -> None:
    calls = np.random.default_rng(seed).gamma(0.5, 2.0, 50)
    quiet = simulated(calls, rate_per_s, servers + more, requests=300, seed=seed)
    assert np.all(simulated(calls, rate_per_s * busier, servers + more, 300, seed).waits_s >= quiet.waits_s - 1e-9)
    assert np.all(simulated(calls, rate_per_s, servers, 300, seed).waits_s >= quiet.waits_s - 1e-9)


def test_a_quantile_is_the_nearest_rank() -> None:
    values = np.arange(1.0, 101.0)[::-1].copy()
    assert (quantile(values, 0.99), quantile(values, 0.5), quantile(values, 0.0)) == (99.0, 50.0, 1.0)


# ---------------------------------------------------------------------------------------- the curves

SHAPES = (alike(0.1), alike(0.9), exponential(5000))
CURVES = Capacities(SHAPES, 0.99)


@pytest.mark.parametrize("place", range(len(SHAPES)))
@pytest.mark.parametrize(("servers", "multiple"), [(1, 6.0), (3, 5.5), (8, 5.0), (16, 4.8)])
def test_what_the_curves_allow_holds_in_a_simulation_of_its_own(place: int, servers: int, multiple: float) -> None:
    load = CURVES.load(place, servers, multiple)
    answers = simulated(SHAPES[place], 0.98 * load * servers, servers, requests=100_000, seed=7)
    assert 0 < load <= MOST_LOAD
    assert answers.percentile_s(0.99) <= 1.03 * multiple


def test_the_curves_waste_little() -> None:
    """M/M/1 answers in exponential time, so a promise of ten mean calls at p99 allows a load of 1 - ln(100) / 10."""
    assert CURVES.load(2, 1, 10.0) == pytest.approx(1 - math.log(100) / 10, abs=0.03)


@settings(max_examples=50)
@given(st.integers(0, 2), st.integers(1, 40), st.floats(0.5, 50.0), st.floats(1.0, 3.0), st.integers(0, 40))
def test_a_looser_promise_or_more_servers_never_bear_less(
    place: int, servers: int, multiple: float, looser: float, more: int
) -> None:
    load = CURVES.load(place, servers, multiple)
    assert CURVES.load(place, servers, multiple * looser) >= load
    assert CURVES.load(place, servers + more, multiple) >= load - 1e-12


def test_a_promise_below_the_calls_themselves_is_kept_at_no_load() -> None:
    assert CURVES.load(0, 32, 1.0) == 0.0


def test_without_a_promise_only_the_load_has_a_limit() -> None:
    assert Capacities(SHAPES, None).load(0, 1, math.inf) == MOST_LOAD
