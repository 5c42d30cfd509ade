"""Whole residual layers left out: transformers get shallower, and so do the stages of a residual CNN.

A residual layer adds something to what it gets, so a model without it still has sense, and the layers of deep models
often say much the same. Layers are found in the graph, whatever their names are: an addition of x and of a branch that
is computed from x alone, holds weights, and is read by nobody else. What follows the addition (ReLU, LayerNorm) belongs
to the layer if x itself was made by the like: so both kinds of transformer are seen, those that normalise the sum
(BERT) and those that normalise the branch's input (ViT, GPT). Where blocks repeat in a pattern (attention, perceptron,
attention, ...), one period of it is a layer.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp, TensorMetadata

from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Context, Knob, TorchMethod
from costopt.observed import Inputs, batches, floats, refuse_constant
from costopt.records import Graph, Value

aten = torch.ops.aten

BATCH = 16
"""Samples in one run."""

ADDITIONS = {aten.add.Tensor, aten.add_.Tensor}
DROPOUTS = {aten.dropout.default, aten.dropout_.default, aten.feature_dropout.default}


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
        _erase_dropouts(module.graph)
        layers = _layers(module, read[0])
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


# ---------------------------------------------------------------------------------------- residual layers in a graph


@dataclass(frozen=True)
class _Block:
    """What a residual connection spans: from `start`, which it adds to, to `end`. `nodes` are all but `start`, in
    order; `weights` are the shapes of its parameters."""

    start: fx.Node
    end: fx.Node
    nodes: tuple[fx.Node, ...]
    weights: tuple[tuple[int, ...], ...]


def _layers(module: fx.GraphModule, inputs: Inputs) -> list[_Block]:
    """The residual layers, in order."""
    ShapeProp(module).propagate(*inputs)
    return [layer for chain in _chains(_blocks(module)) for layer in _periods(chain)]


def _blocks(module: fx.GraphModule) -> list[_Block]:
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
) -> _Block:
    """The block with what closes it: the one reader of the sum, if `start` was made by the like, or if that is where
    the next block starts."""
    nodes = [*branch, total]
    after = next(iter(total.users))
    follows = len(total.users) == 1 and _shape(after) == _shape(total) and after.all_input_nodes == [total]
    if follows and (after in starts or _kind(module, after) == _kind(module, start)):
        nodes.append(after)
    return _Block(start, nodes[-1], tuple(nodes), tuple(sorted(_weights(module, nodes))))


def _kind(module: fx.GraphModule, node: fx.Node) -> object:
    return type(module.get_submodule(str(node.target))) if node.op == "call_module" else node.target


def _chains(blocks: list[_Block]) -> list[list[_Block]]:
    """Blocks that follow each other directly."""
    chains = [[block] for block in blocks[:1]]
    for before, block in pairwise(blocks):
        if block.start is before.end:
            chains[-1].append(block)
        else:
            chains.append([block])
    return chains


def _periods(chain: list[_Block]) -> list[_Block]:
    """The chain in layers of as many blocks as it takes until the shapes of the weights repeat."""
    shapes = [block.weights for block in chain]
    period = next((size for size in range(1, len(chain) // 2 + 1) if shapes[size:] == shapes[:-size]), 1)
    parts = [chain[first : first + period] for first in range(0, len(chain), period)]
    return [
        _Block(part[0].start, part[-1].end, tuple(node for one in part for node in one.nodes), ())
        for part in parts
        if len(part) == period
    ]


def _erase_dropouts(graph: fx.Graph) -> None:
    """Dropout does nothing outside training, and hides what made a value."""
    for node in list(graph.nodes):
        if node.target in DROPOUTS and node.args[2] is False:
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)


# ---------------------------------------------------------------------------------------- which ones go


def _by_output(module: fx.GraphModule, layers: list[_Block], count: int, read: list[Inputs]) -> list[_Block]:
    """One after the other, the layer that the outputs miss least."""
    wanted = [_run(module, inputs) for inputs in read]
    gone: list[_Block] = []
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


def _by_similarity(module: fx.GraphModule, layers: list[_Block], count: int, read: list[Inputs]) -> list[_Block]:
    """The layers whose output is most like their input."""
    watched = _Similarities(module, layers)
    for inputs in read:
        with torch.no_grad():
            watched.run(*inputs)
    order = watched.sums.argsort(descending=True, stable=True)
    return [layers[int(index)] for index in order[:count]]


class _Similarities(fx.Interpreter):
    """Runs a model, and sums up over the runs how much each layer's output is like its input."""

    def __init__(self, module: fx.GraphModule, layers: list[_Block]) -> None:
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


def _without(module: fx.GraphModule, layers: Sequence[_Block]) -> fx.GraphModule:
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
