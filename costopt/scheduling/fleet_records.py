"""The records of a packed fleet: each model in it, and the whole, or what is in the way."""

from dataclasses import dataclass
from typing import Literal

from costopt.scheduling.fleet_file import FleetAsked, ModelAsked
from costopt.scheduling.forms import Form
from costopt.scheduling.layout import Layout
from costopt.scheduling.sites import Site

Verdict = Literal["met", "not_met"]


@dataclass(frozen=True, slots=True)
class Served:
    """A model in the fleet.

    `response_ms` is its promised percentile with just the replicas that it needs, all taking from one queue;
    `by_weights_ms` with all of them, where each request goes to a machine at random by the weights. None where nothing
    is promised. `alone_usd` is a month's bill of machines for this model alone.
    """

    asked: ModelAsked
    form: Form
    response_ms: float | None
    by_weights_ms: float | None
    alone_usd: float


@dataclass(frozen=True, slots=True)
class Packed:
    """The whole answer. Where no fleet was found, `groups` and `served` are empty; `reasons` say what is in the way.

    `usd` is the fleet's bill of a month; no fleet costs less than `bound_usd`. `in_time` is False where the solver was
    stopped by the time limit.
    """

    asked: FleetAsked
    sites: tuple[Site, ...]
    left_out: tuple[tuple[str, tuple[str, ...]], ...]
    headline: str = ""
    reasons: tuple[str, ...] = ()
    groups: Layout = ()
    served: tuple[Served, ...] = ()
    usd: float = 0.0
    bound_usd: float = 0.0
    in_time: bool = True
    notes: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """Whether there is a fleet within all limits."""
        return "not_met" if self.reasons else "met"

    @property
    def alone_usd(self) -> float:
        """What all models cost a month, each on machines of its own."""
        return sum(one.alone_usd for one in self.served)
