"""What was tried, read back from the judged rows: which cuts were made from where, and what became of them."""

from dataclasses import dataclass

from costopt.records import Candidate, Plan, Recipe, Spec
from costopt.searching import knobs
from costopt.searching.space import LESSONS, Space, served
from costopt.verdict import Report, Row

NEAR_MISS = 2.0
"""A candidate whose drop is under so many times the limit learns once more before the cut is made gentler."""


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


def like(row: Row, recipe: Recipe) -> Candidate:
    """A recipe in the setting of a row."""
    return served(recipe, row.candidate.setting)


# ---------------------------------------------------------------------------------------- cuts


@dataclass(frozen=True, slots=True)
class Cut:
    """A candidate that was cut and has learnt, taken apart: base + `cut` + `lessons` + `finish`."""

    row: Row
    cut: Spec
    lessons: Recipe
    finish: Recipe


def cuts_from(base: Recipe, space: Space, known: Known) -> list[Cut]:
    """Cuts that were made from `base` and have learnt since, in the order in which they were tried."""
    return [cut for candidate in known.order if (cut := _cut_from(base, candidate, space, known)) is not None]


def _cut_from(base: Recipe, candidate: Candidate, space: Space, known: Known) -> Cut | None:
    learnt, finish = space.split(candidate.recipe)
    rest = learnt[len(base) :]
    if learnt[: len(base)] != base or len(rest) < 2 or rest[0].name not in space.cuts:
        return None
    lessons = rest[1:]
    if any(spec.name not in LESSONS for spec in lessons):
        return None
    return Cut(known.rows[candidate.id], rest[0], lessons, finish)


def missed_nearly(row: Row, plan: Plan) -> bool:
    """Whether accuracy alone kept it from the budget, and not by much."""
    limit = plan.budget.accuracy_drop
    if limit is None or row.drop is None or not missed_accuracy_alone(row):
        return False
    return row.drop.drop.value < NEAR_MISS * limit


def missed_accuracy_alone(row: Row) -> bool:
    """Whether it was measured, and accuracy is all that kept it from the budget."""
    if row.status != "measured" or row.drop is None or row.drop.certified is True:
        return False
    return [one.limit for one in row.refusals] == ["accuracy_drop"]


def inapplicable(space: Space, known: Known) -> set[str]:
    """The cuts of which a probe, with nothing learnt after it, has shown that they can do nothing for this model."""
    skipped = (row.candidate.recipe for row in known.rows.values() if row.status == "skipped")
    last = (learnt[-1].name for recipe in skipped if (learnt := space.split(recipe)[0]))
    return {name for name in last if name in space.cuts}


# ---------------------------------------------------------------------------------------- several cuts at once


def trials(space: Space, plan: Plan, known: Known) -> list[knobs.Trial]:
    """What is known of cuts that were made at once, from the original, before all learning."""
    return [trial for candidate in known.order if (trial := _trial(candidate, space, plan, known)) is not None]


def _trial(candidate: Candidate, space: Space, plan: Plan, known: Known) -> knobs.Trial | None:
    row, limit = known.of(candidate), plan.budget.accuracy_drop
    cuts = _cut_at_once(candidate, space)
    if row is None or row.usd is None or row.drop is None or limit is None or not cuts:
        return None
    strengths = {spec.name: space.strength(spec) for spec in cuts}
    return knobs.Trial(strengths, row.usd.relative.value, row.drop.drop.high - limit)


def _cut_at_once(candidate: Candidate, space: Space) -> tuple[Spec, ...]:
    """The cuts of a recipe that are followed by lessons alone; none when it was made in another way."""
    learnt, _ = space.split(candidate.recipe)
    cuts = space.cuts_in(learnt)
    lessons = learnt[len(cuts) :]
    return cuts if learnt[: len(cuts)] == cuts and all(spec.name in LESSONS for spec in lessons) else ()
