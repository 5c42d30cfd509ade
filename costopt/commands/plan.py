"""`costopt plan`: where to run a model, on how many machines, and what that costs a month.

One function a way of asking: `_of_run` for a finished run, `_of_model` for a model file that is measured here first.
Each gives a run's folder; the rest is the same.
"""

import datetime
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costopt.commands import NOT_MET, Out, Quiet, paper_flags, print_text, width_and_colour
from costopt.errors import UsageError

if TYPE_CHECKING:
    from costopt.alone import Alone
    from costopt.distributing.paper import Paper
    from costopt.distributing.paper_options import Options
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
TrafficConfig = Annotated[
    Path | None, typer.Option("--config", "-c", help="The traffic file: rate, promise, machines.")
]
Form = Annotated[PlanForm, typer.Option("--format", "-f", help="How the plan is printed.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override one key: --set requests_per_second=80 (repeatable).")
]
MachineName = Annotated[
    str | None,
    typer.Option("--machine", help="What the measured machine is rented as: aws/c7i.large (--set machine.instance=)."),
]
Calibrations = Annotated[
    list[Path] | None,
    typer.Option(
        "--calibration", help="A file of `costopt calibrate`, from another machine or from here (repeatable)."
    ),
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
    run: RunName = None,
    config: TrafficConfig = None,
    machine: MachineName = None,
    calibration: Calibrations = None,
    form: Form = PlanForm.table,
    out: Out = Path("runs"),
    overrides: Overrides = None,
    quiet: Quiet = False,
    model: Model = None,
    measure: Measure = False,
    provider: Providers = None,
    inputs: Inputs = None,
    dim: Dimensions = None,
    time_limit: TimeLimit = None,
    arch: paper_flags.Arch = None,
    params: paper_flags.Params = None,
    layers: paper_flags.Layers = None,
    hidden: paper_flags.Hidden = None,
    heads: paper_flags.Heads = None,
    kv_heads: paper_flags.KvHeads = None,
    bits: paper_flags.Bits = 16,
    kv_bits: paper_flags.KvBits = 16,
    context: paper_flags.Context = None,
    prompt_tokens: paper_flags.PromptTokens = None,
    answer_tokens: paper_flags.AnswerTokens = None,
    tokens: paper_flags.Tokens = None,
    flops: paper_flags.Flops = None,
    rate: paper_flags.Rate = None,
    ttft_ms: paper_flags.TtftMs = None,
    tpot_ms: paper_flags.TpotMs = None,
    p99_ms: paper_flags.P99Ms = None,
    training: paper_flags.Training = False,
    batch_tokens: paper_flags.BatchTokens = None,
    waiting_usd_per_hour: paper_flags.WaitingUsd = 0.0,
) -> None:
    """Rank machines and candidates of a finished run for a traffic: whole instances, a monthly bill, what it saves.

    Or of a model that is measured here first (--model model.onnx --measure), or on paper (--arch llama --params 70e9).
    """
    from costopt.distributing.paper_options import Options

    how = How(tuple(provider or ()), inputs, tuple(dim or ()), time_limit)
    shape = (params, layers, hidden, heads, kv_heads, bits, kv_bits, context, prompt_tokens, answer_tokens)
    paper = Options(arch or "", *shape, tokens, flops, rate, ttft_ms, tpot_ms, p99_ms)
    settings = (*(overrides or ()), *(() if machine is None else (f"machine.instance={machine}",)))
    _refuse_half_a_training(arch, training, batch_tokens, waiting_usd_per_hour)
    if arch is not None:
        _refuse_beside_paper(arch, run, model, measure or bool(calibration) or how != How())
        if training:
            _refuse_traffic(config, settings)
            _training(paper, batch_tokens, waiting_usd_per_hour, form)
        else:
            _on_paper(paper, config, settings, form)
        return
    if paper != Options(""):
        raise UsageError("--params, --rate and the like describe a model on paper: add --arch llama, or leave them out")
    _refuse_two_ways(run, model, measure, how)
    if config is None:
        raise UsageError("the traffic is not said: add --config traffic.yaml")
    _of_measured(run, model, config, settings, tuple(calibration or ()), how, out, form, quiet)


