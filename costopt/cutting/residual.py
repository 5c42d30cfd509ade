"""The residual layers of a graph of modules, found whatever their names are: an addition of x and of a branch that is
computed from x alone, holds weights, and is read by nobody else.

What follows the addition (ReLU, LayerNorm) belongs to the layer if x itself was made by the like: so both kinds of
transformer are seen, those that normalise the sum (BERT) and those that normalise the branch's input (ViT, GPT). Where
blocks repeat in a pattern (attention, perceptron, attention, ...), one period of it is a layer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import fx
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from costopt.cutting.observed import Inputs

aten = torch.ops.aten

ADDITIONS = {aten.add.Tensor, aten.add_.Tensor}
DROPOUTS = {aten.dropout.default, aten.dropout_.default, aten.feature_dropout.default}


@dataclass(frozen=True)
class Block:
    """What a residual connection spans: from `start`, which it adds to, to `end`. `nodes` are all but `start`, in
    order; `weights` are the shapes of its parameters."""

    start: fx.Node
    end: fx.Node
    nodes: tuple[fx.Node, ...]
    weights: tuple[tuple[int, ...], ...]


def layers_of(module: fx.GraphModule, inputs: Inputs) -> list[Block]:
    """The residual layers, in order."""
    ShapeProp(module).propagate(*inputs)
    return [layer for chain in _chains(_blocks(module)) for layer in _periods(chain)]


def _blocks(module: fx.GraphModule) -> list[Block]:
    """The innermost residual blocks, in order."""
    sums = [found for node in module.graph.nodes if node.target in ADDITIONS for found in _spanned(module, node)]
    starts = {start for start, _, _ in sums}
    blocks = [_closed(module, start, total, branch, starts) for start, total, branch in sums]
    ends = {block.end for block in blocks}
    return [block for block in blocks if ends.isdisjoint(block.nodes[:-1])]


def _spanned(module: fx.GraphModule, total: fx.Node) -> Iterator[tuple[fx.Node, fx.Node, list[fx.Node]]]:
    """(start, total, branch) where an addition is one of a value and of a branch that starts from it."""
    operands = [one for one in total.args if isinstance(one, fx.Node)]
    if len(operands) != 2 or len({_shape(one) for one in (*operands, total)}) != 1:
        return
    for start, last in (operands, operands[::-1]):
        branch = _between(start, last)
        alone = all(user in branch or user is total for node in branch for user in node.users)
        if alone and branch and not _overwrites(branch, start) and any(_weights(module, branch)):
            yield start, total, [node for node in module.graph.nodes if node in branch]


def _between(start: fx.Node, last: fx.Node) -> set[fx.Node]:
    """The nodes on the paths from `start` to `last`, the latter included; none when there is no path."""
    reached, ahead = {start}, set()
    node = start
    while node is not last and node.op != "output":
        node = node.next
        if any(one in reached for one in node.all_input_nodes):
            reached.add(node)
    if last not in reached or last is start:
        return set()
    waiting = [last]
    while waiting:
        node = waiting.pop()
        if node in reached and node not in ahead and node is not start:
            ahead.add(node)
            waiting += node.all_input_nodes
    return ahead


def _overwrites(branch: set[fx.Node], start: fx.Node) -> bool:
    """Whether a node of the branch works in place on what others read."""
    return any(
        isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable and node.args[0] is start
        for node in branch
    )


def _weights(module: fx.GraphModule, nodes: Iterable[fx.Node]) -> Iterator[tuple[int, ...]]:
    """The shapes of the parameters that the nodes read."""
    for node in nodes:
        if node.op == "call_module":
            yield from (tuple(one.shape) for one in module.get_submodule(str(node.target)).parameters())
        yield from (_shape(one) for one in node.all_input_nodes if one.op == "get_attr")


def _shape(node: fx.Node) -> tuple[int, ...]:
    """As `ShapeProp` saw it; () for what is no tensor."""
    seen = node.meta.get("tensor_meta")
    return tuple(seen.shape) if isinstance(seen, TensorMetadata) else ()


def _closed(
    module: fx.GraphModule, start: fx.Node, total: fx.Node, branch: list[fx.Node], starts: set[fx.Node]
) -> Block:
    """The block with what closes it: the one reader of the sum, if `start` was made by the like, or if that is where
    the next block starts."""
    nodes = [*branch, total]
    after = next(iter(total.users))
    follows = len(total.users) == 1 and _shape(after) == _shape(total) and after.all_input_nodes == [total]
    if follows and (after in starts or _kind(module, after) == _kind(module, start)):
        nodes.append(after)
    return Block(start, nodes[-1], tuple(nodes), tuple(sorted(_weights(module, nodes))))


def _kind(module: fx.GraphModule, node: fx.Node) -> object:
    return type(module.get_submodule(str(node.target))) if node.op == "call_module" else node.target


def _chains(blocks: list[Block]) -> list[list[Block]]:
    """Blocks that follow each other directly."""
    chains = [[block] for block in blocks[:1]]
    for before, block in pairwise(blocks):
        if block.start is before.end:
            chains[-1].append(block)
        else:
            chains.append([block])
    return chains


def _periods(chain: list[Block]) -> list[Block]:
    """The chain in layers of as many blocks as it takes until the shapes of the weights repeat."""
    shapes = [block.weights for block in chain]
    period = next((size for size in range(1, len(chain) // 2 + 1) if shapes[size:] == shapes[:-size]), 1)
    parts = [chain[first : first + period] for first in range(0, len(chain), period)]
    return [
        Block(part[0].start, part[-1].end, tuple(node for one in part for node in one.nodes), ())
        for part in parts
        if len(part) == period
    ]


def erase_dropouts(graph: fx.Graph) -> None:
    """Dropout does nothing outside training, and hides what made a value."""
    for node in list(graph.nodes):
        if node.target in DROPOUTS and node.args[2] is False:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
