"""Which axes of which values are as long as a sequence? Two runs with sequences of different lengths tell.

An exported graph says nothing of it by itself: sizes of 64 may be tokens or channels. Where the length of sequences
varies, an axis that is 5 long in one run and 7 in the other is one of places; whatever else changes (all tokens of all
sequences in one row, a length less one) is *derived*, and can only be computed anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from costopt.cutting.observed import Inputs
from costopt.errors import NotApplicable

LENGTHS = (5, 7)
"""Primes, so that no product of one with a batch or a number of heads looks like the other."""


@dataclass(frozen=True, slots=True)
class Extent:
    """How a node's value follows the length: `axes` are the places of a tensor; `length` is that it is that number
    itself; `derived` that it changes in another way."""

    axes: tuple[int, ...] = ()
    length: bool = False
    derived: bool = False


FIXED = Extent()


def varying_inputs(module: fx.GraphModule) -> Mapping[fx.Node, int]:
    """The arguments of the model with an axis of places, and which axis that is.

    Raises NotApplicable when no axis but the first may vary, or several do in different ways.
    """
    symbols: dict[fx.Node, tuple[int, str]] = {}
    for node in module.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        if isinstance(value, Tensor):
            found = [(axis, str(size)) for axis, size in enumerate(value.shape) if axis and not isinstance(size, int)]
            if len(found) > 1:
                raise NotApplicable(f"the input '{node.name}' varies along {len(found)} axes, so it is not a sequence")
            symbols.update((node, one) for one in found)
    if not symbols:
        raise NotApplicable("the model takes no sequences whose length varies; export it with such an axis")
    if len({symbol for _, symbol in symbols.values()}) > 1:
        raise NotApplicable("the model takes sequences of several lengths at once")
    return {node: axis for node, (axis, _) in symbols.items()}


def extents(module: fx.GraphModule, inputs: Inputs) -> Mapping[fx.Node, Extent]:
    """How the value of each node follows the length of sequences; `inputs` are a batch of at least `max(LENGTHS)`.

    Raises NotApplicable when the model does not take sequences of any length.
    """
    varying = varying_inputs(module)
    places = list(module.graph.find_nodes(op="placeholder"))
    longest = min(inputs[places.index(node)].shape[axis] for node, axis in varying.items())
    if longest < max(LENGTHS):
        raise NotApplicable(f"sequences of {longest} places are too short to take any away")
    runs = []
    for length in LENGTHS:
        axes = [varying.get(node) for node in places]
        runs.append(_sizes(module, [_cut(one, axis, length) for one, axis in zip(inputs, axes, strict=True)]))
    return {node: _extent(runs[0][node], runs[1][node]) for node in module.graph.nodes}


def _cut(array: Tensor, axis: int | None, length: int) -> Tensor:
    return array if axis is None else array.narrow(axis, 0, length)


def _sizes(module: fx.GraphModule, inputs: Sequence[Tensor]) -> dict[fx.Node, object]:
    runner = _Sizes(module)
    try:
        with torch.no_grad():
            runner.run(*inputs)
    except RuntimeError as problem:  # torch's word for sizes that don't fit: a length is written down in the graph
        raise NotApplicable(
            f"the model does not take sequences of any length: {str(problem).splitlines()[0]}"
        ) from None
    return runner.seen


class _Sizes(fx.Interpreter):
    """Runs the graph, and remembers each node's number, or its tensor's sizes."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[fx.Node, object] = {}

    def run_node(self, n: fx.Node) -> object:
        """The node's value, as it is."""
        value = super().run_node(n)
        self.seen[n] = tuple(value.shape) if isinstance(value, Tensor) else value if isinstance(value, int) else None
        return value


def _extent(one: object, other: object) -> Extent:
    if one == other:
        return FIXED
    if isinstance(one, tuple) and isinstance(other, tuple) and len(one) == len(other):
        changed = [axis for axis, sizes in enumerate(zip(one, other, strict=True)) if sizes[0] != sizes[1]]
        regular = all((one[axis], other[axis]) == LENGTHS for axis in changed)
        return Extent(axes=tuple(changed)) if regular else Extent(derived=True)
    return Extent(length=True) if (one, other) == LENGTHS else Extent(derived=True)
