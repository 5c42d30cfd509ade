"""What layers and products of values do to places."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from costopt.cutting.ties.structure import Axes, Axis, Reader, Work
from costopt.cutting.ties.walk import Arguments, Rule, Walk, unknown

aten = torch.ops.aten


def unknown_module(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    """Nothing is known about a module: its parameters and all that it reads stay as they are."""
    layer = walk.module.get_submodule(str(node.target))
    for name, _ in (*layer.named_parameters(), *layer.named_buffers()):
        walk.fix(*walk.parameter(f"{node.target}.{name}"))
    return unknown(walk, node, {})


def _own(walk: Walk, node: fx.Node, role: str) -> str | None:
    """The name of a tensor of the module that a node calls."""
    name = f"{node.target}.{role}"
    return walk.names.get(name)


def _weight_name(walk: Walk, node: object) -> str | None:
    """The parameter that a node reads, if that is what it does."""
    return walk.names.get(str(node.target)) if isinstance(node, fx.Node) and node.op == "get_attr" else None


def _linear_module(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    return _product(walk, node, node.args[0], _own(walk, node, "weight"), _own(walk, node, "bias"), (0, 1))


def _linear(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    weight, bias = _weight_name(walk, given["weight"]), _weight_name(walk, given["bias"])
    if weight is None or (given["bias"] is not None and bias is None):
        return unknown(walk, node, given)
    return _product(walk, node, given["input"], weight, bias, (0, 1))


def _product(
    walk: Walk, node: fx.Node, source: Any, weight: str | None, bias: str | None, order: tuple[int, int]
) -> Sequence[Axes]:
    """A matrix of weights, its (outputs, inputs) at the axes `order`, on the last axis of `source`."""
    assert weight is not None
    axes, matrix = walk.read(source), walk.parameter(weight)
    outputs, inputs = matrix[order[0]], matrix[order[1]]
    walk.tie(axes[-1], inputs)
    if bias is not None:
        walk.tie(walk.parameter(bias)[0], outputs)
    _reads(walk, node, source, len(axes) - 1, weight, order)
    _counts(walk, node, int(np.prod(walk.shapes[node][0])) * walk.tensors[weight].shape[order[1]], outputs, inputs)
    return [(*axes[:-1], outputs)]


def _reads(walk: Walk, node: fx.Node, source: Any, dim: int, weight: str, order: tuple[int, int]) -> None:
    walk.readers.append(Reader(node, source, dim, weight, order[1]))
    outputs = walk.parameter(weight)[order[0]]
    assert outputs is not None
    walk.roots.append((weight.removesuffix(".weight"), outputs))


def _counts(walk: Walk, node: fx.Node, macs: int, *axes: Axis) -> None:
    walk.work.append(Work(node.name, macs, tuple(axis for axis in axes if axis is not None)))


def _convolution_module(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    layer: Any = walk.module.get_submodule(str(node.target))  # one of the three convolutions
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    weight, bias = _own(walk, node, "weight"), _own(walk, node, "bias")
    assert weight is not None
    return _convolved(walk, node, node.args[0], weight, bias, layer.groups, transposed)


def _convolution(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    weight, bias = _weight_name(walk, given["weight"]), _weight_name(walk, given["bias"])
    if weight is None or (given["bias"] is not None and bias is None) or given["groups"] != 1:
        return unknown(walk, node, given)
    transposed = "output_padding" in given and given.get("transposed", True)
    return _convolved(walk, node, given["input"], weight, bias, 1, transposed)


def _convolved(
    walk: Walk, node: fx.Node, source: Any, weight: str, bias: str | None, groups: int, transposed: bool
) -> Sequence[Axes]:
    axes, kernel, shape = walk.read(source), walk.parameter(weight), walk.shapes[node][0]
    walk.fix(*kernel[2:])
    channel = len(shape) - len(kernel) + 1
    rest = (None,) * (len(kernel) - 2)
    positions = int(np.prod(walk.shapes[source][0] if transposed else shape)) // walk.tensors[weight].shape[0]
    macs = positions * walk.tensors[weight].numel()
    if groups > 1:
        outputs = _whole_groups(walk, axes[channel], kernel, groups, transposed)
        _counts(walk, node, macs, kernel[0])
    else:
        order = (1, 0) if transposed else (0, 1)
        outputs = kernel[order[0]]
        walk.tie(axes[channel], kernel[order[1]])
        _reads(walk, node, source, channel, weight, order)
        _counts(walk, node, macs, *kernel[:2])
    if bias is not None:
        walk.tie(walk.parameter(bias)[0], outputs)
    return [(*axes[:channel], outputs, *rest)]


def _whole_groups(walk: Walk, inputs: Axis, kernel: Axes, groups: int, transposed: bool) -> Axis:
    """A grouped convolution loses whole groups: the inputs and outputs of each are tied. Depthwise is groups of one."""
    walk.fix(kernel[1])
    if inputs is None or kernel[0] is None or transposed:
        walk.fix(inputs, kernel[0])
        return None if transposed else kernel[0]
    first = inputs.reshape(groups, -1)[:, :1]
    for one in (inputs, kernel[0]):
        rows = one.reshape(groups, -1)
        walk.tie(np.broadcast_to(first, rows.shape).ravel(), one)
    return kernel[0]


def _batch_norm_module(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    axes = walk.read(node.args[0])
    for role in ("weight", "bias", "running_mean", "running_var"):
        name = _own(walk, node, role)
        if name is not None:
            walk.tie(walk.parameter(name)[0], axes[1])
    return [axes]


def _batch_norm(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    axes = walk.read(given["input"])
    if given["training"]:
        return unknown(walk, node, given)
    for role in ("weight", "bias", "running_mean", "running_var"):
        if given[role] is not None:
            walk.tie(walk.read(given[role])[0], axes[1])
    return [axes]


def _prelu(walk: Walk, _: fx.Node, given: Arguments) -> Sequence[Axes]:
    axes, slopes = walk.read(given["self"]), walk.read(given["weight"])
    walk.tie(slopes[0], axes[1] if len(axes) > 1 else None)
    return [axes]


def _embedding_module(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    weight = _own(walk, node, "weight")
    assert weight is not None
    rows, columns = walk.parameter(weight)
    walk.fix(rows)
    assert columns is not None
    walk.roots.append((weight.removesuffix(".weight"), columns))
    return [(*walk.read(node.args[0]), columns)]


def _alike_module(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    return [walk.read(node.args[0])]


# ---------------------------------------------------------------------------------------- products of values


def _matmul(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    """The product of two values; a parameter on the right is a layer's weight."""
    left, right = given["self"], given.get("other", given.get("mat2"))
    weight = _weight_name(walk, right)
    if weight is not None and len(walk.parameter(weight)) == 2:
        return _product(walk, node, left, weight, None, (1, 0))
    one, other = walk.read(left), walk.read(right)
    if min(len(one), len(other)) < 2 or len(one) != len(other):
        return unknown(walk, node, given)
    walk.fix(one[-1], other[-2])  # no weight reads what is summed over: nothing tells what it is worth
    batch = walk.joined(node, (left, right), slice(None, -2))
    size = walk.shapes[left][0][-1]
    heads = [axis for axis in batch if axis is not None]
    walk.products += heads
    _counts(walk, node, int(np.prod(walk.shapes[node][0])) * size, *heads, one[-2], other[-1])
    return [(*batch, one[-2], other[-1])]


