"""`prune_tokens`: behind some layer, sequences have every second place only, and nothing else changes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx, nn

from costopt import export
from costopt.cutting.surgery import macs
from costopt.errors import CandidateError, NotApplicable
from costopt.formats import Modules
from costopt.methods import Arrays
from costopt.methods.prune_tokens import PruneTokens
from costopt.parity import parity
from costopt.records import Graph, InputSpec
from tests import models
from tests.torch_patients import TEXTS, Classifier, context_of, graph_of, outputs


def texts(samples: int = 8, length: int = 12) -> Arrays:
    return models.encoder_arrays(samples, length)


def graph(model: nn.Module) -> fx.GraphModule:
    return graph_of(model, texts(), TEXTS)


def pruned(method: PruneTokens, module: fx.GraphModule) -> fx.GraphModule:
    return method(module, context_of(module, texts()))


@pytest.mark.slow
@pytest.mark.parametrize(("after", "every"), [(1, 2), (2, 3), (3, 2)])
@pytest.mark.parametrize("length", [1, 2, 9, 12])
def test_it_computes_what_a_model_with_shorter_sequences_would(after: int, every: int, length: int) -> None:
    module = pruned(PruneTokens(after=after, every=every), graph(Classifier()))
    by_hand = Classifier(after=after, every=every).eval()
    arrays = texts(3, length)
    assert torch.allclose(outputs(module, arrays)[0], outputs(by_hand, arrays)[0], atol=1e-6)


def test_padding_changes_nothing_so_it_may_be_trimmed_afterwards() -> None:
    module = pruned(PruneTokens(), graph(Classifier()))
    arrays = texts(16, 12)
    longest = int(arrays["attention_mask"].sum(axis=1).max())
    padded = {name: np.pad(array, ((0, 0), (0, 7))) for name, array in arrays.items()}
    assert longest <= 12
    assert torch.allclose(outputs(module, arrays)[0], outputs(module, padded)[0], atol=1e-6)


@pytest.mark.parametrize("asked", [0.15, 0.25, 0.37, 0.5])
def test_about_as_much_work_goes_as_was_asked_for(asked: float) -> None:
    inputs = tuple(torch.from_numpy(array) for array in texts(2, 12).values())
    module = graph(Classifier(layers=6))
    before = sum(macs(module, inputs).values())
    after = sum(macs(pruned(PruneTokens(macs=asked), module), inputs).values())
    assert 1 - after / before == pytest.approx(asked, abs=0.06)


@pytest.mark.slow
def test_the_file_takes_sequences_of_any_length(tmp_path: Path) -> None:
    module = pruned(PruneTokens(), graph(Classifier()))
    changed, target = Modules(module, ("input_ids", "attention_mask")), tmp_path / "model.onnx"
    export.export_original(changed, TEXTS, texts(3), target, 20)
    assert parity(changed, target, [texts(3, 12), texts(2, 5), texts(1, 1)]).samples == 6


def test_a_model_with_an_answer_for_each_token_keeps_them_all() -> None:
    with pytest.raises(NotApplicable, match="for each place"):
        pruned(PruneTokens(), graph(models.small_encoder()))
    per_token = (InputSpec("last_hidden", ("batch", "sequence", 64), "float32"),)
    described = Graph(TEXTS, per_token, {}, {}, opset=20, size_bytes=0)
    assert PruneTokens().unsuitable(described) == "'last_hidden' has a value for each place of a sequence"


def test_sequences_of_a_fixed_length_stay_as_they_are() -> None:
    with pytest.raises(NotApplicable, match="whose length varies"):
        pruned(PruneTokens(), graph_of(Classifier(), texts()))


def test_a_model_without_residual_layers_has_nowhere_to_cut() -> None:
    with pytest.raises(NotApplicable, match="nowhere to cut"):
        pruned(PruneTokens(), graph(Classifier(layers=0)))


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (PruneTokens(macs=0), "macs must lie between 0 and 1, not 0"),
        (PruneTokens(macs=1), "macs must lie between 0 and 1, not 1"),
        (PruneTokens(after=1), "give both"),
        (PruneTokens(after=0, every=2), "after must be at least 1, not 0"),
        (PruneTokens(after=1, every=1), "every must be 2, 3 or 4, not 1"),
        (PruneTokens(after=1, every=5), "every must be 2, 3 or 4, not 5"),
        (PruneTokens(after=4, every=2), "after: 4, and there are 3"),
    ],
    ids=str,
)
def test_a_bad_option_is_refused_in_words(method: PruneTokens, words: str) -> None:
    with pytest.raises(CandidateError, match=words):
        pruned(method, graph(Classifier()))
