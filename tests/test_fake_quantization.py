"""Rounding that is learned through: what is rounded, how finely, and that nothing of it is left afterwards."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from costopt.learning.fake_quantization import LEVELS, Rounded, RoundedActivation, RoundedWeight, layers
from tests.torch_patients import PATIENTS

numbers = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=20)


def rounded_by(values: list[float]) -> RoundedActivation:
    """An activation whose range are these values."""
    made = RoundedActivation().eval()
    made.widen(torch.tensor(values))
    return made


@given(numbers)
def test_activations_move_by_half_a_step_at_most_and_zero_stays_zero(values: list[float]) -> None:
    given_, made = torch.tensor([*values, 0.0]), rounded_by(values)
    step = float(made.high - made.low) / LEVELS
    after = made(given_)
    assert float((after - given_).abs().max()) <= step * (1 + 1e-3) + 1e-7  # the zero point may move an end by half
    assert after[-1] == 0


@given(st.lists(numbers, min_size=1, max_size=4))
def test_weights_of_an_output_channel_have_a_scale_of_their_own(rows: list[list[float]]) -> None:
    weight = torch.zeros(len(rows), 20)
    for row, values in enumerate(rows):
        weight[row, : len(values)] = torch.tensor(values)
    after = RoundedWeight()(weight)
    half = weight.abs().amax(1, keepdim=True) / 127 / 2
    assert ((after - weight).abs() <= half * (1 + 1e-4) + 1e-8).all()


def test_gradients_pass_where_values_lie_inside_the_range() -> None:
    made = rounded_by([-1.0, 1.0])
    values = torch.tensor([-3.0, -0.5, 0.5, 3.0], requires_grad=True)
    made(values).sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_ranges_follow_the_batches_in_training_alone() -> None:
    made = rounded_by([-1.0, 1.0])
    made(torch.full((4,), 9.0))
    assert float(made.high) == 1.0
    made.train()
    for _ in range(1000):
        made(torch.tensor([-2.0, 3.0]))
    assert [float(made.low), float(made.high)] == pytest.approx([-2.0, 3.0], abs=1e-2)


def patient(name: str) -> tuple[fx.GraphModule, list[tuple[Tensor, ...]]]:
    module = PATIENTS[name].graph()
    return module, [tuple(torch.from_numpy(np.array(one)) for one in PATIENTS[name].arrays(8).values())]


@pytest.mark.parametrize("name", ["cnn", "encoder", "shared", "recommender"])
def test_a_model_is_rounded_a_little_and_left_exactly_as_it_was(name: str) -> None:
    module, batches = patient(name)
    before, names, code = [leaf.clone() for leaf in flat(module, batches)], set(module.state_dict()), module.code
    made = Rounded(module, batches)
    errors = [
        float((one - other).norm() / other.norm()) for one, other in zip(flat(module, batches), before, strict=True)
    ]
    made.release()
    assert all(0 < error < 0.2 for error in errors), errors
    assert all(torch.equal(one, other) for one, other in zip(flat(module, batches), before, strict=True))
    assert (set(module.state_dict()), module.code) == (names, code)


def flat(module: nn.Module, batches: list[tuple[Tensor, ...]]) -> list[Tensor]:
    with torch.no_grad():
        leaves: list[object] = torch.utils._pytree.tree_leaves(module(*batches[0]))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def test_what_several_layers_read_is_rounded_once() -> None:
    module, batches = patient("encoder")
    read = {node.all_input_nodes[0] for node in layers(module)}
    made = Rounded(module, batches)
    assert sum(isinstance(part, RoundedActivation) for part in module.modules()) == len(read) < len(layers(module)) + 1
    made.release()
