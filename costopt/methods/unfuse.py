"""Residual sums kept apart from LayerNormalization, where ONNX Runtime's fusion of the two is slower than they are.

ONNX Runtime fuses `Add` and the `LayerNormalization` behind it into `SkipLayerNormalization`. On a CPU that kernel
takes longer than the two it replaces. It is looked for behind `Add` only; `Sum` of two inputs is the same operation
under another name, and is left alone. Nothing else changes, and no output does.

Source: measured 2026-11 on a 22.7M-parameter encoder, 64 tokens, one thread, ONNX Runtime 1.31.1, the two taking turns
on a busy 2-core x86 machine with AVX512-VNNI: float32 1.11x at batch 1 and 1.06x at batch 8, with `int8_dynamic` after
it 1.09x and 1.22x. What gained little or nothing there: one product instead of three for queries, keys and values
(0.97x to 1.01x), attention by `MultiHeadAttention` (1.02x to 1.04x).

Cost: seconds. Put it before a quantiser. Fails to help on providers that have a good fused kernel, such as CUDA.
"""

from dataclasses import dataclass
from pathlib import Path

import onnx

from costopt import rewriting
from costopt.errors import NotApplicable
from costopt.methods import Calibration, OnnxMethod
from costopt.records import Graph
from costopt.rounding.layers import consumers

SUM_BROADCASTS = 8
"""The operator set since which `Sum` stretches its inputs as `Add` does."""


@dataclass(frozen=True)
class Unfuse(OnnxMethod):
    """Residual sums kept apart from LayerNormalization."""

    exact = True

    def unsuitable(self, graph: Graph) -> str | None:
        """That there is nothing to keep apart."""
        if {"Add", "LayerNormalization"} <= set(graph.operators):
            return None
        return "the graph holds no Add with a LayerNormalization behind it"

    def __call__(self, source: Path, target: Path, calibration: Calibration) -> None:  # noqa: ARG002 - needs no data
        """Write the model with such sums as `Sum`. Raises NotApplicable when there is none."""
        model = rewriting.with_opset(rewriting.read(source), SUM_BROADCASTS)
        residuals = _residuals(model)
        if not residuals:
            raise NotApplicable("no sum of two activations has a LayerNormalization behind it")
        for node in residuals:
            node.op_type = "Sum"
        rewriting.write(model, target)


def _residuals(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Each `Add` of two activations that a `LayerNormalization` reads."""
    readers = consumers(model)
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type == "Add"
        and constants.isdisjoint(node.input)
        and any(one.op_type == "LayerNormalization" for one in readers.get(node.output[0], []))
    ]
