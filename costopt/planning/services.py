"""A finished run's candidates as servers: how long their calls take, and whether they keep the run's own budget.

A candidate that was measured in batches serves up to so many requests a call, and its calls are taken to last as long
where they are not full (`simulation.Batching`). Each candidate was timed in turns with the original, so its calls are
multiplied by how much faster the original is over the whole run than it was beside this one: a slow minute of the
machine makes no candidate dear (as in `judging.cost`).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from costopt import stats
from costopt.errors import UsageError
from costopt.judging.explain import complexity
from costopt.measuring.stretches import at_own_speed
from costopt.planning.simulation import ALONE, Batching, quantile
from costopt.records import Candidate, Measured, Outcome, Timing
from costopt.verdict import Report, Row

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """A candidate that answers requests, one or a batch of them a call.

    `calls_s` are its measured calls in seconds, sorted, the slowest of them raised so that the promised percentile is
    as slow as it may be for certain (`sure_s`, at 99 % confidence); `seen_s` is that percentile as it was seen. Both
    are None where there are fewer than `needs` calls; `seen` is how many there are. `meets` is the verdict by the
    run's own budget, `lost` the words where it is not True. `complexity` is what makes it harder to live with,
    `size_bytes` the size of its file. `worst_drop` is the upper end of the interval of its drop in accuracy, in the
    metric's unit; `meets_but_accuracy` tells that it keeps all limits but that one.
    """

    candidate: Candidate
    calls_s: Floats
    seen_s: float | None
    sure_s: float | None
    needs: int
    seen: int
    meets: bool | None
    lost: str
    batching: Batching = ALONE
    size_bytes: int = 0
    worst_drop: float | None = None
    meets_but_accuracy: bool = False
    id: str = field(init=False)
    mean_s: float = field(init=False)
    complexity: tuple[float, ...] = field(init=False)

    def __post_init__(self) -> None:
        """A plan asks for these some hundred thousand times, and they take microseconds: `mean_s` is the mean call."""
        object.__setattr__(self, "id", self.candidate.id)
        object.__setattr__(self, "mean_s", float(self.calls_s.mean()))
        object.__setattr__(self, "complexity", complexity(self.candidate))

    @property
    def batch(self) -> int:
        """Requests that a full call serves."""
        return self.batching.size

    @property
    def name(self) -> str:
        """`int8_static on openvino`, `int8_static on openvino in batches of 8`."""
        label = self.candidate.label if self.candidate.recipe else "the original"
        batches = f" in batches of {self.batch}" if self.batch > 1 else ""
        return f"{label} on {self.candidate.provider}{batches}"

    @property
    def is_original(self) -> bool:
        """Whether the model is as it was given."""
        return not self.candidate.recipe


def of_run(
    report: Report, outcomes: Sequence[Outcome], share: float | None, max_wait_s: float = 0.0
) -> tuple[Service, ...]:
    """The measured candidates, in the run's order; those with batches wait `max_wait_s` at most for one to fill.

    Raises UsageError for a run that is not finished, or in which the original was not measured.
    """
    if not report.finished:
        waiting = sum(row.candidate.id not in {one.candidate.id for one in outcomes} for row in report.rows)
        raise UsageError(
            f"run {report.run.id} is not finished: {waiting} of {len(report.rows)} candidates are not measured; "
            "run the same `costopt compress` again to go on"
        )
    rows = {row.candidate.id: row for row in report.rows if row.status == "measured"}
    found = [one for one in outcomes if isinstance(one, Measured) and one.candidate.id in rows]
    if report.run.baseline not in {one.candidate.id for one in found}:
        raise UsageError(f"run {report.run.id}: the original was not measured, so there is nothing to plan with")
    timings = {one.candidate.id: at_own_speed(one.timing) for one in found}
    own_s = statistics.median(stats.baseline_median_s(one) for one in timings.values())
    return tuple(_service(timings[one.candidate.id], rows[one.candidate.id], own_s, share, max_wait_s) for one in found)


def _service(timing: Timing, row: Row, own_s: float, share: float | None, max_wait_s: float) -> Service:
    scale = own_s / stats.baseline_median_s(timing)
    calls_s = np.sort(np.array(timing.seconds)) * scale
    lost = "; ".join(one.words for one in row.refusals)
    batch = row.candidate.batch
    known = Service(
        candidate=row.candidate,
        calls_s=calls_s,
        seen_s=None,
        sure_s=None,
        needs=0,
        seen=len(calls_s),
        meets=row.meets,
        lost=lost,
        batching=Batching(batch, max_wait_s) if batch > 1 else ALONE,
        size_bytes=row.size_bytes or 0,
        worst_drop=None if row.drop is None else row.drop.drop.high,
        meets_but_accuracy=bool(row.refusals) and {one.limit for one in row.refusals} == {"accuracy_drop"},
    )
    if share is None:
        return known
    found = stats.percentile(timing.seconds, share)
    if found.seen_ms is None or found.upper_ms is None:
        return replace(known, needs=found.needs)
    seen_s, sure_s = scale * found.seen_ms / 1e3, scale * found.upper_ms / 1e3
    raised = raised_to(calls_s, share, sure_s)
    return replace(known, calls_s=raised, seen_s=seen_s, sure_s=sure_s, needs=found.needs)


def raised_to(calls_s: Floats, share: float, sure_s: float) -> Floats:
    """The calls, sorted, with none from the percentile of `share` on faster than `sure_s`, which it then is."""
    seen_s = quantile(calls_s, share)
    return np.sort(np.where(calls_s >= seen_s, np.maximum(calls_s, sure_s), calls_s))
