"""The bytes of one tensor in fewer bytes: four codings, each exact to the last bit, and the choice among them.

    raw        as they are
    planes     all first bytes of the numbers, then all second ones ...: in trained float32 weights sign and exponent
               vary little, the low bits of the mantissa not at all predictably
    sparse     where the numbers are not zero, then those by planes
    codebook   the distinct numbers, then which of them stands where: for clustered weights and integers; zeros that
               pruning has left are one of them, and cost next to nothing

Each stream of small symbols goes through `rans`. What the numbers mean is never asked: they are unsigned integers of 1,
2, 4 or 8 bytes, so that minus zero and NaN survive. Written: the coding's number, the width, and what the coding wants.
"""

import numpy as np
from numpy.typing import NDArray

from costopt.packing import rans
from costopt.packing.rans import Damaged, Reader, varint

Numbers = NDArray[np.unsignedinteger]

WIDTHS = (1, 2, 4, 8)

LARGEST_CODEBOOK = 256
"""More distinct numbers than this, and a symbol no longer fits a byte."""

SPARSE_ABOVE = 0.1
"""The share of zeros above which they are worth a stream of their own (a tenth of zeros: 0.47 bits a number)."""

RAW, PLANES, SPARSE, CODEBOOK = range(4)
PLAIN, CODED = range(2)


def encode(data: bytes | memoryview, width: int) -> bytes:
    """The bytes of a tensor whose numbers take `width` bytes (1, 2, 4 or 8), in whatever coding suits them."""
    if width in WIDTHS and len(data) % width == 0 and len(data) > 0:
        coded = _encoded(np.frombuffer(data, f"<u{width}"))
        if len(coded) < len(data):
            return coded
    return bytes([RAW]) + bytes(data)


def decode(block: bytes | memoryview, size_bytes: int) -> bytes:
    """The `size_bytes` that `encode` was given. Raises rans.Damaged when the block holds something else."""
    reader = Reader(memoryview(block))
    (coding,) = reader.take(1)
    if coding == RAW:
        data = bytes(reader.take(size_bytes))
    else:
        (width,) = reader.take(1)
        if width not in WIDTHS or size_bytes % width:
            raise Damaged(f"its numbers take {width} bytes")
        data = _decoded(reader, coding, width, size_bytes // width).tobytes()
    if reader.position != len(reader.data):
        raise Damaged("there is more than belongs there")
    return data


def _encoded(numbers: Numbers) -> bytes:
    distinct = _few_distinct(numbers)
    if distinct is not None:
        return bytes([CODEBOOK, numbers.itemsize]) + _codebook(numbers, distinct)
    if np.mean(numbers == 0) > SPARSE_ABOVE:
        mask = (numbers != 0).astype(np.uint8)
        return bytes([SPARSE, numbers.itemsize]) + _stream(mask) + _planes(numbers[numbers != 0])
    return bytes([PLANES, numbers.itemsize]) + _planes(numbers)


def _decoded(reader: Reader, coding: int, width: int, count: int) -> Numbers:
    if coding == PLANES:
        return _from_planes(reader, width, count)
    if coding == CODEBOOK:
        codebook = np.frombuffer(reader.take(reader.number() * width), f"<u{width}")
        symbols = _from_stream(reader, count)
        if symbols.max(initial=0) >= len(codebook):
            raise Damaged("a symbol is not in its codebook")
        return codebook[symbols]
    if coding == SPARSE:
        places = np.flatnonzero(_from_stream(reader, count))
        numbers = np.zeros(count, f"<u{width}")
        numbers[places] = _from_planes(reader, width, len(places))
        return numbers
    raise Damaged(f"it has coding {coding}, which this version of costopt does not know")


# ---------------------------------------------------------------------------------------- a codebook


def _few_distinct(numbers: Numbers) -> Numbers | None:
    """The distinct numbers, sorted, when they are few enough for a codebook. A part tells most tensors from that."""
    if len(np.unique(numbers[: 16 * LARGEST_CODEBOOK])) > LARGEST_CODEBOOK:
        return None
    distinct = np.unique(numbers)
    return distinct if len(distinct) <= min(LARGEST_CODEBOOK, 1 + numbers.size // 2) else None


def _codebook(numbers: Numbers, distinct: Numbers) -> bytes:
    symbols = np.searchsorted(distinct, numbers).astype(np.uint8)
    return varint(len(distinct)) + distinct.tobytes() + _stream(symbols)


# ---------------------------------------------------------------------------------------- planes of bytes


def _planes(numbers: Numbers) -> bytes:
    rows = np.frombuffer(numbers.tobytes(), np.uint8).reshape(-1, numbers.itemsize)
    return b"".join(_stream(np.ascontiguousarray(plane)) for plane in rows.T)


def _from_planes(reader: Reader, width: int, count: int) -> Numbers:
    rows = np.empty((count, width), np.uint8)
    for plane in range(width):
        rows[:, plane] = _from_stream(reader, count)
    numbers: Numbers = rows.reshape(-1).view(f"<u{width}")
    return numbers


# ---------------------------------------------------------------------------------------- one stream of symbols


def _stream(symbols: rans.Symbols) -> bytes:
    coded = rans.encode(symbols)
    return bytes([CODED]) + coded if len(coded) < symbols.size else bytes([PLAIN]) + symbols.tobytes()


def _from_stream(reader: Reader, count: int) -> rans.Symbols:
    (kind,) = reader.take(1)
    symbols = rans.decode(reader, count) if kind == CODED else np.frombuffer(reader.take(count), np.uint8)
    if symbols.size != count:
        raise Damaged(f"a stream holds {symbols.size} symbols where {count} belong")
    return symbols
