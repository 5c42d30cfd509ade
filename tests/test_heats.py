"""The race: who is dropped early, on which evidence, and who comes back when the budget changes."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest

from costopt import pipeline, plugins
from costopt.journal import Journal
from costopt.judging.choose import judge
from costopt.measuring import bench, proof
from costopt.records import Entry, Invalid, Measured, Outcome, Plan, Score, Spec
from costopt.reports import Render
from costopt.sampling.samples import spread
from costopt.searching import heats
from costopt.searching.heats import _may_win
from costopt.searching.space import Space
from costopt.searching.tries import Tries
from costopt.verdict import Report
from tests import factories

ORIGINAL = factories.measured()
QUANTISED = factories.recipe("int8_static")
PLAN = factories.plan(accuracy_drop=0.01)

Rows = Sequence[tuple[float, ...]]


class Child:
    """A serving child that knows what the metric will see."""

    def __init__(self, facts: Rows) -> None:
        self.facts = facts

    def ask(self, *asked: Any) -> dict[str, Any]:
        _, request, _ = asked
        places = request["places"] if request["places"] is not None else range(len(self.facts))
        return {"facts": [self.facts[place] for place in places]}

    def pause(self) -> None:
        """It serves nobody."""


def scoring(
    facts: Rows, against: Rows, plan: Plan = PLAN, known: Score | None = None
) -> tuple[pipeline._Scoring, bench.Service]:
    candidate = replace(ORIGINAL.candidate, recipe=QUANTISED)
    prepared = SimpleNamespace(metric=Spec("top1"), reference=None, against="target")
    job = SimpleNamespace(plan=plan, prepared=prepared, limit_s=1.0, baseline=ORIGINAL.candidate)
    child = Child(facts)
    service = SimpleNamespace(child=child, peak_memory_bytes=lambda: 0)
    return (
        pipeline._Scoring(Entry(candidate, facts=tuple(against), known=known), cast("pipeline.Job", job)),
        cast("bench.Service", service),
    )


RIGHT: Rows = ((1.0,),) * 10_000


def test_who_loses_everywhere_is_seen_on_a_few_hundred_samples() -> None:
    lost, service = scoring(((1.0,), (0.0,)) * 5_000, RIGHT)
    assert lost.hopeless(service)


def test_data_that_are_sorted_make_nobody_lose_early() -> None:
    """All that is lost lies among the first samples: half a point in all, and five points of the first thousand."""
    sorted_, service = scoring(((0.0,),) * 50 + ((1.0,),) * 9_950, RIGHT)
    assert not sorted_.hopeless(service)


def test_who_loses_as_much_as_is_allowed_is_scored_on_all_samples() -> None:
    near, service = scoring((((1.0,),) * 99 + ((0.0,),)) * 100, RIGHT)
    assert not near.hopeless(service)


@pytest.mark.parametrize(("stopped", "scored"), [("beaten", pipeline.EARLY_SAMPLES), ("precision", 10_000)])
def test_who_is_slower_than_the_best_for_certain_gets_no_more_samples(
    stopped: Literal["beaten", "precision"], scored: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "proved", lambda _: None)
    near, service = scoring((((1.0,),) * 99 + ((0.0,),)) * 100, RIGHT)
    assert not near.hopeless(service)
    seen = near.seen(service, replace(factories.timing(1.0, 1.0), stopped=stopped))
    assert len(seen.score.values) == scored


@pytest.mark.parametrize(("changed", "taken_from"), [(False, "elsewhere"), (True, "")])
def test_a_file_that_does_the_same_in_two_settings_is_scored_on_all_samples_in_one(
    changed: bool, taken_from: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "proved", lambda _: None)
    facts: Rows = (((1.0,),) * 999 + ((0.0,),)) * 10
    tried = spread(10_000, pipeline.EARLY_SAMPLES)[7]
    there = [(1 - row[0],) if changed and place == tried else row for place, row in enumerate(facts)]
    known = replace(ORIGINAL.score, values=tuple(there), taken_from="elsewhere")
    alike, service = scoring(facts, RIGHT, known=known)
    assert not alike.hopeless(service)
    score = alike.seen(service, factories.timing(1.0, 1.0)).score
    assert score.taken_from == taken_from
    assert len(score.values) == 10_000


def test_only_the_same_recipe_on_the_same_provider_says_what_a_file_does() -> None:
    there = factories.measured(QUANTISED)
    places = replace(there, score=replace(there.score, places=(0, 1)))
    other_batch = replace(there.candidate, batch=8, threads=1)
    assert heats._scored_elsewhere(other_batch, [ORIGINAL, there]) == replace(
        there.score, taken_from=there.candidate.id
    )
    assert heats._scored_elsewhere(other_batch, [ORIGINAL, places]) is None
    assert heats._scored_elsewhere(replace(other_batch, provider="openvino"), [ORIGINAL, there]) is None


def test_a_reader_is_told_which_rows_were_scored_in_another_setting() -> None:
    told = factories.measured(QUANTISED)
    report = reported(replace(told, score=replace(told.score, taken_from=ORIGINAL.candidate.id)))
    words = " ".join(plugins.make("reports", Spec("table"), Render)(report).split())
    assert "1 row was scored in another setting of the same file" in words


def test_without_a_limit_nobody_loses() -> None:
    unlimited, service = scoring(((0.0,),) * 10_000, RIGHT, factories.plan())
    assert not unlimited.hopeless(service)


def test_a_candidate_that_lost_early_is_compared_on_the_samples_that_it_was_scored_on() -> None:
    values = tuple((1.0,) if place < 3700 else (0.0,) for place in range(factories.SAMPLES))
    places = spread(factories.SAMPLES, 500)
    few = factories.measured(QUANTISED, values=[values[place] for place in places])
    few = replace(few, score=replace(few.score, places=places))
    report = reported(few)
    row = report.row(few.candidate.id)
    assert row.drop is not None
    assert row.drop.drop.value == 0
    assert row.drop.samples == len(places) < factories.SAMPLES
    table = plugins.make("reports", Spec("table"), Render)
    assert "* who was beaten early shows that of 500 samples" in " ".join(table(report).split())
    assert "%*" in table(report)
    assert "*" not in table(reported(factories.measured(QUANTISED)))


def reported(candidate: Measured, plan: Plan = PLAN) -> Report:
    found = (ORIGINAL, candidate)
    return judge(factories.run(found), found, plan, factories.TODAY)


@pytest.mark.parametrize(
    ("ms", "limit", "back"),
    [(0.5, 0.01, False), (0.5, 0.5, True), (2.0, 0.5, False)],
    ids=["it still loses too much", "the new limit allows it", "it is slower than the original"],
)
def test_one_that_was_measured_roughly_comes_back_only_if_it_may_win(ms: float, limit: float, back: bool) -> None:
    rough = factories.measured(QUANTISED, ms=ms, correct=factories.CORRECT - 400)
    report = reported(rough, factories.plan(accuracy_drop=limit))
    assert _may_win(report.row(rough.candidate.id), report) is back


def test_what_a_step_bought_is_not_told_from_part_of_the_samples() -> None:
    """The step before the winner was beaten early: what a few hundred samples say is no price of a step."""
    cut, chain = factories.recipe("prune_channels"), (*factories.recipe("prune_channels"), *QUANTISED)
    whole, best = factories.measured(cut, ms=0.8), factories.measured(chain, ms=0.4)
    places = spread(factories.SAMPLES, 500)
    part = replace(whole, score=replace(whole.score, places=places, values=whole.score.values[:500]))
    for before, told in ((whole, 2), (part, 0)):
        found = (ORIGINAL, before, best)
        report = judge(factories.run(found), found, PLAN, factories.TODAY)
        assert len(report.bought) == told


# ---------------------------------------------------------------------------------------- a machine that is disturbed


SPOILT = Invalid(replace(ORIGINAL.candidate, recipe=QUANTISED), "other programs used the CPU", "stop them", again=True)


class Machine:
    """A machine that spoils the measurements with these numbers, counted from the original's."""

    def __init__(self, spoils: set[int]) -> None:
        self.spoils = spoils
        self.measured: list[str] = []

    def __call__(self, entry: Entry, job: object) -> Outcome:
        del job
        number, candidate = len(self.measured), entry.candidate
        self.measured.append(candidate.label)
        if number in self.spoils:
            return replace(SPOILT, candidate=candidate)
        return replace(factories.measured(candidate.recipe, ms=1.0), candidate=candidate)


