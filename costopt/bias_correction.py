"""Bias correction: what rounding adds to a layer's outputs on average is taken off again in its bias.

Rounded weights are a little too large or too small in sum, and a cut range takes the top off; so the mean of each
output channel moves, though the mean is what a bias is for. On calibration data, with x what flows into the layer and
W', x' what they are rounded to, the bias is lessened by

    W' E[x']  -  W E[x]

for each output channel. Only channel means of x and x' are needed; at the padded edge of a convolution they stand
in for values that are not there.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019,
arXiv:1906.04721, section 4.2; with measured means in place of those that batch normalisation implies, and the rounding
of the activation included.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray

from costopt.activations import flowing
from costopt.layers import Floats, Layer, Weights, consumers, layers, uses
from costopt.methods import Arrays


@dataclass(frozen=True)
class _Rounded:
    """A layer, the weights that the quantised graph gives it, and the scale, zero point and ends of its input."""

    layer: Layer
    weight: Floats
    scale: float
    zero: int
    ends: tuple[int, int]

    def input(self, array: Floats) -> Floats:
        """What the quantised layer reads when this flows in."""
        steps = np.clip(np.round(array / self.scale) + self.zero, *self.ends)
        rounded: Floats = ((steps - self.zero) * self.scale).astype(np.float32)
        return rounded


def corrected(model: onnx.ModelProto, quantised: onnx.ModelProto, inputs: Iterable[Arrays]) -> onnx.ModelProto:
    """A copy of `model` whose biases make up for what `quantised`, made from it, adds to them on average.

    Raises CandidateError when the model can't be run.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    rounded = _rounded(made, quantised)
    weights = Weights(made)
    for one, (mean, mean_rounded) in zip(rounded, _means(made, rounded, inputs), strict=True):
        added = _response(one.layer, one.weight, mean_rounded) - _response(one.layer, weights[one.layer.weight], mean)
        _take_off(made, one.layer, added)
    return made


def _rounded(model: onnx.ModelProto, quantised: onnx.ModelProto) -> list[_Rounded]:
    """The layers that were quantised, with what they are rounded to. A node keeps its name."""
    makers = {output: node for node in quantised.graph.node for output in node.output}
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in quantised.graph.initializer}
    after = {node.name: node for node in quantised.graph.node}
    found = []
    for layer in layers(model):
        read = after[layer.node.name].input[:2] if layer.node.name in after else []
        sources = [makers[name] for name in read if name in makers and makers[name].op_type == "DequantizeLinear"]
        if len(sources) == 2 and sources[1].input[0] in constants:
            found.append(_of(layer, sources[0], sources[1], constants))
    return found


def _of(
    layer: Layer, given: onnx.NodeProto, weight: onnx.NodeProto, constants: Mapping[str, NDArray[np.generic]]
) -> _Rounded:
    zero = constants[given.input[2]]
    limits = np.iinfo(np.uint8 if zero.dtype == np.uint8 else np.int8)
    return _Rounded(
        layer,
        _dequantised(weight, constants),
        float(constants[given.input[1]].item()),
        int(zero.item()),
        (limits.min, limits.max),
    )


def _dequantised(node: onnx.NodeProto, constants: Mapping[str, NDArray[np.generic]]) -> Floats:
    """What a `DequantizeLinear` of constants gives."""
    values, scale, zero = (constants[name].astype(np.float32) for name in node.input)
    axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    result: Floats = (values - zero.reshape(shape)) * scale.reshape(shape)
    return result


def _means(
    model: onnx.ModelProto, rounded: Sequence[_Rounded], inputs: Iterable[Arrays]
) -> list[tuple[Floats, Floats]]:
    """The mean of each channel that flows into each layer, before and after rounding."""
    sums = [np.zeros(2, np.float64) for _ in rounded]
    batches = 0
    for arrays in flowing(model, [one.layer.input for one in rounded], inputs):
        batches += 1
        for number, one in enumerate(rounded):
            array = np.moveaxis(arrays[one.layer.input].astype(np.float32), one.layer.channel_axis, -1)
            rows = array.reshape(-1, array.shape[-1])
            sums[number] = np.stack([rows.mean(0), one.input(rows).mean(0)]) + (sums[number] if batches > 1 else 0)
    return [(both[0] / batches, both[1] / batches) for both in sums]


def _response(layer: Layer, weight: Floats, mean: Floats) -> Floats:
    """What each output channel gives on average when channels come in with these means. Shape: (channels out,)."""
    kernel = weight.reshape(*weight.shape[:2], -1).sum(axis=2, dtype=np.float64)
    if layer.groups == 1:
        plain: Floats = np.tensordot(mean, kernel, axes=([0], [layer.axis_in]))
        return plain
    split = kernel.reshape(layer.groups, -1, kernel.shape[1])  # a convolution's groups lie behind each other
    by_group = np.moveaxis(split, 1 + layer.axis_in, 1)  # groups, channels in, channels out
    grouped: Floats = np.einsum("gi,gio->go", mean.reshape(layer.groups, -1), by_group).reshape(-1)
    return grouped


def _take_off(model: onnx.ModelProto, layer: Layer, added: Floats) -> None:
    """Lessen the layer's bias; one is made where there is none."""
    weights, node = Weights(model), layer.node
    bias = f"{layer.output}_corrected_bias"
    if node.op_type != "MatMul":
        old = weights[node.input[2]] if len(node.input) > 2 and node.input[2] else 0
        weights[bias] = old - added.astype(np.float32)
        del node.input[2:]
        node.input.append(bias)
        return
    following = _addition(model, layer, weights, len(added))
    if following is not None:
        place = list(following.input).index(layer.output)
        weights[bias] = weights[following.input[1 - place]] - added.astype(np.float32)
        following.input[1 - place] = bias
        return
    weights[bias] = -added.astype(np.float32)
    plain, place = f"{layer.output}_uncorrected", list(model.graph.node).index(node)
    addition = onnx.helper.make_node("Add", [plain, bias], [layer.output], f"{node.name}_correction")
    node.output[0] = plain
    model.graph.node.insert(place + 1, addition)


def _addition(model: onnx.ModelProto, layer: Layer, weights: Weights, channels: int) -> onnx.NodeProto | None:
    """The `Add` of a constant vector that alone reads what a `MatMul` gives."""
    readers = consumers(model).get(layer.output, [])
    if len(readers) != 1 or readers[0].op_type != "Add" or uses(model)[layer.output] != 1:
        return None
    (other,) = [name for name in readers[0].input if name != layer.output] or [""]
    return readers[0] if weights.is_float(other) and weights[other].shape == (channels,) else None
