"""A finished run's candidates as servers: how long their calls take, and whether they keep the run's own budget.

One call at a time serves one request; calls that serve a batch would have to wait for it to fill, which is not planned
here. Each candidate was timed in turns with the original, so its calls are multiplied by how much faster the original
is over the whole run than it was beside this one: a slow minute of the machine makes no candidate dear (as in
`judging.cost`).
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costopt import stats
from costopt.errors import UsageError
from costopt.judging.explain import complexity
from costopt.measuring.stretches import at_own_speed
from costopt.planning.simulation import quantile
from costopt.records import Candidate, Measured, Outcome, Timing
from costopt.verdict import Report, Row

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """A candidate that answers requests one by one.

    `calls_s` are its measured calls in seconds, sorted, the slowest of them raised so that the promised percentile is
    as slow as it may be for certain (`sure_s`, at 99 % confidence); `seen_s` is that percentile as it was seen. Both
    are None where there are fewer than `needs` calls; `seen` is how many there are. `meets` is the verdict by the
    run's own budget, `lost` the words where it is not True.
    """

    candidate: Candidate
    calls_s: Floats
    seen_s: float | None
    sure_s: float | None
    needs: int
    seen: int
    meets: bool | None
    lost: str

    @property
    def mean_s(self) -> float:
        """The mean call in seconds."""
        return float(self.calls_s.mean())

    @property
    def name(self) -> str:
        """`int8_static on openvino`."""
        label = self.candidate.label if self.candidate.recipe else "the original"
        return f"{label} on {self.candidate.provider}"

    @property
    def is_original(self) -> bool:
        """Whether the model is as it was given."""
        return not self.candidate.recipe

    @property
    def complexity(self) -> tuple[float, ...]:
        """What makes it harder to live with."""
        return complexity(self.candidate)


def of_run(report: Report, outcomes: Sequence[Outcome], share: float | None) -> tuple[Service, ...]:
    """The measured candidates that answer one request a call, in the run's order.

    Raises UsageError for a run that is not finished, in which the original was not measured, or nothing at batch 1.
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
    served = tuple(
        _service(timings[one.candidate.id], rows[one.candidate.id], own_s, share)
        for one in found
        if one.candidate.batch == 1
    )
    if not served:
        raise UsageError(
            f"run {report.run.id} was measured in batches only, and a plan takes one request a call: run `costopt "
            "compress` with `batch: [1]`"
        )
    return served


def _service(timing: Timing, row: Row, own_s: float, share: float | None) -> Service:
    scale = own_s / stats.baseline_median_s(timing)
    calls_s = np.sort(np.array(timing.seconds)) * scale
    lost = "; ".join(one.words for one in row.refusals)
    if share is None:
        return Service(row.candidate, calls_s, None, None, 0, len(calls_s), row.meets, lost)
    found = stats.percentile(timing.seconds, share)
    if found.seen_ms is None or found.upper_ms is None:
        return Service(row.candidate, calls_s, None, None, found.needs, len(calls_s), row.meets, lost)
    sure_s = scale * found.upper_ms / 1e3
    seen_s = scale * found.seen_ms / 1e3
    raised = raised_to(calls_s, share, sure_s)
    return Service(row.candidate, raised, seen_s, sure_s, found.needs, len(calls_s), row.meets, lost)


def raised_to(calls_s: Floats, share: float, sure_s: float) -> Floats:
    """The calls, sorted, with none from the percentile of `share` on faster than `sure_s`, which it then is."""
    seen_s = quantile(calls_s, share)
    return np.sort(np.where(calls_s >= seen_s, np.maximum(calls_s, sure_s), calls_s))
