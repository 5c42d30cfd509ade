"""How long a layer takes at every width that it could have, on this machine.

Work and time are different things: a kernel that computes 16 channels at a time takes as long for 17 as for 32, and
one that waits for memory gains nothing from less arithmetic. So each layer is rebuilt alone as an ONNX graph of one
node, with the shape that really flows into it, at a grid of widths of its inputs and outputs, and timed by ONNX Runtime
on one thread; between the widths of the grid, time is interpolated. Layers that are alike (operator, attributes, sizes,
widths) are measured once. Such tables of times by layer and width are those of NetAdapt (Yang et al. 2018,
https://arxiv.org/abs/1804.03230, section 3.3).

Only layers with weights are timed: convolutions and products with a matrix. Activations are fused into them or cheap
beside them, and attention's products have no width that channel pruning changes.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch._ops import OpOverload

from costopt.layer_times import fastest_ms
from costopt.ties import Places, Reader, Shape, Structure, arguments_of

CALLS = 5
"""Timed calls of each layer at each width, of which the fastest counts."""

aten = torch.ops.aten

CONVOLUTIONS = {
    aten.conv1d, aten.conv2d, aten.conv3d, aten.convolution,
    aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d,
}  # fmt: skip

OPSET, IR_VERSION = 17, 8
"""Of the graphs that are timed: any that knows these four operators does."""

REORDERING = frozenset({"ReorderInput", "ReorderOutput"})
"""ONNX Runtime's convolutions keep channels in blocks; between two of them nothing is put into another order."""

SOME_VALUE = 0.5
"""What all numbers are in a layer that is timed: kernels take equally long for all but denormal ones."""


@dataclass(frozen=True)
class Kind:
    """What layers that take equally long have in common: operator, attributes, and sizes.

    `shape` is that of what flows in, with the channels at its axis `channel`. `kernel` is the shape of the weight
    beyond its channels. A layer in `groups` has as many inputs and outputs in each of them whatever goes.
    """

    operator: str
    shape: Shape
    channel: int
    outputs: int
    kernel: Shape = ()
    attributes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    groups: int = 1

    @property
    def inputs(self) -> int:
        """How many channels flow in."""
        return self.shape[self.channel]

    def of_widths(self, widths: Sequence[int]) -> "Kind":
        """The same with these numbers of inputs and outputs; of outputs only when it has several groups."""
        *read, outputs = widths
        groups = self.groups * outputs // self.outputs if self.groups > 1 else 1
        inputs = read[0] if self.groups == 1 else self.inputs * groups // self.groups
        shape = tuple(inputs if axis == self.channel else size for axis, size in enumerate(self.shape))
        return replace(self, shape=shape, outputs=outputs, groups=groups)


@dataclass(frozen=True)
class WidthTimes:
    """The milliseconds of a layer, one axis for each of its `axes`, measured at `widths` (ascending) along each."""

    axes: tuple[Places, ...]
    widths: tuple[Places, ...]
    times_ms: NDArray[np.float64]

    def at(self, widths: Sequence[int]) -> float:
        """The time when so many places are left on each axis, interpolated linearly along one after the other."""
        found = self.times_ms
        for width, known in zip(widths, self.widths, strict=True):
            place = float(np.interp(width, known, np.arange(len(known))))
            low = int(place)
            high = min(low + 1, len(known) - 1)
            found = found[low] + (place - low) * (found[high] - found[low])
        return float(found)


def width_times(
    module: fx.GraphModule,
    structure: Structure,
    shapes: Mapping[fx.Node, Sequence[Shape]],
    levels: Sequence[NDArray[np.bool_]],
) -> list[WidthTimes]:
    """The times of every layer with weights, by its widths.

    `shapes` are those of all values for the batch that is to be timed. Each of `levels` marks units that may be gone
    together; what they leave of an axis are the widths at which it is measured.
    Raises CandidateError when ONNX Runtime can't run a layer.
    """
    known: dict[Kind, float] = {}
    return [
        _measured(kind, axes, [_widths(structure, axis, levels) for axis in axes], known)
        for kind, axes in layers(module, structure, shapes)
    ]


def _widths(structure: Structure, axis: Places, levels: Sequence[NDArray[np.bool_]]) -> Places:
    """How many places the levels leave on an axis, ascending."""
    left = {int(structure.kept(axis, gone).sum()) for gone in levels}
    return np.array(sorted(left - {0}), dtype=np.int64)


def _measured(kind: Kind, axes: tuple[Places, ...], widths: Sequence[Places], known: dict[Kind, float]) -> WidthTimes:
    """The table of one layer; `known` holds what was measured already."""
    times_ms = []
    for one in itertools.product(*widths):
        there = kind.of_widths([int(width) for width in one])
        if there not in known:
            known[there] = kind_ms(there)
        times_ms.append(known[there])
    return WidthTimes(axes, tuple(widths), np.array(times_ms).reshape([len(one) for one in widths]))


