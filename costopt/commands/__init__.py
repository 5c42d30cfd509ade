"""One verb a file: parse, call, print. Heavy imports stay inside the functions, so that `--help` is instant.

Here is what several verbs share: the formats of a report, and how one is printed.
"""

import os
import shutil
import sys
import textwrap
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from costopt.errors import CostoptError

if TYPE_CHECKING:
    from costopt.measurements import BenchReport
    from costopt.records import Report

NOT_MET = 3
"""The exit code of a run that went well and found nothing within the budget."""

PIPED_WIDTH = 100
"""Columns of a table that is piped into a file or another program."""


class Format(StrEnum):
    """How a report is printed."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"


def say_how_to_serve(folder: Path) -> None:
    """Show the lines that serve what was chosen just as it was measured, on stderr; nothing where there are none."""
    snippet = folder / "serve.py"
    if snippet.is_file():
        print(f"serve it so ({snippet}):", file=sys.stderr)
        print(textwrap.indent(snippet.read_text(encoding="utf-8").rstrip(), "    "), file=sys.stderr)


def show_report(report: "Report | BenchReport", report_format: Format) -> None:
    """Print a report on stdout, as wide as the terminal, without colour when piped or when NO_COLOR is set."""
    from costopt import plugins
    from costopt.records import Spec
    from costopt.reports import Render

    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else PIPED_WIDTH
    render = plugins.make("reports", Spec(report_format.value), Render)
    text = render(report, width, terminal and not os.environ.get("NO_COLOR"))
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # `costopt show | head`: whoever read has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as fault:
        raise CostoptError(f"can't write the report to stdout: {fault.strerror}") from fault
