"""Watts, joules and grams: the tables keep their rules, the arithmetic its own laws, and the figures that are known."""

import datetime
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt.measuring import energy
from costopt.measuring.devices import device_of
from costopt.powering import carbon, draws, footprints, grids, power_caps, routes
from costopt.powering.buildings import Site, pue_of
from costopt.powering.draws import Draw
from costopt.powering.footprints import Fleet, Footprint, Limits
from costopt.powering.routes import Route
from costopt.pricing import book
from costopt.records import Candidate, Machine
from costopt.verdict import Interval


def site(grams: float = 400.0, pue: float = 1.2, usd_per_kwh: float = 0.1) -> Site:
    return Site(grids.given(grams), pue, usd_per_kwh, "given", "given")


def known(instance: str, vcpus: int | None = None, accelerator: str = "", count: int = 0) -> Draw:
    found = draws.of_instance(instance, vcpus, accelerator, count)
    assert found is not None
    return found


# ---------------------------------------------------------------------------------------- worked examples


def test_a_g4dn_xlarge_at_full_load_takes_1_8_percent_of_its_price_in_electricity() -> None:
    usd = carbon.usd(known("aws/g4dn.xlarge").max_w, 1.0, 1.15, 0.08)
    assert usd == pytest.approx(0.0096, abs=5e-5)
    assert usd / 0.526 == pytest.approx(0.018, abs=5e-4)


def test_a_p4d_at_full_load_takes_2_2_percent_of_its_price_in_electricity() -> None:
    usd = carbon.usd(known("aws/p4d.24xlarge").max_w, 1.0, 1.15, 0.08)
    assert usd == pytest.approx(0.48, abs=5e-3)
    assert usd / 21.9576 == pytest.approx(0.022, abs=5e-4)  # USD an hour on demand, us-east-1, 2026-07-20


def test_a_kilowatt_hour_is_3_6_million_joules_and_its_grams_are_the_grids() -> None:
    assert carbon.grams_per_million(3.6, 369.0) == pytest.approx(369.0)
    assert carbon.kg_co2e(carbon.kwh(1000.0, 1.0, 1.0), 369.0) == pytest.approx(0.369)


# ---------------------------------------------------------------------------------------- laws

WATTS = st.floats(0.0, 500.0)
LOADS = st.floats(0.0, 1.0)
RATES = st.floats(0.01, 1e4)


def per_inference(idle_w: float, more_w: float, load: float, rate: float, pue: float = 1.2) -> carbon.Inference:
    return carbon.per_inference(carbon.power_w(idle_w, idle_w + more_w, load), idle_w, rate, pue)


@given(WATTS, WATTS, LOADS, LOADS, RATES)
def test_more_load_never_takes_less_energy(
    idle_w: float, more_w: float, load: float, other: float, rate: float
) -> None:
    """At the same rate: a slower model keeps the machine busier."""
    less, more = sorted((load, other))
    assert per_inference(idle_w, more_w, more, rate).joules >= per_inference(idle_w, more_w, less, rate).joules


@given(WATTS, WATTS, LOADS, RATES, st.floats(1.0, 3.0))
def test_pue_scales_all_of_the_energy(idle_w: float, more_w: float, load: float, rate: float, pue: float) -> None:
    bare, whole = (per_inference(idle_w, more_w, load, rate, one) for one in (1.0, pue))
    assert whole.joules == pytest.approx(pue * bare.joules)
    assert whole.idle_share == pytest.approx(bare.idle_share)


@given(WATTS, st.floats(0.1, 500.0), LOADS, RATES)
def test_idle_and_active_make_all_of_it(idle_w: float, more_w: float, load: float, rate: float) -> None:
    """Held against the formula written out: (idle + (max - idle) * load) * t * PUE."""
    one = per_inference(idle_w, more_w, load, rate)
    assert one.active_joules == pytest.approx(more_w * load / rate * 1.2, abs=1e-9 * one.joules)
    assert one.idle_joules == pytest.approx(idle_w / rate * 1.2)
    assert one.joules == pytest.approx((idle_w + more_w * load) / rate * 1.2)
    found = footprints.footprint(draws.given(idle_w, idle_w + more_w, "given"), Fleet(1, load, rate, 730.0), site())
    assert found.joules_per_request.value == pytest.approx(one.joules)
    assert found.idle_share == pytest.approx(one.idle_share)


