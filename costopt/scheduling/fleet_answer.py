"""The answer of `costopt fleet`: the machines, what stands on each, what that saves, or which limit is in the way.

fleet file ─▶ ways of each model ─▶ forms: replicas needed, machines allowed ─▶ integer program ─▶ layout
                                      ▲                                             │
                                      └──── more replicas where a simulation at ◀───┘
                                            the busiest rate breaks the promise
"""

import datetime
from collections.abc import Sequence
from dataclasses import replace

from costopt.pricing.book import Book
from costopt.scheduling import fleet_words
from costopt.scheduling.fleet_file import FleetAsked
from costopt.scheduling.fleet_records import Packed, Served
from costopt.scheduling.forms import Form, checked, forms, response_ms
from costopt.scheduling.layout import Layout, layout, usd_per_hour
from costopt.scheduling.program import Solution, better_of, each_alone, solve
from costopt.scheduling.routing import response_by_weights_ms
from costopt.scheduling.sites import sites, unusable
from costopt.scheduling.ways import of_model


def packed(asked: FleetAsked, book: Book, today: datetime.date) -> Packed:
    """Pack the models of a fleet file. Raises UsageError for a run that can't be used."""
    ways = [of_model(model, book, today) for model in asked.models]
    where = sites(asked, book)
    unused = unusable([way for each in ways for way in each.found], where.found)
    empty = Packed(asked, where.found, (*where.left_out, *unused))
    found = [forms(number, model, ways[number], where) for number, model in enumerate(asked.models)]
    reasons = tuple(f"{model.name}: {one.why}" for model, one in zip(asked.models, found, strict=True) if not one.found)
    if reasons:
        return replace(empty, headline=reasons[0], reasons=reasons)
    whole = _solved(empty, [one for each in found for one in each.found])
    return replace(whole, notes=tuple(fleet_words.notes(whole, today)))


def _solved(empty: Packed, found: Sequence[Form]) -> Packed:
    """The fleet of the cheapest forms, each checked by simulation; with more replicas where that says so, again."""
    asked = empty.asked
    machines = [one.machine for one in empty.sites]
    while True:
        if lost := [model for number, model in enumerate(asked.models) if all(one.model != number for one in found)]:
            reasons = tuple(fleet_words.too_near(model) for model in lost)
            return replace(empty, headline=reasons[0], reasons=reasons)
        items = [one.item for one in found]
        given = items, machines, len(asked.models), asked.spare, asked.time_limit_s
        alone = each_alone(*given)
        solution = better_of(solve(*given), alone, machines)
        chosen = [None if level is None else found[level.item] for level in solution.levels]
        better = {form: checked(form, asked.models[form.model]) for form in chosen if form is not None}
        if all(form == grown for form, grown in better.items()):
            break
        found = [grown for form in found if (grown := better.get(form, form)) is not None]
    if missing := [model for model, form in zip(asked.models, chosen, strict=True) if form is None]:
        never = [model for model, own in zip(asked.models, alone, strict=True) if own.levels[0] is None]
        reasons = fleet_words.not_placed(missing, never, asked, solution.in_time)
        return replace(empty, headline=reasons[0], reasons=reasons, in_time=solution.in_time)
    groups = layout(solution, items, machines)
    served = [_served(empty, form, alone[form.model], groups) for form in chosen if form is not None]
    usd = usd_per_hour(groups, machines) * asked.hours_per_month
    bound_usd = min(usd, solution.bound_usd_per_hour * asked.hours_per_month)
    return _judged(
        replace(empty, groups=groups, served=tuple(served), usd=usd, bound_usd=bound_usd, in_time=solution.in_time)
    )


def _served(empty: Packed, form: Form, alone: Solution, groups: Layout) -> Served:
    model = empty.asked.models[form.model]
    alone_usd = alone.usd_per_hour * empty.asked.hours_per_month
    return Served(model, form, response_ms(form, model), response_by_weights_ms(form, model, groups), alone_usd)


def _judged(whole: Packed) -> Packed:
    """Whether the bill is within the budget."""
    limit = whole.asked.usd_per_month
    if limit is None or whole.usd <= limit:
        return replace(whole, headline=fleet_words.met(whole))
    words = fleet_words.over_budget(whole, limit)
    return replace(whole, headline=words, reasons=(words,))
