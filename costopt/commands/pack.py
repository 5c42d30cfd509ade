"""`costopt pack`: an ONNX file, its external data too, as a small `.costz`."""

from pathlib import Path
from typing import Annotated

import typer


def pack(
    model: Annotated[Path, typer.Argument(help="The ONNX file.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write. Else: beside it, ending in .costz.")
    ] = None,
) -> None:
    """Pack an ONNX model into a .costz file, from which `costopt unpack` gives back the same bytes."""
    from costopt import units
    from costopt.graph import files
    from costopt.packing import costz

    target = out or model.with_suffix(".costz")
    packed = costz.pack(model, target)
    before = sum(file.stat().st_size for file in files(model))
    typer.echo(target)
    typer.echo(f"{units.bytes(before)} in {units.bytes(packed)}: {units.ratio(before / packed)}", err=True)
