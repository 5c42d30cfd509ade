"""A plan on paper as a person reads it: the answer, a table of the best machines, and when which hardware wins."""

import datetime

from costopt import units
from costopt.distributing import big_or_small, paper_words, spreading, wins
from costopt.distributing.paper import Million, Paper, PaperRow, Verdict, at_traffic
from costopt.projecting.hardware import Kind
from costopt.sheets import UNKNOWN_CELL, Cell, Column, Grid, Paragraph, Sheet, Tone, one_line, pair

SHOWN = 5
"""Rows from the head of the order that a table shows, beside the best of each kind of hardware."""

REASONS_SHOWN = 6
"""Reasons for which machines can't run the model that are told; programs get them all."""

_TONES: dict[Verdict, Tone] = {"meets": "good", "undecided": "open", "impossible": "bad", "can't run": "bad"}


def sheet(paper: Paper, today: datetime.date) -> Sheet:
    """The chosen machine's row is marked."""
    rows = shown(paper)
    chosen = frozenset(place for place, row in enumerate(rows) if row is paper.choice)
    columns = _columns(paper, rows)
    return Sheet(
        headline=one_line(paper_words.headline(paper)),
        grids=(Grid(columns, chosen, ("rate", "million")),) if rows else (),
        lead=one_line(_lead(paper)),
        footnotes=(_footnote(paper),) if rows else (),
        paragraphs=(
            Paragraph("When which hardware wins here", tuple(one_line(one) for one in wins.sentences(paper))),
            Paragraph("How it is spread over chips", tuple(one_line(one) for one in spreading.sentences(paper))),
            Paragraph(
                "One big machine or several small ones", tuple(one_line(one) for one in big_or_small.sentences(paper))
            ),
            Paragraph("Not certain, or too slow", _open(rows)),
            Paragraph("Can't run there", _refused(paper)),
        ),
        notes=tuple(one_line(one) for one in paper_words.notes(paper, today)),
        source="prices: the price book, on demand; chips and links: the hardware and network tables",
    )


def shown(paper: Paper) -> tuple[PaperRow, ...]:
    """The head of the order, and the best of each kind of hardware."""
    able = [row for row in paper.rows if row.found.ways]
    best: dict[Kind, PaperRow] = {}
    for row in able:
        if row.found.carried is not None:
            best.setdefault(row.found.carried.chip.kind, row)
    return tuple(row for place, row in enumerate(able) if place < SHOWN or row in best.values())


def _lead(paper: Paper) -> str:
    demand, work = paper.asked.traffic.demand, paper.asked.workload
    rate = f"{units.significant(demand.mean_per_s)} requests/s"
    peak = "" if demand.peak_per_s == demand.mean_per_s else f", sized for {units.significant(demand.peak_per_s)}"
    return f"{rate}{peak} ({demand.told}); weights {units.bytes(work.weight_bytes)}"


# ---------------------------------------------------------------------------------------- columns


def _columns(paper: Paper, rows: tuple[PaperRow, ...]) -> tuple[Column, ...]:
    tokens = paper.asked.workload.answer_tokens > 0
    percentile = f"p{100 * paper.asked.limits.share:.0f}"
    times = Cell((f"TTFT {percentile} ms", "TPOT ms"), f"TTFT {percentile} / TPOT ms") if tokens else None
    rate = "answer tok/s" if tokens else "requests/s"
    million = Cell(("USD/M prompt", "answer"), "USD/M prompt / answer") if tokens else None
    return (
        Column("machine", pair("machine", "", ""), tuple(map(_machine, rows)), words=True),
        Column("fleet", Cell(("instances", "copies x chips"), "instances, copies x chips"), tuple(map(_fleet, rows))),
        Column("times", times or pair(f"{percentile} ms", "", ""), tuple(map(_times, rows))),
        Column("rate", pair(rate, "batch" if tokens else "", " / "), tuple(_rate(row) for row in rows)),
        Column("million", million or pair("USD/million", "", ""), tuple(_million(paper, row) for row in rows)),
        Column("month", Cell(("USD/month", "at best"), "USD/month / at best"), tuple(map(_month, rows))),
        Column("verdict", pair("verdict", "", ""), tuple(_verdict(row, paper) for row in rows), words=True),
    )


