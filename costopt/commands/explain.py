"""`costopt explain`: the bill line by line, each formula filled in."""

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costopt.commands import NOT_MET, Out, print_text, width_and_colour
from costopt.commands.plan import PlanForm
from costopt.errors import UsageError

if TYPE_CHECKING:
    from costopt.explaining.explanation import Explanation


def explain(
    run: Annotated[str, typer.Argument(help="The run's folder, or the start of its name.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="A traffic file: then the bill is that of `costopt plan`.")
    ] = None,
    candidate: Annotated[
        str | None, typer.Option(help="Its label or id, in place of the one that was chosen: int8_static.")
    ] = None,
    machine: Annotated[
        str | None, typer.Option("--machine", help="Another machine than the run's: aws/c7i.large.")
    ] = None,
    form: Annotated[PlanForm, typer.Option("--format", "-f", help="How it is printed.")] = PlanForm.table,
    out: Out = Path("runs"),
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a key of the traffic file: --set p99_ms=20 (repeatable)."),
    ] = None,
) -> None:
    """The bill of a finished run, line by line: each formula filled in, with where each figure comes from."""
    from costopt.explaining import explanation
    from costopt.journal import Journal
    from costopt.planning import traffic_file
    from costopt.pricing import book
    from costopt.records import Spec

    if config is None and overrides:
        raise UsageError("--set overrides keys of a traffic file, and none is given: add --config traffic.yaml")
    prices = book.current()
    named = () if machine is None else (f"machine.instance={machine}",)
    asked = None if config is None else traffic_file.read(config, prices, (*(overrides or ()), *named))
    price = None if machine is None else Spec("table", {"instance": machine})
    journal = Journal.find(run, out)
    found = explanation.of_journal(journal, price, asked, prices, datetime.date.today(), candidate)
    print_text(_written(found, form))
    if not found.met:
        raise typer.Exit(NOT_MET)


def _written(found: "Explanation", form: PlanForm) -> str:
    from costopt.explaining import explain_facts, explain_sheet
    from costopt.reports import markdown, table

    match form:
        case PlanForm.json:
            return explain_facts.written(found)
        case PlanForm.markdown:
            return markdown.written(explain_sheet.sheet(found))
        case PlanForm.table:
            return table.written(explain_sheet.sheet(found), *width_and_colour())
