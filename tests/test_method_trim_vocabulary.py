"""`trim_vocabulary`: what was looked up stays as it was to the last bit; all other ids share a row."""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from costopt import export
from costopt.cutting.surgery import copied
from costopt.errors import CandidateError, NotApplicable
from costopt.formats import Modules
from costopt.methods import Arrays
from costopt.methods.trim_vocabulary import TrimVocabulary, _Table
from tests import models
from tests.torch_patients import PATIENTS, context_of, graph_of, outputs, parameters, specs_of

ROWS, WIDTH = 500, 8


class Bag(nn.Module):
    """The mean of the rows of a few ids."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(ROWS, WIDTH, padding_idx=0), nn.Linear(WIDTH, 4)

    def forward(self, ids: Tensor) -> Tensor:
        out: Tensor = self.head(self.words(ids).mean(1))
        return out


class Generator(nn.Module):
    """A decoder: the table of the words gives the scores of the next one too."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(ROWS, WIDTH)
        self.head = nn.Linear(WIDTH, ROWS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids: Tensor) -> Tensor:
        scores: Tensor = self.head(self.words(ids).tanh())
        return scores


class Placed(nn.Module):
    """Ids and their positions, both given from outside."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(ROWS, WIDTH), nn.Embedding(ROWS, WIDTH)

    def forward(self, ids: Tensor, places: Tensor) -> Tensor:
        out: Tensor = (self.words(ids) + self.positions(places)).mean(1)
        return out


def texts(samples: int = 200, vocabulary: int = 40) -> Arrays:
    """Ids 100 ... 99 + vocabulary, each seen often, and padding."""
    ids = np.random.default_rng(0).integers(100, 100 + vocabulary, (samples, 6))
    ids[:, -1] = 0
    return {"ids": ids}


def trimmed(method: TrimVocabulary, model: nn.Module, arrays: Arrays) -> fx.GraphModule:
    module = graph_of(model, arrays)
    return method(module, context_of(module, arrays))


def table(module: nn.Module, path: str = "words") -> nn.Embedding:
    found = module.get_submodule(path)
    assert isinstance(found, nn.Embedding)
    return found


def test_ids_that_were_seen_give_the_same_bits_and_the_table_is_small() -> None:
    model, arrays = Bag(), texts()
    after = trimmed(TrimVocabulary(), model, arrays)
    assert torch.equal(outputs(after, arrays)[0], outputs(model, arrays)[0])
    assert table(after).weight.shape == (40 + 1 + 1, WIDTH)
    assert parameters(model) - parameters(after) == (ROWS - 42) * WIDTH


@pytest.mark.parametrize("unseen", ["mean", 120, 7])
def test_other_ids_get_the_mean_of_what_went_or_the_row_of_one_id(unseen: Literal["mean"] | int) -> None:
    model = Bag()
    weight = model.words.weight.detach().clone()
    after = trimmed(TrimVocabulary(unseen=unseen), model, texts())
    never = [at for at in range(ROWS) if at != 0 and not 100 <= at < 140]
    wanted = weight[never].mean(0) if unseen == "mean" else weight[unseen]
    got = outputs(after, {"ids": np.full((2, 6), 333)})[0]
    torch.testing.assert_close(got[0], model.head(wanted))


def test_a_share_of_the_rows_stays_and_it_is_the_frequent_ones() -> None:
    ids = np.concatenate([np.repeat(np.arange(100), 4), np.repeat(np.arange(200, 300), 2)]).reshape(-1, 6)
    model, arrays = Bag(), {"ids": np.random.default_rng(0).permutation(ids)}
    after = trimmed(TrimVocabulary(keep=0.2), model, arrays)
    assert len(table(after).weight) == 0.2 * ROWS + 1
    frequent: Arrays = {"ids": np.arange(96).reshape(-1, 6)}
    assert torch.equal(outputs(after, frequent)[0], outputs(model, frequent)[0])


def test_a_recommenders_rare_users_and_items_share_a_row_for_the_rest() -> None:
    random, ranks = np.random.default_rng(0), np.arange(1, 101)
    items, users = (random.choice(rows, 4000, p=1 / ranks[:rows] / (1 / ranks[:rows]).sum()) for rows in (100, 100))
    module = PATIENTS["recommender"].graph()
    method = TrimVocabulary(keep=0.1)
    small = method(copied(module), context_of(module, {"user": users, "item": items}))
    assert table(small, "user").num_embeddings < 25
    assert table(small, "item").num_embeddings < 15
    rare: Arrays = {"user": np.arange(50, 200), "item": np.full(150, 0)}
    (scores,) = outputs(small, rare)
    assert torch.allclose(scores, scores[:1], rtol=1e-6), "they are one user to the model"
    frequent: Arrays = {"user": np.arange(3), "item": np.arange(3)}
    assert torch.allclose(outputs(small, frequent)[0], outputs(module, frequent)[0], rtol=1e-6)


def test_padding_is_still_padding() -> None:
    after = trimmed(TrimVocabulary(), Bag(), texts())
    padding = table(after).padding_idx
    assert padding is not None
    assert not table(after).weight[padding].any()


@settings(deadline=None)
@given(exponent=st.floats(1.1, 1.6), samples=st.integers(3000, 20000), seed=st.integers(0, 99))
def test_the_share_of_ids_to_come_that_were_never_seen_is_foretold(exponent: float, samples: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    chances = 1 / np.arange(1, 5001) ** exponent
    chances /= chances.sum()
    counted = _Table("words", nn.Embedding(5000, 1), [])
    counted.see(torch.from_numpy(random.choice(5000, samples, p=chances)))
    truth = chances[(counted.counts == 0).numpy()].sum()
    assert counted.unseen_share == pytest.approx(truth, rel=0.25, abs=3 / samples**0.5 / 10)


def test_too_few_calibration_inputs_are_told() -> None:
    with pytest.raises(NotApplicable, match=r"about .* of the ids in new inputs have no row .* give more calibration"):
        trimmed(TrimVocabulary(), Bag(), texts(samples=10, vocabulary=200))


def test_a_vocabulary_that_is_used_wholly_stays() -> None:
    ids = np.tile(np.arange(ROWS), 3).reshape(-1, 6)
    with pytest.raises(NotApplicable, match="'words' uses 500 of its 500 rows"):
        trimmed(TrimVocabulary(), Bag(), {"ids": ids})


def test_a_table_that_gives_scores_too_is_left_alone() -> None:
    with pytest.raises(NotApplicable, match="no embedding of its own is looked up by the ids of an input"):
        trimmed(TrimVocabulary(keep=0.1), Generator(), texts())


def test_positions_stay_whether_they_are_computed_or_given() -> None:
    places = np.tile(np.arange(6), (200, 1))
    after = trimmed(TrimVocabulary(), Placed(), {**texts(), "places": places})
    assert len(table(after).weight) == 42
    assert len(table(after, "positions").weight) == ROWS
    arrays = models.encoder_arrays(64)
    encoder = trimmed(TrimVocabulary(keep=0.3), models.SmallEncoder(), arrays)
    assert len(table(encoder, "positions").weight) == models.POSITIONS


def test_the_file_is_smaller_and_says_where_rows_are_in_32_bits(tmp_path: Path) -> None:
    model, arrays = Bag(), texts()
    files = {"before": graph_of(model, arrays), "after": trimmed(TrimVocabulary(), model, arrays)}
    for name, module in files.items():
        one = Modules(module, ("ids",))
        export.export_original(one, specs_of(arrays), {"ids": arrays["ids"][:2]}, tmp_path / f"{name}.onnx", 20)
    sizes = {name: (tmp_path / f"{name}.onnx").stat().st_size for name in files}
    assert sizes["before"] - sizes["after"] > (ROWS - 42) * WIDTH * 4 - ROWS * 4 - 2000
    held = {tensor.data_type for tensor in onnx.load(tmp_path / "after.onnx").graph.initializer if ROWS in tensor.dims}
    assert held == {onnx.TensorProto.INT32}


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (TrimVocabulary(keep=0.0), "keep must lie between 0 and 1, not 0.0"),
        (TrimVocabulary(keep=1.0), "keep must lie between 0 and 1, not 1.0"),
        (TrimVocabulary(risk=1.0), "risk must lie between 0 and 1, not 1.0"),
        (TrimVocabulary(unseen=ROWS), "unseen: 500, and 'words' has ids 0 to 499"),
        (TrimVocabulary(unseen=-1), "unseen: -1, and 'words' has ids 0 to 499"),
    ],
)
def test_options_out_of_range_are_refused(method: TrimVocabulary, words: str) -> None:
    with pytest.raises(CandidateError, match=words):
        trimmed(method, Bag(), texts(8))


def test_ids_without_a_row_and_missing_calibration_are_refused() -> None:
    module = graph_of(Bag(), texts(8))
    with pytest.raises(CandidateError, match="ids from 500 to 500, and 'words' has 0 to 499"):
        TrimVocabulary()(module, context_of(module, {"ids": np.full((4, 6), ROWS)}))
    with pytest.raises(CandidateError, match="of 0 calibration samples"):
        TrimVocabulary()(module, context_of(module, texts(0)))


def test_a_vocabulary_is_not_judged_by_one_text_many_times_over() -> None:
    with pytest.raises(CandidateError, match="calibration does not vary"):
        trimmed(TrimVocabulary(), Bag(), {"ids": texts(1)["ids"].repeat(64, axis=0)})


def test_models_without_a_table_are_told_so() -> None:
    module = PATIENTS["cnn"].graph()
    with pytest.raises(NotApplicable, match="no embedding of its own"):
        TrimVocabulary()(module, context_of(module, PATIENTS["cnn"].arrays(4)))
