"""Whole residual layers left out: transformers get shallower, and so do the stages of a residual CNN.

A residual layer adds something to what it gets, so a model without it still has sense, and the layers of deep models
often say much the same. `costopt.cutting.residual` finds them in the graph, whatever their names are.

Which layers go is told by the calibration inputs:

    output      one at a time, the layer without which the model's outputs change least (relative squared error); of
                those that are left, again the one, until enough are gone
    similarity  the layers whose output is most like their input: 1 - mean cosine, the "block influence" of Men et al.
                2024, https://arxiv.org/abs/2403.03853. One run in all, and blind to what comes after the layer

Cost: `output` runs the model once a layer that is left, for each layer that goes, on `samples` samples.

When it fails: in shallow models every layer tells. Without one, two and three of its six layers, a text encoder's
embeddings kept a mean cosine of 0.91, 0.77 and 0.61 (by `similarity` 0.90, 0.77 and 0.56), and a CNN that lost one of
its three blocks fell to 13 % (measured 2026-11): `distill` must follow. Stages that halve the picture and layers
whose inner values are read elsewhere (U-Nets, dense nets) can't go. Layers that share their weights save operations,
not bytes.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, fx, nn

from costopt.cutting.observed import Inputs, batches, floats, refuse_constant
from costopt.cutting.residual import Block, erase_dropouts, layers_of
from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Context, Knob, TorchMethod
from costopt.records import Graph, Value

BATCH = 16
"""Samples in one run."""


@dataclass(frozen=True)
class DropLayers(TorchMethod):
    """Leave out `layers` of the residual layers, or else the `share` of them nearest to a whole number, one at least.

    `importance` says how layers are compared, `samples` on how many calibration samples at most.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({"share": 0.25}, {"share": 0.5})
    knob = Knob("share", low=0.1, high=0.8, first=0.34)

    share: float = 0.25
    layers: int | None = None
    importance: Literal["output", "similarity"] = "output"
    samples: int = 64

    def unsuitable(self, graph: Graph) -> str | None:
        """When nothing is ever added to anything."""
        if "Add" in graph.operators or "Sum" in graph.operators:
            return None
        return "there is no addition in the graph, so the model has no residual layers"

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The shallower model.

        Raises NotApplicable when there is no residual layer, CandidateError for options out of range, for
        calibration that is empty or constant, and when the model gives values on them that are not finite.
        """
        self._refuse_misfits()
        read = list(batches(module, context, BATCH, self.samples))
        if not all(output.isfinite().all() for inputs in read for output in _run(module, inputs)):
            raise CandidateError(
                "compress", "drop_layers: the model gives values that are not finite on calibration inputs"
            )
        erase_dropouts(module.graph)
        layers = layers_of(module, read[0])
        count = self._count(len(layers))
        refuse_constant(context)
        choose = _by_output if self.importance == "output" else _by_similarity
        return _without(module, choose(module, layers, count, read)).eval()

    def _refuse_misfits(self) -> None:
        if not 0 < self.share < 1:
            raise CandidateError("compress", f"drop_layers: share must lie between 0 and 1, not {self.share}")
        if self.layers is not None and self.layers < 1:
            raise CandidateError("compress", f"drop_layers: layers must be at least 1, not {self.layers}")

    def _count(self, there: int) -> int:
        """How many of the layers that are there will go."""
        if there == 0:
            raise NotApplicable("the model has no residual layer: none adds what it computes to what it gets")
        if self.layers is None:
            return max(1, round(self.share * there))
        if self.layers > there:
            raise CandidateError("compress", f"drop_layers: layers: {self.layers}, and the model has {there} of them")
        return self.layers


# ---------------------------------------------------------------------------------------- which ones go


def _by_output(module: fx.GraphModule, layers: list[Block], count: int, read: list[Inputs]) -> list[Block]:
    """One after the other, the layer that the outputs miss least."""
    wanted = [_run(module, inputs) for inputs in read]
    gone: list[Block] = []
    for _ in range(count):
        left = [layer for layer in layers if layer not in gone]
        gone.append(min(left, key=lambda layer: _change(_without(module, [*gone, layer]), read, wanted)))
    return gone


def _change(module: fx.GraphModule, read: list[Inputs], wanted: list[list[Tensor]]) -> float:
    """The relative squared error of the output that changes most."""
    errors, squares = torch.zeros(len(wanted[0])), torch.zeros(len(wanted[0]))
    for inputs, outputs in zip(read, wanted, strict=True):
        pairs = list(zip(_run(module, inputs), outputs, strict=True))
        errors += torch.stack([(one - other).square().sum() for one, other in pairs])
        squares += torch.stack([other.square().sum() for _, other in pairs])
    return float((errors / squares.clamp(min=torch.finfo().tiny)).max())


def _by_similarity(module: fx.GraphModule, layers: list[Block], count: int, read: list[Inputs]) -> list[Block]:
    """The layers whose output is most like their input."""
    watched = _Similarities(module, layers)
    for inputs in read:
        with torch.no_grad():
            watched.run(*inputs)
    order = watched.sums.argsort(descending=True, stable=True)
    return [layers[int(index)] for index in order[:count]]


class _Similarities(fx.Interpreter):
    """Runs a model, and sums up over the runs how much each layer's output is like its input."""

    def __init__(self, module: fx.GraphModule, layers: list[Block]) -> None:
        super().__init__(module)
        self.starts = {layer.start for layer in layers}
        self.at_end = {layer.end: (place, layer.start) for place, layer in enumerate(layers)}
        self.seen: dict[fx.Node, Tensor] = {}
        self.sums = torch.zeros(len(layers))

    def run_node(self, n: fx.Node) -> object:
        """The node's value, compared at once: nodes that come later may overwrite it."""
        value = super().run_node(n)
        if n in self.at_end:
            place, start = self.at_end[n]
            self.sums[place] += _cosine(self.seen[start], value)
        if n in self.starts:
            self.seen[n] = value
        return value


def _cosine(start: Tensor, end: Tensor) -> Tensor:
    """The mean cosine of the vectors at each place: the last axis holds them in a sequence, the second in a picture."""
    return nn.functional.cosine_similarity(start, end, dim=1 if start.ndim == 4 else -1).mean()


def _run(module: fx.GraphModule, inputs: Inputs) -> list[Tensor]:
    with torch.no_grad():
        return floats(module(*inputs))


def _without(module: fx.GraphModule, layers: Sequence[Block]) -> fx.GraphModule:
    """The model with each layer's input in place of its output; it shares the weights that stay."""
    graph = copy.deepcopy(module.graph)
    nodes = {node.name: node for node in graph.nodes}
    order = {node.name: place for place, node in enumerate(module.graph.nodes)}
    for layer in sorted(layers, key=lambda one: order[one.end.name], reverse=True):
        nodes[layer.end.name].replace_all_uses_with(nodes[layer.start.name])
        for node in reversed(layer.nodes):
            graph.erase_node(nodes[node.name])
    left = fx.GraphModule(module, graph)
    graph.eliminate_dead_code()
    left.delete_all_unused_submodules()
    left.recompile()
    return left
