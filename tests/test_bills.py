"""Money a month: worked examples, and what must hold for any figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.planning.bills import BreakEven, Egress, bill, break_even, usd_per_million

POSITIVE = st.floats(1e-3, 1e6)


def test_a_month_of_two_machines_and_what_they_send() -> None:
    """50 requests a second are 131.4 million a month; at 10 kB each 1,314 GB, at $0.09 a GB $118.26."""
    found = bill(2, 0.10, 50.0, Egress(10_000, 0.09))
    assert found.requests == pytest.approx(131.4e6)
    assert found.compute_usd == pytest.approx(146.0)
    assert found.egress_usd == pytest.approx(118.26)
    assert found.usd == pytest.approx(264.26)
    assert found.usd_per_million == pytest.approx(264.26 / 131.4)


def test_a_million_answers_of_ten_kilobytes_cost_ninety_cents_to_send() -> None:
    assert Egress(10_000, 0.09).usd_per_request * 1e6 == pytest.approx(0.90)


def test_a_machine_of_a_dollar_an_hour_that_serves_a_thousand_a_second() -> None:
    assert usd_per_million(1.0, 1000.0) == pytest.approx(0.27778, rel=1e-4)


@given(st.integers(1, 1000), POSITIVE, POSITIVE)
def test_doubling_the_price_doubles_the_compute_and_leaves_the_egress(count: int, price: float, rate: float) -> None:
    egress = Egress(1000, 0.1)
    once, twice = bill(count, price, rate, egress), bill(count, 2 * price, rate, egress)
    assert twice.compute_usd == pytest.approx(2 * once.compute_usd)
    assert twice.egress_usd == once.egress_usd


def test_a_hundred_dollars_are_back_after_half_a_month_of_two_hundred_saved() -> None:
    found = break_even(100.0, 200.0, 1e6, 730.0)
    assert found.requests == 500_000
    assert found.days == pytest.approx(730 / 24 / 2)


@pytest.mark.parametrize("saved", [0.0, -3.0])
def test_what_saves_nothing_is_never_earned_back(saved: float) -> None:
    assert break_even(100.0, saved, 1e6, 730.0) == BreakEven(100.0, None, None)
