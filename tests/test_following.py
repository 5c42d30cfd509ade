"""Plans that batch, scale, sleep and run on spot: what must hold for any traffic and price, and what they say."""

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costopt import units
from costopt.errors import UsageError
from costopt.explaining import model_lines
from costopt.judging.choose import judge
from costopt.planning import flips, plan_facts, plan_sheet, plan_words, services, traffic_file
from costopt.planning.answer import Planned, planned
from costopt.planning.bills import Bill, Egress, Factor, Line
from costopt.planning.demand import Demand, constant, hourly
from costopt.planning.extra_lines import Extras, LoadBalancer, Registry, Storage
from costopt.planning.interruptions import Interrupted, Spot, usual
from costopt.planning.places import Place
from costopt.planning.ranking import Ranking, Row, capacities_of
from costopt.planning.simulation import simulated
from costopt.planning.traffic_file import Asked, Promise
from costopt.planning.uptime import Autoscaling, ScaleToZero
from costopt.pricing.book import Book
from costopt.pricing.offers import Offer
from costopt.records import Measured, Plan, Spec
from costopt.reports import markdown, table
from tests import factories
from tests.factories import TODAY, measured, recipe
from tests.plan_rows import best_of, usd

GOLDEN = Path(__file__).parent / "golden"

CALLS = 140
FOUND = (
    measured(ms=4.0, baseline_ms=4.0, calls=CALLS, spread=0.2),
    measured(recipe("int8_static"), ms=1.5, baseline_ms=4.0, calls=CALLS, spread=0.2),
    measured(recipe("int8_static"), ms=8.0, batch=8, baseline_ms=4.0, calls=CALLS, spread=0.2),
)
REPORT = judge(factories.run(FOUND), FOUND, factories.plan(accuracy_drop=0.01), TODAY)
SERVICES = services.of_run(REPORT, FOUND, 0.99)

SPOT = Interrupted(0.4, Spot(), 0.1)
PLACES = (
    Place("aws/c7i.large", 0.1, 2, 1, "measured"),
    Place("aws/c7i.large", 0.035, 2, 1, "measured", spot=SPOT),
    Place("aws/c7i.xlarge", 0.2, 4, 2, "projected"),
    Place("aws/c7i.xlarge", 0.11, 4, 2, "projected", spot=replace(SPOT, on_demand_usd_per_hour=0.2)),
)

SHAPE = [1.0, 1, 1, 1, 1, 1, 2, 4, 8, 12, 16, 16, 14, 14, 16, 16, 14, 12, 10, 8, 6, 4, 2, 1]
ASKED = Asked(
    hourly(SHAPE, 100.0),
    Promise(0.99, 30.0),
    egress=Egress(100, 0.05),
    autoscaling=Autoscaling(120.0),
    scale_to_zero=ScaleToZero(300.0, 30.0),
    extras=Extras(LoadBalancer(0.02, 0.01, 300.0), Storage(0.1, 2), Registry(0.01, 5e8)),
)
CURVES = capacities_of(SERVICES, ASKED)


def ranking(asked: Asked = ASKED, places: tuple[Place, ...] = PLACES) -> Ranking:
    return Ranking(SERVICES, places, asked, CURVES)


def best(asked: Asked = ASKED, places: tuple[Place, ...] = PLACES) -> Row:
    return best_of(ranking(asked, places))


def at_rate(rate: float, asked: Asked = ASKED) -> Asked:
    return replace(asked, demand=hourly(SHAPE, rate))


RATES = st.floats(5.0, 3000.0)


@settings(max_examples=10, deadline=None)
@given(RATES, st.floats(1.0, 3.0))
def test_more_traffic_never_costs_less(rate: float, more: float) -> None:
    less = usd(ranking(at_rate(rate)).heads()[0])
    assert usd(ranking(at_rate(rate * more)).heads()[0]) >= less * (1 - 1e-12)


@settings(max_examples=5, deadline=None)
@given(RATES)
def test_three_times_the_traffic_never_costs_less_by_simulation_either(rate: float) -> None:
    assert usd(best(at_rate(rate * 3))) >= usd(best(at_rate(rate))) * (1 - 1e-12)


