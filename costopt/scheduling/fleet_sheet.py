"""A fleet as a person reads it: the answer, the machines with what stands on each, the models, and the weights."""

from collections.abc import Iterator

from costopt import units
from costopt.scheduling import fleet_words
from costopt.scheduling.fleet_records import Packed, Served
from costopt.scheduling.layout import Group, replicas, weight
from costopt.sheets import UNKNOWN_CELL, Cell, Column, Grid, Paragraph, Sheet, one_line, pair

_LEFT_OUT_SHOWN = 3


def sheet(packed: Packed) -> Sheet:
    """Three tables where there is a fleet, else what is in the way."""
    grids = (_machines(packed), _models(packed), _weights(packed)) if packed.groups else ()
    return Sheet(
        headline=one_line(packed.headline),
        grids=grids,
        lead=one_line(fleet_words.gap(packed)) if packed.groups else "",
        footnotes=_footnotes(packed) if packed.groups else (),
        paragraphs=(
            Paragraph("In the way", tuple(one_line(why) for why in packed.reasons) if len(packed.reasons) > 1 else ()),
            Paragraph("Machines left out", tuple(_left_out(packed))),
        ),
        notes=tuple(one_line(note) for note in packed.notes),
        source=_source(packed),
    )


# ---------------------------------------------------------------------------------------- machines


def _machines(packed: Packed) -> Grid:
    groups = packed.groups
    return Grid(
        (
            Column("machine", pair("machine", "", ""), tuple(_machine(group, packed) for group in groups), words=True),
            Column("count", pair("count", "", ""), tuple(_text(units.count(group.count)) for group in groups)),
            Column("holds", pair("on each", "", ""), tuple(_holds(group, packed) for group in groups), words=True),
            Column("vcpus", pair("vCPUs", "taken", " "), tuple(_vcpus(group, packed) for group in groups)),
            Column("memory", pair("memory", "taken", " "), tuple(_memory(group, packed) for group in groups)),
            Column("month", pair("USD/month", "", ""), tuple(_month(group, packed) for group in groups)),
        ),
        title="Machines",
        expendable=("memory",),
    )


def _machine(group: Group, packed: Packed) -> Cell:
    return _text(packed.sites[group.machine].name)


def _holds(group: Group, packed: Packed) -> Cell:
    parts = [one_line(f"{number} {packed.asked.models[model].name}") for model, number in group.replicas]
    return Cell((*(f"{part}," for part in parts[:-1]), parts[-1]), ", ".join(parts))


def _vcpus(group: Group, packed: Packed) -> Cell:
    taken = sum(number * packed.served[model].form.cores for model, number in group.replicas)
    return _text(f"{taken} of {packed.sites[group.machine].machine.vcpus}")


def _memory(group: Group, packed: Packed) -> Cell:
    taken = sum(number * packed.served[model].form.way.blocks for model, number in group.replicas)
    return _text(units.percent(taken / packed.sites[group.machine].machine.blocks))


def _month(group: Group, packed: Packed) -> Cell:
    usd_per_hour = packed.sites[group.machine].machine.usd_per_hour
    return _text(units.cents(group.count * usd_per_hour * packed.asked.hours_per_month))


# ---------------------------------------------------------------------------------------- models


def _models(packed: Packed) -> Grid:
    served = packed.served
    return Grid(
        (
            Column("model", pair("model", "", ""), tuple(_text(one.asked.name) for one in served), words=True),
            Column("served", pair("served by", "", ""), tuple(_form(one) for one in served), words=True),
            Column("rate", pair("busiest", "requests/s", " "), tuple(_rate(one) for one in served)),
            Column(
                "replicas",
                Cell(("replicas", "+ spare"), "replicas + spare"),
                tuple(_replicas(one, packed) for one in served),
            ),
            Column("load", pair("load", "", ""), tuple(_load(one, packed) for one in served)),
            Column("response", pair("response", "limit ms", " / "), tuple(_response(one) for one in served)),
            Column(
                "alone", pair("alone", "USD/month", " "), tuple(_text(units.cents(one.alone_usd)) for one in served)
            ),
        ),
        title="Models",
        expendable=("load",),
    )


def _form(one: Served) -> Cell:
    return pair(one.form.way.name, one.form.label, ", ")


def _rate(one: Served) -> Cell:
    return _text(units.significant(one.asked.demand.peak_per_s))


def _replicas(one: Served, packed: Packed) -> Cell:
    needed = one.form.replicas
    spare = replicas(packed.groups, one.form.model) - needed
    return pair(units.count(needed), f"+ {units.count(spare)}" if spare else "", " ")


def _load(one: Served, packed: Packed) -> Cell:
    number = replicas(packed.groups, one.form.model)
    return _text(units.percent(one.asked.demand.peak_per_s * one.form.way.busy_s / number))


def _response(one: Served) -> Cell:
    promise = one.asked.promise
    if promise is None or one.response_ms is None:
        return UNKNOWN_CELL
    return pair(f"{promise.name} {units.ms(one.response_ms)}", units.given(promise.ms), " / ")


# ---------------------------------------------------------------------------------------- weights


def _weights(packed: Packed) -> Grid:
    rows = [(one, group) for one in packed.served for group in packed.groups if group.of(one.form.model)]
    return Grid(
        (
            Column("model", pair("model", "", ""), tuple(_text(one.asked.name) for one, _ in rows), words=True),
            Column("machine", pair("machine", "", ""), tuple(_machine(group, packed) for _, group in rows), words=True),
            Column("count", pair("count", "", ""), tuple(_text(units.count(group.count)) for _, group in rows)),
            Column(
                "replicas",
                pair("replicas", "on each", " "),
                tuple(_text(units.count(group.of(one.form.model))) for one, group in rows),
            ),
            Column("weight", pair("weight", "of each", " "), tuple(_weight(one, group, packed) for one, group in rows)),
        ),
        title="Weights for a load balancer",
    )


def _weight(one: Served, group: Group, packed: Packed) -> Cell:
    return _text(units.percent(weight(group, packed.groups, one.form.model)))


# ---------------------------------------------------------------------------------------- words


def _text(words: str) -> Cell:
    return pair(one_line(words), "", "")


def _footnotes(packed: Packed) -> tuple[str, ...]:
    hours = units.given(packed.asked.hours_per_month)
    return (
        f"USD/month: {hours} hours of whole machines; busiest: requests a second at the busiest time; replicas: needed "
        "then, + what is there besides; response: wait and call with the needed ones alone, simulated, at the slow end "
        "of what is known; alone: the same model on machines of its own",
    )


def _left_out(packed: Packed) -> Iterator[str]:
    for why, names in packed.left_out:
        more = f" and {len(names) - _LEFT_OUT_SHOWN} more" if len(names) > _LEFT_OUT_SHOWN else ""
        yield f"{', '.join(names[:_LEFT_OUT_SHOWN])}{more}: {why}"


def _source(packed: Packed) -> str:
    used = sorted({group.machine for group in packed.groups})
    quotes = [packed.sites[place].quote for place in used]
    prices = "; ".join(f"{one.instance} {units.usd(one.usd_per_hour)} an hour ({one.as_of})" for one in quotes)
    asked = packed.asked
    spare = f"; {units.count_of(asked.spare, 'machine')} may fail at once" if asked.spare else ""
    return one_line(f"{units.count_of(len(asked.models), 'model')}{spare}" + (f"; {prices}" if prices else ""))
