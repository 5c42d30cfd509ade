"""The whole of `costopt explain`: which candidate, and its lines in sections; for a run alone, or for a traffic."""

import datetime
from dataclasses import dataclass, replace

from costopt.errors import UsageError
from costopt.explaining import bill_lines, fleet_lines, model_lines, run_lines
from costopt.explaining.chosen import in_words, named
from costopt.explaining.lines import Label, Section, derived
from costopt.explaining.run_lines import Explained
from costopt.journal import Journal
from costopt.judging.choose import judge
from costopt.judging.objectives import known
from costopt.planning import answer, places, plan_words
from costopt.planning.answer import Compressing, Planned
from costopt.planning.ranking import Row as Pair
from costopt.planning.traffic_file import Asked
from costopt.pricing.book import Book
from costopt.records import Candidate, Outcome, Plan, Run, Spec
from costopt.verdict import Quote, Report, Row


@dataclass(frozen=True, slots=True)
class Explanation:
    """Lines in sections. `met` is whether anything meets the budget; if nothing does, the nearest is explained.

    `candidate` is None where there is none to explain, `machine` empty where it has no name.
    """

    run: Run
    candidate: Candidate | None
    machine: str
    met: bool
    headline: str
    sections: tuple[Section, ...]
    notes: tuple[str, ...]


def of_run(
    run: Run,
    plan: Plan,
    outcomes: tuple[Outcome, ...],
    kept: Quote | None,
    book: Book,
    today: datetime.date,
    name: str | None = None,
) -> Explanation:
    """What a million inferences cost with the winner, or with the candidate of that `name`.

    Raises UsageError for a run without a machine or without its original, and for a candidate that can't be explained.
    """
    report = judge(run, outcomes, plan, today, kept)
    original, row = _original(report), _row(report, name)
    quote = _quote(report)
    about = Explained(report, row, original, quote, plan, _label(run, plan, quote, book))
    sections = [*run_lines.sections(about)]
    if row is not original:
        sections.append(model_lines.compression(about))
    spent = 0.0 if not row.candidate.recipe else about.search.usd
    words = model_lines.LEFT_ALONE if not row.candidate.recipe else "machine time of the run, once"
    compute = known(known(row.usd).saturated)
    sections.append(model_lines.total(compute, spent, about.label, "the first million inferences, saturated", words))
    as_asked = name is None or row.candidate.id == report.winner
    told = report.headline if as_asked else f"{in_words(row.candidate)}: {row.lost}"
    return Explanation(
        run, row.candidate, quote.instance, report.winner is not None, told, _filled_ones(sections), report.notes
    )


def _quote(report: Report) -> Quote:
    if report.quote is None:
        raise UsageError(
            f"run {report.run.id} names no machine, so there is no bill to explain: add --machine aws/c7i.large "
            "(`costopt prices list` shows all)"
        )
    return report.quote


def _original(report: Report) -> Row:
    row = report.row(report.run.baseline)
    if row.status != "measured":
        raise UsageError(f"run {report.run.id}: the original was not measured, so there is nothing to explain")
    return row


def _row(report: Report, name: str | None) -> Row:
    """The one that is named, else the winner, else the nearest to the budget."""
    if name is None:
        return report.row(report.winner or report.nearest[0])
    row = report.row(named(name, report.run.candidates).id)
    if row.status != "measured":
        raise UsageError(f"--candidate {name}: {in_words(row.candidate)} was not measured ({row.status}: {row.lost})")
    return row


def _label(run: Run, plan: Plan, quote: Quote, book: Book) -> Label:
    """Whether times were measured on the machine that is priced; of one that can't be placed they are projected."""
    found = places.places(run, plan, quote, book, (quote.instance,) if quote.instance else None).found
    return found[0].label if found else "projected"


# ---------------------------------------------------------------------------------------- for a traffic


def of_journal(
    journal: Journal, price: Spec | None, asked: Asked | None, book: Book, today: datetime.date, name: str | None = None
) -> Explanation:
    """The same for a run's folder, at another price if one is given; for a traffic where one is asked for."""
    if asked is not None:
        return of_plan(answer.of_journal(journal, asked, book, today), name)
    plan = journal.plan() if price is None else replace(journal.plan(), price=price)
    return of_run(journal.run(), plan, journal.outcomes(), journal.quote(plan), book, today, name)


def of_plan(planned: Planned, name: str | None = None) -> Explanation:
    """What a month of the traffic costs with the choice, or with the candidate of that `name` where it is cheapest.

    Raises UsageError for a candidate that the plan does not have.
    """
    asked, met = planned.asked, planned.choice is not None
    traffic = fleet_lines.demand(asked)
    if not planned.rows:
        return Explanation(planned.run, None, planned.quote.instance, met, planned.headline, (traffic,), planned.notes)
    row = _pair(planned, name)
    sections = [traffic, fleet_lines.calls(row, asked), fleet_lines.fleet(row, asked)]
    sections += [bill_lines.month(row, asked, "A month's bill"), bill_lines.million(row)]
    found = _compressing(planned, row)
    if found is not None and found.original is not None and not row.service.is_original:
        sections += [_beside(found.original, asked), bill_lines.saving(row, found, asked)]
    sections += _models(row, found, asked)
    return Explanation(
        planned.run,
        row.service.candidate,
        row.place.name,
        met,
        planned.headline if name is None else _told(row, asked),
        _filled_ones(sections),
        (*planned.notes, *((found.words,) if found is not None else ())),
    )


def _pair(planned: Planned, name: str | None) -> Pair:
    """The choice; the nearest where nothing meets; or the cheapest pair of a candidate that is named."""
    if name is None:
        return planned.choice or planned.ranking.check(plan_words.nearest_of(planned.rows))
    candidate = named(name, planned.run.candidates)
    own = [row for row in planned.rows if row.service.candidate.id == candidate.id]
    if not own:
        raise UsageError(f"--candidate {name}: {in_words(candidate)} was not measured")
    return planned.ranking.best(own) or planned.ranking.check(own[0])


def _compressing(planned: Planned, row: Pair) -> Compressing | None:
    """What a row brings; what the plan itself says where the row is its choice."""
    found = planned.compressing
    if found is None or row.bill is None or row is planned.choice:
        return found
    return answer.compressing(row, found.original, planned.rows, planned.asked, found.search)


def _beside(original: Pair, asked: Asked) -> Section:
    """The original's bill on its own best machine, in short."""
    title = f"The original's: {plan_words.fleet(original)}"
    return Section(title, (fleet_lines.calls(original, asked).lines[0], *bill_lines.month(original, asked, "").lines))


def _models(row: Pair, found: Compressing | None, asked: Asked) -> list[Section]:
    if row.bill is None:
        return []
    spent = 0.0 if found is None or row.service.is_original else found.search.usd + asked.work_usd
    words = model_lines.LEFT_ALONE if row.service.is_original else "spent on compressing, once"
    label = derived(row.place.label)
    sections = [model_lines.total(row.bill.usd, spent, label, "the first month", words)]
    sections.append(model_lines.efficiency(row, asked))
    if asked.egress is not None:
        sections.append(model_lines.distribution(row, row.bill, asked.egress, asked))
    return sections


def _told(row: Pair, asked: Asked) -> str:
    if row.verdict == "meets":
        return plan_words.met(row, asked)
    return f"{row.service.name} on {row.place.name}: {row.verdict}: {row.words}"


def _filled_ones(sections: list[Section]) -> tuple[Section, ...]:
    return tuple(section for section in sections if section.lines)
