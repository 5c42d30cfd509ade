"""A plan's energy: figures a row, limits that refuse, an owned machine's electricity, the data's way, bad input."""

import datetime
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from costopt.errors import ConfigError
from costopt.judging.choose import judge
from costopt.planning import plan_facts, plan_sheet, services, traffic_file
from costopt.planning.answer import Planned, planned
from costopt.planning.demand import constant
from costopt.planning.places import Place
from costopt.planning.ranking import Ranking, capacities_of
from costopt.planning.traffic_file import Asked, Promise
from costopt.powering import draws
from costopt.powering.buildings import Site
from costopt.powering.footprints import Limits, Power
from costopt.pricing.book import Book
from costopt.pricing.offers import Offer
from costopt.records import Measured, Plan, Spec
from costopt.reports import markdown
from tests import factories
from tests.factories import measured, recipe

CALLS = 140
FOUND = (
    measured(ms=4.0, baseline_ms=4.0, calls=CALLS, spread=0.2),
    measured(recipe("int8_static"), ms=1.5, baseline_ms=4.0, calls=CALLS, spread=0.2),
)
ON_A_GPU = (
    FOUND[0],
    measured(recipe("int8_static"), provider="cuda", ms=1.5, baseline_ms=4.0, calls=CALLS, spread=0.2),
)
OFFERS = tuple(
    Offer(name, "us-east-1", 2, 4.0, "", 0, 0.1, None, None, "2026-07-20", "", "https://example.org")
    for name in ("aws/c7i.large", "aws/c8a.large")
)
BOOK = Book({one.key: one for one in OFFERS})
RENTED = factories.plan(accuracy_drop=0.01, usd_per_hour=0.1, instance="aws/c7i.large")
UNKNOWN = factories.plan(accuracy_drop=0.01, usd_per_hour=0.1, instance="aws/c8a.large")
OWNED = replace(
    factories.plan(accuracy_drop=0.01),
    price=Spec("owned", {"purchase_usd": 4000, "years": 4, "watts": 300, "usd_per_kwh": 0.15, "pue": 1.5}),
)
BUSY = "requests_per_second: 400\npeak_to_mean: 2\np99_ms: 20\n"
CALM = "requests_per_second: 50\np99_ms: 20\n"


def answer(
    tmp_path: Path, text: str, plan: Plan = RENTED, rates: str = BUSY, found: tuple[Measured, ...] = FOUND
) -> Planned:
    path = tmp_path / "traffic.yaml"
    path.write_text(rates + text)
    asked = traffic_file.read(path, BOOK)
    return planned(factories.run(found), plan, found, None, asked, BOOK, datetime.date(2026, 8, 1))


def facts(found: Planned) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(plan_facts.written(found))
    return told


def shown(found: Planned) -> str:
    return markdown.written(plan_sheet.sheet(found)).replace("\\", "")


def test_programs_get_every_rows_energy_whether_or_not_it_was_asked_for(tmp_path: Path) -> None:
    told = facts(answer(tmp_path, ""))
    assert (told["energy"]["grid"]["country"], told["energy"]["grid"]["year"], told["energy"]["pue"]) == (
        "USA",
        2023,
        1.14,
    )
    assert told["energy"]["machines"]["aws/c7i.large"]["of"] == "2 vCPUs of Sapphire Rapids"
    row = told["rows"][0]
    load = 1 - row["idle"]
    watts = row["instances"] * 2 * (1.036286 + (4.160476 - 1.036286) * load)
    kwh = watts * 1.14 * 730 / 1000
    assert row["energy"]["label"] == "modelled"
    assert row["energy"]["watts"]["value"] == pytest.approx(watts)
    assert row["energy"]["kwh_per_month"]["value"] == pytest.approx(kwh)
    assert row["energy"]["co2e_kg_per_month"]["value"] == pytest.approx(kwh * 0.369)
    assert row["energy"]["joules_per_request"]["value"] == pytest.approx(watts * 1.14 / 400)
    assert row["energy"]["watts"]["low"] < watts < row["energy"]["watts"]["high"]
    assert "Energy and carbon" not in shown(answer(tmp_path, ""))


def test_asked_for_energy_has_a_column_and_a_paragraph(tmp_path: Path) -> None:
    text = shown(answer(tmp_path, "energy: {grid: FRA, pue: 1.2}\n"))
    assert "kg CO2e/month" in text
    assert "at 56.0 g/kWh (FRA, 2023)" in text
    assert "(PUE 1.2: given)" in text
    assert "power caps" not in text  # no limit, and nobody's own machine
    assert "less energy than the original on its own best machines" in text


