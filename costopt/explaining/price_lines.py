"""What an hour of the machine costs in lines: as a list has it, less a discount, or a machine of one's own in parts."""

from collections.abc import Iterator, Mapping

from costopt.explaining.lines import Label, Line, Unit, filled
from costopt.pricing import ownership
from costopt.pricing.ownership import HOURS_PER_YEAR, PUE_ON_PREMISES
from costopt.records import Spec, Value
from costopt.verdict import Quote

THE_FILE = "the budget file"


def price(quote: Quote, asked: Spec | None) -> Iterator[Line]:
    """Who says so and when; `asked` is the price source that gave the quote."""
    options = {} if asked is None else asked.options
    if asked is not None and asked.name == "owned":
        yield from _owned(quote, options)
        return
    discount = _number(options, "discount")
    if not discount:
        yield Line(_name(quote), "as listed" if quote.as_of else "as given", "", *_end(quote), words=quote.note)
        return
    values = {"listed": quote.usd_per_hour / (1 - discount), "discount": discount}
    yield filled(_name(quote), "listed * (1 - discount)", values, *_end(quote), words=quote.note)


def _name(quote: Quote) -> str:
    return f"an hour of {quote.instance or 'the machine'}"


def _end(quote: Quote) -> tuple[float, Unit, Label, str]:
    return quote.usd_per_hour, "USD/hour", "given", ", ".join(part for part in (quote.source, quote.as_of) if part)


def _owned(quote: Quote, options: Mapping[str, Value]) -> Iterator[Line]:
    """Purchase, staff and power of an hour at work (`ownership.hour` has the formulas and their source)."""
    values = {
        "purchase": _number(options, "purchase_usd"),
        "years": _number(options, "years"),
        "watts": _number(options, "watts"),
        "usd_per_kWh": _number(options, "usd_per_kwh"),
        "PUE": _number(options, "pue", PUE_ON_PREMISES),
        "staff": _number(options, "staff_share_usd_per_year"),
        "utilisation": _number(options, "utilisation", 1.0),
    }
    hour = ownership.hour(
        values["purchase"], values["years"], values["watts"], values["usd_per_kWh"], values["PUE"], values["staff"],
        values["utilisation"],
    )  # fmt: skip
    parts = {
        "purchase": (f"purchase / (years * {HOURS_PER_YEAR} * utilisation)", hour.purchase_usd),
        "staff": (f"staff / ({HOURS_PER_YEAR} * utilisation)", hour.staff_usd),
        "power": ("watts / 1000 * PUE * usd_per_kWh", hour.power_usd),
    }
    for name, (formula, usd) in parts.items():
        yield filled(f"{name} of an hour", formula, values, usd, "USD/hour", "given", THE_FILE)
    sums = {name: usd for name, (_, usd) in parts.items()}
    yield filled(_name(quote), " + ".join(parts), sums, *_end(quote), words=quote.note)


def _number(options: Mapping[str, Value], key: str, left_out: float = 0.0) -> float:
    found = options.get(key)
    return left_out if found is None or isinstance(found, str) else float(found)