@settings(max_examples=8, deadline=None)
@given(RATES, st.floats(0.1, 1.0), st.integers(0, 3))
def test_a_cheaper_price_never_raises_the_bill(rate: float, cheaper: float, which: int) -> None:
    less = tuple(
        replace(one, usd_per_hour=one.usd_per_hour * cheaper) if place == which else one
        for place, one in enumerate(PLACES)
    )
    assert usd(best(at_rate(rate), less)) <= usd(best(at_rate(rate))) * (1 + 1e-12)


@settings(max_examples=10, deadline=None)
@given(RATES, st.floats(15.0, 100.0), st.floats(1.0, 5.0))
def test_a_looser_promise_never_needs_more_instances_on_average(rate: float, ms: float, looser: float) -> None:
    def counted(limit_ms: float) -> dict[tuple[str, str], float]:
        rows = ranking(replace(at_rate(rate), promise=Promise(0.99, limit_ms))).rows()
        return {(row.service.id, row.place.name): row.mean_paid or 0.0 for row in rows if row.verdict == "meets"}

    tight, loose = counted(ms), counted(ms * looser)
    assert all(loose[pair] <= count * (1 + 1e-9) for pair, count in tight.items())


@settings(max_examples=8, deadline=None)
@given(RATES)
def test_doubling_every_price_doubles_the_bill_and_keeps_the_choice(rate: float) -> None:
    asked = at_rate(rate)
    twice = replace(
        asked,
        egress=Egress(100, 0.1),
        extras=Extras(LoadBalancer(0.04, 0.02, 300.0), Storage(0.2, 2), Registry(0.02, 5e8)),
    )
    places = tuple(
        replace(
            one,
            usd_per_hour=2 * one.usd_per_hour,
            spot=None if one.spot is None else replace(one.spot, on_demand_usd_per_hour=0.2 * one.services),
        )
        for one in PLACES
    )
    first, second = best(asked), best(twice, places)
    assert (first.service, first.place.name) == (second.service, second.place.name)
    assert usd(second) == pytest.approx(2 * usd(first))


@settings(max_examples=10, deadline=None)
@given(RATES)
def test_the_cheapest_machines_of_their_kind_hold_the_first_of_all(rate: float) -> None:
    dearer = tuple(replace(one, instance=f"{one.instance}-d", usd_per_hour=2 * one.usd_per_hour) for one in PLACES)
    ranked = ranking(at_rate(rate), PLACES + dearer)
    assert len(ranked.heads()) < len(ranked.rows())
    assert ranked.heads()[0].key == ranked.rows()[0].key


@pytest.mark.parametrize("ms", [15.0, 30.0])
@pytest.mark.parametrize("number", range(len(SERVICES)))
def test_quieter_hours_keep_the_promise_with_fewer_machines_in_a_simulation_of_their_own(
    number: int, ms: float
) -> None:
    asked = replace(at_rate(500.0), promise=Promise(0.99, ms), scale_to_zero=None)
    ranked = ranking(asked, PLACES[:1])
    row = next(one for one in ranked.rows() if one.service is SERVICES[number])
    levels, counts = ranked.paid(row)
    for count in sorted(set(counts.tolist()))[:3]:
        rate = float(levels.rates_per_s[counts == count].max())
        answers = simulated(row.service.calls_s, rate, count, 60_000, 11, row.service.batching)
        assert answers.percentile_s(0.99) <= 1.02 * ms / 1e3


# ---------------------------------------------------------------------------------------- single figures


def only(place: Place, asked: Asked, number: int = 1) -> Row:
    rows = ranking(asked, (place,)).rows()
    return next(row for row in rows if row.service is SERVICES[number])


def test_a_bill_is_the_sum_of_its_lines_and_each_line_is_its_formula() -> None:
    row = only(PLACES[1], at_rate(1000.0))
    assert row.bill is not None
    kinds = [line.kind for line in row.bill.lines]
    assert kinds == ["machines", "machines", "egress", "load balancer", "load balancer", "storage", "registry"]
    for line in row.bill.lines:
        product = 1.0
        for part in line.formula.split(" x "):
            product *= float(part.split(" ")[0].replace(",", ""))
        assert product == pytest.approx(line.usd, rel=1e-4)
    assert row.bill.usd == pytest.approx(sum(line.usd for line in row.bill.lines))
    assert row.bill.compute_usd == pytest.approx(row.bill.lines[0].usd + row.bill.lines[1].usd)


