"""Static quantisation of an ONNX graph: pairs of `QuantizeLinear` and `DequantizeLinear` round what layers read.

An execution provider fuses such pairs (QDQ) with the layer between them into one integer kernel. What lies between
layers (Softmax, LayerNormalization, residual sums of a transformer) stays in float, and so do products of two
activations: with those quantised too, the error of a small transformer was 2.5 times larger. Residual sums of
convolutions are quantised, for a convolution's values would have to change their type and their layout for a sum in
float: 2.04x instead of 1.82x for the shipped CNN at batch 1 (2-core EPYC, 2026-11). ONNX Runtime's quantiser does the
work.

    prepared ─▶ Ranging.measured ─▶ Rounding.quantised
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from costopt import rewriting
from costopt.errors import CandidateError, NotApplicable
from costopt.plugins import nearest
from costopt.rounding.layers import Floats, Layer, layers

COMPUTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What gets an integer kernel."""

ABSORBED = ("Relu", "Clip")
"""What rounding does by itself, when the range ends where the activation does."""

MOVING = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice")
"""What hands on the 8-bit values that it gets, with the scale that it gets them in."""

SUMMED = ("Add",)
"""What adds up the values of convolutions."""

RANGED = (*COMPUTED, *ABSORBED)
"""Whose inputs and outputs need a range..."""

TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}

PER_CHANNEL_OPSET = 13
"""The operator set since which `DequantizeLinear` takes a scale for each channel."""

EightBits = Literal["int8", "uint8"]


def ranged(model: onnx.ModelProto) -> tuple[str, ...]:
    """... and sums, where there are convolutions: what a transformer adds (a mask of -inf) need not have a range."""
    return (*RANGED, *SUMMED) if any(node.op_type == "Conv" for node in model.graph.node) else RANGED


def ready(source: Path) -> onnx.ModelProto:
    """The model prepared for static quantisation.

    Raises NotApplicable when no layer has constant float32 weights, CandidateError for weights that are not numbers.
    """
    model = rewriting.with_opset(rewriting.prepared(source), PER_CHANNEL_OPSET)
    if not rewriting.weighted_nodes(model, COMPUTED):
        raise NotApplicable(f"no {', '.join(COMPUTED[:-1])} or {COMPUTED[-1]} reads constant float32 weights")
    refuse_damaged(model)
    return model


def refuse_damaged(model: onnx.ModelProto) -> None:
    """Raises CandidateError for the first layer whose weights hold NaN or infinity."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for layer in layers(model):
        if not np.isfinite(onnx.numpy_helper.to_array(tensors[layer.weight])).all():
            words = f"the weights of '{layer.node.name}' ({layer.node.op_type}) hold NaN or infinity: mend the model"
            raise CandidateError("compress", words)


@dataclass(frozen=True)
class Rounding:
    """The types of activations and weights; `per_channel` gives each output channel's weights a scale of their own."""

    activations: EightBits = "uint8"
    weights: EightBits = "int8"
    per_channel: bool = True

    @property
    def symmetric(self) -> bool:
        """Whether activations have 0 as their zero point: TensorRT takes signed ones in no other way."""
        return self.activations == "int8"

    def quantised(self, model: onnx.ModelProto, ranges: TensorsData, excluded: Collection[str] = ()) -> onnx.ModelProto:
        """A copy of the model with QDQ pairs round every layer but those whose nodes are called in `excluded`."""
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        with rewriting.third_party("static quantisation"):
            quantiser = QDQQuantizer(
                copied,
                per_channel=self.per_channel,
                reduce_range=False,
                weight_qType=TYPES[self.weights],
                activation_qType=TYPES[self.activations],
                tensors_range=ranges,
                nodes_to_quantize=[],
                nodes_to_exclude=_left_in_float(model, excluded),
                op_types_to_quantize=[*COMPUTED, *ABSORBED, *MOVING, *SUMMED],
                extra_options={
                    "ActivationSymmetric": self.symmetric,
                    # what follows is float (a bias, a sum, an activation): rounding before it gains nothing
                    "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
                },
            )
            quantiser.quantize_model()
            return rewriting.tidied(quantiser.model.model)


