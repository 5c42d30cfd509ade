"""One verb a file: parse, call, print. Heavy imports stay inside the functions, so that `--help` is instant.

Here is what several verbs share: the formats of a report, and how one is printed.
"""

import json
import os
import shutil
import sys
import textwrap
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costopt.errors import CostoptError, UsageError

if TYPE_CHECKING:
    from costopt.records import ModelSource
    from costopt.reports import AnyReport

NOT_MET = 3
"""The exit code of a run that went well and found nothing within the budget."""

PIPED_WIDTH = 100
"""Columns of a table that is piped into a file or another program."""


ModelFile = Annotated[Path, typer.Argument(help="The model file: .pt2, TorchScript, .onnx, a state dict ...")]
Config = Annotated[Path, typer.Option("--config", "-c", help="The budget file (see `costopt init`).")]
Out = Annotated[Path, typer.Option(help="Folder for the runs.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Override one key: --set budget.p95_ms=3 (repeatable).")
]
Arch = Annotated[str | None, typer.Option(help="package.module:factory that builds the network of a state dict.")]
ArchArgs = Annotated[str, typer.Option(help="Arguments of the factory as JSON: '{\"width\": 32}'.")]
TrustPickle = Annotated[
    bool, typer.Option(help="Unpickle whole modules. This runs code from the file: only for files of your own.")
]


class Format(StrEnum):
    """How a report is printed."""

    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"


def model_source(model: Path, arch: str | None, arch_args: str, trust_pickle: bool) -> "ModelSource":
    """The model as the user named it. Raises UsageError when the factory's arguments are no JSON object."""
    from costopt.records import ModelSource

    try:
        arguments = json.loads(arch_args)
    except json.JSONDecodeError as problem:
        raise UsageError(f"--arch-args: {arch_args!r} is not JSON ({problem}); write '{{\"width\": 32}}'") from problem
    if not isinstance(arguments, dict):
        raise UsageError(f"--arch-args: {arch_args!r} is not a JSON object; write '{{\"width\": 32}}'")
    return ModelSource(str(model), arch, arguments, trust_pickle)


def say_how_to_serve(folder: Path) -> None:
    """Show the lines that serve what was chosen just as it was measured, on stderr; nothing where there are none."""
    snippet = folder / "serve.py"
    if snippet.is_file():
        print(f"serve it so ({snippet}):", file=sys.stderr)
        print(textwrap.indent(snippet.read_text(encoding="utf-8").rstrip(), "    "), file=sys.stderr)


def show_report(report: "AnyReport", report_format: Format) -> None:
    """Print a report on stdout, as wide as the terminal, without colour when piped or when NO_COLOR is set."""
    from costopt import plugins
    from costopt.records import Spec
    from costopt.reports import Render

    render = plugins.make("reports", Spec(report_format.value), Render)
    print_text(render(report, *width_and_colour()))


def width_and_colour() -> tuple[int, bool]:
    """How wide stdout is, and whether it takes colours."""
    terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if terminal else PIPED_WIDTH
    return width, terminal and not os.environ.get("NO_COLOR")


def print_text(text: str) -> None:
    """Write a whole answer to stdout. Raises CostoptError when it can't be written."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:  # `costopt show | head`: whoever read has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as fault:
        raise CostoptError(f"can't write the report to stdout: {fault.strerror}") from fault
