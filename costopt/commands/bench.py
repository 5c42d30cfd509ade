"""`costopt bench`: which of these is faster, by how much, and how sure is that?"""

from pathlib import Path
from typing import Annotated

import typer

from costopt.commands import NOT_MET, Format, say_how_to_serve, show_report


def bench(
    models: Annotated[list[Path], typer.Argument(help="Model files; all are held against the first.")],
    scenario: Annotated[
        str, typer.Option("--scenario", "-s", help="single_stream, multi_stream, offline or server.")
    ] = "single_stream",
    provider: Annotated[
        list[str] | None,
        typer.Option("--provider", "-p", help="cpu, openvino:inference_precision=f32 (repeatable). Else: all here."),
    ] = None,
    batch: Annotated[str, typer.Option("--batch", "-b", help="Batch sizes: 1,8,32.")] = "1",
    threads: Annotated[str | None, typer.Option("--threads", "-t", help="Thread counts: 1,2. Else: all cores.")] = None,
    inputs: Annotated[
        str | None, typer.Option("--inputs", "-i", help="A data file, or module:function. Else: random, and labelled.")
    ] = None,
    dim: Annotated[
        list[str] | None, typer.Option("--dim", help="Length of an axis of random inputs: sequence=128 (repeatable).")
    ] = None,
    rate: Annotated[str | None, typer.Option(help="server: requests per second, or max.")] = None,
    p99_ms: Annotated[float | None, typer.Option(help="server: the latency that 99 of 100 must stay under.")] = None,
    max_batch: Annotated[
        int | None, typer.Option(help="server, offline: largest batch. Else: several are tried.")
    ] = None,
    max_wait_ms: Annotated[float | None, typer.Option(help="server: how long a request may wait for a batch.")] = None,
    instances: Annotated[int | None, typer.Option(help="server: sessions that share the queue.")] = None,
    precision: Annotated[
        str, typer.Option(help="Stop when the interval is this narrow, (high - low) / ratio: 2%.")
    ] = "2%",
    confidence: Annotated[float, typer.Option(help="Of every interval: 0.95.")] = 0.95,
    time_limit: Annotated[str, typer.Option(help="For all together: 90s, 3m, 1h.")] = "2m30s",
    pin: Annotated[bool, typer.Option("--pin", help="Bind the processes that are measured to the CPUs.")] = False,
    reference: Annotated[
        str | None, typer.Option(help="torch: the same models in PyTorch, eager and compiled, as rows.")
    ] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Search session options for the fastest contender.")] = False,
    seed: Annotated[int, typer.Option(help="Start of every random choice.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("runs"),
    report_format: Annotated[Format, typer.Option("--format", "-f", help="How the report is printed.")] = Format.table,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")] = False,
) -> None:
    """Measure models against each other: paired, with intervals, and with proof of who did the work."""
    from rich.console import Console

    from costopt.asked import Asked
    from costopt.benchmark import bench as run
    from costopt.errors import Interrupted
    from costopt.progress import Shown

    plan = Asked(
        models=models,
        scenario=scenario,
        scenario_options={
            "rate": rate,
            "p99_ms": p99_ms,
            "max_batch": max_batch,
            "max_wait_ms": max_wait_ms,
            "instances": instances,
        },
        providers=provider or [],
        batch=batch,
        threads=threads,
        inputs=inputs,
        dimensions=dim or [],
        precision=precision,
        confidence=confidence,
        time_limit=time_limit,
        seed=seed,
        pinned=pin,
        reference=reference,
        tuned=tune,
    ).plan()
    try:
        with Shown(Console(stderr=True, quiet=quiet)) as watcher:
            report, journal = run(plan, out, watcher)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what was measured is kept: run the same command again to go on", 130) from None
    show_report(report, report_format)
    if not quiet:
        say_how_to_serve(journal.folder)
        typer.echo(f"run: {journal.folder}", err=True)
    if plan.scenario.name == "server" and not report.holds:
        raise typer.Exit(NOT_MET)
