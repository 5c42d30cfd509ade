"""`costopt bench`: which of these is faster, by how much, and how sure is that?"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costopt.commands import NOT_MET, Format, say_how_to_serve, show_report

if TYPE_CHECKING:
    from costopt.benching.measurements import BenchPlan, BenchReport
    from costopt.journal import BenchJournal

Models = Annotated[list[Path], typer.Argument(help="Model files; all are held against the first.")]
Scenario = Annotated[str, typer.Option("--scenario", "-s", help="single_stream, multi_stream, offline or server.")]
Providers = Annotated[
    list[str] | None,
    typer.Option("--provider", "-p", help="cpu, openvino:inference_precision=f32 (repeatable). Else: all here."),
]
Batch = Annotated[str, typer.Option("--batch", "-b", help="Batch sizes: 1,8,32.")]
Threads = Annotated[str | None, typer.Option("--threads", "-t", help="Thread counts: 1,2. Else: all cores.")]
Inputs = Annotated[
    str | None, typer.Option("--inputs", "-i", help="A data file, or module:function. Else: random, and labelled.")
]
Dimensions = Annotated[
    list[str] | None, typer.Option("--dim", help="Length of an axis of random inputs: sequence=128 (repeatable).")
]
Rate = Annotated[str | None, typer.Option(help="server: requests per second, or max.")]
P99 = Annotated[float | None, typer.Option(help="server: the latency that 99 of 100 must stay under.")]
MaxBatch = Annotated[int | None, typer.Option(help="server, offline: largest batch. Else: several are tried.")]
MaxWait = Annotated[float | None, typer.Option(help="server: how long a request may wait for a batch.")]
Instances = Annotated[int | None, typer.Option(help="server: calls that may run at once.")]
Precision = Annotated[str, typer.Option(help="Stop when the interval is this narrow, (high - low) / ratio.")]
Confidence = Annotated[float, typer.Option(help="Of every interval.")]
TimeLimit = Annotated[str, typer.Option(help="For all together: 90s, 3m, 1h.")]
Pin = Annotated[bool, typer.Option("--pin", help="Bind the processes that are measured to the CPUs.")]
Reference = Annotated[str | None, typer.Option(help="torch: the same models in PyTorch, eager and compiled, as rows.")]
Tune = Annotated[bool, typer.Option("--tune", help="Search session options for the fastest contender.")]
Seed = Annotated[int, typer.Option(help="Start of every random choice.")]
Out = Annotated[Path, typer.Option(help="Folder for the runs.")]
Form = Annotated[Format, typer.Option("--format", "-f", help="How the report is printed.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")]


def bench(
    models: Models,
    scenario: Scenario = "single_stream",
    provider: Providers = None,
    batch: Batch = "1",
    threads: Threads = None,
    inputs: Inputs = None,
    dim: Dimensions = None,
    rate: Rate = None,
    p99_ms: P99 = None,
    max_batch: MaxBatch = None,
    max_wait_ms: MaxWait = None,
    instances: Instances = None,
    precision: Precision = "2%",
    confidence: Confidence = 0.95,
    time_limit: TimeLimit = "2m30s",
    pin: Pin = False,
    reference: Reference = None,
    tune: Tune = False,
    seed: Seed = 0,
    out: Out = Path("runs"),
    report_format: Form = Format.table,
    quiet: Quiet = False,
) -> None:
    """Measure models against each other: paired, with intervals, and with proof of who did the work."""
    from costopt.benching.asked import Asked

    of_the_scenario = {
        "rate": rate,
        "p99_ms": p99_ms,
        "max_batch": max_batch,
        "max_wait_ms": max_wait_ms,
        "instances": instances,
    }
    asked = Asked(
        models, scenario, of_the_scenario, provider or [], batch, threads, inputs, dim or [],
        precision, confidence, time_limit, seed, pin, reference, tune,
    )  # fmt: skip
    report, journal = _measured(asked.plan(), out, quiet)
    show_report(report, report_format)
    if not quiet:
        say_how_to_serve(journal.folder)
        typer.echo(f"run: {journal.folder}", err=True)
    if report.run.scenario.name == "server" and not report.holds:
        raise typer.Exit(NOT_MET)


def _measured(plan: "BenchPlan", out: Path, quiet: bool) -> "tuple[BenchReport, BenchJournal]":
    from rich.console import Console

    from costopt.benchmark import bench as run
    from costopt.errors import Interrupted
    from costopt.progress import Shown

    try:
        with Shown(Console(stderr=True, quiet=quiet)) as watcher:
            return run(plan, out, watcher)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what was measured is kept: run the same command again to go on", 130) from None
