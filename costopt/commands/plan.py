"""`costopt plan`: where to run a measured model, on how many machines, and what that costs a month."""

import datetime
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costopt.commands import NOT_MET, Out, print_text, width_and_colour

if TYPE_CHECKING:
    from costopt.planning.answer import Planned


class PlanForm(StrEnum):
    """How a plan is printed."""

    table = "table"
    json = "json"
    markdown = "markdown"


def plan(
    run: Annotated[str, typer.Argument(help="The folder of a finished `costopt compress`, or the start of its name.")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The traffic file: rate, promise, machines.")],
    form: Annotated[PlanForm, typer.Option("--format", "-f", help="How the plan is printed.")] = PlanForm.table,
    out: Out = Path("runs"),
    calibrations: Annotated[
        list[Path] | None,
        typer.Option("--calibration", help="A file of `costopt calibrate` from another machine (repeatable)."),
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override one key: --set requests_per_second=80 (repeatable).")
    ] = None,
) -> None:
    """Rank machines and candidates of a finished run for a traffic: whole instances, a monthly bill, what it saves."""
    from costopt.journal import Journal
    from costopt.planning import traffic_file
    from costopt.planning.answer import planned
    from costopt.pricing import book

    prices = book.current()
    asked = traffic_file.read(config, prices, tuple(overrides or ()))
    asked = replace(asked, calibrations=(*asked.calibrations, *(calibrations or ())))
    journal = Journal.find(run, out)
    budget = journal.plan()
    kept, today = journal.quote(budget), datetime.date.today()
    found = planned(journal.run(), budget, journal.outcomes(), kept, asked, prices, today, journal.folder)
    print_text(_written(found, form))
    if found.choice is None:
        raise typer.Exit(NOT_MET)


def _written(found: "Planned", form: PlanForm) -> str:
    from costopt.planning import plan_facts, plan_sheet
    from costopt.reports import markdown, table

    match form:
        case PlanForm.json:
            return plan_facts.written(found)
        case PlanForm.markdown:
            return markdown.written(plan_sheet.sheet(found))
        case PlanForm.table:
            return table.written(plan_sheet.sheet(found), *width_and_colour())
