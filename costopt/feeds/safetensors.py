"""A `.safetensors` file: named tensors behind a JSON header, each read where it lies.

The format is eight bytes with the header's length, the header, then the values in row-major order
(https://github.com/huggingface/safetensors#format). It is simple enough to be read here; nothing needs installing.
Writers sort the tensors, so their order tells nothing: give them the names of the model's inputs.
"""

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from costopt.errors import DataError
from costopt.feeds import Feed, first_bytes
from costopt.sampling.arrays import ArrayFile

_LENGTH = struct.Struct("<Q")

_HEADER_LIMIT_BYTES = 100_000_000
"""The limit of the reference implementation."""

_DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BOOL": "bool",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8",
    "U64": "uint64", "U32": "uint32", "U16": "uint16", "U8": "uint8",
}  # fmt: skip


@dataclass(frozen=True)
class Safetensors(Feed):
    """What `safetensors.numpy.save_file` and `safetensors.torch.save_file` write."""

    def recognises(self, source: str) -> bool:
        """By a plausible length and the brace that follows it."""
        first = first_bytes(source, _LENGTH.size + 1)
        return (
            len(first) > _LENGTH.size and first[-1:] == b"{" and 0 < _LENGTH.unpack(first[:8])[0] <= _HEADER_LIMIT_BYTES
        )

    def arrays(self, source: str, scratch: Path) -> tuple[ArrayFile, ...]:  # noqa: ARG002 - all is read in place
        """All tensors, in the header's order."""
        path = Path(source).absolute()
        with path.open("rb") as file:
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            text = file.read(length)
        size_bytes = path.stat().st_size
        try:
            header = json.loads(text)
        except ValueError as problem:
            raise DataError(f"{path}: its safetensors header is damaged or cut off; copy or save it again") from problem
        begin = _LENGTH.size + length
        return tuple(
            _tensor(path, name, entry, begin, size_bytes) for name, entry in header.items() if name != "__metadata__"
        )


def _tensor(path: Path, name: str, entry: object, begin: int, size_bytes: int) -> ArrayFile:
    """One entry: {"dtype": "F32", "shape": [4, 3], "data_offsets": [0, 48]}."""
    match entry:
        case {"dtype": str(code), "shape": [*shape], "data_offsets": [int(start), int(stop)]} if all(
            isinstance(length, int) and length >= 0 for length in shape
        ):
            pass
        case _:
            raise DataError(f"{path}: the header's entry for '{name}' is malformed; save the file again")
    if code not in _DTYPES:
        raise DataError(f"{path}: tensor '{name}' is {code}, which numpy does not know; save it as float32 (x.float())")
    array = ArrayFile(name, str(path), begin + start, tuple(shape), _DTYPES[code])
    if (
        not 0 <= start <= stop
        or stop - start != math.prod(array.shape) * np.dtype(array.dtype).itemsize
        or begin + stop > size_bytes
    ):
        raise DataError(f"{path}: tensor '{name}' is cut off, or its offsets are wrong; copy or save it again")
    return array
