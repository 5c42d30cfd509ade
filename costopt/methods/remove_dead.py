"""Remove what the outputs don't depend on: dead channels, duplicate channels, branches that add nothing.

- A channel that no weight reads goes.
- A channel whose weights are zero is a constant: it goes, and what it brought goes into the next layer's bias. (Before
  a padded convolution only if it is zero: at the border a constant counts less.)
- Of channels with the same weights one stays, and its readers get the sum of the weights that read all of them.
- A branch whose last layer is zero is left out of the sum that it is added in.

Outputs change by rounding alone. Such layers come from training with a penalty on weights or on the scales of
BatchNorm (network slimming, Liu et al. 2017, https://arxiv.org/abs/1708.06519), from residual branches that start at
zero and were never trained, and from pruned weights. A model trained without either has none, and the method says so.
A channel that is zero only on the data that were seen is not dead: `prune_channels` takes such channels first.

Cost: one forward pass.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from costopt.cutting import surgery
from costopt.cutting.observed import Inputs, batches, values
from costopt.cutting.surgery import Gone, tensor_of
from costopt.cutting.ties import Group, Reader, Structure, structure_of
from costopt.errors import NotApplicable
from costopt.methods import Context, TorchMethod

aten = torch.ops.aten

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
LAYERS = (nn.Linear, *CONVOLUTIONS)

KEEPS_ZERO = (aten.relu.default, aten.relu_.default, aten.gelu.default, aten.silu.default, aten.dropout.default)

Constant = NDArray[np.bool_]
"""For each unit, whether its values at some node are the same for all inputs."""


@dataclass(frozen=True)
class RemoveDead(TorchMethod):
    """Remove what the outputs don't depend on: dead channels, duplicate channels, branches that add nothing."""

    exact = True

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The model without them. Raises NotApplicable when there are none."""
        surgery.tidy(module)
        branches = _leave_out(module)
        inputs = next(batches(module, context, 2, 2))
        structure = structure_of(module, inputs)
        gone = _unread(module, structure)
        gone |= _folded(module, structure, gone, inputs)
        gone |= _merged(module, structure, gone)
        if branches == 0 and not gone.any():
            raise NotApplicable("no channel is constant, unread or the same as another, and no branch is zero")
        if gone.any():
            surgery.remove(module, structure, gone)
        return module


def _read_by(structure: Structure, reader: Reader) -> NDArray[np.int64]:
    """The unit of each column of a reader."""
    return structure.units(structure.parameters[reader.weight][reader.axis])


def _at_least_one_stays(structure: Structure, gone: Gone, candidate: Gone) -> Gone:
    """Without the last channel of every layer that would have none: a layer needs one, dead or not."""
    after = candidate.copy()
    values = [one for several in structure.values.values() for one in several]
    for axes in (*structure.parameters.values(), *values):
        for axis in axes:
            if axis is not None and len(axis) and not structure.kept(axis, gone | after).any():
                units = structure.units(axis)
                after[units[after[units]][-1]] = False
    return after & ~gone


# ---------------------------------------------------------------------------------------- branches


def _leave_out(module: fx.GraphModule) -> int:
    """Replace each sum with a zero branch by the other branch; answers how many there were."""
    zero = {node for node in module.graph.nodes if node.op == "call_module" and _is_zero(module, node)}
    count = 0
    for node in module.graph.nodes:
        sources = node.all_input_nodes
        if node.target in KEEPS_ZERO and zero.issuperset(sources):
            zero.add(node)
        elif node.target is aten.add.Tensor and len(sources) == 2 and not zero.isdisjoint(sources):
            rest = [source for source in sources if source not in zero]
            if len(rest) == 1 and _alike(rest[0], node):
                node.replace_all_uses_with(rest[0])
                count += 1
    surgery.tidy(module)
    return count


def _is_zero(module: fx.GraphModule, node: fx.Node) -> bool:
    """Whether a layer gives zero, whatever it reads."""
    layer = module.get_submodule(str(node.target))
    if not isinstance(layer, (*LAYERS, *BATCH_NORMS)) or layer.weight is None:
        return False
    return bool(torch.all(layer.weight == 0)) and (layer.bias is None or bool(torch.all(layer.bias == 0)))


def _alike(one: fx.Node, other: fx.Node) -> bool:
    """Whether both are known to have the same sizes: a sum may stretch what is added."""
    first, second = one.meta.get("val"), other.meta.get("val")
    return isinstance(first, Tensor) and isinstance(second, Tensor) and first.shape == second.shape


# ---------------------------------------------------------------------------------------- unread and constant channels


def _unread(module: fx.GraphModule, structure: Structure) -> Gone:
    """Units that every weight that reads them multiplies by zero."""
    read = np.zeros(structure.count, dtype=bool)
    for reader in structure.readers:
        columns = tensor_of(module, reader.weight).detach().movedim(reader.axis, 0).flatten(1)
        units = _read_by(structure, reader)
        read[units[(columns != 0).any(1).numpy() & (units >= 0)]] = True
    grouped = np.concatenate([np.empty(0, np.int64), *(one.units for one in (*structure.groups, *structure.heads))])
    unread = np.zeros(structure.count, dtype=bool)
    unread[grouped] = ~read[grouped]
    return _at_least_one_stays(structure, np.zeros_like(unread), unread)


def _folded(module: fx.GraphModule, structure: Structure, gone: Gone, inputs: Inputs) -> Gone:
    """Units that are constants wherever they are read; their part is put into the readers' biases."""
    constant = _constants(module, structure)
    seen = values(module, {reader.source for reader in structure.readers}, inputs)
    foldable = np.ones(structure.count, dtype=bool)
    some = np.zeros(structure.count, dtype=bool)
    levels = {}
    for reader in structure.readers:
        units = _read_by(structure, reader)
        level = seen[reader.source].movedim(reader.dim, 0).flatten(1)
        levels[reader] = level[:, 0]
        fixed = (level == level[:, :1]).all(1) & ((level[:, 0] == 0) | _takes_constants(module, reader))
        fits = fixed.numpy() & constant[reader.source][units]
        foldable[units[(units >= 0) & ~fits]] = False
        some[units[units >= 0]] = True
    folded = _at_least_one_stays(structure, gone, foldable & some & ~gone)
    for reader, level in levels.items():
        columns = torch.from_numpy(~structure.kept(structure.parameters[reader.weight][reader.axis], folded))
        if (level * columns).any():
            _put_into_bias(module, reader, level * columns)
    return folded


