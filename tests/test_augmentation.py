"""What augmentation makes of inputs, and what it leaves alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from costopt.errors import CandidateError
from costopt.learning.augmentation import AUGMENTATIONS, Inputs, augmented, parsed, replace, shift, suitable

seeds = st.integers(0, 1000)
every_augmentation = pytest.mark.parametrize("name", AUGMENTATIONS)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 6) -> Inputs:
    return {"image": torch.rand((count, 3, 12, 16), generator=generator(0))}


def tokens(count: int = 64) -> Inputs:
    """Token numbers from 100 to 999, of 5 to 12 in a row of 12, padded with 7."""
    lengths = torch.arange(count) % 8 + 5
    mask = (torch.arange(12) < lengths[:, None]).long()
    ids = torch.randint(100, 1000, (count, 12), generator=generator(0)) * mask + 7 * (1 - mask)
    return {"input_ids": ids, "attention_mask": mask}


@every_augmentation
@pytest.mark.parametrize("inputs", [images(), tokens(), {"x": torch.randn(8, 5)}], ids=["images", "tokens", "rows"])
def test_shapes_and_types_stay_and_the_seed_decides(name: str, inputs: Inputs) -> None:
    first, second = (augmented(inputs, (name,), generator(3)) for _ in range(2))
    for key, before in inputs.items():
        assert first[key].shape == before.shape
        assert first[key].dtype == before.dtype
        assert torch.equal(first[key], second[key])


@pytest.mark.parametrize("name", ["flip", "shift", "mixup"])
@given(seed=seeds)
def test_images_keep_their_range(name: str, seed: int) -> None:
    before = images()["image"]
    after = augmented(images(), (name,), generator(seed))["image"]
    assert after.min() >= before.min() - 1e-6
    assert after.max() <= before.max() + 1e-6


@given(seed=seeds)
def test_flipped_images_are_mirrored_or_as_they_were(seed: int) -> None:
    before = images()["image"]
    after = augmented(images(), ("flip",), generator(seed))["image"]
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one, other) or torch.equal(one.flip(-1), other)


@given(seed=seeds)
def test_shifted_images_keep_what_stays_inside(seed: int) -> None:
    before = torch.zeros(4, 1, 28, 28)
    before[:, :, 14, 14] = 1
    places = [tuple(place) for place in shift({"image": before}, generator(seed))["image"].nonzero()[:, 2:].tolist()]
    assert len(places) == 4
    assert all(12 <= row <= 16 and 12 <= column <= 16 for row, column in places)


@given(seed=seeds)
def test_replaced_tokens_are_those_of_the_same_place_and_padding_stays(seed: int) -> None:
    before = tokens()
    after = replace(before, generator(seed))
    ids, mask = after["input_ids"], after["attention_mask"]
    assert torch.equal(mask, before["attention_mask"])
    assert torch.equal(ids[mask == 0], before["input_ids"][mask == 0])
    assert (ids[mask == 1] >= 100).all()
    for place in range(ids.shape[1]):
        assert set(ids[:, place].tolist()) <= set(before["input_ids"][:, place].tolist())
    share = float((ids != before["input_ids"])[mask == 1].float().mean())
    assert 0.02 < share < 0.3


def test_masks_positions_and_constants_are_left_alone() -> None:
    inputs: dict[str, Tensor] = {"mask": torch.tensor([[1, 0], [1, 1]]), "positions": torch.arange(9).expand(4, 9)}
    after = replace(inputs, generator(0))
    assert all(torch.equal(after[name], one) for name, one in inputs.items())


def test_mixtures_are_made_only_where_all_can_be_mixed() -> None:
    inputs = {**images(64), **tokens(64)}
    assert torch.equal(augmented(inputs, ("mixup",), generator(0))["image"], inputs["image"])


def test_what_suits_depends_on_the_kind_of_input() -> None:
    assert suitable(images(), 512) == ("flip", "shift", "mixup")
    assert suitable(images(), 60_000) == ()
    assert suitable(tokens(), 512) == ("replace",)
    assert suitable({"x": torch.randn(8, 5)}, 512) == ()


def test_names_are_joined_by_plus() -> None:
    assert parsed("flip+noise", images(), 100) == ("flip", "noise")
    assert parsed("none", images(), 100) == ()
    assert parsed("auto", tokens(), 100) == ("replace",)
    with pytest.raises(CandidateError, match=r"augment: no 'flop'; it is auto, none, or some of flip, shift"):
        parsed("flop", images(), 100)
