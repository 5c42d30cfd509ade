"""Fewer tokens in the later layers of a transformer: from one layer on, two, three or four neighbours go on as one.

The first layers let each token see all others; what follows says much the same in every place, above all where one
answer is given for a whole text. So after some layer each group of neighbours is replaced by its mean, without
padding where an input is called a mask, and all that comes later works on shorter sequences: linear layers in
proportion, attention with the square. What later layers read from before the cut (masks, positions) gives the first of
each group.

Idea: Funnel-Transformer (Dai et al. 2020, https://arxiv.org/abs/2006.03236). Which tokens go is the same for every
text, so that nothing is sorted at run time (as in PoWER-BERT, Goyal et al. 2020, https://arxiv.org/abs/2001.08950), and
padding stays at the end, so that `trim_padding` may follow.

Cost: two runs of the model. `distill` must follow.

When it fails: it needs sequences whose length varies in the file, and one answer for each of them, not one for each
token. A model that looks a token up by its number (the last one of a text) finds another one.
"""

import operator
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx
from torch.fx.node import Argument, map_arg

from costopt.cutting import surgery
from costopt.cutting.observed import Inputs, batches, floats
from costopt.cutting.residual import Block, erase_dropouts, layers_of
from costopt.cutting.sequences import Extent, extents, varying_inputs
from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Context, Knob, TorchMethod
from costopt.records import Graph, Value

aten = torch.ops.aten

SAMPLES = 2
"""Enough to run the model; what the tokens say does not matter."""

PLACES = 1
"""The axis of places: (batch, places, width)."""

EVERY = (2, 3, 4)
"""So many neighbours go on as one."""


@dataclass(frozen=True)
class PruneTokens(TorchMethod):
    """Let two, three or four neighbours go on as one after some layer, so that about `macs` of the work goes.

    `macs` is a share of the multiply-accumulates. `after` so many layers, `every` so many neighbours: where both are
    given, they say it directly.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)
    knob = Knob("macs", low=0.1, high=0.7, first=0.3)

    macs: float = 0.3
    after: int | None = None
    every: int | None = None

    def unsuitable(self, graph: Graph) -> str | None:
        """That the length of sequences is fixed, or that outputs have a value for each place."""
        lengths = {size for one in graph.inputs for size in one.shape[1:] if not isinstance(size, int)}
        if not lengths:
            return "the model takes no sequences whose length varies"
        output = next((one for one in graph.outputs if lengths & set(one.shape)), None)
        return None if output is None else f"'{output.name}' has a value for each place of a sequence"

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The model whose later layers see fewer places.

        Raises NotApplicable when no length varies, there is nowhere to cut, or the outputs have a value for each place;
        CandidateError for options out of range.
        """
        self._refuse_misfits()
        inputs = next(batches(module, context, SAMPLES, SAMPLES))
        varying_inputs(module)
        surgery.tidy(module)
        erase_dropouts(module.graph)
        ends = _ends(layers_of(module, inputs))
        after, every = self._chosen(module, ends, inputs)
        cut = _Cut(module, ends[after - 1], every, extents(module, inputs))
        wanted = _shapes(module, inputs)
        cut.make()
        module.recompile()
        if _shapes(module, inputs) != wanted:
            raise NotApplicable("an output has a value for each place of a sequence, so that all of them are needed")
        return module

    def _refuse_misfits(self) -> None:
        if not 0 < self.macs < 1:
            raise CandidateError("compress", f"prune_tokens: macs must lie between 0 and 1, not {self.macs}")
        if (self.after is None) != (self.every is None):
            raise CandidateError("compress", "prune_tokens: give both 'after' and 'every', or neither")
        for name, value, least in (("after", self.after, 1), ("every", self.every, 2)):
            if value is not None and value < least:
                raise CandidateError("compress", f"prune_tokens: {name} must be at least {least}, not {value}")

    def _chosen(self, module: fx.GraphModule, ends: list[fx.Node], inputs: Inputs) -> tuple[int, int]:
        """After how many layers, and one place in how many: what was asked for, or what comes nearest to `macs`."""
        if not ends:
            raise NotApplicable("there is nowhere to cut: it takes two layers that each add to what they get")
        if self.after is not None and self.every is not None:
            if self.after > len(ends):
                words = (
                    f"prune_tokens: after: {self.after}, and there are {len(ends)} layers with another one after them"
                )
                raise CandidateError("compress", words)
            return self.after, self.every
        work = surgery.macs(module, inputs)
        later = [sum(work.get(node.name, 0) for node in _behind(end)) / sum(work.values()) for end in ends]
        ways = [(after, every) for every in EVERY for after in range(1, len(ends) + 1)]
        return min(ways, key=lambda way: abs(later[way[0] - 1] * (1 - 1 / way[1]) - self.macs))