def test_of_equal_bills_the_one_that_keeps_the_limit_is_chosen_and_the_other_refused_with_both_figures(
    tmp_path: Path,
) -> None:
    """One machine does it with either; the original keeps it busier."""
    power = "energy: {watts: 9, idle_watts: 2"
    free = answer(tmp_path, f"{power}}}\n", rates=CALM)
    assert free.choice is not None
    assert free.choice.service.is_original
    kg = sorted(row["energy"]["co2e_kg_per_month"]["value"] for row in facts(free)["rows"])
    between = (kg[0] + kg[1]) / 2
    found = answer(tmp_path, f"{power}, co2_kg_per_month: {between}}}\n", rates=CALM)
    assert found.choice is not None
    assert found.choice.service.name == "int8_static on cpu"
    original = next(row for row in facts(found)["rows"] if not row["recipe"])
    assert original["verdict"] == "refused"
    assert f"CO2e {kg[1]:.2f} kg a month" in original["reason"]
    assert "the limit " in original["reason"]


def test_a_limit_that_nothing_keeps_says_so_and_one_in_the_band_leaves_it_open(tmp_path: Path) -> None:
    kg = facts(answer(tmp_path, ""))["rows"][0]["energy"]["co2e_kg_per_month"]
    refused = answer(tmp_path, f"energy: {{co2_kg_per_month: {kg['low'] / 2}}}\n")
    assert refused.choice is None
    assert {row.verdict for row in refused.rows} == {"refused"}
    assert refused.headline.startswith("Nothing keeps the limits on energy and CO2: the nearest, int8_static on cpu")
    unsure = answer(tmp_path, f"energy: {{co2_kg_per_month: {kg['value']}}}\n")
    assert unsure.choice is None
    assert "is undecided (CO2e " in unsure.headline
    met = answer(tmp_path, f"energy: {{co2_kg_per_month: {kg['high'] * 1.01}}}\n")
    assert met.choice is not None
    assert "to a tenant they would lose money" in shown(met)


def test_a_fleet_that_a_simulation_makes_larger_than_the_limit_allows_is_not_chosen() -> None:
    """Sized one machine too small, it keeps the limit; with the machine that it needs it does not."""
    asked = Asked(constant(400.0, 2.0), Promise(0.99, 20.0))
    served = services.of_run(judge(factories.run(FOUND), FOUND, RENTED, factories.TODAY), FOUND, 0.99)
    where = Place("aws/c7i.large", 0.1, 2, 1, "measured")
    site = Site(None, 1.0, 0.1, "given", "given")
    draw = draws.given(10.0, 10.1, "given")

    def ranking(joules: float | None) -> Ranking:
        power = Power(site, {"aws/c7i.large": draw}, Limits(joules_per_request=joules))
        return Ranking(served, (where,), asked, capacities_of(served, asked), 0, power)

    free = next(row for row in ranking(None).rows() if row.service.is_original)
    assert free.instances is not None
    one_less = replace(free, instances=free.instances - 1, checked=False)
    allowed = (free.instances - 0.5) * 10.0 / 400
    assert ranking(None).best([one_less]) is not None
    assert ranking(allowed).best([one_less]) is None


def test_a_looser_limit_on_accuracy_lets_in_nothing_that_misses_a_limit_on_energy() -> None:
    found = services.of_run(judge(factories.run(FOUND), FOUND, RENTED, factories.TODAY), FOUND, 0.99)
    unsure = [replace(one, meets=False, meets_but_accuracy=True) for one in found]
    asked = Asked(constant(400.0, 1.0), Promise(0.99, 20.0))
    site, draw = Site(None, 1.0, 0.1, "given", "given"), draws.given(10.0, 10.1, "given")
    power = Power(site, {"aws/c7i.large": draw}, Limits(joules_per_request=1e-9))
    place = Place("aws/c7i.large", 0.1, 2, 1, "measured")
    ranked = Ranking(unsure, (place,), asked, capacities_of(unsure, asked), power=power)
    assert {row.verdict for row in ranked.whatever_accuracy().rows()} == {"refused"}


def test_power_measured_at_the_plug_settles_what_was_open(tmp_path: Path) -> None:
    kg = facts(answer(tmp_path, ""))["rows"][0]["energy"]["co2e_kg_per_month"]["value"]
    text = f"energy: {{watts: 8.32, idle_watts: 2.07, co2_kg_per_month: {kg * 1.01}}}\n"
    found = answer(tmp_path, text)
    assert found.choice is not None
    assert facts(found)["rows"][0]["energy"]["co2e_kg_per_month"]["high"] == pytest.approx(kg, rel=0.005)


