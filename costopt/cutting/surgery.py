"""Taking units out of a graph of modules: weights get smaller, and literal sizes in the graph follow.

`ties.structure_of` says what must go together; here it goes. A `view(x, [batch, 392])` in an exported graph has the
width of the layer before it written into it, and so have `expand`, `split` and `slice`: each is given the number that
is left. `masked` does the same to outputs without the surgery, for trying things out: it lets the weights that read the
units forget them.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch._ops import OpOverload

from costopt.cutting.ties import Axes, Structure, Work, arguments_of, structure_of
from costopt.errors import CandidateError

aten = torch.ops.aten

Gone = NDArray[np.bool_]
"""For each unit of a structure, whether it is to go."""


def macs(module: fx.GraphModule, inputs: Sequence[Tensor]) -> dict[str, int]:
    """Multiply-accumulates for one sample by node: convolutions, linear layers, products of values.

    The first axis of the first input is taken for the batch. What recurrent layers compute is not counted.
    """
    batch = len(inputs[0])
    return {one.name: one.full // batch for one in structure_of(module, inputs).work}


def parameters(module: nn.Module) -> int:
    """How many trained numbers the module holds, shared ones once."""
    return sum(one.numel() for one in module.parameters())


def parameter_bytes(module: fx.GraphModule, structure: Structure) -> tuple[Work, ...]:
    """The bytes of each parameter, shared ones once, and the axes along which they can go."""
    axes = structure.parameters
    return tuple(
        Work(name, one.nbytes, tuple(axis for axis in axes.get(name, ()) if axis is not None))
        for name, one in module.named_parameters()
    )


def copied(module: fx.GraphModule) -> fx.GraphModule:
    """A copy that shares nothing."""
    with warnings.catch_warnings():  # copying an exported graph's calling convention uses what torch deprecates itself
        warnings.simplefilter("ignore", FutureWarning)
        return copy.deepcopy(module)


def tidy(module: fx.GraphModule) -> None:
    """Drop nodes that reach no output and modules that no node calls, in place."""
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    module.recompile()


def remove(module: fx.GraphModule, structure: Structure, gone: Gone) -> None:
    """Take units out, in place. `structure` describes the module as it is before; it does not fit it afterwards.

    Raises CandidateError when an axis would be left with nothing.
    """
    for axes in (*structure.parameters.values(), *(one for several in structure.values.values() for one in several)):
        if any(axis is not None and len(axis) and not structure.kept(axis, gone).any() for axis in axes):
            raise CandidateError("compress", "a layer would be left without channels: take fewer away")
    for node in module.graph.nodes:
        _follow(node, structure, gone)
        if node.op != "placeholder":  # their sizes are the model's interface
            node.meta.pop("val", None)
    _shrink(module, structure, gone)
    module.recompile()


def _shrink(module: fx.GraphModule, structure: Structure, gone: Gone) -> None:
    """Cut every parameter and buffer; one that several modules share stays one."""
    new = {}
    for name, axes in structure.parameters.items():
        tensor = tensor_of(module, name)
        new[id(tensor)] = _cut(tensor, axes, structure, gone)
    for layer in module.modules():
        for name, parameter in list(layer._parameters.items()):
            if parameter is not None and id(parameter) in new:
                layer._parameters[name] = nn.Parameter(new[id(parameter)], parameter.requires_grad)
        for name, buffer in list(layer._buffers.items()):
            if buffer is not None and id(buffer) in new:
                layer._buffers[name] = new[id(buffer)]
        _resize(layer)


def tensor_of(module: nn.Module, name: str) -> Tensor:
    """A parameter or buffer by its name."""
    path, _, role = name.rpartition(".")
    there = module.get_submodule(path)
    return dict((*there.named_parameters(recurse=False), *there.named_buffers(recurse=False)))[role]


def _cut(tensor: Tensor, axes: Axes, structure: Structure, gone: Gone) -> Tensor:
    """The positions that stay, along every axis."""
    cut = tensor.detach()
    for dim, axis in enumerate(axes):
        kept = structure.kept(axis, gone)
        if not kept.all():
            cut = cut.index_select(dim, torch.from_numpy(np.flatnonzero(kept)).to(tensor.device))
    return cut


def _resize(layer: nn.Module) -> None:
    """Let a layer say of itself what its tensors say."""
    match layer:
        case nn.Linear():
            layer.out_features, layer.in_features = layer.weight.shape
        case nn.modules.conv._ConvNd():
            made, read = (1, 0) if layer.transposed else (0, 1)
            if layer.groups > 1:  # whole groups go, and the others keep their outputs
                layer.groups = len(layer.weight) // (layer.out_channels // layer.groups)
            layer.out_channels = layer.weight.shape[made]
            layer.in_channels = layer.weight.shape[read] * layer.groups
        case nn.modules.batchnorm._BatchNorm() if layer.running_mean is not None:
            layer.num_features = len(layer.running_mean)
        case nn.Embedding():
            layer.embedding_dim = layer.weight.shape[1]


# ---------------------------------------------------------------------------------------- sizes in the graph


def _follow(node: fx.Node, structure: Structure, gone: Gone) -> None:
    """Give a node that has sizes among its arguments those that are left."""
    if node.op != "call_function" or not isinstance(node.target, OpOverload) or not structure.values.get(node):
        return
    packet, given = node.target.overloadpacket, arguments_of(node)
    axes = structure.values[node][0]
    if packet in (aten.view, aten.reshape, aten._unsafe_view, aten.expand):
        sizes = given["shape"] if packet is aten.reshape else given["size"]
        lead = len(axes) - len(sizes)
        node.args = (node.args[0], [_length(size, axes[at + lead], structure, gone) for at, size in enumerate(sizes)])
    elif packet is aten.unflatten:
        first = given["dim"] % (len(axes) - len(given["sizes"]) + 1)
        sizes = [_length(size, axes[first + at], structure, gone) for at, size in enumerate(given["sizes"])]
        node.args = (given["self"], given["dim"], sizes)
    elif packet in (aten.split, aten.split_with_sizes, aten.chunk):
        _follow_split(node, given, structure, gone)
    elif packet is aten.slice:
        _follow_slice(node, given, structure, gone)


def _length(size: Any, axis: Any, structure: Structure, gone: Gone) -> Any:
    """The new length of an axis; what varies (-1, or computed by the graph) is left alone."""
    if axis is None or not isinstance(size, int) or size == -1:
        return size
    return int(structure.kept(axis, gone).sum())


def _follow_split(node: fx.Node, given: Mapping[str, Any], structure: Structure, gone: Gone) -> None:
    """Parts that were equal may be so no longer."""
    parts = structure.values[node]
    dim = given["dim"] % len(parts[0])
    held = [part[dim] for part in parts]
    if all(axis is None or structure.kept(axis, gone).all() for axis in held):
        return
    node.target = aten.split_with_sizes.default
    node.args = (node.all_input_nodes[0], [int(structure.kept(axis, gone).sum()) for axis in held], given["dim"])
    node.kwargs = {}


def _follow_slice(node: fx.Node, given: Mapping[str, Any], structure: Structure, gone: Gone) -> None:
    axes = structure.values[given["self"]][0]
    dim = given["dim"] % len(axes)
    kept = structure.kept(axes[dim], gone)
    if axes[dim] is None or kept.all():
        return
    start, end, _ = slice(given["start"], given["end"]).indices(len(kept))
    node.args = (given["self"], given["dim"], int(kept[:start].sum()), int(kept[:end].sum()))
    node.kwargs = {}


# ---------------------------------------------------------------------------------------- without a knife


@contextmanager
def masked(module: fx.GraphModule, structure: Structure, gone: Gone) -> Iterator[None]:
    """Let the weights that read these units forget them for a while: the outputs are as after `remove`."""
    before = {}
    for weight, axis in sorted({(reader.weight, reader.axis) for reader in structure.readers}):
        kept = structure.kept(structure.parameters[weight][axis], gone)
        if not kept.all():
            tensor = tensor_of(module, weight)
            before[tensor] = tensor.detach().clone()
            shape = [-1 if at == axis else 1 for at in range(tensor.ndim)]
            tensor.data.mul_(torch.from_numpy(kept).to(tensor).reshape(shape))
    try:
        yield
    finally:
        for tensor, values in before.items():
            tensor.data.copy_(values)