def _left_in_float(model: onnx.ModelProto, excluded: Collection[str]) -> list[str]:
    """The names of `excluded` nodes, of the activations right behind them, of products of two activations, and of sums
    but those of convolutions.

    An activation whose layer is left in float would be rounded before and after, for nothing.
    """
    constants, behind, convolved = {tensor.name for tensor in model.graph.initializer}, set[str](), set[str]()
    left = []
    for node in model.graph.node:
        follows = node.op_type in ABSORBED and node.input[0] in behind
        product = node.op_type == "MatMul" and constants.isdisjoint(node.input)
        lonely = node.op_type in SUMMED and not convolved.issuperset(node.input)
        if node.name in excluded or follows or product or lonely:
            left.append(node.name)
            behind.update(node.output)
        elif node.op_type.startswith("Conv") or (node.op_type in (*ABSORBED, *SUMMED) and node.input[0] in convolved):
            convolved.update(node.output)
    return left


@dataclass(frozen=True)
class RoundedLayer:
    """A layer, the weights that the quantised graph gives it, and the scale, zero point and ends of its input."""

    layer: Layer
    weight: Floats
    scale: float
    zero: NDArray[np.uint8 | np.int8]

    def rounded(self, array: Floats) -> Floats:
        """What the quantised layer reads when this flows in."""
        limits, zero = np.iinfo(self.zero.dtype), int(self.zero)
        steps = np.clip(np.round(array / self.scale) + zero, limits.min, limits.max)
        values: Floats = ((steps - zero) * self.scale).astype(np.float32)
        return values


def rounded_layers(model: onnx.ModelProto, quantised: onnx.ModelProto) -> list[RoundedLayer]:
    """The layers of `model` that were quantised, with what they are rounded to. A node keeps its name."""
    makers = {output: node for node in quantised.graph.node for output in node.output}
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in quantised.graph.initializer}
    after = {node.name: node for node in quantised.graph.node}
    found = []
    for layer in layers(model):
        read = after[layer.node.name].input[:2] if layer.node.name in after else []
        sources = [makers[name] for name in read if name in makers and makers[name].op_type == "DequantizeLinear"]
        if len(sources) == 2 and sources[1].input[0] in constants:
            scale, zero = (constants[name] for name in sources[0].input[1:])
            kind = np.uint8 if zero.dtype == np.uint8 else np.int8
            found.append(
                RoundedLayer(layer, _dequantised(sources[1], constants), float(scale.item()), zero.astype(kind))
            )
    return found


def _dequantised(node: onnx.NodeProto, constants: Mapping[str, NDArray[np.generic]]) -> Floats:
    """What a `DequantizeLinear` of constants gives."""
    values, scale, zero = (constants[name].astype(np.float32) for name in node.input)
    axis = next((one.i for one in node.attribute if one.name == "axis"), 1)
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis] = scale.size
    result: Floats = (values - zero.reshape(shape)) * scale.reshape(shape)
    return result


def chosen(model: onnx.ModelProto, only: str, exclude: str) -> list[Layer]:
    """The layers that two lists of operator types and node names, separated by commas, leave to be quantised.

    An empty `only` stands for all. Raises CandidateError for a name that no layer has, and when nothing is left.
    """
    found = list(layers(model))
    kept = [one for one in found if not only or _is_named(one, _names(only, found))]
    kept = [one for one in kept if not _is_named(one, _names(exclude, found))]
    if not kept:
        raise CandidateError("compress", f"only: '{only}' and exclude: '{exclude}' leave no layer to quantise")
    return kept


def _names(text: str, found: Collection[Layer]) -> set[str]:
    names = {name.strip() for name in text.split(",")} - {""}
    known = {name for one in found for name in (one.node.op_type, one.node.name)}
    if unknown := sorted(names - known):
        words = f"no layer is called '{unknown[0]}', nor is an operator with weights"
        raise CandidateError("compress", words + nearest(unknown[0], known))
    return names


def _is_named(layer: Layer, names: Collection[str]) -> bool:
    return layer.node.op_type in names or layer.node.name in names