def _takes_constants(module: fx.GraphModule, reader: Reader) -> bool:
    """Whether a constant input is a constant in the output: a layer of its own, without padding, used once."""
    if reader.node.op != "call_module":
        return False
    layer = module.get_submodule(str(reader.node.target))
    if sum(node.op == "call_module" and node.target == reader.node.target for node in module.graph.nodes) > 1:
        return False
    if isinstance(layer, CONVOLUTIONS):
        return not isinstance(layer.padding, str) and not any(layer.padding)
    return isinstance(layer, nn.Linear)


def _put_into_bias(module: fx.GraphModule, reader: Reader, level: Tensor) -> None:
    layer = module.get_submodule(str(reader.node.target))
    assert isinstance(layer, LAYERS)
    weight = layer.weight.detach().flatten(2).sum(2) if layer.weight.ndim > 2 else layer.weight.detach()
    brought = weight @ level
    layer.bias = nn.Parameter(brought if layer.bias is None else layer.bias.detach() + brought)


def _constants(module: fx.GraphModule, structure: Structure) -> dict[fx.Node, Constant]:
    """For each node, which units don't depend on the inputs there, as far as weights tell."""
    none, every = np.zeros(structure.count + 1, dtype=bool), np.ones(structure.count + 1, dtype=bool)
    every[-1] = False  # where units[-1] looks up what is fixed
    found: dict[fx.Node, Constant] = {}
    readers = {reader.node for reader in structure.readers}
    for node in module.graph.nodes:
        if node.op == "placeholder":
            found[node] = none
            continue
        # a layer makes units of its own, even where residual sums tie them to those that it reads
        held = [none] if node in readers else [found[source] for source in node.all_input_nodes]
        found[node] = np.logical_and.reduce(held) if held else every
        if node.op == "call_module":
            found[node] = found[node] | _zero_rows(module, structure, node)
    return found


