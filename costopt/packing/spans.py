"""Where in its files the tensors of an ONNX model lie, to the byte.

External data say where they are. Tensors inside the file itself are looked for: wherever the same bytes stand, they
stand for the same numbers, so that any place where they are found will do and protobuf need not be taken apart.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from costopt import graph
from costopt.errors import ModelFileError

if TYPE_CHECKING:
    import onnx

SMALLEST_BYTES = 64
"""Tensors of fewer bytes are not worth a place of their own."""


class Span(NamedTuple):
    """From byte `start` of a file to before byte `end` lie numbers of `width` bytes each."""

    start: int
    end: int
    width: int


def spans(source: Path) -> dict[Path, list[Span]]:
    """The files of a model, its own first, and in each the tensors of `SMALLEST_BYTES` and more, in order, apart.

    Raises ModelFileError when it can't be read or its external data are not there.
    """
    import onnx

    try:
        model = onnx.load(str(source), load_external_data=False)
    except Exception as error:  # protobuf's own exception type differs between its implementations
        raise ModelFileError(f"{source}: no ONNX file, or a damaged one; `costopt pack` packs ONNX files") from error
    found = dict[Path, list[Span]]()
    for path in graph.files(source):
        if not path.is_file():
            raise ModelFileError(f"{source}: its external data {path.name} is not beside it; copy both together")
        found[path] = _apart(_inside(model, path) if path == source else _beside(model, source, path))
    return found


def _inside(model: "onnx.ModelProto", path: Path) -> Iterator[Span]:
    """Tensors that the file itself holds, most of them in the order in which they are listed."""
    data, position = path.read_bytes(), 0
    for tensor in graph.tensors(model):
        raw = tensor.raw_data or np.array(tensor.float_data, "<f4").tobytes()
        if len(raw) < SMALLEST_BYTES:
            continue
        start = data.find(raw, position)
        start = data.find(raw) if start < 0 else start
        if start >= 0:  # else in numbers of varying length, as protobuf writes integers
            position = start + len(raw)
            yield Span(start, position, _width(tensor, len(raw)))


def _beside(model: "onnx.ModelProto", source: Path, path: Path) -> Iterator[Span]:
    """Tensors that a file of external data holds."""
    size = path.stat().st_size
    for tensor in graph.tensors(model):
        told = {entry.key: entry.value for entry in tensor.external_data}
        if tensor.data_location != tensor.EXTERNAL or source.parent / told["location"] != path:
            continue
        start = int(told.get("offset", 0))
        end = start + int(told.get("length", size - start))
        if end - start >= SMALLEST_BYTES and end <= size:
            yield Span(start, end, _width(tensor, end - start))


def _width(tensor: "onnx.TensorProto", size_bytes: int) -> int:
    """Bytes of one number; 1 where several numbers share a byte."""
    count = math.prod(tensor.dims)
    return size_bytes // count if count and size_bytes % count == 0 else 1


def _apart(spans: Iterator[Span]) -> list[Span]:
    """In order, without those that begin within another: tensors may share their bytes."""
    kept = list[Span]()
    for span in sorted(spans):
        if not kept or span.start >= kept[-1].end:
            kept.append(span)
    return kept
