"""The state of one walk over a graph: places that were handed out, and what was found about them so far."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import fx
from torch._ops import OpOverload

from costopt.cutting.ties.structure import Axes, Axis, Places, Reader, Shape, Work

Arguments = Mapping[str, Any]
"""The arguments of an aten call by name."""


@dataclass
class Walk:
    """Places as they are handed out, and what was found about them so far."""

    module: fx.GraphModule
    shapes: Mapping[fx.Node, Sequence[Shape]]
    values: dict[fx.Node, Sequence[Axes]] = field(default_factory=dict)
    count: int = 0
    tied: list[tuple[Places, Places]] = field(default_factory=list)
    fixed: list[Places] = field(default_factory=list)
    products: list[Places] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    made: dict[str, Axes] = field(default_factory=dict)
    roots: list[tuple[str, Places]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find the first name of each tensor: shared ones have several."""
        tensors = [*self.module.named_parameters(remove_duplicate=False), *self.module.named_buffers()]
        first: dict[int, str] = {}
        self.tensors = dict(tensors)
        self.names = {name: first.setdefault(id(tensor), name) for name, tensor in tensors}

    def places(self, number: int) -> Places:
        """New places, tied to nothing."""
        self.count += number
        return np.arange(self.count - number, self.count)

    def tie(self, one: Axis, other: Axis) -> None:
        """Both go together, position by position; what has no places fixes the other."""
        if one is None or other is None or len(one) != len(other):
            self.fix(one, other)
        else:
            self.tied.append((one, other))

    def fix(self, *axes: Axis) -> None:
        """None of these may go."""
        self.fixed += [axis for axis in axes if axis is not None]

    def parameter(self, name: str) -> Axes:
        """The axes of a parameter or buffer, the same ones each time."""
        name = self.names[name]
        if name not in self.made:
            self.made[name] = tuple(self.places(size) for size in self.tensors[name].shape)
        return self.made[name]

    def read(self, node: object, index: int = 0) -> Axes:
        """The axes of a value; none for what is no tensor."""
        found = self.values.get(node, ()) if isinstance(node, fx.Node) else ()
        return found[index] if index < len(found) else ()

    def joined(self, node: fx.Node, sources: Sequence[Any], which: slice) -> Axes:
        """The axes of values that are combined position by position, those of size one stretched; all tied."""
        shape = self.shapes[node][0]
        rank = len(shape)
        read = [(self.read(source), self.shapes[source][0]) for source in sources if self.values.get(source)]
        joined = []
        for axis in range(rank)[which]:
            held = [(axes[axis - rank], size[axis - rank]) for axes, size in read if len(axes) >= rank - axis]
            joined.append(self.stretched(held, shape[axis]))
        return tuple(joined)

    def stretched(self, held: Sequence[tuple[Axis, int]], size: int) -> Axis:
        """One axis of several values, tied; what is stretched from one position to many stays."""
        full = [axis for axis, length in held if length == size]
        if size > 1:
            self.fix(*(axis for axis, length in held if length == 1))
        for other in full[1:]:
            self.tie(full[0], other)
        return full[0] if full and all(axis is not None for axis in full) else None


def arguments_of(node: fx.Node) -> dict[str, Any]:
    """The arguments of an aten call by name, defaults included."""
    assert isinstance(node.target, OpOverload)
    schema = node.target._schema.arguments
    defaults = {one.name: one.default_value for one in schema if one.has_default_value()}
    return defaults | {one.name: value for one, value in zip(schema, node.args, strict=False)} | node.kwargs


def unknown(walk: Walk, node: fx.Node, _: Arguments) -> Sequence[Axes]:
    """Nothing is known: all that it reads stays as it is."""
    for source in node.all_input_nodes:
        for axes in walk.values.get(source, ()):
            walk.fix(*axes)
    return [(None,) * len(shape) for shape in walk.shapes[node]]


Rule = Callable[[Walk, fx.Node, Arguments], Sequence[Axes]]
"""What an operator does to places: the axes of each tensor that it gives."""
