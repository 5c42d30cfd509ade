"""Padding: cut off while learning where it changes nothing, and left where it does."""

import functools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from costopt.cutting.surgery import copied
from costopt.learning import padding
from costopt.learning.padding import Padding
from costopt.learning.pairing import Pair, tensors
from costopt.methods import Arrays
from costopt.methods.distill import Distill
from costopt.records import InputSpec
from tests import models
from tests.torch_patients import context_of, graph_of, relative_error, specs_of

BY_MASK = Padding("attention_mask", ("input_ids", "attention_mask"))
VARYING = tuple(InputSpec(name, ("batch", "sequence"), "int64") for name in BY_MASK.names)


def texts(count: int, places: int = 24, longest: int = 12, seed: int = 0) -> Arrays:
    """Texts of 1 to `longest` tokens in so many places, with rubbish behind them."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, longest + 1, (count, 1))
    mask = (np.arange(places) < lengths).astype(np.int64)
    return {"input_ids": random.integers(1, 50, (count, places)), "attention_mask": mask}


@functools.cache
def encoder(varying: bool = True) -> fx.GraphModule:
    """An encoder that takes `texts`; it pays no attention to padding."""
    torch.manual_seed(0)
    arrays = texts(2)
    return graph_of(models.small_encoder(), arrays, VARYING if varying else specs_of(arrays))


class Mean(nn.Module):
    """The mean over all places, padding among them."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(50, 8), nn.Linear(8, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        out: Tensor = self.head((self.words(input_ids) + attention_mask[:, :, None]).mean(1))
        return out


class Masked(Mean):
    """The mean over the words alone."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        seen = attention_mask[:, :, None]
        out: Tensor = self.head((self.words(input_ids) * seen).sum(1) / seen.sum(1))
        return out


def masked() -> fx.GraphModule:
    return graph_of(Masked(), texts(2), VARYING)


def found(module: fx.GraphModule, arrays: Arrays, student: fx.GraphModule | None = None) -> Padding | None:
    inputs = tensors(arrays)
    pair = Pair(copied(student or module), copied(module), tuple(arrays), inputs, None)
    try:
        return padding.found(pair, tuple(arrays), inputs)
    finally:
        pair.release()


# ---------------------------------------------------------------------------------------- whether


def test_a_model_that_masks_its_padding_may_go_without_it() -> None:
    assert found(encoder(), texts(16)) == BY_MASK


def test_a_model_that_reads_its_padding_keeps_it() -> None:
    assert found(graph_of(Mean(), texts(2), VARYING), texts(16)) is None


def test_a_student_that_reads_its_padding_keeps_it() -> None:
    assert found(masked(), texts(16)) == BY_MASK
    assert found(masked(), texts(16), student=graph_of(Mean(), texts(2), VARYING)) is None


def test_sequences_of_one_length_stay_as_long() -> None:
    assert found(encoder(varying=False), texts(16)) is None


def test_texts_that_fill_their_places_have_nothing_to_cut() -> None:
    full = texts(16) | {"attention_mask": np.ones((16, 24), np.int64)}
    assert found(encoder(), full) is None


# ---------------------------------------------------------------------------------------- how


@given(st.integers(1, 40), st.integers(1, 40))
def test_no_token_is_cut(longest: int, places: int) -> None:
    arrays = texts(6, places, min(longest, places), longest)
    cut = BY_MASK.cut(tensors(arrays))
    assert int(cut["attention_mask"].sum()) == arrays["attention_mask"].sum()
    assert cut["input_ids"].shape == cut["attention_mask"].shape
    assert cut["input_ids"].shape[1] < BY_MASK.lengths(arrays).max() + padding.PLACES


def test_what_has_another_axis_is_not_cut() -> None:
    inputs = tensors(texts(4, longest=3) | {"weight": np.ones((4, 24), np.float32)})
    assert BY_MASK.cut(inputs)["weight"].shape == (4, 24)
    assert BY_MASK.cut(inputs)["input_ids"].shape == (4, 8)


@given(st.integers(1, 500), st.integers(1, 9), st.integers(0, 99))
def test_batches_of_like_length_hold_each_sample_once(count: int, batch: int, seed: int) -> None:
    block = texts(count, seed=seed)
    random = np.random.default_rng(seed)
    order = BY_MASK.grouped(random.permutation(count), block, batch, random)
    assert len(set(order.tolist())) == len(order) == count - count % batch


def test_batches_of_like_length_are_shorter_and_come_in_no_order() -> None:
    block, random = texts(640, longest=24), np.random.default_rng(0)
    lengths = BY_MASK.lengths(block)
    longest = lengths[BY_MASK.grouped(random.permutation(640), block, 8, random)].reshape(-1, 8).max(axis=1)
    mixed = lengths[random.permutation(640)].reshape(-1, 8).max(axis=1)
    assert longest.mean() < 0.7 * mixed.mean()
    assert longest.tolist() != sorted(longest)


# ---------------------------------------------------------------------------------------- while learning


def test_a_lesson_computes_no_more_than_the_longest_text(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[int] = set()
    says = Pair.student_says

    def noted(pair: Pair, inputs: dict[str, Tensor], fast: bool = True) -> list[Tensor]:
        seen.add(inputs["input_ids"].shape[1])
        return says(pair, inputs, fast)

    monkeypatch.setattr(Pair, "student_says", noted)
    module, arrays = copied(encoder()), texts(96, longest=6)
    context = context_of(module, arrays)
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(0.8 if weight.ndim > 1 else 1)
    unseen = texts(16, seed=1)
    before = relative_error(module, context.original(), unseen)
    after = relative_error(Distill(steps=30, batch=16)(module, context), context.original(), unseen)
    assert after < before
    assert seen == {8, 24}  # whole once, to find out
