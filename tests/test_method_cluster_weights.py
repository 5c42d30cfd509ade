"""Clustering: how few values a layer is left with, how near they are, and that tuning keeps them few."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from costopt import export
from costopt.errors import CandidateError, NotApplicable
from costopt.formats import Modules
from costopt.methods.cluster_weights import ClusterWeights, Values, clustered, codebook, k_means
from tests import onnx_graphs
from tests.onnx_graphs import normal
from tests.torch_patients import PATIENTS, context_of, graph_of, relative_error, specs_of

UNTUNED = ClusterWeights(bits=3, seconds=0)
NUMBERS = arrays.arrays(np.float64, st.integers(1, 80), elements=st.floats(-100, 100, width=32))


def distinct(module: nn.Module) -> dict[str, int]:
    """How many values each tensor holds."""
    return {name: len(np.unique(one.detach().numpy())) for name, one in module.named_parameters()}


def squared_error(values: Values, book: Values) -> float:
    return float(np.sum(np.min(np.abs(values[:, None] - book), axis=1) ** 2))


# ---------------------------------------------------------------------------------------- the codebook


def test_uniform_quantization_of_0_to_1_at_8_levels_has_steps_of_a_seventh() -> None:
    """scale = (max - min) / (levels - 1); weights that are uniform already are their own codebook."""
    low, high, levels = 0.0, 1.0, 8
    step = (high - low) / (levels - 1)
    assert step == pytest.approx(1 / 7)
    uniform = np.repeat(low + step * np.arange(levels), 20)
    assert np.diff(k_means(uniform, levels)) == pytest.approx([step] * (levels - 1))


@given(NUMBERS, st.integers(2, 16))
def test_each_number_is_the_mean_of_those_that_are_nearest_to_it(values: Values, size: int) -> None:
    book = k_means(values, size)
    nearest = np.argmin(np.abs(values[:, None] - book), axis=1)
    assert len(book) <= size
    assert (np.diff(book) > 0).all()
    for place in np.unique(nearest):
        gaps = np.abs(values[nearest == place, None] - book)
        alone = np.sort(gaps, axis=1)
        if alone.shape[1] == 1 or (alone[:, 1] - alone[:, 0] > 1e-9).all():  # a tie may go to either
            assert abs(values[nearest == place].mean() - book[place]) < 1e-6 * max(1, abs(book[place]))


@pytest.mark.parametrize("seed", range(3))
def test_no_uniform_grid_is_nearer_to_weights_than_their_codebook(seed: int) -> None:
    weights = np.random.default_rng(seed).standard_t(4, 3000)
    grid = np.linspace(weights.min(), weights.max(), 16)
    assert squared_error(weights, k_means(weights, 16)) < 0.5 * squared_error(weights, grid)


@given(NUMBERS, st.integers(2, 16))
def test_zero_has_a_value_of_its_own_in_a_pruned_tensor(values: Values, size: int) -> None:
    pruned = np.concatenate([values, np.zeros(len(values))])
    assert len(codebook(pruned, size)) <= size
    left = clustered(pruned, size)
    assert (left[pruned == 0] == 0).all()
    assert len(np.unique(left)) <= size


# ---------------------------------------------------------------------------------------- models


def test_a_matrix_keeps_two_to_the_bits_values_and_biases_stay() -> None:
    module, before = PATIENTS["lenet"].graph(), PATIENTS["lenet"].graph()
    changed = UNTUNED(module, context_of(module, {}))
    values = distinct(changed)
    assert all(values[f"{name}.weight"] <= 8 for name in ("first", "second", "hidden", "head"))
    assert torch.equal(changed.get_parameter("hidden.bias"), before.get_parameter("hidden.bias"))


def test_convolutions_before_batchnorm_have_few_values_in_the_exported_file_too(tmp_path: Path) -> None:
    patient = PATIENTS["cnn"]
    module, arrays = patient.graph(), patient.arrays(2)
    changed = Modules(UNTUNED(module, context_of(module, {})), tuple(arrays))
    export.export_original(changed, specs_of(arrays), arrays, tmp_path / "model.onnx", 20)
    convolutions = [one for one in onnx_graphs.weights_of(tmp_path / "model.onnx").values() if one.ndim == 4]
    assert max(len(np.unique(one)) for one in convolutions if one.size > 100) <= 8


def test_more_bits_are_nearer() -> None:
    arrays, errors = PATIENTS["lenet"].arrays(16), []
    for bits in (2, 4, 6):
        module = PATIENTS["lenet"].graph()
        changed = ClusterWeights(bits=bits, seconds=0)(module, context_of(module, {}))
        errors.append(relative_error(changed, PATIENTS["lenet"].graph(), arrays))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_embeddings_take_part_and_small_tensors_do_not() -> None:
    module = PATIENTS["recommender"].graph()
    before = distinct(PATIENTS["recommender"].graph())
    after = distinct(ClusterWeights(bits=4, seconds=0)(module, context_of(module, {})))
    assert after["user.weight"] == 16
    assert after["head.weight"] == before["head.weight"]  # 32 numbers: the codebook would outweigh them


def test_tuning_comes_nearer_and_leaves_zeros_and_the_number_of_values_alone() -> None:
    patient = PATIENTS["lenet"]
    arrays, original = patient.arrays(64), patient.graph()
    errors = []
    for method in (ClusterWeights(bits=2, seconds=0), ClusterWeights(bits=2, steps=60)):
        module = patient.graph()
        with torch.no_grad():
            hidden = module.get_parameter("hidden.weight")
            hidden[hidden.abs() < 0.03] = 0
        zero = hidden == 0
        changed = method(module, context_of(original, arrays))
        errors.append(relative_error(changed, original, arrays))
        assert (changed.get_parameter("hidden.weight")[zero] == 0).all()
        assert all(count <= 4 for name, count in distinct(changed).items() if name.endswith("weight"))
    assert errors[1] < 0.8 * errors[0]


def test_a_shared_weight_stays_shared_and_few_valued() -> None:
    module = PATIENTS["shared"].graph()
    changed = ClusterWeights(bits=3, steps=5)(module, context_of(module, PATIENTS["shared"].arrays(32)))
    assert len(distinct(changed)) == len(distinct(PATIENTS["shared"].graph()))
    assert max(count for name, count in distinct(changed).items() if name.endswith("weight")) <= 8


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("bits", [0, 1, 9])
def test_bits_that_make_no_codebook_are_refused(bits: int) -> None:
    module = PATIENTS["lenet"].graph()
    with pytest.raises(CandidateError, match=f"bits is {bits}: a codebook has from 2 to 8 bits"):
        ClusterWeights(bits=bits)(module, context_of(module, {}))


def test_what_is_clustered_already_is_left_alone() -> None:
    module = PATIENTS["lenet"].graph()
    once = UNTUNED(module, context_of(module, {}))
    with pytest.raises(NotApplicable, match="no weight tensor has enough distinct values for a codebook of 8"):
        UNTUNED(once, context_of(once, {}))


def test_layers_of_zeros_are_left_alone() -> None:
    module = graph_of(nn.Linear(64, 64), {"input": normal(2, 64)})
    with torch.no_grad():
        module.get_parameter("weight").zero_()
    with pytest.raises(NotApplicable, match="no weight tensor"):
        UNTUNED(module, context_of(module, {}))


def test_weights_that_are_no_numbers_are_named() -> None:
    module = PATIENTS["lenet"].graph()
    with torch.no_grad():
        module.get_parameter("hidden.weight")[3, 3] = math.nan
    with pytest.raises(CandidateError, match=r"the weights 'hidden.weight' hold NaN"):
        UNTUNED(module, context_of(module, {}))


def test_no_time_for_a_single_step_says_so() -> None:
    module = PATIENTS["lenet"].graph()
    with pytest.raises(CandidateError, match="over after one step"):
        ClusterWeights(seconds=1e-9)(module, context_of(module, PATIENTS["lenet"].arrays(32)))