def kind_ms(kind: Kind) -> float:
    """The milliseconds of a layer alone on one thread: of its fastest call, as what disturbs one only adds to it."""
    return fastest_ms(one_node(kind), {"x": np.full(kind.shape, SOME_VALUE, np.float32)}, REORDERING, CALLS)


def one_node(kind: Kind) -> onnx.ModelProto:
    """The layer as an ONNX model, from `x` to `y`."""
    inside, outside = kind.inputs // kind.groups, kind.outputs
    across = kind.operator in ("ConvTranspose", "MatMul")  # the weight has its inputs first
    weight = (kind.inputs, outside // kind.groups) if across else (outside, inside)
    constants = {"w": (*weight, *kind.kernel)} | ({"b": (outside,)} if kind.operator != "MatMul" else {})
    node = onnx.helper.make_node(kind.operator, ["x", *constants], ["y"], "layer")
    settings = dict(kind.attributes) | ({"transB": 1} if kind.operator == "Gemm" else {})
    settings |= {"group": kind.groups} if kind.kernel else {}
    node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in settings.items())
    number = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [node],
        "layer",
        [onnx.helper.make_tensor_value_info("x", number, kind.shape)],
        [onnx.helper.make_tensor_value_info("y", number, None)],
        [onnx.numpy_helper.from_array(np.full(size, SOME_VALUE, np.float32), name) for name, size in constants.items()],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


# ---------------------------------------------------------------------------------------- the layers of a graph


def layers(
    module: fx.GraphModule, structure: Structure, shapes: Mapping[fx.Node, Sequence[Shape]]
) -> Iterator[tuple[Kind, tuple[Places, ...]]]:
    """Every layer with weights, and the axes of its inputs and outputs (of outputs alone when it has groups)."""
    readers = {reader.node: reader for reader in structure.readers}
    axes = {work.name: work.axes for work in structure.work}
    for node in module.graph.nodes:
        reader = readers.get(node)
        if node.name in axes and (settings := _convolution_settings(module, structure, node, reader)) is not None:
            transposed = reader is not None and reader.axis == 0
            ordered = axes[node.name] if transposed else axes[node.name][::-1]
            shape = shapes[node.all_input_nodes[0]][0]
            yield _convolution(settings, shape, len(ordered[-1]), transposed), ordered
        elif reader is not None:
            outputs, inputs = axes[node.name]
            shape = shapes[reader.source][0]
            yield Kind("Gemm" if len(shape) == 2 else "MatMul", shape, len(shape) - 1, len(outputs)), (inputs, outputs)


def _convolution_settings(
    module: fx.GraphModule, structure: Structure, node: fx.Node, reader: Reader | None
) -> Mapping[str, Any] | None:
    """A convolution's settings by their names in aten, and its `kernel`; None for another node."""
    if node.op == "call_module":
        layer = module.get_submodule(str(node.target))
        if not isinstance(layer, nn.modules.conv._ConvNd):
            return None
        names = ("stride", "padding", "dilation", "output_padding", "groups")
        return {name: layer.__dict__[name] for name in names} | {"kernel": layer.kernel_size}
    if reader is None or not isinstance(node.target, OpOverload) or node.target.overloadpacket not in CONVOLUTIONS:
        return None
    kernel = tuple(len(axis or ()) for axis in structure.parameters[reader.weight][2:])
    return arguments_of(node) | {"kernel": kernel}


def _convolution(settings: Mapping[str, Any], shape: Shape, outputs: int, transposed: bool) -> Kind:
    """The same in ONNX's words."""
    kernel = settings["kernel"]
    strides, dilations = (_per_axis(settings[name], len(kernel)) for name in ("stride", "dilation"))
    before, after = _pads(settings["padding"], kernel, dilations)
    attributes = [("strides", strides), ("dilations", dilations), ("pads", before + after)]
    if transposed:
        attributes.append(("output_padding", _per_axis(settings["output_padding"], len(kernel))))
    channel = len(shape) - len(kernel) - 1
    operator = "ConvTranspose" if transposed else "Conv"
    return Kind(operator, shape, channel, outputs, kernel, tuple(attributes), settings["groups"])


def _pads(padding: str | Sequence[int], kernel: Shape, dilations: Shape) -> tuple[Shape, Shape]:
    """Before and after each axis. "same" pads so that nothing gets smaller, the odd one after."""
    if padding == "same":
        both = [step * (size - 1) for step, size in zip(dilations, kernel, strict=True)]
        return tuple(one // 2 for one in both), tuple(one - one // 2 for one in both)
    pads = (0,) * len(kernel) if isinstance(padding, str) else _per_axis(padding, len(kernel))
    return pads, pads


def _per_axis(setting: Sequence[int], axes: int) -> Shape:
    """aten takes one number for all axes."""
    return tuple(setting) * axes if len(setting) == 1 else tuple(setting)
