"""Data-parallel training on paper: each of n machines has a copy, and gradients are summed after every step.

The batch of a step stays what it is and is dealt out, so n machines compute 1/n each (strong scaling); the exchange
does not shrink. Nothing overlaps here: what a framework hides behind the backward pass makes it better than this.
"""

import bisect
from collections.abc import Callable
from dataclasses import dataclass

from costopt.distributing.collectives import all_reduce_s
from costopt.judging.cost import SECONDS_PER_HOUR

MOST_MACHINES = 4096
"""Up to which the best number is looked for."""


@dataclass(frozen=True, slots=True)
class TrainingStep:
    """A step that one machine alone computes in `compute_s`; the gradients of all weights are `gradient_bytes` long."""

    compute_s: float
    gradient_bytes: float
    bytes_per_s: float
    latency_s: float

    def exchange_s(self, n: int) -> float:
        """One ring all-reduce of all gradients a step, in seconds."""
        return all_reduce_s(self.gradient_bytes, n, self.bytes_per_s, self.latency_s)

    def seconds(self, n: int) -> float:
        """compute / n + exchange(n)."""
        return self.compute_s / n + self.exchange_s(n)

    def efficiency(self, n: int) -> float:
        """Time of one machine over n times the time of n: 1 where nothing is lost."""
        return self.compute_s / (n * self.seconds(n))

    def communication_share(self, n: int) -> float:
        """The share of a step in which gradients are exchanged."""
        return self.exchange_s(n) / self.seconds(n)

    def usd(self, n: int, usd_per_hour: float, waiting_usd_per_hour: float = 0.0) -> float:
        """What a step costs on n machines at `usd_per_hour` each, while somebody waits at `waiting_usd_per_hour`."""
        return (n * usd_per_hour + waiting_usd_per_hour) * self.seconds(n) / SECONDS_PER_HOUR

    def most_worth(self, usd_per_hour: float, waiting_usd_per_hour: float = 0.0) -> int:
        """The number of machines beyond which adding one makes a step cost more.

        1 where nobody waits: machines cost the same whoever computes, and the exchange comes on top.
        """
        return _least(lambda n: self.usd(n, usd_per_hour, waiting_usd_per_hour))

    def fastest(self) -> int:
        """The number of machines beyond which a step takes longer, whatever it costs."""
        return _least(self.seconds)


def _least(figure: Callable[[int], float]) -> int:
    """Where a figure is least that falls up to some number of machines and never after it.

    Seconds and dollars do: with c = compute, k = 2 S/B and a = 2 alpha, seconds are (c - k)/n + k + a (n - 1), convex
    where c > k and rising from n = 1 where not; dollars have only convex or rising terms besides.
    """
    return bisect.bisect_left(range(1, MOST_MACHINES), True, key=lambda n: figure(n + 1) >= figure(n)) + 1
