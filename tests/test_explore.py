"""The search in a made-up world, where what a cut saves and loses is known: which way does it go, does it arrive?"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from costopt.judging.choose import judge
from costopt.methods import Knob
from costopt.records import Candidate, Failed, Measured, Outcome, Plan, Setting, Skipped, Spec
from costopt.searching.explore import Step, next_step
from costopt.searching.space import LEARN, LEARN_ROUNDED, Space, served
from costopt.verdict import Report
from tests import factories

HOME = Setting(Spec("cpu"), 1, 2)
BASELINE = served((), HOME)
QUANTISED = (Spec("int8_static"),)
HALVED = (Spec("fp16"),)
KNOB = Knob("macs", 0.1, 0.9, 0.5)
SPACE = Space(BASELINE, (HOME,), (QUANTISED, HALVED), {"prune_channels": KNOB})
PLAN = factories.plan(accuracy_drop=0.01)

World = Callable[[Candidate], Outcome]


@dataclass(frozen=True)
class Model:
    """What steps do to a made-up model: int8 halves the time; a cut takes its share of it and of what can be lost.

    `slack` is the share of the work that can go before accuracy suffers after learning; each point beyond it costs a
    point. Without learning `raw` times what went is lost at least. A second lesson wins half of what is missing back. A
    call of b samples takes b ** `by_batch` times as long as one.
    """

    slack: float
    int8_loses: int = 0
    raw: float = 0.02
    by_batch: float = 1.0

    def __call__(self, candidate: Candidate) -> Outcome:
        work, ms, lost = 1.0, 1.0, 0
        for spec in candidate.recipe:
            if spec.name == "prune_channels":
                share = spec.options["macs"]
                assert isinstance(share, float)
                work *= 1 - share
            elif spec.name in ("int8_static", "int8_dynamic"):
                ms, lost = ms / 2, lost + self.int8_loses
        lessons = sum(spec.name == LEARN for spec in candidate.recipe)
        unlearnt = self.raw * (1 - work) if not lessons else 0.0
        missing = max(unlearnt, 1 - work - self.slack) / (1 if lessons < 2 else 2)
        return factories.measured(
            candidate.recipe,
            provider=candidate.provider,
            batch=candidate.batch,
            baseline_batch=1,
            ms=ms * work * candidate.batch**self.by_batch,
            correct=factories.CORRECT - lost - round(missing * factories.SAMPLES),
        )


def report_of(found: list[Outcome], plan: Plan) -> Report:
    run = factories.run(found or [BASELINE], baseline=BASELINE.id)
    return judge(run, found, plan, factories.TODAY)


def walk(
    world: World, space: Space = SPACE, plan: Plan = PLAN, seconds: float = 600.0, found: tuple[Outcome, ...] = ()
) -> Iterator[tuple[Step, Outcome]]:
    """The search to its end; a lesson takes its time, everything else ten seconds."""
    known = list(found) or [world(BASELINE)]
    while (step := next_step(space, plan, report_of(known, plan), seconds - spent(known))) is not None:
        outcome = world(step.candidate)
        known.append(outcome)
        yield step, outcome
        assert len(known) < 100, "the search does not end"


def spent(found: Sequence[Outcome]) -> float:
    """What it took to find these: a beginning that another recipe has too is learnt once."""
    lessons = {
        str(one.candidate.recipe[: place + 1]): float(str(spec.options["seconds"]))
        for one in found
        for place, spec in enumerate(one.candidate.recipe)
        if spec.name == LEARN
    }
    return 10.0 * (len(found) - 1) + sum(lessons.values())


def labels(world: World, **changes: object) -> list[str]:
    return [step.candidate.label for step, _ in walk(world, **changes)]  # type: ignore[arg-type]


def strengths(labels: list[str]) -> list[list[str]]:
    """The cuts of each recipe that was cut and has learnt."""
    return [
        [part.split("=")[1].rstrip(")") for part in label.split(" + ") if part.startswith("prune_channels")]
        for label in labels
        if LEARN in label
    ]


def winner(world: World, **changes: object) -> Candidate:
    found = [world(BASELINE), *(outcome for _, outcome in walk(world, **changes))]  # type: ignore[arg-type]
    report = report_of(found, PLAN)
    assert report.winner is not None
    return report.row(report.winner).candidate


def test_what_is_promising_comes_first_then_cuts_then_the_rest() -> None:
    found = labels(Model(0.0))
    assert found[0] == "int8_static"
    assert found[1] == "prune_channels(macs=0.5) + int8_static", "how much a cut loses before any learning"
    assert found.index("fp16") > min(place for place, label in enumerate(found) if LEARN in label)


def test_a_cut_is_quantised_as_the_best_before_it_and_has_learnt_in_between() -> None:
    names = [
        spec.name
        for spec in next(step for step, _ in walk(Model(0.97)) if len(step.candidate.recipe) > 2).candidate.recipe
    ]
    assert names == ["prune_channels", "distill", "int8_static"]


@pytest.mark.parametrize(("raw", "strength"), [(0.025, "0.75"), (0.1, "0.5"), (0.3, "0.25")])
def test_what_a_cut_loses_before_learning_tells_how_hard_the_next_may_be(raw: float, strength: str) -> None:
    assert strengths(labels(Model(0.95, raw=raw)))[0][-1] == strength


def test_a_cut_that_is_certified_is_followed_by_another_from_there() -> None:
    found = strengths(labels(Model(0.97), seconds=3600.0))
    assert found[0] == ["0.75"]
    assert found[1][:1] == ["0.75"]
    assert len(found[1]) == 2


def test_a_cut_that_is_too_hard_is_halved_until_it_holds() -> None:
    def world(candidate: Candidate) -> Outcome:
        """Learning can't mend what is cut beyond a fifth."""
        hard = any(float(str(spec.options.get("macs", 0.0))) > 0.2 for spec in candidate.recipe)
        learnt = any(spec.name == LEARN for spec in candidate.recipe)
        return factories.measured(candidate.recipe, ms=0.5, correct=factories.CORRECT - (400 if hard and learnt else 0))

    tried = strengths(labels(world, seconds=3600.0))
    assert tried[:3] == [["0.8"], ["0.4"], ["0.2"]]