def _of_measured(
    run: str | None,
    model: Path | None,
    config: Path,
    settings: tuple[str, ...],
    calibrations: tuple[Path, ...],
    how: How,
    out: Path,
    form: PlanForm,
    quiet: bool,
) -> None:
    """A finished run, or one that is made now of a model alone."""
    from costopt.planning import answer, traffic_file
    from costopt.pricing import book

    prices = book.current()
    asked = traffic_file.read(config, prices, settings)
    asked = replace(asked, calibrations=(*asked.calibrations, *calibrations))
    journal = _of_run(str(run), out) if model is None else _of_model(model, asked, how, out, quiet)
    found = answer.of_journal(journal, asked, prices, datetime.date.today())
    print_text(_written(found, form))
    if found.choice is None:
        raise typer.Exit(NOT_MET)


def _refuse_half_a_training(arch: str | None, training: bool, batch_tokens: float | None, waiting: float) -> None:
    """Raises UsageError where an option of a training stands without the others."""
    whole = training and arch is not None
    if not whole and (training or batch_tokens is not None or waiting != 0):
        raise UsageError("--training, --batch-tokens and --waiting-usd-per-hour go together, with --arch")


def _refuse_traffic(config: Path | None, settings: tuple[str, ...]) -> None:
    """Raises UsageError where a training is given a traffic, which it would leave out in silence."""
    if config is not None or settings:
        raise UsageError("--training serves no traffic: leave --config, --set and --machine out")


def _refuse_beside_paper(arch: str, run: str | None, model: Path | None, measured: bool) -> None:
    """Raises UsageError where something else to plan with stands beside --arch."""
    other = f"a run ('{run}')" if run is not None else "--model" if model is not None else None
    if other is not None:
        raise UsageError(f"both {other} and --arch {arch} were given: plan with one of the two")
    if measured:
        raise UsageError(
            f"--arch {arch} is planned on paper: leave --measure, what belongs to it and --calibration out"
        )


def _refuse_two_ways(run: str | None, model: Path | None, measure: bool, how: How) -> None:
    """One thing to plan with, said in one way. Raises UsageError."""
    if run is not None and model is not None:
        raise UsageError(f"both a run ('{run}') and --model {model} were given: plan with one of the two")
    if run is None and model is None:
        raise UsageError(
            "nothing to plan with: give a run, --model model.onnx --measure, or --arch for a model that is not here"
        )
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


# ---------------------------------------------------------------------------------------- a model that is not here


def _on_paper(options: "Options", config: Path | None, overrides: tuple[str, ...], form: PlanForm) -> None:
    from costopt.distributing.on_paper import on_paper
    from costopt.pricing import book

    found = on_paper(options, config, overrides, book.current())
    print_text(_written_paper(found, form, datetime.date.today()))
    if found.choice is None:
        raise typer.Exit(NOT_MET)


def _written_paper(found: "Paper", form: PlanForm, today: datetime.date) -> str:
    from costopt.distributing import paper_facts, paper_sheet
    from costopt.reports import markdown, table

    match form:
        case PlanForm.json:
            return paper_facts.written(found, today)
        case PlanForm.markdown:
            return markdown.written(paper_sheet.sheet(found, today))
        case PlanForm.table:
            return table.written(paper_sheet.sheet(found, today), *width_and_colour())


def _training(options: "Options", batch_tokens: float | None, waiting_usd_per_hour: float, form: PlanForm) -> None:
    from costopt.distributing import paper_asked, training_sheet
    from costopt.distributing.on_paper import training_on_paper
    from costopt.pricing import book
    from costopt.reports import markdown, table

    asked = paper_asked.training(options, batch_tokens, waiting_usd_per_hour)
    rows = training_on_paper(asked, book.current())
    match form:
        case PlanForm.json:
            print_text(training_sheet.written(asked, rows))
        case PlanForm.markdown:
            print_text(markdown.written(training_sheet.sheet(asked, rows)))
        case PlanForm.table:
            print_text(table.written(training_sheet.sheet(asked, rows), *width_and_colour()))
    if all(row.step is None for row in rows):
        raise typer.Exit(NOT_MET)
