import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt import stats
from costopt.measuring import stopping
from costopt.verdict import Interval
from tests.bench_statistics import LOUD, NOISES, USUAL, after_stopping
from tests.factories import timing


def test_looks_come_a_quarter_more_rounds_apart_and_none_comes_early() -> None:
    looks = [stopping.next_check(0)]
    while looks[-1] < 1000:
        looks.append(stopping.next_check(looks[-1]))
    assert looks[:5] == [24, 30, 38, 48, 60]
    assert all(later <= 1.25 * sooner + 1 for sooner, later in itertools.pairwise(looks))


def test_however_alike_the_first_rounds_they_are_not_enough() -> None:
    assert not stopping.enough(timing(rounds=stopping.LEAST_ROUNDS - 1), 1.0, 0.95)
    assert stopping.enough(timing(rounds=stopping.LEAST_ROUNDS), 1.0, 0.95)


@given(st.floats(0.001, 0.1), st.floats(0.005, 0.1))
def test_it_is_enough_when_the_interval_that_the_report_will_show_is_narrow_enough(
    wobble: float, precision: float
) -> None:
    taken = timing(wobble=wobble, rounds=40)
    found = stats.speedup(taken, 0.95)
    width = (found.high - found.low) / found.value
    assert stopping.enough(taken, precision, 0.95) == (width <= precision)


def test_generations_to_come_are_counted_on_for_both_kinds_of_spread() -> None:
    """24 equal rounds: all that is left is one pair's spread, 2 sinh(1.96 * 0.006) = 2.35 % wide; of two, 1.66 %."""
    taken = timing(rounds=24)
    assert not stopping.enough(taken, 0.02, 0.95, generations=1)
    assert stopping.enough(taken, 0.02, 0.95, generations=2)
    assert not stopping.enough(taken, 0.016, 0.95, generations=2)
    loud = timing(rounds=24, wobble=0.05)
    width = math.asinh(0.5 * (stats.speedup(loud, 0.95).high - stats.speedup(loud, 0.95).low))
    assert width > 0.02
    assert not stopping.enough(loud, 0.02, 0.95, generations=2)
    assert stopping.enough(loud, 0.02, 0.95, generations=16)


def test_calls_of_generations_to_come_are_counted_on() -> None:
    taken = timing(rounds=24, calls=10)
    assert stopping.called_enough(taken, 240)
    assert not stopping.called_enough(taken, 241)
    assert stopping.called_enough(taken, 480, generations=2)
    assert not stopping.called_enough(taken, 481, generations=2)


def test_two_percent_need_two_pairs_of_processes_and_five_percent_one() -> None:
    assert stopping.generations_needed(0.02, 0.95) == 2
    assert stopping.generations_needed(0.05, 0.95) == 1
    assert stopping.generations_needed(0.0001, 0.95) == stopping.MOST_GENERATIONS


@given(st.floats(0.007, 0.5), st.floats(0.8, 0.95))
def test_the_spread_between_so_many_processes_leaves_room_for_the_rounds(precision: float, confidence: float) -> None:
    def share(generations: int) -> float:
        spread = stats.process_half_width(confidence) / math.sqrt(generations)
        return 2 * math.sinh(spread / stopping.PROCESS_SHARE) / precision

    needed = stopping.generations_needed(precision, confidence)
    assert share(needed) <= 1 + 1e-9 or needed == stopping.MOST_GENERATIONS
    assert needed == 1 or share(needed - 1) > 1


@given(st.floats(0.9, 1.1), st.floats(0.001, 0.2), st.floats(1, 1000))
def test_after_so_many_seconds_more_the_end_of_the_interval_would_lie_at_one(
    value: float, half: float, spent_s: float
) -> None:
    more_s = stopping.seconds_to_tell(Interval(value, value * math.exp(-half), value * math.exp(half)), spent_s)
    away = abs(math.log(value))
    if more_s is None:
        needed_s = spent_s * (half / away) ** 2 if away else math.inf
        assert half < away * (1 + 1e-9) or needed_s > stopping.DAY_S
        return
    assert 0 <= more_s <= stopping.DAY_S
    assert half * math.sqrt(spent_s / (spent_s + more_s)) == pytest.approx(away, rel=1e-6)


def test_nothing_is_said_of_the_time_to_tell_what_is_told_or_never_will_be() -> None:
    assert stopping.seconds_to_tell(Interval(1.2, 1.1, 1.3), 10) is None
    assert stopping.seconds_to_tell(Interval(1.0, 0.9, 1.1), 10) is None
    assert stopping.seconds_to_tell(Interval(1.001, 0.9, 1.1), 60) is None  # 9,000 times as long: six days
    assert stopping.seconds_to_tell(Interval(1.5, 0.0, math.inf), 10) is None


@pytest.mark.parametrize("noise", NOISES)
def test_intervals_hold_the_truth_also_where_the_rule_chose_the_number_of_rounds(noise: str) -> None:
    found = after_stopping(NOISES[noise], LOUD, precision=0.2, times=400)
    assert found.coverage >= 0.93 - 0.0128  # less one standard error of 400 repetitions
    assert 24 < found.rounds < 60


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
def test_they_do_so_over_two_generations_at_the_precision_that_bench_asks_for(noise: str) -> None:
    found = after_stopping(NOISES[noise], USUAL, precision=0.02, times=400)
    assert found.coverage >= 0.93 - 0.0128  # less one standard error of 400 repetitions
    assert 48 < found.rounds < 300
