"""A plan as a person reads it: the answer, a table of the best pairs, and what would change it."""

from costopt import units
from costopt.planning import following, kinds
from costopt.planning.answer import Planned
from costopt.planning.extra_lines import NOTHING
from costopt.planning.flips import AccuracyFlip, TrafficFlip
from costopt.planning.plan_words import fleet
from costopt.planning.ranking import Row, Verdict
from costopt.powering import energy_words
from costopt.powering.footprints import Limits
from costopt.sheets import UNKNOWN, UNKNOWN_CELL, Cell, Column, Grid, Paragraph, Sheet, Tone, one_line, pair

_ALIKE = 0.995
"""Above this, the share that a price would have to fall by rounds to nothing."""

_TONES: dict[Verdict, Tone] = {"meets": "good", "undecided": "open", "impossible": "bad", "refused": "bad"}


def sheet(planned: Planned) -> Sheet:
    """The chosen pair's row is marked."""
    chosen = frozenset(place for place, row in enumerate(planned.shown) if _is_choice(row, planned))
    grids = (Grid(_columns(planned), chosen, ("load", "million")),) if planned.shown else ()
    return Sheet(
        headline=one_line(planned.headline),
        grids=grids,
        lead=one_line(_lead(planned)),
        footnotes=(_footnote(planned),),
        paragraphs=(
            Paragraph("A million requests with the chosen one", _per_million(planned)),
            Paragraph("What compressing brings", _brings(planned)),
            Paragraph("Following the traffic", _following(planned)),
            Paragraph("The bill", _bill(planned)),
            Paragraph("Energy and carbon of the chosen one", _energy(planned)),
            Paragraph("Which hardware wins here", tuple(kinds.sentences(planned.rows))),
            Paragraph("What would change the choice", tuple(_changes(planned))),
            Paragraph("Ruled out, or not certain", _others(planned)),
            Paragraph("Machines left out", tuple(f"{_named(names)}: {why}" for why, names in planned.left_out)),
        ),
        notes=tuple(one_line(note) for note in planned.notes),
        source=_source(planned),
    )


def _lead(planned: Planned) -> str:
    demand = planned.asked.demand
    mean, peak = units.significant(demand.mean_per_s), units.significant(demand.peak_per_s)
    return f"{mean} requests/s on average, sized for {peak} ({demand.told})"


def _columns(planned: Planned) -> tuple[Column, ...]:
    rows = planned.shown
    promise = planned.asked.promise
    name = "response" if promise is None else promise.name
    return (
        Column("recipe", pair("recipe", "", ""), tuple(_recipe(row) for row in rows), words=True),
        Column("machine", pair("machine", "", ""), tuple(_machine(row) for row in rows), words=True),
        Column(
            "instances", Cell(("instances", "+ spare"), "instances + spare"), tuple(_instances(row) for row in rows)
        ),
        Column("load", Cell(("busiest", "idle"), "busiest / idle"), tuple(_load(row) for row in rows)),
        Column("response", pair(f"{name} ms", "", ""), tuple(_response(row) for row in rows)),
        Column("million", Cell(("USD/million", "saturated"), "USD/million / saturated"), tuple(map(_million, rows))),
        Column("month", pair("USD/month", "", ""), tuple(_month(row) for row in rows)),
        *_carbon(planned),
        Column("verdict", pair("verdict", "", ""), tuple(_verdict(row, planned) for row in rows), words=True),
    )


def _recipe(row: Row) -> Cell:
    names = " + ".join(spec.name for spec in row.service.candidate.recipe)
    batch = f", batch {row.service.batch}" if row.service.batch > 1 else ""
    return pair(names or "original", f"on {row.service.candidate.provider}{batch}", " ")


def _machine(row: Row) -> Cell:
    return pair(row.place.name, row.place.label, ", ")


def _instances(row: Row) -> Cell:
    if row.instances is None:
        return UNKNOWN_CELL
    return pair(units.count(row.instances), f"+ {row.spare}" if row.spare else "", " ")


def _load(row: Row) -> Cell:
    if row.busiest_load is None or row.idle is None:
        return UNKNOWN_CELL
    return pair(units.percent(row.busiest_load), units.percent(row.idle), " / ")


def _response(row: Row) -> Cell:
    return UNKNOWN_CELL if row.response_ms is None else pair(units.ms(row.response_ms), "", "")


def _million(row: Row) -> Cell:
    at_traffic = UNKNOWN if row.bill is None else units.usd(row.bill.usd_per_million)
    return pair(at_traffic, UNKNOWN if row.saturated is None else units.usd(row.saturated), " / ")


def _month(row: Row) -> Cell:
    return UNKNOWN_CELL if row.bill is None else pair(units.cents(row.bill.usd), "", "")


def _carbon(planned: Planned) -> tuple[Column, ...]:
    """kg CO2e a month, where energy was asked for."""
    if planned.asked.energy is None:
        return ()
    spans = [None if row.footprint is None else row.footprint.kg_co2e for row in planned.shown]
    cells = (UNKNOWN_CELL if one is None else pair(units.significant(one.value), "", "") for one in spans)
    return (Column("carbon", Cell(("kg CO2e", "/month"), "kg CO2e/month"), tuple(cells)),)


def _verdict(row: Row, planned: Planned) -> Cell:
    if _is_choice(row, planned):
        return pair("chosen", "", "", "good")
    return pair(row.verdict, "", "", _TONES[row.verdict])


def _is_choice(row: Row, planned: Planned) -> bool:
    choice = planned.choice
    return choice is not None and row.service is choice.service and row.place == choice.place


# ---------------------------------------------------------------------------------------- words


