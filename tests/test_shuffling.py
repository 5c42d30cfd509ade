"""Calibration inputs in batches to learn from, and some held out to judge by."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.errors import CandidateError
from costopt.learning import shuffling
from costopt.learning.shuffling import FEWEST, Shuffled
from tests.onnx_graphs import Held, normal

counts = st.integers(FEWEST, 300)
batches = st.integers(1, 64)
memory = st.sampled_from([1, 400, 1500, 10**6])  # bytes; a sample below has 8: from one sample a block to all in one


def numbered(count: int) -> Held:
    """Samples that say which one they are."""
    return Held({"x": np.arange(count, dtype=np.int64)})


def epoch(data: Shuffled, count: int) -> list[int]:
    """What is seen in the first `count` batches."""
    return [int(x) for batch in itertools.islice(data.batches(), count) for x in batch.inputs["x"]]


@given(count=counts, batch=batches, memory_bytes=memory)
def test_what_is_judged_by_is_never_learned_from(count: int, batch: int, memory_bytes: int) -> None:
    data = Shuffled(numbered(count), batch, 0, memory_bytes)
    held_out = {int(x) for x in data.held_out["x"]}
    assert held_out.isdisjoint(epoch(data, 50))
    assert min(8, 0.1 * count) <= len(held_out) <= min(max(16, 0.1 * count + 1), shuffling.HELD_OUT_MOST)
    assert len(held_out) + data.samples == count


@given(count=counts, batch=batches, memory_bytes=memory)
def test_each_sample_comes_under_a_number_of_its_own(count: int, batch: int, memory_bytes: int) -> None:
    data = Shuffled(numbered(count), batch, 0, memory_bytes)
    seen = {
        (int(n), int(x))
        for one in itertools.islice(data.batches(), 80)
        for n, x in zip(one.numbers, one.inputs["x"], strict=True)
    }
    assert len({number for number, _ in seen}) == len({sample for _, sample in seen}) == len(seen)
    assert {number for number, _ in seen} <= set(range(data.samples))


@given(count=counts, batch=batches, memory_bytes=memory, skip=st.integers(0, 40))
def test_skipping_gives_the_batches_that_would_have_come(count: int, batch: int, memory_bytes: int, skip: int) -> None:
    data = Shuffled(numbered(count), batch, 7, memory_bytes)
    whole = [one.inputs["x"].tolist() for one in itertools.islice(data.batches(), skip + 3)]
    assert [one.inputs["x"].tolist() for one in itertools.islice(data.batches(skip), 3)] == whole[skip:]
    assert {len(one) for one in whole} == {data.batch}


def test_in_one_epoch_each_sample_comes_once() -> None:
    data = Shuffled(numbered(100), 30, 0)
    seen = epoch(data, 3)
    assert len(set(seen)) == 90
    assert seen != sorted(seen)
    assert seen != epoch(Shuffled(numbered(100), 30, 1), 3)


@pytest.mark.parametrize("count", [0, 1, FEWEST - 1])
def test_too_few_samples_are_refused(count: int) -> None:
    with pytest.raises(CandidateError, match=rf"there are {count} calibration samples, and learning needs 16 or more"):
        Shuffled(numbered(count), 4, 0)


def test_samples_that_are_all_alike_are_refused() -> None:
    with pytest.raises(CandidateError, match="all calibration samples are alike"):
        Shuffled(Held({"x": np.ones((64, 3)), "y": np.zeros(64)}), 4, 0)


def test_one_input_that_is_constant_is_fine() -> None:
    assert Shuffled(Held({"x": normal(64, 3), "mask": np.ones((64, 5))}), 4, 0).samples == 56
