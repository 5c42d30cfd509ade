"""`costopt sensitivity`: which layer costs what, in time, in size and in accuracy."""

from pathlib import Path
from typing import Annotated

import typer

from costopt.commands import (
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
    show_report,
)


def sensitivity(
    model: ModelFile,
    config: Config,
    samples: Annotated[int, typer.Option(min=2, help="Evaluation samples for the change of the metric.")] = 500,
    out: Out = Path("runs"),
    report_format: Annotated[Format, typer.Option("--format", "-f", help="How the report is printed.")] = Format.table,
    quiet: Quiet = False,
    overrides: Overrides = None,
    arch: Arch = None,
    arch_args: ArchArgs = "{}",
    trust_pickle: TrustPickle = False,
) -> None:
    """Show what each layer costs: its time in float32 and int8, its size, and the accuracy lost when it alone is
    int8."""
    from rich.console import Console

    from costopt import plan as plans
    from costopt import search
    from costopt.errors import Interrupted
    from costopt.progress import Shown

    plan = plans.read(config, tuple(overrides or ()))
    source = model_source(model, arch, arch_args, trust_pickle)
    try:
        with Shown(Console(stderr=True, quiet=quiet)):
            report = search.sensitivity(source, plan, out, samples)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing was written", 130) from None
    show_report(report, report_format)
