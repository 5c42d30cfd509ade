"""What to try next, and why: the search of `recipes: auto`, one step at a time.

A pure function of what is known and of the seconds that are left, which tell how long a lesson may be. Each step looks
at the judged rows so far and names the next candidate, so a run that was killed goes on where it was. From cheap to
dear:

    1  what is most promising without learning, where the original was measured, with all that is exact and gains; what
       survives that, elsewhere; what rounding alone breaks, after learning with the rounding in place
    2  a student of the user's own, where one is given. Then cut and learn: take a share of the work away, distil,
       quantise as the best so far does. What the cut loses before any learning tells how hard it may be; a near miss
       learns on, a clear one is made gentler. Each cut starts from the best one before it, whose modules lie ready, and
       the kinds of cut take turns
    3  everything else that needs no learning: alone, and after what was cut and has learnt; and after what is exact
    4  where time is left, several cuts at once, each as hard as `knobs` proposes from all that was tried
    5  the steps of the winner one by one, to tell what each of them bought; the winner in other settings

The best certified candidate is on disk after each step, so the search may end at any time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from costopt import units
from costopt.methods import Knob
from costopt.records import Candidate, Plan, Recipe, Setting, Spec
from costopt.searching import knobs
from costopt.searching.space import LEARN, LEARN_ROUNDED, ROUNDED, Space, served
from costopt.searching.tried import (
    Cut,
    Known,
    cuts_from,
    inapplicable,
    like,
    missed_accuracy_alone,
    missed_nearly,
    trials,
)
from costopt.verdict import Report, Row

WITHIN = 1.25
"""A recipe that the best one beats by more than this at one batch is not tried at others, and none is tried where those
before it were so much slower than at their best: a judgement. The order of two recipes seldom turns by more between
batches (measured ratios of 1.1 to 1.3 on the shipped CNN, 2026-11)."""

LEARNING_SHARE = 0.4
"""Of the time that is left, for the next lesson: there is time for a harder cut after it."""

LEARNING_SHARE_OF_LITTLE = 0.6
"""Of the time that is left, for the next lesson while that is under `ENOUGH_S`: one long lesson teaches more than two
short ones."""

ENOUGH_S = 120.0
"""What a lesson gets at least where it can. Two minutes brought back what the shipped CNN lost with three quarters of
its work (2026-11, two cores)."""

ROUNDING_S = 60.0
"""At most so long for a model that learns with rounding in place and has lost nothing else."""

RESERVE = 0.15
"""Of the time limit, kept for what comes after learning."""

SHORTEST_LEARNING_S = 15.0
"""Learning for less than this mends little: loading, tracing and measuring take as long."""

LONGEST_LEARNING_S = 1800.0

AROUND_LEARNING_S = 40.0
"""What a candidate that learns costs beside it: load, trace, cut, export, compare, quantise, measure (35 s for the
shipped CNN on two cores, 2026-11)."""

LEAST_FOR_SEVERAL_S = 60.0
"""Lessons shorter than this are kept for single cuts."""

MOST_TRIALS = 40
"""Cuts that are tried at once; after so many the estimator's proposals hardly move."""

MOST_CUTS = 6
"""Cuts in one recipe: what is left after six is small, and small cuts are within the noise."""

HARDER = ((0.5, 0.6), (3.0, 0.5), (8.0, 0.0), (30.0, -0.5))
"""How hard to cut when a cut at strength s lost so many times the limit before learning: 0.6 of the way from s to 1,
0.5, s itself, half of s; beyond that a quarter. From one model: the shipped CNN lost 0.9 points at half of its work
before learning, and 0.6 with three quarters of it gone and after it; with widths of 16 and more it lost 1.5 points at
half of its work, and 0.2 after learning (2026-11)."""

WORTH_A_LESSON = 1.25
"""A cut that makes the best so much faster gets one lesson at its gentlest, whatever it lost before: a block that
is missing ruins a shallow network, and can be learnt without (the shipped CNN, 2026-11: 13 % top-1 before; 91.9 %
after two minutes, with 72 % of the rest gone as well)."""


@dataclass(frozen=True, slots=True)
class Step:
    """The next candidate, and the reason in words."""

    candidate: Candidate
    why: str
    whole: bool = False
    """Whether all of it is wanted, though it can't win: every sample, and rounds to the end."""


def next_step(space: Space, plan: Plan, report: Report, seconds_left: float) -> Step | None:
    """The next thing to try, or None when there is nothing left that is worth its time."""
    known = Known(report)
    stages = (
        _singles(space, space.singles[: space.promising]),
        _after_what_is_exact(space, space.singles[: space.promising], known),
        _elsewhere(space, space.singles[: space.promising], known),
        _rounding_learnt(space, plan, known, seconds_left),
        _own_student(space, plan, known, seconds_left),
        _cuts(space, plan, known, seconds_left),
        _singles(space, space.singles),
        _finishes(space, known),
        _after_what_is_exact(space, space.singles, known),
        _elsewhere(space, space.singles, known),
        _several_cuts(space, plan, known, seconds_left),
        _steps_of_the_winner(space, known),
    )
    return next((step for stage in stages for step in stage if not known.has(step.candidate)), None)


