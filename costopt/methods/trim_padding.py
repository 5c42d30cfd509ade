"""Padding cut off inside the graph: a batch is computed only as far as its longest sequence goes.

Texts are padded to one length, and a model computes the padding like everything else, only to mask it out. Here the
graph looks at its mask and cuts each input after the last token that any sequence of the batch has.

    attention_mask ─▶ the last place that is not 0 ─┬─▶ Slice(input_ids)
                                                    └─▶ Slice(attention_mask)

Outputs stay as they are. This is held against calibration samples: a model whose outputs depend on its padding is left
alone. Known from training as dynamic padding, which there is done by who makes the batches; here no caller changes.

Cost: seconds. Gains what is padded: with 64 places for sentences of 44 tokens on average a batch of 1 takes two thirds
of the operations, and a batch of 8, whose longest sentence counts, all of them: 1.36x [1.27, 1.45] at batch 1 in
float32, 1.25x behind `int8_dynamic` (one comparison of means; a search beside other work could not tell it from none;
measured 2026-11). Fails to help where the caller pads to the longest sequence already, where padding stands on the
left, and on providers that compile a graph for each shape.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
from onnx import helper

from costopt import graph as graphs
from costopt import rewriting
from costopt.errors import NotApplicable
from costopt.methods import Arrays, Calibration, OnnxMethod
from costopt.records import Graph, InputSpec
from costopt.rounding.activations import batches, opened

COMPARED_SAMPLES = 64
"""Calibration samples on which the outputs are held against those before."""

CLOSE = 1e-3
"""Largest difference of an output, as a share of its largest value, that is taken for rounding: sums over sequences of
another length are added up in another order."""

MAX_OF_INTEGERS = 12
"""The operator set since which `Max` and `ReduceMax` take integers of 64 bits."""

PREFIX = "trimmed_"

LONGEST = """longest (int64[N, S] mask) => (int64[1] trimmed_stop) {
    trimmed_zero = Constant <value_ints = [0]> ()
    trimmed_one = Constant <value_ints = [1]> ()
    trimmed_next = Constant <value_int = 1> ()
    trimmed_shape = Shape (mask)
    trimmed_places = Gather <axis = 0> (trimmed_shape, trimmed_next)
    trimmed_end = Add (trimmed_places, trimmed_next)
    trimmed_numbers = Range (trimmed_next, trimmed_end, trimmed_next)
    trimmed_is_token = Cast <to = 9> (mask)
    trimmed_tokens = Cast <to = 7> (trimmed_is_token)
    trimmed_numbered = Mul (trimmed_tokens, trimmed_numbers)
    trimmed_last = ReduceMax <keepdims = 0> (trimmed_numbered)
    trimmed_row = Reshape (trimmed_last, trimmed_one)
    trimmed_stop = Max (trimmed_row, trimmed_one)
}"""
"""One more than the last place at which any row of the mask is not 0, and at least 1. Types are 9: bool, 7: int64."""


@dataclass(frozen=True)
class TrimPadding(OnnxMethod):
    """Padding cut off inside the graph, up to the longest sequence of a batch."""

    exact = True

    def unsuitable(self, graph: Graph) -> str | None:
        """That there is no mask, that the length of sequences is fixed, or that outputs have that length."""
        mask = _mask(graph.inputs)
        if mask is None:
            return "no input is a mask of padding (batch, sequence)"
        length = mask.shape[1]
        if isinstance(length, int):
            return f"'{mask.name}' always has {length} places; export the model with a sequence axis that varies"
        for output in graph.outputs:
            if length in output.shape:
                return f"'{output.name}' has a value for each place of a sequence, padding included"
        return None

    def __call__(self, source: Path, target: Path, calibration: Calibration) -> None:
        """Write the model that cuts its inputs.

        Raises NotApplicable when no calibration sample is padded on the right, or outputs depend on the padding;
        CandidateError when there are no calibration samples, or the model can't be run on them.
        """
        facts = graphs.describe(source)
        mask = _mask(facts.inputs)
        reason = self.unsuitable(facts)
        if mask is None or reason is not None:
            raise NotApplicable(reason or "no input is a mask of padding")
        model = rewriting.with_opset(rewriting.read(source), MAX_OF_INTEGERS)
        _refuse_unpadded(list(batches(model, calibration, COMPARED_SAMPLES)), mask.name)
        trimmed = _trimmed(model, mask.name, [one.name for one in facts.inputs if one.shape[:2] == mask.shape])
        _refuse_difference(model, trimmed, calibration)
        rewriting.write(trimmed, target)


def _mask(inputs: Sequence[InputSpec]) -> InputSpec | None:
    return next((one for one in inputs if "mask" in one.name.lower() and len(one.shape) == 2), None)


def _refuse_unpadded(inputs: Sequence[Arrays], mask: str) -> None:
    """Raises NotApplicable when every sample uses its last place."""
    if all(bool(np.all(one[mask][:, -1] != 0)) for one in inputs):
        seen = sum(len(one[mask]) for one in inputs)
        raise NotApplicable(f"none of {seen} calibration samples is padded on the right: every '{mask}' ends in 1")


def _trimmed(model: onnx.ModelProto, mask: str, names: Sequence[str]) -> onnx.ModelProto:
    """A copy in which all that reads one of the inputs `names` reads as much of it as `mask` has tokens."""
    trimmed = onnx.ModelProto()
    trimmed.CopyFrom(model)
    for node in graphs.nodes(trimmed):
        for place, name in enumerate(node.input):
            if name in names:
                node.input[place] = PREFIX + name
    kept = list(trimmed.graph.node)
    del trimmed.graph.node[:]
    trimmed.graph.node.extend([*_longest(mask), *_slices(names), *kept])
    del trimmed.graph.value_info[:]  # they say that all sequences are as long as the inputs
    return trimmed


def _longest(mask: str) -> list[onnx.NodeProto]:
    nodes = list(onnx.parser.parse_graph(LONGEST).node)
    for node in nodes:
        for place, name in enumerate(node.input):
            if name == "mask":
                node.input[place] = mask
    return nodes


def _slices(names: Sequence[str]) -> Iterator[onnx.NodeProto]:
    for name in names:
        ends = ["trimmed_zero", "trimmed_stop", "trimmed_one"]
        yield helper.make_node("Slice", [name, *ends], [PREFIX + name], name=f"{PREFIX}{name}_slice")


def _refuse_difference(model: onnx.ModelProto, trimmed: onnx.ModelProto, calibration: Calibration) -> None:
    """Raises NotApplicable when outputs on calibration samples, each by itself, differ by more than rounding."""
    before, after = opened(model), opened(trimmed)
    for inputs in batches(model, calibration, COMPARED_SAMPLES, size=1):
        with rewriting.third_party("comparing outputs with and without padding"):
            wanted, found = before.run(None, inputs), after.run(None, inputs)
        for output, one, other in zip(model.graph.output, wanted, found, strict=True):
            apart = float(np.max(np.abs(one - other))) / max(float(np.max(np.abs(one))), CLOSE)
            if not apart <= CLOSE:
                raise NotApplicable(f"'{output.name}' depends on the padding: without it, it differs by {apart:.2g}")
