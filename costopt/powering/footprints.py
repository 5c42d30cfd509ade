"""What a fleet draws and emits in a month, and whether that keeps within limits."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from costopt import units
from costopt.measuring.energy import ON_THE_CPU
from costopt.powering import carbon
from costopt.powering.buildings import Site
from costopt.powering.draws import Draw
from costopt.records import Candidate
from costopt.verdict import Interval


@dataclass(frozen=True, slots=True)
class Footprint:
    """A month of a fleet, each figure with the ends of its band, at the building's meter (PUE included) but for
    `watts`, which are the machines' on average.

    `idle_share` is the part of the energy that idling takes; `kg_co2e` is None where the grid is not known.
    `joules_per_request` and `grams_per_million` share all of it out over the requests, idle hours included.
    """

    watts: Interval
    idle_share: float
    kwh: Interval
    usd: Interval
    joules_per_request: Interval
    kg_co2e: Interval | None
    grams_per_million: Interval | None


@dataclass(frozen=True, slots=True)
class Fleet:
    """Machines that are on all the `hours` of a month (their mean number, where it changes), and serve `mean_per_s`
    requests a second on average.

    `load` is the share of their power above idle that the work keeps up (above 1 counts as 1), `band` how far it may be
    off, as a share of it.
    """

    machines: float
    load: float
    mean_per_s: float
    hours: float
    band: float = 0.0


def at_work(candidate: Candidate, cores: float) -> float:
    """The share of a machine's full power that one call keeps up, 0 to 1: threads over the `cores` that are its own.

    Work on an accelerator, or by a provider that brings processors of its own, counts as all of it.
    """
    return min(1.0, candidate.threads / cores) if candidate.provider in ON_THE_CPU else 1.0


def footprint(draw: Draw, fleet: Fleet, site: Site) -> Footprint:
    """A month of a fleet of machines that draw `draw` each."""
    machines, mean_per_s, hours = fleet.machines, fleet.mean_per_s, fleet.hours
    least, middle, most = (draw.watts(min(fleet.load * (1 + off), 1.0)) for off in (-fleet.band, 0.0, fleet.band))
    watts = _times(Interval(middle.value, least.low, most.high), machines)
    grams = None if site.grid is None else site.grid.grams_co2e_per_kwh
    energy = _times(watts, carbon.kwh(1.0, hours, site.pue))
    one = carbon.per_inference(watts.value, draw.idle_w * machines, mean_per_s, site.pue)
    joules = _times(watts, carbon.per_inference(1.0, 0.0, mean_per_s, site.pue).joules)
    return Footprint(
        watts=watts,
        idle_share=one.idle_share,
        kwh=energy,
        usd=_times(energy, site.usd_per_kwh),
        joules_per_request=joules,
        kg_co2e=None if grams is None else _times(energy, carbon.kg_co2e(1.0, grams)),
        grams_per_million=None if grams is None else _times(joules, carbon.grams_per_million(1.0, grams)),
    )


def _times(span: Interval, factor: float) -> Interval:
    return Interval(span.value * factor, span.low * factor, span.high * factor)


@dataclass(frozen=True, slots=True)
class Limits:
    """At most so much; None where nothing is asked."""

    co2_kg_per_month: float | None = None
    joules_per_request: float | None = None


Kept = Literal["kept", "missed", "open"]


def within(found: Footprint | None, limits: Limits) -> tuple[Kept, str]:
    """Whether a fleet keeps the limits; and the words where it doesn't, or where a figure's band holds the limit.

    `found` is None where nothing is known of the machine's power.
    """
    if limits == Limits():
        return "kept", ""
    if found is None:
        return "open", "no figure is known for what this machine draws: give energy.watts and energy.idle_watts"
    checks = (
        _check(found.kg_co2e, limits.co2_kg_per_month, "CO2e", "kg a month"),
        _check(found.joules_per_request, limits.joules_per_request, "energy", "J a request"),
    )
    missed, unsure = ([words for kept, words in checks if kept == verdict] for verdict in ("missed", "open"))
    if missed:
        return "missed", "; ".join(missed)
    return ("open", "; ".join(unsure)) if unsure else ("kept", "")


def _check(span: Interval | None, bound: float | None, what: str, unit: str) -> tuple[Kept, str]:
    if bound is None:
        return "kept", ""
    if span is None:
        return "open", f"{what}: no carbon intensity is known for this place: give energy.grid"
    told, limit = f"{what} {units.significant(span.value)} {unit}", f"the limit {units.given(bound)}"
    if span.low > bound:
        return "missed", f"{told} (modelled, {_ends(span)}), {limit}"
    if span.high > bound:
        remedy = "give energy.watts and energy.idle_watts, measured at the plug"
        return "open", f"{told} is modelled, and its band {_ends(span)} holds {limit}: {remedy}"
    return "kept", ""


def _ends(span: Interval) -> str:
    return units.span(span.low, span.high, units.significant)


@dataclass(frozen=True, slots=True)
class Power:
    """What a plan knows of power: the site, the draw of each machine by its name, and limits."""

    site: Site
    draws: Mapping[str, Draw]
    limits: Limits = Limits()

    def of(self, instance: str, fleet: Fleet) -> Footprint | None:
        """The footprint of a fleet; None where the machine's draw is not known."""
        draw = self.draws.get(instance)
        return None if draw is None else footprint(draw, fleet, self.site)
