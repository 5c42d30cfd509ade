"""Shorter sequences in part of a graph: behind one node, groups of neighbours go on as their mean.

    before the cut      (batch, 12, width)   mask (batch, 12)   positions (12, width)
    behind it, by two   (batch, 6, width)    mask[:, ::2]       positions[::2]

Only the graph is changed. Nodes behind the cut take what they read from before it shortened: the cut itself as means,
in which padding weighs nothing; anything else with an axis of places as the first of each group; numbers that follow
the length (and sums over places) computed anew.
"""

import operator
import sys
from collections.abc import Callable, Mapping

import torch
from torch import fx
from torch.fx.node import Argument, map_arg

from costopt.cutting.sequences import Extent
from costopt.errors import NotApplicable

aten = torch.ops.aten

PLACES = 1
"""The axis of places: (batch, places, width)."""


def behind(start: fx.Node) -> dict[fx.Node, None]:
    """All nodes that depend on one, in the graph's order."""
    found: dict[fx.Node, None] = {}
    node = start.next
    while node.op != "root":
        if any(one is start or one in found for one in node.all_input_nodes):
            found[node] = None
        node = node.next
    return found


class Cut:
    """One cut through a graph: behind `start`, `every` so many neighbours are one."""

    def __init__(self, module: fx.GraphModule, start: fx.Node, every: int, extents: Mapping[fx.Node, Extent]) -> None:
        self._graph = module.graph
        self._start = start
        self._every = every
        self._extents = extents
        self._behind = behind(start)
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
