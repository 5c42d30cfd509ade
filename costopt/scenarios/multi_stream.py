"""A handful at once, then the next handful: the latency of a query of several samples.

MLPerf: a query has 8 samples, LoadGen sends the next as soon as the last was answered, and the metric is the 99th
percentile of the query's latency. Think of a vehicle with eight cameras. A query is as many calls in a row as its
samples need at the contender's batch; contender and baseline take turns, as in `single_stream`.
"""

import math
from dataclasses import dataclass

from costopt.benching.measurements import Benched
from costopt.errors import Untrue, UsageError
from costopt.measuring import bench, proof
from costopt.scenarios import Scenario, Stage


@dataclass(frozen=True)
class MultiStream(Scenario):
    """Latency of queries of `samples_per_query` samples.

    Where the batch does not divide them, the last call is filled up, and those samples count as served.
    """

    samples_per_query: int = 8

    def measure(self, stage: Stage) -> Benched:
        """Paired rounds of queries.

        Raises UsageError for a query without a sample, Untrue for a batch that one query can't fill, and as
        `Scenario.measure` says.
        """
        if self.samples_per_query < 1:
            raise UsageError(
                f"scenarios/multi_stream: samples_per_query must be 1 or more, not {self.samples_per_query}"
            )
        batch = stage.contender.setting.batch
        if batch > self.samples_per_query:
            raise Untrue(
                f"a query has {self.samples_per_query} samples, which can't fill a batch of {batch}",
                f"take --batch {self.samples_per_query} or less, or samples_per_query={batch}",
            )
        pair = stage.pair(self._calls(batch), self._calls(stage.baseline.setting.batch))
        timing, opened = bench.measure(pair, proof.refuse_absent, lambda one, _: stage.opened(one))
        return Benched(stage.contender, opened, timing, bench.refuse_disturbed(timing.noise))

    def _calls(self, batch: int) -> int:
        return math.ceil(self.samples_per_query / batch)
