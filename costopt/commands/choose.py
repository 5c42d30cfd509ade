"""`costopt choose`: judge a run's stored facts by another budget or another price; nothing is measured again."""

import datetime
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costopt.commands import NOT_MET, Format, show_report
from costopt.errors import UsageError
from costopt.records import Candidate, Plan, Run

if TYPE_CHECKING:
    from costopt.verdict import Quote


def choose(
    run: Annotated[str, typer.Argument(help="The run's folder, or the start of its name.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The other budget file.")],
    report_format: Annotated[Format, typer.Option("--format", "-f", help="How the report is printed.")] = Format.table,
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override one key: --set budget.p95_ms=3 (repeatable).")
    ] = None,
) -> None:
    """Judge a finished run by another budget or price, in under a second, and lay the chosen file ready."""
    from costopt import plan as plans
    from costopt.deliver import deliver
    from costopt.journal import Journal
    from costopt.judging.choose import judge

    journal = Journal.find(run, out)
    facts, asked = journal.run(), plans.read(config, tuple(overrides or ()), data_must_exist=False)
    # Asked for labels that are not there, the run fell back on agreement: the same plan finds the same metric.
    if asked.metric not in (journal.plan().metric, facts.metric):
        raise UsageError(
            f"{config}: metric: the run was scored with '{facts.metric}', not '{asked.metric}'; "
            "another metric needs the model: run `costopt compress` with this budget file"
        )
    _refuse_unmeasured(asked, facts, config)
    kept = tuple(one for one in facts.candidates if one.id == facts.baseline or _asked_for(one, asked))
    wanted = replace(facts, candidates=kept)
    report = judge(wanted, journal.outcomes(), asked, datetime.date.today())
    if words := _new_price(journal.quote(journal.plan()), report.quote):
        report = replace(report, notes=(*report.notes, words))
    with journal.held():
        journal.write_plan(asked)
        journal.write_quote(asked, report.quote)
        deliver(report, journal)
    show_report(report, report_format)
    if report.verdict == "not_met":
        raise typer.Exit(NOT_MET)


def _new_price(before: "Quote | None", now: "Quote | None") -> str | None:
    """That the same machine costs something else than when the run was last judged."""
    from costopt import units

    if before is None or now is None or before.instance != now.instance or before.usd_per_hour == now.usd_per_hour:
        return None
    then, today = (f"{units.usd(one.usd_per_hour)} ({one.as_of or one.source})" for one in (before, now))
    return (
        f"the price of {now.instance or 'the machine'} has changed since this run was last judged: {then}, now {today}"
    )


def _asked_for(candidate: Candidate, asked: Plan) -> bool:
    """Whether a plan would try a candidate; what it leaves out (None, or nothing) it leaves open."""
    return (
        candidate.batch in asked.batch
        and (not asked.threads or candidate.threads in asked.threads)
        and (asked.providers is None or _provider_of(candidate) in map(str, asked.providers))
        and (asked.recipes is None or not candidate.recipe or candidate.recipe in asked.recipes)
    )


def _provider_of(candidate: Candidate) -> str:
    """The provider with its options, in words."""
    return str(candidate.setting.provider)


def _refuse_unmeasured(asked: Plan, facts: Run, config: Path) -> None:
    """Judging can't make up for measuring: what the run never tried is named. Raises UsageError."""
    tried = facts.candidates
    recipes = {" + ".join(str(spec) for spec in recipe) or "original" for recipe in asked.recipes or ()}
    absent = {
        "batch": {str(one) for one in asked.batch} - {str(one.batch) for one in tried},
        "threads": {str(one) for one in asked.threads} - {str(one.threads) for one in tried},
        "providers": {str(one) for one in asked.providers or ()} - {_provider_of(one) for one in tried},
        "recipes": recipes - {one.label for one in tried},
    }
    words = [f"{key} {', '.join(sorted(values))}" for key, values in absent.items() if values]
    if words:
        raise UsageError(
            f"{config}: this run never tried {'; '.join(words)}; run `costopt compress` with this budget file"
        )
