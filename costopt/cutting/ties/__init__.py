"""Which places of which axes of a graph must go together when a layer gets narrower.

A *place* is one position on one axis of one tensor: output 5 of a convolution, column 5 of the weight that reads it.
Walking the graph once, each operator says what it does to places:

    relu(x), x + y      the same places on both sides: they are tied
    linear(x, w)        the places of x are tied to the columns of w; those of the result are the rows of w
    cat, reshape, ...   places move to other positions and axes
    LayerNorm, softmax  the result of every place depends on all others: these places are fixed
    anything unknown    fixed too

Parameters have places as well, one set for each tensor however often it is used, so that shared weights and layers that
are called twice need no rule. What is connected by ties is one *unit*: it can be removed as a whole, and the rest of
the model computes what it would compute if the unit's values were zero wherever a weight multiplies them. A unit with a
fixed place stays; so does all that reaches an output. Operators without a rule thus cost a chance, never a model.

Units are numbered; a *group* is the units that one weight makes (the channels of one convolution, with all that is tied
to them). Heads of attention are units like others: a group of which products of activations know.

The idea of groups of coupled layers is DepGraph's (Fang et al. 2023, https://arxiv.org/abs/2301.12900); its library,
torch-pruning, reads the tape of autograd, where parameters of plain aten calls, concatenated inputs and literal shapes
of exported graphs are not seen. (2026-11, version 1.6.1: of 9 kinds of exported model, pruning broke 4.)
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, fx
from torch._ops import OpOverload

from costopt.cutting.ties.layers import LAYERS, MODULES, unknown_module
from costopt.cutting.ties.moves import MOVES, pointwise
from costopt.cutting.ties.structure import NO_PLACES, Axes, Axis, Cost, Group, Places, Reader, Shape, Structure, Work
from costopt.cutting.ties.walk import Walk, arguments_of, unknown

__all__ = [
    "Axes", "Axis", "Cost", "Group", "Places", "Reader", "Shape", "Structure", "Work",
    "arguments_of", "shapes_of", "structure_of",
]  # fmt: skip


def structure_of(module: fx.GraphModule, inputs: Sequence[Tensor]) -> Structure:
    """Walk the graph; `inputs` are one small batch, run once for the sizes of all values."""
    walk = Walk(module, shapes_of(module, inputs))
    for node in module.graph.nodes:
        walk.values[node] = _visited(walk, node)
    return _numbered(walk)


def shapes_of(module: fx.GraphModule, inputs: Sequence[Tensor]) -> Mapping[fx.Node, Sequence[Shape]]:
    """The sizes of every tensor that each node gives for this batch."""
    sizes = _Sizes(module)
    with torch.no_grad():
        sizes.run(*inputs)
    return sizes.shapes


class _Sizes(fx.Interpreter):
    """Runs the graph and remembers the sizes of every tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, list[Shape]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        several = result if isinstance(result, list | tuple) else [result]
        self.shapes[n] = [tuple(one.shape) for one in several if isinstance(one, Tensor)]
        return result


def _visited(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    """The axes of each tensor that a node gives."""
    if node.op == "get_attr" and str(node.target) in walk.names:
        return [walk.parameter(str(node.target))]
    if node.op in ("placeholder", "get_attr"):
        return [(None,) * len(shape) for shape in walk.shapes[node]]
    if node.op == "call_module":
        rule = MODULES.get(type(walk.module.get_submodule(str(node.target))), unknown_module)
        return rule(walk, node)
    if not isinstance(node.target, OpOverload):
        return MOVES.get(node.target, unknown)(walk, node, {})
    default = pointwise if torch.Tag.pointwise in node.target.tags else unknown
    packet = node.target.overloadpacket
    return LAYERS.get(packet, MOVES.get(packet, default))(walk, node, arguments_of(node))


def _numbered(walk: Walk) -> Structure:
    """Number the units: what is connected, but for what is fixed."""
    unit = _units(walk)
    groups = _groups(unit, walk.roots)
    in_products = np.unique(unit[np.concatenate([NO_PLACES, *walk.products])])
    heads = tuple(one for one in groups if np.isin(one.units, in_products).any())
    channels = tuple(one for one in groups if not np.isin(one.units, in_products).any())
    return Structure(unit, walk.made, walk.values, walk.shapes, tuple(walk.readers), tuple(walk.work), channels, heads)


def _units(walk: Walk) -> Places:
    """The unit of each place, -1 where it is fixed."""
    if walk.count == 0:
        return NO_PLACES
    one = np.concatenate([NO_PLACES, *(tie[0] for tie in walk.tied)])
    other = np.concatenate([NO_PLACES, *(tie[1] for tie in walk.tied)])
    edges = coo_array((np.ones(len(one)), (one, other)), shape=(walk.count, walk.count))
    component = connected_components(edges, directed=False)[1]
    stays = np.zeros(walk.count, dtype=bool)
    stays[component[np.concatenate([NO_PLACES, *walk.fixed])]] = True
    free = np.unique(component[~stays[component]])
    number = np.full(walk.count, -1)
    number[free] = np.arange(len(free))
    return number[component].astype(np.int64)


def _groups(unit: Places, roots: Sequence[tuple[str, Places]]) -> Sequence[Group]:
    """The free units by the weight that makes them first."""
    taken = np.zeros(int(unit.max(initial=-1)) + 1, dtype=bool)
    groups = []
    for name, places in roots:
        units = np.unique(unit[places])
        units = units[units >= 0]
        units = units[~taken[units]]
        taken[units] = True
        if len(units) > 1:
            groups.append(Group(name, units, places))
    return groups