def test_a_near_miss_learns_for_longer_before_the_cut_is_made_gentler() -> None:
    found = [label for label in labels(Model(0.735), seconds=3600.0) if LEARN in label and "prune" in label]
    assert [label.count("distill") for label in found][:2] == [1, 2]
    assert strengths(found)[:2] == [["0.75"], ["0.75"]]


def test_the_best_certified_chain_wins() -> None:
    found, work = winner(Model(0.76), seconds=3600.0), 1.0
    for spec in found.recipe:
        work *= 1 - float(str(spec.options.get("macs", 0.0)))
    assert found.recipe[-1:] == QUANTISED
    assert 0.2 <= work <= 0.4, "most of what can go is gone"


def test_a_model_that_can_lose_nothing_is_quantised_only() -> None:
    assert winner(Model(0.0)).recipe == QUANTISED


def test_the_steps_of_the_winner_are_measured_one_by_one_in_the_end() -> None:
    found = {step.candidate.label: step for step, _ in walk(Model(0.8))}
    best = winner(Model(0.8))
    for steps in range(1, len(best.recipe)):
        assert found[served(best.recipe[:steps], HOME).label].whole, "they can't win, and every sample is wanted"


def test_nothing_is_tried_twice() -> None:
    found = labels(Model(0.6))
    assert len(set(found)) == len(found)


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been() -> None:
    whole = list(walk(Model(0.8)))
    for kept in range(1, len(whole)):
        found = (Model(0.8)(BASELINE), *(outcome for _, outcome in whole[:kept]))
        rest = [step.candidate.label for step, _ in walk(Model(0.8), found=found)]
        assert rest == [step.candidate.label for step, _ in whole[kept:]]


def test_without_a_limit_on_accuracy_nothing_is_cut() -> None:
    assert not strengths(labels(Model(1.0), plan=factories.plan()))


@pytest.mark.parametrize("seconds", [0.0, 30.0, 50.0])
def test_no_lesson_begins_that_the_time_does_not_allow(seconds: float) -> None:
    assert not strengths(labels(Model(1.0), seconds=seconds))


def test_each_lesson_leaves_time_for_what_comes_after_it() -> None:
    for step, _ in walk(Model(0.9), seconds=300.0):
        lessons = [float(str(spec.options["seconds"])) for spec in step.candidate.recipe if spec.name == LEARN]
        assert sum(lessons) < 300.0


def test_what_loses_its_accuracy_here_is_not_tried_on_another_provider() -> None:
    there = Setting(Spec("openvino"), 1, 2)
    space = replace(SPACE, settings=(HOME, there), cuts={})
    tried = [step.candidate for step, _ in walk(Model(0.0, int8_loses=400), space=space)]
    assert served((), there) in tried
    assert served(HALVED, there) in tried
    assert served(QUANTISED, there) not in tried


