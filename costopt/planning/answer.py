"""The answer of `costopt plan`: the choice, what it costs, what compressing saves, and when it would be another."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from costopt import units
from costopt.errors import UsageError
from costopt.journal import Journal
from costopt.judging.choose import judge
from costopt.planning import bills, flips, paces, places, plan_words, services
from costopt.planning.bills import BreakEven, Search
from costopt.planning.commitment import Commitment
from costopt.planning.flips import AccuracyFlip, PriceFlip, TrafficFlip
from costopt.planning.following import Following, committed, following
from costopt.planning.kinds import Open, not_told_apart
from costopt.planning.paces import Elsewhere
from costopt.planning.places import Places
from costopt.planning.ranking import VERDICTS, Ranking, Row, capacities_of
from costopt.planning.services import Service
from costopt.planning.spot_places import with_spot
from costopt.planning.traffic_file import Asked
from costopt.powering import plan_power
from costopt.powering.footprints import Power
from costopt.pricing.book import Book
from costopt.pricing.families import may_be
from costopt.projecting import calibration
from costopt.records import Outcome, Plan, Run
from costopt.verdict import Quote, Report

SHOWN = 5
"""Rows from the head of the order that a table shows, beside the best of each machine and the original's best."""

MACHINES_SHOWN = 5
"""Of which the best row is shown wherever it stands."""


@dataclass(frozen=True, slots=True)
class Compressing:
    """What compressing saves a month against the original on its own best machine, and when that has paid for itself.

    `original` is None where the original meets nothing; then there is nothing to save against, and no break-even.
    `search` is what finding out cost.
    """

    original: Row | None
    saved_usd: float | None
    even: BreakEven | None
    search: Search
    words: str


@dataclass(frozen=True, slots=True)
class Planned:
    """The whole answer. `rows` are all pairs, those that meet first; `shown` those of them that a table shows.

    `ranking` is where they come from; it checks a row that a reader asks for.
    """

    run: Run
    asked: Asked
    quote: Quote
    ranking: Ranking
    choice: Row | None
    headline: str
    rows: tuple[Row, ...]
    shown: tuple[Row, ...]
    compressing: Compressing | None
    by_traffic: tuple[TrafficFlip, ...]
    by_price: PriceFlip | None
    by_accuracy: tuple[AccuracyFlip, ...]
    not_told_apart: tuple[Open, ...]
    following: Following | None
    commitment: Commitment | None
    left_out: tuple[tuple[str, tuple[str, ...]], ...]
    notes: tuple[str, ...]
    power: Power


def of_journal(journal: Journal, asked: Asked, book: Book, today: datetime.date) -> Planned:
    """The same for a run's folder, at the price that it was last judged at unless another machine is asked for."""
    plan = journal.plan()
    if asked.price is not None:
        plan = replace(plan, price=asked.price)
    kept = journal.quote(plan)
    return planned(journal.run(), plan, journal.outcomes(), kept, asked, book, today, journal.folder)


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
    found = services.of_run(report, outcomes, share, asked.max_wait_s)
    quote = _quote(report)
    _refuse_two_terms(plan, asked)
    if asked.data is not None:
        asked = replace(asked, egress=plan_power.egress(asked.data, quote))
    others = None if folder is None else _elsewhere(run, outcomes, found, quote, folder, asked)
    where = _places(run, plan, quote, book, asked, others)
    power = plan_power.power(run, plan, quote, book, where.found, asked.energy)
    ranking = Ranking(found, where.found, asked, capacities_of(found, asked, run.seed), run.seed, power)
    rows = ranking.rows()
    choice = ranking.best(rows)
    original = ranking.best(row for row in rows if row.service.is_original)
    checked = _checked(ranking, rows, [one for one in (choice, original) if one is not None])
    shown = _shown(checked, original)
    search = bills.search(run, plan, quote.usd_per_hour)
    met = None if choice is None else plan_words.met(choice, asked)
    return Planned(
        run=run,
        asked=asked,
        quote=quote,
        ranking=ranking,
        choice=choice,
        headline=met or plan_words.not_met(checked, where.left_out, asked),
        rows=checked,
        shown=shown,
        compressing=None if choice is None else compressing(choice, original, checked, asked, search),
        by_traffic=() if choice is None else flips.by_traffic(ranking, asked.demand, choice),
        by_price=None if choice is None else flips.by_price(choice, shown),
        not_told_apart=() if choice is None else not_told_apart(ranking, choice, checked),
        by_accuracy=() if choice is None else flips.by_accuracy(ranking, choice),
        following=None if choice is None else following(ranking, choice, asked),
        commitment=None if choice is None else committed(ranking, choice, asked),
        left_out=where.left_out,
        notes=(
            *plan_words.notes(run, plan, quote, asked, checked, today),
            *plan_words.about_noise(run, outcomes),
            *(() if others is None else others.notes()),
        ),
        power=power,
    )


