"""Throughput of the whole machine: the sums over windows, the choice among ways, and the sweep that finds them."""

import dataclasses
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt import machine as this_machine
from costopt.benching.measurements import Throughput, Try
from costopt.errors import CandidateError, UsageError
from costopt.measuring import throughput
from costopt.measuring.crew import Crew
from costopt.measuring.throughput import Way
from costopt.scenarios.offline import Memory, Offline, Serving, Sweep
from costopt.stats import PROCESS_SPREAD
from tests import models, stages

pytestmark = pytest.mark.alone

# ---------------------------------------------------------------------------------------- windows


def test_a_call_that_lies_in_two_windows_counts_in_both_by_its_parts() -> None:
    # Calls of 8 samples end at 1, 3 and 5 s; windows are 1.5 to 2.5 and 2.5 to 3.5 s.
    assert throughput.in_windows([0.0, 1.0, 3.0, 5.0], 8, 1.5, 1.0, 2) == pytest.approx([4.0, 4.0])
    assert throughput.in_windows([0.0, 1.0, 5.0], 8, 0.0, 1.0, 3) == pytest.approx([8.0, 2.0, 2.0])


@given(
    calls_s=st.lists(st.floats(1e-4, 2.0), min_size=1, max_size=40),
    batch=st.integers(1, 64),
    windows=st.integers(1, 12),
)
def test_windows_that_cover_all_calls_hold_every_sample_once(calls_s: list[float], batch: int, windows: int) -> None:
    ends_s = np.cumsum([10.0, *calls_s]).tolist()
    window_s = (ends_s[-1] - ends_s[0]) / windows
    assert sum(throughput.in_windows(ends_s, batch, 10.0, window_s, windows)) == pytest.approx(batch * len(calls_s))


def test_processes_together_serve_the_sum_in_each_window() -> None:
    assert throughput.together([[10.0, 12.0], [30.0, 28.0]], window_s=0.5) == (80.0, 80.0)


# ---------------------------------------------------------------------------------------- ways


@given(cpus=st.integers(1, 256))
def test_no_way_uses_more_threads_than_cpus_and_no_cpu_serves_two_instances(cpus: int) -> None:
    splits = throughput.splits(cpus)
    assert splits[0] == (1, cpus)
    assert len(set(splits)) == len(splits)
    for instances, threads in splits:
        parts = throughput.shares(range(cpus), instances)
        taken = [cpu for part in parts for cpu in part]
        assert 1 <= threads <= len(parts[0])
        assert len(parts) == instances
        assert sorted(taken) == list(range(cpus))


def test_batches_double_from_the_contenders_own() -> None:
    assert throughput.ladder(3, 20) == (3, 6, 12)
    assert throughput.ladder(8, 1) == (8,)


def test_larger_batches_are_tried_while_they_bring_something_and_a_little_longer() -> None:
    assert throughput.worth_doubling([])
    assert throughput.worth_doubling([100, 150, 149])
    assert not throughput.worth_doubling([100, 150, 149, 152])
    assert throughput.worth_doubling([100, 90, 130])


# ---------------------------------------------------------------------------------------- the answer


