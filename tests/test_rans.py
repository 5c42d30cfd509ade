"""The entropy coder: nothing is lost, next to no byte is wasted, and damage is told."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from costopt.packing import rans
from costopt.packing.rans import Damaged, Reader, varint

SYMBOLS = arrays.arrays(np.uint8, st.integers(0, 60))


def decoded(data: bytes, most: int) -> rans.Symbols:
    return rans.decode(Reader(memoryview(data)), most)


def entropy_bytes(symbols: rans.Symbols) -> float:
    """Shannon's bound for symbols that come independently, in bytes."""
    counts = np.bincount(symbols)
    shares = counts[counts > 0] / symbols.size
    return float(-(shares @ np.log2(shares)) * symbols.size / 8)


def pruned(count: int, share: float) -> rans.Symbols:
    """Sixteen values like clustered weights, of which all but `share` are zero."""
    random = np.random.default_rng(0)
    values = np.digitize(random.standard_normal(count), np.linspace(-3, 3, 15)).astype(np.uint8)
    values[random.random(count) > share] = 0
    return values


@given(SYMBOLS)
def test_what_is_encoded_comes_back(symbols: rans.Symbols) -> None:
    assert np.array_equal(decoded(rans.encode(symbols), symbols.size), symbols)


@pytest.mark.parametrize("share", [0.001, 1.0])
def test_many_lanes_give_the_same_symbols_back(share: float) -> None:
    symbols = pruned(100_001, share)
    assert np.array_equal(decoded(rans.encode(symbols), symbols.size), symbols)


@pytest.mark.parametrize("share", [0.05, 1.0])
def test_a_long_stream_takes_one_per_cent_more_than_its_entropy_at_most(share: float) -> None:
    symbols = pruned(235_200, share)
    assert len(rans.encode(symbols)) < 1.01 * entropy_bytes(symbols) + 100


def test_equal_symbols_take_next_to_nothing() -> None:
    assert len(rans.encode(np.full(100_000, 7, np.uint8))) < 50


@given(SYMBOLS, st.data())
def test_a_stream_that_is_cut_is_damaged(symbols: rans.Symbols, data: st.DataObject) -> None:
    whole = rans.encode(symbols)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    with pytest.raises(Damaged):
        decoded(cut, symbols.size)


@given(st.binary(max_size=80))
def test_any_bytes_are_symbols_or_damaged(data: bytes) -> None:
    with contextlib.suppress(Damaged):
        assert decoded(data, 1000).size <= 1000


def test_no_more_symbols_are_made_than_belong_there() -> None:
    with pytest.raises(Damaged, match="declares 1000 symbols where 999 at most belong"):
        decoded(rans.encode(np.zeros(1000, np.uint8)), 999)


@given(st.integers(0, 2**62))
def test_a_number_comes_back_from_as_many_bytes_as_it_needs(value: int) -> None:
    assert Reader(memoryview(varint(value))).number() == value
    assert len(varint(value)) == max(1, -(-value.bit_length() // 7))
