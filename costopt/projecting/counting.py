"""What a model has to do for one call: operations, bytes read and written, node by node.

    ONNX file ─▶ as ONNX Runtime would run it (`fused`: folded, fused) ─▶ shapes, sizes of open axes filled in ─▶ Work*

Fusion decides what is moved: a Relu that a convolution does on the way costs nothing. So the graph is counted as ONNX
Runtime's own optimiser leaves it for a CPU, before it picks memory layouts; providers with optimisers of their own fuse
much the same.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from costopt.projecting import operators
from costopt.projecting.fused import Values, optimised, values_of
from costopt.projecting.hardware import Precision
from costopt.projecting.operators import Class
from costopt.projecting.work import Work


def of_file(path: Path, sizes: Mapping[str, int]) -> tuple[Work, ...]:
    """The work of each node, in order, for one call. `sizes` fills in open axes by their names.

    Raises CandidateError for a file that can't be read, and one with an axis that has no size.
    """
    model = optimised(path, sizes)
    values = values_of(model, path, sizes)
    return tuple(_works(model.graph, values))


def _works(graph: onnx.GraphProto, values: Values) -> Iterator[Work]:
    for node in graph.node:
        kind = operators.class_of(node.op_type)
        if kind == "free":
            yield Work(node.name, node.op_type, kind, "fp32")
        else:
            yield _work(node, kind, values)


def _work(node: onnx.NodeProto, kind: Class, values: Values) -> Work:
    read = [name for name in node.input if name]
    shown = [name for name in (*read, *node.output[:1]) if not values.known(name)]
    if kind == "unknown" or shown:
        why = f"shape of {shown[0]}" if kind != "unknown" else "operator"
        return Work(node.name, node.op_type, "unknown", "fp32", why=why)
    counted = _operations(node, values)
    weights = sum(values.bytes(name) for name in read if values.is_constant(name))
    activations = sum(values.bytes(name) for name in read if not values.is_constant(name))
    written = sum(values.bytes(name) for name in node.output if name and values.known(name))
    if node.op_type in operators.GATHERS:  # not the whole table
        weights, activations = min(weights, written), min(activations, written)
    if node.op_type in operators.RECURRENT:  # the state's weights are read for each step
        weights += values.bytes(node.input[2]) * (values.shape(node.input[0])[0] - 1)
    if kind == "conv" and counted.depthwise:
        kind = "depthwise"
    return Work(
        node.name,
        node.op_type,
        kind,
        _precision(node, values),
        counted.operations,
        counted.rounded or counted.operations,
        weights,
        activations,
        written,
        counted.rows,
        counted.gathered,
    )


def _precision(node: onnx.NodeProto, values: Values) -> Precision:
    """The narrowest format among the first input and the constants with more than one element."""
    names = [name for name in node.input if name]
    sizes = [values.item_bytes(one) for one in names[:1]]
    sizes += [values.item_bytes(one) for one in names[1:] if values.is_constant(one) and values.elements(one) > 1]
    if node.op_type in ("MatMulNBits", "MatMulBnb4"):  # weights of few bits are widened, then multiplied as floats
        sizes = sizes[:1]
    narrowest = min(sizes, default=4)
    return "int8" if narrowest <= 1 else "fp16" if narrowest == 2 else "fp32"


@dataclass(frozen=True, slots=True)
class _Counted:
    operations: float
    rounded: float = 0.0
    depthwise: bool = False
    rows: float = 0.0
    gathered: float = 0.0


def _operations(node: onnx.NodeProto, values: Values) -> _Counted:
    kind = node.op_type
    if kind in operators.CONVOLUTIONS:
        return _convolution(node, values)
    if kind in operators.PRODUCTS:
        return _Counted(_product(node, values))
    if kind in operators.RECURRENT:
        return _Counted(_recurrent(node, values))
    if kind in operators.ATTENTIONS:
        return _Counted(_attention(node, values))
    if kind == "Einsum":
        return _Counted(_einsum(node, values))
    written = values.elements(node.output[0])
    if kind in operators.POOLS:
        return _Counted(written * math.prod(_ints(node, "kernel_shape")))
    if kind in operators.QUANTIZE:
        return _Counted(2.0 * written)
    most = max([written, *(values.elements(name) for name in node.input if name and not values.is_constant(name))])
    rows = 0.0
    if kind in operators.ROWWISE:
        rows = written if written < most else most / values.shape(node.output[0])[-1]
    return _Counted(operators.ELEMENTWISE[kind] * most, rows=rows)


LANES = 16
"""float32 values in a vector of 512 bits, and the channels that ONNX Runtime's blocked convolutions take together."""


