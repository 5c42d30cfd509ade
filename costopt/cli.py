"""The app: one verb a file in `commands/`, and the one place that turns an error into an exit code.

0 a candidate meets the budget (the original may be it) · 1 costopt failed · 2 wrong usage, config or input ·
3 ran well, nothing meets the budget · 130 or 143 interrupted. Results go to stdout, all else to stderr.
"""

import signal
import sys
from types import FrameType

import typer

from costopt.commands.bench import bench
from costopt.commands.calibrate import calibrate
from costopt.commands.choose import choose
from costopt.commands.compress import compress
from costopt.commands.doctor import doctor
from costopt.commands.explain import explain
from costopt.commands.fleet import fleet
from costopt.commands.init import init
from costopt.commands.list import list_
from costopt.commands.pack import pack
from costopt.commands.plan import plan
from costopt.commands.prices import prices
from costopt.commands.schema import schema
from costopt.commands.sensitivity import sensitivity
from costopt.commands.show import show
from costopt.commands.unpack import unpack
from costopt.errors import CostoptError, Interrupted

app = typer.Typer(
    name="costopt",
    help="What does it cost to run this model, and how do we make it cost less without breaking it?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(compress)
app.command()(bench)
app.command()(sensitivity)
app.command()(show)
app.command()(choose)
app.command()(plan)
app.command()(explain)
app.command()(fleet)
app.command()(calibrate)
app.command()(init)
app.command("list")(list_)
app.command()(schema)
app.command()(doctor)
app.command()(pack)
app.command()(unpack)
app.add_typer(prices, name="prices")


@app.callback(invoke_without_command=True)
def version(show_version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    """Compress a trained model, measure it, price it, and choose the cheapest that provably keeps its accuracy."""
    if show_version:
        from importlib import metadata

        typer.echo(metadata.version("costopt"))
        raise typer.Exit


def main() -> None:
    """Run the app; the one place that turns an error into an exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    try:
        code = app(standalone_mode=False)
    except CostoptError as problem:
        _say(str(problem))
        code = problem.exit_code
    except typer.TyperException as problem:
        if words := problem.format_message():  # without arguments the help was printed, and that says it all
            _say(f"{words} See `costopt --help`.")
        code = problem.exit_code
    sys.exit(code)


def _terminated(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature that signal.signal wants
    raise Interrupted("ended by SIGTERM; what was measured is kept: run the same command again to go on", 128 + number)


def _say(words: str) -> None:
    print(f"costopt: {words}", file=sys.stderr)
