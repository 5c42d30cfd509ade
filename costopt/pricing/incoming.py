"""Prices from outside: what a foreign file says becomes offers, or is refused in words.

text ─▶ a format's file ─▶ Listing* ─▶ completed from the book ─▶ rules ─▶ taken, or refused with the reason
"""

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from costopt.errors import UsageError
from costopt.pricing import rules
from costopt.pricing.book import HOME_REGIONS, Book
from costopt.pricing.families import is_accelerated
from costopt.pricing.offers import Offer, printable

EVERYWHERE = "all"
"""Asks for every region of a list; without it, a cloud's home region is meant."""


@dataclass(frozen=True, slots=True)
class Listing:
    """What a foreign list says of a machine in a region, in US dollars an hour; None is what it does not say."""

    instance: str
    region: str
    usd_per_hour: float | None = None
    spot_usd_per_hour: float | None = None
    vcpus: int | None = None
    memory_gib: float | None = None
    accelerator: str = ""
    accelerator_count: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that was not taken, and why."""

    name: str
    words: str

    def __str__(self) -> str:
        return printable(f"{self.name}: {self.words}")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A foreign list as it was read. `as_of` is the date that it carries, None where it has none.

    `offers` are rows that are complete as they are (our own format).
    """

    listings: tuple[Listing, ...] = ()
    refused: tuple[Refusal, ...] = ()
    as_of: str | None = None
    offers: tuple[Offer, ...] = ()


Reader = Callable[[str, str | None], Incoming]
"""Text and the provider that the user named, to what it says. Raises UsageError for a text that is no such list."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a list: `elsewhere` counts rows of regions that were not asked for."""

    taken: tuple[Offer, ...]
    refused: tuple[Refusal, ...]
    elsewhere: int

    @property
    def incomplete(self) -> int:
        """Taken offers of whose machine neither the list nor the book knows all: vCPUs, memory, accelerator."""
        return sum(_is_incomplete(one) for one in self.taken)


def _is_incomplete(offer: Offer) -> bool:
    unnamed = is_accelerated(offer.instance) and not offer.accelerator
    return unnamed or offer.vcpus is None or offer.memory_gib is None


@dataclass(frozen=True, slots=True)
class Origin:
    """Who says so and when: the date of a list's prices (ISO) and where it was read."""

    as_of: str
    source: str


def settle(incoming: Incoming, book: Book, origin: Origin, regions: Sequence[str], today: datetime.date) -> Settled:
    """Offers of the regions that are meant, each with all that is known of its machine, as far as the rules let them.

    Whoever writes a book of their own means all of it; of a public list a cloud's home region is meant. A spot price
    alone goes to the on-demand price that the book has. A machine that is listed twice, at prices that differ, is
    refused whole.
    """
    meant = tuple(one for one in incoming.listings if _is_meant(one.instance, one.region, regions))
    ready = tuple(one for one in incoming.offers if not regions or _is_meant(one.instance, one.region, regions))
    sizes = _machines(book)
    made = [_offer(one, book, sizes, origin) for one in dict.fromkeys(meant)]
    offers = (*ready, *(one for one in made if isinstance(one, Offer)))
    refused = (*incoming.refused, *(one for one in made if isinstance(one, Refusal)))
    taken, faulty = sound(offers, today)
    elsewhere = len(incoming.listings) - len(meant) + len(incoming.offers) - len(ready)
    return Settled(taken, (*refused, *faulty), elsewhere)


def sound(offers: Sequence[Offer], today: datetime.date) -> tuple[tuple[Offer, ...], tuple[Refusal, ...]]:
    """Offers that no rule finds fault with, and the others with the first thing that is wrong."""
    faults: dict[tuple[str, str], str] = {}
    for finding in rules.check(offers, today):
        faults.setdefault(finding.offer.key, finding.words)
    taken = tuple(one for one in offers if one.key not in faults)
    return taken, tuple(Refusal(f"{name} in {region}", words) for (name, region), words in faults.items())


def cheapest(listings: Iterable[Listing]) -> tuple[Listing, ...]:
    """One listing a machine and region: its cheapest zone, on demand and on spot each."""
    together: dict[tuple[str, str], list[Listing]] = defaultdict(list)
    for one in listings:
        together[one.instance, one.region].append(one)
    return tuple(
        replace(
            several[0],
            usd_per_hour=_least(one.usd_per_hour for one in several),
            spot_usd_per_hour=_least(one.spot_usd_per_hour for one in several),
        )
        for several in together.values()
    )


def provider_named(provider: str | None, example: str) -> str:
    """The provider that a list does not name itself. Raises UsageError when the user did not either."""
    if not provider:
        raise UsageError(f"this kind of list does not say whose prices it has; name the provider: --provider {example}")
    return provider


def _least(values: Iterable[float | None]) -> float | None:
    return min((one for one in values if one is not None), default=None)


def _is_meant(instance: str, region: str, regions: Sequence[str]) -> bool:
    if regions:
        return EVERYWHERE in regions or region in regions
    return HOME_REGIONS.get(instance.partition("/")[0], region) == region


def _machines(book: Book) -> Mapping[str, Offer]:
    """What the book knows of each machine, in whatever region."""
    return {one.instance: one for one in book.offers.values()}


def _offer(listing: Listing, book: Book, machines: Mapping[str, Offer], origin: Origin) -> Offer | Refusal:
    here = book.offers.get((listing.instance, listing.region))
    machine = _completed(listing, here or machines.get(listing.instance))
    price, as_of, source = listing.usd_per_hour, origin.as_of, origin.source
    if price is None:
        if here is None:
            words = "a spot price, and the book has no on-demand price to hold it against; bring that in first"
            return Refusal(f"{listing.instance} in {listing.region}", words)
        price, as_of, source = here.usd_per_hour, here.as_of, here.source
    has_spot = listing.spot_usd_per_hour is not None
    return Offer(
        instance=listing.instance,
        region=listing.region,
        vcpus=machine.vcpus,
        memory_gib=machine.memory_gib,
        accelerator=machine.accelerator,
        accelerator_count=machine.accelerator_count,
        usd_per_hour=price,
        spot_usd_per_hour=listing.spot_usd_per_hour,
        reserved_usd_per_hour=None,
        as_of=as_of,
        spot_as_of=origin.as_of if has_spot else "",
        source=source,
        spot_source=origin.source if has_spot else "",
        note=listing.note or _note(machine),
    )


def _note(machine: Listing) -> str:
    """A machine with an accelerator must not pass for one without because a list has no column for it."""
    if is_accelerated(machine.instance) and not machine.accelerator:
        return "it carries an accelerator that neither the list nor the book names"
    return ""


def _completed(listing: Listing, known: Offer | None) -> Listing:
    """The same, with what the book knows of the machine where the list says nothing."""
    if known is None:
        return listing
    named = known if known.accelerator else listing  # the book's spelling is the one that hardware is found by
    return replace(
        listing,
        vcpus=known.vcpus if listing.vcpus is None else listing.vcpus,
        memory_gib=known.memory_gib if listing.memory_gib is None else listing.memory_gib,
        accelerator=named.accelerator,
        accelerator_count=named.accelerator_count,
    )
