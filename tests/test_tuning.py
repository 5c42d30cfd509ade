"""The search for session settings, against machines whose true speeds are known because they are made up."""

import math
import random
from collections.abc import Callable

import pytest
from scipy import stats as scipy_stats

from costopt.measuring import tuning
from costopt.measuring.tuning import Broken, Tuned, Variant
from costopt.records import Setting, Spec
from costopt.verdict import Interval

START = Setting(Spec("cpu"), threads=2)
Speed = Callable[[Setting], float]


class Machine:
    """A judge whose rounds scatter by `noise` (standard deviation of a log ratio) round the true speeds.

    It keeps its rounds, as the real one does: a later look at the same pair sees the earlier rounds again.
    """

    def __init__(self, speed: Speed, noise: float = 0.02, seed: int = 0) -> None:
        self.speed = speed
        self.noise = noise
        self.seed = seed
        self.asked: list[tuple[Setting, int]] = []

    def __call__(self, variant: Setting, best: Setting, rounds: int, confidence: float) -> Interval | Broken:
        self.asked.append((variant, rounds))
        source = random.Random(f"{self.seed} {variant} {best}")
        mean = math.log(self.speed(variant) / self.speed(best))
        logs = [source.gauss(mean, self.noise) for _ in range(rounds)]
        middle = sum(logs) / rounds
        error = math.sqrt(sum((one - middle) ** 2 for one in logs) / (rounds - 1) / rounds)
        half = float(scipy_stats.t.ppf((1 + confidence) / 2, rounds - 1)) * error
        return Interval(math.exp(middle), math.exp(middle - half), math.exp(middle + half))


def propose(best: Setting) -> tuple[Variant, ...]:
    return tuning.variants(best, cores=4, branches=1)


def tuned(judge: tuning.Judge, seed: int = 0, time_is_up: Callable[[], bool] = lambda: False) -> Tuned:
    return tuning.search(START, propose, judge, seed=seed, time_is_up=time_is_up)


def better_alone_without_spinning(setting: Setting) -> float:
    """Four threads are faster; spinning hurts with four of them and helps with fewer."""
    spinning = setting.session.get("intra_op_spinning", True)
    return {1: 0.6, 2: 1.0, 4: 1.4}[setting.threads] * (1.2 if spinning == (setting.threads < 4) else 1.0)


def test_changes_that_help_only_together_are_found_one_after_the_other() -> None:
    found = tuned(Machine(better_alone_without_spinning))
    assert (found.best.threads, dict(found.best.session)) == (4, {"intra_op_spinning": False})
    assert [one.change for one in found.trail if one.end == "kept"] == ["threads=4", "intra_op_spinning=false"]
    assert found.stopped == "settled"


def test_where_nothing_matters_the_start_stays() -> None:
    runs = 200
    changed = sum(tuned(Machine(lambda _: 1.0, seed=seed), seed).best != START for seed in range(runs))
    # At most 2.5 in 100 by the search's promise: 5 of 200, and 12 is 3.2 standard deviations above.
    assert changed <= 12


def test_a_gain_inside_the_noise_changes_nothing_and_says_so() -> None:
    found = tuned(Machine(lambda setting: 1.001 if setting.session else 1.0, noise=0.05))
    assert found.best == START
    assert {one.end for one in found.trail if one.setting.session} <= {"tied", "slower"}


def test_what_is_surely_slower_leaves_after_the_first_look() -> None:
    machine = Machine(lambda setting: 0.5 if setting.threads == 1 else 1.0)
    found = tuned(machine)
    assert [rounds for setting, rounds in machine.asked if setting.threads == 1] == [tuning.LOOKS[0]]
    assert [one.end for one in found.trail if one.change == "threads=1"] == ["slower"]


def test_of_two_that_are_faster_the_surely_faster_one_is_kept_and_the_other_tried_beside_it() -> None:
    gains = {"cpu_arena": 1.1, "mem_pattern": 1.3}
    found = tuned(Machine(lambda setting: math.prod(gains.get(name, 0.9) for name in setting.session)))
    assert dict(found.best.session) == {"cpu_arena": False, "mem_pattern": False}
    first_race = {one.change: one.end for one in found.trail if one.against == START}
    assert (first_race["mem_pattern=false"], first_race["cpu_arena=false"]) == ("kept", "beaten")


def test_a_variant_that_does_not_run_is_recorded_and_the_others_go_on() -> None:
    machine = Machine(better_alone_without_spinning)

    def judge(variant: Setting, best: Setting, rounds: int, confidence: float) -> Interval | Broken:
        if variant.session.get("graph_optimization_level") == "basic":
            return Broken("the process crashed")
        return machine(variant, best, rounds, confidence)

    found = tuned(judge)
    assert found.best.threads == 4
    assert {one.reason for one in found.trail if one.end == "failed"} == {"the process crashed"}


def test_the_same_seed_gives_the_same_trail_and_another_seed_another_order() -> None:
    def order(seed: int) -> list[str]:
        return [one.change for one in tuned(Machine(better_alone_without_spinning), seed).trail]

    assert order(1) == order(1)
    assert order(1) != order(2)


def test_when_the_time_is_up_the_best_so_far_stands_and_the_rest_says_why_it_was_not_tried() -> None:
    machine = Machine(better_alone_without_spinning)
    found = tuned(machine, time_is_up=lambda: len(machine.asked) >= 20)  # in the second race
    assert (found.best.threads, found.stopped) == (4, "time")
    assert {one.reason for one in found.trail if one.end == "time"} == {"the time was up"}
    stopped_at_once = tuned(machine, time_is_up=lambda: True)
    assert stopped_at_once.best == START
    assert {one.end for one in stopped_at_once.trail} == {"time"}


@pytest.mark.parametrize(("branches", "cores", "tried"), [(1, 8, 0), (3, 8, 1), (3, 1, 0)])
def test_parallel_execution_is_tried_only_where_branches_and_cores_allow_it(
    branches: int, cores: int, tried: int
) -> None:
    parallel = [
        one.setting.session
        for one in tuning.variants(START, cores, branches)
        if one.setting.session.get("execution_mode") == "parallel"
    ]
    assert [one["inter_op_threads"] for one in parallel] == [3] * tried


def test_a_single_thread_has_no_pool_to_tune() -> None:
    alone = Setting(Spec("cpu"), threads=1)
    assert not [one.change for one in tuning.variants(alone, 4, 1) if one.change.startswith(("intra", "dynamic"))]


def test_every_variant_is_one_change_away_and_none_is_the_best_itself() -> None:
    best = Setting(Spec("cpu"), threads=2, session={"execution_mode": "parallel", "inter_op_threads": 2})
    changes = {one.change: one.setting for one in tuning.variants(best, 4, 2)}
    assert best not in changes.values()
    assert len({(one.threads, str(one.session)) for one in changes.values()}) == len(changes)
    assert changes["threads=4"].session == best.session
    assert dict(changes["execution_mode=sequential, inter_op_threads=0, inter_op_spinning=true"].session) == {}
