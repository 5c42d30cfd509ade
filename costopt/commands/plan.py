"""`costopt plan`: where to run a measured model, on how many machines, and what that costs a month."""

import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costopt.commands import NOT_MET, Out, paper_flags, print_text, width_and_colour
from costopt.errors import UsageError

if TYPE_CHECKING:
    from costopt.distributing.paper import Paper
    from costopt.distributing.paper_options import Options
    from costopt.planning.answer import Planned


class PlanForm(StrEnum):
    """How a plan is printed."""

    table = "table"
    json = "json"
    markdown = "markdown"


def plan(
    run: Annotated[
        str | None, typer.Argument(help="The folder of a finished `costopt compress`, or the start of its name.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The traffic file: rate, promise, machines.")
    ] = None,
    form: Annotated[PlanForm, typer.Option("--format", "-f", help="How the plan is printed.")] = PlanForm.table,
    out: Out = Path("runs"),
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override one key: --set requests_per_second=80 (repeatable).")
    ] = None,
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

    Or of a model that is not here, on paper: --arch llama --params 70e9 --rate 3.
    """
    from costopt.distributing.paper_options import Options

    shape = (params, layers, hidden, heads, kv_heads, bits, kv_bits, context, prompt_tokens, answer_tokens)
    asked = Options(arch or "", *shape, tokens, flops, rate, ttft_ms, tpot_ms, p99_ms)
    if arch is not None and training:
        _training(asked, batch_tokens, waiting_usd_per_hour, form)
        return
    if training or batch_tokens is not None or waiting_usd_per_hour:
        raise UsageError("--training, --batch-tokens and --waiting-usd-per-hour go together, with --arch")
    if arch is not None:
        _on_paper(run, asked, config, tuple(overrides or ()), form)
        return
    if asked != Options(""):
        raise UsageError(
            "--params, --rate and their like describe a model on paper: add --arch llama, or leave them out"
        )
    if run is None or config is None:
        raise UsageError("plan needs a RUN and --config traffic.yaml; or --arch for a model that is not here")
    _of_run(run, config, form, out, tuple(overrides or ()))


def _of_run(run: str, config: Path, form: PlanForm, out: Path, overrides: tuple[str, ...]) -> None:
    from costopt.journal import Journal
    from costopt.planning import traffic_file
    from costopt.planning.answer import planned
    from costopt.pricing import book

    prices = book.current()
    asked = traffic_file.read(config, prices, overrides)
    journal = Journal.find(run, out)
    budget = journal.plan()
    found = planned(
        journal.run(), budget, journal.outcomes(), journal.quote(budget), asked, prices, datetime.date.today()
    )
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


# ---------------------------------------------------------------------------------------- a model that is not here


def _on_paper(
    run: str | None, options: "Options", config: Path | None, overrides: tuple[str, ...], form: PlanForm
) -> None:
    from costopt.distributing.on_paper import on_paper
    from costopt.pricing import book

    if run is not None:
        raise UsageError(f"both a run ('{run}') and --arch {options.arch} were given: plan with one of the two")
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