@given(st.floats(0.0, 2000.0), st.floats(0.0, 1.0), LOADS)
def test_co2_is_linear_in_the_grids_intensity(grams: float, share: float, load: float) -> None:
    def kg(intensity: float) -> float:
        found = footprints.footprint(known("aws/c7i.large", 2), Fleet(3, load, 10.0, 730.0), site(intensity))
        assert found.kg_co2e is not None
        return found.kg_co2e.value

    assert kg(share * grams) == pytest.approx(share * kg(grams))


ROWS = draws.read()


@given(st.sampled_from(ROWS), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_a_machine_draws_more_the_busier_it_is_and_its_band_holds_it(row: draws.Row, load: float, other: float) -> None:
    draw = row.draw(1, row.name)
    less, more = (draw.watts(one) for one in sorted((load, other)))
    assert draw.idle_w <= less.value <= more.value <= draw.max_w
    assert less.low <= less.value <= less.high


@given(st.sampled_from(ROWS), st.integers(1, 50), st.integers(1, 20), st.floats(0.0, 1.0))
def test_more_machines_for_the_same_work_never_draw_less(row: draws.Row, few: int, more: int, load: float) -> None:
    def fleet(machines: int) -> Footprint:
        return footprints.footprint(row.draw(1, ""), Fleet(machines, load * few / machines, 1.0, 730.0), site())

    assert fleet(few + more).kwh.value >= fleet(few).kwh.value * (1 - 1e-12)


@given(st.floats(0.1, 0.6), st.floats(0.01, 0.5))
def test_not_knowing_the_load_widens_the_band_and_moves_nothing_else(load: float, band: float) -> None:
    sure, unsure = (
        footprints.footprint(known("aws/c7i.large", 2), Fleet(2, load, 10.0, 730.0, off), site()) for off in (0.0, band)
    )
    assert unsure.watts.value == sure.watts.value
    assert unsure.watts.low < sure.watts.low
    assert unsure.watts.high > sure.watts.high


@pytest.mark.parametrize(
    ("provider", "threads", "share"), [("cpu", 1, 0.5), ("cpu", 2, 1.0), ("openvino", 4, 1.0), ("cuda", 1, 1.0)]
)
def test_threads_keep_up_their_share_of_two_cores(provider: str, threads: int, share: float) -> None:
    assert footprints.at_work(Candidate((), provider, 1, threads), 2.0) == share


@pytest.mark.parametrize(("idle_w", "max_w", "load"), [(5, 4, 0.5), (1, 4, 1.5), (1, 4, -0.1), (-1, 4, 0.5)])
def test_powers_that_no_machine_has_are_refused(idle_w: float, max_w: float, load: float) -> None:
    with pytest.raises(ValueError, match="load is a share from 0 to 1"):
        carbon.power_w(idle_w, max_w, load)


def test_energy_is_shared_out_over_requests_so_there_must_be_some() -> None:
    with pytest.raises(ValueError, match="the rate must be above 0"):
        carbon.per_inference(10.0, 5.0, 0.0, 1.0)


# ---------------------------------------------------------------------------------------- what machines draw


def test_two_public_figures_of_one_machine_lie_in_each_others_bands() -> None:
    """c5.metal has 96 threads of Cascade Lake, c6g.metal 64 vCPUs of Graviton2."""
    by_thread, whole = known("aws/c5.24xlarge", 96), known("aws/c5.metal")
    for load in (0.0, 1.0):
        assert by_thread.watts(load).value < whole.watts(load).value < by_thread.watts(load).high
        assert whole.watts(load).low < by_thread.watts(load).value
    arm = known("aws/c6g.16xlarge", 64)
    assert arm.max_w == pytest.approx(known("aws/c6g.metal").max_w, rel=0.01)


def test_modelled_energy_has_the_band_of_the_same_table() -> None:
    row = next(one for one in ROWS if one.name == draws.ANY_XEON)
    assert (row.low, row.high) == energy.BAND


def test_where_a_vcpu_is_a_core_it_counts_for_two_threads() -> None:
    """AWS switches threads off on c7a; the table counts threads."""
    device = device_of(Machine("AMD EPYC 9R14", 2, 4 * 2**30, "Linux", ()))
    assert device is not None
    assert known("aws/c7a.large", 2).max_w == pytest.approx(2 * 2 * device.max_power_w, rel=1e-4)


def test_an_accelerated_machine_is_its_devices_and_the_vcpus_beside_them() -> None:
    one, four = known("aws/g6.xlarge", 4, "NVIDIA L4", 1), known("aws/g6.12xlarge", 48, "NVIDIA L4", 4)
    assert one.max_w > 72
    assert four.max_w > 4 * 72
    assert "1 NVIDIA L4 and 4 vCPUs" in one.words


def test_what_a_loaded_context_draws_on_an_idle_accelerator_lies_in_the_band() -> None:
    for instance, accelerator, adds_w in (("aws/g6e.xlarge", "NVIDIA L40S", 66), ("gcp/a3", "NVIDIA H100-SXM", 50)):
        draw = known(instance, 4, accelerator, 1)
        assert draw.watts(0.0).high >= draw.idle_w + adds_w
        assert draw.watts(0.0).high <= draw.watts(1.0).high


@pytest.mark.parametrize(
    ("instance", "vcpus", "accelerator"),
    [
        ("aws/c8a.large", 2, ""),  # EPYC's 5th generation: the only figure is an outlier
        ("aws/g5.xlarge", 4, "NVIDIA A10G"),
        ("aws/inf2.xlarge", 4, "AWS Inferentia2"),
        ("gcp/tpu-v5e", None, "Google TPU v5e"),
        ("lambda/gpu_1x_gh200", 64, "NVIDIA GH200-96GB"),
        ("aws/c7i.large", None, ""),
        ("the machine of the run", 2, ""),
    ],
)
def test_what_nobody_publishes_has_no_figure(instance: str, vcpus: int | None, accelerator: str) -> None:
    assert draws.of_instance(instance, vcpus, accelerator, 1) is None


def test_most_machines_of_the_shipped_book_have_a_figure() -> None:
    offers = book.read(book.SHIPPED)
    found = [draws.of_instance(one.instance, one.vcpus, one.accelerator, one.accelerator_count) for one in offers]
    assert sum(one is not None for one in found) >= 0.6 * len(offers)


def test_an_own_machine_without_an_idle_power_is_sure_of_its_full_power_only() -> None:
    draw = draws.given(None, 300.0, "given")
    assert draw.watts(1.0) == Interval(300.0, 300.0, 300.0)
    assert (draw.watts(0.0).low, draw.watts(0.0).high) == pytest.approx((45.0, 99.0))


# ---------------------------------------------------------------------------------------- places


def test_every_region_of_the_shipped_book_has_a_grid() -> None:
    assert {one.region for one in book.read(book.SHIPPED) if grids.find(one.region) is None} == set()


@pytest.mark.parametrize(
    ("name", "country", "grams"),
    [
        ("us-east-1", "USA", 369),
        ("eu-west-3", "FRA", 56),
        ("FRA", "FRA", 56),
        ("fr", "FRA", 56),
        ("Texas, US, NA", "USA", 369),
    ],
)
def test_a_country_or_a_region_has_its_countrys_intensity(name: str, country: str, grams: float) -> None:
    assert (grids.of(name).country, grids.of(name).grams_co2e_per_kwh) == (country, grams)


def test_a_region_whose_other_table_differs_says_so() -> None:
    assert "an undated table has 416 for this region" in grids.of("us-east-1").note
    assert grids.of("us-east-1").words == "369 g/kWh (USA, 2023)"


@pytest.mark.parametrize("grams", [-1.0, 5000.0, float("nan")])
def test_an_intensity_that_no_grid_has_is_refused(grams: float) -> None:
    with pytest.raises(ValueError, match="write g CO2e per kWh"):
        grids.given(grams)


def test_a_building_of_ones_own_draws_more_beside_its_machines_than_a_clouds() -> None:
    assert pue_of("")[0] == 1.56
    assert 1 < pue_of("gcp")[0] < pue_of("aws")[0] < pue_of("lambda")[0] < pue_of("")[0]


# ---------------------------------------------------------------------------------------- limits


def spanned(low: float, value: float, high: float) -> Footprint:
    span = Interval(value, low, high)
    return Footprint(span, 0.5, span, span, span, span, span)


@pytest.mark.parametrize(
    ("limit", "kept", "words"),
    [
        (5.0, "kept", ""),
        (
            3.0,
            "open",
            "CO2e 2.00 kg a month is modelled, and its band [1.00, 4.00] holds the limit 3: give energy.watts and",
        ),
        (1.5, "open", "holds the limit 1.5"),
        (0.5, "missed", "CO2e 2.00 kg a month (modelled, [1.00, 4.00]), the limit 0.5"),
    ],
)
def test_a_limit_within_the_band_is_neither_kept_nor_missed(limit: float, kept: str, words: str) -> None:
    found = footprints.within(spanned(1.0, 2.0, 4.0), Limits(co2_kg_per_month=limit))
    assert found[0] == kept
    assert words in found[1]


def test_a_limit_on_what_nobody_knows_is_open_and_says_what_to_give() -> None:
    assert footprints.within(None, Limits(joules_per_request=1.0)) == (
        "open",
        "no figure is known for what this machine draws: give energy.watts and energy.idle_watts",
    )
    assert footprints.within(None, Limits()) == ("kept", "")


# ---------------------------------------------------------------------------------------- power caps


def test_a_tenants_cap_loses_more_in_time_than_all_its_electricity_is_worth() -> None:
    """A p4d.24xlarge for an hour: 21.96 USD, of which 0.48 are electricity."""
    worth = power_caps.worth(21.96, 0.48, power_caps.most_saved(), power_caps.TYPICAL_SLOWDOWN)
    assert not worth.pays
    assert worth.time_usd > 9 * 0.48
    assert "to a tenant they would lose money: 20 % slowdown is $4.39 a month" in power_caps.tenant(21.96, 0.48)


def test_the_cap_of_least_energy_saves_more_than_it_slows() -> None:
    cap = power_caps.of("NVIDIA A40")
    assert cap.energy_delay == pytest.approx(0.81 * 1.07)
    assert "least energy at 58 % of 300 W, 19 % less for 7.0 % more time" in power_caps.advice(cap)


# ---------------------------------------------------------------------------------------- the data's way

BYTES = st.floats(0.0, 1e7)


@given(BYTES, BYTES, st.sampled_from(["same_zone", "cross_zone", "internet"]), st.floats(1.0, 20.0))
def test_packing_divides_what_is_sent_and_paid(sent: float, back: float, path: routes.Path, ratio: float) -> None:
    plain, packed = Route(sent, back, path), Route(sent, back, path, ratio)
    assert packed.wire_bytes == pytest.approx(plain.wire_bytes / ratio)
    assert packed.paid_bytes == pytest.approx(plain.paid_bytes / ratio)


def test_a_gigabyte_is_free_within_a_zone_and_dearest_to_the_internet() -> None:
    million = 1e6

    def usd(path: routes.Path) -> float:
        price = routes.usd_per_gb(path, "aws")
        assert price is not None
        return million * routes.egress(Route(0, 10_000, path), price).usd_per_request

    assert (usd("same_zone"), usd("cross_zone"), usd("internet")) == pytest.approx((0.0, 0.2, 0.9))
    assert routes.usd_per_gb("internet", "vast") is None


def test_the_networks_energy_is_told_with_its_ends_and_left_out_within_a_zone() -> None:
    found = Route(0, 1e9, "internet").kwh(1)
    assert found == Interval(0.06, 0.0013, 0.06)
    assert Route(0, 1e9, "same_zone").kwh(1) is None


# ---------------------------------------------------------------------------------------- the tables


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_draw_has_a_date_and_a_source(row: draws.Row) -> None:
    assert datetime.date.fromisoformat(row.as_of if len(row.as_of) == 10 else f"{row.as_of}-01")
    assert re.search(r"https://\w+", row.source)


Read = Callable[[Path], object]
GRIDS = "name,iso2,country,grams_co2e_per_kwh,year,as_of,source,note"
GRID = "FRA,FR,FRA,56,2023,2026-08,https://example.org,"
DRAWS = "name,unit,pattern,accelerator,device,devices,idle_w,tenth_w,half_w,max_w,low,high,as_of,source,note"
DRAW = "X,vcpu,aws/x,,,,1,2,4,6,0.8,2.9,2026-08,https://example.org,"
CAPS = "gpu,max_w,best_cap,best_saved,best_slowdown,saved_within_5,saved_within_10,as_of,source,note"
CAP = "V100,250,0.5,0.23,0.2,0.08,0.14,2026-08,https://example.org,"


@pytest.mark.parametrize(
    ("read", "table", "complaint"),
    [
        (grids.read, f"name\n{GRID}", "the columns must be"),
        (grids.read, f"{GRIDS}\n{GRID}\n{GRID}", "'FRA' stands there twice"),
        (grids.read, f"{GRIDS}\n{GRID},more", "must have 8 fields"),
        (grids.read, f"{GRIDS}\n{GRID.replace(',56,', ',-1,')}", "-1 is no g CO2e per kWh"),
        (grids.read, f"{GRIDS}\n{GRID.replace('2023', '')}", "needs the year"),
        (grids.read, f"{GRIDS}\n{GRID.replace('2026-08', 'lately')}", "the date of its reading"),
        (grids.read, f"{GRIDS}\n{GRID.replace('https://example.org', 'me')}", "a source"),
        (grids.read, f"{GRIDS}\nus-x,,USA,,,,https://example.org,", "its country 'USA' has no figure"),
        (draws.read, f"name\n{DRAW}", "the columns must be"),
        (draws.read, f"{DRAWS}\n{DRAW}\n{DRAW}", "twice: X"),
        (draws.read, f"{DRAWS}\n{DRAW},more", "must have 15 fields"),
        (draws.read, f"{DRAWS}\n{DRAW.replace('vcpu', 'box')}", "needs a unit"),
        (draws.read, f"{DRAWS}\n{DRAW.replace('aws/x', '')}", "a pattern or an accelerator"),
        (draws.read, f"{DRAWS}\n{DRAW.replace(',6,', ',3,')}", "watts must rise with load"),
        (draws.read, f"{DRAWS}\n{DRAW.replace(',2,4,6,', ',,,nan,')}", "watts must rise with load"),
        (draws.read, f"{DRAWS}\n{DRAW.replace(',4,6,', ',4,60,')}", "more slowly as it grows"),
        (draws.read, f"{DRAWS}\n{DRAW.replace('0.8', '1.8')}", "0 < low <= 1 <= high"),
        (draws.read, f"{DRAWS}\n{DRAW.replace('2026-08', '')}", "a date and a source"),
        (draws.read, f"{DRAWS}\nX,vcpu,aws/x,,Abacus,1,,,,,0.8,2.9,,,", "no device is called 'Abacus'"),
        (draws.read, f"{DRAWS}\nX,vcpu,aws/x,,NVIDIA T4,1,1,,,6,0.8,2.9,,,", "has figures of its own too"),
        (power_caps.read, f"gpu\n{CAP}", "the columns must be"),
        (power_caps.read, f"{CAPS}\n{CAP},more", "must have 10 fields"),
        (power_caps.read, f"{CAPS}\n{CAP.replace('0.5,', '1.5,')}", "shares between 0 and 1"),
        (power_caps.read, f"{CAPS}\n{CAP.replace('0.08', '0.18')}", "more slowdown can't save less"),
        (power_caps.read, f"{CAPS}\n{CAP.replace('2026-08', '')}", "a date and a source"),
    ],
)  # fmt: skip
def test_a_table_that_breaks_the_rules_is_refused_by_name(
    read: Read, table: str, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "table.csv"
    path.write_text(table + "\n")
    with pytest.raises(ValueError, match=re.escape(complaint)):
        read(path)
