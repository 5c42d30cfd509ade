"""An entropy coder for streams of small symbols: what is frequent takes less than a bit.

Pruned and clustered weights are streams in which one symbol (zero) is nineteen of twenty. The coders of the standard
library spend too much on them: zlib's Huffman codes at least a bit a symbol, and LZMA looks for repetitions that are
not there. 235,200 symbols, 5 % of them not zero and spread over 15 values (measured 2026-11, this file against
Python 3.11's; zstandard is LZ77 with tables as well):

    entropy 13,169 bytes     this coder 13,150     bz2 15,636     LZMA 16,871     zlib 18,373

Asymmetric numeral systems (Duda, arXiv:1311.2540), range variant: one integer holds all symbols so far, and each symbol
multiplies it by the inverse of its probability. Several such states ("lanes") take turns, so that numpy moves all of
them at once (Giesen, Interleaved entropy coders, arXiv:1402.3392); they share one stream of 16-bit words.

Written bytes, numbers as LEB128 varints:

    length                        0: that is all
    alphabet, frequencies         of the symbols 0 ... alphabet - 1; they add up to 2^14
    lanes, words                  then `lanes` states of 32 bits, and the words, all little-endian
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.uint8]

PRECISION_BITS = 14
"""Probabilities are multiples of 2^-14: a frequency then takes two bytes of a varint at most."""

TOTAL = 1 << PRECISION_BITS
WORD_BITS = 16
LEAST_STATE = 1 << WORD_BITS
STATE_BYTES = 4

BYTES_A_LANE = 1 << 10
SYMBOLS_A_LANE = 1 << 14
"""Lanes save time and cost their state: one for each kilobyte written is 0.4 %; where symbols take next to nothing, one
for each 16,384 keeps the number of turns bounded."""

MOST_LANES = 1 << 10


class Damaged(ValueError):
    """The bytes are not what was written."""


@dataclass
class Reader:
    """Bytes, and how far they have been read. What is not there raises Damaged."""

    data: memoryview
    position: int = 0

    def take(self, count: int) -> memoryview:
        """The next `count` bytes."""
        if not 0 <= count <= len(self.data) - self.position:
            raise Damaged("it ends too early")
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self) -> int:
        """The next varint, below 2^63."""
        value = 0
        for shift in range(0, 63, 7):
            (byte,) = self.take(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise Damaged("a number is too long")


def varint(value: int) -> bytes:
    """A number in groups of 7 bits, the lowest first, the top bit set in all but the last byte."""
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


def encode(symbols: Symbols) -> bytes:
    """The symbols in as few bytes as their frequencies allow, plus about half a per cent."""
    if symbols.size == 0:
        return varint(0)
    counts = np.bincount(symbols)
    frequencies = _frequencies(counts)
    lanes = _lanes(counts, frequencies)
    states, words = _encoded(symbols, frequencies, lanes)
    numbers = (symbols.size, len(frequencies), *frequencies.tolist(), lanes, words.size)
    return b"".join([*map(varint, numbers), states.astype("<u4").tobytes(), words.astype("<u2").tobytes()])


def decode(reader: Reader, most: int) -> Symbols:
    """The symbols that `encode` was given, `most` of them at most. Raises Damaged."""
    count = reader.number()
    if count > most:
        raise Damaged(f"it declares {count} symbols where {most} at most belong")
    if count == 0:
        return np.empty(0, np.uint8)
    frequencies = np.array([reader.number() for _ in range(min(reader.number(), 257))], np.int64)
    if not 1 <= len(frequencies) <= 256 or frequencies.sum() != TOTAL:
        raise Damaged("its frequencies do not add up")
    lanes, words = reader.number(), reader.number()
    if not min(1 + count // SYMBOLS_A_LANE, MOST_LANES) <= lanes <= MOST_LANES:  # fewer would take for ever
        raise Damaged(f"it declares {lanes} lanes")
    states = np.frombuffer(reader.take(lanes * STATE_BYTES), "<u4").astype(np.uint64)
    stream = np.frombuffer(reader.take(2 * words), "<u2").astype(np.uint64)
    return _decoded(states, stream, frequencies, count)


def _lanes(counts: NDArray[np.int64], frequencies: NDArray[np.int64]) -> int:
    used = counts > 0
    bits = float(counts[used] @ (PRECISION_BITS - np.log2(frequencies[used])))
    wanted = max(bits / 8 / BYTES_A_LANE, int(counts.sum()) / SYMBOLS_A_LANE)
    return min(1 + int(wanted), MOST_LANES)


def _frequencies(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Counts scaled to add up to `TOTAL`, at least 1 for each symbol that occurs; the largest takes what is left."""
    scaled = np.where(counts > 0, np.maximum(counts * TOTAL // counts.sum(), 1), 0)
    scaled[np.argmax(scaled)] += TOTAL - scaled.sum()
    return scaled


def _encoded(
    symbols: Symbols, frequencies: NDArray[np.int64], lanes: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint16]]:
    """The last states and the words, in the order in which `_decoded` reads them: the last symbols are put in first."""
    width, start = frequencies.astype(np.uint64), (np.cumsum(frequencies) - frequencies).astype(np.uint64)
    states, words = np.full(lanes, LEAST_STATE, np.uint64), []
    for begin in reversed(range(0, symbols.size, lanes)):
        row = symbols[begin : begin + lanes]
        state, w = states[: row.size], width[row]
        full = state >= w << np.uint64(2 * WORD_BITS - PRECISION_BITS)
        words.append(state[full].astype(np.uint16))
        state = np.where(full, state >> np.uint64(WORD_BITS), state)
        states[: row.size] = (state // w << np.uint64(PRECISION_BITS)) + state % w + start[row]
    return states, np.concatenate(words[::-1])


def _decoded(
    states: NDArray[np.uint64], stream: NDArray[np.uint64], frequencies: NDArray[np.int64], count: int
) -> Symbols:
    symbol_at = np.repeat(np.arange(len(frequencies), dtype=np.uint8), frequencies)
    width, start = frequencies.astype(np.uint64), (np.cumsum(frequencies) - frequencies).astype(np.uint64)
    symbols, read = np.empty(count, np.uint8), 0
    for begin in range(0, count, states.size):
        state = states[: count - begin]
        slot = state & np.uint64(TOTAL - 1)
        row = symbol_at[slot]
        symbols[begin : begin + row.size] = row
        state[:] = width[row] * (state >> np.uint64(PRECISION_BITS)) + slot - start[row]
        hungry = np.flatnonzero(state < LEAST_STATE)
        if read + hungry.size > stream.size:
            raise Damaged("its words end too early")
        state[hungry] = state[hungry] << np.uint64(WORD_BITS) | stream[read : read + hungry.size]
        read += hungry.size
    return symbols
