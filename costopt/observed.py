"""What flows through a graph of modules on calibration data, batch by batch."""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from costopt.errors import CandidateError
from costopt.methods import Context

Inputs = tuple[Tensor, ...]


def batches(context: Context, size: int, samples: int) -> Iterator[Inputs]:
    """At most `samples` calibration samples as tensors, in the order of the module's arguments.

    Raises CandidateError when there is no sample.
    """
    if min(context.calibration.samples, samples) < 1:
        words = f"{samples} of {context.calibration.samples} calibration samples: one is needed at least"
        raise CandidateError("compress", words)
    for batch in context.calibration.batches(size, samples):
        yield tuple(torch.from_numpy(batch[name]) for name in context.input_names)


def floats(given: object) -> list[Tensor]:
    """The outputs that are floats, flat."""
    return [leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor) and leaf.is_floating_point()]


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
