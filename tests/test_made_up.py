"""Inputs made up at random: the model's shapes and types, the same for the same seed."""

from pathlib import Path

import numpy as np
import pytest

from costopt.errors import DataError, UsageError
from costopt.records import InputSpec
from costopt.sampling import made_up

IMAGE = InputSpec("image", ("batch", 3, 8, 8), "float32")
TOKENS = InputSpec("tokens", ("batch", "sequence"), "int64")


def test_made_up_inputs_have_the_models_shapes_and_types(tmp_path: Path) -> None:
    found = made_up.samples((IMAGE, TOKENS), {"sequence": 16}, 4, 0, tmp_path)
    batch = next(found.batches(4))
    assert {name: (one.shape, str(one.dtype)) for name, one in batch.items()} == {
        "image": ((4, 3, 8, 8), "float32"),
        "tokens": ((4, 16), "int64"),
    }
    assert set(np.unique(batch["tokens"])) <= {0, 1}


def test_the_seed_alone_decides(tmp_path: Path) -> None:
    one, same, other = (
        next(made_up.samples((IMAGE,), {}, 1, seed, tmp_path / name).batches(8))["image"]
        for seed, name in ((1, "a"), (1, "b"), (2, "c"))
    )
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_there_is_a_whole_batch_even_of_large_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made_up, "MOST_BYTES", 1000)
    assert made_up.samples((IMAGE,), {}, 5, 0, tmp_path).samples == 5


def test_an_axis_of_unknown_length_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--dim sequence=128"):
        made_up.samples((TOKENS,), {}, 1, 0, tmp_path)


def test_a_type_that_nothing_can_be_made_up_for_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="real inputs"):
        made_up.samples((InputSpec("text", ("batch", 1), "str"),), {}, 1, 0, tmp_path)