def _machine(row: PaperRow) -> Cell:
    carried = row.found.carried
    return pair(row.offer.instance, "" if carried is None else f"{carried.count} x {carried.chip.name}", ", ")


def _fleet(row: PaperRow) -> Cell:
    """`16 + 4` instances, below them `4 x 4` copies and chips, or `4 x 2 x 4` with stages of a pipeline between."""
    if row.fleet is None:
        return UNKNOWN_CELL
    one, spread = row.fleet, row.fleet.way.spread
    spare = f" + {units.count(one.spare)}" if one.spare else ""
    stages = f"{spread.stages} x " if spread.stages > 1 else ""
    copies = f"{units.count(one.served.copies)} x {stages}{spread.tensor * spread.cores}"
    return pair(f"{units.count(one.instances)}{spare}", copies, ", ")


def _times(row: PaperRow) -> Cell:
    if row.fleet is None:
        return UNKNOWN_CELL
    one, factor = row.fleet.pace, row.fleet.factor
    tpot = units.ms(1e3 * factor * one.tpot_s) if one.answer_tokens else ""
    return pair(units.ms(1e3 * row.fleet.served.ttft_s), tpot, " / ")


def _rate(row: PaperRow) -> Cell:
    """Of one copy that never idles, at the projected times."""
    if row.fleet is None:
        return UNKNOWN_CELL
    one = row.fleet.pace
    per_s = one.requests_per_s * (one.answer_tokens or 1)
    return pair(units.significant(per_s), units.count(one.batch) if one.answer_tokens else "", " / ")


def _million(paper: Paper, row: PaperRow) -> Cell:
    found = at_traffic(paper.asked, row)
    if found is None:
        return UNKNOWN_CELL
    return _dollars(found)


def _dollars(found: Million) -> Cell:
    if found.answer_usd is None:
        return pair(units.usd(found.requests_usd), "", "")
    return pair(units.usd(found.prompt_usd), units.usd(found.answer_usd), " / ")


def _month(row: PaperRow) -> Cell:
    if row.fleet is None or row.low_usd is None:
        return UNKNOWN_CELL
    lower = "" if row.low_usd == row.fleet.month_usd else units.cents(row.low_usd)
    return pair(units.cents(row.fleet.month_usd), lower, " / ")


def _verdict(row: PaperRow, paper: Paper) -> Cell:
    if row is paper.choice:
        return pair("chosen", "on paper", " ", "good")
    if row in paper.alike:
        return pair("indistin-", "guishable", "", "open")
    return pair(row.verdict, "", "", _TONES[row.verdict])


# ---------------------------------------------------------------------------------------- words


def _footnote(paper: Paper) -> str:
    hours = units.given(paper.asked.traffic.hours_per_month)
    asked = paper.asked.workload
    sized = "sized and timed at the slow end of the band, undecided ones as projected; at best: at the fast end"
    copies = "copies x chips (cores) of each, or copies x stages x chips"
    month = f"{copies}; USD/month: {hours} hours of whole instances, {sized}"
    if not asked.answer_tokens:
        return f"{month}; USD/million: per million requests at this traffic; requests/s: one copy that never idles"
    return (
        f"{month}; TTFT: wait, prompt and a step; TPOT: in a full batch; USD/M: per million tokens at this traffic; "
        "tok/s: one copy that never idles, at that batch"
    )


def _open(rows: tuple[PaperRow, ...]) -> tuple[str, ...]:
    found = (row for row in rows if row.verdict in ("undecided", "impossible"))
    return tuple(one_line(f"{row.offer.instance}: {row.verdict}: {row.words}") for row in found)


def _refused(paper: Paper) -> tuple[str, ...]:
    """Each reason once, those of most machines first."""
    reasons: dict[str, list[str]] = {}
    for row in paper.rows:
        if row.verdict == "can't run":
            reasons.setdefault(row.words, []).append(row.offer.instance)
    ordered = sorted(reasons.items(), key=lambda reason: -len(reason[1]))
    told = [one_line(f"{_named(names)}: {why}") for why, names in ordered[:REASONS_SHOWN]]
    others = sum(len(names) for _, names in ordered[REASONS_SHOWN:])
    if others:
        told.append(f"and {units.count_of(others, 'other machine')}: `--format json` tells why")
    return tuple(told)


def _named(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
