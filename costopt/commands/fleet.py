"""`costopt fleet`: which machines several models should share, what stands on each, and what that costs a month."""

import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costopt.commands import NOT_MET, print_text, width_and_colour

if TYPE_CHECKING:
    from costopt.scheduling.fleet_records import Packed


class FleetForm(StrEnum):
    """How a fleet is printed."""

    table = "table"
    json = "json"
    markdown = "markdown"


def fleet(
    config: Annotated[Path, typer.Argument(help="The fleet file: models, their traffic and promises, machines.")],
    form: Annotated[FleetForm, typer.Option("--format", "-f", help="How the fleet is printed.")] = FleetForm.table,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override one key: --set budget.usd_per_month=300 (repeatable).")
    ] = None,
) -> None:
    """Pack several models onto shared machines at the least monthly cost: an integer program, with its bound."""
    from costopt.pricing import book
    from costopt.scheduling import fleet_file
    from costopt.scheduling.fleet_answer import packed

    prices = book.current()
    asked = fleet_file.read(config, prices, tuple(overrides or ()))
    found = packed(asked, prices, datetime.date.today())
    print_text(_written(found, form))
    if found.verdict == "not_met":
        raise typer.Exit(NOT_MET)


def _written(found: "Packed", form: FleetForm) -> str:
    from costopt.reports import markdown, table
    from costopt.scheduling import fleet_facts, fleet_sheet

    match form:
        case FleetForm.json:
            return fleet_facts.written(found)
        case FleetForm.markdown:
            return markdown.written(fleet_sheet.sheet(found))
        case FleetForm.table:
            return table.written(fleet_sheet.sheet(found), *width_and_colour())
