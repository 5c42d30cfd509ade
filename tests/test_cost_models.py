"""The cost models by name: their worked examples, and what must hold for any figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.explaining import cost_models

costs = st.floats(0, 1e9)
shares = st.floats(0, 2)


def test_half_the_size_and_half_the_time_save_half_a_terabyte_and_five_hundred_dollars() -> None:
    assert cost_models.compressed(1.0, 1000.0, 0.5, 0.5) == cost_models.Parts(0.5, 500.0)
    assert cost_models.saved_by_compression(1.0, 1000.0, 0.5, 0.5) == cost_models.Parts(0.5, 500.0)


def test_the_total_adds_four_parts() -> None:
    assert cost_models.total(10_000, 5_000, 2_000, 3_000) == 20_000


def test_the_efficiency_of_four_stages_is_their_product() -> None:
    assert cost_models.total_efficiency(0.8, 0.9, 0.85, 0.95) == pytest.approx(0.5814)


def test_two_machines_and_a_million_answers() -> None:
    assert cost_models.distributed(65, 2, 0.00000018, 1_000_000) == pytest.approx(130.18)


@given(costs, costs, shares, shares)
def test_what_is_left_and_what_is_saved_make_the_original(param: float, compute: float, r: float, s: float) -> None:
    left = cost_models.compressed(param, compute, r, s)
    saved = cost_models.saved_by_compression(param, compute, r, s)
    assert left.param + saved.param == pytest.approx(param)
    assert left.compute + saved.compute == pytest.approx(compute)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_a_chain_keeps_no_more_than_its_weakest_stage(stages: list[float]) -> None:
    assert cost_models.total_efficiency(*stages) <= min(stages)


@given(costs, st.integers(0, 1000), costs, st.integers(0, 1000))
def test_another_machine_or_message_never_makes_it_cheaper(resource: float, n: int, message: float, m: int) -> None:
    cost = cost_models.distributed(resource, n, message, m)
    assert cost_models.distributed(resource, n + 1, message, m) >= cost
    assert cost_models.distributed(resource, n, message, m + 1) >= cost


def test_a_negative_share_is_refused() -> None:
    with pytest.raises(ValueError, match=r"a share of -0.1 is left of nothing: give 0 or more"):
        cost_models.compressed(1, 1, -0.1, 0.5)
    with pytest.raises(ValueError, match="a share of nan"):
        cost_models.total_efficiency(0.5, float("nan"))
