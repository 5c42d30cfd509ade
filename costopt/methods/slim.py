"""The same graph with less in it: constants folded, dead and double nodes removed, what can be fused fused.

onnxscript's optimizer inlines functions, folds constants and removes what no output needs; onnx-ir merges equal nodes
and equal weights; ONNX Runtime then fuses what it can without leaving the standard (BatchNorm into convolutions, MatMul
and Add into Gemm). Outputs stay the same up to rounding.

Sources: https://microsoft.github.io/onnxscript/tutorial/optimizer/optimize.html and
https://onnxruntime.ai/docs/performance/model-optimizations/graph-optimizations.html (what basic and extended do).

Cost: seconds. No data needed. Helps graphs that were exported long ago or by hand, load time, and providers other than
ONNX Runtime's own; a session of ONNX Runtime does most of this itself whenever it loads a model, and torch's new
exporter runs the first half already. Hurts nothing at `level: basic`; `level: extended` writes operators that only
ONNX Runtime's own providers take.
"""

import hashlib
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import onnx
import onnx_ir
import onnxruntime
from onnx_ir.passes import Sequential
from onnx_ir.passes import common as passes
from onnxscript.optimizer import optimize_ir

from costopt import rewriting
from costopt.errors import NotApplicable
from costopt.methods import Calibration, OnnxMethod

LEVELS = {
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
}


@dataclass(frozen=True)
class Slim(OnnxMethod):
    """The same graph with less in it.

    `level` is how far ONNX Runtime may go: `basic` keeps to standard operators, `extended` does not.
    """

    exact = True

    level: Literal["basic", "extended"] = "basic"

    def __call__(self, source: Path, target: Path, calibration: Calibration) -> None:  # noqa: ARG002 - needs no data
        """Write the slimmer graph. Raises NotApplicable when it would have the same nodes and constants."""
        model = rewriting.read(source)
        slimmer = self._fused(_simplified(model))
        if _contents(model) == _contents(slimmer):
            raise NotApplicable("the graph is as slim as it gets: nothing to fold, to fuse or to remove")
        rewriting.write(slimmer, target)

    def _fused(self, model: onnx.ModelProto) -> onnx.ModelProto:
        if not rewriting.can_be_optimised(model):
            return model
        with tempfile.TemporaryDirectory(prefix="costopt-") as folder, rewriting.third_party("ONNX Runtime's fusion"):
            simplified, fused = Path(folder, "simplified.onnx"), Path(folder, "fused.onnx")
            rewriting.write(model, simplified)
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = LEVELS[self.level]
            options.optimized_model_filepath = str(fused)
            options.log_severity_level = rewriting.ERRORS_ONLY
            onnxruntime.InferenceSession(simplified, options, providers=["CPUExecutionProvider"])
            return rewriting.tidied(rewriting.read(fused))


def _simplified(model: onnx.ModelProto) -> onnx.ModelProto:
    with rewriting.third_party("onnxscript's optimizer"):
        folded = onnx_ir.from_proto(model)
        optimize_ir(folded)
        folded = onnx_ir.from_proto(onnx_ir.to_proto(folded))  # merging trips over folded transposes that are views
        simpler = Sequential(
            passes.IdentityEliminationPass(),
            passes.CommonSubexpressionEliminationPass(),
            passes.DeduplicateHashedInitializersPass(),
            passes.RemoveUnusedNodesPass(),
            passes.ClearMetadataAndDocStringPass(),
        )(folded).model
        return onnx_ir.to_proto(simpler)


def _contents(model: onnx.ModelProto) -> Counter[str]:
    """Constants and nodes, each node as a hash of its operator and of all that it reads, whatever its name and place.

    Attributes are left out, since ONNX Runtime spells out the default ones; no step above changes attributes alone.
    """
    lift = passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)
    graph = lift(onnx_ir.from_proto(model)).model.graph
    graph.sort()
    known: dict[onnx_ir.Value | None, str] = {None: ""} | {value: f"input {value.name}" for value in graph.inputs}
    for value in graph.initializers.values():
        assert value.const_value is not None
        known[value] = _digest(str(value.const_value.dtype), str(value.const_value.shape), value.const_value.tobytes())
    hashes = list(known.values())
    for node in onnx_ir.traversal.RecursiveGraphIterator(graph):
        inputs = "|".join(known.get(value, "outer") for value in node.inputs).rstrip("|")
        hashes.append(_digest(node.domain, node.op_type, inputs.encode()))
        known |= {value: f"{hashes[-1]}:{position}" for position, value in enumerate(node.outputs)}
    return Counter(hashes)


def _digest(first: str, second: str, content: bytes) -> str:
    return hashlib.sha256(f"{first}\0{second}\0".encode() + content).hexdigest()
