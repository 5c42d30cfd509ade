"""The same machines on spot: another price, and other terms."""

from dataclasses import replace

from costopt.planning.interruptions import Interrupted, Spot, usual
from costopt.planning.places import Place, Places, offer_of
from costopt.pricing.book import Book
from costopt.pricing.offers import UNDATED
from costopt.records import Plan
from costopt.verdict import Quote


def with_spot(places: Places, plan: Plan, quote: Quote, book: Book, spot: Spot) -> Places:
    """The machines and, beside each, itself on spot; why some have none is among what is left out.

    A run whose own machine is priced as spot is planned on spot alone: its rows would else leave interruptions out. It
    keeps its own price then, and where that comes from the book, all sizes keep their terms and discount.
    """
    only_spot = plan.price is not None and plan.price.options.get("terms") == "spot"
    from_book = plan.price is not None and plan.price.name == "table"
    found: list[Place] = []
    reasons: dict[str, list[str]] = {}
    for place in places.found:
        priced = only_spot and (from_book or place.instance == quote.instance)
        one = _on_spot(place, plan, quote, book, spot, priced)
        if isinstance(one, Place):
            found.append(one)
        else:
            reasons.setdefault(one, []).append(f"{place.instance} on spot")
    kept = tuple(found) if only_spot else (*places.found, *found)
    return Places(kept, (*places.left_out, *((why, tuple(names)) for why, names in reasons.items())))


def _on_spot(place: Place, plan: Plan, quote: Quote, book: Book, spot: Spot, priced: bool) -> Place | str:
    """A machine on spot, or why it can't be; `priced` tells that its price is one on spot already."""
    offer = offer_of(place.instance, plan, quote, book)
    if offer is None:
        return "not in the price book, so what stands in for it has no price"
    if offer.spot_usd_per_hour is None and not priced:
        return "no spot price in the price book"
    per_month = usual(place.instance) if spot.interruptions_per_month is None else spot.interruptions_per_month
    if per_month is None:
        return "how often it is interrupted is not known: give spot.interruptions_per_month"
    terms = Interrupted(per_month, spot, offer.usd_per_hour)
    if priced or offer.spot_usd_per_hour is None:
        return replace(place, spot=terms)
    return replace(
        place,
        usd_per_hour=offer.spot_usd_per_hour,
        source=offer.spot_source or offer.source,
        as_of="" if offer.spot_as_of == UNDATED else offer.spot_as_of,
        spot=terms,
    )
