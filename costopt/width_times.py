"""How long a layer takes at every width that it could have, on this machine.

Work and time are different things: a kernel that computes 16 channels at a time takes as long for 17 as for 32, and
one that waits for memory gains nothing from less arithmetic. So each layer is run alone, with the shape that really
flows into it, at a grid of widths of its inputs and outputs, by ONNX Runtime on one thread; between the widths of the
grid, time is interpolated. Layers that are alike (operator, attributes, sizes, widths) are measured once. Such tables
of times by layer and width are those of NetAdapt (Yang et al. 2018, https://arxiv.org/abs/1804.03230, section 3.3).

A convolution of 3 x 3 over 14 x 14 places, 64 channels in: 121 microseconds for 52 to 64 channels out, 154 for 68. Of a
residual CNN the ten layers with weights took 0.653 ms one by one, and the whole model 0.647 ms; with 45 % of its work
0.312 and 0.303 ms (ONNX Runtime 1.31.1, shared 2-core x86 with AVX-512, least times, measured 2026-11).

Only layers with weights are timed. Activations are fused into them or cheap beside them, and attention's products have
no width that channel pruning changes.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import fx

from costopt import layer_times
from costopt.any_width import Kind, layers
from costopt.ties import Places, Shape, Structure

ROUNDS, CALLS = 3, 5
"""Rounds over all layers and widths, and timed calls of each in a round, of which the fastest counts."""

LEVELS, FEWEST_LEVELS = 17, 3
"""Widths of a layer's inputs, and of its outputs, to measure; where all are too many, half of the steps between them
(17, 9, 5, 3)."""

MOST_TIMED = 300
"""Layers of some width that are measured, unless even the fewest levels are more: about 6 ms each and round, besides
its calls."""

REORDERING = frozenset({"ReorderInput", "ReorderOutput"})
"""ONNX Runtime's convolutions keep channels in blocks; between two of them nothing is put into another order."""

Gone = NDArray[np.bool_]


@dataclass(frozen=True)
class WidthTimes:
    """The milliseconds of a layer, one axis for each of its `axes`, measured at `widths` (ascending) along each."""

    axes: tuple[Places, ...]
    widths: tuple[Places, ...]
    times_ms: NDArray[np.float64]

    def at(self, widths: Sequence[int]) -> float:
        """The time when so many places are left on each axis, interpolated linearly along one after the other."""
        found = self.times_ms
        for width, known in zip(widths, self.widths, strict=True):
            place = float(np.interp(width, known, np.arange(len(known))))
            low = int(place)
            high = min(low + 1, len(known) - 1)
            found = found[low] + (place - low) * (found[high] - found[low])
        return float(found)


def width_times(
    module: fx.GraphModule,
    structure: Structure,
    shapes: Mapping[fx.Node, Sequence[Shape]],
    levels: Sequence[Gone],
) -> list[WidthTimes]:
    """The times of every layer with weights, by its widths.

    `shapes` are those of all values for the batch that is to be timed. Each of `levels` marks units that may be gone
    together, from none to as many as can be; what they leave of an axis are the widths at which it is measured. Where
    that is more than `MOST_TIMED`, every other one is left out.
    Raises CandidateError when ONNX Runtime can't run a layer.
    """
    grids = _grids(structure, list(layers(module, structure, shapes)), levels)
    times_ms = fastest_of_rounds(kind for grid in grids for kind in grid.kinds)
    return [
        WidthTimes(grid.axes, grid.widths, np.array([times_ms[kind] for kind in grid.kinds]).reshape(grid.size))
        for grid in grids
    ]


@dataclass(frozen=True)
class _Grid:
    """A layer at all combinations of some `widths` along its `axes`, the last changing fastest."""

    axes: tuple[Places, ...]
    widths: tuple[Places, ...]
    kinds: tuple[Kind, ...]

    @property
    def size(self) -> tuple[int, ...]:
        """How many widths there are along each axis."""
        return tuple(len(one) for one in self.widths)


def _grids(
    structure: Structure, found: Sequence[tuple[Kind, tuple[Places, ...]]], levels: Sequence[Gone]
) -> list[_Grid]:
    """Where to measure each layer: at what the levels leave, or half of them."""
    grids = [_grid(kind, axes, tuple(_widths(structure, axis, levels) for axis in axes)) for kind, axes in found]
    if len({kind for grid in grids for kind in grid.kinds}) <= MOST_TIMED or len(levels) <= FEWEST_LEVELS:
        return grids
    return _grids(structure, found, levels[::2])


def _grid(kind: Kind, axes: tuple[Places, ...], widths: tuple[Places, ...]) -> _Grid:
    combined = itertools.product(*(one.tolist() for one in widths))
    return _Grid(axes, widths, tuple(kind.of_widths(one) for one in combined))


def _widths(structure: Structure, axis: Places, levels: Sequence[Gone]) -> Places:
    """How many places the levels leave on an axis, ascending."""
    left = {int(structure.kept(axis, gone).sum()) for gone in levels}
    return np.array(sorted(left - {0}), dtype=np.int64)


def fastest_of_rounds(kinds: Iterable[Kind]) -> Mapping[Kind, float]:
    """The milliseconds of each kind of layer, the least of some rounds over all: a disturbance may outlast one's calls.

    Raises CandidateError when ONNX Runtime can't run one.
    """
    fastest_ms = dict.fromkeys(kinds, np.inf)
    for _ in range(ROUNDS):
        for kind in fastest_ms:
            fastest_ms[kind] = min(fastest_ms[kind], kind_ms(kind))
    return fastest_ms


def kind_ms(kind: Kind) -> float:
    """The milliseconds of a layer alone on one thread: of its fastest call, as what disturbs one only adds to it."""
    return layer_times.fastest_ms(kind.model(), {"x": kind.input()}, REORDERING, CALLS)
