"""What is known about a graph's places: which units they form, which weights read them, what work they cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import fx

Places = NDArray[np.int64]
Axis = Places | None
"""The places along an axis; None when nothing there can go (a batch, a picture's height)."""
Axes = tuple[Axis, ...]
Shape = tuple[int, ...]

NO_PLACES: Places = np.empty(0, np.int64)


@dataclass(frozen=True)
class Reader:
    """A weight that multiplies values: its axis `axis` meets axis `dim` of what `node` reads from `source`."""

    node: fx.Node
    source: fx.Node
    dim: int
    weight: str
    axis: int


class Cost(Protocol):
    """What a part of a model costs, told from how many places are left on each of its axes."""

    @property
    def axes(self) -> tuple[Places, ...]:
        """The axes that it depends on."""

    def at(self, widths: Sequence[int]) -> float:
        """What it costs when so many places are left on each axis."""


@dataclass(frozen=True)
class Work:
    """A cost in proportion to each of its axes: multiply-accumulates of a node, bytes of a weight.

    `full` is what it is at full width.
    """

    name: str
    full: int
    axes: tuple[Places, ...]

    def at(self, widths: Sequence[int]) -> float:
        """What is left of it when so many places are left on each axis."""
        return float(self.full * np.prod([left / len(axis) for left, axis in zip(widths, self.axes, strict=True)]))


@dataclass(frozen=True)
class Group:
    """Units that are made by one weight, named after it, and may replace each other; and its axis of places."""

    name: str
    units: Places
    axis: Places


@dataclass(frozen=True)
class Structure:
    """What a walk found. `unit` maps each place to its unit, -1 where it is fixed.

    `work` are the multiply-accumulates of each node for the batch that was run.
    """

    unit: Places
    parameters: Mapping[str, Axes]
    values: Mapping[fx.Node, Sequence[Axes]]
    shapes: Mapping[fx.Node, Sequence[Shape]]
    readers: tuple[Reader, ...]
    work: tuple[Work, ...]
    groups: tuple[Group, ...]
    heads: tuple[Group, ...]

    @property
    def count(self) -> int:
        """How many units there are."""
        return int(self.unit.max(initial=-1)) + 1

    def units(self, axis: Axis) -> Places:
        """The unit at each position of an axis, -1 where it is fixed."""
        return NO_PLACES if axis is None else self.unit[axis]

    def kept(self, axis: Axis, gone: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which positions of an axis stay when the units that `gone` marks go."""
        kept: NDArray[np.bool_] = ~np.append(gone, False)[self.units(axis)]  # -1 finds the last, which stays
        return kept

    def cost(self, gone: NDArray[np.bool_], parts: Sequence[Cost]) -> float:
        """What these parts cost together after the units that `gone` marks went."""
        return sum(one.at([int(self.kept(axis, gone).sum()) for axis in one.axes]) for one in parts)