def _convolution(node: onnx.NodeProto, values: Values) -> _Counted:
    """2 * outputs * input channels of a group * window; for a transposed one inputs and outputs change places."""
    linear = node.op_type.startswith(("QLinear", "NhwcQLinear"))
    weight = values.shape(node.input[3 if linear else 1])
    groups = _int(node, "group", 1)
    turned = "Transpose" in node.op_type
    counted = values.shape(node.input[0] if turned else node.output[0])
    window = math.prod(weight[2:])
    per_element = weight[1] * window
    operations = 2.0 * math.prod(counted) * per_element
    depthwise = groups > 1 and weight[1] == 1
    channels = weight[0] // groups
    wide = operations if depthwise or linear else operations * _up(channels) / channels * _up_in(weight[1]) / weight[1]
    gathered = 0.0 if window == 1 or depthwise or turned else operations / (2.0 * channels * weight[1])
    return _Counted(operations, wide, depthwise, gathered=gathered)


def _up(channels: int) -> int:
    return math.ceil(channels / LANES) * LANES


def _up_in(channels: int) -> int:
    """Fewer input channels than a block are read as they are; more come in whole blocks."""
    return channels if channels < LANES else _up(channels)


def _product(node: onnx.NodeProto, values: Values) -> float:
    """2 * elements of the result * length of the sums."""
    first = values.shape(node.input[0])
    turned = bool(_int(node, "transA", 0))
    length = first[-2] if turned and len(first) > 1 else first[-1]
    return 2.0 * values.elements(node.output[0]) * length


def _recurrent(node: onnx.NodeProto, values: Values) -> float:
    """Each step multiplies with the weights of the inputs and of the state: X is (steps, batch, width)."""
    steps, batch, _ = values.shape(node.input[0])
    return 2.0 * steps * batch * (values.elements(node.input[1]) + values.elements(node.input[2]))


def _attention(node: onnx.NodeProto, values: Values) -> float:
    """Q K' and P V; the fused forms with weights also make Q, K and V. Inputs are (batch, places, width)."""
    first = values.shape(node.input[0])
    batch, places, width = first if len(first) == 3 else (first[0], first[-2], first[1] * first[-1])
    across = 4.0 * batch * places * places * width
    if node.op_type in ("Attention", "QAttention") and node.domain == "com.microsoft":
        return across + 2.0 * batch * places * values.elements(node.input[1])
    return across


def _einsum(node: onnx.NodeProto, values: Values) -> float:
    """2 * the product of all axes that the equation names."""
    equation = next(one.s.decode() for one in node.attribute if one.name == "equation").replace(" ", "")
    terms = equation.partition("->")[0].split(",")
    axes: dict[str, int] = {}
    for term, name in zip(terms, node.input, strict=True):
        axes.update(zip(term.replace("...", "")[::-1], values.shape(name)[::-1], strict=False))
    return 2.0 * math.prod(axes.values())


def _ints(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(one.ints) for one in node.attribute if one.name == name), [1])


def _int(node: onnx.NodeProto, name: str, default: int) -> int:
    return next((one.i for one in node.attribute if one.name == name), default)
