"""One query after the other: the latency of one who waits.

MLPerf: LoadGen sends the next query as soon as the last one was answered; the metric is the 90th percentile of
latency. A query here is one call of `batch` samples. Contender and baseline take turns (`bench`), so that their ratio
is known better than either latency.
"""

from dataclasses import dataclass

from costopt.benching.measurements import Benched
from costopt.measuring import bench, proof
from costopt.scenarios import Scenario, Stage


@dataclass(frozen=True)
class SingleStream(Scenario):
    """Latency, one query at a time."""

    def measure(self, stage: Stage) -> Benched:
        """Paired rounds of the contender and the baseline, then the proof of who did the work."""
        timing, (opened, energy) = bench.measure(stage.pair(), proof.refuse_absent, lambda one, _: stage.measured(one))
        return Benched(stage.contender, opened, timing, bench.refuse_disturbed(timing.noise), energy)
