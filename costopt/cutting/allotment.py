"""How many units each group loses, so that the outputs change least for the work that is saved.

Importance tells which channel of a layer goes first; it can't compare layers. So each group is tried alone: its least
important units are masked at a few widths, and the change of the outputs on calibration data is measured,

    error = |y' - y|^2 / |y|^2,

which adds up over groups when the changes are small and point anywhere. Then, step by step, the group goes on that has
the smallest error for what is saved (a greedy walk along the curves), until enough is saved. A layer that hardly
matters thus loses most of its channels, and one that everything hangs on keeps them.

What is saved is counted in whatever should get less: multiply-accumulates, bytes, or milliseconds. A width that saves
nothing is passed over: of milliseconds, a narrower layer does not always take fewer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from costopt.cutting.importance import Scores
from costopt.cutting.observed import Inputs, floats
from costopt.cutting.surgery import Gone, masked
from costopt.cutting.ties import Cost, Group, Structure

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
        """The error when `lost` units are masked; beyond the last number that was tried it rises on as before that."""
        beyond = max(lost - self.tried[-1], 0)
        slope = (self.errors[-1] - self.errors[-2]) / (self.tried[-1] - self.tried[-2]) if beyond else 0.0
        return float(np.interp(lost, self.tried, self.errors) + slope * beyond)

    def next(self, lost: int) -> int | None:
        """How many are lost one step on: a width that is a multiple of the step is left, and never nothing."""
        left = len(self.order) - lost
        narrower = (left - 1) // self.step * self.step
        return len(self.order) - narrower if narrower > 0 else None

    def further(self, lost: int) -> Iterator[int]:
        """How many are lost at each step from here, to the smallest width."""
        while (further := self.next(lost)) is not None:
            lost = further
            yield lost


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


def levels(structure: Structure, drawn: Sequence[Curve]) -> list[Gone]:
    """What goes when all groups get narrower together, from their full widths on, so that each comes by all of its."""
    losses = [[0, *curve.further(0)] for curve in drawn]
    found = []
    for share in np.linspace(0, 1, max(map(len, losses))):
        gone = np.zeros(structure.count, dtype=bool)
        for curve, lost in zip(drawn, losses, strict=True):
            gone[curve.order[: lost[round(share * (len(lost) - 1))]]] = True
        found.append(gone)
    return found


def allotted(
    structure: Structure,
    costs: Sequence[Cost],
    drawn: Sequence[Curve],
    found: Scores,
    share: float,
    jumps: bool = False,
) -> tuple[Gone, float]:
    """Which units go so that `share` of the `costs` goes, and the share that really does.

    The second number is smaller than `share` when the groups hold no more. With `jumps` a group may leave out widths,
    where those beyond save more for their error, as is so of time; else it goes on by single steps.
    """
    gone = np.zeros(structure.count, dtype=bool)
    lost = [0] * len(drawn)
    reach = [_touched(structure, costs, curve) for curve in drawn]
    total = now = structure.cost(gone, costs)
    while now > (1 - share) * total:
        enough = now - (1 - share) * total if jumps else 0.0
        steps = [
            _step(structure, touched, curve, at, gone, enough)
            for touched, curve, at in zip(reach, drawn, lost, strict=True)
        ]
        price, best = min((step[0], index) for index, step in enumerate(steps))
        if price == np.inf:
            break
        lost[best] = steps[best][1]
        gone[drawn[best].order[: lost[best]]] = True
        now = structure.cost(gone, costs)
    _spare(structure, gone, found)
    return gone, 1 - structure.cost(gone, costs) / total if total else 0.0


def _touched(structure: Structure, costs: Sequence[Cost], curve: Curve) -> list[Cost]:
    """The costs that depend on a group."""
    return [one for one in costs if any(np.isin(curve.order, structure.unit[axis]).any() for axis in one.axes)]


def _step(
    structure: Structure, touched: Sequence[Cost], curve: Curve, lost: int, gone: Gone, enough: float
) -> tuple[float, int]:
    """The least error for what is saved by a step of a group, and what is lost then.

    Steps up to the first that saves something, and at least `enough`, are looked at.
    """
    before, best = structure.cost(gone, touched), (np.inf, lost)
    for further in curve.further(lost):
        after = gone.copy()
        after[curve.order[:further]] = True
        saved = before - structure.cost(after, touched)
        if saved > 0:
            best = min(best, ((curve.error(further) - curve.error(lost)) / saved, further))
            if saved >= enough:
                break
    return best


def _spare(structure: Structure, gone: Gone, found: Scores) -> None:
    """Keep the most important unit of an axis that would be left with nothing, as half of a split one may be."""
    values = (one for several in structure.values.values() for one in several)
    for axes in (*structure.parameters.values(), *values):
        for axis in axes:
            if axis is not None and len(axis) and not structure.kept(axis, gone).any():
                units = structure.units(axis)
                gone[units[np.argmax(found[units])]] = False