def searched(machine: Machine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a search among three methods measured, in its order; the second pass, after the search, is left out."""
    monkeypatch.setattr(heats, "evaluate", machine)
    home = ORIGINAL.candidate.setting
    space = Space(ORIGINAL.candidate, (home,), tuple(factories.recipe(one) for one in ("fp16", "slim", "unfuse")), {})
    journal = Journal(folder)
    journal.write_run(factories.run((ORIGINAL.candidate,)))
    job = cast("pipeline.Job", SimpleNamespace(plan=PLAN))
    run = heats.Heats(job, Tries(ORIGINAL.candidate, (ORIGINAL.candidate,), space=space), journal, heats.Blind())
    run._go_through(time.monotonic() + 60)
    return machine.measured


def test_a_step_that_was_spoilt_is_tried_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert searched(Machine({2}), tmp_path, monkeypatch) == ["original", "fp16", "slim", "slim", "unfuse"]


def test_while_trying_again_does_not_help_nothing_is_tried_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert searched(Machine({1, 2, 3}), tmp_path, monkeypatch) == ["original", "fp16", "fp16", "slim", "unfuse"]


def test_after_a_quiet_measurement_the_next_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = searched(Machine({1, 2, 4}), tmp_path, monkeypatch)
    assert found == ["original", "fp16", "fp16", "slim", "unfuse", "unfuse"]
