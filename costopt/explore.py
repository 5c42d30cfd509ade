"""What to try next, and why: the search of `recipes: auto`, one step at a time.

A pure function of what is known. Each step looks at the judged rows so far and names the next candidate, so a run that
was killed goes on where it was, and the same outcomes always give the same order. From cheap to dear:

    1  what is most promising without learning, where the original was measured; what survives that, elsewhere
    2  cut and learn: take a share of the work away, distil, quantise as the best so far does. What the cut loses before
       any learning tells how hard it may be; harder while the budget allows it, gentler when it did not. Each cut
       starts from the best one before it, whose modules lie ready
    3  everything else that needs no learning: alone, and after what was cut and has learnt; and after what is exact
    4  where time is left, several cuts at once, each as hard as `knobs` proposes from all that was tried
    5  the steps of the winner one by one, to tell what each of them bought; the winner in other settings

The best certified candidate is on disk after each step, so the search may end at any time.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from costopt import knobs, units
from costopt.methods import Knob
from costopt.records import Candidate, Plan, Recipe, Report, Row, Setting, Spec

LEARN = "distill"
"""The method that mends what a cut broke."""

WITHIN = 1.25
"""A recipe that the best one beats by more than this at one batch is not tried at others: a judgement. The order of two
recipes seldom turns by more between batches (measured ratios of 1.1 to 1.3 on the shipped CNN, 2026-11)."""

LEARNING_SHARE = 0.6
"""Of the time that is left, for the next learning: one long lesson teaches more than two short ones."""

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

NEAR_MISS = 2.0
"""A candidate whose drop is under so many times the limit learns once more before the cut is made gentler."""


HARDER = ((0.5, 0.6), (1.5, 0.5), (6.0, 0.0), (20.0, -0.5))
"""How hard to cut when a cut at strength s lost so many times the limit before learning: 0.6 of the way from s to 1,
0.5, s itself, half of s; beyond that a quarter. From one model: the shipped CNN lost 0.9 points at half of its work
before learning, and 0.6 with three quarters of it gone and after it (2026-11)."""


@dataclass(frozen=True, slots=True)
class Space:
    """What there is to try.

    `settings` are where and how a model can be served, the baseline's first. `singles` are recipes that need no
    learning, the first `promising` of them worth trying before anything dear; `cuts` are the methods that do need it,
    each with its knob: none when the model gives no modules to cut. `exact` are those of the methods that change
    outputs by rounding alone.
    """

    baseline: Candidate
    settings: tuple[Setting, ...]
    singles: tuple[Recipe, ...]
    cuts: Mapping[str, Knob]
    exact: frozenset[str] = frozenset()
    promising: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """The next candidate, and the reason in words."""

    candidate: Candidate
    why: str


def next_step(space: Space, plan: Plan, report: Report, seconds_left: float) -> Step | None:
    """The next thing to try, or None when there is nothing left that is worth its time."""
    known = Known(report)
    stages = (
        _singles(space, space.singles[: space.promising]),
        _elsewhere(space, space.singles[: space.promising], known),
        _cuts(space, plan, known, seconds_left),
        _singles(space, space.singles),
        _finishes(space, known),
        _after_what_is_exact(space, known),
        _elsewhere(space, space.singles, known),
        _several_cuts(space, plan, known, seconds_left),
        _steps_of_the_winner(space, known),
    )
    return next((step for stage in stages for step in stage if not known.has(step.candidate)), None)


class Known:
    """The judged rows so far."""

    def __init__(self, report: Report) -> None:
        self.rows = {row.candidate.id: row for row in report.rows}
        self.winner = self.rows[report.winner] if report.winner else None
        self.order = [row.candidate for row in report.rows]

    def has(self, candidate: Candidate) -> bool:
        """Whether it was tried already."""
        return candidate.id in self.rows

    def of(self, candidate: Candidate) -> Row | None:
        """Its row, when it was measured."""
        row = self.rows.get(candidate.id)
        return row if row is not None and row.status == "measured" else None


def served(recipe: Recipe, setting: Setting) -> Candidate:
    """A recipe in a setting."""
    provider = setting.provider
    return Candidate(recipe, provider.name, setting.batch, setting.threads, provider.options, setting.session)


# ---------------------------------------------------------------------------------------- without learning


def _singles(space: Space, recipes: Sequence[Recipe]) -> Iterator[Step]:
    home = space.settings[0]
    for recipe in recipes:
        yield Step(served(recipe, home), "it needs no learning")


def _elsewhere(space: Space, recipes: Sequence[Recipe], known: Known) -> Iterator[Step]:
    """Other settings: every provider for what is not refused; other batches and threads for what is near the best."""
    home = space.settings[0]
    for setting in space.settings[1:]:
        first = _first_of(setting.provider, space.settings)
        yield Step(served((), setting), f"the original on {_in_words(setting, home)}")
        for recipe in recipes:
            if first == setting:
                if _may_do(known.of(served(recipe, home))):
                    yield Step(served(recipe, setting), f"not refused on {_in_words(home, home)}")
            elif _near_the_best(recipe, first, space, known):
                yield Step(served(recipe, setting), f"among the best on {_in_words(first, home)}")


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
    rows = [known.of(served(one, where)) for one in ((), *space.singles)]
    best = max((row.speedup.value for row in rows if row is not None and row.speedup and _may_do(row)), default=0.0)
    own = known.of(served(recipe, where))
    return own is not None and _may_do(own) and own.speedup is not None and own.speedup.value * WITHIN >= best


def _after_what_is_exact(space: Space, known: Known) -> Iterator[Step]:
    """The best so far, after each method that gains something for certain and loses nothing."""
    best = known.winner
    if best is None:
        return
    for (spec,) in (recipe for recipe in space.singles if len(recipe) == 1 and recipe[0].name in space.exact):
        row = known.of(served((spec,), best.candidate.setting)) or known.of(served((spec,), space.settings[0]))
        used = {one.name for one in best.candidate.recipe}
        if row is not None and row.speedup is not None and row.speedup.low > 1 and used and spec.name not in used:
            yield Step(
                _like(best, (spec, *best.candidate.recipe)), f"{spec} alone gains {units.ratio(row.speedup.value)}"
            )


# ---------------------------------------------------------------------------------------- cut and learn


@dataclass(frozen=True, slots=True)
class _Cut:
    """A candidate that was cut and has learnt, taken apart: `base` + method at `strength` + learning + `finish`."""

    row: Row
    base: Recipe
    cut: Spec
    finish: Recipe

    def strength(self, cuts: Mapping[str, Knob]) -> float:
        value = self.cut.options[cuts[self.cut.name].option]
        assert isinstance(value, float)
        return value


def _cuts(space: Space, plan: Plan, known: Known, seconds_left: float) -> Iterator[Step]:
    """One more cut from the best so far; a longer lesson for a near miss; a gentler cut for a clear one.

    Without a limit on accuracy nothing is cut: the hardest cut would win, whatever was left of the model.
    """
    learning_s = _learning_s(seconds_left - RESERVE * plan.time_limit_s)
    best = known.winner or known.of(space.baseline)
    if best is None or learning_s is None or plan.budget.accuracy_drop is None:
        return
    base, finish = _split(best.candidate.recipe, space)
    last = _last_from(base, space, known)
    if last is not None and _missed_nearly(last.row, plan) and not _learnt_twice(last):
        recipe = (*base, last.cut, *_lessons(last), _lesson(learning_s), *last.finish)
        yield Step(_like(best, recipe), f"{last.row.candidate.label} missed by little: it learns for longer")
        return
    if len(_split_cuts(base, space)) >= MOST_CUTS:
        return
    for name, knob in space.cuts.items():
        probe = _like(best, (*base, Spec(name, {knob.option: knob.first}), *finish))
        if not known.has(probe):
            yield Step(probe, f"how much {name} loses before any learning")
            return
        strength = _strength(name, knob, known.of(probe), base, space, known, plan)
        if strength is not None:
            cut = Spec(name, {knob.option: strength})
            recipe = (*base, cut, _lesson(learning_s), *finish)
            yield Step(_like(best, recipe), _why_cut(name, strength, base, space, known))
            return


def _learning_s(seconds_left: float) -> float | None:
    """How long the next lesson may take, in whole steps of 5 s; None when it is not worth beginning."""
    seconds = min(LEARNING_SHARE * seconds_left, seconds_left - AROUND_LEARNING_S, LONGEST_LEARNING_S)
    return None if seconds < SHORTEST_LEARNING_S else 5.0 * (seconds // 5)


def _finishes(space: Space, known: Known) -> Iterator[Step]:
    """What was cut and has learnt, ended in other ways."""
    best = known.winner
    learnt, finish = _split(best.candidate.recipe, space) if best is not None else ((), ())
    if best is None or not learnt:
        return
    for recipe in space.singles:
        if recipe != finish and _may_do(known.of(served(recipe, space.settings[0]))):
            yield Step(_like(best, (*learnt, *recipe)), "the best one, ended in another way")


def _lesson(seconds: float) -> Spec:
    return Spec(LEARN, {"seconds": seconds})


def _split(recipe: Recipe, space: Space) -> tuple[Recipe, Recipe]:
    """What was cut and has learnt, and what comes after the last of it."""
    modules = {LEARN, *space.cuts}
    end = max((place + 1 for place, spec in enumerate(recipe) if spec.name in modules), default=0)
    return recipe[:end], recipe[end:]


def _like(row: Row, recipe: Recipe) -> Candidate:
    return served(recipe, row.candidate.setting)


def _from(base: Recipe, space: Space, known: Known) -> list[_Cut]:
    """Cuts that were made from `base`, in the order in which they were tried."""
    found = []
    for candidate in known.order:
        learnt, finish = _split(candidate.recipe, space)
        rest = learnt[len(base) :]
        if learnt[: len(base)] == base and rest and rest[0].name in space.cuts:
            others = {spec.name for spec in rest[1:]}
            if others == {LEARN}:
                found.append(_Cut(known.rows[candidate.id], base, rest[0], finish))
    return found


def _last_from(base: Recipe, space: Space, known: Known) -> _Cut | None:
    return next(reversed(_from(base, space, known)), None)


def _lessons(cut: _Cut) -> Recipe:
    return tuple(spec for spec in cut.row.candidate.recipe[len(cut.base) :] if spec.name == LEARN)


def _learnt_twice(cut: _Cut) -> bool:
    return len(_lessons(cut)) > 1


def _missed_nearly(row: Row, plan: Plan) -> bool:
    limit = plan.budget.accuracy_drop
    if row.status != "measured" or row.drop is None or limit is None or row.drop.certified is True:
        return False
    return [one.limit for one in row.refusals] == ["accuracy_drop"] and row.drop.drop.value < NEAR_MISS * limit


def _strength(
    name: str, knob: Knob, probe: Row | None, base: Recipe, space: Space, known: Known, plan: Plan
) -> float | None:
    """How hard to cut next from here: what the probe allows, then half of what was too hard; None when it is done."""
    tried = [one.strength(space.cuts) for one in _from(base, space, known) if one.cut.name == name]
    strength = min(tried) / 2 if tried else _after_a_probe(knob, probe, plan)
    return round(strength, 3) if strength >= knob.low else None


def _after_a_probe(knob: Knob, probe: Row | None, plan: Plan) -> float:
    """From what a cut lost before learning (`HARDER`); half of it where it could not be made."""
    limit = plan.budget.accuracy_drop
    if probe is None or probe.drop is None or not limit:
        return knob.first / 2
    lost = probe.drop.drop.value / limit
    change = next((change for most, change in HARDER if lost <= most), -0.75)
    strength = knob.first + change * (1 - knob.first if change > 0 else knob.first)
    return min(strength, knob.high)


def _split_cuts(base: Recipe, space: Space) -> list[Spec]:
    return [spec for spec in base if spec.name in space.cuts]


def _why_cut(name: str, strength: float, base: Recipe, space: Space, known: Known) -> str:
    tried = [one for one in _from(base, space, known) if one.cut.name == name]
    if tried:
        return f"{tried[-1].cut} was too hard: half of it"
    again = "; the cut before it was certified" if _split_cuts(base, space) else ""
    return f"{name} takes {units.percent(strength)} of the work away, as what it lost before learning allows{again}"


# ---------------------------------------------------------------------------------------- several cuts at once


def _several_cuts(space: Space, plan: Plan, known: Known, seconds_left: float) -> Iterator[Step]:
    """A proposal for all knobs together, from the original; a few seconds of learning would tell nothing about it."""
    learning_s, limit = _learning_s(seconds_left), plan.budget.accuracy_drop
    trials = _trials(space, plan, known)
    best = known.winner
    if learning_s is None or learning_s < LEAST_FOR_SEVERAL_S or limit is None or best is None:
        return
    if not 2 <= len(trials) < MOST_TRIALS:
        return
    strengths = knobs.proposal(space.cuts, trials, plan.seed)
    cuts = tuple(Spec(name, {space.cuts[name].option: value}) for name, value in strengths.items())
    if cuts:
        _, finish = _split(best.candidate.recipe, space)
        why = f"proposed from {len(trials)} trials of how hard to cut (seed {plan.seed})"
        yield Step(_like(best, (*cuts, _lesson(learning_s), *finish)), why)


def _trials(space: Space, plan: Plan, known: Known) -> list[knobs.Trial]:
    """What is known of cuts that were made at once, from the original, before all learning."""
    return [trial for candidate in known.order if (trial := _trial(candidate, space, plan, known)) is not None]


def _trial(candidate: Candidate, space: Space, plan: Plan, known: Known) -> knobs.Trial | None:
    row, limit = known.of(candidate), plan.budget.accuracy_drop
    learnt, _ = _split(candidate.recipe, space)
    cuts = [spec for spec in learnt if spec.name in space.cuts]
    at_once = bool(cuts) and [spec.name for spec in learnt[len(cuts) :]] == [LEARN] * (len(learnt) - len(cuts))
    if row is None or row.usd is None or row.drop is None or limit is None or not at_once:
        return None
    strengths = {spec.name: float(str(spec.options[space.cuts[spec.name].option])) for spec in cuts}
    return knobs.Trial(strengths, row.usd.relative.value, row.drop.drop.high - limit)


# ---------------------------------------------------------------------------------------- what each step bought


def _steps_of_the_winner(space: Space, known: Known) -> Iterator[Step]:
    """The winner's recipe, cut off after each of its steps, in the winner's setting; and elsewhere as it is."""
    winner = known.winner
    if winner is None or not winner.candidate.recipe:
        return
    recipe, setting = winner.candidate.recipe, winner.candidate.setting
    for steps in range(len(recipe)):
        yield Step(served(recipe[:steps], setting), f"to tell what step {steps + 1} of the best bought")
    for other in space.settings:
        yield Step(served(recipe, other), "the best one in other settings")
