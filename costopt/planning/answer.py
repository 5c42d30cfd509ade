"""The answer of `costopt plan`: the choice, what it costs, what compressing saves, and when it would be another."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from costopt import units
from costopt.errors import UsageError
from costopt.judging.choose import judge
from costopt.judging.cost import SECONDS_PER_HOUR
from costopt.planning import bills, flips, paces, places, plan_words, services
from costopt.planning.bills import BreakEven
from costopt.planning.flips import PriceFlip, TrafficFlip
from costopt.planning.paces import Elsewhere
from costopt.planning.ranking import VERDICTS, Ranking, Row, capacities_of
from costopt.planning.services import Service
from costopt.planning.traffic_file import Asked
from costopt.pricing.book import Book
from costopt.projecting import calibration
from costopt.records import Outcome, Plan, Run
from costopt.verdict import Quote

SHOWN = 5
"""Rows from the head of the order that a table shows, beside the best of each machine and the original's best."""

MACHINES_SHOWN = 5
"""Of which the best row is shown wherever it stands."""


@dataclass(frozen=True, slots=True)
class Compressing:
    """What compressing saves a month against the original on its own best machine, and when that has paid for itself.

    `original` is None where the original meets nothing; then there is nothing to save against, and no break-even.
    `machine_usd` is what the run's machine cost at most: its time limit at the price of an hour.
    """

    original: Row | None
    saved_usd: float | None
    even: BreakEven | None
    machine_usd: float
    words: str


@dataclass(frozen=True, slots=True)
class Planned:
    """The whole answer. `rows` are all pairs, those that meet first; `shown` those of them that a table shows."""

    run: Run
    asked: Asked
    quote: Quote
    choice: Row | None
    headline: str
    rows: tuple[Row, ...]
    shown: tuple[Row, ...]
    compressing: Compressing | None
    by_traffic: tuple[TrafficFlip, ...]
    by_price: PriceFlip | None
    left_out: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]


def planned(
    run: Run,
    plan: Plan,
    outcomes: Sequence[Outcome],
    kept: Quote | None,
    asked: Asked,
    book: Book,
    today: datetime.date,
    folder: Path | None = None,
) -> Planned:
    """Rank every candidate on every machine for a traffic. `kept` is the price that the run was last judged at.

    `folder` is the run's; without it nothing is projected onto other families of machines.

    Raises UsageError for a run that can't be planned with, ConfigError for machines that the book does not have.
    """
    report = judge(run, outcomes, plan, today, kept)
    share = None if asked.promise is None else asked.promise.share
    found = services.of_run(report, outcomes, share)
    quote = report.quote
    if quote is None:
        raise UsageError(
            f"run {run.id} names no machine, so nothing can be priced: `costopt choose` with a budget file that has "
            "`machine: {instance: aws/c7i.large}` names one"
        )
    others = None if folder is None else _elsewhere(run, outcomes, found, folder, asked)
    where = places.places(run, plan, quote, book, asked.machines, others)
    ranking = Ranking(found, where.found, asked, capacities_of(found, asked, run.seed), run.seed)
    rows = ranking.rows()
    choice = ranking.best(rows)
    original = ranking.best(row for row in rows if row.service.is_original)
    checked = _checked(ranking, rows, [one for one in (choice, original) if one is not None])
    shown = _shown(checked, original)
    cost_usd = plan.time_limit_s / SECONDS_PER_HOUR * quote.usd_per_hour
    return Planned(
        run=run,
        asked=asked,
        quote=quote,
        choice=choice,
        headline=plan_words.met(choice, asked)
        if choice is not None
        else plan_words.not_met(checked, where.left_out, asked),
        rows=checked,
        shown=shown,
        compressing=None if choice is None else _compressing(choice, original, checked, asked, cost_usd),
        by_traffic=() if choice is None else flips.by_traffic(ranking, asked.demand, choice),
        by_price=None if choice is None else flips.by_price(choice, shown),
        left_out=where.left_out,
        notes=(*plan_words.notes(run, plan, quote, asked, checked, today), *plan_words.about_batches(outcomes)),
    )


def _elsewhere(
    run: Run, outcomes: Sequence[Outcome], found: Sequence[Service], folder: Path, asked: Asked
) -> Elsewhere | None:
    """What projections start from, where machines are asked for or calibrations given: it takes reading all files."""
    if asked.machines is None and not asked.calibrations:
        return None
    return paces.elsewhere(run, outcomes, found, folder, tuple(calibration.read(one) for one in asked.calibrations))


# ---------------------------------------------------------------------------------------- rows


def _checked(ranking: Ranking, rows: Sequence[Row], known: Sequence[Row]) -> tuple[Row, ...]:
    """All rows in order, those that a table shows checked by simulation."""
    done = {_pair(one): one for one in known}
    original = next((one for one in known if one.service.is_original), None)
    while True:
        ordered = sorted(
            (done.get(_pair(row), row) for row in rows), key=lambda row: (VERDICTS.index(row.verdict), row.key)
        )
        waiting = [row for row in _shown(ordered, original) if not row.checked]
        if not waiting:
            return tuple(ordered)
        done.update({_pair(row): ranking.check(row) for row in waiting})


def _shown(ordered: Sequence[Row], original: Row | None) -> tuple[Row, ...]:
    """The head of the order, the best of each machine, and the original's best."""
    best_of: dict[str, Row] = {}
    for row in ordered:
        best_of.setdefault(row.place.instance, row)
    wanted = {_pair(row) for row in (*ordered[:SHOWN], *list(best_of.values())[:MACHINES_SHOWN])}
    if original is not None:
        wanted.add(_pair(original))
    return tuple(row for row in ordered if _pair(row) in wanted)


def _pair(row: Row) -> tuple[str, str]:
    return row.service.candidate.id, row.place.instance


# ---------------------------------------------------------------------------------------- what it brings


def _compressing(
    choice: Row, original: Row | None, rows: Sequence[Row], asked: Asked, machine_usd: float
) -> Compressing:
    if original is None or original.bill is None or choice.bill is None:
        words = "the original meets this on none of these machines, so compressing is what makes it possible"
        return Compressing(None, None, None, machine_usd, words)
    saved = original.bill.usd - choice.bill.usd
    if choice.service.is_original:
        return Compressing(original, 0.0, None, machine_usd, plan_words.saves_nothing(original, rows))
    even = bills.break_even(machine_usd + asked.work_usd, saved, choice.bill.requests, asked.hours_per_month)
    share = units.percent(saved / original.bill.usd)
    against = f"against the original on {plan_words.fleet(original)}"
    told = f"compressing saves {units.cents(saved)} a month ({share}) {against}"
    return Compressing(original, saved, even, machine_usd, f"{told}; {plan_words.earned_back(even, asked)}")
