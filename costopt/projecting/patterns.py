"""The patterns of nodes that reference graphs repeat, each as a function of its sizes."""

import numpy as np
import onnx

from costopt.projecting.chains import Attributes, Chain


def convolution(
    inputs: int, side: int, outputs: int, window: int, stride: int, nodes: int, *, in_8_bits: bool
) -> onnx.ModelProto:
    """Convolutions in a row; all but the first have as many input channels as output channels."""
    chain = Chain(1, inputs, side, side)
    attributes: Attributes = {"strides": [stride] * 2, "pads": [window // 2] * 4}
    for node in range(nodes):
        _add_convolution(chain, (outputs, outputs if node else inputs, window, window), attributes, in_8_bits)
    return (chain.rounded() if in_8_bits else chain).model()


def depthwise(channels: int, side: int, window: int, nodes: int, *, in_8_bits: bool) -> onnx.ModelProto:
    """Convolutions with a group for each channel."""
    chain = Chain(1, channels, side, side)
    attributes: Attributes = {"group": channels, "pads": [window // 2] * 4}
    for _ in range(nodes):
        _add_convolution(chain, (channels, 1, window, window), attributes, in_8_bits)
    return (chain.rounded() if in_8_bits else chain).model()


def _add_convolution(chain: Chain, shape: tuple[int, ...], attributes: Attributes, in_8_bits: bool) -> None:
    if in_8_bits:  # rounding cuts off what is below zero by itself
        chain.rounded().add("Conv", chain.weight_in_8_bits(*shape, axis=0), attributes=attributes)
    else:
        chain.add("Conv", chain.weight(*shape), attributes=attributes).add("Relu")


def products(rows: int, inputs: int, outputs: int, nodes: int, *, operator: str) -> onnx.ModelProto:
    """Products that go back and forth between two widths, by MatMul, Gemm or DynamicQuantizeMatMul."""
    chain = Chain(rows, inputs)
    for wide, narrow in _widths(inputs, outputs, nodes):
        match operator:
            case "Gemm":
                chain.add("Gemm", chain.weight(narrow, wide), chain.weight(narrow), attributes={"transB": 1})
            case "MatMul":
                chain.add("MatMul", chain.weight(wide, narrow))
            case _:
                values = chain.constant(np.full((wide, narrow), 3, dtype=np.int8))
                scales = chain.constant(np.full(narrow, 0.001, dtype=np.float32))
                zeros = chain.constant(np.zeros(narrow, dtype=np.int8))
                chain.add(operator, values, scales, zeros, domain="com.microsoft")
    return chain.model()


def products_in_8_bits(rows: int, inputs: int, outputs: int, nodes: int) -> onnx.ModelProto:
    """The same between pairs that round to 8 bits."""
    chain = Chain(rows, inputs)
    for wide, narrow in _widths(inputs, outputs, nodes):
        chain.rounded().add("MatMul", chain.weight_in_8_bits(wide, narrow, axis=1))
    return chain.rounded().model()


def _widths(inputs: int, outputs: int, nodes: int) -> list[tuple[int, int]]:
    return [(outputs, inputs) if node % 2 else (inputs, outputs) for node in range(nodes)]


def attention(batch: int, heads: int, places: int, width: int) -> onnx.ModelProto:
    """The two products of attention, three times over: neither side is a constant."""
    chain = Chain(batch, heads, places, width)
    turned = chain.add("Transpose", attributes={"perm": [0, 1, 3, 2]}).last
    chain.join("MatMul", ["x", turned])
    for _ in range(3):
        chain.add("MatMul", "x").add("MatMul", turned)
    return chain.model()


def recurrent(operator: str, steps: int, width: int) -> onnx.ModelProto:
    """One layer over a sequence, its state as wide as its input."""
    gates = {"LSTM": 4, "GRU": 3}[operator]
    chain = Chain(steps, 1, width)
    weights = chain.weight(1, gates * width, width), chain.weight(1, gates * width, width)
    return chain.add(operator, *weights, attributes={"hidden_size": width}).model()


def light(operator: str, shape: tuple[int, ...]) -> onnx.ModelProto:
    """Operators that do next to nothing to each element, in a row."""
    chain = Chain(*shape)
    for node in range(4):
        match operator:
            case "Add":
                chain.add("Add", "x" if node % 2 else chain.last)
            case "Relu":
                chain.add("Relu" if node % 2 else "Neg")
            case _:
                bounds = (chain.constant(np.array([end])) for end in (0, shape[0], 0))
                chain.add("Concat", chain.last, attributes={"axis": 0}).add("Slice", *bounds)
    return chain.model()


def heavy(operator: str, shape: tuple[int, ...]) -> onnx.ModelProto:
    """Operators that do much to each element, in a row; those that work on rows do so on the last axis."""
    chain = Chain(*shape)
    for _ in range(3):
        match operator:
            case "LayerNormalization":
                chain.add(operator, chain.weight(shape[-1]), chain.weight(shape[-1]))
            case "SkipLayerNormalization":
                chain.add(operator, "x", chain.weight(shape[-1]), chain.weight(shape[-1]), domain="com.microsoft")
            case "Quantize":
                chain.rounded()
            case "ReduceMean":
                axes = chain.constant(np.array([len(shape) - 1]))
                chain.add(operator, axes, attributes={"keepdims": 1}).add("Add", "x")
            case _:
                chain.add(operator)
    return chain.model()


def transposes(places: int, heads: int, width: int) -> onnx.ModelProto:
    """To heads and back, as attention does; a norm in between keeps two that undo each other apart."""
    chain = Chain(1, places, heads, width)
    for _ in range(4):
        chain.add("Transpose", attributes={"perm": [0, 2, 1, 3]})
        chain.add("LayerNormalization", chain.weight(width), chain.weight(width))
    return chain.model()


def pool(window: int, stride: int) -> onnx.ModelProto:
    """One MaxPool."""
    attributes: Attributes = {"kernel_shape": [window] * 2, "strides": [stride] * 2}
    return Chain(1, 64, 56, 56).add("MaxPool", attributes=attributes).model()


def global_pool() -> onnx.ModelProto:
    """Each channel's mean."""
    return Chain(1, 256, 14, 14).add("GlobalAveragePool").model()


def gather() -> onnx.ModelProto:
    """64 rows of a table."""
    chain = Chain(64, kind=onnx.TensorProto.INT64)
    return chain.join("Gather", [chain.weight(20_000, 384), "x"]).model()


def tiny(count: int) -> onnx.ModelProto:
    """Nodes whose work is over before it begins: what is left is the overhead."""
    chain = Chain(1, 16)
    for node in range(count):
        chain.add("Abs" if node % 2 else "Neg")
    return chain.model()
