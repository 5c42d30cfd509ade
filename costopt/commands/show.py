"""`costopt show`: the report of a run again, in any format, finished or not; of a bench too."""

import datetime
from pathlib import Path
from typing import Annotated

import typer

from costopt.commands import Format, show_report


def show(
    run: Annotated[str, typer.Argument(help="The run's folder, or the start of its name.")],
    report_format: Annotated[Format, typer.Option("--format", "-f", help="How the report is printed.")] = Format.table,
    out: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs"),
) -> None:
    """Print the report of a finished or interrupted run: a compress by the budget and the price that it was run with,
    or a bench.
    """
    from costopt.benching import settle
    from costopt.journal import BenchJournal, Journal, find
    from costopt.judging.choose import judge

    folder = find(run, out)
    if (folder / "bench.json").is_file():
        bench = BenchJournal(folder)
        show_report(settle.judge(bench.run(), bench.outcomes()), report_format)
        return
    journal = Journal(folder)
    plan, today = journal.plan(), datetime.date.today()
    show_report(judge(journal.run(), journal.outcomes(), plan, today, journal.quote(plan)), report_format)
