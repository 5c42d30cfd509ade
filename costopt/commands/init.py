"""`costopt init`: a commented budget file to start from."""

from pathlib import Path
from typing import Annotated

import typer

NAME = "budget.yaml"


def init(
    folder: Annotated[Path, typer.Argument(help="Folder for the budget file; made when it is not there.")] = Path("."),
) -> None:
    """Write a commented budget.yaml to start from."""
    from importlib import resources

    from costopt.errors import UsageError

    target = folder / NAME
    template = resources.files("costopt").joinpath(NAME).read_text(encoding="utf-8")
    if target.exists():
        raise UsageError(f"{target} is there already and stays as it is; name another folder, or take it away first")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text(template, encoding="utf-8")
    except OSError as problem:
        raise UsageError(f"{target}: can't be written ({problem.strerror}); name a folder of your own") from problem
    typer.echo(target)
    typer.echo(f"Next: put your evaluation data beside it, name it in {target}, and run", err=True)
    typer.echo(f"  costopt compress model.pt2 --config {target}", err=True)