def _ends(layers: list[Block]) -> list[fx.Node]:
    """Where each residual layer ends, but for the last one."""
    return [layer.end for layer in layers[:-1]]


def _behind(start: fx.Node) -> dict[fx.Node, None]:
    """All nodes that depend on one, in the graph's order."""
    found: dict[fx.Node, None] = {}
    node = start.next
    while node.op != "root":
        if any(one is start or one in found for one in node.all_input_nodes):
            found[node] = None
        node = node.next
    return found


def _shapes(module: fx.GraphModule, inputs: Inputs) -> list[torch.Size]:
    with torch.no_grad():
        return [one.shape for one in floats(module(*inputs))]


class _Cut:
    """One cut through a graph: behind `start`, `every` so many neighbours are one."""

    def __init__(self, module: fx.GraphModule, start: fx.Node, every: int, extents: Mapping[fx.Node, Extent]) -> None:
        self._graph = module.graph
        self._start = start
        self._every = every
        self._extents = extents
        self._behind = _behind(start)
        self._short: dict[fx.Node, fx.Node] = {}
        self._reader = start
        if extents[start].axes != (PLACES,):
            raise NotApplicable("what a layer gives is not (batch, places, width)")

    def make(self) -> None:
        """Change the graph in place."""
        for node in self._behind:
            node.meta.pop("val", None)
            self._reader = node
            node.args = map_arg(node.args, self._shortened)
            node.kwargs = map_arg(node.kwargs, self._shortened)

    def _shortened(self, node: fx.Node) -> fx.Node:
        """What a node behind the cut reads in place of `node`."""
        if node in self._behind:
            return node
        if node not in self._short:
            self._short[node] = self._made_short(node)
        return self._short[node]

    def _made_short(self, node: fx.Node) -> fx.Node:
        """The means of the cut itself; the new length; the first of each group of anything else that has places; what
        only follows the length, computed anew."""
        extent = self._extents[node]
        if node is self._start:
            return self._means()
        if extent.length:
            return self._call(aten.sym_size.int, self._shortened(self._start), PLACES)
        if extent.axes:
            for axis in extent.axes:
                node = self._call(aten.slice.Tensor, node, axis, 0, sys.maxsize, self._every)
            # Tracing asks whether a slice happens to be contiguous, and takes the answer for a law of its length.
            with self._graph.inserting_before(self._reader):
                return self._graph.call_function(
                    aten.clone.default, (node,), {"memory_format": torch.contiguous_format}
                )
        short = {one: self._shortened(one) for one in node.all_input_nodes}
        if all(new is one for one, new in short.items()):
            return node
        with self._graph.inserting_before(self._reader):
            return self._graph.node_copy(node, short.__getitem__)

    def _means(self) -> fx.Node:
        """The mean of each group of neighbours; padding weighs nothing, and a group of nothing else gives 0."""
        weights = self._weights()
        total = self._totals(self._call(aten.mul.Tensor, self._start, weights))
        return self._call(aten.div.Tensor, total, self._call(aten.clamp.default, self._totals(weights), 1))

    def _weights(self) -> fx.Node:
        """(batch, places, 1): 1 for each token, 0 for padding, in the type of what they weigh."""
        masks = (one for one in self._extents if one.op == "placeholder" and "mask" in one.name.lower())
        mask = next((one for one in masks if self._extents[one].axes == (PLACES,)), None)
        if mask is None:
            return self._call(aten.ones_like.default, self._call(aten.slice.Tensor, self._start, 2, 0, 1))
        seen = self._call(aten.ne.Scalar, self._call(aten.unsqueeze.default, mask, 2), 0)
        return self._call(aten.type_as.default, seen, self._start)

    def _totals(self, node: fx.Node) -> fx.Node:
        """The sum of each group of neighbours, zeros behind the last place."""
        nothing = self._call(aten.mul.Scalar, self._call(aten.slice.Tensor, node, PLACES, 0, 1), 0)
        longer = self._call(aten.cat.default, [node, *[nothing] * (self._every - 1)], PLACES)
        length = self._call(aten.sym_size.int, node, PLACES)
        total = self._call(aten.slice.Tensor, longer, PLACES, 0, length, self._every)
        for first in range(1, self._every):
            end = self._call(operator.add, length, first)
            part = self._call(aten.slice.Tensor, longer, PLACES, first, end, self._every)
            total = self._call(aten.add.Tensor, total, part)
        return total

    def _call(self, target: Callable[..., object], *arguments: Argument) -> fx.Node:
        with self._graph.inserting_before(self._reader):
            return self._graph.call_function(target, arguments)
