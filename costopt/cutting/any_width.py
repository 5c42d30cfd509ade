"""A layer with weights, alone and at any width: as an ONNX graph of one node.

`layers` finds those of a graph of modules: convolutions, and products with a matrix of weights, whether they are
modules or calls of aten. Each is told by its `Kind`, which can be given other numbers of channels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch._ops import OpOverload

from costopt.cutting.ties import Places, Reader, Shape, Structure, arguments_of

aten = torch.ops.aten

CONVOLUTIONS = {
    aten.conv1d, aten.conv2d, aten.conv3d, aten.convolution,
    aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d,
}  # fmt: skip

OPSET, IR_VERSION = 17, 8
"""Any that knows the four operators does."""

SOME_VALUE = np.float32(0.5)
"""What all numbers are: kernels take equally long for all but denormal ones."""


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

    @property
    def constants(self) -> Mapping[str, Shape]:
        """The shapes of its weight, and of its bias if its operator takes one, by their names in `model`."""
        inputs_first = self.operator in ("ConvTranspose", "MatMul")
        inside = self.inputs // self.groups
        weight = (inside, self.outputs) if inputs_first else (self.outputs, inside)
        bias = {} if self.operator == "MatMul" else {"b": (self.outputs,)}
        return {"w": (*weight, *self.kernel)} | bias

    def input(self) -> NDArray[np.float32]:
        """Something that can flow in."""
        return np.full(self.shape, SOME_VALUE)

    def model(self) -> onnx.ModelProto:
        """The layer as an ONNX model, from `x` to `y`."""
        node = onnx.helper.make_node(self.operator, ["x", *self.constants], ["y"], "layer")
        settings: dict[str, int | Shape] = dict(self.attributes)
        if self.operator == "Gemm":
            settings["transB"] = 1
        if self.kernel:
            settings["group"] = self.groups
        node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in settings.items())
        number = onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            [node],
            "layer",
            [onnx.helper.make_tensor_value_info("x", number, self.shape)],
            [onnx.helper.make_tensor_value_info("y", number, None)],
            [onnx.numpy_helper.from_array(np.full(one, SOME_VALUE), name) for name, one in self.constants.items()],
        )
        return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def layers(
    module: fx.GraphModule, structure: Structure, shapes: Mapping[fx.Node, Sequence[Shape]]
) -> Iterator[tuple[Kind, tuple[Places, ...]]]:
    """Every layer with weights, and the axes of its inputs and outputs (of outputs alone when it has groups).

    Transposed convolutions with groups, which always keep their widths, are left out.
    """
    readers = {reader.node: reader for reader in structure.readers}
    axes = {work.name: work.axes for work in structure.work}
    for node in module.graph.nodes:
        reader = readers.get(node)
        if node.name not in axes:
            continue
        if (settings := _convolution_settings(module, structure, node, reader)) is not None:
            if settings["groups"] == 1 or not settings["transposed"]:
                ordered = axes[node.name] if settings["transposed"] else axes[node.name][::-1]
                yield _convolution(settings, shapes[node.all_input_nodes[0]][0], len(ordered[-1])), ordered
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
        return {
            "kernel": layer.kernel_size,
            "stride": layer.stride,
            "padding": layer.padding,
            "dilation": layer.dilation,
            "output_padding": layer.output_padding,
            "groups": layer.groups,
            "transposed": layer.transposed,
        }
    if reader is None or not isinstance(node.target, OpOverload) or node.target.overloadpacket not in CONVOLUTIONS:
        return None
    kernel = tuple(len(axis) for axis in structure.parameters[reader.weight][2:] if axis is not None)
    return arguments_of(node) | {"kernel": kernel, "transposed": reader.axis == 0}


def _convolution(settings: Mapping[str, Any], shape: Shape, outputs: int) -> Kind:
    """The same in ONNX's words."""
    kernel = settings["kernel"]
    strides, dilations = (_per_axis(settings[name], len(kernel)) for name in ("stride", "dilation"))
    before, after = _pads(settings["padding"], kernel, dilations)
    attributes = [("strides", strides), ("dilations", dilations), ("pads", before + after)]
    if settings["transposed"]:
        attributes.append(("output_padding", _per_axis(settings["output_padding"], len(kernel))))
    channel = len(shape) - len(kernel) - 1
    operator = "ConvTranspose" if settings["transposed"] else "Conv"
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
