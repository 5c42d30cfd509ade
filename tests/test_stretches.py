"""Slow spells of the machine: told by the baseline's neighbours, never by a round's own luck."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as some

from costopt import stats
from costopt.measuring import stretches
from costopt.timings import Round, Timing


def rounds(baseline: list[float], ratio: float = 2.0) -> list[Round]:
    """One call a turn; the candidate is `ratio` times as fast."""
    return [Round((second / ratio,), (second,)) for second in baseline]


def noisy(count: int, level: float, spread: float, seed: int) -> list[float]:
    chance = random.Random(seed)
    return [level * math.exp(chance.gauss(0, spread)) for _ in range(count)]


def test_a_quiet_machine_keeps_nearly_every_round() -> None:
    kept = [len(stretches.own_speed(rounds(noisy(100, 1.0, 0.04, seed)))) for seed in range(50)]
    assert statistics.mean(kept) > 97


def test_a_slow_spell_is_left_out_and_the_rest_stays() -> None:
    spell = noisy(40, 1.0, 0.03, 1) + noisy(30, 1.7, 0.03, 2) + noisy(30, 1.0, 0.03, 3)
    kept = stretches.own_speed(rounds(spell))
    assert 66 <= len(kept) <= 72
    assert sum(one.baseline_seconds[0] > 1.4 for one in kept) <= 2, "only rounds at the edge of the spell"


def test_the_ratio_is_that_of_the_machines_own_speed() -> None:
    own, slow = rounds(noisy(60, 1.0, 0.03, 1), ratio=2.2), rounds(noisy(60, 1.25, 0.03, 2), ratio=1.55)
    timing = Timing((*own, *slow), 1, 1, "here")
    assert stats.speedup(stretches.at_own_speed(timing), 0.95).value == pytest.approx(2.2, rel=0.02)


def test_a_machine_that_is_always_the_same_is_its_own_speed_however_noisy() -> None:
    """Nothing may prefer rounds in which the baseline was quick: the mean ratio stays where it was."""
    errors = []
    for seed in range(200):
        baseline, candidate = noisy(60, 1.0, 0.10, seed), noisy(60, 1.0, 0.10, seed + 1000)
        taken = [Round((own,), (other,)) for own, other in zip(candidate, baseline, strict=True)]
        kept = stretches.own_speed(taken)
        errors.append(statistics.fmean(math.log(one.baseline_seconds[0] / one.seconds[0]) for one in kept))
    standard_error = statistics.stdev(errors) / math.sqrt(len(errors))
    assert abs(statistics.fmean(errors)) < 3 * standard_error


def places_kept(taken: list[Round]) -> list[int]:
    kept = {id(one) for one in stretches.own_speed(taken)}
    return [number for number, one in enumerate(taken) if id(one) in kept]


@given(some.lists(some.floats(1e-6, 1e3), min_size=1, max_size=60))
def test_some_rounds_always_stay_and_the_unit_of_time_does_not_matter(baseline: list[float]) -> None:
    kept = places_kept(rounds(baseline))
    assert kept
    assert kept == places_kept(rounds([2 * second for second in baseline]))


def test_rounds_without_calls_say_nothing() -> None:
    assert stretches.own_speed([Round((), (1.0,)), Round((1.0,), ())]) == ()
