"""The server scenario: what it refuses, how its child serves, and one small real model from end to end."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from costopt.benching.measurements import Attempt, Batching, Served
from costopt.errors import CandidateError, Untrue, UsageError
from costopt.journal import from_json, to_json
from costopt.measuring import rates, serving, session
from costopt.measuring.serving import Feeder, RealClock
from costopt.measuring.session import Arrays
from costopt.sampling.samples import Samples
from costopt.scenarios import server
from costopt.scenarios.server import Server
from tests import models, stages

pytestmark = pytest.mark.alone

# ---------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Server(p99_ms=20, rate=0.0), "rate must be more than zero, not 0"),
        (lambda: Server(p99_ms=20, rate=-5.0), "rate must be more than zero, not -5"),
        (lambda: Server(p99_ms=0.0), "p99_ms must be more than zero"),
        (lambda: Server(p99_ms=20, max_batch=0), "max_batch must be more than zero"),
        (lambda: Server(p99_ms=20, instances=0), "instances must be more than zero"),
        (lambda: Server(p99_ms=20, max_wait_ms=-1.0), "max_wait_ms must be zero or more"),
    ],
)
def test_options_that_mean_nothing_are_refused(make: Callable[[], Server], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()


def test_more_instances_than_cpus_are_refused(tmp_path: Path) -> None:
    one_core = replace(stages.stage(models.small_cnn, tmp_path), cpus=(0,))
    with pytest.raises(UsageError, match="2 instances on 1 CPU would only wait for one another; use at most 1"):
        Server(p99_ms=20, instances=2).measure(one_core)


# ---------------------------------------------------------------------------------------- the child


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    """Eight samples whose value is their number."""
    return Samples.written([{"x": np.arange(8, dtype=np.float32)[:, None]}], tmp_path)


def served_by(run: session.Run, samples: Samples, batch: int = 1) -> None:
    session.serve(session.Served(run, ("y",), samples, batch, iter(()), 0))


def stretch(batching: Batching, requests: int = 40, instances: int = 1, fixed: int | None = None) -> dict[str, object]:
    return {
        "rate_per_s": 2000.0,
        "requests": requests,
        "seed": 0,
        "bound_s": 60.0,
        "batching": to_json(batching),
        "instances": instances,
        "fixed": fixed,
    }


def test_requests_are_about_the_samples_in_turn_and_are_cut_without_copying(samples: Samples) -> None:
    feeder = Feeder(samples, most=4, fixed=None)
    assert feeder.feed(6, 4)["x"][:, 0].tolist() == [6, 7, 0, 1]
    assert feeder.feed(8, 2)["x"][:, 0].tolist() == [0, 1]
    assert np.shares_memory(feeder.feed(0, 3)["x"], feeder.feed(2, 1)["x"])
    assert Feeder(samples, most=32, fixed=None).feed(5, 32)["x"][:, 0].tolist() == [(5 + n) % 8 for n in range(32)]


@pytest.mark.parametrize("instances", [1, 3])
def test_the_child_answers_every_request_once(samples: Samples, instances: int) -> None:
    sizes: list[int] = []

    def run(feed: Arrays) -> list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
        sizes.append(len(feed["x"]))
        return []

    served_by(run, samples)
    answered = serving.attempt(stretch(Batching(4, 0.0), requests=200, instances=instances))
    attempt = from_json(Attempt, answered["attempt"])
    warming = len(serving.doubling(4))
    assert len(attempt.latencies_s) == 200 == sum(sizes[warming:]) == sum(attempt.busy_periods)
    assert attempt.calls == len(sizes) - warming
    assert max(sizes) <= 4
    assert min(attempt.latencies_s) >= 0
    assert answered["overslept_s"] >= 0


def test_a_model_that_takes_one_batch_only_always_gets_it(samples: Samples) -> None:
    sizes: list[int] = []

    def run(feed: Arrays) -> list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
        if len(feed["x"]) != 4:
            raise ValueError("Got invalid dimensions")
        sizes.append(len(feed["x"]))
        return []

    served_by(run, samples, batch=4)
    answered = serving.call_times({"most": 64, "bound_s": 1.0, "seconds": 0.001})
    assert answered["fixed"] == 4
    assert [size for size, _ in answered["times"]] == [4]
    serving.attempt(stretch(Batching(4, 0.0), fixed=4))
    assert set(sizes) == {4}


def test_call_times_are_taken_up_to_the_size_that_outlasts_the_bound(samples: Samples) -> None:
    def run(feed: Arrays) -> list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
        time.sleep(0.002 * len(feed["x"]))
        return []

    served_by(run, samples)
    answered = serving.call_times({"most": 24, "bound_s": 0.007, "seconds": 0.001})
    assert [size for size, _ in answered["times"]] == [1, 2, 4]
    assert answered["fixed"] is None
    assert serving.doubling(24) == [1, 2, 4, 8, 16, 24]


@pytest.mark.parametrize("instances", [1, 2])
def test_a_model_that_fails_in_the_middle_ends_the_stretch(samples: Samples, instances: int) -> None:
    calls = itertools.count()

    def run(feed: Arrays) -> list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:  # noqa: ARG001
        if next(calls) == 5:
            raise RuntimeError("kernel died")
        return []

    served_by(run, samples)
    with pytest.raises(CandidateError, match="the model does not run at batch 1: kernel died"):
        serving.attempt(stretch(Batching(), requests=4000, instances=instances))
    assert next(calls) < 2000, "the other instance has stopped too"


def test_the_clock_never_wakes_anyone_too_early() -> None:
    clock = RealClock()
    for moment_s in (0.0, 0.0031, 0.0032, 0.001):
        clock.wait_until(moment_s)
        assert clock.now() >= moment_s


# ---------------------------------------------------------------------------------------- the scenario


def test_stretches_in_which_the_loop_overslept_are_served_again_and_then_given_up() -> None:
    slow = Attempt(10.0, Batching(), 1, (0.03,) * 100, (1,) * 100, 10.0, 3.0, 100)
    quick = replace(slow, latencies_s=(0.01,) * 700, busy_periods=(1,) * 700)
    tries: Iterator[tuple[Attempt, float]] = iter([(slow, 0.005), (quick, 0.0001)])
    assert server._undisturbed(lambda: next(tries), 20.0) == quick
    assert server._undisturbed(lambda: (quick, 0.005), 20.0) == quick, "oversleeping only counts against it"
    with pytest.raises(Untrue, match=r"woke up 5\.0 ms late"):
        server._undisturbed(lambda: (slow, 0.005), 20.0)


@pytest.mark.slow
def test_a_small_model_holds_a_low_rate_with_a_wide_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stages.look_away(monkeypatch)
    stage = stages.stage(models.small_cnn, tmp_path, seconds=20.0)
    benched = Server(p99_ms=2000.0, rate=400.0, max_batch=4).measure(stage)
    found = benched.found
    assert isinstance(found, Served)
    answer = rates.answer(found)
    assert answer.holds is not None
    assert (answer.holds.rate_per_s, answer.holds.batching.max_batch) == (400.0, 4)
    assert answer.holds.requests >= rates.FIRST_REQUESTS
    assert answer.holds.goodput_per_s > 0
    assert benched.opened.peak_memory_bytes > 0


def test_a_bound_below_a_single_call_fails_at_any_rate_and_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.look_away(monkeypatch)
    found = Server(p99_ms=1e-3).measure(stages.stage(models.small_cnn, tmp_path, seconds=20.0)).found
    assert isinstance(found, Served)
    answer = rates.answer(found)
    assert answer.holds is None
    assert answer.fails is not None
    assert answer.fails.late_share.value == 1
    assert "no rate can hold: the quickest of all answers took" in rates.remark(found)
