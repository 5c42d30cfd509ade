"""SmoothQuant: large channels of an activation are divided by a factor, and the weights that read them multiplied.

A transformer's activations have a few channels that are a hundred times larger than the others; one scale for all of
them leaves the others a handful of steps. Weights are even, so they can take a share of the unevenness: of channel k
with largest activation a and largest weight w,

    factor[k] = a ** alpha / w ** (1 - alpha)        X / factor  @  factor * W   =   X @ W

The division is folded into the LayerNormalization or the constants that gave the activation where nobody else reads it;
elsewhere it becomes a `Mul`.

Source: Xiao et al., SmoothQuant, ICML 2023, arXiv:2211.10438, equation 4. They fold only; the `Mul` is ours, for models
that normalise after the residual sum.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx

from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Arrays
from costopt.rounding.activations import flowing
from costopt.rounding.layers import Floats, Layer, Weights, consumers, largest, layers, scaled, uses

SMOOTHED = ("MatMul", "Gemm")

LEAST = 1e-5
"""Magnitudes below this count as this: a channel that is always 0 has no factor. That of the paper's own code."""

LARGEST_FACTOR = 1e3
"""And one that is nearly always 0 must not blow up its weights when it is not."""


def smoothed(model: onnx.ModelProto, inputs: Iterable[Arrays], alpha: float) -> onnx.ModelProto:
    """A copy of the model that computes the same, with activations before products made more even.

    `alpha` says how much of the unevenness goes into the weights: 0 none of the activations', 1 all of it.
    Raises NotApplicable when there is no product, CandidateError when `alpha` is no share or the model can't be run.
    """
    if not 0 < alpha <= 1:
        words = f"smooth: {alpha} is not above 0 and up to 1 (0.5 to 0.8 is usual); leave it out to smooth nothing"
        raise CandidateError("compress", words)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    readers = _readers(made)
    if not readers:
        raise NotApplicable("smooth: no MatMul or Gemm has constant float32 weights of its own")
    for name, magnitudes in largest_channels(made, readers, inputs).items():
        _smooth(made, name, readers[name], magnitudes, alpha)
    return made


def _readers(model: onnx.ModelProto) -> dict[str, list[Layer]]:
    """The products that read each activation, but those that share their weight with another node."""
    counts, found = uses(model), defaultdict(list)
    for layer in layers(model):
        if layer.node.op_type in SMOOTHED and counts[layer.weight] == 1:
            found[layer.input].append(layer)
    return dict(found)


def largest_channels(model: onnx.ModelProto, names: Iterable[str], inputs: Iterable[Arrays]) -> Mapping[str, Floats]:
    """The largest magnitude of each channel (the last axis) of each tensor, over all inputs."""
    asked, found = list(names), dict[str, Floats]()
    for arrays in flowing(model, asked, inputs):
        for name, array in arrays.items():
            seen = np.abs(array.astype(np.float32)).reshape(-1, array.shape[-1]).max(axis=0)
            found[name] = np.maximum(found[name], seen) if name in found else seen
    return found


def _smooth(model: onnx.ModelProto, name: str, readers: Sequence[Layer], magnitudes: Floats, alpha: float) -> None:
    weights = Weights(model)
    heaviest = np.max([largest(one, weights[one.weight], one.axis_in) for one in readers], axis=0)
    factors = factors_of(magnitudes, heaviest, alpha)
    if not _folded(model, name, readers, factors):
        _insert(model, name, readers, factors)
    for layer in readers:
        weights[layer.weight] = scaled(layer, weights[layer.weight], layer.axis_in, factors)


def factors_of(activations: Floats, weights: Floats, alpha: float) -> Floats:
    """What each channel is divided by, from its largest activation and its largest weight."""
    raw = np.maximum(activations, LEAST) ** alpha / np.maximum(weights, LEAST) ** (1 - alpha)
    limited: Floats = np.clip(raw, 1 / LARGEST_FACTOR, LARGEST_FACTOR).astype(np.float32)
    return limited


def _folded(model: onnx.ModelProto, name: str, readers: Sequence[Layer], factors: Floats) -> bool:
    """Whether the division could be done by who gives the activation: nobody else reads it or its constants."""
    counts, weights = uses(model), Weights(model)
    makers = {output: node for node in model.graph.node for output in node.output}
    maker = makers.get(name)
    if maker is None or maker.op_type != "LayerNormalization" or counts[name] != len(readers):
        return False
    owned = [one for one in maker.input[1:] if one]
    if not all(weights.is_float(one) and counts[one] == 1 and weights[one].shape == factors.shape for one in owned):
        return False
    for one in owned:
        weights[one] = weights[one] / factors
    return True


def _insert(model: onnx.ModelProto, name: str, readers: Sequence[Layer], factors: Floats) -> None:
    """Let the readers read the activation through a `Mul` by 1 / factor."""
    smooth, inverse = f"{name}_smoothed", f"{name}_smoothing"
    Weights(model)[inverse] = np.reciprocal(factors)
    place = list(model.graph.node).index(readers[0].node)
    model.graph.node.insert(place, onnx.helper.make_node("Mul", [name, inverse], [smooth], smooth))
    reading = {one.output for one in readers}
    for node in consumers(model)[name]:
        if node.output[0] in reading:
            node.input[0] = smooth
