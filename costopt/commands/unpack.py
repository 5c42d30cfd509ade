"""`costopt unpack`: a `.costz` back into exactly the ONNX file that was measured."""

from pathlib import Path
from typing import Annotated

import typer


def unpack(
    model: Annotated[Path, typer.Argument(help="The .costz file.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The ONNX file to write. Else: beside it, ending in .onnx.")
    ] = None,
) -> None:
    """Turn a .costz file back into the ONNX model that was packed, byte for byte; its sha256 is checked."""
    from costopt.packing import costz

    for file in costz.unpack(model, out or model.with_suffix(".onnx")):
        typer.echo(file)
