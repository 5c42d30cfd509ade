"""A month's bill in lines, and what it saves.

A further line of the bill is one more line of `_parts`: the sum follows.
"""

from collections.abc import Iterator

from costopt import units
from costopt.explaining.lines import Label, Line, Section, derived, filled
from costopt.explaining.run_lines import break_even
from costopt.judging.cost import MILLION, SECONDS_PER_HOUR
from costopt.planning.answer import Compressing
from costopt.planning.bills import HOURS_PER_DAY, MACHINES, Bill
from costopt.planning.ranking import Row
from costopt.planning.traffic_file import Asked

BY_SPEED = (MACHINES, "registry")
"""Lines that count machines."""


def month(row: Row, asked: Asked, title: str) -> Section:
    """The bill of a month; no lines for a row that has none."""
    return Section(title, () if row.bill is None else tuple(_month(row, row.bill, asked)))


def _month(row: Row, bill: Bill, asked: Asked) -> Iterator[Line]:
    hours = asked.hours_per_month
    values = {"mean": asked.demand.mean_per_s, "hours": hours}
    formula = f"mean * {SECONDS_PER_HOUR} * hours"
    source = ", ".join(part for part in (row.place.source, row.place.as_of) if part)
    instance = f"an hour of {row.place.name}"
    yield Line(instance, "as its source has it", "", row.place.usd_per_hour, "USD/hour", "given", source)
    yield filled("requests a month", formula, values, bill.requests, "requests", "modelled", "the traffic file")
    parts = tuple(_parts(row, bill))
    yield from parts
    yield Line("bill of a month", *_sum(parts), bill.usd, "USD", derived(row.place.label))


def _parts(row: Row, bill: Bill) -> Iterator[Line]:
    """What is added up: each line of the bill, a product of factors; how fast the model is decides on some of them."""
    for one in bill.lines:
        label: Label = derived(row.place.label) if one.kind in BY_SPEED else "modelled"
        formula = " * ".join(factor.unit for factor in one.factors)
        product = " * ".join(units.operand(factor.value) for factor in one.factors)
        yield Line(one.kind, formula, product, one.usd, "USD", label)


def _sum(parts: tuple[Line, ...]) -> tuple[str, str]:
    """The names of the parts, added up, and their amounts."""
    return " + ".join(part.name for part in parts), " + ".join(units.operand(part.value or 0.0) for part in parts)


def million(row: Row) -> Section:
    """A million requests on machines that never idle, at the most they bear, and at this traffic."""
    return Section("A million requests", tuple(_million(row)))


def _million(row: Row) -> Iterator[Line]:
    place = row.place
    values = {"price": place.usd_per_hour, "seconds": row.mean_s, "services": place.services}
    batch = "" if row.service.batch == 1 else " / batch"
    formula = f"price / {SECONDS_PER_HOUR} * seconds{batch} / services * {MILLION}"
    values["batch"] = row.service.batch
    if row.saturated is not None:
        yield filled("saturated", formula, values, row.saturated, "USD/million", place.label, words="never idle")
    if row.at_promise is not None and row.highest_per_s is not None:
        words = "rate that they bear with the promise kept"
        yield Line(
            "highest rate",
            words,
            "",
            row.highest_per_s,
            "requests/s",
            derived(row.place.label),
            "capacity curves by simulation",
        )
        values = {"paid": row.paid, "price": place.all_in_usd_per_hour, "rate": row.highest_per_s}
        formula = f"paid * price / {SECONDS_PER_HOUR} / rate * {MILLION}"
        yield filled("at the highest rate", formula, values, row.at_promise, "USD/million", derived(row.place.label))
    if row.bill is not None:
        values = {"bill": row.bill.usd, "requests": row.bill.requests}
        formula = f"bill / requests * {MILLION}"
        yield filled(
            "at this traffic", formula, values, row.bill.usd_per_million, "USD/million", derived(row.place.label)
        )


def saving(row: Row, found: Compressing | None, asked: Asked) -> Section:
    """Against the original on its own best machine, and until what was spent is back."""
    return Section("What compressing saves", () if found is None else tuple(_saving(row, found, asked)))


def _saving(row: Row, found: Compressing, asked: Asked) -> Iterator[Line]:
    original = found.original
    if original is None or original.bill is None or row.bill is None or found.saved_usd is None or found.even is None:
        return
    values = {"original": original.bill.usd, "candidate": row.bill.usd}
    yield filled("saved a month", "original - candidate", values, found.saved_usd, "USD", derived(row.place.label))
    values = {"machine": found.search.usd, "work": asked.work_usd}
    formula = "machine + work"
    words = f"{found.search.words}; people's time as given"
    yield filled("spent on compressing", formula, values, found.even.usd, "USD", "modelled", words=words)
    values = {"spent": found.even.usd, "saved": found.saved_usd, "requests": row.bill.requests}
    yield break_even(found.even, values, derived(row.place.label))
    if found.even.days is None:
        return
    values = {"spent": found.even.usd, "saved": found.saved_usd, "hours": asked.hours_per_month}
    formula = f"spent / saved * hours / {HOURS_PER_DAY:.0f}"
    yield filled("break-even, in time", formula, values, found.even.days, "days", derived(row.place.label))
