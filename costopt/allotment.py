"""How many units each group loses, so that the outputs change least for the work that is saved.

Importance tells which channel of a layer goes first; it can't compare layers. So each group is tried alone: its least
important units are masked at a few widths, and the change of the outputs on calibration data is measured,

    error = |y' - y|^2 / |y|^2,

which adds up over groups when the changes are small and point anywhere. Then, step by step, the group goes on that has
the smallest error for each multiply-accumulate saved (a greedy walk along the curves), until enough is saved. A layer
that hardly matters thus loses most of its channels, and one that everything hangs on keeps them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from costopt.importance import Scores
from costopt.observed import Inputs, floats
from costopt.surgery import Gone, masked
from costopt.ties import Group, Structure, Work

TRIED = (0.25, 0.5, 0.75, 0.875)
"""Shares of a group that are masked to draw its curve; what lies between is interpolated."""

STEPS = 32
"""At most so many steps from a group's full width to its smallest: finer ones change little and take long."""


@dataclass(frozen=True)
class Curve:
    """A group's units, the least important first, and the error when the first `tried[i]` of them are masked."""

    group: Group
    order: NDArray[np.int64]
    step: int
    tried: NDArray[np.int64]
    errors: Scores

    def error(self, lost: int) -> float:
        """The error when `lost` units are masked."""
        return float(np.interp(lost, self.tried, self.errors))

    def next(self, lost: int) -> int | None:
        """How many are lost one step on: a width that is a multiple of the step is left, and never nothing."""
        left = len(self.order) - lost
        narrower = (left - 1) // self.step * self.step
        return len(self.order) - narrower if narrower > 0 else None


def step_of(width: int, round_to: int) -> int:
    """The multiple that widths are rounded to: smaller for layers under `round_to`, larger for very wide ones."""
    if width < round_to:
        return 1 << max(width // 4, 1).bit_length() - 1
    return round_to * max(1, width // (STEPS * round_to))


def curves(
    module: fx.GraphModule,
    structure: Structure,
    groups: Sequence[Group],
    found: Scores,
    round_to: int,
    batches: Sequence[Inputs],
) -> list[Curve]:
    """Mask each group alone, at several widths, and see how far the outputs move on `batches`."""
    wanted = _outputs(module, batches)
    drawn = []
    for group in groups:
        order = group.units[np.argsort(found[group.units], kind="stable")]
        tried, errors = [0], [0.0]
        for share in TRIED:
            lost = int(share * len(order))
            if tried[-1] < lost < len(order):
                gone = np.zeros(structure.count, dtype=bool)
                gone[order[:lost]] = True
                with masked(module, structure, gone):
                    errors.append(_error(wanted, _outputs(module, batches)))
                tried.append(lost)
        rising = np.maximum.accumulate(errors)
        drawn.append(Curve(group, order, step_of(len(order), round_to), np.array(tried), rising))
    return drawn


def _outputs(module: fx.GraphModule, batches: Sequence[Inputs]) -> list[list[Tensor]]:
    with torch.no_grad():
        return [floats(module(*inputs)) for inputs in batches]


def _error(wanted: list[list[Tensor]], got: list[list[Tensor]]) -> float:
    """The squared relative error, averaged over outputs."""
    errors = []
    for one, other in zip(zip(*wanted, strict=True), zip(*got, strict=True), strict=True):
        apart = sum(float((a - b).double().square().sum()) for a, b in zip(one, other, strict=True))
        size = sum(float(a.double().square().sum()) for a in one)
        errors.append(apart / max(size, 1e-30))
    return float(np.mean(errors))


def allotted(
    structure: Structure, work: Sequence[Work], drawn: Sequence[Curve], found: Scores, share: float
) -> tuple[Gone, float]:
    """Which units go so that `share` of the `work` goes, and the share that really does.

    The second number is smaller than `share` when the groups hold no more.
    """
    gone = np.zeros(structure.count, dtype=bool)
    lost = [0] * len(drawn)
    reach = [
        [one for one in work if any(np.isin(curve.order, structure.unit[axis]).any() for axis in one.axes)]
        for curve in drawn
    ]
    total = now = structure.macs(gone, work)
    while now > (1 - share) * total:
        steps = [
            _step(structure, touched, curve, at, gone) for touched, curve, at in zip(reach, drawn, lost, strict=True)
        ]
        price, best = min((step[0], index) for index, step in enumerate(steps))
        if price == np.inf:
            break
        lost[best] = steps[best][1]
        gone[drawn[best].order[: lost[best]]] = True
        now = structure.macs(gone, work)
    _spare(structure, gone, found)
    return gone, 1 - structure.macs(gone, work) / total


def _touched(structure: Structure, work: Sequence[Work], curve: Curve) -> list[Work]:
    """The part of the work that depends on a group."""
    return [one for one in work if any(np.isin(curve.order, structure.unit[axis]).any() for axis in one.axes)]


def _step(structure: Structure, touched: Sequence[Work], curve: Curve, lost: int, gone: Gone) -> tuple[float, int]:
    """Error for each multiply-accumulate saved by the next step of a group, and what is lost then."""
    further = curve.next(lost)
    if further is None:
        return np.inf, lost
    after = gone.copy()
    after[curve.order[:further]] = True
    saved = structure.macs(gone, touched) - structure.macs(after, touched)
    return (curve.error(further) - curve.error(lost)) / max(saved, 1e-9), further


def _spare(structure: Structure, gone: Gone, found: Scores) -> None:
    """Keep the most important unit of an axis that would be left with nothing, as half of a split one may be."""
    values = (one for several in structure.values.values() for one in several)
    for axes in (*structure.parameters.values(), *values):
        for axis in axes:
            if axis is not None and len(axis) and not structure.kept(axis, gone).any():
                units = structure.units(axis)
                gone[units[np.argmax(found[units])]] = False
