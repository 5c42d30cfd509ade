"""`costopt compress`: the main job."""

from pathlib import Path
from typing import Annotated

import typer

from costopt.commands import (
    NOT_MET,
    Arch,
    ArchArgs,
    Config,
    Format,
    ModelFile,
    Out,
    Overrides,
    Quiet,
    TrustPickle,
    model_source,
    say_how_to_serve,
    show_report,
)


def compress(
    model: ModelFile,
    config: Config,
    out: Out = Path("runs"),
    report_format: Annotated[Format, typer.Option("--format", "-f", help="How the report is printed.")] = Format.table,
    quiet: Quiet = False,
    overrides: Overrides = None,
    student: Annotated[
        str | None, typer.Option(help="package.module:factory of a network that may learn from the original.")
    ] = None,
    arch: Arch = None,
    arch_args: ArchArgs = "{}",
    trust_pickle: TrustPickle = False,
) -> None:
    """Compress a model, measure every candidate, and choose the cheapest that provably meets the budget."""
    from rich.console import Console

    from costopt import plan as plans
    from costopt.errors import Interrupted
    from costopt.progress import Shown
    from costopt.search import compress as run

    plan = plans.read(config, (*(overrides or ()), *([f"student={student}"] if student else [])))
    source = model_source(model, arch, arch_args, trust_pickle)
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