def test_power_measured_at_the_plug_holds_for_the_runs_own_machine_only(tmp_path: Path) -> None:
    larger = replace(OFFERS[0], instance="aws/c7i.xlarge", vcpus=4, usd_per_hour=0.2)
    (tmp_path / "traffic.yaml").write_text(f"{BUSY}energy: {{watts: 50, idle_watts: 20}}\n")
    prices = Book({one.key: one for one in (*OFFERS, larger)})
    asked = traffic_file.read(tmp_path / "traffic.yaml", prices)
    found = planned(factories.run(FOUND), RENTED, FOUND, None, asked, prices, datetime.date(2026, 8, 1))
    assert (found.power.draws["aws/c7i.large"].idle_w, found.power.draws["aws/c7i.large"].max_w) == (20, 50)
    assert found.power.draws["aws/c7i.xlarge"].max_w == pytest.approx(4 * 4.160476)


def test_a_machine_without_a_figure_says_so_and_can_keep_no_limit(tmp_path: Path) -> None:
    text = shown(answer(tmp_path, "energy: {grid: FRA}\n", UNKNOWN))
    assert "no figure is known for what aws/c8a.large draws: give energy.watts and energy.idle_watts" in text
    limited = answer(tmp_path, "energy: {joules_per_request: 100}\n", UNKNOWN)
    assert limited.choice is None
    assert "no figure is known" in limited.headline


def test_electricity_of_an_own_machine_is_told_apart(tmp_path: Path) -> None:
    found = answer(tmp_path, "", OWNED)
    assert found.choice is not None
    billed = found.choice.paid * 0.3 * 1.5 * 0.15 * 730
    assert f"electricity, in the bill: ${billed:.2f} a month, every hour at full power" in shown(found)
    assert "at 0.15 USD/kWh (machine.owned)" in shown(found)
    cheaper = answer(tmp_path, "energy: {watts: 100, idle_watts: 30, usd_per_kwh: 0.01}\n", OWNED)
    assert f"electricity, in the bill: ${billed:.2f} a month" in shown(cheaper)  # the price of an hour is what it was
    assert "at 0.01 USD/kWh (given)" in shown(cheaper)
    assert "CO2: no carbon intensity is known for this place: give energy.grid" in shown(found)
    site = facts(found)["energy"]
    assert (site["owned"], site["pue"], site["usd_per_kwh"]) == (True, 1.5, 0.15)


def test_power_caps_are_advised_for_an_own_gpu_that_is_named(tmp_path: Path) -> None:
    """300 W at work for 30 % of the time, at 0.15 USD/kWh and a PUE of 1.5; 250 of those watts are the GPU's."""
    found = answer(tmp_path, "energy: {grid: FRA, gpu: V100}\n", OWNED, found=ON_A_GPU)
    text = shown(found)
    assert "power cap of a V100: least energy at 50 % of 250 W, 23 % less for 20 % more time" in text
    assert found.choice is not None
    assert found.choice.bill is not None
    busy = 1 - (found.choice.idle or 0)
    electricity_usd = found.choice.paid * 0.3 * 1.5 * 0.15 * 730
    saved_usd = 0.23 * 250 / 300 * busy * electricity_usd
    time_usd = 0.20 * busy * (found.choice.bill.compute_usd - electricity_usd)
    told = facts(found)["energy"]["power_cap"]
    assert (told["gpu"], told["watts"], told["pays"]) == ("V100", 125, saved_usd > time_usd)
    assert (told["electricity_saved_usd"], told["time_usd"]) == pytest.approx((saved_usd, time_usd))
    assert told["capped_busiest_load"] == pytest.approx(1.2 * told["busiest_load"])
    assert "that cap saves about $" in text
    assert (
        "so it pays only in hours that are idle anyway: the load at the busiest time would go from 60 % to 72 %" in text
    )
    assert "to a tenant" not in text
    assert all(words in text for words in told["words"])


def test_a_cap_saves_nothing_while_the_processor_computes(tmp_path: Path) -> None:
    found = answer(tmp_path, "energy: {grid: FRA, gpu: V100}\n", OWNED)
    assert "power cap of a V100: saves nothing here, for int8_static on cpu computes on the processor" in shown(found)
    told = facts(found)["energy"]["power_cap"]
    assert (told["electricity_saved_usd"], told["pays"]) == (None, False)


def test_dear_electricity_makes_a_cap_pay(tmp_path: Path) -> None:
    plan = replace(OWNED, price=Spec("owned", {"purchase_usd": 1000, "years": 5, "watts": 300, "usd_per_kwh": 0.6}))
    found = answer(tmp_path, "energy: {gpu: A40}\n", plan, found=ON_A_GPU)
    assert facts(found)["energy"]["power_cap"]["pays"]
    assert "more than its time is worth" in shown(found)


@pytest.mark.parametrize("asked", ["co2_kg_per_month: 1000", "gpu: V100"])
def test_advice_to_a_tenant_is_in_the_facts_too(tmp_path: Path, asked: str) -> None:
    told = facts(answer(tmp_path, f"energy: {{{asked}}}\n"))["energy"]["power_cap"]
    assert (told["gpu"], told["pays"]) == (None, False)
    assert "to a tenant they would lose money" in told["words"][0]
    assert facts(answer(tmp_path, "energy: {grid: FRA}\n"))["energy"]["power_cap"] is None