def test_other_batches_are_tried_only_with_what_is_near_the_best() -> None:
    there = Setting(Spec("cpu"), 8, 2)
    tried = [step.candidate for step, _ in walk(Model(0.0), space=replace(SPACE, settings=(HOME, there), cuts={}))]
    assert served(QUANTISED, there) in tried
    assert served(HALVED, there) not in tried, "int8 is twice as fast"


def test_other_settings_are_tried_with_the_best_and_the_best_of_them_with_what_is_near_it() -> None:
    """Two recipes are alike; batches cost less for each sample the larger they are."""

    def world(candidate: Candidate) -> Outcome:
        ms = {"int8_static": 0.5, "fp16": 0.55}.get(candidate.label, 1.0) * candidate.batch**0.8
        return factories.measured(candidate.recipe, batch=candidate.batch, baseline_batch=1, ms=ms)

    batches = tuple(Setting(Spec("cpu"), batch, 2) for batch in (8, 16, 32))
    steps = [step.candidate for step, _ in walk(world, space=replace(SPACE, settings=(HOME, *batches), cuts={}))]
    assert all(served(QUANTISED, one) in steps for one in batches)
    assert [one.batch for one in steps if one.recipe == HALVED] == [1, 32]


def test_a_later_best_is_not_tried_where_the_best_before_it_was_far_from_its_own_best() -> None:
    def world(candidate: Candidate) -> Outcome:
        ms = {"int8_static": 0.5, "fp16": 0.4}.get(candidate.label, 1.0) * candidate.batch**0.5
        return factories.measured(candidate.recipe, batch=candidate.batch, baseline_batch=1, ms=ms)

    batches = tuple(Setting(Spec("cpu"), batch, 2) for batch in (8, 32))
    steps = [step.candidate for step, _ in walk(world, space=replace(SPACE, settings=(HOME, *batches), cuts={}))]
    assert [one.batch for one in steps if one.recipe == QUANTISED] == [1, 8, 32]
    assert [one.batch for one in steps if one.recipe == HALVED] == [1, 32]


def test_what_was_cut_is_tried_in_every_setting_whatever_suited_the_uncut() -> None:
    batches = tuple(Setting(Spec("cpu"), batch, 2) for batch in (8, 32))
    world = Model(0.6, by_batch=2.0)
    steps = [step.candidate for step, _ in walk(world, space=replace(SPACE, settings=(HOME, *batches)))]
    best = winner(world, space=replace(SPACE, settings=(HOME, *batches)))
    assert SPACE.cuts_in(best.recipe)
    assert {one.batch for one in steps if one.recipe == best.recipe} == {1, 8, 32}


def test_what_is_too_slow_at_home_is_tried_where_it_may_be_fast_enough() -> None:
    """More threads bring the time of a call under its limit, and nothing is at home."""

    def world(candidate: Candidate) -> Outcome:
        ms = {"int8_static": 0.5, "fp16": 0.55}.get(candidate.label, 1.0) * (
            8 if candidate.threads == HOME.threads else 1
        )
        return factories.measured(candidate.recipe, threads=candidate.threads, ms=ms, baseline_ms=8.0)

    more = Setting(Spec("cpu"), 1, 8)
    plan = replace(PLAN, budget=replace(PLAN.budget, p95_ms=2.0))
    steps = [step.candidate for step, _ in walk(world, space=replace(SPACE, settings=(HOME, more), cuts={}), plan=plan)]
    assert served(QUANTISED, more) in steps
    assert served(HALVED, more) in steps


def test_a_cut_that_fails_is_made_gentler_and_never_repeated() -> None:
    def world(candidate: Candidate) -> Outcome:
        if any(spec.options.get("macs") == 0.5 for spec in candidate.recipe):
            return Failed(candidate, "compress", "too narrow")
        return Model(0.3)(candidate)

    tried = strengths(labels(world))
    assert tried[:1] == [["0.25"]], "the probe at 0.5 failed"
    assert isinstance(world(served((Spec("prune_channels", {"macs": 0.5}),), HOME)), Failed)
    assert isinstance(world(BASELINE), Measured)