# ---------------------------------------------------------------------------------------- without learning


def _singles(space: Space, recipes: Sequence[Recipe]) -> Iterator[Step]:
    home = space.settings[0]
    for recipe in recipes:
        yield Step(served(recipe, home), "it needs no learning")


def _elsewhere(space: Space, recipes: Sequence[Recipe], known: Known) -> Iterator[Step]:
    """Every provider for what is not refused; other batches and threads for its best, and the best of them for more."""
    home = space.settings[0]
    for setting in space.settings[1:]:
        first = _first_of(setting.provider, space.settings)
        yield Step(served((), setting), f"the original on {_in_words(setting, home)}")
        if first == setting:
            for recipe in recipes:
                if _may_do(known.of(served(recipe, home))):
                    yield Step(served(recipe, setting), f"not refused on {_in_words(home, home)}")
        elif (best := _best_at(first, space, known)) in recipes and _promising(setting, space, known):
            yield Step(served(best, setting), f"the best on {_in_words(first, home)}")
    for setting in space.settings[1:]:
        first = _first_of(setting.provider, space.settings)
        if setting != first and setting == _fastest_like(first, space, known):
            for recipe in recipes:
                if _near_the_best(recipe, first, space, known):
                    why = f"among the best on {_in_words(first, home)}, and {_in_words(setting, home)} is faster"
                    yield Step(served(recipe, setting), why)


def _promising(setting: Setting, space: Space, known: Known) -> bool:
    """Whether a setting may suit a recipe: nothing uncut was tried there yet, or something was near its own best there.

    What was cut says nothing of others, nor they of it: the less work, the more a call's fixed cost counts.
    """
    tried = [one for one in space.singles if known.of(served(one, setting)) is not None]
    return not tried or any(_at_its_best(one, setting, space, known) for one in tried)


def _at_its_best(recipe: Recipe, setting: Setting, space: Space, known: Known) -> bool:
    """Whether no other setting of the provider in which it may be deployed makes a recipe cheaper by `WITHIN`."""
    others = (served(recipe, one) for one in space.settings if one.provider == setting.provider)
    deployable = (one for one in others if (row := known.of(one)) is not None and row.meets is not False)
    best = max((_speedup(one, known) for one in deployable), default=0.0)
    return _speedup(served(recipe, setting), known) * WITHIN >= best


def _first_of(provider: Spec, settings: Sequence[Setting]) -> Setting:
    return next(one for one in settings if one.provider == provider)


def _in_words(setting: Setting, home: Setting) -> str:
    """ "openvino, batch 8": what differs from home, or the provider alone."""
    parts = [str(setting.provider)]
    parts += [f"batch {setting.batch}"] if setting.batch != home.batch else []
    parts += [units.count_of(setting.threads, "thread")] if setting.threads != home.threads else []
    return ", ".join(parts)


def _may_do(row: Row | None) -> bool:
    """Whether a recipe kept its accuracy as far as is known: what it loses it loses on any provider."""
    return row is not None and (row.drop is None or row.drop.certified is not False)


def _near_the_best(recipe: Recipe, where: Setting, space: Space, known: Known) -> bool:
    best, own = (_speedup(served(one, where), known) for one in (_best_at(where, space, known), recipe))
    return own > 0 and own * WITHIN >= best


def _best_at(where: Setting, space: Space, known: Known) -> Recipe:
    """The fastest there of those that keep their accuracy; the original if nothing was measured."""
    return max(((), *space.singles), key=lambda one: _speedup(served(one, where), known))


def _fastest_like(first: Setting, space: Space, known: Known) -> Setting:
    """Of a provider's settings the one in which its best recipe costs least: among those within all limits, if any."""
    best = _best_at(first, space, known)

    def worth(setting: Setting) -> tuple[bool, float]:
        candidate = served(best, setting)
        row = known.of(candidate)
        return row is not None and row.meets is not False, _speedup(candidate, known)

    return max((one for one in space.settings if one.provider == first.provider), key=worth)


def _speedup(candidate: Candidate, known: Known) -> float:
    """How much cheaper than the original, whatever limits of latency say of it there; 0 when it is not known or loses
    too much."""
    row = known.of(candidate)
    return row.speedup.value if row is not None and row.speedup is not None and _may_do(row) else 0.0


