"""The price book as tables for people, and as plain fields for programs."""

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from costopt import units
from costopt.pricing.families import is_accelerated
from costopt.pricing.offers import OLD_AFTER_DAYS, UNDATED, Offer, age_days, is_old, printable
from costopt.sheets import UNKNOWN, Cell, Column, Grid, Sheet, one_line

Fields = dict[str, object]
_Text = Callable[[Offer], str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which offers to list: texts that must occur in the name, the accelerator or the region, in any case.

    With `spot` only those that have a spot price, ordered by it.
    """

    match: str = ""
    accelerator: str = ""
    region: str = ""
    spot: bool = False

    def of(self, offers: Iterable[Offer]) -> tuple[Offer, ...]:
        """The offers that are wanted, the cheapest first."""
        found = [one for one in offers if self._includes(one)]
        return tuple(sorted(found, key=lambda one: (self._price(one), *one.key)))

    def _includes(self, offer: Offer) -> bool:
        texts = ((self.match, offer.instance), (self.accelerator, offer.accelerator), (self.region, offer.region))
        return all(part.lower() in text.lower() for part, text in texts) and (
            not self.spot or offer.spot_usd_per_hour is not None
        )

    def _price(self, offer: Offer) -> float:
        return offer.spot_usd_per_hour if self.spot and offer.spot_usd_per_hour is not None else offer.usd_per_hour


# ---------------------------------------------------------------------------------------- for people


def sheet(offers: Sequence[Offer], today: datetime.date) -> Sheet:
    """A table of offers, in their order."""
    old = sum(is_old(one.as_of, today) for one in offers)
    counted = units.count_of(len(offers), "offer")
    headline = f"{counted}, {units.count(old)} of them old or undated: look those up" if old else counted
    columns = (
        _words("machine", offers, lambda one: one.instance),
        _words("region", offers, lambda one: one.region),
        _figures("vCPUs", offers, lambda one: _count(one.vcpus)),
        _figures("GiB", offers, lambda one: _count(one.memory_gib)),
        _words("accelerator", offers, _accelerator),
        _figures("an hour", offers, lambda one: _exactly(one.usd_per_hour)),
        _figures("spot", offers, _spot),
        _words("age", offers, lambda one: _short_age(one.as_of, today)),
    )
    notes = (f"old: over {OLD_AFTER_DAYS} days, by the on-demand price; prices are US dollars before tax",)
    return Sheet(headline, (Grid(columns, expendable=("GiB", "region")),), "", footnotes=notes)


def page(offers: Sequence[Offer], today: datetime.date) -> str:
    """One machine with everything that the book says of it, a paragraph a region; lines are not wrapped."""
    return "\n\n".join("\n".join(map(printable, _facts(one, today))) for one in offers) + "\n"


def _facts(offer: Offer, today: datetime.date) -> Iterable[str]:
    has = [f"{_count(offer.vcpus)} vCPUs", f"{_count(offer.memory_gib)} GiB", _accelerator(offer)]
    yield f"{offer.instance} in {offer.region}: {', '.join(part for part in has if part)}"
    yield f"  on demand  {_exactly(offer.usd_per_hour)} an hour, {aged(offer.as_of, today)}"
    yield f"             {offer.source}"
    if offer.spot_usd_per_hour is not None and offer.spot_discount is not None:
        less = f"{units.percent(offer.spot_discount)} less"
        yield f"  spot       {_exactly(offer.spot_usd_per_hour)} an hour, {less}, {aged(offer.spot_as_of, today)}"
        yield f"             {offer.spot_source or offer.source}"
    else:
        yield "  spot       not known"
    if offer.reserved_usd_per_hour is not None:
        date, source = offer.reserved_as_of or offer.as_of, offer.reserved_source or offer.source
        yield f"  reserved   {_exactly(offer.reserved_usd_per_hour)} an hour, {aged(date, today)}"
        yield f"             {source}"
    if offer.note:
        yield f"  note       {offer.note}"


def aged(date: str, today: datetime.date) -> str:
    """How old a price is: "of 2026-07-20, 125 days old: look it up", "of 2026-11-20, 2 days old", "undated"."""
    age = age_days(date, today)
    if age is None:
        return "undated: look it up"
    return f"of {date}, {units.count_of(age, 'day')} old{': look it up' if is_old(date, today) else ''}"


def _short_age(date: str, today: datetime.date) -> str:
    age = age_days(date, today)
    if age is None:
        return UNDATED
    return f"{age} days, old" if is_old(date, today) else units.count_of(age, "day")


def _exactly(dollars: float) -> str:
    return f"${units.given(dollars)}"


def _count(value: float | None) -> str:
    return UNKNOWN if value is None else units.given(value)


def _accelerator(offer: Offer) -> str:
    if not offer.accelerator:
        return "not named" if is_accelerated(offer.instance) else ""
    return f"{offer.accelerator_count} x {offer.accelerator}"


def _spot(offer: Offer) -> str:
    if offer.spot_usd_per_hour is None or offer.spot_discount is None:
        return UNKNOWN
    return f"{_exactly(offer.spot_usd_per_hour)} (-{units.percent(offer.spot_discount)})"


def _words(name: str, offers: Sequence[Offer], text: _Text) -> Column:
    return Column(name, _cell(name), tuple(_cell(text(one)) for one in offers), words=True)


def _figures(name: str, offers: Sequence[Offer], text: _Text) -> Column:
    return Column(name, _cell(name), tuple(_cell(text(one)) for one in offers))


def _cell(text: str) -> Cell:
    line = one_line(text)
    return Cell((line,), line)


# ---------------------------------------------------------------------------------------- for programs


def facts(offer: Offer, today: datetime.date) -> Fields:
    """Every field of an offer, its spot discount (a share) and its age; null is what is not known."""
    ages = {"age_days": age_days(offer.as_of, today), "old": is_old(offer.as_of, today)}
    return {**asdict(offer), "spot_discount": offer.spot_discount, **ages}
