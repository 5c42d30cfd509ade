"""Pruning weight by weight: which ones go under each rule, and what stays as it was."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Arrays
from costopt.methods.prune_weights import (
    ALWAYS_KEPT,
    PruneWeights,
    above_mean,
    best,
    best_of_all,
    best_of_each,
    pattern_of,
)
from tests.onnx_graphs import normal
from tests.torch_patients import PATIENTS, context_of, graph_of, outputs

INPUTS: Arrays = {"x": normal(64, 16)}


class Two(nn.Module):
    """A layer of large weights, and one of small ones."""

    def __init__(self) -> None:
        super().__init__()
        self.large, self.small = nn.Linear(16, 32), nn.Linear(32, 8)
        with torch.no_grad():
            self.large.weight.mul_(10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.small(self.large(x).relu())
        return out


def pruned(method: PruneWeights, model: nn.Module | None = None, arrays: Arrays = INPUTS) -> nn.Module:
    torch.manual_seed(0)
    module = graph_of(model or Two(), arrays)
    return method(module, context_of(module, arrays))


def zeros(module: nn.Module) -> dict[str, float]:
    """The share of zeros in each matrix."""
    return {name: float((one == 0).double().mean()) for name, one in module.named_parameters() if one.ndim > 1}


# ---------------------------------------------------------------------------------------- the rules


def test_of_ten_weights_those_below_their_mean_go() -> None:
    weights = torch.arange(1, 11) / 10
    assert float(weights.mean()) == pytest.approx(0.55)
    assert weights[above_mean(weights)].tolist() == pytest.approx([0.6, 0.7, 0.8, 0.9, 1.0])


@given(st.lists(st.floats(0, 10, width=32), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_the_best_are_as_many_as_asked_for_and_none_that_goes_is_larger(scores: list[float], share: float) -> None:
    score = torch.tensor(scores)
    kept = best(score, share)
    assert int((~kept).sum()) == math.floor(share * len(scores))
    assert not (~kept).any() or score[~kept].max() <= score[kept].min()


@given(st.floats(0.01, 0.99), st.floats(1e-6, 1e6))
def test_one_threshold_for_all_layers_leaves_something_of_each(share: float, scale: float) -> None:
    scores = {"one": torch.rand(10, 20), "other": torch.rand(30, 10) * scale}
    kept = best_of_all(scores, share)
    assert all(int(one.sum()) >= ALWAYS_KEPT * one.numel() for one in kept.values())
    assert sum(int((~one).sum()) for one in kept.values()) <= share * 500


@given(st.integers(1, 3), st.integers(1, 4), st.sampled_from([(2,), (2, 3, 3)]))
def test_n_of_m_neighbours_along_the_inputs_stay(keep: int, groups: int, rest: tuple[int, ...]) -> None:
    kept = best_of_each(torch.rand(5, 4 * groups, *rest[1:]), keep, 4)
    assert (kept.view(5, groups, 4, *rest[1:]).sum(2) == keep).all()


def test_magnitude_spares_the_layer_of_large_weights_and_layer_does_not() -> None:
    by_magnitude, by_layer = zeros(pruned(PruneWeights())), zeros(pruned(PruneWeights(rule="layer")))
    assert by_magnitude["small.weight"] > 0.9 > 0.5 > by_magnitude["large.weight"]
    assert by_layer == {"large.weight": 0.5, "small.weight": 0.5}


def test_mean_abs_takes_what_is_below_the_mean_of_each_layer_whatever_the_share() -> None:
    left = [zeros(pruned(PruneWeights(rule="mean_abs", share=share))) for share in (0.1, 0.9)]
    assert left[0] == left[1]
    assert all(0.4 < share < 0.6 for share in left[0].values())  # |w| is uniform from 0


def test_wanda_keeps_small_weights_of_large_inputs() -> None:
    inputs = normal(64, 16)
    inputs[:, 3] *= 1e4
    by_activations = pruned(PruneWeights(rule="wanda"), arrays={"x": inputs}).get_parameter("large.weight")
    by_size = pruned(PruneWeights(rule="layer"), arrays={"x": inputs}).get_parameter("large.weight")
    assert (by_activations[:, 3] != 0).all()
    assert (by_size[:, 3] == 0).any()
    assert ((by_activations == 0).sum(1) == 8).all()  # half of each row


def test_wanda_weighs_grouped_convolutions_by_the_inputs_of_their_own_group() -> None:
    convolution = nn.Conv2d(8, 8, 1, groups=2, bias=False)
    with torch.no_grad():
        convolution.weight.fill_(1.0)
    images = normal(16, 8, 5, 5)
    images[:, [0, 6]] *= 10  # the first input of group 0, the third of group 1
    weight = pruned(
        PruneWeights(rule="wanda", share=0.75), nn.Sequential(convolution), {"input": images}
    ).get_parameter("0.weight")
    assert weight.flatten(1).argmax(1).tolist() == [0, 0, 0, 0, 2, 2, 2, 2]
    assert int((weight != 0).sum()) == 8


def test_two_of_four_halves_each_layer_whose_inputs_come_in_fours() -> None:
    for rule in ("magnitude", "wanda"):
        assert zeros(pruned(PruneWeights(rule=rule, n_m="2:4"))) == {"large.weight": 0.5, "small.weight": 0.5}


# ---------------------------------------------------------------------------------------- what stays


@pytest.mark.parametrize("name", ["dense", "autoencoder", "shared", "recurrent"])
@pytest.mark.parametrize("rule", ["mean_abs", "wanda"])
def test_every_rule_treats_patients_of_every_kind(name: str, rule: Literal["mean_abs", "wanda"]) -> None:
    module, arrays = PATIENTS[name].graph(), PATIENTS[name].arrays(8)
    changed = PruneWeights(rule=rule)(module, context_of(module, arrays))
    assert max(zeros(changed).values()) > 0.4
    assert all(torch.isfinite(one).all() for one in outputs(changed, arrays))


def test_embeddings_biases_and_normalisation_stay() -> None:
    before = dict(PATIENTS["encoder"].graph().named_parameters())
    after = PruneWeights(share=0.9)(module := PATIENTS["encoder"].graph(), context_of(module, {}))
    looked_up = {f"{name}.weight" for name, part in after.named_modules() if isinstance(part, nn.Embedding)}
    assert looked_up
    same = {name for name, one in after.named_parameters() if torch.equal(one, before[name])}
    assert same >= looked_up | {name for name, one in before.items() if one.ndim == 1}


def test_a_weight_that_two_layers_share_is_pruned_once() -> None:
    module = PATIENTS["shared"].graph()
    changed = PruneWeights(rule="layer", share=0.25)(module, context_of(module, {}))
    assert set(zeros(changed).values()) == {0.25}


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, math.nan])
def test_a_share_of_nothing_or_all_is_refused(share: float) -> None:
    with pytest.raises(CandidateError, match=r"share is .*: it must lie between 0 \(nothing\) and 1 \(all\)"):
        pruned(PruneWeights(share=share))


@pytest.mark.parametrize("text", ["", "2", "4:4", "0:4", "5:4", "2-4", "8040"])
def test_a_pattern_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(CandidateError, match=r"such as \"2:4\" \(in quotes\)"):
        pattern_of(text)


def test_a_pattern_and_a_rule_that_count_differently_are_refused() -> None:
    with pytest.raises(CandidateError, match="n_m goes with rule magnitude or wanda, not with mean_abs"):
        pruned(PruneWeights(rule="mean_abs", n_m="2:4"))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_named(value: float) -> None:
    model = Two()
    with torch.no_grad():
        model.small.weight[0, 0] = value
    with pytest.raises(CandidateError, match=r"the weights 'small.weight' hold NaN or infinite values"):
        pruned(PruneWeights(), model)


def test_wanda_without_calibration_says_so() -> None:
    empty: Arrays = {"x": np.zeros((0, 16), np.float32)}
    module = graph_of(Two(), INPUTS)
    with pytest.raises(CandidateError, match="128 of 0 calibration samples: rule wanda needs one"):
        PruneWeights(rule="wanda")(module, context_of(module, empty))


def test_a_model_without_products_has_nothing_to_prune() -> None:
    with pytest.raises(NotApplicable, match="no layer multiplies by weights"):
        pruned(PruneWeights(), nn.LayerNorm(16), {"input": normal(4, 16)})


def test_what_is_sparse_enough_is_left_alone() -> None:
    model = Two()
    with torch.no_grad():
        for one in (model.large.weight, model.small.weight):
            one.zero_()
    with pytest.raises(NotApplicable, match="no weight would be set to zero that is not zero already"):
        pruned(PruneWeights(), model)