def tried(instances: int, *samples_per_s: float, batch: int = 1) -> Try:
    return Try(instances, 4 // instances, batch, samples_per_s)


def whole(*tries: Try) -> Try:
    return throughput.whole(Throughput(tries), 0.95).best


def test_the_way_with_the_highest_lower_bound_is_the_best() -> None:
    steady, wild = tried(1, 100, 101, 99, 100), tried(4, 60, 180, 70, 150)
    assert whole(steady, wild) == steady
    assert whole(steady, tried(4, 150, 151, 149, 150)).instances == 4


def test_more_processes_that_bring_nothing_sure_are_not_recommended() -> None:
    assert whole(tried(4, 100, 104, 98, 103), tried(2, 99, 103, 100, 101), tried(1, 80, 81, 79, 80)).instances == 2


def test_what_chose_a_finalist_is_no_part_of_its_figure() -> None:
    lucky, fair = tried(1, 140, 141, 139), tried(2, 120, 121, 119)
    found = throughput.whole(Throughput((lucky, fair, tried(1, 100, 101, 99), tried(2, 119, 120, 121))), 0.95)
    assert found.best.instances == 2
    assert [rate.value for _, rate in found.tries] == [100, 120]


def test_a_way_that_was_not_measured_again_does_not_win_by_its_short_trial() -> None:
    assert whole(tried(1, 100, 101, 99), tried(4, 500, 500, 500), tried(1, 100, 101, 99)).instances == 1


def test_one_window_proves_nothing_and_none_is_refused() -> None:
    only = throughput.interval(tried(1, 100.0), 0.95)
    assert (only.value, only.low, only.high) == (100, 0, math.inf)
    with pytest.raises(ValueError, match="a try without a window"):
        throughput.interval(tried(1), 0.95)
    with pytest.raises(ValueError, match="without a try"):
        throughput.whole(Throughput(()), 0.95)


def test_the_interval_holds_the_true_rate_as_often_as_it_says() -> None:
    chance = np.random.default_rng(7)
    held = 0
    for _ in range(600):
        process = 1 + PROCESS_SPREAD * chance.standard_normal(2).mean()  # the mean of two processes
        rates = 1000 * process * (1 + 0.02 * chance.standard_normal(10))
        rate = throughput.interval(tried(2, *rates.tolist()), 0.95)
        held += rate.low <= 1000 <= rate.high
    assert held >= 0.93 * 600  # 95 % less 2.2 standard errors of 600 draws


@given(rates=st.lists(st.floats(1.0, 1e6), min_size=2, max_size=30), scale=st.floats(0.1, 10.0))
def test_the_interval_scales_with_the_rates(rates: list[float], scale: float) -> None:
    plain = throughput.interval(tried(1, *rates), 0.95)
    scaled = throughput.interval(tried(1, *(rate * scale for rate in rates)), 0.95)
    assert dataclasses.astuple(scaled) == pytest.approx([scale * part for part in dataclasses.astuple(plain)])


# ---------------------------------------------------------------------------------------- the sweep, scripted


class Machine:
    """A machine whose throughput is a formula and whose clock moves only when somebody measures."""

    def __init__(self, rate: Callable[[Way], float], process_bytes: int = 100, largest: int = 1 << 20) -> None:
        self.rate, self.process_bytes, self.largest = rate, process_bytes, largest
        self.now_s = 0.0
        self.open = 0
        self.most_open = 0
        self.counted: list[tuple[Way, int]] = []

    def clock(self) -> float:
        return self.now_s

    @contextmanager
    def crew(self, instances: int, threads: int) -> Iterator[Serving]:
        self.open += instances
        self.most_open = max(self.open, self.most_open)
        self.now_s += 1.0
        try:
            yield ScriptedCrew(self, Way(instances, 0, threads))
        finally:
            self.open -= instances


class ScriptedCrew:
    """Serves as its machine's formula says."""

    def __init__(self, machine: Machine, way: Way) -> None:
        self.machine, self.way = machine, way

    def serve(self, batch: int) -> float:
        if batch > self.machine.largest:
            raise CandidateError("bench", f"Got {batch} Expected {self.machine.largest}")
        self.way = replace(self.way, batch=batch)
        return batch * self.way.instances / self.machine.rate(self.way)

    def count(self, window_s: float, windows: int) -> tuple[float, ...]:
        self.machine.now_s += window_s * windows
        self.machine.counted.append((self.way, windows))
        return tuple(self.machine.rate(self.way) * (1 + 0.001 * (turn % 2)) for turn in range(windows))

    def process_bytes(self) -> int:
        return self.machine.process_bytes * self.way.batch


def swept(machine: Machine, seconds: float = 1000.0, cpus: int = 4, free_bytes: int = 10**9) -> Throughput:
    memory = Memory(free_bytes, {1: machine.process_bytes})
    sweep = Sweep(machine.crew, cpus, throughput.ladder(1, 64), memory, machine.clock)
    sweep.try_all(machine.now_s + seconds)
    sweep.try_again(machine.now_s + seconds, confidence=0.95, precision=0.02, seed=1)
    assert machine.open == 0
    return sweep.found()


def likes_two_by_two(way: Way) -> float:
    """Two instances of two threads serve most, in batches of eight."""
    return 1000.0 * (2 if (way.instances, way.threads) == (2, 2) else 1) / (1 + abs(math.log2(way.batch / 8)))


def test_a_sweep_finds_the_way_that_serves_most() -> None:
    found = swept(Machine(likes_two_by_two))
    best = throughput.whole(found, 0.95).best
    assert (best.instances, best.threads, best.batch) == (2, 2, 8)
    assert len(best.samples_per_s) >= 8
    assert found.left_out == ()


def test_finalists_take_turns_window_by_window() -> None:
    machine = Machine(likes_two_by_two)
    swept(machine)
    second_pass = [way for way, windows in machine.counted if windows == 1]
    laps = [set(second_pass[start : start + 3]) for start in range(0, len(second_pass), 3)]
    assert len(laps) >= 8
    assert all(lap == laps[0] and len(lap) == 3 for lap in laps)


def test_batches_that_the_model_does_not_take_are_tried_once_and_named() -> None:
    machine = Machine(likes_two_by_two, largest=2)
    found = swept(machine)
    assert found.left_out == ("1 instance of 4 threads, batch 4 and more: Got 4 Expected 2",)
    assert max(one.batch for one in found.tries) == 2


def test_instances_that_would_not_fit_into_memory_are_never_opened() -> None:
    machine = Machine(lambda way: 1000.0 * way.instances * way.batch, process_bytes=100)
    found = swept(machine, free_bytes=1000)  # 8 processes of batch 1, or one of batch 8
    assert machine.most_open * machine.process_bytes <= 800
    assert all(one.instances * one.batch * 100 <= 800 for one in found.tries)
    assert any("GB of memory" in words for words in found.left_out)


def test_a_model_too_large_for_memory_is_a_failure_in_words() -> None:
    with pytest.raises(CandidateError, match=r"1 instance of 4 threads, batch 1 and more: needs .* GB of memory"):
        swept(Machine(likes_two_by_two, process_bytes=900), free_bytes=1000)


def test_what_there_was_no_time_for_is_named_and_the_rest_still_has_an_interval() -> None:
    found = swept(Machine(likes_two_by_two), seconds=4.0)
    assert any(words.endswith("the time was up") for words in found.left_out)
    assert throughput.whole(found, 0.95).samples_per_s.high < math.inf


def test_a_model_that_does_not_run_at_all_fails() -> None:
    with pytest.raises(CandidateError, match="Got 1 Expected 0"):
        swept(Machine(likes_two_by_two, largest=0))


def test_a_machine_of_one_core_has_one_split() -> None:
    found = swept(Machine(likes_two_by_two), cpus=1)
    assert {(one.instances, one.threads) for one in found.tries} == {(1, 1)}


# ---------------------------------------------------------------------------------------- for real


@pytest.mark.skipif(
    this_machine.cores() < 2 or sys.platform != "linux", reason="two instances need two CPUs to bind to"
)
def test_instances_are_bound_to_cpus_of_their_own_and_count_the_same_windows(tmp_path: Path) -> None:
    stage = stages.stage(models.small_cnn, tmp_path)
    subject = stage.subject(stage.contender)
    bound = [replace(subject, cpus=(cpu,)) for cpu in stage.cpus[:2]]
    with Crew(bound, tmp_path / "log") as crew:
        assert [psutil.Process(child.pid).cpu_affinity() for child in crew._children] == [
            [cpu] for cpu in stage.cpus[:2]
        ]
        assert crew.serve(4) > 0
        rates = crew.count(window_s=0.05, windows=3)
        assert len(rates) == 3
        assert all(rate > 0 for rate in rates)
        assert crew.process_bytes() > 1 << 20
        pids = [child.pid for child in crew._children]
    assert not any(psutil.pid_exists(pid) for pid in pids)


@pytest.mark.slow
def test_a_real_model_is_swept_in_every_split_that_the_machine_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.look_away(monkeypatch)
    stage = stages.stage(models.small_cnn, tmp_path, seconds=8.0)
    benched = Offline(max_batch=4).measure(stage)
    found = benched.found
    assert isinstance(found, Throughput)
    assert {one.batch for one in found.tries} <= {1, 2, 4}
    assert all(one.instances * one.threads <= this_machine.cores() for one in found.tries)
    assert all(rate > 0 for one in found.tries for rate in one.samples_per_s)
    assert throughput.whole(found, 0.95).samples_per_s.low > 0
    assert benched.opened.peak_memory_bytes > 0


def test_a_largest_batch_of_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="max_batch must be 1 or more, not 0"):
        Offline(max_batch=0).measure(stages.stage(models.small_cnn, tmp_path))
