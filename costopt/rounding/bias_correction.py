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

from collections.abc import Iterable, Sequence

import numpy as np
import onnx

from costopt.methods import Arrays
from costopt.rounding.activations import flowing
from costopt.rounding.layers import Floats, Layer, Weights, consumers, uses
from costopt.rounding.qdq import RoundedLayer, rounded_layers


def corrected(model: onnx.ModelProto, quantised: onnx.ModelProto, inputs: Iterable[Arrays]) -> onnx.ModelProto:
    """A copy of `model` whose biases make up for what `quantised`, made from it, adds to them on average.

    Raises CandidateError when the model can't be run.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    rounded = rounded_layers(made, quantised)
    weights = Weights(made)
    for one, (mean, mean_rounded) in zip(rounded, _means(made, rounded, inputs), strict=True):
        added = _response(one.layer, one.weight, mean_rounded) - _response(one.layer, weights[one.layer.weight], mean)
        _take_off(made, one.layer, added)
    return made


def _means(
    model: onnx.ModelProto, rounded: Sequence[RoundedLayer], inputs: Iterable[Arrays]
) -> list[tuple[Floats, Floats]]:
    """The mean of each channel that flows into each layer, before and after rounding."""
    sums = [np.zeros(2, np.float64) for _ in rounded]
    batches = 0
    for arrays in flowing(model, [one.layer.input for one in rounded], inputs):
        batches += 1
        for number, one in enumerate(rounded):
            array = np.moveaxis(arrays[one.layer.input].astype(np.float32), one.layer.channel_axis, -1)
            rows = array.reshape(-1, array.shape[-1])
            sums[number] = np.stack([rows.mean(0), one.rounded(rows).mean(0)]) + (sums[number] if batches > 1 else 0)
    return [(both[0] / batches, both[1] / batches) for both in sums]


def _response(layer: Layer, weight: Floats, mean: Floats) -> Floats:
    """What each output channel gives on average when channels come in with these means. Shape: (channels out,)."""
    kernel = weight.reshape(*weight.shape[:2], -1).sum(axis=2, dtype=np.float64) / _spread(layer)
    if layer.groups == 1:
        plain: Floats = np.tensordot(mean, kernel, axes=([0], [layer.axis_in]))
        return plain
    split = kernel.reshape(layer.groups, -1, kernel.shape[1])  # a convolution's groups lie behind each other
    by_group = np.moveaxis(split, 1 + layer.axis_in, 1)  # groups, channels in, channels out
    grouped: Floats = np.einsum("gi,gio->go", mean.reshape(layer.groups, -1), by_group).reshape(-1)
    return grouped


def _spread(layer: Layer) -> int:
    """Over how many outputs what comes in at one place is spread by a transposed convolution's stride."""
    strides = [one.ints for one in layer.node.attribute if one.name == "strides"]
    return int(np.prod(strides[0])) if strides and layer.node.op_type == "ConvTranspose" else 1


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
