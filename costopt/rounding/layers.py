"""The layers of an ONNX graph: nodes that multiply what flows in by constant weights, and add a bias.

Methods that scale channels, correct biases or round weights all ask the same things of such a node: which axis of the
weight belongs to the channels that come in, which to those that go out, where the bias is. `Conv`, `ConvTranspose`,
`Gemm` and `MatMul` answer differently; here they answer alike.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Layer:
    """A node with a constant float32 weight, whose axes are `axis_in` and `axis_out`; `groups` split the channels.

    Of the axis that a grouped convolution splits, the weight holds one group's part: `axis_in` of `Conv`, `axis_out` of
    `ConvTranspose`.
    """

    node: onnx.NodeProto
    axis_in: int
    axis_out: int
    groups: int = 1

    @property
    def input(self) -> str:
        """The name of what flows in."""
        return str(self.node.input[0])

    @property
    def output(self) -> str:
        """The name of what flows out."""
        return str(self.node.output[0])

    @property
    def weight(self) -> str:
        """The name of the weight."""
        return str(self.node.input[1])

    @property
    def channel_axis(self) -> int:
        """The axis of channels in what flows in and out."""
        return -1 if self.node.op_type in ("MatMul", "Gemm") else 1


class Weights:
    """The constants of a graph as arrays, to be read by name and replaced in place."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Look at the initializers of `model`; an array is made when it is asked for."""
        self._graph = model.graph
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def __getitem__(self, name: str) -> Floats:
        array: Floats = onnx.numpy_helper.to_array(self._tensors[name])
        return array

    def __setitem__(self, name: str, array: Floats) -> None:
        self.put(name, array.astype(np.float32, copy=False))

    def put(self, name: str, array: NDArray[np.generic]) -> None:
        """Replace a constant of any type, or add one."""
        made = onnx.numpy_helper.from_array(array, name)
        if name in self._tensors:
            self._tensors[name].CopyFrom(made)
        else:
            self._graph.initializer.append(made)
            self._tensors[name] = self._graph.initializer[-1]

    def is_float(self, name: str) -> bool:
        """Whether there is a float32 constant of that name."""
        return name in self and self._tensors[name].data_type == onnx.TensorProto.FLOAT

    def rank(self, name: str) -> int:
        """How many axes a constant has."""
        return len(self._tensors[name].dims)


def layers(model: onnx.ModelProto) -> Iterator[Layer]:
    """Every layer of the graph, in its order."""
    weights = Weights(model)
    for node in model.graph.node:
        if len(node.input) > 1 and weights.is_float(node.input[1]):
            found = _layer(node, weights.rank(node.input[1]))
            if found is not None:
                yield found


def _layer(node: onnx.NodeProto, rank: int) -> Layer | None:
    """None for another operator, for a stack of matrices, and for a `Gemm` that scales or transposes its input."""
    options = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type == "Conv":
        return Layer(node, axis_in=1, axis_out=0, groups=options.get("group", 1))
    if node.op_type == "ConvTranspose":
        return Layer(node, axis_in=0, axis_out=1, groups=options.get("group", 1))
    if node.op_type == "MatMul" and rank == 2:
        return Layer(node, axis_in=0, axis_out=1)
    plain = options.get("alpha", 1.0) == 1.0 and options.get("beta", 1.0) == 1.0 and not options.get("transA", 0)
    if node.op_type == "Gemm" and plain:
        turned = int(options.get("transB", 0))
        return Layer(node, axis_in=turned, axis_out=1 - turned)
    return None


def uses(model: onnx.ModelProto) -> Counter[str]:
    """How often each tensor is read, by nodes (those of subgraphs too) and as an output of the graph."""
    found = Counter(one.name for one in model.graph.output)
    found.update(_read_names(model.graph))
    return found


def _read_names(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _read_names(inner)
                yield from (one.name for one in inner.output)


def drop_unread(model: onnx.ModelProto) -> None:
    """Remove the constants that nothing reads."""
    counts = uses(model)
    kept = [tensor for tensor in model.graph.initializer if counts[tensor.name]]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def consumers(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """The nodes that read each tensor, each once; those inside subgraphs are not among them."""
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            found.setdefault(name, []).append(node)
    return found


def largest(layer: Layer, weight: Floats, axis: int) -> Floats:
    """The largest magnitude of each channel's weights, over all groups. Shape: (channels,).

    `axis` is `layer.axis_in` or `layer.axis_out`.
    """
    magnitudes = np.abs(_by_group(layer, weight))
    others = tuple(one for one in range(1, magnitudes.ndim) if one != 1 + axis)
    found: Floats = magnitudes.max(axis=others).reshape(-1)
    return found


def scaled(layer: Layer, weight: Floats, axis: int, factors: Floats) -> Floats:
    """The weight with each channel multiplied by its factor, over all groups. Shape of `factors`: (channels,)."""
    grouped = _by_group(layer, weight)
    shape = [1] * grouped.ndim
    shape[0], shape[1 + axis] = layer.groups, -1
    product: Floats = (grouped * factors.reshape(shape)).reshape(weight.shape)
    return product


def _by_group(layer: Layer, weight: Floats) -> Floats:
    """The weight with an axis of groups in front: a convolution's groups lie behind each other on its first axis."""
    split: Floats = weight.reshape(layer.groups, weight.shape[0] // layer.groups, *weight.shape[1:])
    return split