def test_spot_costs_its_price_its_reserve_and_what_stands_in_on_demand() -> None:
    """Three machines and one beyond need; each goes 0.4 times a month, for 120 s at $0.10 an hour on demand."""
    asked = Asked(constant(1500.0, 1.0), Promise(0.99, 30.0))
    row = only(PLACES[1], asked)
    assert (row.instances, row.spare) == (3, 1)
    assert usd(row) == pytest.approx(4 * 0.035 * 730 + 4 * 0.4 * 120 / 3600 * 0.1)
    without = replace(PLACES[1], spot=replace(SPOT, asked=Spot(fallback=False)))
    assert usd(only(without, asked)) == pytest.approx(4 * 0.035 * 730)


def test_half_a_month_of_spot_costs_half() -> None:
    asked = Asked(constant(1500.0, 1.0), Promise(0.99, 30.0), hours_per_month=365.0)
    assert usd(only(PLACES[1], asked)) == pytest.approx(4 * 0.035 * 365 + 4 * 0.2 * 120 / 3600 * 0.1)


def test_each_start_pulls_the_image_and_the_model() -> None:
    """One machine that sleeps between rare requests: its roll-out, and each waking in 730 hours."""
    asked = Asked(
        constant(0.005, 1.0), scale_to_zero=ASKED.scale_to_zero, extras=Extras(None, None, Registry(1e-3, 5e8))
    )
    row = best(asked, PLACES[:1])
    assert row.asleep
    assert row.bill is not None
    starts = 1 + ScaleToZero(300.0, 30.0).starts_per_s(0.005) * 730 * 3600
    assert row.bill.of("registry") == pytest.approx(starts * (0.5 + row.service.size_bytes / 1e9) * 1e-3)


@pytest.mark.parametrize(("instances", "reserve"), [(1, 1), (10, 1), (11, 2), (30, 3)])
def test_machines_beyond_need_are_whole(instances: int, reserve: int) -> None:
    assert SPOT.reserve(instances) == reserve


def test_a_promise_on_spot_needs_one_machine_more_than_it_needs() -> None:
    place = replace(PLACES[1], spot=replace(SPOT, asked=Spot(over_provision=0.0)))
    row = only(place, ASKED)
    assert row.verdict == "undecided"
    assert "one machine too few while a spot machine restarts" in row.words
    assert only(place, replace(ASKED, spare=1)).verdict == "meets"
    assert only(PLACES[1], ASKED).verdict == "meets"


def test_interruptions_are_the_upper_end_of_the_familys_band() -> None:
    assert [usual(one) for one in ("aws/c7g.large", "aws/g4dn.xlarge", "aws/c7i.large")] == [0.05, 0.20, 0.40]
    assert usual("gcp/n2-standard-8") is usual("aws/x9.large") is usual("mine") is None


def test_scaling_to_zero_is_left_out_where_the_promise_leaves_no_room_for_cold_starts() -> None:
    """One request in 200 s and 300 s of patience: 22 % meet a cold start; p50 has room for them, p99 has not."""
    asked = replace(ASKED, demand=constant(0.005, 1.0), autoscaling=None, promise=Promise(0.99, 30.0))
    up = ScaleToZero(300.0, 30.0).up_share(0.005)
    awake = best(asked, PLACES[:1])
    assert (awake.asleep, awake.mean_paid) == (False, 1.0)
    halves = services.of_run(judge(factories.run(FOUND), FOUND, factories.plan(), TODAY), FOUND, 0.50)
    loose = replace(asked, promise=Promise(0.50, 30.0))
    ranked = Ranking(halves, PLACES[:1], loose, capacities_of(halves, loose))
    row = ranked.best(ranked.rows())
    assert row is not None
    assert row.asleep
    assert row.mean_paid == pytest.approx(up)


