import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.measuring import warmup
from tests.bench_statistics import COLD, ENDLESS, WARM, warm_ups

FAST = [name for name in WARM if WARM[name].warm_s <= 1e-3]


@pytest.mark.parametrize("name", WARM)
def test_who_is_warm_from_the_first_call_always_settles(name: str) -> None:
    found = warm_ups(WARM[name], 50)
    assert all(one.settled for one in found)
    assert np.mean([one.seconds for one in found]) < max(0.6, 2 * warmup.LEAST_SLOW_S)


@pytest.mark.parametrize("name", FAST)
def test_where_nothing_changes_the_first_look_is_nearly_always_the_last(name: str) -> None:
    assert sum(one.looks == 1 for one in warm_ups(WARM[name], 100)) >= 95 - 2  # 5 % by chance, less a standard error


@pytest.mark.parametrize("name", COLD)
def test_a_warm_up_is_seen_and_waited_for(name: str) -> None:
    found = warm_ups(COLD[name], 60)
    at_first = float(COLD[name].cold(np.zeros(1))[0])
    assert sum(one.settled and one.looks == 1 for one in found) <= 3
    assert np.quantile([one.still_cold for one in found], 0.9) <= 0.1 * at_first


def test_calls_that_never_stop_changing_are_mostly_seen_to() -> None:
    (calls,) = ENDLESS.values()
    assert sum(one.looks > 1 for one in warm_ups(calls, 60)) > 30


def test_the_first_warm_call_is_named_to_within_a_block() -> None:
    rng = np.random.default_rng(0)
    calls = np.where(np.arange(1000) < 300, 1.5e-3, 1e-3) * np.exp(rng.normal(0, 0.01, 1000))
    start = warmup.settled(calls.tolist())
    assert start is not None
    assert 300 <= start <= 300 + 1000 / warmup.BLOCKS


def test_a_change_in_the_second_half_of_the_calls_waits_for_more_of_them() -> None:
    calls = [1.5e-3] * 300 + [1e-3] * 200
    assert warmup.settled(calls) is None
    assert warmup.settled(calls + [1e-3] * 200) is not None


def test_slowing_down_is_a_change_too() -> None:
    assert warmup.change_point(np.array([1e-3] * 200 + [1.2e-3] * 200), 0.05) == 200


def test_a_change_too_small_to_matter_is_none() -> None:
    assert warmup.change_point(np.array([1e-3] * 200 + [1.005e-3] * 200), 0.05) is None


def test_a_single_spike_changes_nothing() -> None:
    rng = np.random.default_rng(1)
    calls = 1e-3 * np.exp(rng.normal(0, 0.02, 200))
    calls[50] = 1.0
    assert warmup.settled(calls.tolist()) == 0


def test_a_few_slow_calls_will_do_and_fewer_or_faster_ones_will_not() -> None:
    slow = [0.60, 0.61, 0.60, 0.61]
    assert warmup.settled(slow) == 0
    assert warmup.settled(slow[:3]) is None
    assert warmup.settled([0.1 * second for second in slow]) is None
    assert warmup.settled([]) is None


def test_slow_calls_whose_halves_do_not_overlap_still_change() -> None:
    assert warmup.settled([0.9, 0.85, 0.62, 0.60, 0.61]) is None


@given(st.lists(st.integers(1, 12), min_size=16, max_size=warmup.BLOCKS), st.sampled_from([0.01, 0.05, 0.3]))
def test_the_change_is_where_pettitt_puts_it(durations: list[int], significance: float) -> None:
    """U(t), from its definition: the sum of sign(x_i - x_j) over all i up to t and all j after it. Ties are drawn."""
    count = len(durations)
    scores = [
        abs(sum((a > b) - (a < b) for a in durations[:split] for b in durations[split:])) for split in range(1, count)
    ]
    chance = 2 * math.exp(-6 * max(scores) ** 2 / (count**3 + count**2))
    split = scores.index(max(scores)) + 1
    before, after = np.median(durations[:split]), np.median(durations[split:])
    found = warmup.change_point(np.array(durations, dtype=float), significance)
    assert found == (split if chance < significance and before != after else None)


@given(st.lists(st.floats(0.5, 2), min_size=40, max_size=200), st.integers(-8, 0))
def test_what_counts_is_the_shape_and_not_the_unit(durations: list[float], power: int) -> None:
    scaled = [duration * 2.0**power for duration in durations]
    assert warmup.change_point(np.array(scaled), 0.05) == warmup.change_point(np.array(durations), 0.05)
