"""How a machine is paid for: on demand, spot or reserved, with a discount of one's own; an offer becomes a quote."""

from typing import Literal

from costopt import units
from costopt.errors import ConfigError
from costopt.pricing.offers import UNDATED, Offer
from costopt.verdict import Quote

Terms = Literal["on_demand", "spot", "reserved"]

IN_WORDS: dict[Terms, str] = {"on_demand": "on demand", "spot": "spot", "reserved": "reserved"}


def quote(offer: Offer, terms: Terms = "on_demand", discount: float = 0.0) -> Quote:
    """What an hour costs on these terms, `discount` (a share of the price) taken off.

    Raises ConfigError where the book has no price on these terms, or the discount is no share.
    """
    if not 0 <= discount < 1:
        raise ConfigError(f"machine.discount is {discount:g}: write the share that is taken off, such as 0.2 or 20%")
    price, date, source = _on(terms, offer)
    told = [IN_WORDS[terms], offer.region]
    if discount:
        told.append(f"{units.usd(price)} less {units.percent(discount)}")
    if date == UNDATED:
        told.append("of an undated price list")
    as_of = "" if date == UNDATED else date
    return Quote(
        price * (1 - discount), offer.instance, f"{source} ({', '.join(told)})", as_of, _note(date, terms, offer)
    )


def _on(terms: Terms, offer: Offer) -> tuple[float, str, str]:
    """Price, date and source."""
    match terms:
        case "on_demand":
            return offer.usd_per_hour, offer.as_of, offer.source
        case "spot":
            return _known(offer.spot_usd_per_hour, terms, offer), offer.spot_as_of, offer.spot_source or offer.source
        case "reserved":
            date, source = offer.reserved_as_of or offer.as_of, offer.reserved_source or offer.source
            return _known(offer.reserved_usd_per_hour, terms, offer), date, source


def _known(price: float | None, terms: Terms, offer: Offer) -> float:
    if price is None:
        raise ConfigError(
            f"machine.terms: the book has no {terms} price of {offer.instance} in {offer.region}; give yours: "
            f"machine: {{instance: {offer.instance}, terms: {terms}, usd_per_hour: ...}}"
        )
    return price


def _note(date: str, terms: Terms, offer: Offer) -> str:
    """What a reader of the price must know, beyond its age."""
    notes = []
    if date == UNDATED:
        notes.append(f"the {IN_WORDS[terms]} price of {offer.instance} is of an undated list: check it")
    if terms == "spot":
        notes.append("spot machines are taken away at short notice: restarts and spare machines come on top")
    return "; ".join(notes)
