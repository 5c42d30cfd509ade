"""Rounding to 8 bits that can be learned through: what static quantisation will do to a model, done while it learns.

    Rounded(module, batches) ─▶ the same module, with
        weights       rounded to 255 steps around 0, a scale for each output channel
        activations   rounded to 256 steps from the lowest to the highest value, before each layer that reads them
    release() ─▶ the module as it was, with what it has learned

Rounding has no slope; gradients pass through it as though it were not there (the straight-through estimator, Bengio et
al., arXiv:1308.3432), and not at all where a value lies outside the range. Ranges of activations follow those of the
batches (Jacob et al., arXiv:1712.05877, section 3.1). The arithmetic is torch's.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrize

from costopt.cutting.observed import Inputs, values

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""What gets an integer kernel, and has its output channels on the first axis of its weights."""

LEVELS = 255
"""Steps of an unsigned byte, from the lowest value to the highest."""

LARGEST = 127
"""Steps of a signed byte on either side of 0."""

FOLLOWED = 0.01
"""How far ranges move towards those of a batch: those of a hundred batches ago count a third as much."""

TINY = 1e-8
"""The least that a scale is taken for, so that zeros have one too."""


class RoundedWeight(nn.Module):
    """Weights (out, ...) rounded to 8 bits: each output channel's largest magnitude is 127 steps."""

    def forward(self, weight: Tensor) -> Tensor:
        """The same shape."""
        largest = weight.detach().flatten(1).abs().amax(1)
        scale = (largest / LARGEST).clamp(min=TINY)
        zero = torch.zeros_like(scale, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(weight, scale, zero, 0, -LARGEST, LARGEST)


class RoundedActivation(nn.Module):
    """Activations rounded to 256 levels between `low` and `high`, which follow what is seen in training."""

    low: Tensor
    high: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def widen(self, given: Tensor) -> None:
        """Take the range of a batch in."""
        low, high = torch.aminmax(given.detach().float())
        self.low.copy_(torch.minimum(self.low, low))
        self.high.copy_(torch.maximum(self.high, high))

    def forward(self, given: Tensor) -> Tensor:
        """The same shape."""
        if self.training:
            low, high = torch.aminmax(given.detach().float())
            self.low.lerp_(low.clamp(max=0), FOLLOWED)  # 0 must have a level of its own: padding is 0
            self.high.lerp_(high.clamp(min=0), FOLLOWED)
        scale = ((self.high - self.low) / LEVELS).clamp(min=TINY)
        zero = (-self.low / scale).round().clamp(0, LEVELS).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(given, scale, zero, 0, LEVELS)


class Rounded:
    """A model that rounds as static quantisation will, until `release`. It is changed in place.

    `batches` are arguments of the model, from which ranges begin.
    """

    def __init__(self, module: fx.GraphModule, batches: Iterable[Inputs]) -> None:
        self._module = module
        self._layers = list(dict.fromkeys(module.get_submodule(str(node.target)) for node in layers(module)))
        ranges = _observed(module, [_read(node) for node in layers(module)], batches)
        self._inserted = [_insert(module, node, number) for number, node in enumerate(ranges)]
        for node, name in zip(ranges, self._inserted, strict=True):
            module.get_submodule(name).load_state_dict(ranges[node].state_dict())
        for layer in self._layers:
            parametrize.register_parametrization(layer, "weight", RoundedWeight())
        module.recompile()

    def release(self) -> None:
        """Leave the model as it was, but for its weights."""
        for layer in self._layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        for node in list(self._module.graph.nodes):
            if node.op == "call_module" and node.target in self._inserted:
                node.replace_all_uses_with(_read(node))
                self._module.graph.erase_node(node)
        for name in self._inserted:
            self._module.delete_submodule(name)
        self._module.recompile()


def layers(module: fx.GraphModule) -> list[fx.Node]:
    """The nodes of layers that get an integer kernel, in the order in which they run."""
    calls = [node for node in module.graph.nodes if node.op == "call_module"]
    return [node for node in calls if isinstance(module.get_submodule(str(node.target)), LAYERS)]


def _read(node: fx.Node) -> fx.Node:
    """The node whose value a layer reads."""
    return next(iter(node.all_input_nodes))


def _insert(module: fx.GraphModule, node: fx.Node, number: int) -> str:
    """Put rounding between a node and the layers that read it; the name of what was put there."""
    name = f"rounded_activation_{number}"
    module.add_submodule(name, RoundedActivation())
    readers = [reader for reader in node.users if reader in set(layers(module))]
    with module.graph.inserting_after(node):
        rounding = module.graph.call_module(name, (node,))
    for reader in readers:
        reader.replace_input_with(node, rounding)
    return name


def _observed(
    module: fx.GraphModule, nodes: Sequence[fx.Node], batches: Iterable[Inputs]
) -> dict[fx.Node, RoundedActivation]:
    """The range of each node's values over some batches."""
    ranges = {node: RoundedActivation() for node in nodes}
    module.eval()
    for batch in batches:
        for node, value in values(module, ranges, batch).items():
            ranges[node].widen(value)
    return ranges
