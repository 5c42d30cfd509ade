"""`costopt plan`: where to run a model, on how many machines, and what that costs a month.

One function a way of asking: `_of_run` for a finished run, `_of_model` for a model file that is measured here first.
Each gives a run's folder; the rest is the same.
"""

import datetime
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costopt.commands import NOT_MET, Out, Quiet, print_text, width_and_colour
from costopt.errors import UsageError

if TYPE_CHECKING:
    from costopt.alone import Alone
    from costopt.journal import Journal
    from costopt.planning.answer import Planned
    from costopt.planning.traffic_file import Asked


class PlanForm(StrEnum):
    """How a plan is printed."""

    table = "table"
    json = "json"
    markdown = "markdown"


RunName = Annotated[
    str | None, typer.Argument(help="The folder of a finished `costopt compress`, or the start of its name.")
]
TrafficConfig = Annotated[Path, typer.Option("--config", "-c", help="The traffic file: rate, promise, machines.")]
Form = Annotated[PlanForm, typer.Option("--format", "-f", help="How the plan is printed.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override one key: --set requests_per_second=80 (repeatable).")
]
MachineName = Annotated[
    str | None,
    typer.Option("--machine", help="What the measured machine is rented as: aws/c7i.large (--set machine.instance=)."),
]
Model = Annotated[Path | None, typer.Option("--model", help="A model file, in place of a run; with --measure.")]
Measure = Annotated[bool, typer.Option("--measure", help="Time the model of --model here first, one request a call.")]
Providers = Annotated[
    list[str] | None, typer.Option("--provider", "-p", help="With --measure: cpu, openvino ... Else: all found here.")
]
Inputs = Annotated[
    str | None,
    typer.Option("--inputs", "-i", help="With --measure: a data file, or module:function. Else: random, and labelled."),
]
Dimensions = Annotated[
    list[str] | None, typer.Option("--dim", help="With --measure: length of an axis of random inputs: sequence=128.")
]
TimeLimit = Annotated[
    str | None, typer.Option(help="With --measure: for all providers together: 90s, 3m, 1h. Else: 2m30s.")
]


@dataclass(frozen=True, slots=True)
class How:
    """How --measure measures, in the words of the command line; what was not given is None or empty."""

    providers: tuple[str, ...] = ()
    inputs: str | None = None
    dimensions: tuple[str, ...] = ()
    time_limit: str | None = None


def plan(
    config: TrafficConfig,
    run: RunName = None,
    model: Model = None,
    measure: Measure = False,
    machine: MachineName = None,
    provider: Providers = None,
    inputs: Inputs = None,
    dim: Dimensions = None,
    time_limit: TimeLimit = None,
    form: Form = PlanForm.table,
    out: Out = Path("runs"),
    overrides: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Rank machines and candidates of a finished run for a traffic: whole instances, a monthly bill, what it saves.

    Or of a model that is measured here first: --model model.onnx --measure.
    """
    from costopt.planning import answer, traffic_file
    from costopt.pricing import book

    how = How(tuple(provider or ()), inputs, tuple(dim or ()), time_limit)
    _refuse_two_ways(run, model, measure, how)
    prices = book.current()
    named = () if machine is None else (f"machine.instance={machine}",)
    asked = traffic_file.read(config, prices, (*(overrides or ()), *named))
    journal = _of_run(str(run), out) if model is None else _of_model(model, asked, how, out, quiet)
    found = answer.of_journal(journal, asked, prices, datetime.date.today())
    print_text(_written(found, form))
    if found.choice is None:
        raise typer.Exit(NOT_MET)


def _refuse_two_ways(run: str | None, model: Path | None, measure: bool, how: How) -> None:
    """One thing to plan with, said in one way. Raises UsageError."""
    if run is not None and model is not None:
        raise UsageError(f"both a run ('{run}') and --model {model} were given: plan with one of the two")
    if run is None and model is None:
        raise UsageError("nothing to plan with: give a run, or --model model.onnx --measure")
    if run is not None and measure:
        raise UsageError(f"--measure is for --model: the run '{run}' was measured already; leave one of the two out")
    if model is not None and not measure:
        raise UsageError(
            f"--model {model}: how fast it is was never measured; add --measure to time it here first, or plan with "
            "the run of a `costopt compress`"
        )
    if how != How() and not measure:
        raise UsageError("--provider, --inputs, --dim and --time-limit say how --measure measures: leave them out")


# ---------------------------------------------------------------------------------------- ways of asking


def _of_run(name: str, out: Path) -> "Journal":
    from costopt.journal import Journal

    return Journal.find(name, out)


def _of_model(model: Path, asked: "Asked", how: How, out: Path, quiet: bool) -> "Journal":
    """Measure it first. Raises UsageError where the price is not known: that is said before minutes of work."""
    from costopt.alone import TIME_LIMIT_S, Alone
    from costopt.benching import asked as words

    if asked.price is None:
        raise UsageError(
            f"--model {model}: what its machine costs is not said: add --machine aws/c7i.large, or "
            "`machine: {instance: aws/c7i.large}` to the traffic file (`costopt prices list` shows all)"
        )
    alone = Alone(
        str(model),
        asked.price,
        words.providers(how.providers),
        words.inputs(how.inputs),
        words.dimensions(how.dimensions),
        TIME_LIMIT_S if how.time_limit is None else words.time_limit_s(how.time_limit),
    )
    journal = _measured(alone, out, quiet)
    if not quiet:
        typer.echo(f"run: {journal.folder}", err=True)
    return journal


def _measured(alone: "Alone", out: Path, quiet: bool) -> "Journal":
    from rich.console import Console

    from costopt.alone import measure
    from costopt.errors import Interrupted
    from costopt.progress import Shown

    try:
        with Shown(Console(stderr=True, quiet=quiet)) as watcher:
            return measure(alone, out, watcher)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what was measured is kept: run the same command again to go on", 130) from None


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
