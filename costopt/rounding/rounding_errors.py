"""Which layers of an ONNX graph hurt its outputs most when they, and they alone, are quantised.

One graph holds every layer twice over: what flows into a layer, and its weights, pass through a switch that chooses the
float32 values or the rounded ones. The switches are inputs of the graph, so that one session answers for all layers:

    x ──────────────▶ Where(switch) ─▶ layer          no new graph, no new session, one pass over the data
    └─▶ Q ─▶ DQ ─▶──────┘

The error of a layer is what its switch does to the outputs: squared, over the square of the outputs. Errors of single
layers are taken to add up, as those of independent roundings do (Dong et al., HAWQ-V2, arXiv:1911.03852, rank layers
likewise, by an estimate from the Hessian; here it is measured).
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from costopt import rewriting
from costopt.methods import Arrays
from costopt.rounding.activations import opened
from costopt.rounding.layers import Weights
from costopt.rounding.qdq import RoundedLayer

Outputs = Sequence[NDArray[np.generic]]


def errors(model: onnx.ModelProto, rounded: Sequence[RoundedLayer], inputs: Iterable[Arrays]) -> Mapping[str, float]:
    """The relative squared error of the float outputs when one layer is rounded, by the name of its node.

    Raises CandidateError when the model can't be run.
    """
    session, off = opened(with_switches(model, rounded)), switches_off(rounded)
    sums, reference_sum = dict.fromkeys((one.layer.node.name for one in rounded), 0.0), 0.0
    for batch in inputs:
        with rewriting.third_party("measuring sensitivity"):
            reference = _doubles(session.run(None, {**batch, **off}))
            reference_sum += _square(reference)
            for one in rounded:
                outputs = _doubles(session.run(None, {**batch, **off, **switch_on(one)}))
                sums[one.layer.node.name] += _square(
                    here - there for here, there in zip(outputs, reference, strict=True)
                )
    return {name: value / (reference_sum or 1.0) for name, value in sums.items()}


def with_switches(model: onnx.ModelProto, rounded: Sequence[RoundedLayer]) -> onnx.ModelProto:
    """A copy of the model with a further bool input for each layer, which turns its rounding on."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    weights, nodes = Weights(made), {node.name: node for node in made.graph.node}
    added: dict[str, list[onnx.NodeProto]] = {}
    for one in rounded:
        made.graph.input.append(onnx.helper.make_tensor_value_info(_switch(one), onnx.TensorProto.BOOL, []))
        added[one.layer.node.name] = _switched(weights, one)
        nodes[one.layer.node.name].input[:2] = [f"{_switch(one)}_input", f"{_switch(one)}_weight"]
    ordered = [part for node in made.graph.node for part in (*added.get(node.name, ()), node)]
    del made.graph.node[:]
    made.graph.node.extend(ordered)
    return made


def switches_off(rounded: Sequence[RoundedLayer]) -> dict[str, NDArray[np.bool_]]:
    """The inputs that leave every layer of `with_switches` in float32."""
    return {_switch(one): np.array(False) for one in rounded}


def switch_on(one: RoundedLayer) -> dict[str, NDArray[np.bool_]]:
    """The input that rounds this layer."""
    return {_switch(one): np.array(True)}


def _switch(one: RoundedLayer) -> str:
    return f"{one.layer.node.name}_rounded"


def _switched(weights: Weights, one: RoundedLayer) -> list[onnx.NodeProto]:
    """The nodes before a layer that choose what it reads."""
    name, node = _switch(one), onnx.helper.make_node
    weights[f"{name}_scale"] = np.array(one.scale, np.float32)
    weights.put(f"{name}_zero", one.zero)
    weights[f"{name}_values"] = one.weight
    ends = [f"{name}_scale", f"{name}_zero"]
    return [
        node("QuantizeLinear", [one.layer.input, *ends], [f"{name}_q"], f"{name}_q"),
        node("DequantizeLinear", [f"{name}_q", *ends], [f"{name}_dq"], f"{name}_dq"),
        node("Where", [name, f"{name}_dq", one.layer.input], [f"{name}_input"], f"{name}_input"),
        node("Where", [name, f"{name}_values", one.layer.weight], [f"{name}_weight"], f"{name}_weight"),
    ]


def _doubles(outputs: Outputs) -> list[NDArray[np.float64]]:
    """The floating-point outputs."""
    return [one.astype(np.float64) for one in outputs if one.dtype.kind == "f"]


def _square(arrays: Iterable[NDArray[np.float64]]) -> float:
    """The sum of the squares of all values."""
    return sum(float(np.sum(one * one)) for one in arrays)
