"""How long a layer takes at every width that it could have, on this machine.

Work and time are different things: a kernel that computes 16 channels at a time takes as long for 17 as for 32, and
one that waits for memory gains nothing from less arithmetic. So each layer is run alone, with the shape that really
flows into it, at all widths that its inputs and outputs may get, by ONNX Runtime on one thread. Where several groups
lie side by side on one axis, time is interpolated between the widths at which all get narrower together. Layers that
are alike (operator, attributes, sizes, widths) are measured once. Such tables of times by layer and width are those of
NetAdapt (Yang et al. 2018, https://arxiv.org/abs/1804.03230).

A convolution of 3 x 3 over 14 x 14 places, 64 channels in: 121 microseconds for 52 to 64 channels out, 154 for 68. Of a
residual CNN the ten layers with weights took 0.650 ms one by one, and the whole model 0.647 ms; with 45 % of its work
0.310 and 0.304 ms (ONNX Runtime 1.31.1, shared 2-core x86 with AVX-512, least times, measured 2026-11).

Only layers with weights are timed: activations are fused into them or cheap beside them, and the products of attention
keep their widths when channels go from the layers round them.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import fx

from costopt.cutting.allotment import Curve, levels
from costopt.cutting.any_width import Kind, layers
from costopt.cutting.surgery import Gone
from costopt.cutting.ties import Places, Shape, Structure
from costopt.rounding import layer_times

ROUNDS, CALLS = 3, 5
"""Rounds over all layers and widths, and timed calls of each in a round, of which the fastest counts."""

MOST_TIMED, FEWEST_WIDTHS = 300, 4
"""Layers of some width that are measured, about 6 ms each and round besides the calls: where all widths are more, those
groups that have more than the fewest take every other one."""

REORDERING = frozenset({"ReorderInput", "ReorderOutput"})
"""ONNX Runtime's convolutions keep channels in blocks; between two of them nothing is put into another order."""


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
    module: fx.GraphModule, structure: Structure, shapes: Mapping[fx.Node, Sequence[Shape]], drawn: Sequence[Curve]
) -> tuple[list[WidthTimes], Sequence[Curve]]:
    """The times of every layer with weights, by the widths that its groups take, and the curves with those widths.

    `shapes` are those of all values for the batch that is to be timed. Where all widths are more than `MOST_TIMED`, the
    curves get larger steps, so that a walk ends on none that was not measured.
    Raises CandidateError when ONNX Runtime can't run a layer.
    """
    found = list(layers(module, structure, shapes))
    grids = _grids(structure, found, drawn)
    while len({kind for grid in grids for kind in grid.kinds}) > MOST_TIMED and any(map(_has_many_widths, drawn)):
        drawn = [replace(one, step=2 * one.step) if _has_many_widths(one) else one for one in drawn]
        grids = _grids(structure, found, drawn)
    times_ms = fastest_of_rounds(kind for grid in grids for kind in grid.kinds)
    tables = [
        WidthTimes(grid.axes, grid.widths, np.array([times_ms[kind] for kind in grid.kinds]).reshape(grid.size))
        for grid in grids
    ]
    return tables, drawn


def _has_many_widths(curve: Curve) -> bool:
    return len(list(curve.further(0))) >= FEWEST_WIDTHS


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
    structure: Structure, found: Sequence[tuple[Kind, tuple[Places, ...]]], drawn: Sequence[Curve]
) -> list[_Grid]:
    """Where to measure each layer."""
    narrowing = levels(structure, drawn)
    return [_grid(kind, axes, tuple(_widths(structure, axis, narrowing) for axis in axes)) for kind, axes in found]


def _grid(kind: Kind, axes: tuple[Places, ...], widths: tuple[Places, ...]) -> _Grid:
    combined = itertools.product(*(one.tolist() for one in widths))
    return _Grid(axes, widths, tuple(kind.of_widths(one) for one in combined))


def _widths(structure: Structure, axis: Places, narrowing: Sequence[Gone]) -> Places:
    """How many places are left on an axis while all groups get narrower, ascending."""
    left = {int(structure.kept(axis, gone).sum()) for gone in narrowing}
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
