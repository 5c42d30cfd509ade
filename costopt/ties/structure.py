"""What is known about a graph's places: which units they form, which weights read them, what work they cause."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of a node for the batch that was run, and the axes that they are proportional to."""

    node: str
    macs: int
    axes: tuple[Places, ...]


@dataclass(frozen=True)
class Group:
    """Units that are made by one weight, named after it, and may replace each other; and its axis of places."""

    name: str
    units: Places
    axis: Places


@dataclass(frozen=True)
class Structure:
    """What a walk found. `unit` maps each place to its unit, -1 where it is fixed."""

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

    def macs(self, gone: NDArray[np.bool_], work: Sequence[Work]) -> float:
        """Multiply-accumulates of `work` for the batch that was run, after the units that `gone` marks went."""
        return float(sum(one.macs * np.prod([self.kept(axis, gone).mean() for axis in one.axes]) for one in work))
