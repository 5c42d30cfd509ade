"""Dead and duplicate channels and zero branches: they go, and the outputs stay."""

import pytest
import torch
from torch import Tensor, fx, nn

from costopt.errors import NotApplicable
from costopt.methods import Arrays
from costopt.methods.remove_dead import RemoveDead
from tests.onnx_graphs import normal
from tests.torch_patients import PATIENTS, context_of, graph_of, relative_error

WORN = PATIENTS["worn"]


def cleaned(module: fx.GraphModule, arrays: Arrays) -> fx.GraphModule:
    return RemoveDead()(module, context_of(module, arrays))


def widths(module: nn.Module) -> dict[str, int]:
    return {
        name: len(layer.weight) for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    }


def test_all_that_is_worn_goes_and_the_outputs_stay() -> None:
    changed = cleaned(WORN.graph(), WORN.arrays(4))
    assert widths(changed) == {"stem": 8, "wide": 16 - 3 - 2, "narrow": 8 - 1, "head": 10}
    assert relative_error(changed, WORN.graph(), WORN.arrays(16)) < 1e-6


def test_a_second_time_there_is_nothing_left() -> None:
    changed = cleaned(WORN.graph(), WORN.arrays(4))
    with pytest.raises(NotApplicable, match="no channel is constant, unread or the same"):
        cleaned(changed, WORN.arrays(4))


class Padded(nn.Module):
    """A constant channel before a padded convolution, positive or zero after the activation."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 2, 3, padding=1)
        with torch.no_grad():
            self.first.weight[1] = 0
            assert self.first.bias is not None
            self.first.bias[1] = bias

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.first(x).relu())
        return out


def test_a_constant_before_padding_goes_only_if_it_is_zero() -> None:
    arrays: Arrays = {"x": normal(4, 1, 6, 6)}
    torch.manual_seed(0)
    below, above = (graph_of(Padded(bias), arrays) for bias in (-1.0, 1.0))
    before = graph_of(Padded(-1.0), arrays)
    before.load_state_dict(below.state_dict())
    changed = cleaned(below, arrays)
    assert widths(changed) == {"first": 3, "last": 2}
    assert relative_error(changed, before, arrays) < 1e-6
    with pytest.raises(NotApplicable):
        cleaned(above, arrays)


def test_equal_weights_under_different_norms_are_no_duplicates() -> None:
    module = PATIENTS["cnn"].graph()
    weight = module.get_parameter("body.0.first.weight").data
    weight[5] = weight[2]
    with pytest.raises(NotApplicable):  # the running statistics of the two still differ
        cleaned(module, PATIENTS["cnn"].arrays(4))
    for name, tensor in module.state_dict().items():
        if name.startswith("body.0.first_norm") and tensor.ndim:
            tensor[5] = tensor[2]
    before = context_of(module, PATIENTS["cnn"].arrays(4)).original()
    changed = cleaned(module, PATIENTS["cnn"].arrays(4))
    assert widths(changed)["body.0.first"] == 7
    assert relative_error(changed, before, PATIENTS["cnn"].arrays(8)) < 1e-6


def test_a_layer_of_zeros_keeps_one_channel() -> None:
    patient = PATIENTS["lenet"]
    module, before = patient.graph(), patient.graph()
    for one in (module, before):
        one.get_parameter("hidden.weight").data.zero_()
    changed = cleaned(module, patient.arrays(4))
    assert widths(changed)["hidden"] == 1
    assert relative_error(changed, before, patient.arrays(8)) < 1e-6