def _footnote(planned: Planned) -> str:
    asked = planned.asked
    hours, promise = units.given(asked.hours_per_month), asked.promise
    follows = asked.autoscaling is not None or asked.scale_to_zero is not None
    instances = "instances, those that are up" if follows else "whole instances"
    more = " and egress" if asked.egress is not None else ""
    if asked.extras != NOTHING:
        more = ", with all lines of the bill"
    told = f"USD/month: {hours} hours of {instances}{more}; busiest: load at the busiest time; idle: of all paid"
    told += "" if asked.energy is None else "; CO2e: modelled, its band below"
    if promise is None:
        return told
    return f"{told}; {promise.name}: wait and call at the busiest time, simulated, at the slow end of what is known"


def _per_million(planned: Planned) -> tuple[str, ...]:
    """At the traffic, at the most that its instances bear, and on a machine that never idles."""
    row = planned.choice
    if row is None or row.bill is None or row.at_promise is None or row.highest_per_s is None:
        return ()
    sent = "" if planned.asked.egress is None else " with egress"
    most = f"{units.usd(row.at_promise)} at the most they bear, about {units.about(row.highest_per_s)} requests/s"
    never = UNKNOWN if row.saturated is None else units.usd(row.saturated)
    return (f"{units.usd(row.bill.usd_per_million)} at this traffic{sent}, {most}, {never} saturated",)


def _energy(planned: Planned) -> tuple[str, ...]:
    original = None if planned.compressing is None else planned.compressing.original
    return energy_words.paragraph(planned.choice, original, planned.asked, planned.power)


def _brings(planned: Planned) -> tuple[str, ...]:
    return () if planned.compressing is None else (planned.compressing.words,)


def _following(planned: Planned) -> tuple[str, ...]:
    if planned.choice is None:
        return ()
    return following.told(planned.following, planned.commitment, planned.choice, planned.asked)


def _bill(planned: Planned) -> tuple[str, ...]:
    """Line by line, where it has more than machines."""
    bill = None if planned.choice is None else planned.choice.bill
    if bill is None or len(bill.lines) < 2:
        return ()
    return tuple(f"{one.kind}: {_dollars(one.usd)} = {one.formula}" for one in bill.lines)


def _dollars(usd: float) -> str:
    """To the cent; what is less than a cent to three digits."""
    return units.usd(usd) if 0 < usd < 0.01 else units.cents(usd)


def _changes(planned: Planned) -> list[str]:
    told = [_traffic(one, planned) for one in planned.by_traffic]
    if planned.choice is not None and not told:
        limited = "" if planned.power.limits == Limits() else ", as long as the limits on energy and CO2 are kept"
        told.append(f"traffic: nothing, from a hundredth of it to a hundred times{limited}")
    flip = planned.by_price
    if flip is not None:
        told.append(f"price: {fleet(flip.row)} with {flip.row.service.name} {_when(flip.factor)}")
    told.extend(_accuracy(one, planned) for one in planned.by_accuracy)
    if planned.not_told_apart:
        told.append(kinds.in_words(planned.not_told_apart))
    return told


def _accuracy(flip: AccuracyFlip, planned: Planned) -> str:
    limit = _drop(planned.run.metric.name, flip.limit)
    if flip.row is None:
        return f"accuracy: with a limit under {limit} nothing is left"
    row = flip.row
    dollars = "" if row.bill is None else f", {units.cents(row.bill.usd)} a month"
    way = "from a limit of" if flip.looser else "with a limit under"
    return f"accuracy: {way} {limit} it is {row.service.name} ({fleet(row)}{dollars})"


def _drop(metric: str, drop: float) -> str:
    """`0.72 points`, `0.0123`; a drop below nothing is a gain."""
    return units.changes(metric, drop).removeprefix("+")


def _when(factor: float) -> str:
    if factor > _ALIKE:
        return "costs as much: any lower price of it makes it the choice"
    return f"is cheaper once it costs {units.percent(1 - factor)} less"


def _traffic(flip: TrafficFlip, planned: Planned) -> str:
    today = planned.asked.demand.mean_per_s
    way = "at" if flip.mean_per_s == today else "above" if flip.mean_per_s > today else "below"
    rate = units.significant(flip.mean_per_s, 2)
    row = flip.row
    dollars = "" if row.bill is None else f" ({fleet(row)}, {units.cents(row.bill.usd)} a month)"
    return f"traffic: {way} about {rate} requests/s it is {row.service.name} on {row.place.name}{dollars}"


def _others(planned: Planned) -> tuple[str, ...]:
    """Each candidate that meets on none of the machines, once; of the others, the rows shown that don't meet."""
    meeting = {row.service.candidate.id for row in planned.rows if row.verdict == "meets"}
    words: dict[str, str] = {}
    for row in sorted(planned.rows, key=lambda row: not row.is_timed):
        if row.service.candidate.id not in meeting:
            words.setdefault(row.service.candidate.id, f"{row.service.name}: {row.verdict}: {row.words}")
    here = [
        f"{row.service.name} on {row.place.name}: {row.verdict}: {row.words}"
        for row in planned.shown
        if row.verdict != "meets" and row.service.candidate.id in meeting
    ]
    return tuple(one_line(one) for one in (*words.values(), *here))


def _named(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _source(planned: Planned) -> str:
    run, quote = planned.run, planned.quote
    dated = ", ".join(part for part in (quote.instance, quote.as_of) if part)
    price = (
        f"{units.usd(quote.usd_per_hour)} an hour ({dated})" if dated else f"{units.usd(quote.usd_per_hour)} an hour"
    )
    return one_line(f"run {run.id} of {run.model} on {run.machine.cpu}, {run.machine.cores} cores; {price}")
