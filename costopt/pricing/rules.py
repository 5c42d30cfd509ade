"""What is known to go wrong with prices, each said in a sentence with the values and what to do.

Every rule was broken by a public list that a program would have believed: TPUs at exactly 700 dollars and spot at 0.00
where the price was not known, spot above on demand, files without a date, and Azure machines that cost twice what
their family's other sizes do. Spot prices don't grow with size (a g4dn.xlarge has cost more than a g4dn.2xlarge), so
they are not judged by it.
"""

import datetime
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from costopt import units
from costopt.pricing.families import is_priced_by_vcpus, size_of
from costopt.pricing.offers import UNDATED, Offer, printable

SENTINELS = (700.0,)
"""Prices that stand for "not known": SkyPilot's GCP catalogue has exactly 700.0 for TPUs (read 2026-08)."""

OUT_OF_PROPORTION = 1.5
"""Sizes of a family cost the same per vCPU within this factor, or one of them is wrong. A judgement: bare metal costs
up to 1.1x, and the wrong rows that were seen (Azure's Das_v5 and Bals_v2) 1.77x to 2.07x."""

SAME_MEMORY = 1.1
"""Sizes with more than this between their memory per vCPU are different machines, not sizes of one."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with which offer; `words` name the values and what to do."""

    offer: Offer
    words: str

    def __str__(self) -> str:
        return printable(f"{self.offer.instance} in {self.offer.region or 'no region'}: {self.words}")


def check(offers: Sequence[Offer], today: datetime.date) -> tuple[Finding, ...]:
    """Everything that is wrong, row by row, then what is wrong between rows."""
    alone = (Finding(one, words) for one in offers for words in of_one(one, today))
    return (*alone, *duplicates(offers), *disproportions(offers), *shrinking(offers))


def of_one(offer: Offer, today: datetime.date) -> Iterator[str]:
    """What can be told from a row alone."""
    yield from _about_the_machine(offer)
    yield from _about_the_price(offer)
    yield from _about_spot(offer)
    yield from _about_dates(offer, today)


def _about_the_machine(offer: Offer) -> Iterator[str]:
    if not (offer.provider and offer.type):
        yield f"the name '{offer.instance}' is not provider/type: write it as aws/c7i.large"
    if not offer.region:
        yield "it has no region: write where the price holds, such as us-east-1"
    if not offer.source:
        yield "it has no source: write who says so, such as the address of the price list"
    for what, value in (("vcpus", offer.vcpus), ("memory_gib", offer.memory_gib)):
        if value is not None and value <= 0:
            yield f"{what} is {value:g}: write how much it has, or leave it empty"
    if bool(offer.accelerator) != (offer.accelerator_count > 0):
        has = f"{offer.accelerator_count} of accelerator '{offer.accelerator}'"
        yield f"it has {has}: write a name and a count from 1, or leave both empty"


def _about_the_price(offer: Offer) -> Iterator[str]:
    price = offer.usd_per_hour
    if not 0 < price < math.inf:
        yield f"an hour costs {units.usd(price)}: nothing is free, so the price is not known; take the row out"
    if price in SENTINELS:
        yield f"an hour costs exactly {units.usd(price)}, which stands for an unknown price; take the row out"
    reserved = offer.reserved_usd_per_hour
    if reserved is not None and reserved <= 0:
        yield f"reserved costs {units.usd(reserved)} an hour: leave it empty where it is not known"
    if reserved is not None and reserved > price:
        yield f"reserved, {units.usd(reserved)}, is above on demand, {units.usd(price)}: one of the two is wrong"


def _about_spot(offer: Offer) -> Iterator[str]:
    spot, price = offer.spot_usd_per_hour, offer.usd_per_hour
    if spot is None:
        if offer.spot_as_of:
            yield f"spot is dated {offer.spot_as_of} and has no price: leave both empty, or give both"
        return
    if not 0 < spot < math.inf:
        yield f"spot costs {units.usd(spot)} an hour, which stands for an unknown price: leave it empty"
    if spot in SENTINELS:
        yield f"spot costs exactly {units.usd(spot)}, which stands for an unknown price: leave it empty"
    elif spot > price:
        yield f"spot, {units.usd(spot)}, is above on demand, {units.usd(price)}: leave it empty, nobody would pay it"