@pytest.mark.slow
def test_with_hours_several_cuts_are_tried_at_once_and_the_best_of_all_wins() -> None:
    space = replace(SPACE, cuts={"prune_channels": KNOB, "drop_layers": Knob("share", 0.1, 0.7, 0.3)})

    def world(candidate: Candidate) -> Outcome:
        """Layers may go up to a half for nothing, channels up to a third, in one cut or in several."""
        left, ms = dict.fromkeys(space.cuts, 1.0), 1.0
        for spec in candidate.recipe:
            if spec.name in space.cuts:
                left[spec.name] *= 1 - float(str(spec.options[space.cuts[spec.name].option]))
            ms /= 2 if spec.name == "int8_static" else 1
        lost = max(0.0, 0.5 - left["drop_layers"]) + max(0.0, 0.67 - left["prune_channels"])
        correct = factories.CORRECT - round(lost * factories.SAMPLES)
        return factories.measured(
            candidate.recipe, ms=ms * left["drop_layers"] * left["prune_channels"], correct=correct
        )

    tried = [step for step, _ in walk(world, space=space, seconds=16 * 3600.0)]
    proposed = [step for step in tried if step.why.startswith("proposed")]
    assert proposed
    assert any(len(_cuts_of(step.candidate)) == 2 for step in proposed)
    assert [step.why for step, _ in walk(world, space=space, seconds=16 * 3600.0)] == [step.why for step in tried]


def test_a_cut_that_can_do_nothing_here_is_not_proposed_again() -> None:
    space = replace(
        SPACE, cuts={"drop_layers": Knob("share", 0.1, 0.7, 0.3), "prune_channels": KNOB, "prune_heads": KNOB}
    )

    def world(candidate: Candidate) -> Outcome:
        if any(spec.name == "prune_heads" for spec in candidate.recipe):
            return Skipped(candidate, "no attention was found")
        work = math.prod(1 - float(str(s.options.get("macs", s.options.get("share", 0)))) for s in candidate.recipe)
        missing = 0 if work > 0.5 else 40
        return factories.measured(candidate.recipe, ms=work, correct=factories.CORRECT - missing)

    tried = [step for step, _ in walk(world, space=space, seconds=3 * 3600.0)]
    assert any(step.why.startswith("proposed") for step in tried)
    assert not any("prune_heads" in step.candidate.label for step in tried if step.why.startswith("proposed"))


def _cuts_of(candidate: Candidate) -> set[str]:
    return {spec.name for spec in candidate.recipe} - {LEARN, "int8_static"}


def test_what_is_exact_and_gains_comes_before_the_best() -> None:
    slim = (Spec("slim"),)

    def world(candidate: Candidate) -> Outcome:
        faster = 0.8 if candidate.recipe[:1] == slim else 1.0
        made = Model(0.0)(candidate)
        return (
            factories.measured(candidate.recipe, ms=made.timing.seconds[0] * 1e3 * faster)
            if isinstance(made, Measured)
            else made
        )

    space = replace(SPACE, singles=(slim, QUANTISED), cuts={}, exact=frozenset({"slim"}))
    assert "slim + int8_static" in labels(world, space=space)
    assert "slim + int8_static" not in labels(Model(0.0), space=space), "alone it gains nothing"


def faster_by_slim(candidate: Candidate) -> Outcome:
    """`Model(0.97)`, and a fifth faster wherever `slim` is among the steps."""
    made = Model(0.97)(candidate)
    if not isinstance(made, Measured) or Spec("slim") not in candidate.recipe:
        return made
    faster = factories.measured(candidate.recipe, ms=made.timing.seconds[0] * 1e3 * 0.8)
    return replace(made, timing=faster.timing)


@pytest.mark.parametrize(
    ("modules", "order"),
    [
        ({"prune_channels", "distill"}, ["prune_channels", "distill", "slim", "int8_static"]),
        ({"prune_channels", "distill", "slim"}, ["slim", "prune_channels", "distill", "int8_static"]),
    ],
)
def test_what_is_exact_stands_where_its_kind_can_stand(modules: set[str], order: list[str]) -> None:
    space = replace(
        SPACE, singles=(QUANTISED, (Spec("slim"),)), exact=frozenset({"slim"}), modules=frozenset(modules), promising=1
    )
    best = winner(faster_by_slim, space=space)
    assert list(dict.fromkeys(spec.name for spec in best.recipe)) == order


def test_what_is_exact_and_promising_is_there_before_anything_is_cut() -> None:
    space = replace(
        SPACE,
        singles=((Spec("slim"),), QUANTISED),
        exact=frozenset({"slim"}),
        modules=frozenset({"prune_channels", "distill"}),
        promising=2,
    )
    found = labels(faster_by_slim, space=space)
    assert found[:3] == ["slim", "int8_static", "slim + int8_static"]
    assert "slim" in next(label for label in found if LEARN in label)


