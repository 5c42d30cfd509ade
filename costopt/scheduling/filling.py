"""What fits side by side on one machine: every way to fill it where they are few, else the one that is worth most.

Replicas take whole vCPUs and bytes of memory; a machine has so many of each. A filling says how many replicas of which
items stand on one machine. It holds replicas of a model in one form only: a model is served by one of its items.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = tuple[tuple[int, int], ...]
"""Items by their place, in order, each with how many replicas of it there are (at least one)."""

Worth = Mapping[int, NDArray[np.float64]]
"""What 0, 1, 2 ... replicas of an item on one machine are worth, by the item's place."""

_TOLERANCE = 1e-6
"""By how much HiGHS may break a limit; memory is asked to stay that much below."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A type of machine; at most `most` of it can be had, None for any number."""

    name: str
    vcpus: int
    memory_bytes: int
    usd_per_hour: float
    most: int | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One form in which a model may be served: what a replica takes, how many keep the promise, and where they may run.

    `machines` are places in the list of machines.
    """

    model: int
    cores: int
    memory_bytes: int
    replicas: int
    machines: frozenset[int]


def copies(item: Item, machine: Machine) -> int:
    """The most replicas of an item on one machine that are of use: as many as fit, and as are needed."""
    by_memory = item.replicas if item.memory_bytes == 0 else machine.memory_bytes // item.memory_bytes
    return min(machine.vcpus // item.cores, by_memory, item.replicas)


def all_fillings(items: Sequence[Item], place: int, machine: Machine, limit: int) -> tuple[Counts, ...] | None:
    """Every filling to which nothing can be added, in a fixed order; None where there are more than `limit`."""
    models = _by_model(items, place, machine)
    found: list[Counts] = []
    for counts in _fillings(items, models, 0, machine.vcpus, machine.memory_bytes):
        if counts and not _takes_more(items, models, machine, counts):
            found.append(counts)
            if len(found) > limit:
                return None
    return tuple(found)


def best_filling(items: Sequence[Item], place: int, machine: Machine, worth: Worth) -> tuple[Counts, float]:
    """The filling that is worth most, and its worth: a knapsack with two limits, solved exactly.

    By vCPUs alone it is solved by dynamic programming (one table of the best worth for each number of vCPUs, a model
    at a time); only where that filling takes too much memory, by an integer program of its own.
    """
    models = _by_model(items, place, machine)
    counts, value = _best_by_cores(items, models, machine, worth)
    if sum(items[item].memory_bytes * number for item, number in counts) <= machine.memory_bytes:
        return counts, value
    return _best_by_both(items, models, machine, worth)


def _by_model(items: Sequence[Item], place: int, machine: Machine) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For each model that may run there, its items with the most replicas of each."""
    found: dict[int, list[tuple[int, int]]] = {}
    for number, item in enumerate(items):
        if place in item.machines and (most := copies(item, machine)):
            found.setdefault(item.model, []).append((number, most))
    return tuple(tuple(found[model]) for model in sorted(found))


def _fillings(
    items: Sequence[Item], models: Sequence[Sequence[tuple[int, int]]], begin: int, vcpus: int, memory_bytes: int
) -> Iterator[Counts]:
    if begin == len(models):
        yield ()
        return
    for item, most in models[begin]:
        one = items[item]
        for number in range(most, 0, -1):
            left, room = vcpus - number * one.cores, memory_bytes - number * one.memory_bytes
            if left >= 0 and room >= 0:
                for rest in _fillings(items, models, begin + 1, left, room):
                    yield ((item, number), *rest)
    yield from _fillings(items, models, begin + 1, vcpus, memory_bytes)


def _takes_more(
    items: Sequence[Item], models: Sequence[Sequence[tuple[int, int]]], machine: Machine, counts: Counts
) -> bool:
    left = machine.vcpus - sum(items[item].cores * number for item, number in counts)
    room = machine.memory_bytes - sum(items[item].memory_bytes * number for item, number in counts)
    taken = {items[item].model: (item, number) for item, number in counts}
    for forms in models:
        for item, most in forms:
            one = items[item]
            held, number = taken.get(one.model, (item, 0))
            if held == item and number < most and one.cores <= left and one.memory_bytes <= room:
                return True
    return False


def _best_by_cores(
    items: Sequence[Item], models: Sequence[Sequence[tuple[int, int]]], machine: Machine, worth: Worth
) -> tuple[Counts, float]:
    best = np.zeros(machine.vcpus + 1)
    taken: list[tuple[list[tuple[int, int]], NDArray[np.intp]]] = []
    for forms in models:
        options = [(item, number) for item, most in forms for number in range(1, most + 1) if worth[item][number] > 0]
        after, chosen = best.copy(), np.full(len(best), -1, dtype=np.intp)
        for place, (item, number) in enumerate(options):
            size = items[item].cores * number
            with_it = best[: len(best) - size] + worth[item][number]
            better = with_it > after[size:] + 1e-12
            after[size:][better] = with_it[better]
            chosen[size:][better] = place
        best = after
        taken.append((options, chosen))
    return _traced(items, taken, machine.vcpus), float(best[-1])


def _traced(
    items: Sequence[Item], taken: Sequence[tuple[list[tuple[int, int]], NDArray[np.intp]]], vcpus: int
) -> Counts:
    """Which options led to the best worth, from the last model back to the first."""
    found = []
    for options, chosen in reversed(taken):
        if chosen[vcpus] >= 0:
            item, number = options[chosen[vcpus]]
            found.append((item, number))
            vcpus -= items[item].cores * number
    return tuple(sorted(found))


def _best_by_both(
    items: Sequence[Item], models: Sequence[Sequence[tuple[int, int]]], machine: Machine, worth: Worth
) -> tuple[Counts, float]:
    """One binary variable for each item and number of replicas, one of them at most for each model."""
    from scipy.optimize import LinearConstraint, milp

    options = [
        (item, number, place)
        for place, forms in enumerate(models)
        for item, most in forms
        for number in range(1, most + 1)
        if worth[item][number] > 0
    ]
    values = np.array([worth[item][number] for item, number, _ in options])
    cores = [items[item].cores * number for item, number, _ in options]
    memory = [items[item].memory_bytes * number / machine.memory_bytes for item, number, _ in options]
    one_form = np.array([[float(at == place) for _, _, at in options] for place in range(len(models))])
    limits = LinearConstraint(
        np.vstack([cores, memory, one_form]), ub=np.array([machine.vcpus, 1 - _TOLERANCE, *np.ones(len(models))])
    )
    found = milp(-values, constraints=limits, integrality=np.ones(len(options)), bounds=(0, 1))
    picked = tuple(sorted((item, number) for (item, number, _), on in zip(options, found.x, strict=True) if on > 0.5))
    return picked, float(sum(worth[item][number] for item, number in picked))
