"""Batches: against one request a call, against theory, and what a plan makes of candidates that serve them."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from costopt.planning import lanes
from costopt.planning.capacity import LOADS, MOST_LOAD, Capacities
from costopt.planning.simulation import ALONE, Batching, in_batches, requests_for, simulated
from costopt.planning.theory import bulk_mean_wait_s, mmc_mean_wait_s

Floats = NDArray[np.float64]


def gamma(count: int = 700, shape: float = 20.0) -> Floats:
    """Calls that spread a little, with mean 1."""
    calls = np.sort(np.random.default_rng(1).gamma(shape, 1 / shape, count))
    scaled: Floats = calls / calls.mean()
    return scaled


def exponential(count: int = 20_000) -> Floats:
    calls = -np.log1p(-(np.arange(count) + 0.5) / count)
    scaled: Floats = calls / calls.mean()
    return scaled


# ---------------------------------------------------------------------------------------- the simulation


@given(st.lists(st.floats(0.0, 9.0), min_size=1, max_size=60), st.integers(1, 5), st.floats(0.0, 3.0))
def test_a_batch_of_one_is_one_request_a_call(gaps: list[float], servers: int, max_wait_s: float) -> None:
    arrivals = np.cumsum(gaps).tolist()
    services = np.random.default_rng(0).gamma(2.0, 1.0, len(gaps)).tolist()
    starts, served = in_batches(arrivals, services, servers, Batching(1, max_wait_s))
    free = [0.0] * servers
    for arrival, service, start in zip(arrivals, services, starts, strict=True):
        free.sort()
        assert start == max(arrival, free[0])
        free[0] = start + service
    assert served == [1] * len(gaps)


@given(
    st.lists(st.floats(0.0, 3.0), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(2, 8),
    st.sampled_from([0.0, 0.5, 4.0]),
)
def test_calls_take_requests_in_order_never_more_than_fit_and_never_before_they_come(
    gaps: list[float], servers: int, size: int, max_wait_s: float
) -> None:
    arrivals = np.cumsum(gaps)
    services = np.random.default_rng(0).gamma(2.0, 1.0, len(gaps))
    starts, served = in_batches(arrivals.tolist(), services.tolist(), servers, Batching(size, max_wait_s))
    assert sum(served) == len(gaps)
    assert all(1 <= one <= size for one in served)
    taken_up = np.repeat(starts, served)
    assert np.all(taken_up >= arrivals)
    ends = np.array(starts) + services[: len(starts)]
    assert all(int(np.sum(ends[:place] > start)) < servers for place, start in enumerate(starts))


def test_alone_on_an_idle_server_a_request_waits_as_long_as_it_is_allowed_to_and_no_longer() -> None:
    starts, served = in_batches([0.0, 10.0, 10.1, 10.2], [1.0] * 4, 1, Batching(3, 0.5))
    assert (starts, served) == ([0.5, 10.2], [1, 3])
    assert in_batches([0.0, 10.0], [1.0] * 2, 1, Batching(3)) == ([0.0, 10.0], [1, 1])


def test_a_server_that_never_rests_answers_full_batches_one_after_the_other() -> None:
    calls, size, servers = gamma(), 8, 3
    answers = simulated(calls, 100.0 * servers * size, servers, 400_000, 0, Batching(size))
    arrivals_end_s = 400_000 / (100.0 * servers * size)
    last_s = arrivals_end_s + float(answers.seconds[-1])
    assert 400_000 / last_s == pytest.approx(servers * size / calls.mean(), rel=0.01)


def test_a_worked_bulk_queue() -> None:
    """b = 2, rate = mean = 1: r^3 - 2 r + 1 = 0 has the golden section r = 0.618; A = 1 / (1 + 1 / (1 - r))."""
    r = (math.sqrt(5) - 1) / 2
    weight = 1 / (1 + 1 / (1 - r))
    assert bulk_mean_wait_s(2, 1.0, 1.0) == pytest.approx(weight * r / (1 - r) ** 2)
    assert bulk_mean_wait_s(2, 2.0, 1.0) == math.inf


@given(st.floats(0.05, 0.95))
def test_a_bulk_queue_of_one_is_mm1(load: float) -> None:
    assert bulk_mean_wait_s(1, load, 1.0) == pytest.approx(mmc_mean_wait_s(1, load, 1.0), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("size", [2, 8, 32])
def test_the_simulation_agrees_with_bulk_theory_within_two_per_cent(size: int, load: float) -> None:
    answers = simulated(exponential(), load * size, 1, 2_000_000 * math.ceil(size / 4), 1, Batching(size))
    assert answers.waits_s.mean() == pytest.approx(bulk_mean_wait_s(size, load * size, 1.0), rel=0.02)


def test_a_short_simulation_is_near_bulk_theory_already() -> None:
    answers = simulated(exponential(), 4.8, 1, 400_000, 1, Batching(8))
    assert answers.waits_s.mean() == pytest.approx(bulk_mean_wait_s(8, 4.8, 1.0), rel=0.03)


# ---------------------------------------------------------------------------------------- the curves


@pytest.mark.parametrize(("size", "max_wait"), [(2, 0.0), (8, 0.0), (8, 0.5), (32, 0.0)])
@pytest.mark.parametrize("servers", [1, 4])
def test_lanes_tell_what_a_simulation_of_its_own_tells(size: int, max_wait: float, servers: int) -> None:
    loads = np.array([0.05, 0.4, 0.7])
    (found,) = lanes.batch_percentiles([lanes.Line(gamma(), size, max_wait)], loads, servers, 0.99, 0)
    for load, seen in zip(loads, found, strict=True):
        rate = load * servers * size
        own = simulated(gamma(), rate, servers, requests_for(servers, size), 3, Batching(size, max_wait))
        assert seen == pytest.approx(own.percentile_s(0.99), rel=0.12)


def test_lanes_of_batches_of_one_tell_what_lanes_without_batches_do() -> None:
    loads = LOADS[LOADS <= 0.6]
    with_batches = lanes.batch_percentiles([lanes.Line(gamma(), 1, 0.0)], loads, 2, 0.95, 0)
    assert with_batches == pytest.approx(lanes.percentiles([gamma()], loads, 2, 0.95, 0), rel=0.1)


def test_a_batch_bears_many_times_the_requests_but_not_below_its_own_call() -> None:
    curves = Capacities([gamma(), gamma()], 0.99, 0, [ALONE, Batching(8)])
    assert curves.load(1, 1, 4.0) > curves.load(0, 1, 4.0)  # of eight times as many requests
    assert curves.load(1, 1, 1.0) == 0.0


def test_waiting_for_a_batch_to_fill_counts_where_nobody_else_comes() -> None:
    curves = Capacities([gamma()], 0.99, 0, [Batching(8, 2.0)])
    assert curves.load(0, 1, 3.0) == 0.0
    assert curves.load(0, 1, 6.0) > 0.3


@settings(max_examples=50, deadline=None)  # the first draws the curves
@given(st.integers(1, 40), st.floats(0.5, 50.0), st.floats(1.0, 3.0), st.integers(0, 40), st.sampled_from([1.0, 1.35]))
def test_a_looser_promise_or_more_servers_never_bear_less_with_batches(
    servers: int, multiple: float, looser: float, more: int, slower: float
) -> None:
    load = CURVES.load(0, servers, multiple, slower)
    assert 0 <= load <= MOST_LOAD
    assert CURVES.load(0, servers, multiple * looser, slower) >= load
    assert CURVES.load(0, servers + more, multiple, slower) >= load - 1e-12


CURVES = Capacities([gamma()], 0.99, 0, [Batching(4, 0.5)])
