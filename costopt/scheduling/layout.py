"""From the integer program's answer to machines: how many of each type, what stands on them, and the weights.

The program asks that there are enough replicas, so there may be some too many: those are taken away, from the fullest
machines first. A weight is the share of a model's requests that one machine gets: its replicas over all of the model's.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from costopt.scheduling.columns import Level
from costopt.scheduling.filling import Counts, Item, Machine
from costopt.scheduling.program import Solution


@dataclass(frozen=True, slots=True)
class Group:
    """`count` machines of the type at place `machine`, each with the same replicas: models by place, how many."""

    machine: int
    count: int
    replicas: Counts

    def of(self, model: int) -> int:
        """How many replicas of a model stand on each of them."""
        return dict(self.replicas).get(model, 0)


Layout = tuple[Group, ...]


def layout(solution: Solution, items: Sequence[Item], machines: Sequence[Machine]) -> Layout:
    """The machines of a solution in which every model is placed, by type (the smallest first) and by what they hold."""
    levels = [one for one in solution.levels if one is not None]
    standing = [_held(counts.counts, levels, items) for counts, times in solution.used for _ in range(times)]
    types = [counts.machine for counts, times in solution.used for _ in range(times)]
    for level in levels:
        _take_away(standing, items[level.item].model, level.need)
    found = Counter((kind, tuple(sorted(one.items()))) for kind, one in zip(types, standing, strict=True) if one)
    ordered = sorted(found.items(), key=lambda one: (machines[one[0][0]].vcpus, one[0]))
    return tuple(Group(kind, count, replicas) for (kind, replicas), count in ordered)


def _held(counts: Counts, levels: Sequence[Level], items: Sequence[Item]) -> dict[int, int]:
    """What counts on a machine: of each model, the chosen item only, and no more than its cap."""
    caps = {level.item: level.cap for level in levels}
    return {items[item].model: min(number, caps[item]) for item, number in counts if item in caps}


def _take_away(standing: list[dict[int, int]], model: int, need: int) -> None:
    """Leave a model as many replicas as it needs."""
    mine = sorted((one for one in standing if model in one), key=lambda one: -one[model])
    surplus = sum(one[model] for one in mine) - need
    while surplus > 0:
        fullest = max(mine, key=lambda one: one.get(model, 0))
        fullest[model] -= 1
        if not fullest[model]:
            del fullest[model]
        surplus -= 1


def replicas(groups: Layout, model: int) -> int:
    """Of a model on all machines."""
    return sum(group.count * group.of(model) for group in groups)


def survives(groups: Layout, model: int, failures: int) -> int:
    """How many replicas of a model are left when the machines that hold most of it fail."""
    held = sorted((group.of(model) for group in groups for _ in range(group.count)), reverse=True)
    return sum(held[failures:])


def weight(group: Group, groups: Layout, model: int) -> float:
    """The share of a model's requests for one machine of a group."""
    return group.of(model) / replicas(groups, model)


def usd_per_hour(groups: Layout, machines: Sequence[Machine]) -> float:
    """What all machines cost together."""
    return sum(group.count * machines[group.machine].usd_per_hour for group in groups)
