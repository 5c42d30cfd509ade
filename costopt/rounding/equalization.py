"""Cross-layer equalisation: channels between two layers are scaled so that both layers' weights are equally large.

What one layer gives in a channel may be divided by a factor if the next one multiplies it again, as long as only
functions lie between that let a positive factor pass (ReLU, pooling). The factor that makes the channel's largest
weight in both layers the same,

    factor = sqrt(r1 * r2) / r2        W1[channel] / factor,  b1[channel] / factor,  W2[:, channel] * factor

gives each channel as much as possible of the range of the whole tensor. Where weights have one scale a channel anyway,
what is gained is more even activations.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019,
arXiv:1906.04721, section 4.1.
"""

from collections.abc import Iterator

import numpy as np
import onnx

from costopt.errors import NotApplicable
from costopt.rounding.layers import Floats, Layer, Weights, consumers, largest, layers, scaled, uses

PASSING = frozenset({"Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool"})
"""f(c x) = c f(x) for c > 0, channel by channel."""

ROUNDS = 20
"""Chains of more than two layers are equalised pair by pair until nothing moves; three or four rounds are usual."""

MOVED = 1e-3
"""A round that changes no factor by more than this is the last."""


def equalised(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model that computes the same. Raises NotApplicable when no two layers follow each other."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    weights, found = Weights(made), list(pairs(made))
    if not found:
        raise NotApplicable("equalize: no layer is read by one other layer alone, through ReLU or pooling")
    for _ in range(ROUNDS):
        if not any([_equalise(weights, first, second) for first, second in found]):
            break
    return made


def pairs(model: onnx.ModelProto) -> Iterator[tuple[Layer, Layer]]:
    """Each layer with the only one that reads what it gives, neither sharing constants with others."""
    counts, readers, weights = uses(model), consumers(model), Weights(model)
    own = {
        one.output: one
        for one in layers(model)
        if all(counts[name] == 1 and weights.is_float(name) for name in one.node.input[1:] if name)
    }
    for first in own.values():
        second = _next(first, counts, readers, own)
        if second is not None and second.channel_axis == first.channel_axis:
            yield first, second


def _next(
    first: Layer, counts: dict[str, int], readers: dict[str, list[onnx.NodeProto]], own: dict[str, Layer]
) -> Layer | None:
    name = first.output
    while counts[name] == 1 and name in readers:
        (node,) = readers[name]
        if node.output[0] in own and node.input[0] == name:
            return own[node.output[0]]
        if node.op_type not in PASSING:
            return None
        name = node.output[0]
    return None


def _equalise(weights: Weights, first: Layer, second: Layer) -> bool:
    """Make two layers' weights equally large in each channel between them; whether anything moved."""
    one, other = weights[first.weight], weights[second.weight]
    factors = factors_of(largest(first, one, first.axis_out), largest(second, other, second.axis_in))
    weights[first.weight] = scaled(first, one, first.axis_out, np.reciprocal(factors))
    for bias in [name for name in first.node.input[2:3] if name]:
        weights[bias] = weights[bias] / factors
    weights[second.weight] = scaled(second, other, second.axis_in, factors)
    return bool(np.abs(np.log(factors)).max() > MOVED)


def factors_of(first: Floats, second: Floats) -> Floats:
    """What each channel is divided by, from its largest weights before and after; 1 for a channel that is dead."""
    alive = (first > 0) & (second > 0)
    factors: Floats = np.ones_like(first)
    factors[alive] = np.sqrt(first[alive] / second[alive])
    return factors
