"""Arrivals, the line, and verdicts on rates: against hand-made schedules, and against queueing theory."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.benching.measurements import Attempt, Batching, Rate, Served
from costopt.measuring import rates
from costopt.measuring.forecast import CallTimes, forecasts, ways
from costopt.measuring.queueing import Line, VirtualClock, busy_periods, schedule, simulate, work
from costopt.measuring.rates import answer, judge, next_rate, requests_to_decide, search
from costopt.verdict import Interval
from tests import queueing_theory as theory

pytestmark = pytest.mark.alone

FOREVER_S = 1e9
Call = tuple[int, int, float, float]


def served(arrivals_s: Sequence[float], batching: Batching, call_s: Callable[[int], float]) -> list[Call]:
    """Calls as (first request, size, start, end), by one instance in virtual time."""
    clock, calls = VirtualClock(), list[Call]()

    def call(first: int, size: int) -> None:
        start = clock.now_s
        clock.now_s += call_s(size)
        calls.append((first, size, start, clock.now_s))

    work(Line(arrivals_s, batching, FOREVER_S, clock), call)
    return calls


# ---------------------------------------------------------------------------------------- the line


@pytest.mark.parametrize(
    ("batching", "calls"),
    [
        (Batching(1, 0.0), [(0, 1, 1, 11), (1, 1, 11, 21), (2, 1, 21, 31), (3, 1, 31, 41), (4, 1, 60, 70)]),
        (Batching(2, 0.0), [(0, 1, 1, 11), (1, 2, 11, 21), (3, 1, 21, 31), (4, 1, 60, 70)]),
        (Batching(8, 0.0), [(0, 1, 1, 11), (1, 3, 11, 21), (4, 1, 60, 70)]),
        (Batching(8, 2.5e3), [(0, 3, 3.5, 13.5), (3, 1, 13.5, 23.5), (4, 1, 62.5, 72.5)]),
        (Batching(2, 50e3), [(0, 2, 2, 12), (2, 2, 12, 22), (4, 1, 110, 120)]),
    ],
    ids=["one by one", "what is there, up to two", "what is there", "the first waits 2.5 s", "two, or 50 s"],
)
def test_batches_are_gathered_as_the_schedule_says(batching: Batching, calls: list[Call]) -> None:
    assert served([1.0, 2.0, 3.0, 5.0, 60.0], batching, lambda _: 10.0) == calls


lines = st.tuples(
    st.lists(st.floats(0, 3), min_size=1, max_size=40).map(lambda gaps: list(itertools.accumulate(gaps))),
    st.builds(Batching, st.integers(1, 5), st.sampled_from([0.0, 500.0, 4000.0])),
    st.lists(st.floats(0.01, 3), min_size=1, max_size=7),
)


@given(line=lines)
def test_every_request_is_served_once_in_order_and_no_batch_is_too_large(
    line: tuple[list[float], Batching, list[float]],
) -> None:
    arrivals_s, batching, times = line
    draws = itertools.cycle(times)
    calls = served(arrivals_s, batching, lambda _: next(draws))
    assert [request for first, size, *_ in calls for request in range(first, first + size)] == list(
        range(len(arrivals_s))
    )
    for first, size, start, _ in calls:
        assert 1 <= size <= batching.max_batch
        assert start >= arrivals_s[first + size - 1], "a call can't serve who has not come yet"


@given(line=lines)
def test_a_free_server_lets_nobody_wait_beyond_what_batching_allows(
    line: tuple[list[float], Batching, list[float]],
) -> None:
    arrivals_s, batching, times = line
    draws = itertools.cycle(times)
    free_s = 0.0
    for first, size, start, end in served(arrivals_s, batching, lambda _: next(draws)):
        patience = arrivals_s[first] + batching.max_wait_ms / 1e3
        assert start <= max(free_s, patience) + 1e-9
        if start > max(free_s, arrivals_s[first]) + 1e-9 and start < patience:
            assert size == batching.max_batch, "it waited, so it left early only because the batch was full"
        free_s = end


@given(line=lines, instances=st.integers(1, 4))
def test_several_instances_serve_everyone_and_no_later_than_one_would(
    line: tuple[list[float], Batching, list[float]], instances: int
) -> None:
    arrivals_s, batching, times = line
    one_by_one = Batching(1, 0.0)
    one = simulate(1.0, arrivals_s, one_by_one, FOREVER_S, lambda _: times[0])
    many = simulate(1.0, arrivals_s, one_by_one, FOREVER_S, lambda _: times[0], instances)
    assert all(later >= sooner - 2e-6 for later, sooner in zip(one.latencies_s, many.latencies_s, strict=True))
    gathered = simulate(1.0, arrivals_s, batching, FOREVER_S, lambda _: times[0], instances)
    assert sum(gathered.busy_periods) == len(gathered.latencies_s) == len(arrivals_s)


@given(seed=st.integers(0, 99), rate=st.floats(0.1, 0.9), more=st.floats(1.01, 3))
def test_at_a_higher_rate_the_same_requests_wait_longer(seed: int, rate: float, more: float) -> None:
    low, high = (
        simulate(one, schedule(one, 50, seed), Batching(), FOREVER_S, lambda _: 1.0) for one in (rate, rate * more)
    )
    assert all(slow >= quick - 2e-6 for quick, slow in zip(low.latencies_s, high.latencies_s, strict=True))


def test_a_stall_makes_everyone_late_who_would_have_come_meanwhile() -> None:
    stall = iter([*[0.001] * 500, 1.0])
    attempt = simulate(100.0, schedule(100.0, 2000, 0), Batching(), FOREVER_S, lambda _: next(stall, 0.001))
    late = sum(latency > 0.5 for latency in attempt.latencies_s)
    assert 35 <= late <= 65, "half of the hundred or so that came in that second; a closed loop would show one"
    assert judge([attempt], 500.0).p99_ms > 500


def test_an_overloaded_server_is_found_out_long_before_its_queue_is_served() -> None:
    attempt = simulate(10.0, schedule(10.0, 4000, 0), Batching(), 2.0, lambda _: 1.0)
    assert attempt.calls < 120, "4000 calls would have been due"
    assert sum(latency > 2.0 for latency in attempt.latencies_s) >= 1000, "who waited too long counts as late"
    assert sum(attempt.busy_periods) == len(attempt.latencies_s)
    assert judge([attempt], 2000.0).holds is False


def test_a_busy_period_ends_when_everyone_is_answered_who_came_before() -> None:
    arrivals, ends = np.array([0.0, 1.0, 4.5, 6.0, 6.5, 9.0]), np.array([5.0, 3.0, 5.5, 7.0, 8.0, 9.5])
    assert busy_periods(arrivals, ends) == (3, 2, 1)


# ---------------------------------------------------------------------------------------- theory


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_waiting_times_of_fixed_calls_are_those_of_pollaczek_and_khinchine(load: float) -> None:
    attempt = simulate(load, schedule(load, 150_000, 2), Batching(), FOREVER_S, lambda _: 1.0)
    assert np.mean(attempt.latencies_s) - 1 == pytest.approx(theory.mean_wait(load, 0.0), rel=0.05)


@pytest.mark.parametrize(("load", "servers"), [(0.8, 1), (0.7, 3)])
def test_waiting_times_of_exponential_calls_are_those_of_erlang(load: float, servers: int) -> None:
    calls_s = iter(np.random.default_rng(5).standard_exponential(120_000).tolist())
    rate = load * servers
    attempt = simulate(rate, schedule(rate, 120_000, 1), Batching(), FOREVER_S, lambda _: next(calls_s), servers)
    wait_s = (sum(attempt.latencies_s) - attempt.busy_s) / 120_000
    assert wait_s == pytest.approx(theory.mean_wait_of_many(load, servers), rel=0.05)
    assert judge([attempt], 1e6).utilisation == pytest.approx(load, rel=0.02)


def test_the_line_and_lindleys_recursion_serve_alike() -> None:
    by_line = simulate(0.7, schedule(0.7, 5000, 3), Batching(), FOREVER_S, lambda _: 1.0)
    by_recursion = theory.served(0.7, theory.always_one, 5000, 3)
    assert np.allclose(by_line.latencies_s, by_recursion.latencies_s, atol=1e-6)
    assert by_line.busy_periods == by_recursion.busy_periods


# ---------------------------------------------------------------------------------------- verdicts

RUNS = 200


@pytest.mark.parametrize(
    ("load", "calls", "p99"),
    [
        (0.3, theory.exponential, theory.p99_mm1),
        (0.8, theory.exponential, theory.p99_mm1),
        (0.3, theory.always_one, theory.p99_md1),
        (0.6, theory.always_one, theory.p99_md1),
    ],
)
def test_a_rate_just_on_its_limit_is_seldom_called_anything(
    load: float, calls: theory.CallTimes, p99: Callable[[float], float]
) -> None:
    bound_ms = 1e3 * p99(load)
    verdicts = [judge([theory.served(load, calls, 6000, seed)], bound_ms).holds for seed in range(RUNS)]
    assert sum(one is True for one in verdicts) <= 0.04 * RUNS
    assert sum(one is False for one in verdicts) <= 0.04 * RUNS


@pytest.mark.parametrize(("bound_share", "truth"), [(1.5, True), (0.6, False)])
def test_a_rate_far_from_its_limit_is_decided_and_rightly(bound_share: float, truth: bool) -> None:
    bound_ms = 1e3 * bound_share * theory.p99_mm1(0.6)
    verdicts = [judge([theory.served(0.6, theory.exponential, 30_000, seed)], bound_ms).holds for seed in range(50)]
    assert verdicts.count(not truth) == 0
    assert verdicts.count(truth) >= 45


def test_requests_that_wait_for_one_another_count_for_less_than_they_are() -> None:
    alone = Attempt(1.0, Batching(), 1, (0.1,) * 700, (1,) * 700, 700.0, 70.0, 700)
    together = Attempt(1.0, Batching(), 1, (0.1,) * 700, (7,) * 100, 700.0, 70.0, 700)
    assert judge([alone], 200.0).holds is True
    assert judge([Attempt(1.0, Batching(), 1, (0.1,) * 661, (1,) * 661, 661.0, 66.1, 661)], 200.0).holds is None
    slow_periods = tuple(0.1 + 0.001 * (request // 7) for request in range(700))
    undecided = Attempt(1.0, Batching(), 1, slow_periods, together.busy_periods, 700.0, 70.0, 700)
    assert judge([undecided], 300.0).holds is None
    assert judge([undecided], 300.0).p99_upper_ms is None
    # 662 independent requests in sevens, and a quarter more because the dependence was only estimated
    assert 6.5 * 662 < 700 + requests_to_decide([undecided], 300.0) < 10 * 662


def test_a_server_that_waits_for_company_is_judged_although_it_is_never_idle() -> None:
    batching = Batching(32, 10.0)
    attempt = simulate(1000.0, schedule(1000.0, 20_000, 0), batching, 0.05, lambda size: 0.002 + 0.0001 * size)
    assert max(attempt.busy_periods) > 1000
    assert judge([attempt], 50.0).holds is True
    assert judge([attempt], 10.0).holds is False


def test_a_queue_that_keeps_growing_is_never_said_to_hold() -> None:
    attempt = simulate(1.02, schedule(1.02, 20_000, 0), Batching(), 1e4, lambda _: 1.0)
    assert max(attempt.latencies_s) < 1e4
    assert judge([attempt], 1e7).holds is None
    drifting = np.random.default_rng(0).standard_normal(160).cumsum()
    assert not rates._unrelated(drifting), "blocks of such a queue are no independent units"
    assert rates._unrelated(np.diff(drifting))


def test_goodput_leaves_out_who_was_late() -> None:
    attempt = Attempt(5.0, Batching(), 1, (0.1,) * 95 + (0.3,) * 5, (1,) * 100, 20.0, 10.0, 100)
    rate = judge([attempt], 200.0)
    assert (rate.throughput_per_s, rate.goodput_per_s, rate.utilisation) == (5.0, 4.75, 0.5)


# ---------------------------------------------------------------------------------------- the highest rate


@pytest.mark.parametrize(("bound", "guess"), [(10.0, 1.3), pytest.param(6.0, 0.8, marks=pytest.mark.slow)])
def test_the_highest_rate_of_fixed_calls_is_found_within_three_percent(
    bound: float, guess: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MOST_REQUESTS", 400_000)  # nothing is stored here
    truth, left_s = theory.highest_load(theory.p99_md1, bound), 1e7

    def attempt_at(rate_per_s: float, requests: int, stretch: int) -> Attempt:
        nonlocal left_s
        attempt = theory.served(rate_per_s, theory.always_one, requests, stretch)
        left_s -= attempt.seconds
        return attempt

    attempts = search(attempt_at, guess * truth, 1e3 * bound, lambda: left_s)
    found = answer(Served(1e3 * bound, attempts))
    assert found.holds is not None
    assert found.fails is not None
    assert 0.97 * truth <= found.holds.rate_per_s <= truth <= found.fails.rate_per_s <= 1.03 * truth


def rate(rate_per_s: float, holds: bool | None) -> Rate:
    share = Interval(0.0, 0.0, 0.0)
    return Rate(rate_per_s, Batching(), 1.0, 1.0, None, share, holds, rate_per_s, rate_per_s, 0.5, 1000)


def test_the_search_goes_outwards_until_one_rate_holds_and_one_fails_and_then_between_them() -> None:
    assert next_rate([rate(100, True)]) == pytest.approx(110)
    assert next_rate([rate(100, True), rate(110, True)]) == pytest.approx(110 * 1.21)
    assert next_rate([rate(100, None)]) == pytest.approx(100 / 1.1)
    assert next_rate([rate(100, True), rate(121, False)]) == pytest.approx(110)
    assert next_rate([rate(100, True), rate(110, None), rate(121, False)]) == pytest.approx(math.sqrt(100 * 110))
    assert next_rate([rate(100, True), rate(100.9, None), rate(121, False)]) == pytest.approx(math.sqrt(100.9 * 121))
    assert next_rate([rate(100, True), rate(100.9, False)]) is None


def test_a_rate_that_holds_above_one_that_fails_is_not_believed() -> None:
    on_time, late = ((0.1,) * 1000, (0.5,) * 1000)
    attempts = [
        Attempt(rate_per_s, Batching(), 1, latencies, (1,) * 1000, 100.0, 50.0, 1000)
        for rate_per_s, latencies in ((10.0, on_time), (20.0, late), (30.0, on_time))
    ]
    found = answer(Served(200.0, tuple(attempts)))
    assert [one.holds for one in found.rates] == [True, False, True]
    assert found.holds is not None
    assert found.fails is not None
    assert (found.holds.rate_per_s, found.fails.rate_per_s) == (10.0, 20.0)


# ---------------------------------------------------------------------------------------- where to look


def test_call_times_between_measured_sizes_are_drawn_from_both() -> None:
    times = CallTimes({2: [1.0], 6: [3.0]}, seed=0)
    assert [times(size) for size in (1, 2, 3, 6, 9)] == [1.0, 1.0, 1.5, 3.0, 3.0]
    assert (times.capacity_per_s(1), times.capacity_per_s(6)) == (1.0, 2.0)
    assert times.fastest_s() == 1.0


def test_the_foretold_rate_of_fixed_calls_is_the_true_one() -> None:
    [foretold] = forecasts({1: [1.0]}, [Batching()], bound_ms=6e3, instances=1, seed=4)
    assert foretold.rate_per_s == pytest.approx(theory.highest_load(theory.p99_md1, 6.0), rel=0.1)


def test_gathering_is_foretold_to_pay_where_larger_calls_take_hardly_longer() -> None:
    calls = {size: [1.0 + 0.05 * size] for size in (1, 2, 4, 8)}
    batchings = ways(list(calls), None, None, 6e3)
    assert len(batchings) == 7, "four sizes, and waiting for company only where there can be any"
    best, *_, worst = forecasts(calls, batchings, 6e3, instances=1, seed=0)
    assert best.batching.max_batch == 8
    assert worst.batching.max_batch == 1
    assert best.rate_per_s > 3 * worst.rate_per_s