def _after_what_is_exact(space: Space, recipes: Sequence[Recipe], known: Known) -> Iterator[Step]:
    """The best so far, with each of those methods that gains something for certain and loses nothing."""
    best = known.winner
    used = {one.name for one in best.candidate.recipe} if best is not None else set()
    if best is None or not used:
        return
    for (spec,) in (recipe for recipe in recipes if len(recipe) == 1 and recipe[0].name in space.exact - used):
        row = known.of(like(best, (spec,))) or known.of(served((spec,), space.settings[0]))
        if row is not None and row.speedup is not None and row.speedup.low > 1:
            why = f"{spec} alone gains {units.ratio(row.speedup.value)}"
            yield Step(like(best, space.with_exact(best.candidate.recipe, spec)), why)


# ---------------------------------------------------------------------------------------- cut and learn


def _rounding_learnt(space: Space, plan: Plan, known: Known, seconds_left: float) -> Iterator[Step]:
    """What would be the fastest, and lost too much by rounding alone: the model learns with that in place."""
    learning_s = _learning_s(seconds_left - RESERVE * plan.time_limit_s)
    if LEARN_ROUNDED not in space.lessons or learning_s is None or plan.budget.accuracy_drop is None:
        return
    fastest = known.winner.speedup.low if known.winner is not None and known.winner.speedup else 1.0
    learnt = [candidate.recipe[1:] for candidate in known.order if _begins_with(LEARN_ROUNDED, candidate.recipe)]
    for recipe in space.singles:
        row = known.of(served(recipe, space.settings[0]))
        if row is None or recipe[-1].name not in ROUNDED or recipe in learnt or not missed_accuracy_alone(row):
            continue
        if row.speedup is not None and row.speedup.low > fastest:
            lesson = _lesson(LEARN_ROUNDED, min(learning_s, ROUNDING_S))
            why = f"{row.candidate.label} gains {units.ratio(row.speedup.value)}, and rounding alone loses too much"
            yield Step(like(row, (lesson, *recipe)), why)


def _begins_with(name: str, recipe: Recipe) -> bool:
    return bool(recipe) and recipe[0].name == name


def _own_student(space: Space, plan: Plan, known: Known, seconds_left: float) -> Iterator[Step]:
    """The network that the user has given for it, once; ended as the best so far is."""
    learning_s = _learning_s(seconds_left - RESERVE * plan.time_limit_s)
    best = known.winner or known.of(space.baseline)
    given = {spec.options.get("student") for candidate in known.order for spec in candidate.recipe}
    if plan.student is None or plan.student in given or LEARN not in space.lessons:
        return
    if best is None or learning_s is None:
        return
    _, finish = space.split(best.candidate.recipe)
    lesson = Spec(LEARN, {"student": plan.student, "seconds": learning_s})
    yield Step(like(best, (lesson, *finish)), f"{plan.student} was given as a student of the original")


def _cuts(space: Space, plan: Plan, known: Known, seconds_left: float) -> Iterator[Step]:
    """One more cut from the best so far; a longer lesson for a near miss; a gentler cut for a clear one.

    Without a limit on accuracy nothing is cut: the hardest cut would win, whatever was left of the model.
    """
    learning_s = _learning_s(seconds_left - RESERVE * plan.time_limit_s)
    best = known.winner or known.of(space.baseline)
    if best is None or learning_s is None or plan.budget.accuracy_drop is None:
        return
    base, finish = space.split(best.candidate.recipe)
    last = next(reversed(cuts_from(base, space, known)), None)
    if last is not None and missed_nearly(last.row, plan) and len(last.lessons) == 1:
        recipe = (*base, last.cut, *last.lessons, _lesson(LEARN, learning_s), *last.finish)
        yield Step(like(best, recipe), f"{last.row.candidate.label} missed by little: it learns for longer")
        return
    if len(space.cuts_in(base)) >= MOST_CUTS:
        return
    for name in _in_turn(space, base):
        knob = space.cuts[name]
        probe = like(best, (*base, Spec(name, {knob.option: knob.first}), *finish))
        if not known.has(probe):
            yield Step(probe, f"how much {name} loses before any learning")
            return
        tried = [cut for cut in cuts_from(base, space, known) if cut.cut.name == name]
        strength = _strength(knob, known.of(probe), tried, best, space, plan)
        if strength is not None:
            cut = Spec(name, {knob.option: strength})
            recipe = (*base, cut, _lesson(LEARN, learning_s), *finish)
            yield Step(like(best, recipe), _why_cut(name, strength, base, tried, space))
            return


def _in_turn(space: Space, base: Recipe) -> list[str]:
    """The cuts in the order in which they are tried, after the last one that was made: what one can't see as
    superfluous another may."""
    names, made = list(space.cuts), space.cuts_in(base)
    first = names.index(made[-1].name) + 1 if made else 0
    return [*names[first:], *names[:first]]