ROUNDING = replace(SPACE, lessons=frozenset({LEARN, LEARN_ROUNDED}))


def test_what_rounding_alone_breaks_learns_with_the_rounding_in_place() -> None:
    def world(candidate: Candidate) -> Outcome:
        """Rounding loses 300 samples unless it was learnt."""
        lost = 300 if {spec.name for spec in candidate.recipe} == {"int8_static"} else 0
        return factories.measured(candidate.recipe, ms=0.5 ** len(candidate.recipe), correct=factories.CORRECT - lost)

    first = next(step for step, _ in walk(world, space=ROUNDING) if len(step.candidate.recipe) > 1)
    assert [spec.name for spec in first.candidate.recipe] == [LEARN_ROUNDED, "int8_static"]
    assert "rounding alone loses too much" in first.why
    again = [label for label in labels(world, space=ROUNDING) if label.startswith(LEARN_ROUNDED)]
    assert sum(label.endswith("s=60.0) + int8_static") for label in again) == 1
    assert not [label for label in labels(world) if LEARN_ROUNDED in label], "there is no such method"


def test_a_student_of_the_users_own_learns_once_and_ends_as_the_best_does() -> None:
    plan, space = replace(PLAN, student="mine:small"), replace(SPACE, lessons=frozenset({LEARN}))
    steps = [step for step, _ in walk(Model(0.0), space=space, plan=plan)]
    taught = [step for step in steps if any("student" in spec.options for spec in step.candidate.recipe)]
    assert [spec.name for spec in taught[0].candidate.recipe] == [LEARN, "int8_static"]
    assert taught[0].candidate.recipe[0].options["student"] == "mine:small"
    assert taught[0].why == "mine:small was given as a student of the original"
    assert steps.index(taught[0]) < next(at for at, one in enumerate(steps) if "prune_channels" in one.candidate.label)
    lessons = {
        spec.options["seconds"] for step in taught for spec in step.candidate.recipe if "student" in spec.options
    }
    assert len(lessons) == 1


def test_without_a_way_to_learn_a_student_is_not_tried() -> None:
    plan, space = replace(PLAN, student="mine:small"), replace(SPACE, lessons=frozenset[str]())
    assert not [label for label in labels(Model(0.0), space=space, plan=plan) if "student" in label]


def test_different_cuts_take_turns() -> None:
    space = replace(SPACE, cuts={"prune_channels": KNOB, "drop_layers": Knob("share", 0.1, 0.7, 0.3)})
    cut = [
        [spec.name for spec in step.candidate.recipe if spec.name in space.cuts]
        for step, _ in walk(Model(0.97), space=space, seconds=3600.0)
        if any(spec.name == LEARN for spec in step.candidate.recipe)
    ]
    assert cut[:2] == [["prune_channels"], ["prune_channels", "drop_layers"]]


@pytest.mark.parametrize(("seconds", "lesson"), [(200.0, 120.0), (1000.0, 400.0)])
def test_a_lesson_takes_most_of_little_time_and_a_smaller_share_of_much(seconds: float, lesson: float) -> None:
    plan = replace(PLAN, time_limit_s=0.1)  # nothing to speak of is kept back
    lessons = [
        float(str(spec.options["seconds"]))
        for step, _ in walk(Model(0.9), plan=plan, seconds=seconds + 20)
        for spec in step.candidate.recipe
        if spec.name == LEARN
    ]
    assert lessons[0] == pytest.approx(lesson, abs=10.0)


@pytest.mark.parametrize(("faster", "tried"), [(2.0, True), (1.2, False)])
def test_what_ruins_the_model_before_learning_is_taught_once_where_it_gains_much(faster: float, tried: bool) -> None:
    space = replace(SPACE, cuts={"drop_layers": Knob("share", 0.1, 0.7, 0.3)})

    def world(candidate: Candidate) -> Outcome:
        """Without learning nothing is left of the accuracy; with it all is."""
        names = {spec.name for spec in candidate.recipe}
        ms = (1.0 / faster if "drop_layers" in names else 1.0) / (2 if "int8_static" in names else 1)
        ruined = "drop_layers" in names and LEARN not in names
        return factories.measured(candidate.recipe, ms=ms, correct=factories.CORRECT - (3000 if ruined else 0))

    lessons = [label for label in labels(world, space=space) if LEARN in label]
    assert any(label.startswith("drop_layers(share=0.1) + distill") for label in lessons) is tried