def test_where_those_awake_are_not_early_enough_nothing_sleeps() -> None:
    """Cold starts take 0.99 of the 1 % that p99 leaves, so nearly all others must be in time; 4 in 1,000 are not."""
    rate = next(one / 1e4 for one in range(10_000) if ScaleToZero(300.0, 30.0).cold_share(one / 1e4) < 0.0099)
    calls_s = np.array([0.004] * 996 + [0.040] * 4)
    service = replace(SERVICES[0], calls_s=calls_s, seen_s=0.004, sure_s=0.004)
    asked = Asked(constant(rate, 1.0), Promise(0.99, 5.0), scale_to_zero=ASKED.scale_to_zero)
    ranked = Ranking((service,), PLACES[:1], asked, capacities_of((service,), asked))
    (row,) = ranked.rows()
    checked = ranked.check(row)
    assert (row.asleep, checked.asleep) == (True, False)
    assert usd(checked) > usd(row)
    assert ranked.late_beside_the_cold(checked)
    roomy = replace(asked, demand=constant(2 * rate, 1.0))
    (row,) = (ranked := Ranking((service,), PLACES[:1], roomy, capacities_of((service,), roomy))).rows()
    assert ranked.check(row).asleep


def test_nothing_sleeps_where_starts_pull_more_than_they_save() -> None:
    """At 22 % of time down and two starts an hour, an image of 500 GB costs more than the machine."""
    asked = Asked(
        constant(0.005, 1.0), scale_to_zero=ASKED.scale_to_zero, extras=Extras(None, None, Registry(0.01, 5e11))
    )
    assert not best(asked, PLACES[:1]).asleep
    assert best(replace(asked, extras=Extras(None, None, Registry(0.01, 1e6))), PLACES[:1]).asleep


def test_a_looser_limit_lets_in_what_is_cheaper_and_a_tighter_one_puts_todays_out() -> None:
    worse = measured(recipe("prune_channels"), ms=0.5, baseline_ms=4.0, calls=CALLS, correct=3640)
    found = (*FOUND[:2], worse)
    served = services.of_run(judge(factories.run(found), found, factories.plan(accuracy_drop=0.01), TODAY), found, 0.99)
    asked = Asked(constant(2000.0, 1.0), Promise(0.99, 30.0))
    ranked = Ranking(served, PLACES[:1], asked, capacities_of(served, asked))
    choice = ranked.best(ranked.rows())
    assert choice is not None
    assert choice.service is served[1]
    tighter, looser = flips.by_accuracy(ranked, choice)
    assert (tighter.looser, tighter.limit) == (False, served[1].worst_drop)
    assert tighter.row is not None
    assert tighter.row.service.is_original
    assert (looser.looser, looser.limit) == (True, served[2].worst_drop)
    assert 0.01 < looser.limit < 0.03
    assert looser.row is not None
    assert usd(looser.row) < usd(choice)


# ---------------------------------------------------------------------------------------- the whole answer


def offer(instance: str, vcpus: int, usd_per_hour: float, spot: float | None) -> Offer:
    return Offer(
        instance, "us-east-1", vcpus, 4.0, "", 0, usd_per_hour, spot, None, "2026-07-20", "undated", "https://e.org"
    )  # fmt: skip


OFFERS = (offer("aws/c7i.large", 2, 0.1, 0.035), offer("aws/c7i.xlarge", 4, 0.2, None))
ZERO = "{idle_s: 5m, cold_start_s: 30}"
BOOK = Book({one.key: one for one in OFFERS})
PLAN = factories.plan(accuracy_drop=0.01, usd_per_hour=0.1, instance="aws/c7i.large")
DAY = f"hourly: {[int(one) for one in SHAPE]}\nrequests_per_second: 800\np99_ms: 30\n"


def answer(folder: Path, text: str, plan: Plan = PLAN, outcomes: tuple[Measured, ...] = FOUND) -> Planned:
    (folder / "traffic.yaml").write_text(text)
    asked = traffic_file.read(folder / "traffic.yaml", BOOK)
    return planned(factories.run(outcomes), plan, outcomes, None, asked, BOOK, datetime.date(2026, 8, 1))


def shown(found: Planned) -> str:
    return " ".join(table.written(plan_sheet.sheet(found), 100).split())


def facts(found: Planned) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(plan_facts.written(found))
    return told


