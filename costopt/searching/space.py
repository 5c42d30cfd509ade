"""What there is to try, and how recipes are put together from it: the ground that `explore` walks.

recipe = what works on modules (cuts, and the lessons that mend them) + what ends it (quantisers, files)
"""

from collections.abc import Mapping
from dataclasses import dataclass

from costopt.methods import Knob
from costopt.records import Candidate, Recipe, Setting, Spec

LEARN = "distill"
"""The method that mends what a cut broke."""

LEARN_ROUNDED = "qat"
"""The method that mends what rounding will break, before it does."""

LESSONS = frozenset({LEARN, LEARN_ROUNDED})

ROUNDED = frozenset({"int8_static", "nncf_int8", "mixed_precision"})
"""Quantisers whose rounding `LEARN_ROUNDED` imitates."""


@dataclass(frozen=True, slots=True)
class Space:
    """What there is to try.

    `settings` are where and how a model can be served, the baseline's first. `singles` are recipes that need no
    learning, the first `promising` of them worth trying before anything dear; `cuts` are the methods that do need it,
    each with its knob: none when the model gives no modules to cut. `exact` are those of the methods that change
    outputs by rounding alone, `modules` those that work on modules, `lessons` those that learn.
    """

    baseline: Candidate
    settings: tuple[Setting, ...]
    singles: tuple[Recipe, ...]
    cuts: Mapping[str, Knob]
    exact: frozenset[str] = frozenset()
    modules: frozenset[str] = frozenset()
    lessons: frozenset[str] = frozenset({LEARN})
    promising: int = 1

    def split(self, recipe: Recipe) -> tuple[Recipe, Recipe]:
        """What was cut and has learnt, and what comes after the last of it."""
        learning = {*LESSONS, *self.cuts}
        end = max((place + 1 for place, spec in enumerate(recipe) if spec.name in learning), default=0)
        return recipe[:end], recipe[end:]

    def cuts_in(self, recipe: Recipe) -> tuple[Spec, ...]:
        """The steps of a recipe that take something away."""
        return tuple(spec for spec in recipe if spec.name in self.cuts)

    def strength(self, cut: Spec) -> float:
        """How hard a step cuts."""
        value = cut.options[self.cuts[cut.name].option]
        assert isinstance(value, int | float)
        return float(value)

    def with_exact(self, recipe: Recipe, spec: Spec) -> Recipe:
        """The recipe with an exact method as its first step, or as the first one after all that works on modules."""
        place = 0 if spec.name in self.modules else sum(one.name in self.modules for one in recipe)
        return (*recipe[:place], spec, *recipe[place:])


def served(recipe: Recipe, setting: Setting) -> Candidate:
    """A recipe in a setting."""
    provider = setting.provider
    return Candidate(recipe, provider.name, setting.batch, setting.threads, provider.options, setting.session)