def _about_dates(offer: Offer, today: datetime.date) -> Iterator[str]:
    if not offer.as_of:
        yield f"the price has no date: write as_of, such as 2026-07-20, or `{UNDATED}` where its source has none"
    if offer.spot_usd_per_hour is not None and not offer.spot_as_of:
        yield f"the spot price has no date: write spot_as_of, or `{UNDATED}` where its source has none"
    named = {"as_of": offer.as_of, "spot_as_of": offer.spot_as_of, "reserved_as_of": offer.reserved_as_of}
    for column, date in named.items():
        if date not in ("", UNDATED) and datetime.date.fromisoformat(date) > today:
            yield f"{column} is {date}, which is still to come (today is {today}): correct the date"


# ---------------------------------------------------------------------------------------- between rows


def duplicates(offers: Iterable[Offer]) -> Iterator[Finding]:
    """Machines that are priced twice in a region: which of the two holds can't be told."""
    first: dict[tuple[str, str], Offer] = {}
    for one in offers:
        other = first.setdefault(one.key, one)
        if other is not one:
            prices = f"at {units.usd(other.usd_per_hour)} and at {units.usd(one.usd_per_hour)}"
            yield Finding(one, f"it is listed twice, {prices}: keep one")


def disproportions(offers: Iterable[Offer]) -> Iterator[Finding]:
    """Families whose price per vCPU differs between sizes. Which row is wrong can't be told, so all of them are named:
    in a list of 2023 the wrong rows of Azure's Das_v5 were five of seven.
    """
    for family, sizes in _families(offers).items():
        dear = max(sizes, key=lambda one: one.usd_per_vcpu)
        cheap = min(sizes, key=lambda one: one.usd_per_vcpu)
        if dear.usd_per_vcpu > OUT_OF_PROPORTION * cheap.usd_per_vcpu:
            words = (
                f"sizes of {family} should cost about the same per vCPU, but {dear} and {cheap}: "
                "one of them is wrong; look the family up"
            )
            yield from (Finding(one.offer, words) for one in sizes)


def shrinking(offers: Iterable[Offer]) -> Iterator[Finding]:
    """Machines with the same accelerators and more vCPUs in the same family that cost no more."""
    same: dict[tuple[str, str, str, int], list[_Sized]] = defaultdict(list)
    for one in _sized(offers):
        if one.offer.accelerator:
            same[one.family, one.offer.region, one.offer.accelerator, one.offer.accelerator_count].append(one)
    for sizes in same.values():
        ordered = sorted(sizes, key=lambda one: one.vcpus)
        for small, large in itertools.pairwise(ordered):
            if large.vcpus > small.vcpus and large.offer.usd_per_hour <= small.offer.usd_per_hour:
                yield Finding(large.offer, f"{large}, no more than {small}: one of the two is wrong; look both up")


@dataclass(frozen=True, slots=True)
class _Sized:
    """An offer whose family and number of vCPUs are known."""

    offer: Offer
    family: str
    vcpus: int

    @property
    def usd_per_vcpu(self) -> float:
        return self.offer.usd_per_hour / self.vcpus

    def __str__(self) -> str:
        price = f"{units.usd(self.offer.usd_per_hour)} for {units.count_of(self.vcpus, 'vCPU')}"
        return f"{self.offer.type} costs {price}"


def _sized(offers: Iterable[Offer]) -> Iterator[_Sized]:
    """Offers with a price whose names tell a family; the row's own vCPUs go before those of the name."""
    for one in offers:
        named = size_of(one.instance)
        vcpus = one.vcpus if one.vcpus is not None else named and named.vcpus
        if named is not None and vcpus and vcpus > 0 and one.usd_per_hour > 0:
            yield _Sized(one, named.family, vcpus)


def _families(offers: Iterable[Offer]) -> dict[str, list[_Sized]]:
    """Sizes of one machine in one region: no accelerator, and as much memory per vCPU, as far as that is known."""
    found: dict[tuple[str, str], list[_Sized]] = defaultdict(list)
    for one in _sized(offers):
        if not one.offer.accelerator and is_priced_by_vcpus(one.offer.instance):
            found[one.family, one.offer.region].append(one)
    return {f"{family} in {region}": sizes for (family, region), sizes in found.items() if _alike(sizes)}


def _alike(sizes: Iterable[_Sized]) -> bool:
    per_vcpu = [one.offer.memory_gib / one.vcpus for one in sizes if one.offer.memory_gib is not None]
    return not per_vcpu or max(per_vcpu) <= SAME_MEMORY * min(per_vcpu)
