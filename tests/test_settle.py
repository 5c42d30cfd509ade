"""What a bench found, settled from stored facts: ratios against the first, the machine's noise, and a sentence."""

from dataclasses import replace

import pytest

from costopt.benching import settle
from costopt.benching.measurements import (
    Attempt,
    Batching,
    Benched,
    BenchOutcome,
    BenchRun,
    Contender,
    Feed,
    Opened,
    Placement,
    Served,
    Throughput,
    Try,
    Unbenched,
)
from costopt.records import Setting, Spec
from costopt.timings import Noise, Timing
from tests import factories

OPENED = Opened(0.1, 0.01, 10_000_000, Placement({"CPUExecutionProvider": 12}), "float32")
QUIET = Noise(3.0, 2, other_load=0.0, steal=0.0, swapped_pages=0, throttled=0, governor="performance")


def contender(model: str, batch: int = 1) -> Contender:
    return Contender(model, f"/models/{model}", "0" * 64, 1_260_000, Setting(Spec("cpu"), batch, 2))


FIRST, SECOND, THIRD = contender("a.onnx"), contender("b.onnx"), contender("c.onnx")


def run(*contenders: Contender, scenario: Spec = Spec("single_stream"), base: int = 0) -> BenchRun:
    return BenchRun(
        id="bench-0",
        scenario=scenario,
        contenders=contenders,
        feed=Feed("100 inputs of evaluation.npz", random=False),
        machine=factories.MACHINE,
        versions={},
        precision=0.02,
        confidence=0.95,
        seed=0,
        pinned=False,
        created="2026-11-22T00:00:00+00:00",
        base=base,
    )


def timed(who: Contender, ms: float, *, baseline_ms: float = 1.0, wobble: float = 0.0, noise: Noise = QUIET) -> Benched:
    timing: Timing = factories.timing(ms, baseline_ms, rounds=24, wobble=wobble)
    return Benched(who, OPENED, replace(timing, noise=noise, stopped="precision"), noise)


def test_a_contender_is_held_against_the_first_and_told_apart_when_the_interval_says_so() -> None:
    report = settle.judge(run(FIRST, SECOND, THIRD), [timed(FIRST, 1.0), timed(SECOND, 0.5), timed(THIRD, 1.002)])
    first, second, third = (row.comparison for row in report.rows)
    assert first is not None
    assert second is not None
    assert third is not None
    assert first.ratio.value == 1.0
    assert second.ratio.value == pytest.approx(2.0)
    assert second.told_apart
    assert not third.told_apart
    assert third.seconds_to_tell is not None
    assert "b.onnx on cpu, batch 1, 2 threads is 2.00x" in report.headline


def test_two_that_are_not_told_apart_are_both_named_in_the_headline() -> None:
    report = settle.judge(run(FIRST, SECOND, THIRD), [timed(FIRST, 1.0), timed(SECOND, 0.5), timed(THIRD, 0.501)])
    assert "c.onnx on cpu, batch 1, 2 threads can't be told from it" in report.headline


def test_the_first_may_be_the_fastest_and_the_headline_says_by_how_much() -> None:
    report = settle.judge(run(FIRST, SECOND), [timed(FIRST, 1.0), timed(SECOND, 2.0)])
    assert report.headline == (
        "a.onnx on cpu, batch 1, 2 threads is the fastest per inference (the slowest takes 2.00x as long)"
    )


def test_a_disturbed_machine_widens_the_interval_and_says_why() -> None:
    busy = replace(QUIET, seconds=60.0, other_load=0.10)
    calm, disturbed = (
        settle.judge(run(FIRST, SECOND), [timed(FIRST, 1.0), timed(SECOND, 0.5, wobble=0.05, noise=noise)])
        .rows[1]
        .comparison
        for noise in (QUIET, busy)
    )
    assert calm is not None
    assert disturbed is not None
    assert disturbed.ratio.high - disturbed.ratio.low > 1.2 * (calm.ratio.high - calm.ratio.low)
    assert "other programs used 10 %" in disturbed.wide_because[0]


def test_a_contender_beside_whom_the_first_was_far_from_itself_loses_its_figures() -> None:
    others = [contender(f"{name}.onnx") for name in "bcdef"]
    outcomes: list[BenchOutcome] = [timed(one, 0.5) for one in (FIRST, *others[:-1])]
    outcomes.append(timed(others[-1], 1.0, baseline_ms=2.0))
    report = settle.judge(run(FIRST, *others), outcomes)
    assert [row.status for row in report.rows] == ["measured"] * 5 + ["invalid"]
    assert report.rows[-1].comparison is None
    assert "again" in report.rows[-1].fix


def test_failures_and_those_not_measured_yet_keep_their_reason() -> None:
    report = settle.judge(
        run(FIRST, SECOND, THIRD), [timed(FIRST, 1.0), Unbenched(SECOND, "failed", "it crashed", "bench")]
    )
    assert [row.status for row in report.rows] == ["measured", "failed", "not yet"]
    assert report.rows[1].reason == "it crashed"
    assert not report.finished


def test_figures_taken_beside_another_contender_do_not_mix_with_the_rest() -> None:
    outcomes = [replace(timed(FIRST, 1.0), beside=FIRST.id), replace(timed(SECOND, 0.5), beside=THIRD.id)]
    assert [row.status for row in settle.judge(run(FIRST, SECOND), outcomes).rows] == ["measured", "not yet"]


def test_the_fastest_is_found_for_tuning() -> None:
    outcomes = [timed(FIRST, 1.0), timed(SECOND, 0.5)]
    assert settle.fastest(run(FIRST, SECOND), outcomes) == SECOND
    assert settle.fastest(run(FIRST), [Unbenched(FIRST, "failed", "it crashed")]) is None


def test_the_whole_machine_is_put_in_one_sentence() -> None:
    tries = tuple(Try(count, 2 // count, 8, (1000.0 * count, 1010.0 * count, 1005.0 * count)) for count in (1, 2, 2))
    report = settle.judge(run(FIRST, scenario=Spec("offline")), [Benched(FIRST, OPENED, Throughput(tries), QUIET)])
    assert "a.onnx on cpu serves 2,010 samples/s" in report.headline
    assert "2 instances of 1 thread at batch 8" in report.headline


def attempt(rate: float, late: int, requests: int = 4000) -> Attempt:
    """Requests that each found the server idle, `late` of them slow."""
    latencies = tuple(0.05 if number < late else 0.005 for number in range(requests))
    return Attempt(rate, Batching(), 1, latencies, (1,) * requests, requests / rate, requests * 0.005, requests)


def server(*attempts: Attempt) -> tuple[BenchRun, list[BenchOutcome]]:
    held = run(FIRST, scenario=Spec("server", {"rate": None, "p99_ms": 20.0}))
    return held, [Benched(FIRST, OPENED, Served(20.0, attempts), QUIET)]


def test_a_promise_holds_does_not_or_is_undecided() -> None:
    assert settle.judge(*server(attempt(100.0, late=0))).holds is True
    assert settle.judge(*server(attempt(100.0, late=400))).holds is False
    assert settle.judge(*server(attempt(100.0, late=0, requests=100))).holds is None


def test_the_headline_of_a_server_names_what_holds_and_what_does_not() -> None:
    report = settle.judge(*server(attempt(100.0, late=0), attempt(200.0, late=800)))
    assert report.headline == ("a.onnx on cpu holds 100 requests/s with p99 within 20 ms, and does not hold 200")
