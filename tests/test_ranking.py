"""Machines and candidates in order: what must hold for any traffic and price, and what each verdict says."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costopt.judging.choose import judge
from costopt.planning import flips, services
from costopt.planning.bills import Egress
from costopt.planning.demand import constant
from costopt.planning.places import BAND, Place
from costopt.planning.ranking import Ranking, Row, capacities_of
from costopt.planning.services import Service, raised_to
from costopt.planning.traffic_file import Asked, Promise
from costopt.records import Measured, Plan
from tests import factories
from tests.factories import TODAY, measured, recipe
from tests.plan_rows import best_of, usd

CALLS = 140
"""In each of five rounds: 700 calls, enough for a p99."""

ORIGINAL = measured(ms=4.0, baseline_ms=4.0, calls=CALLS, spread=0.2)
INT8 = measured(recipe("int8_static"), ms=1.0, baseline_ms=4.0, calls=CALLS, spread=0.2)
SLIM = measured(recipe("slim", "int8_static"), ms=1.0, baseline_ms=4.0, calls=CALLS, spread=0.2)
FOUND = (ORIGINAL, SLIM, INT8)

LARGE = Place("aws/c7i.large", 0.1, 2, 1, "measured")
XLARGE = Place("aws/c7i.xlarge", 0.2, 4, 2, "projected")
PLACES = (LARGE, XLARGE)

P99 = Promise(0.99, 20.0)


def served(found: tuple[Measured, ...], share: float | None = 0.99, plan: Plan | None = None) -> tuple[Service, ...]:
    asked = factories.plan(accuracy_drop=0.01) if plan is None else plan
    return services.of_run(judge(factories.run(found), found, asked, TODAY), found, share)


SERVICES = served(FOUND)
ASKED = Asked(constant(100.0, 2.0), P99)
CURVES = capacities_of(SERVICES, ASKED)


def ranking(asked: Asked = ASKED, places: tuple[Place, ...] = PLACES) -> Ranking:
    return Ranking(SERVICES, places, asked, CURVES)


def best(asked: Asked = ASKED, places: tuple[Place, ...] = PLACES) -> Row:
    return best_of(ranking(asked, places))


def at_rate(rate: float) -> Asked:
    return replace(ASKED, demand=constant(rate, 2.0))


RATES = st.floats(1.0, 4000.0)


@settings(max_examples=10, deadline=None)
@given(RATES, st.floats(1.0, 3.0))
def test_more_traffic_never_costs_less(rate: float, more: float) -> None:
    assert usd(best(at_rate(rate * more))) >= usd(best(at_rate(rate)))


@settings(max_examples=10, deadline=None)
@given(RATES, st.floats(0.1, 1.0), st.integers(0, 1))
def test_a_cheaper_price_never_raises_the_bill(rate: float, cheaper: float, which: int) -> None:
    less = tuple(
        replace(one, usd_per_hour=one.usd_per_hour * cheaper) if place == which else one
        for place, one in enumerate(PLACES)
    )
    assert usd(best(at_rate(rate), less)) <= usd(best(at_rate(rate))) * (1 + 1e-12)


@settings(max_examples=10, deadline=None)
@given(RATES, st.floats(6.0, 100.0), st.floats(1.0, 5.0))
def test_a_looser_promise_never_needs_more_replicas(rate: float, ms: float, looser: float) -> None:
    def counted(limit_ms: float) -> dict[tuple[str, str], int]:
        ranked = ranking(replace(at_rate(rate), promise=Promise(0.99, limit_ms)))
        checked = map(ranked.check, ranked.rows())
        rows = [row for row in checked if row.verdict == "meets" and row.instances is not None]
        return {(row.service.candidate.id, row.place.instance): row.instances or 0 for row in rows}

    tight, loose = counted(ms), counted(ms * looser)
    assert all(loose[pair] <= count for pair, count in tight.items())


@settings(max_examples=10, deadline=None)
@given(RATES)
def test_doubling_every_price_doubles_the_compute_and_keeps_the_choice(rate: float) -> None:
    asked = replace(at_rate(rate), egress=Egress(100, 0.05))
    double = tuple(replace(one, usd_per_hour=2 * one.usd_per_hour) for one in PLACES)
    once, twice = best(asked), best(asked, double)
    assert (once.service, once.place.instance) == (twice.service, twice.place.instance)
    assert once.bill is not None
    assert twice.bill is not None
    assert twice.bill.compute_usd == pytest.approx(2 * once.bill.compute_usd)
    assert twice.bill.egress_usd == once.bill.egress_usd


# ---------------------------------------------------------------------------------------- verdicts and ties


def test_of_equal_bills_the_simplest_is_chosen() -> None:
    """At ten requests a second one machine does it with any of them."""
    row = best(at_rate(10.0))
    assert row.service.is_original
    assert (row.instances, row.place.instance) == (1, "aws/c7i.large")


def test_at_high_traffic_the_faster_pays_and_of_two_alike_the_simpler() -> None:
    row = best(at_rate(2000.0))
    assert row.service.candidate == INT8.candidate
    assert row.paid > 1
    assert row.busiest_load is not None
    assert 0.5 < row.busiest_load <= 0.95


def test_a_spare_instance_is_paid_and_not_counted_on() -> None:
    plain, safe = best(at_rate(2000.0)), best(replace(at_rate(2000.0), spare=1))
    assert safe.instances == plain.instances
    assert safe.paid == plain.paid + 1
    assert usd(safe) > usd(plain)


def test_a_projected_machine_is_sized_for_calls_slower_by_the_band() -> None:
    rows = ranking(at_rate(2000.0)).rows()
    of = {(row.service.candidate.id, row.place.instance): row for row in rows}
    large, xlarge = of[INT8.candidate.id, "aws/c7i.large"], of[INT8.candidate.id, "aws/c7i.xlarge"]
    assert (large.band, xlarge.band) == (0.0, BAND)
    assert large.highest_per_s is not None
    assert xlarge.highest_per_s is not None
    by_service = large.highest_per_s / (large.instances or 1), xlarge.highest_per_s / 2 / (xlarge.instances or 1)
    assert by_service[0] / by_service[1] == pytest.approx(1 + BAND, rel=0.03)


def verdicts(ms: float, place: Place) -> dict[str, tuple[str, str]]:
    rows = ranking(replace(ASKED, promise=Promise(0.99, ms)), (place,)).rows()
    return {row.service.candidate.label: (row.verdict, row.words) for row in rows}


def test_a_margin_inside_the_band_is_undecided_and_says_what_measuring_costs() -> None:
    words = "the margin lies within 35 %: measure on it, about $0.0333 (10 minutes)"
    assert verdicts(1.3, XLARGE)["int8_static"] == ("undecided", words)
    assert verdicts(1.3, LARGE)["int8_static"] == ("meets", "")
    assert verdicts(1.0, XLARGE)["int8_static"] == ("undecided", words)


def test_a_promise_below_the_calls_is_impossible_with_both_figures() -> None:
    assert verdicts(0.5, XLARGE)["original"] == ("impossible", "p99 of the calls alone is 4.79 ms, the limit 0.5 ms")
    assert verdicts(1.0, LARGE)["int8_static"][0] == "impossible"


def test_what_the_runs_own_budget_refuses_is_refused_here_too() -> None:
    worse = measured(recipe("int8_static"), ms=1.0, baseline_ms=4.0, calls=CALLS, correct=3400)
    unsure = measured(recipe("slim"), ms=1.0, baseline_ms=4.0, calls=CALLS, correct=3665, swapped=80)
    found = served((ORIGINAL, worse, unsure))
    rows = Ranking(found, (LARGE,), ASKED, capacities_of(found, ASKED)).rows()
    told = {row.service.candidate.label: row for row in rows}
    assert told["int8_static"].verdict == "refused"
    assert "accuracy" in told["int8_static"].words
    assert told["slim"].verdict == "undecided"
    assert told["slim"].bill is not None


def test_too_few_calls_for_the_percentile_are_undecided() -> None:
    found = served((ORIGINAL, measured(recipe("slim"), ms=1.0, baseline_ms=4.0, calls=20)))
    rows = Ranking(found, (LARGE,), ASKED, capacities_of(found, ASKED)).rows()
    words = next(row.words for row in rows if row.service.candidate.label == "slim")
    assert words.startswith("p99 needs 662 calls, has 100")


def test_without_a_promise_machines_are_as_full_as_may_be() -> None:
    asked = replace(at_rate(2000.0), promise=None)
    found = served(FOUND, None)
    ranked = Ranking(found, (LARGE,), asked, capacities_of(found, asked))
    row = ranked.best(ranked.rows())
    assert row is not None
    assert row.response_ms is None
    assert row.instances == 5  # 4,000 a second of 1 ms each at a load of at most 0.95


def test_fleets_end_at_a_million_instances() -> None:
    """Calls of 1 ms at a load of 0.95, twice as many at the busiest time as on average."""

    def sized(rate: float) -> Row:
        rows = ranking(at_rate(rate), (LARGE,)).rows()
        return next(row for row in rows if row.service.candidate == INT8.candidate)

    assert sized(1e8).instances == pytest.approx(2e5 / 0.95, rel=1e-3)
    assert (sized(1e9).verdict, sized(1e9).instances) == ("undecided", None)


# ---------------------------------------------------------------------------------------- services and flips


def test_a_slow_minute_of_the_machine_makes_no_candidate_dear() -> None:
    slowed = measured(recipe("int8_static"), ms=1.1, baseline_ms=4.4, calls=CALLS, spread=0.2)
    others = (measured(recipe("slim"), ms=3.0, baseline_ms=4.0, calls=CALLS), ORIGINAL)
    found = {one.candidate.label: one for one in served((*others[::-1], slowed))}
    assert found["int8_static"].mean_s == pytest.approx(1e-3, rel=0.01)


def test_the_slowest_calls_are_raised_to_the_bound_and_those_above_it_stay() -> None:
    calls = SERVICES[0].calls_s
    raised = raised_to(calls, 0.99, float(calls[-3]))
    assert raised[int(0.99 * len(calls))] == calls[-3]
    assert raised[-1] == calls[-1]
    assert all(raised >= calls)


def test_the_choice_changes_where_one_machine_no_longer_serves_the_original() -> None:
    asked = at_rate(10.0)
    ranked = ranking(asked)
    choice = ranked.best(ranked.rows())
    assert choice is not None
    (flip,) = flips.by_traffic(ranked, asked.demand, choice)
    assert flip.row.service.candidate == INT8.candidate
    # One server keeps 99 of 100 waits under four calls up to a load of about 0.56 (M/D/1), so 134 calls of 4 ms a
    # second; the busiest time has twice the mean.
    assert flip.mean_per_s == pytest.approx(67, rel=0.05)
    before, after = (ranked.rows(asked.demand.times(flip.mean_per_s / 10.0 * factor))[0] for factor in (0.99, 1.01))
    assert before.service.is_original
    assert after.service.candidate == INT8.candidate


def test_the_price_at_which_the_next_machine_would_be_chosen() -> None:
    ranked = ranking(at_rate(10.0))
    rows = ranked.rows()
    flip = flips.by_price(rows[0], rows)
    assert flip is not None
    assert flip.row.place.instance == "aws/c7i.xlarge"
    assert flip.factor == pytest.approx(0.5)