def _zero_rows(module: fx.GraphModule, structure: Structure, node: fx.Node) -> Constant:
    """Units that a layer makes with weights that are all zero."""
    found = np.zeros(structure.count + 1, dtype=bool)
    layer = module.get_submodule(str(node.target))
    if isinstance(layer, (*LAYERS, *BATCH_NORMS)) and f"{node.target}.weight" in structure.parameters:
        units = structure.units(structure.parameters[f"{node.target}.weight"][0])
        zero = ~layer.weight.detach().reshape(len(units), -1).any(1).numpy()
        made = np.bincount(units[units >= 0], minlength=structure.count)
        of_zero = np.bincount(units[zero & (units >= 0)], minlength=structure.count)
        found[:-1] = (of_zero > 0) & (of_zero == made)
    return found


# ---------------------------------------------------------------------------------------- duplicates


def _merged(module: fx.GraphModule, structure: Structure, gone: Gone) -> Gone:
    """All but one of the units with the same weights; the weights that read them are added to those of the one."""
    merged = np.zeros(structure.count, dtype=bool)
    for group in (*structure.groups, *structure.heads):
        for units in _twins([unit for unit in group.units if not gone[unit]], _first_weights(module, structure, group)):
            signatures = {unit: _signature(module, structure, unit) for unit in units}
            for first, *others in _twins(units, signatures):
                for other in others:
                    merged[other] = True
                    _add_columns(module, structure, first, other)
    return merged


def _twins(units: Sequence[int], marks: Mapping[int, object]) -> list[list[int]]:
    """The units that share a mark with another one."""
    alike = defaultdict(list)
    for unit in units:
        alike[marks[unit]].append(unit)
    return [several for several in alike.values() if len(several) > 1]


def _first_weights(module: fx.GraphModule, structure: Structure, group: Group) -> dict[int, bytes]:
    """The weights of a group's units in the layer that makes them: few share these, and only those are looked at."""
    made = (
        tensor_of(module, name).detach().movedim(dim, 0)
        for name, axes in structure.parameters.items()
        for dim, axis in enumerate(axes)
        if axis is group.axis
    )
    rows, found = next(made).numpy(), defaultdict[int, bytes](bytes)
    for unit, row in zip(structure.units(group.axis), rows, strict=True):
        found[int(unit)] += row.tobytes()
    return found


def _signature(module: fx.GraphModule, structure: Structure, unit: int) -> tuple[object, ...]:
    """All numbers that make a unit, and where its values pass."""
    read = {(reader.weight, reader.axis) for reader in structure.readers}
    parts: list[object] = []
    for name, axes in structure.parameters.items():
        for dim, axis in enumerate(axes):
            at = np.flatnonzero(structure.units(axis) == unit)
            if len(at) and (name, dim) not in read:
                made = tensor_of(module, name).detach().index_select(dim, torch.from_numpy(at))
                parts.append((name, dim, made.numpy().tobytes()))
    for number, several in enumerate(structure.values.values()):
        parts += [
            (number, (structure.units(axis) == unit).sum()) for one in several for axis in one if axis is not None
        ]
    return tuple(parts)


def _add_columns(module: fx.GraphModule, structure: Structure, first: int, other: int) -> None:
    for weight, axis in sorted({(reader.weight, reader.axis) for reader in structure.readers}):
        units = structure.units(structure.parameters[weight][axis])
        to, of = (torch.from_numpy(np.flatnonzero(units == unit)) for unit in (first, other))
        tensor = tensor_of(module, weight).data
        tensor.index_add_(axis, to, tensor.index_select(axis, of))
