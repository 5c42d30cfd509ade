"""Limits on joules and CO2 in a budget, and energy as the objective: judged from stored times."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt import plan as plans
from costopt import report_sheet
from costopt.journal import from_json, to_json
from costopt.judging.choose import judge
from costopt.records import Budget, Electricity, Machine, Measured, Plan
from costopt.reports import markdown
from costopt.verdict import Report, Row
from tests import factories
from tests.factories import TODAY, measured, recipe

XEON = Machine("Intel(R) Xeon(R) Platinum 8488C", 2, 8 * 10**9, "Linux 6.1", ())
WATTS = 2 * 4.160476
"""Two threads of Sapphire Rapids at full load (the table of devices)."""

ORIGINAL = measured(ms=4.0, baseline_ms=4.0)
FAST = measured(recipe("int8_static"), ms=1.0, baseline_ms=4.0)
ON_A_GPU = measured(recipe("fp16"), provider="cuda", ms=0.5, baseline_ms=4.0)
FOUND = (ORIGINAL, FAST, ON_A_GPU)


def judged(plan: Plan, found: tuple[Measured, ...] = FOUND, machine: Machine = XEON) -> Report:
    return judge(replace(factories.run(found), machine=machine), found, plan, TODAY)


def limited(joules: float | None = None, grams: float | None = None, electricity: Electricity | None = None) -> Plan:
    budget = Budget(joules_per_inference=joules, co2_grams_per_million=grams)
    return replace(factories.plan(), budget=budget, electricity=electricity)


def row(report: Report, one: Measured) -> Row:
    return report.row(one.candidate.id)


def words(report: Report, one: Measured) -> list[tuple[str, bool, str]]:
    return [(one.limit, one.undecided, one.words) for one in row(report, one).refusals]


def test_energy_is_power_times_time_and_a_limit_below_all_of_its_band_refuses() -> None:
    report = judged(limited(joules=0.01))
    found = row(report, ORIGINAL).energy
    assert found is not None
    assert found.joules_per_inference == pytest.approx(WATTS * 0.004, rel=1e-3)
    assert words(report, ORIGINAL) == [
        ("joules_per_inference", False, "0.0333 J per inference (modelled) is 3.33x the limit of 0.01 J")
    ]
    assert row(report, ORIGINAL).meets is False


def test_a_limit_within_the_band_of_a_modelled_figure_is_undecided_and_never_passed() -> None:
    report = judged(limited(joules=0.01))
    assert row(report, FAST).meets is None
    assert words(report, FAST) == [
        (
            "joules_per_inference",
            True,
            "0.00832 J per inference (modelled) undecided: it may be [0.00666, 0.0241], limit 0.01 J; give "
            "energy.watts, measured at the plug",
        )
    ]
    assert report.verdict == "not_met"
    assert row(judged(limited(joules=0.03)), ORIGINAL).meets is None  # 0.0333 J, and 0.0266 at the least


def test_a_limit_above_the_band_is_met() -> None:
    report = judged(limited(joules=0.03))
    assert report.winner == FAST.candidate.id
    assert any(
        note.startswith("energy is modelled, while it computes: 0.00832 J per inference, [0.00666, 0.0241] (2 threads")
        for note in report.notes
    )


def test_the_table_shows_joules_and_how_they_are_known_where_the_answer_rests_on_them() -> None:
    shown = markdown.written(report_sheet.sheet(judged(limited(joules=0.03))))
    assert "J per inference" in shown
    assert "0.0333 modelled" in shown
    assert "J per inference" not in markdown.written(report_sheet.sheet(judged(factories.plan())))


def test_what_does_not_compute_on_the_processor_is_undecided_because_nobody_knows() -> None:
    report = judged(limited(joules=1.0))
    assert [(limit, undecided) for limit, undecided, _ in words(report, ON_A_GPU)] == [("joules_per_inference", True)]
    assert row(report, ON_A_GPU).refusals[0].value is None
    unknown = judged(limited(joules=1.0), machine=factories.MACHINE)
    assert unknown.verdict == "not_met"
    assert "energy is not known: no power is published for what computes here" in unknown.headline


def test_power_from_the_plug_takes_the_place_of_published_figures_and_has_no_band() -> None:
    at_the_plug = Electricity(None, 1.0, "", watts=10.0)
    report = judged(limited(joules=0.015, electricity=at_the_plug), machine=factories.MACHINE)
    assert [row(report, one).meets for one in FOUND] == [False, True, True]
    found = row(report, ON_A_GPU).energy
    assert found is not None
    assert found.joules_per_inference == pytest.approx(0.005)
    assert found.ends == (found.joules_per_inference, found.joules_per_inference)


def test_co2_is_the_energy_at_the_meter_times_the_grid() -> None:
    france = Electricity(56.0, 1.2, "56 g/kWh (FRA, 2023) and PUE 1.2 (given)")
    report = judged(limited(grams=0.1, electricity=france))
    found = row(report, FAST).co2_grams_per_million
    assert found is not None
    assert found.value == pytest.approx(WATTS * 0.001 * 1.2 * 1e6 / 3.6e6 * 56.0, rel=1e-3)
    assert words(report, ORIGINAL)[0][2] == "0.621 g CO2e per million (modelled) is 6.21x the limit of 0.1 g"
    assert row(report, FAST).meets is False
    loose = judged(limited(grams=0.5, electricity=france))
    assert loose.winner == FAST.candidate.id
    assert any("at 56 g/kWh (FRA, 2023) and PUE 1.2 (given)" in note for note in loose.notes)


@given(st.floats(1e-4, 1.0), st.floats(1.0, 5.0))
def test_a_looser_limit_never_refuses_what_a_tighter_one_lets_pass(joules: float, looser: float) -> None:
    tight, loose = judged(limited(joules=joules)), judged(limited(joules=joules * looser))
    order = (False, None, True)
    for one in (ORIGINAL, FAST):
        assert order.index(row(loose, one).meets) >= order.index(row(tight, one).meets)


# ---------------------------------------------------------------------------------------- the objective


def test_for_energy_fewer_threads_beat_a_little_more_speed() -> None:
    """Two threads take 1.0 ms and one takes 1.5 ms: half the power for half more time."""
    one_thread = measured(recipe("int8_static"), threads=1, ms=1.5, baseline_ms=4.0)
    plan = replace(factories.plan(), objective="energy")
    report = judged(plan, (ORIGINAL, FAST, one_thread))
    assert report.winner == one_thread.candidate.id
    assert "takes 0.00624 J per inference (modelled), 5.33x less than the original" in report.headline
    assert row(report, FAST).lost == "takes 1.33x the energy of the winner"


def test_for_energy_half_the_power_for_twice_the_time_is_no_difference() -> None:
    one_thread = measured(recipe("int8_static"), threads=1, ms=2.0, baseline_ms=4.0)
    report = judged(replace(factories.plan(), objective="energy"), (ORIGINAL, FAST, one_thread))
    assert report.winner == FAST.candidate.id
    assert row(report, one_thread).lost == "indistinguishable from the winner, which came out ahead"


def test_for_energy_equal_times_are_equal_and_the_simpler_wins() -> None:
    twin = measured(recipe("slim", "int8_static"), ms=1.0, baseline_ms=4.0)
    report = judged(replace(factories.plan(), objective="energy"), (ORIGINAL, twin, FAST))
    assert report.winner == FAST.candidate.id
    assert row(report, twin).lost == "indistinguishable from the winner, which is simpler"


def test_for_energy_what_nobody_knows_comes_last() -> None:
    report = judged(replace(factories.plan(), objective="energy"))
    assert report.winner == FAST.candidate.id
    assert row(report, ON_A_GPU).lost == "its energy is not known; the winner has a figure"


# ---------------------------------------------------------------------------------------- the file


def read(folder: Path, text: str) -> Plan:
    path = folder / "budget.yaml"
    path.write_text(f"data: {{evaluation: evaluation.npz}}\n{text}")
    return plans.read(path, data_must_exist=False)


@pytest.mark.parametrize(
    ("text", "grams", "pue", "whose"),
    [
        ("machine: {instance: aws/c7i.large}\nbudget: {co2_grams_per_million: 5}", 369, 1.14, "Amazon's data centres"),
        ("machine: {instance: aws/c7i.large}\nenergy: {grid: FRA, pue: 1.3}", 56, 1.3, "given"),
        ("energy: {grid: eu-north-1}", 41, 1.56, "the mean of the industry"),
        ("energy: {grid: 100, pue: 1}", 100, 1.0, "given"),
        ("machine: {usd_per_hour: 0.1}\nenergy: {grid: FRA}", 56, 1.25, "public clouds"),
        (
            "machine: {owned: {purchase_usd: 1, years: 1, watts: 9, usd_per_kwh: 0.1, pue: 1.4}}\nenergy: {grid: DEU}",
            381,
            1.4,
            "machine.owned",
        ),
    ],
)
def test_the_grid_and_the_building_come_from_the_file_or_the_machine(
    tmp_path: Path, text: str, grams: float, pue: float, whose: str
) -> None:
    found = read(tmp_path, text).electricity
    assert found is not None
    assert (found.grams_co2e_per_kwh, found.pue) == (grams, pue)
    assert whose in found.words


def test_a_run_keeps_the_grid_that_it_was_judged_with(tmp_path: Path) -> None:
    plan = read(tmp_path, "energy: {grid: FRA, watts: 60}\nbudget: {co2_grams_per_million: 5}")
    assert from_json(Plan, to_json(plan)) == plan
    before = to_json(replace(plan, electricity=None))
    old = before.replace(',"electricity":null', "").replace(',"co2_grams_per_million":5.0', "")
    assert from_json(Plan, old).electricity is None
