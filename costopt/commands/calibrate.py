"""`costopt calibrate`: teach costopt this machine, in a minute, for plans that are made elsewhere."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costopt.commands import Quiet, print_text

if TYPE_CHECKING:
    from costopt.projecting.calibration import Calibration


def calibrate(
    out: Annotated[Path, typer.Option(help="The file to write, to bring home.")] = Path("calibration.json"),
    machine: Annotated[
        str, typer.Option(help="This machine's name in the price book: aws/c7g.large. Plans need it.")
    ] = "",
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of a session; default: all cores.")] = None,
    provider: Annotated[str, typer.Option(help="The execution provider to time.")] = "cpu",
    quiet: Quiet = False,
) -> None:
    """Time small reference graphs on this machine, and write what it makes of each kind of work to a file.

    Bring the file home: `costopt plan RUN --calibration calibration.json` then foretells how fast the run's candidates
    would be here.
    """
    from costopt import machine as machines
    from costopt.projecting import calibration
    from costopt.projecting.calibrating import calibrated
    from costopt.projecting.calibration_words import lines
    from costopt.records import Spec

    _check(machine, provider, out)
    told = _silence if quiet else _tell
    found = calibrated(Spec(provider), threads or machines.cores(), machine, told)
    if not quiet:
        _tell("")
    calibration.write(found, out)
    print_text("".join(f"{line}\n" for line in (*lines(found), *_next(found, out))))


def _check(machine: str, provider: str, out: Path) -> None:
    """Raises UsageError for a machine that the price book does not have, a provider that isn't there, no folder."""
    from costopt import plugins
    from costopt.errors import UsageError
    from costopt.plugins import nearest
    from costopt.pricing import book

    if machine:
        known = tuple(dict.fromkeys(name for name, _ in book.current().offers))
        if machine not in known:
            raise UsageError(f"--machine: the price book has no '{machine}'{nearest(machine, known)}")
    if provider not in plugins.names("providers"):
        raise UsageError(f"--provider: no provider '{provider}'{nearest(provider, plugins.names('providers'))}")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"--out: {out.absolute().parent} is no folder")


def _next(found: "Calibration", out: Path) -> tuple[str, ...]:
    if not found.instance:
        return (
            f"{out} names no machine: plans made elsewhere can't tell where it holds; give --machine aws/c7g.large",
        )
    return (f"{out}: bring it home, then `costopt plan RUN --calibration {out.name}`",)


def _silence(_: str) -> None:
    pass


def _tell(words: str) -> None:
    """One line on stderr that is written over, where somebody looks."""
    if sys.stderr.isatty():
        print(f"\r\033[K{words}", end="", file=sys.stderr, flush=True)
