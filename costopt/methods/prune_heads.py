"""Take attention heads out of transformers, and solve for the weights that are left.

Most heads of a trained transformer can go without much being lost, and some layers get by with one (Michel et al. 2019,
https://arxiv.org/abs/1905.10650). A head goes as a whole: its rows of the query, key and value layers, its columns of
the output layer; each layer may keep a number of its own. Which head of a layer goes, `importance` tells; which layer
loses one, the change of the outputs when each layer is tried alone on calibration data. Then the layers that follow
get new weights by least squares (He et al. 2017, https://arxiv.org/abs/1707.06168). Neither labels nor gradient steps.

Where several queries share a key (grouped-query attention), they go together with it.

Cost: some forward passes over calibration samples for each layer, and memory for what a layer gives on all
samples.

It fails where attention is hidden in an operator of its own, and helps little where sequences are short: the
perceptrons, which `prune_channels` narrows, do most of the work then.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import fx

from costopt.cutting import surgery
from costopt.cutting.allotment import allotted, curves
from costopt.cutting.importance import scores
from costopt.cutting.observed import Inputs, batches
from costopt.cutting.reconstruction import reconstruct
from costopt.cutting.ties import Structure, Work, structure_of
from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Context, Knob, TorchMethod
from costopt.records import Graph, Value

PRODUCTS = {"MatMul", "Einsum", "Attention"}

BATCH = 8
TRIED_SAMPLES = 32
"""Samples on which every layer is tried with fewer heads."""


@dataclass(frozen=True)
class PruneHeads(TorchMethod):
    """Take attention heads out of transformers, and solve for the weights that are left.

    `heads` is the share of all heads that goes. `samples` is how many calibration samples are read at most.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)
    knob = Knob("heads", low=0.1, high=0.75, first=0.25)

    heads: float = 0.25
    importance: Literal["group_norm", "activation", "taylor"] = "taylor"
    reconstruct: bool = True
    samples: int = 128

    def unsuitable(self, graph: Graph) -> str | None:
        """When values are never multiplied with each other."""
        if graph.operators.keys() & PRODUCTS:
            return None
        return "the graph multiplies no values with each other, so it has no attention"

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The model with fewer heads; every layer keeps one at least.

        Raises NotApplicable when no layer has heads that can go, CandidateError when an option is out of range or
        there are no calibration samples.
        """
        if not 0 < self.heads < 1:
            raise CandidateError("compress", f"heads is the share that goes, between 0 and 1, not {self.heads}")
        surgery.tidy(module)
        structure = structure_of(module, next(batches(module, context, 2, 2)))
        if not structure.heads:
            raise NotApplicable("no attention with several heads was found that could lose one")
        teacher = surgery.copied(module)
        gone = self._chosen(module, structure, context)
        surgery.remove(module, structure, gone)
        if self.reconstruct:
            reconstruct(module, teacher, structure, gone, self._read(module, context), context.seed)
        return module

    def _chosen(self, module: fx.GraphModule, structure: Structure, context: Context) -> surgery.Gone:
        """The heads that go: `work` counts heads, each of which is one piece."""
        found = scores(self.importance, module, structure, self._read(module, context), context.seed)
        tried = list(batches(module, context, BATCH, TRIED_SAMPLES))
        drawn = curves(module, structure, structure.heads, found, 1, tried)
        work = [Work(group.name, len(group.units), (group.axis,)) for group in structure.heads]
        return allotted(structure, work, drawn, found, self.heads)[0]

    def _read(self, module: fx.GraphModule, context: Context) -> Iterator[Inputs]:
        return batches(module, context, BATCH, self.samples)
