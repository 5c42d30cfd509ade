"""Tensors in fewer bytes: exact for every bit pattern, and small where there is something to gain."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from costopt.packing import codings
from costopt.packing.rans import Damaged
from tests.onnx_graphs import normal

DTYPES = [f"<u{width}" for width in codings.WIDTHS]
TENSORS = st.one_of(
    *(arrays.arrays(dtype, st.integers(0, 60)) for dtype in DTYPES),
    *(arrays.arrays(dtype, st.integers(0, 60), elements=st.sampled_from([0, 1, 200])) for dtype in DTYPES),
    arrays.arrays("<f4", st.integers(0, 60), elements=st.sampled_from([0.0, -0.0, np.nan, -np.inf, 1.5])),
)


@given(TENSORS)
def test_every_tensor_comes_back_bit_by_bit(tensor: codings.Numbers) -> None:
    data = tensor.tobytes()
    assert codings.decode(codings.encode(data, tensor.itemsize), len(data)) == data


@given(TENSORS)
def test_no_block_is_longer_than_the_tensor_and_one_byte(tensor: codings.Numbers) -> None:
    assert len(codings.encode(tensor.tobytes(), tensor.itemsize)) <= tensor.nbytes + 1


@pytest.mark.parametrize("width", [0, 3, 16])
def test_numbers_of_a_width_that_is_none_are_kept_raw(width: int) -> None:
    data = bytes(range(12))
    assert codings.encode(data, width) == bytes([codings.RAW]) + data


def share_of(numbers: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> float:
    """What coding leaves of a tensor."""
    block = codings.encode(numbers.tobytes(), numbers.itemsize)
    assert codings.decode(block, numbers.nbytes) == numbers.tobytes()
    return len(block) / numbers.nbytes


def test_clustered_weights_take_the_bits_of_their_codebook_at_most() -> None:
    clustered = np.linspace(-1, 1, 16, dtype=np.float32)[np.random.default_rng(0).integers(0, 16, 50_000)]
    assert share_of(clustered) < 1.01 * 4 / 32


def test_weights_of_which_a_twentieth_is_left_take_less_than_a_twelfth() -> None:
    weights = normal(20_000)
    weights[np.random.default_rng(1).random(20_000) > 0.05] = 0
    assert share_of(weights) < 1 / 12  # a twentieth of 27 bits, and 0.29 bits a weight for where they are


def test_trained_weights_lose_the_bits_that_their_exponents_do_not_need() -> None:
    assert share_of(normal(20_000)) < 0.87


@given(st.binary(max_size=60), st.integers(0, 100))
def test_any_bytes_are_a_tensor_or_damaged(block: bytes, size_bytes: int) -> None:
    with contextlib.suppress(Damaged):
        assert len(codings.decode(block, size_bytes)) == size_bytes