def test_what_follows_the_traffic_is_told_with_what_it_saves(tmp_path: Path) -> None:
    found = answer(tmp_path, f"{DAY}autoscaling: {{start_up_s: 2m}}\ncommitted: {{discount: 37%}}\n")
    told, text = facts(found)["following"], shown(found)
    assert told["fewest"] < told["mean"] < told["most"]
    assert told["saved_usd"] == pytest.approx((told["most"] - told["mean"]) * 0.1 * 730)
    assert "served by up to " in found.headline
    assert f"autoscaling: from {told['fewest']} to {told['most']} instances" in text
    assert "committed: 37 % off for 8,760 hours pays for" in text
    assert facts(found)["commitment"]["machines"] == told["most"]


@pytest.mark.parametrize("form", ["table.100.txt", "md"])
def test_a_plan_that_follows_the_traffic_reads_as_it_did(
    form: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    text = (
        f"{DAY}spot: {{}}\nautoscaling: {{start_up_s: 2m}}\nscale_to_zero: {ZERO}\n"
        "egress: {bytes_per_response: 200, usd_per_gb: 0.09}\nload_balancer: {usd_per_hour: 0.02, usd_per_gb: 0.01}\n"
        "storage: {}\nregistry: {usd_per_gb: 0.01, image_mb: 500}\ncommitted: {discount: 37%}\n"
    )
    sheet = plan_sheet.sheet(answer(tmp_path, text))
    written = markdown.written(sheet) if form == "md" else table.written(sheet, 100)
    golden = GOLDEN / f"plan_following.{form}"
    if request.config.getoption("--update-golden"):
        golden.write_text(written, encoding="utf-8")
    assert written == golden.read_text(encoding="utf-8")


def test_where_the_same_is_needed_at_any_time_or_no_pause_comes_that_is_said(tmp_path: Path) -> None:
    quiet = DAY.replace("800", "8")
    text = shown(answer(tmp_path, f"{quiet}autoscaling: {{min_instances: 2}}\nscale_to_zero: {ZERO}\n"))
    assert "served by 2 aws/c7i.large, costs $146.00 a month" in text
    assert "autoscaling: 2 instances at any time, so it saves nothing" in text
    assert "not scaled to zero: hardly ever is there no request for 5 min" in text


def test_spot_stands_beside_on_demand_and_what_has_no_price_is_named(tmp_path: Path) -> None:
    found = answer(tmp_path, f"{DAY}spot: {{}}\nmachines: ['aws/*']\n")
    assert {row.place.name for row in found.rows} == {"aws/c7i.large", "aws/c7i.large on spot", "aws/c7i.xlarge"}
    assert ("no spot price in the price book", ("aws/c7i.xlarge on spot",)) in found.left_out
    assert facts(found)["choice"]["terms"] == "spot"
    text = shown(found)
    assert "on spot is of an undated list: check it" in text
    assert "the upper end of the family's band" in text
    assert "a machine on demand stands in for 2 min each time" in text


def test_a_run_that_is_priced_as_spot_is_planned_on_spot_alone(tmp_path: Path) -> None:
    plan = replace(PLAN, price=Spec("table", {"instance": "aws/c7i.large", "terms": "spot"}))
    kept = answer(tmp_path, f"{DAY}spot: {{interruptions_per_month: 0.1}}\n", replace(plan, price=PLAN.price))
    (tmp_path / "traffic.yaml").write_text(f"{DAY}spot: {{interruptions_per_month: 0.1}}\n")
    asked = traffic_file.read(tmp_path / "traffic.yaml", BOOK)
    found = planned(factories.run(FOUND), plan, FOUND, kept.quote, asked, BOOK, datetime.date(2026, 8, 1))
    assert {row.place.name for row in found.rows} == {"aws/c7i.large on spot"}


def test_a_run_that_is_priced_as_spot_keeps_its_own_price(tmp_path: Path) -> None:
    """Given by its owner, not the book's $0.035; the other size has no price on spot."""
    own = Spec("fixed", {"instance": "aws/c7i.large", "terms": "spot", "usd_per_hour": 0.01})
    found = answer(tmp_path, "requests_per_second: 5\nspot: {}\n", replace(PLAN, price=own))
    assert {(row.place.name, row.place.usd_per_hour) for row in found.rows} == {("aws/c7i.large on spot", 0.01)}
    assert "undated" not in shown(found)


def test_a_discount_for_a_term_comes_off_the_price_on_demand_alone(tmp_path: Path) -> None:
    reserved = Spec("fixed", {"instance": "aws/c7i.large", "terms": "reserved", "usd_per_hour": 0.05})
    with pytest.raises(UsageError, match=r"paid for as reserved.*remove `committed`"):
        answer(tmp_path, f"{DAY}committed: {{discount: 37%}}\n", replace(PLAN, price=reserved))


def test_a_saving_below_a_cent_is_no_reason_to_compress(tmp_path: Path) -> None:
    """A file that is smaller by a megabyte costs a hundredth of a cent less to keep."""
    smaller = measured(recipe("int8_static"), ms=1.5, baseline_ms=4.0, calls=CALLS, size_bytes=260_000)
    text = "requests_per_second: 5\nmachines: [aws/c7i.large]\nstorage: {}\n"
    found = answer(tmp_path, text, outcomes=(FOUND[0], smaller))
    assert found.compressing is not None
    assert found.compressing.saved_usd is not None
    assert 0 < found.compressing.saved_usd < 0.005
    assert "compressing saves less than a cent a month against the original" in shown(found)
    assert not any(one.looser for one in found.by_accuracy)


def test_a_machine_whose_other_costs_alone_exceed_the_bill_has_no_price_at_which_it_is_chosen() -> None:
    choice, other = only(PLACES[0], ASKED), only(PLACES[1], ASKED)
    assert choice.bill is not None
    assert other.bill is not None
    dear = Bill((*other.bill.lines, Line("registry", (Factor(2 * choice.bill.usd, "USD"),))), other.bill.requests)
    assert flips.by_price(choice, (choice, replace(other, bill=dear))) is None
    found = flips.by_price(choice, (choice, other))
    assert found is not None
    assert found.factor * other.bill.compute_usd + (other.bill.usd - other.bill.compute_usd) == pytest.approx(
        usd(choice)
    )


def test_a_limit_that_is_missed_for_a_wait_is_said_to_be_missed_by_it() -> None:
    asked = Asked(constant(5.0, 1.0), Promise(0.99, 20.0), max_wait_s=0.05)
    batched = [one for one in services.of_run(REPORT, FOUND, 0.99, 0.05) if one.batch > 1]
    rows = Ranking(batched, PLACES[:1], asked, capacities_of(batched, asked)).rows()
    assert rows[0].verdict == "impossible"
    seen_s = batched[0].seen_s
    assert seen_s is not None
    assert plan_words.not_met(rows, (), asked).endswith(f"({units.ratio((1e3 * seen_s + 50) / 20)} too slow)")


def test_more_machines_at_the_busiest_time_than_on_average_are_told_as_a_ratio_not_a_share() -> None:
    asked = replace(at_rate(2000.0), scale_to_zero=None)
    row = only(PLACES[0], asked)
    lines = {line.name: line for line in model_lines.efficiency(row, asked).lines}
    serving, whole = lines["machines that serve"], lines["paid time that serves"]
    assert serving.value is not None
    assert row.idle is not None
    assert serving.value > 1
    assert serving.unit == "times"
    assert whole.value == pytest.approx(1 - row.idle)


def test_a_fleet_that_sleeps_says_how_long_and_one_that_must_not_says_why(tmp_path: Path) -> None:
    zero = f"requests_per_second: 0.005\nscale_to_zero: {ZERO}\n"
    text = shown(answer(tmp_path, zero))
    assert "scaling to zero: up 78 % of the time, 25 % of the requests meet a cold start of 30 s" in text
    text = shown(answer(tmp_path, f"{zero}p99_ms: 30\n"))
    assert (
        "not scaled to zero: 25 % of the requests would meet a cold start of 30 s, and p99 leaves room for 1.0 %"
        in text
    )


def test_a_demand_keeps_its_hours_when_it_grows() -> None:
    day = hourly(SHAPE, 100.0)
    assert isinstance(day, Demand)
    assert day.times(2.0).rates_per_s == pytest.approx([2 * one for one in day.rates_per_s])
