"""The machines that a fleet may be made of, and which way of serving may run on which.

All prices are the price book's, in one region a provider and on one kind of terms, so that models measured at different
prices share machines at the same one. A way runs on the machine that it was measured on, and `projected` on other sizes
of its family, within `planning.places.BAND`; it is never guessed for another family (see `planning.places`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from costopt.errors import ConfigError
from costopt.planning.places import BAND
from costopt.pricing import terms
from costopt.pricing.book import Book
from costopt.pricing.families import may_be, size_of
from costopt.pricing.offers import Offer
from costopt.scheduling.filling import BLOCK_BYTES, Machine
from costopt.scheduling.fleet_file import FleetAsked
from costopt.scheduling.ways import Way
from costopt.verdict import Quote

SYSTEM_BYTES = 2**29
"""Of each machine's memory, for its operating system and agents: half a GiB. A judgement."""

_OTHER_FAMILY = "another family"


@dataclass(frozen=True, slots=True)
class Site:
    """A type of machine with its price; `machine` has what is left of its memory for replicas."""

    machine: Machine
    accelerated: bool
    quote: Quote

    @property
    def name(self) -> str:
        """`aws/c7i.large`."""
        return self.machine.name


@dataclass(frozen=True, slots=True)
class Sites:
    """Machines to pack, and those that can't be: why, and which."""

    found: tuple[Site, ...]
    left_out: tuple[tuple[str, tuple[str, ...]], ...] = ()


def sites(asked: FleetAsked, book: Book) -> Sites:
    """The machines that were asked for, by price and name."""
    found: list[Site] = []
    reasons: dict[str, list[str]] = {}
    for instance in asked.machines:
        one = _site(instance, asked, book)
        if isinstance(one, Site):
            found.append(one)
        else:
            reasons.setdefault(one, []).append(instance)
    ordered = sorted(found, key=lambda one: (one.machine.usd_per_hour, one.name))
    return Sites(tuple(ordered), tuple((why, tuple(names)) for why, names in sorted(reasons.items())))


def _site(instance: str, asked: FleetAsked, book: Book) -> Site | str:
    offer = _offer(instance, asked.region, book)
    if offer is None:
        return f"no price in {asked.region}"
    if offer.vcpus is None or offer.memory_gib is None:
        return "its vCPUs or its memory are not known"
    try:
        quote = terms.quote(offer, asked.terms)
    except ConfigError:
        return f"no {terms.IN_WORDS[asked.terms]} price"
    blocks = max(0, math.floor((offer.memory_gib * 2**30 - SYSTEM_BYTES) / BLOCK_BYTES))
    most = asked.max_instances.get(instance)
    machine = Machine(instance, offer.vcpus, blocks, quote.usd_per_hour, most)
    return Site(machine, bool(offer.accelerator), quote)


def _offer(instance: str, region: str | None, book: Book) -> Offer | None:
    found = [one for one in book.of(instance) if region is None or one.region == region]
    return found[0] if found else None


def hosts(way: Way, found: Sequence[Site], band: float) -> frozenset[int]:
    """The places of the machines that a way may run on, with calls taken to be longer by the band.

    Without a band that is the measured machine alone, and only with one replica that has all of it, as measured.
    """
    allowed = (number for number, site in enumerate(found) if not why_not(way, site))
    return frozenset(number for number in allowed if band == BAND or as_measured(way, found[number]))


def as_measured(way: Way, site: Site) -> bool:
    """Whether a replica there is just what was measured: the same machine, all of it, and its kind of processor."""
    return site.name == way.measured_on and site.machine.vcpus == way.cores and may_be(site.name, way.cpu)


def why_not(way: Way, site: Site) -> str:
    """What keeps a way off a machine; "" where nothing does."""
    if site.name != way.measured_on:
        here, there = size_of(way.measured_on), size_of(site.name)
        if here is None or there is None or here.family != there.family:
            return f"{_OTHER_FAMILY} than {way.measured_on}, not measured there"
        if site.accelerated:
            return "its sizes differ in accelerators, not measured there"
    if site.machine.vcpus < way.cores:
        return f"fewer vCPUs than the {way.cores} of a replica"
    if site.machine.blocks < way.blocks:
        return "less memory than a replica takes"
    return ""


def unusable(ways: Sequence[Way], found: Sequence[Site]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The machines that no way may run on: why, and which."""
    reasons: dict[str, list[str]] = {}
    for site in found:
        whys = sorted({why_not(way, site) for way in ways})
        if "" not in whys and whys:
            near = [why for why in whys if not why.startswith(_OTHER_FAMILY)]
            reasons.setdefault(near[0] if near else "no model was measured on its family", []).append(site.name)
    return tuple((why, tuple(sorted(names))) for why, names in sorted(reasons.items()))
