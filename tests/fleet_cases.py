"""Small fleets for tests: machines and items for the integer program, and a search through every fleet."""

import itertools
from collections.abc import Iterator, Sequence

from hypothesis import strategies as st

from costopt.scheduling.columns import Filling
from costopt.scheduling.filling import Item, Machine
from costopt.scheduling.program import Solution

Case = tuple[tuple[Item, ...], tuple[Machine, ...], int]

PRICES = (0.1, 0.15, 0.2, 0.35)


@st.composite
def cases(draw: st.DrawFn, most_models: int = 2, most_replicas: int = 2) -> Case:
    """Two or three types of machine, and models with one or two items, each with room for it somewhere."""
    machines = tuple(
        Machine(f"type{place}", draw(st.integers(2, 4)), draw(st.integers(3, 6)), draw(st.sampled_from(PRICES)))
        for place in range(draw(st.integers(2, 3)))
    )
    models = draw(st.integers(1, most_models))
    items = []
    for model in range(models):
        for _ in range(draw(st.integers(1, 2))):
            where = draw(st.sets(st.integers(0, len(machines) - 1), min_size=1))
            cores, blocks = draw(st.integers(1, 2)), draw(st.integers(1, 3))
            items.append(Item(model, cores, blocks, draw(st.integers(1, most_replicas)), frozenset(where)))
    return tuple(items), machines, models


def cheapest(case: Case, spare: int) -> float:
    """By trying every fleet, from the cheapest on: what each machine may hold, and whether the models survive."""
    items, machines, models = case
    for usd, fleet in _fleets(machines):
        for served in itertools.product(*([one for one in items if one.model == model] for model in range(models))):
            if _holds(served, [machines[place] for place in fleet], fleet, spare):
                return usd
    raise AssertionError("a fleet of eight machines holds every case")


def _fleets(machines: Sequence[Machine]) -> Iterator[tuple[float, tuple[int, ...]]]:
    found = [
        (sum(machines[place].usd_per_hour for place in fleet), fleet)
        for size in range(1, 9)
        for fleet in itertools.combinations_with_replacement(range(len(machines)), size)
    ]
    return iter(sorted(found))


def _holds(served: Sequence[Item], fleet: Sequence[Machine], places: Sequence[int], spare: int) -> bool:
    """Whether there is a number of replicas for each model and machine that fits and survives."""
    left = [(machine.vcpus, machine.blocks) for machine in fleet]
    return _placed(served, left, places, spare)


def _placed(served: Sequence[Item], left: Sequence[tuple[int, int]], places: Sequence[int], spare: int) -> bool:
    if not served:
        return True
    item = served[0]
    room = [
        min(cores // item.cores, blocks // item.blocks, item.replicas) if place in item.machines else 0
        for (cores, blocks), place in zip(left, places, strict=True)
    ]
    for numbers in itertools.product(*(range(most + 1) for most in room)):
        if sum(sorted(numbers)[: len(numbers) - spare]) >= item.replicas:
            after = [
                (cores - number * item.cores, blocks - number * item.blocks)
                for (cores, blocks), number in zip(left, numbers, strict=True)
            ]
            if _placed(served[1:], after, places, spare):
                return True
    return False


def overfull(solution: Solution, items: Sequence[Item], machines: Sequence[Machine]) -> list[Filling]:
    """Fillings that take more than their machine has, or stand where they may not."""
    return [
        filling
        for filling, _ in solution.used
        if sum(items[item].cores * number for item, number in filling.counts) > machines[filling.machine].vcpus
        or sum(items[item].blocks * number for item, number in filling.counts) > machines[filling.machine].blocks
        or any(filling.machine not in items[item].machines for item, _ in filling.counts)
    ]
