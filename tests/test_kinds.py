"""Kinds of hardware side by side, and machines that only a measurement tells apart: from a plan's own rows."""

from dataclasses import replace

import pytest

from costopt.planning import kinds
from costopt.planning.places import Place
from costopt.planning.ranking import Ranking
from tests.plan_rows import best_of, usd
from tests.test_ranking import ASKED, CURVES, LARGE, SERVICES, XLARGE, at_rate, ranking

ORIGINAL = SERVICES[0]
GPU = Place(
    "aws/g4dn.xlarge", 0.5, 4, 1, "projected", accelerator="NVIDIA T4", paces={ORIGINAL.id: 0.1},
    cannot={one.id: "no kernels" for one in SERVICES[1:]},
)  # fmt: skip
"""A GPU on which the original takes a tenth of its time, and nothing else runs."""


def test_each_way_of_looking_names_the_best_machine_of_each_kind() -> None:
    rows = ranking(places=(LARGE, GPU)).rows()
    gpu = next(row for row in rows if row.place == GPU and row.service is ORIGINAL)
    month, never_idle, alone = kinds.sentences(rows)
    assert month == (
        "this traffic: CPU, $73.00 a month (aws/c7i.large with int8_static); GPU 5.00x (aws/g4dn.xlarge with the "
        "original)"
    )
    assert never_idle.startswith("work that never lets machines idle: CPU,")
    assert alone.startswith("one request alone: GPU, 0.4")
    assert "(aws/g4dn.xlarge with the original)" in alone
    assert gpu.mean_s == pytest.approx(0.1 * ORIGINAL.mean_s)


def test_of_one_kind_alone_nothing_is_said() -> None:
    assert list(kinds.sentences(ranking().rows())) == []


def test_what_cannot_run_on_a_machine_is_impossible_there_and_says_why() -> None:
    rows = ranking(places=(LARGE, GPU)).rows()
    there = {row.service.id: row for row in rows if row.place == GPU}
    assert {there[one.id].verdict for one in SERVICES[1:]} == {"impossible"}
    assert {there[one.id].words for one in SERVICES[1:]} == {"no kernels"}
    assert there[ORIGINAL.id].verdict == "meets"


def test_a_machine_that_may_turn_out_cheaper_is_not_told_apart_from_the_choice() -> None:
    """At the slow end it takes more machines than the choice, at the fast end fewer."""
    near = replace(XLARGE, instance="aws/c7a.large", services=1, usd_per_hour=0.099)
    ranked = Ranking(SERVICES, (LARGE, near), at_rate(1200.0), CURVES)
    rows, choice = ranked.rows(), best_of(ranked)
    (found,) = kinds.not_told_apart(ranked, choice, rows)
    assert found.row.place == near
    assert found.least_usd < usd(choice) < found.most_usd
    assert kinds.in_words((found,)).startswith("indistinguishable until they are measured: aws/c7a.large ([$")


def test_a_machine_that_is_dearer_even_at_its_fast_end_is_told_apart() -> None:
    ranked = ranking(ASKED, (LARGE, replace(XLARGE, usd_per_hour=9.0)))
    rows, choice = ranked.rows(), best_of(ranked)
    assert kinds.not_told_apart(ranked, choice, rows) == ()
    assert kinds.in_words(()) == ""


def test_a_faster_machine_never_needs_more_instances() -> None:
    needed = []
    for pace in (0.2, 0.5, 1.0, 2.0):
        there = replace(LARGE, paces=dict.fromkeys((one.id for one in SERVICES), pace))
        choice = ranking(at_rate(900.0), (there,)).rows()[0]
        needed.append(choice.instances or 0)
    assert needed == sorted(needed)
    assert needed[0] < needed[-1]


def test_where_nobody_knows_how_fast_it_is_nothing_is_certain_and_no_figure_is_given() -> None:
    there = replace(GPU, cannot={}, unclear={one.id: "what it does is not known" for one in SERVICES[1:]})
    rows = {row.service.id: row for row in ranking(places=(LARGE, there)).rows() if row.place == there}
    for one in SERVICES[1:]:
        row = rows[one.id]
        assert (row.verdict, row.words) == ("undecided", "what it does is not known")
        assert (row.bill, row.saturated, row.is_timed) == (None, None, False)
