"""`costopt compress`: the main job."""

import json
from pathlib import Path
from typing import Annotated

import typer

from costopt.commands import NOT_MET, Format, say_how_to_serve, show_report


def compress(
    model: Annotated[Path, typer.Argument(help="The model file: .pt2, TorchScript, .onnx, a state dict ...")],
    config: Annotated[Path, typer.Option("--config", "-c", help="The budget file (see `costopt init`).")],
    out: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("runs"),
    report_format: Annotated[Format, typer.Option("--format", "-f", help="How the report is printed.")] = Format.table,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="Override one key: --set budget.p95_ms=3 (repeatable).")
    ] = None,
    arch: Annotated[
        str | None, typer.Option(help="package.module:factory that builds the network of a state dict.")
    ] = None,
    arch_args: Annotated[str, typer.Option(help="Arguments of the factory as JSON: '{\"width\": 32}'.")] = "{}",
    trust_pickle: Annotated[
        bool, typer.Option(help="Unpickle whole modules. This runs code from the file: only for files of your own.")
    ] = False,
) -> None:
    """Compress a model, measure every candidate, and choose the cheapest that provably meets the budget."""
    from rich.console import Console

    from costopt import plan as plans
    from costopt.errors import Interrupted, UsageError
    from costopt.progress import Shown
    from costopt.records import ModelSource
    from costopt.search import compress as run

    plan = plans.read(config, tuple(overrides or ()))
    try:
        arguments = json.loads(arch_args)
    except json.JSONDecodeError as problem:
        raise UsageError(f"--arch-args: {arch_args!r} is not JSON ({problem}); write '{{\"width\": 32}}'") from problem
    if not isinstance(arguments, dict):
        raise UsageError(f"--arch-args: {arch_args!r} is not a JSON object; write '{{\"width\": 32}}'")
    source = ModelSource(str(model), arch, arguments, trust_pickle)
    try:
        with Shown(Console(stderr=True, quiet=quiet)) as watcher:
            report, journal = run(source, plan, out, watcher)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what was measured is kept: run the same command again to go on", 130) from None
    show_report(report, report_format)
    if not quiet:
        say_how_to_serve(journal.folder / "chosen")
        typer.echo(f"run: {journal.folder}", err=True)
    if report.verdict == "not_met":
        raise typer.Exit(NOT_MET)
