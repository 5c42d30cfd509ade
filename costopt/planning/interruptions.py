"""Spot machines: cheaper, and taken away at short notice. What a restart costs, and how many to rent beyond need."""

import math
from dataclasses import dataclass

from costopt.pricing.families import size_of

BANDS: dict[str, tuple[float, float | None]] = {
    **dict.fromkeys(("c7g", "inf2", "trn1"), (0.0, 0.05)),
    "g6e": (0.05, 0.10),
    **dict.fromkeys(("c6i", "m7i", "g4dn"), (0.15, 0.20)),
    **dict.fromkeys(("c7i", "c7a", "g5", "g6", "p5"), (0.20, None)),
}
"""The share of spot machines that AWS takes away in a month, in us-east-1, as its Spot Instance Advisor tells it by
family in bands, of which the last is open: spot-advisor-data.json of alexei-led/spotinfo, as of 2025-06-28."""

OPEN_BAND_TIMES = 2.0
"""The open band is read as up to twice its lower end. A judgement."""


@dataclass(frozen=True, slots=True)
class Spot:
    """What was asked of spot machines. `interruptions_per_month` is a machine's own; None stands for its family's band.

    `over_provision` is the share of machines to rent beyond need, rounded up to whole ones; with `fallback` a machine
    on demand takes the place of one that restarts, for `restart_s`.
    """

    interruptions_per_month: float | None = None
    restart_s: float = 120.0
    fallback: bool = True
    over_provision: float = 0.1


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The terms of one spot machine: how often it goes, what stands in for it, and how many are rented beyond need."""

    per_month: float
    asked: Spot
    on_demand_usd_per_hour: float

    def reserve(self, instances: int) -> int:
        """Machines to rent beyond so many, so that enough are left while one restarts."""
        # 0.1 * 30 is 3.0000000000000004: without the allowance it would be four.
        return math.ceil(self.asked.over_provision * instances * (1 - 1e-12))

    @property
    def stand_in_usd_per_hour(self) -> float:
        """What replacing costs on demand for each hour that a spot machine is rented: interruptions times restart time.

        Work that is lost with a machine is not in it: a request takes milliseconds, and the notice is longer
        (2 minutes on AWS, about 30 s on GCP).
        """
        if not self.asked.fallback:
            return 0.0
        hours_per_month = 730.0
        return self.per_month * self.asked.restart_s / 3600 * self.on_demand_usd_per_hour / hours_per_month


def usual(instance: str) -> float | None:
    """How often a month a machine of this family is taken away: the upper end of its band; None where none is known."""
    provider, _, _ = instance.partition("/")
    size = size_of(instance)
    family = "" if size is None else size.family.rpartition("/")[2]
    if provider != "aws" or family not in BANDS:
        return None
    low, high = BANDS[family]
    return OPEN_BAND_TIMES * low if high is None else high