def _addmm(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    weight, bias = _weight_name(walk, given["mat2"]), _weight_name(walk, given["self"])
    if weight is None or bias is None or len(walk.parameter(bias)) != 1:
        return unknown(walk, node, given)
    return _product(walk, node, given["mat1"], weight, bias, (1, 0))


def _attention(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    """Heads are the last of the leading axes. The width of a head is in the scale, and stays."""
    query, key, value = (walk.read(given[role]) for role in ("query", "key", "value"))
    if given["enable_gqa"]:
        return unknown(walk, node, given)
    walk.fix(query[-1], key[-1], value[-1])
    mask = [given["attn_mask"]] if given["attn_mask"] is not None else []
    batch = walk.joined(node, (given["query"], given["key"], given["value"], *mask), slice(None, -2))
    heads = [axis for axis in batch if axis is not None]
    walk.products += heads
    queries, keys = walk.shapes[given["query"]][0], walk.shapes[given["key"]][0]
    _counts(walk, node, 2 * int(np.prod(queries)) * keys[-2], *heads)
    return [(*batch, query[-2], None)]


MODULES: Mapping[type, Callable[[Walk, fx.Node], Sequence[Axes]]] = {
    nn.Linear: _linear_module,
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution_module),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _convolution_module),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _batch_norm_module),
    nn.Embedding: _embedding_module,
    **dict.fromkeys((nn.ReLU, nn.GELU, nn.SiLU, nn.Dropout, nn.Identity), _alike_module),
}

LAYERS: Mapping[object, Rule] = {
    aten.linear: _linear,
    **dict.fromkeys((aten.conv1d, aten.conv2d, aten.conv3d, aten.convolution), _convolution),
    **dict.fromkeys((aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d), _convolution),
    aten.batch_norm: _batch_norm,
    aten.prelu: _prelu,
    **dict.fromkeys((aten.matmul, aten.bmm, aten.mm), _matmul),
    aten.addmm: _addmm,
    aten.scaled_dot_product_attention: _attention,
}
