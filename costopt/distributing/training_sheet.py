"""Training on paper as a person reads it, and as JSON."""

import math

from costopt import units
from costopt.distributing.training_plan import TrainingAsked, TrainingRow, usd_per_billion_tokens
from costopt.json_text import json_text
from costopt.planning.places import BAND
from costopt.sheets import UNKNOWN_CELL, Cell, Column, Grid, Paragraph, Sheet, one_line, pair

TRAINING_SCHEMA = 1

SHOWN = 8
"""Machines that a table shows."""

REASONS_SHOWN = 6
"""Reasons for which machines are left out that are told; programs get them all."""

Facts = dict[str, object]


def sheet(asked: TrainingAsked, rows: tuple[TrainingRow, ...]) -> Sheet:
    """The cheapest machines, alone and at the number beyond which a step takes longer."""
    able = tuple(row for row in rows if row.step is not None)
    return Sheet(
        headline=one_line(headline(asked, rows)),
        grids=(Grid(_columns(asked, able[:SHOWN]), frozenset({0}), ("network",)),) if able else (),
        lead=one_line(f"a step of {units.about(asked.batch_tokens)} tokens, gradients of {_gradients(asked)}"),
        footnotes=(_FOOTNOTE,) if able else (),
        paragraphs=(Paragraph("Left out", _left_out(rows)),),
        notes=_notes(asked),
        source="prices: the price book, on demand; chips and links: the hardware and network tables",
    )


def headline(asked: TrainingAsked, rows: tuple[TrainingRow, ...]) -> str:
    """The cheapest machine and how many of it pay."""
    first = rows[0] if rows else None
    usd = None if first is None else usd_per_billion_tokens(asked, first, first.worth)
    if first is None or first.step is None or usd is None:
        return f"On paper: {asked.name} can be trained on none of these machines"
    fleet = f"{units.count(first.worth)} {first.offer.instance}"
    beyond = "each more costs more" if asked.waiting_usd_per_hour == 0 else "each more costs more, waiting included"
    return f"On paper: training {asked.name} costs least on {fleet}, {units.usd(usd)} per 10^9 tokens; {beyond}"


_FOOTNOTE = (
    "alone: a step on one machine; fastest: the number of machines beyond which a step takes longer, its seconds, the "
    "share of them in which gradients are exchanged, and the efficiency: speed-up over machines; USD: per 10^9 tokens"
)


def _notes(asked: TrainingAsked) -> tuple[str, ...]:
    return (
        f"all times are projected from data sheets, {units.percent(BAND)} either way; none was measured",
        "the batch stays the same however many share it; nothing is hidden behind the backward pass; activations are "
        "computed again, and what their memory needs is not counted",
        *(() if asked.waiting_usd_per_hour else ("--waiting-usd-per-hour says what it costs that somebody waits",)),
    )


def _gradients(asked: TrainingAsked) -> str:
    return units.bytes(2 * asked.params)


def _columns(asked: TrainingAsked, rows: tuple[TrainingRow, ...]) -> tuple[Column, ...]:
    return (
        Column("machine", pair("machine", "", ""), tuple(map(_machine, rows)), words=True),
        Column("network", pair("network", "", ""), tuple(pair(row.network, "", "") for row in rows), words=True),
        Column("alone", Cell(("alone s", "USD"), "alone s, USD"), tuple(_at(asked, row, 1) for row in rows)),
        Column("worth", Cell(("least cost", "n"), "least cost at n"), tuple(_count(row.worth) for row in rows)),
        Column("fastest", Cell(("fastest", "n"), "fastest at n"), tuple(_count(row.fastest) for row in rows)),
        Column("at", Cell(("its s", "USD"), "its s, USD"), tuple(_at(asked, row, row.fastest) for row in rows)),
        Column("share", Cell(("exchange", "efficiency"), "exchange, efficiency"), tuple(map(_share, rows))),
    )


def _machine(row: TrainingRow) -> Cell:
    return pair(row.offer.instance, f"another toolchain: {row.toolchain}" if row.toolchain else "", ", ")


def _count(n: int) -> Cell:
    return pair(units.count(n), "", "")


def _at(asked: TrainingAsked, row: TrainingRow, n: int) -> Cell:
    usd = usd_per_billion_tokens(asked, row, n)
    if row.step is None or usd is None:
        return UNKNOWN_CELL
    return pair(units.significant(row.step.seconds(n)), units.usd(usd), ", ")


def _share(row: TrainingRow) -> Cell:
    if row.step is None:
        return UNKNOWN_CELL
    share, efficiency = row.step.communication_share(row.fastest), row.step.efficiency(row.fastest)
    return pair(units.percent(share), units.percent(efficiency), ", ")


def _left_out(rows: tuple[TrainingRow, ...]) -> tuple[str, ...]:
    reasons: dict[str, list[str]] = {}
    for row in rows:
        if row.step is None:
            reasons.setdefault(row.why, []).append(row.offer.instance)
    ordered = sorted(reasons.items(), key=lambda reason: -len(reason[1]))[:REASONS_SHOWN]
    return tuple(one_line(f"{units.count_of(len(names), 'machine')}: {why}") for why, names in ordered)


def written(asked: TrainingAsked, rows: tuple[TrainingRow, ...]) -> str:
    """The whole as one JSON object; what is not known or not finite is null."""
    told: Facts = {
        "schema": TRAINING_SCHEMA,
        "kind": "training_on_paper",
        "label": "projected",
        "band": BAND,
        "headline": headline(asked, rows),
        "asked": {
            "model": asked.name,
            "params": asked.params,
            "batch_tokens": asked.batch_tokens,
            "waiting_usd_per_hour": asked.waiting_usd_per_hour,
        },
        "rows": [_facts(asked, row) for row in rows],
    }
    return json_text(told)


def _facts(asked: TrainingAsked, row: TrainingRow) -> Facts:
    return {
        "machine": row.offer.instance,
        "region": row.offer.region,
        "reason": row.why,
        "network": row.network,
        "toolchain": row.toolchain or None,
        "alone": _point(asked, row, 1),
        "least_cost": _point(asked, row, row.worth),
        "fastest": _point(asked, row, row.fastest),
    }


def _point(asked: TrainingAsked, row: TrainingRow, n: int) -> Facts | None:
    if row.step is None:
        return None
    point: Facts = {
        "machines": n,
        "seconds": row.step.seconds(n),
        "communication_share": row.step.communication_share(n),
        "efficiency": row.step.efficiency(n),
        "usd_per_billion_tokens": usd_per_billion_tokens(asked, row, n),
    }
    return {key: None if isinstance(one, float) and not math.isfinite(one) else one for key, one in point.items()}