def test_electricity_in_the_bill_of_machines_that_follow_the_traffic_is_theirs_on_average(tmp_path: Path) -> None:
    hours = [400] * 12 + [4000] * 12
    found = answer(tmp_path, f"hourly: {hours}\np99_ms: 20\nautoscaling: {{start_up_s: 300}}\n", OWNED, rates="")
    assert found.choice is not None
    assert found.choice.on_average < found.choice.paid
    billed = found.choice.on_average * 0.3 * 1.5 * 0.15 * 730
    assert f"electricity, in the bill: ${billed:,.2f} a month" in shown(found)


@pytest.mark.parametrize(
    ("path", "gigabytes_paid", "usd_per_gb"),
    [("same_zone", 0.0, 0.0), ("cross_zone", 5100.0, 0.02), ("internet", 100.0, 0.09)],
)
def test_the_datas_way_is_on_the_bill(tmp_path: Path, path: str, gigabytes_paid: float, usd_per_gb: float) -> None:
    """Bytes of a million requests, packed to a third."""
    found = answer(
        tmp_path, f"data: {{request_bytes: 15000, response_bytes: 300, path: {path}, compression_ratio: 3}}\n"
    )
    assert found.choice is not None
    assert found.choice.bill is not None
    millions = found.choice.bill.requests / 1e6
    assert found.choice.bill.egress_usd == pytest.approx(gigabytes_paid / 1000 * usd_per_gb * millions)
    assert ("network energy: left out" in shown(found)) == (path == "same_zone")
    told = facts(found)["data"]
    assert (told["path"], told["wire_bytes_per_request"]) == (path, 5100.0)
    assert (told["network_kwh_per_month"] is None) == (path == "same_zone")


def test_packing_costs_processor_time_that_is_named(tmp_path: Path) -> None:
    way = "request_bytes: 1e5, response_bytes: 1e5, path: internet, compression_ratio: 4, compression_ms_per_mb: 5"
    text = shown(answer(tmp_path, f"data: {{{way}}}\n"))
    assert "packing 4.00x saves $" in text
    joules = (4.160476 - 1.036286) * 0.001 * 1.14  # what one vCPU draws above idling, for a millisecond
    assert f"for 1.00 ms of CPU and {joules:.5f} J a request that are not in the plan" in text


def test_a_looser_limit_on_accuracy_is_no_way_round_a_limit_on_energy(tmp_path: Path) -> None:
    found = answer(tmp_path, "energy: {joules_per_request: 1e-9}\n")
    assert {row.verdict for row in found.ranking.whatever_accuracy().rows()} == {"refused"}


def test_a_provider_without_a_known_price_to_the_internet_is_asked_for_it(tmp_path: Path) -> None:
    plan = factories.plan(accuracy_drop=0.01, usd_per_hour=0.1, instance="vast/box")
    data = "request_bytes: 1, response_bytes: 1, path: internet"
    with pytest.raises(
        ConfigError, match=r"no price per GB to the internet is known for 'vast': give data\.usd_per_gb"
    ):
        answer(tmp_path, f"data: {{{data}}}\n", plan)
    assert answer(tmp_path, f"data: {{{data}, usd_per_gb: 0.01}}\n", plan).choice is not None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("energy: {grid: Oregon}", "energy.grid: no carbon intensity is known for 'Oregon'"),
        ("energy: {grid: true}", "energy.grid: must be a country"),
        ("energy: {gpu: H100}", "energy.gpu: no measured power cap is known for 'H100'; there are V100, A40"),
        ("energy: {gpu: 3}", "energy.gpu: must be the name of a GPU"),
        ("energy: {idle_watts: 3}", "energy.idle_watts: needs watts at full load beside it"),
        ("energy: {co2_kg_per_month: 0}", "energy.co2_kg_per_month: must be more than 0"),
        ("energy: {co2: 5}", "energy.co2: unknown key"),
        ("data: {request_bytes: 1, path: internet}", "data.response_bytes: is missing"),
        ("data: {request_bytes: 1, response_bytes: 1, path: moon}", "data.path: must be 'same_zone', 'cross_zone'"),
        (
            "egress: {bytes_per_response: 1, usd_per_gb: 1}\n"
            "data: {request_bytes: 1, response_bytes: 1, path: internet}",
            "data: egress says already what leaves the cloud; keep one of the two",
        ),
    ],
)
def test_bad_input_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "traffic.yaml").write_text(f"requests_per_second: 5\n{text}\n")
    with pytest.raises(ConfigError, match=r"traffic\.yaml:\d+: ") as told:
        traffic_file.read(tmp_path / "traffic.yaml", BOOK)
    assert words in str(told.value)
