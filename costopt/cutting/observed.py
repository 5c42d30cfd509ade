"""What flows through a graph of modules on calibration data, batch by batch."""

from collections.abc import Collection, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from costopt.errors import CandidateError
from costopt.methods import Context

Inputs = tuple[Tensor, ...]

ROWS_COMPARED = 64
"""Samples that are read at a time to see whether any differs: nearly always the second does."""


def batches(module: fx.GraphModule, context: Context, size: int, samples: int) -> Iterator[Inputs]:
    """At most `samples` calibration samples as tensors, in the order of the module's arguments.

    A model with a batch of fixed size gets batches of that size, the last one filled up with samples of its own.
    Raises CandidateError when there is no sample.
    """
    if min(context.calibration.samples, samples) < 1:
        words = f"{samples} of {context.calibration.samples} calibration samples: one is needed at least"
        raise CandidateError("compress", words)
    fixed = _fixed_batch(module)
    for batch in context.calibration.batches(fixed or size, samples):
        arrays = (batch[name] for name in context.input_names)
        yield tuple(torch.from_numpy(np.resize(one, (fixed or len(one), *one.shape[1:]))) for one in arrays)


def refuse_constant(context: Context) -> None:
    """Raises CandidateError when all calibration samples are alike: nothing tells then which values ever change."""
    first: dict[str, NDArray[np.generic]] = {}
    for batch in context.calibration.batches(ROWS_COMPARED):
        first = first or {name: array[:1].copy() for name, array in batch.items()}
        if any(not np.array_equal(array, np.broadcast_to(first[name], array.shape)) for name, array in batch.items()):
            return
    if first:
        raise CandidateError(
            "compress", "calibration does not vary, all samples are alike: give real inputs that differ"
        )


def _fixed_batch(module: fx.GraphModule) -> int | None:
    """The batch that the model was exported with, when it takes no other."""
    first = next((node for node in module.graph.nodes if node.op == "placeholder"), None)
    value = first.meta.get("val") if first is not None else None
    size = value.shape[0] if isinstance(value, Tensor) and value.ndim else None
    return size if isinstance(size, int) else None


def floats(given: object) -> list[Tensor]:
    """The outputs that are floats, flat.

    Raises CandidateError when there are none: then nothing tells how far a change moves the model.
    """
    leaves = pytree.tree_leaves(given)
    found = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if not found:
        raise CandidateError("compress", "no output is a float: nothing tells how far the model moves when it changes")
    return found


def values(module: fx.GraphModule, nodes: Collection[fx.Node], inputs: Inputs) -> dict[fx.Node, Tensor]:
    """What these nodes give, without gradients; what comes after the last of them is not run."""
    runner = fx.Interpreter(module)
    runner.args_iter = iter(inputs)
    left = set(nodes)
    with torch.no_grad():
        for node in module.graph.nodes:
            runner.env[node] = runner.run_node(node)
            left.discard(node)
            if not left:
                break
    return {node: runner.env[node] for node in nodes}


class Frontier:
    """The values of a graph for one batch, as far as it has been run; what no later node reads is forgotten."""

    def __init__(self, module: fx.GraphModule, inputs: Inputs) -> None:
        """Nothing is run yet."""
        self.runner = fx.Interpreter(module)
        self.runner.args_iter = iter(inputs)
        self.left = list(module.graph.nodes)
        place = {node: at for at, node in enumerate(self.left)}
        self.last_reader = {node: max(map(place.__getitem__, node.users), default=-1) for node in self.left}
        self.end = len(self.left)

    def advance(self, node: fx.Node) -> None:
        """Run all that comes before `node` in the graph's order."""
        env = self.runner.env
        while self.left[0] is not node:
            first = self.left.pop(0)
            with torch.no_grad():
                env[first] = self.runner.run_node(first)
            at = self.end - len(self.left)
            for read in [one for one in env if self.last_reader[one] < at]:
                del env[read]

    def value(self, node: fx.Node) -> Tensor:
        """What a node gives. What has to be run for it beyond the frontier is not kept: its weights may change."""
        kept = self.runner.env
        self.runner.env = dict(kept)
        with torch.no_grad():
            found = self._found(node)
        self.runner.env = kept
        return found

    def _found(self, node: fx.Node) -> Tensor:
        env = self.runner.env
        if node not in env:
            for source in node.all_input_nodes:
                self._found(source)
            env[node] = self.runner.run_node(node)
        found: Tensor = env[node]
        return found


class Edges(fx.Interpreter):
    """Runs a graph and keeps what some nodes read, each reading by itself, so that gradients can be asked for."""

    def __init__(self, module: fx.GraphModule, readings: Collection[tuple[fx.Node, fx.Node]]) -> None:
        """`readings` are (reading node, source) of this very graph."""
        super().__init__(module)
        self.sources = dict(readings)
        self.seen: dict[fx.Node, Tensor] = {}

    def run_node(self, n: fx.Node) -> object:
        """Let a reading node see a tensor of its own."""
        source = self.sources.get(n)
        if source is None:
            return super().run_node(n)
        value = self.env[source]
        own = value.view_as(value) if value.requires_grad else value.detach().requires_grad_()
        self.seen[n] = self.env[source] = own
        given = super().run_node(n)
        self.env[source] = value
        return given
