"""What fits side by side on one machine: every way to fill it where they are few, else the one that is worth most.

Replicas take whole vCPUs and whole blocks of memory; a machine has so many of each. A filling says how many replicas of
which items stand on one machine. It holds replicas of a model in one form only: a model is served by one of its items.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = tuple[tuple[int, int], ...]
"""Items by their place, in order, each with how many replicas of it there are (at least one)."""

Worth = Mapping[int, NDArray[np.float64]]
"""What 0, 1, 2 ... replicas of an item on one machine are worth, by the item's place."""

BLOCK_BYTES = 2**27
"""Memory is handed out in blocks of 128 MiB, rounded up for a replica: whole numbers make the packing exact."""

_NOTHING = 1e-12
"""Worth that is no more than rounding: it must not decide which of two equal fillings is taken."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A type of machine; at most `most` of it can be had, None for any number."""

    name: str
    vcpus: int
    blocks: int
    usd_per_hour: float
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One form in which a model may be served: what a replica takes, how many keep the promise, and where they may run.

    `machines` are places in the list of machines.
    """

    model: int
    cores: int
    blocks: int
    replicas: int
    machines: frozenset[int]


def copies(item: Item, machine: Machine) -> int:
    """The most replicas of an item on one machine that are of use: as many as fit, and as are needed."""
    by_memory = item.replicas if item.blocks == 0 else machine.blocks // item.blocks
    return min(machine.vcpus // item.cores, by_memory, item.replicas)


def all_fillings(items: Sequence[Item], place: int, machine: Machine, limit: int) -> tuple[Counts, ...] | None:
    """Every filling to which nothing can be added, in a fixed order; None where there are more than `limit`."""
    models = _by_model(items, place, machine)
    found: list[Counts] = []
    for counts in _fillings(items, models, 0, machine.vcpus, machine.blocks):
        if counts and not _takes_more(items, models, machine, counts):
            found.append(counts)
            if len(found) > limit:
                return None
    return tuple(found)


def best_filling(items: Sequence[Item], place: int, machine: Machine, worth: Worth) -> tuple[Counts, float]:
    """The filling that is worth most, and its worth: a knapsack with two limits, solved exactly.

    Dynamic programming, first by vCPUs alone; only where that filling takes too much memory, by both.
    """
    models = _by_model(items, place, machine)
    counts, value = _best(items, models, machine.vcpus, 0, worth)
    if sum(items[item].blocks * number for item, number in counts) <= machine.blocks:
        return counts, value
    return _best(items, models, machine.vcpus, machine.blocks, worth)


def _by_model(items: Sequence[Item], place: int, machine: Machine) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For each model that may run there, its items with the most replicas of each."""
    found: dict[int, list[tuple[int, int]]] = {}
    for number, item in enumerate(items):
        if place in item.machines and (most := copies(item, machine)):
            found.setdefault(item.model, []).append((number, most))
    return tuple(tuple(found[model]) for model in sorted(found))


def _fillings(
    items: Sequence[Item], models: Sequence[Sequence[tuple[int, int]]], begin: int, vcpus: int, blocks: int
) -> Iterator[Counts]:
    if begin == len(models):
        yield ()
        return
    for item, most in models[begin]:
        one = items[item]
        for number in range(most, 0, -1):
            left, room = vcpus - number * one.cores, blocks - number * one.blocks
            if left >= 0 and room >= 0:
                for rest in _fillings(items, models, begin + 1, left, room):
                    yield ((item, number), *rest)
    yield from _fillings(items, models, begin + 1, vcpus, blocks)


def _takes_more(
    items: Sequence[Item], models: Sequence[Sequence[tuple[int, int]]], machine: Machine, counts: Counts
) -> bool:
    left = machine.vcpus - sum(items[item].cores * number for item, number in counts)
    room = machine.blocks - sum(items[item].blocks * number for item, number in counts)
    taken = {items[item].model: (item, number) for item, number in counts}
    for forms in models:
        for item, most in forms:
            one = items[item]
            held, number = taken.get(one.model, (item, 0))
            if held == item and number < most and one.cores <= left and one.blocks <= room:
                return True
    return False


def _best(
    items: Sequence[Item], models: Sequence[Sequence[tuple[int, int]]], vcpus: int, blocks: int, worth: Worth
) -> tuple[Counts, float]:
    """A table of the best worth for each number of vCPUs and blocks, a model at a time; 0 blocks leave memory out."""
    best = np.zeros((vcpus + 1, blocks + 1))
    taken: list[tuple[list[tuple[int, int]], NDArray[np.int16]]] = []
    for forms in models:
        options = [(item, number) for item, most in forms for number in range(1, most + 1) if worth[item][number] > 0]
        after, chosen = best.copy(), np.full(best.shape, -1, dtype=np.int16)
        for place, (item, number) in enumerate(options):
            cores, room = items[item].cores * number, items[item].blocks * number if blocks else 0
            with_it = best[: vcpus + 1 - cores, : blocks + 1 - room] + worth[item][number]
            better = with_it > after[cores:, room:] + _NOTHING
            after[cores:, room:][better] = with_it[better]
            chosen[cores:, room:][better] = place
        best = after
        taken.append((options, chosen))
    return _traced(items, taken, vcpus, blocks), float(best[-1, -1])


def _traced(
    items: Sequence[Item], taken: Sequence[tuple[list[tuple[int, int]], NDArray[np.int16]]], vcpus: int, blocks: int
) -> Counts:
    """Which options led to the best worth, from the last model back to the first."""
    found = []
    for options, chosen in reversed(taken):
        place = chosen[vcpus, blocks]
        if place >= 0:
            item, number = options[place]
            found.append((item, number))
            vcpus -= items[item].cores * number
            blocks -= items[item].blocks * number if blocks else 0
    return tuple(sorted(found))
