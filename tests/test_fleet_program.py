"""Packing: the integer program against every fleet there is, what must hold for any, and what survives a failure."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costopt.scheduling import program
from costopt.scheduling.filling import Counts, Item, Machine, all_fillings, best_filling
from costopt.scheduling.fleet_answer import packed
from costopt.scheduling.layout import layout, replicas, survives, usd_per_hour, weight
from costopt.scheduling.program import better_of, each_alone, solve
from tests import bench_fleet
from tests.fleet_cases import Case, cases, cheapest, overfull

LONG_S = 60.0


def usd(case: Case, spare: int = 0) -> float:
    items, machines, models = case
    found = solve(items, machines, models, spare, LONG_S)
    assert found.in_time
    assert all(found.levels)
    return found.usd_per_hour


@settings(max_examples=40, deadline=None)
@given(cases(), st.integers(0, 1))
def test_no_fleet_is_cheaper_than_the_one_that_is_found(case: Case, spare: int) -> None:
    assert usd(case, spare) == pytest.approx(cheapest(case, spare))


@settings(max_examples=30, deadline=None)
@given(cases(), st.integers(0, 1))
def test_with_generated_fillings_the_least_cost_lies_between_the_bound_and_what_is_found(
    case: Case, spare: int
) -> None:
    items, machines, models = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "MOST_FILLINGS", 0)
        found = solve(items, machines, models, spare, LONG_S)
    least = cheapest(case, spare)
    assert found.bound_usd_per_hour <= least * (1 + 1e-6)
    assert found.usd_per_hour >= least * (1 - 1e-6)
    assert found.bound_usd_per_hour > 0
    assert not overfull(found, items, machines)


@settings(max_examples=30, deadline=None)
@given(cases(most_models=5, most_replicas=6), st.integers(0, 2))
def test_machines_hold_what_they_can_and_every_model_survives_the_worst_failures(case: Case, spare: int) -> None:
    items, machines, models = case
    found = solve(items, machines, models, spare, LONG_S)
    assert not overfull(found, items, machines)
    groups = layout(found, items, machines)
    assert usd_per_hour(groups, machines) <= found.usd_per_hour + 1e-9
    for level in found.levels:
        assert level is not None
        model, needed = items[level.item].model, items[level.item].replicas
        assert survives(groups, model, spare) >= needed
        assert replicas(groups, model) == level.need
        shares = [group.count * weight(group, groups, model) for group in groups]
        assert sum(shares) == pytest.approx(1)
    for group in groups:
        chosen = {items[level.item].model: items[level.item] for level in found.levels if level is not None}
        taken = sum(chosen[model].cores * number for model, number in group.replicas)
        assert taken <= machines[group.machine].vcpus


@settings(max_examples=25, deadline=None)
@given(cases(most_models=3, most_replicas=5), st.integers(0, 1))
def test_a_model_less_never_costs_more(case: Case, spare: int) -> None:
    items, machines, models = case
    fewer = tuple(one for one in items if one.model < models - 1)
    if fewer:
        assert usd((fewer, machines, models - 1), spare) <= usd(case, spare) + 1e-6


@settings(max_examples=25, deadline=None)
@given(cases(most_models=3, most_replicas=5), st.integers(0, 1), st.floats(0.1, 1.0))
def test_a_cheaper_machine_never_raises_the_cost(case: Case, spare: int, share: float) -> None:
    items, machines, models = case
    cheaper = (replace(machines[0], usd_per_hour=machines[0].usd_per_hour * share), *machines[1:])
    assert usd((items, cheaper, models), spare) <= usd(case, spare) + 1e-6


@settings(max_examples=25, deadline=None)
@given(cases(most_models=3, most_replicas=5), st.integers(0, 1))
def test_another_replica_never_lowers_the_cost_and_another_spare_machine_neither(case: Case, spare: int) -> None:
    items, machines, models = case
    more = tuple(replace(one, replicas=one.replicas + 1) if one.model == 0 else one for one in items)
    assert usd((more, machines, models), spare) >= usd(case, spare) - 1e-6
    assert usd(case, spare + 1) >= usd(case, spare) - 1e-6


@settings(max_examples=25, deadline=None)
@given(cases(most_models=3, most_replicas=5), st.integers(0, 1))
def test_sharing_machines_never_costs_more_than_machines_for_each(case: Case, spare: int) -> None:
    items, machines, models = case
    alone = each_alone(items, machines, models, spare, LONG_S)
    assert usd(case, spare) <= sum(one.usd_per_hour for one in alone) + 1e-6


LARGE = Machine("large", 2, 28, 0.1)
XLARGE = Machine("xlarge", 4, 60, 0.2)


def item(model: int, cores: int = 1, replicas: int = 1, blocks: int = 1, machines: tuple[int, ...] = (0, 1)) -> Item:
    return Item(model, cores, blocks, replicas, frozenset(machines))


def test_a_replica_of_three_cores_does_not_stand_half_on_one_machine_and_half_on_another() -> None:
    found = solve([item(0, cores=3, replicas=3)], [LARGE, XLARGE], 1, 0, LONG_S)
    assert [(filling.machine, times) for filling, times in found.used] == [(1, 3)]


def test_what_is_left_of_one_models_machine_is_used_by_another() -> None:
    items = (item(0, cores=3), item(1, cores=1))
    assert usd((items, (LARGE, XLARGE), 2)) == pytest.approx(0.2)
    alone = each_alone(items, (LARGE, XLARGE), 2, 0, LONG_S)
    assert sum(one.usd_per_hour for one in alone) == pytest.approx(0.3)


def test_of_fleets_that_cost_the_same_the_one_with_fewer_machines_is_taken() -> None:
    found = solve([item(0, replicas=4)], [LARGE, XLARGE], 1, 0, LONG_S)
    assert [(filling.machine, times) for filling, times in found.used] == [(1, 1)]


def test_with_a_spare_machine_any_may_fail() -> None:
    items = [item(0, replicas=4, machines=(0,))]
    found = solve(items, [LARGE], 1, 1, LONG_S)
    groups = layout(found, items, [LARGE])
    assert found.usd_per_hour == pytest.approx(0.3)  # two each on three: whichever fails, four are left
    assert [(group.count, group.of(0)) for group in groups] == [(3, 2)]


def test_a_limited_machine_gives_way_to_a_dearer_one_and_a_model_without_room_is_left_out() -> None:
    dear = replace(XLARGE, usd_per_hour=1.0)
    found = solve([item(0, replicas=4)], [replace(LARGE, most=1), dear], 1, 0, LONG_S)
    assert found.usd_per_hour == pytest.approx(1.0)
    short = solve([item(0, replicas=4), item(1)], [replace(LARGE, most=1), replace(dear, most=0)], 2, 0, LONG_S)
    assert [level is None for level in short.levels] == [True, False]


def test_a_solver_that_was_stopped_early_never_answers_with_more_than_each_alone() -> None:
    items, machines = (item(0, cores=2, replicas=2), item(1, replicas=2)), (LARGE, XLARGE)
    alone = each_alone(items, machines, 2, 0, LONG_S)
    stopped = replace(solve(items, machines, 2, 0, LONG_S), used=(), levels=(None, None), in_time=False)
    found = better_of(stopped, alone, machines)
    assert found.usd_per_hour == pytest.approx(sum(one.usd_per_hour for one in alone))
    assert [level and items[level.item].model for level in found.levels] == [0, 1]
    assert not found.in_time


def test_the_same_program_has_the_same_answer() -> None:
    items = tuple(item(model, cores=1 + model % 3, replicas=1 + model) for model in range(6))
    assert solve(items, (LARGE, XLARGE), 6, 1, LONG_S) == solve(items, (LARGE, XLARGE), 6, 1, LONG_S)


@pytest.mark.slow
@pytest.mark.parametrize("spare", [0, 1])
def test_fifty_models_on_a_hundred_types_of_machine_are_packed(spare: int) -> None:
    asked, prices = bench_fleet.fleet_of(50, 25, spare, limit_s=600.0), bench_fleet.book_of(25)
    found = packed(asked, prices, bench_fleet.TODAY)
    assert found.verdict == "met"
    assert found.in_time
    assert len(found.sites) == 100
    assert 0.95 * found.usd < found.bound_usd <= found.usd <= found.alone_usd
    for number, one in enumerate(found.served):
        assert survives(found.groups, number, spare) >= one.form.replicas
    for group in found.groups:
        ways = [(found.served[model].form.way, number) for model, number in group.replicas]
        assert sum(way.cores * number for way, number in ways) <= found.sites[group.machine].machine.vcpus
        assert sum(way.blocks * number for way, number in ways) <= found.sites[group.machine].machine.blocks


# ---------------------------------------------------------------------------------------- fillings


@settings(max_examples=40, deadline=None)
@given(cases(most_models=4, most_replicas=3), st.data())
def test_the_best_filling_is_the_best_of_all(case: Case, data: st.DataObject) -> None:
    items, machines, _ = case
    worth = {
        place: np.array([0.0, *np.cumsum(sorted(data.draw(st.tuples(*[st.floats(0, 5)] * 4)), reverse=True))])
        for place in range(len(items))
    }
    for place, machine in enumerate(machines):
        counts, value = best_filling(items, place, machine, worth)
        every = all_fillings(items, place, machine, 10**6)
        assert every is not None
        assert value == pytest.approx(max((_value(one, worth) for one in every), default=0.0))
        assert value == pytest.approx(_value(counts, worth))


def _value(counts: Counts, worth: dict[int, "np.typing.NDArray[np.float64]"]) -> float:
    return float(sum(worth[item][number] for item, number in counts))


def test_too_many_fillings_are_not_listed() -> None:
    items = [item(model, replicas=4) for model in range(8)]
    assert all_fillings(items, 1, XLARGE, 10) is None