def _quote(report: Report) -> Quote:
    """The price of the run's machine. Raises UsageError for a run that names none."""
    if report.quote is None:
        raise UsageError(
            f"run {report.run.id} names no machine, so nothing can be priced: `costopt choose` with a budget file that "
            "has `machine: {instance: aws/c7i.large}` names one, as does --machine aws/c7i.large here"
        )
    return report.quote


def _places(run: Run, plan: Plan, quote: Quote, book: Book, asked: Asked, others: Elsewhere | None) -> Places:
    """Where to look: the machines that are asked for, on spot too where that is."""
    where = places.places(run, plan, quote, book, asked.machines, others)
    return where if asked.spot is None else with_spot(where, plan, quote, book, asked.spot)


def _elsewhere(
    run: Run, outcomes: Sequence[Outcome], found: Sequence[Service], quote: Quote, folder: Path, asked: Asked
) -> Elsewhere | None:
    """What projections start from, where there is something to project: it takes reading all files."""
    if asked.machines is None and not asked.calibrations and may_be(quote.instance, run.machine.cpu):
        return None
    return paces.elsewhere(run, outcomes, found, folder, tuple(calibration.read(one) for one in asked.calibrations))


def _refuse_two_terms(plan: Plan, asked: Asked) -> None:
    """A term's discount is off the price on demand. Raises UsageError for a machine that is paid otherwise."""
    if asked.committed is None or plan.price is None:
        return
    terms = "owned" if plan.price.name == "owned" else plan.price.options.get("terms", "on_demand")
    if terms != "on_demand":
        words = "off which no discount for a term comes: remove `committed`"
        raise UsageError(f"committed: the machine of the run is paid for as {terms}, {words}")


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
        best_of.setdefault(row.place.name, row)
    wanted = {_pair(row) for row in (*ordered[:SHOWN], *list(best_of.values())[:MACHINES_SHOWN])}
    if original is not None:
        wanted.add(_pair(original))
    return tuple(row for row in ordered if _pair(row) in wanted)


def _pair(row: Row) -> tuple[str, str]:
    return row.service.id, row.place.name


# ---------------------------------------------------------------------------------------- what it brings


def compressing(
    choice: Row, original: Row | None, rows: Sequence[Row], asked: Asked, search: Search
) -> Compressing | None:
    """What a row brings against the original's best row; None where nothing but the original was measured."""
    if all(row.service.is_original for row in rows):
        return None
    if original is None or original.bill is None or choice.bill is None:
        words = "the original meets this on none of these machines, so compressing is what makes it possible"
        return Compressing(None, None, None, search, words)
    saved = original.bill.usd - choice.bill.usd
    if choice.service.is_original:
        return Compressing(original, 0.0, None, search, plan_words.saves_nothing(original, rows))
    even = bills.break_even(search.usd + asked.work_usd, saved, choice.bill.requests, asked.hours_per_month)
    share = units.percent(saved / original.bill.usd)
    against = f"against the original on {plan_words.fleet(original)}"
    if not bills.is_money(abs(saved)):
        told = f"compressing saves less than a cent a month {against}: keep that"
        return Compressing(original, saved, even, search, told)
    told = f"compressing saves {units.cents(saved)} a month ({share}) {against}"
    return Compressing(original, saved, even, search, f"{told}; {plan_words.earned_back(even, search, asked)}")
