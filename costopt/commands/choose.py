"""`costopt choose`: judge a run's stored facts by another budget or another price; nothing is measured again."""

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from costopt.commands import NOT_MET, Format, show_report


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
    from costopt.choose import judge
    from costopt.deliver import deliver
    from costopt.errors import UsageError
    from costopt.journal import Journal

    journal = Journal.find(run, out)
    facts, asked = journal.run(), plans.read(config, tuple(overrides or ()), data_must_exist=False)
    # Asked for labels that are not there, the run fell back on agreement: the same plan finds the same metric.
    if asked.metric not in (journal.plan().metric, facts.metric):
        raise UsageError(
            f"{config}: metric: the run was scored with '{facts.metric}', not '{asked.metric}'; "
            "another metric needs the model: run `costopt compress` with this budget file"
        )
    wanted = replace(
        facts,
        candidates=tuple(
            one
            for one in facts.candidates
            if (one.batch in asked.batch and (asked.providers is None or one.provider in asked.providers))
            or one.id == facts.baseline
        ),
    )
    report = judge(wanted, journal.outcomes(), asked, datetime.date.today())
    with journal.held():
        journal.write_plan(asked)
        deliver(report, journal)
    show_report(report, report_format)
    if report.verdict == "not_met":
        raise typer.Exit(NOT_MET)