def _learning_s(seconds_left: float) -> float | None:
    """How long the next lesson may take, in whole steps of 5 s; None when it is not worth beginning."""
    share = max(LEARNING_SHARE * seconds_left, min(ENOUGH_S, LEARNING_SHARE_OF_LITTLE * seconds_left))
    seconds = min(share, seconds_left - AROUND_LEARNING_S, LONGEST_LEARNING_S)
    return None if seconds < SHORTEST_LEARNING_S else 5.0 * (seconds // 5)


def _finishes(space: Space, known: Known) -> Iterator[Step]:
    """What was cut and has learnt, ended in other ways; what is exact stays in."""
    best = known.winner
    learnt, finish = space.split(best.candidate.recipe) if best is not None else ((), ())
    if best is None or not learnt:
        return
    kept = tuple(spec for spec in finish if spec.name in space.exact)
    for recipe in space.singles:
        if recipe[0].name not in space.exact and _may_do(known.of(served(recipe, space.settings[0]))):
            yield Step(like(best, (*learnt, *kept, *recipe)), "the best one, ended in another way")


def _lesson(name: str, seconds: float) -> Spec:
    return Spec(name, {"seconds": seconds})


def _strength(knob: Knob, probe: Row | None, tried: Sequence[Cut], best: Row, space: Space, plan: Plan) -> float | None:
    """How hard to cut next from here: what the probe allows, then half of what was too hard; None when it is done."""
    if tried:
        strength = min(space.strength(one.cut) for one in tried) / 2
    else:
        strength = _after_a_probe(knob, probe, plan)
        if strength < knob.low and _gains(probe, best):
            strength = knob.low
    return round(strength, 3) if strength >= knob.low else None


def _gains(probe: Row | None, best: Row) -> bool:
    if probe is None or probe.speedup is None or best.speedup is None:
        return False
    return probe.speedup.low > WORTH_A_LESSON * best.speedup.high


def _after_a_probe(knob: Knob, probe: Row | None, plan: Plan) -> float:
    """From what a cut lost before learning (`HARDER`); half of it where it could not be made."""
    limit = plan.budget.accuracy_drop
    if probe is None or probe.drop is None or not limit:
        return knob.first / 2
    lost = probe.drop.drop.value / limit
    change = next((change for most, change in HARDER if lost <= most), -0.75)
    strength = knob.first + change * (1 - knob.first if change > 0 else knob.first)
    return min(strength, knob.high)


def _why_cut(name: str, strength: float, base: Recipe, tried: Sequence[Cut], space: Space) -> str:
    if tried:
        return f"{tried[-1].cut} was too hard: half of it"
    if strength == space.cuts[name].low:
        return f"{name} at its gentlest: it gains much, and what it broke may be learnt without it"
    again = "; the cut before it was certified" if space.cuts_in(base) else ""
    return f"{name} takes {units.percent(strength)} of the work away, as what it lost before learning allows{again}"


# ---------------------------------------------------------------------------------------- several cuts at once


def _several_cuts(space: Space, plan: Plan, known: Known, seconds_left: float) -> Iterator[Step]:
    """A proposal for all knobs together, from the original; a few seconds of learning would tell nothing about it."""
    learning_s, limit = _learning_s(seconds_left), plan.budget.accuracy_drop
    known_trials = trials(space, plan, known)
    best = known.winner
    if learning_s is None or learning_s < LEAST_FOR_SEVERAL_S or limit is None or best is None:
        return
    if not 2 <= len(known_trials) < MOST_TRIALS:
        return
    possible = {name: knob for name, knob in space.cuts.items() if name not in inapplicable(space, known)}
    strengths = knobs.proposal(possible, known_trials, plan.seed)
    cuts = tuple(Spec(name, {space.cuts[name].option: value}) for name, value in strengths.items())
    if cuts:
        _, finish = space.split(best.candidate.recipe)
        why = f"proposed from {len(known_trials)} trials of how hard to cut (seed {plan.seed})"
        yield Step(like(best, (*cuts, _lesson(LEARN, learning_s), *finish)), why)


# ---------------------------------------------------------------------------------------- what each step bought


def _steps_of_the_winner(space: Space, known: Known) -> Iterator[Step]:
    """The winner's recipe, cut off after each of its steps, in the winner's setting; and elsewhere as it is."""
    winner = known.winner
    if winner is None or not winner.candidate.recipe:
        return
    recipe, setting = winner.candidate.recipe, winner.candidate.setting
    for steps in range(len(recipe)):
        yield Step(served(recipe[:steps], setting), f"to tell what step {steps + 1} of the best bought", whole=True)
    for other in space.settings:
        if space.cuts_in(recipe) or _promising(other, space, known):
            yield Step(served(recipe, other), "the best one in other settings")
