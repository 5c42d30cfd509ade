"""Records made up for tests: measured candidates whose figures are exactly what the test asks for.

    original = measured(ms=1.0)
    quantised = measured(recipe("int8_static"), ms=0.5, correct=3660)
    found = (original, quantised)
    report = judge(run(found), found, plan(accuracy_drop=0.01), TODAY)

Calls spread around the median in a fixed pattern, the same in every round, so a speed-up is known to the last digit;
`wobble` makes the rounds differ. No clock, no random numbers.
"""

import datetime
from collections.abc import Sequence
from typing import Literal

from costopt.records import (
    Artifact,
    Budget,
    Candidate,
    Data,
    Graph,
    InputSpec,
    Machine,
    Measured,
    Objective,
    Outcome,
    Parity,
    Plan,
    Recipe,
    Round,
    Run,
    Score,
    Spec,
    Timing,
    Traffic,
    Value,
)

TODAY = datetime.date(2026, 8, 1)
SAMPLES = 4000
CORRECT = 3700
MACHINE = Machine("Example CPU at 2.0 GHz", 2, 8 * 10**9, "Linux 6.1", ("avx2",))
GRAPH = Graph(
    inputs=(InputSpec("x", ("batch", 1, 28, 28), "float32"),),
    outputs=(InputSpec("logits", ("batch", 10), "float32"),),
    operators={"Conv": 8, "Gemm": 1},
    parameters_by_operator={"Conv": 300_000, "Gemm": 8_000},
    opset=20,
    size_bytes=1_260_000,
)


def recipe(*methods: str | Spec) -> Recipe:
    """`recipe("slim", Spec("int8_static", {"per_channel": True}))`; `recipe()` is the original."""
    return tuple(Spec(one) if isinstance(one, str) else one for one in methods)


def timing(
    ms: float = 1.0,
    baseline_ms: float = 1.0,
    *,
    batch: int = 1,
    baseline_batch: int = 1,
    rounds: int = 5,
    calls: int = 40,
    spread: float = 0.04,
    wobble: float = 0.0,
) -> Timing:
    """Calls whose median is `ms` and whose slowest is `1 + spread` times that.

    `wobble` makes the candidate's rounds alternately faster and slower by that share, the baseline's staying put.
    """
    return Timing(
        rounds=tuple(
            Round(_calls(ms * (1 + wobble * (-1) ** number), calls, spread), _calls(baseline_ms, calls, spread))
            for number in range(rounds)
        ),
        batch=batch,
        baseline_batch=baseline_batch,
        machine=MACHINE.fingerprint,
    )


def _calls(ms: float, calls: int, spread: float) -> tuple[float, ...]:
    middle = (calls - 1) / 2
    return tuple(ms / 1e3 * (1 + spread * (place - middle) / max(middle, 1)) for place in range(calls))


def right_and_wrong(correct: int, samples: int = SAMPLES, swapped: int = 0) -> tuple[tuple[float, ...], ...]:
    """Rows of 1 and 0 with `correct` ones, the first samples being right.

    `swapped` moves that many of the ones to the end, onto samples that another candidate's rows have wrong.
    """
    kept = correct - swapped
    return tuple((1.0 if place < kept or place >= samples - swapped else 0.0,) for place in range(samples))


def measured(
    methods: Recipe = (),
    *,
    provider: str = "cpu",
    batch: int = 1,
    threads: int = 2,
    ms: float = 1.0,
    baseline_ms: float = 1.0,
    baseline_batch: int = 1,
    rounds: int = 5,
    calls: int = 40,
    spread: float = 0.04,
    wobble: float = 0.0,
    correct: int = CORRECT,
    swapped: int = 0,
    samples: int = SAMPLES,
    values: Sequence[Sequence[float]] | None = None,
    metric: Spec | None = None,
    against: Literal["target", "original"] = "target",
    size_bytes: int = 1_260_000,
    peak_memory_bytes: int = 50_000_000,
    load_s: float = 0.1,
) -> Measured:
    """A candidate whose calls take `ms` beside a baseline of `baseline_ms`, right on `correct` samples of `samples`.

    `values` replaces the rows of 1 and 0 where the metric keeps something else.
    """
    rows = tuple(tuple(row) for row in values) if values is not None else right_and_wrong(correct, samples, swapped)
    return Measured(
        candidate=Candidate(methods, provider, batch, threads),
        artifact=Artifact("model.onnx", size_bytes, "0" * 64),
        timing=timing(
            ms,
            baseline_ms,
            batch=batch,
            baseline_batch=baseline_batch,
            rounds=rounds,
            calls=calls,
            spread=spread,
            wobble=wobble,
        ),
        score=Score(metric or Spec("top1"), against, rows),
        placement={provider: 1.0},
        peak_memory_bytes=peak_memory_bytes,
        load_s=load_s,
    )


def twenty() -> tuple[Measured, ...]:
    """The original and nineteen others, each a little slower and a little less accurate than the one before."""
    others = (
        measured(
            recipe("int8_static", *["slim"] * (place % 2)), threads=place, ms=0.4 + place / 20, correct=3700 - place
        )
        for place in range(1, 20)
    )
    return (measured(), *others)


def run(
    found: Sequence[Outcome | Candidate],
    *,
    metric: Spec | None = None,
    against: Literal["target", "original"] = "target",
    baseline: str | None = None,
    notes: tuple[str, ...] = (),
) -> Run:
    """A run of these candidates; the baseline is the first one unless named by its id."""
    candidates = tuple(one if isinstance(one, Candidate) else one.candidate for one in found)
    return Run(
        id="example",
        model="model.pt2",
        format="pt2",
        baseline=baseline or candidates[0].id,
        metric=metric or Spec("top1"),
        against=against,
        machine=MACHINE,
        graph=GRAPH,
        parity=Parity(1e-6, 1e-6, 8),
        versions={"costopt": "0.1.0"},
        inputs={"model_sha256": "0" * 64},
        seed=0,
        created="2026-08-01T12:00:00+00:00",
        candidates=candidates,
        notes=notes,
    )


def plan(
    *,
    accuracy_drop: float | None = None,
    p95_ms: float | None = None,
    usd_per_million: float | None = None,
    size_mb: float | None = None,
    memory_mb: float | None = None,
    usd_per_hour: float | None = None,
    instance: str = "",
    requests_per_second: float | None = None,
    peak_to_mean: float = 1.0,
    objective: Objective = "cost",
    confidence: float = 0.95,
    metric: Spec | None = None,
) -> Plan:
    """A plan with these limits; the price is `usd_per_hour`, or that of a known `instance`, or not known."""
    fixed: dict[str, Value] = {"usd_per_hour": usd_per_hour, "instance": instance}
    table = Spec("table", {"instance": instance}) if instance else None
    return Plan(
        data=Data("/data/evaluation.npz"),
        metric=metric or Spec("top1"),
        budget=Budget(accuracy_drop, p95_ms, usd_per_million, size_mb, memory_mb),
        confidence=confidence,
        objective=objective,
        traffic=None if requests_per_second is None else Traffic(requests_per_second, peak_to_mean),
        price=table if usd_per_hour is None else Spec("fixed", fixed),
    )
