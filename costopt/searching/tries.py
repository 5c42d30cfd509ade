"""What to try: listed recipes in every setting, or, for `recipes: auto`, the space that `explore` searches.

The baseline is the original on the CPU provider (or the first one asked for) at the first batch and thread count. What
need not be measured is settled here, with the reason: a provider that is not there, a method that suits another graph.
"""

from dataclasses import dataclass, replace

from costopt import plugins
from costopt.errors import UsageError
from costopt.methods import Offer
from costopt.providers import Provider, clash, installed_builds
from costopt.records import Candidate, Graph, Invalid, Machine, Outcome, Plan, Setting, Skipped, Spec
from costopt.searching.space import LEARN, LESSONS, Space, served


@dataclass(frozen=True)
class Order:
    """Methods in the order in which they are tried: `first` what needs no learning, before anything dear."""

    first: tuple[str, ...]
    then: tuple[str, ...]


PROMISING = {
    "Conv": Order(("int8_static",), ("prune_channels", "drop_layers", "low_rank")),
    "MatMul": Order(
        ("trim_padding", "unfuse", "int8_dynamic"),
        ("int8_static", "drop_layers", "prune_tokens", "prune_channels", "prune_heads", "low_rank"),
    ),
    "Gemm": Order(("int8_static",), ("int8_dynamic", "prune_channels", "low_rank")),
}
"""What to try first, by the operator that holds most of the weights: what gained most on such models (README)."""


@dataclass(frozen=True)
class Tries:
    """The baseline, what else to measure in order, and what need not be measured, with the reason.

    With a `space`, more candidates are found as the run goes on.
    """

    baseline: Candidate
    candidates: tuple[Candidate, ...]
    settled: tuple[Outcome, ...] = ()
    space: Space | None = None


Found = tuple[tuple[Spec, str | None], ...]
"""Providers, each with the reason why it can't work here (None when it can)."""


def found_providers(asked: tuple[Spec, ...] | None) -> Found:
    """The providers to use; when none was asked for, every one that can work here.

    Raises UsageError when none of those asked for can.
    """
    specs = asked or tuple(Spec(name) for name in plugins.names("providers"))
    found = tuple((spec, plugins.make("providers", spec, Provider).missing()) for spec in specs)
    if asked is None:
        return tuple((spec, reason) for spec, reason in found if reason is None)
    if all(reason is not None for _, reason in found):
        reasons = "; ".join(f"{spec.name}: {reason}" for spec, reason in found)
        raise UsageError(f"none of the providers can work here ({reasons}). Add cpu, which is always there.")
    return found


def clash_note() -> tuple[str, ...]:
    """That several packages overwrite each other's ONNX Runtime, if they do: providers may be missing for it."""
    found = clash(installed_builds())
    return () if found is None else (f"{found[0]}; {found[1]}",)


def first_provider(providers: Found) -> Spec:
    """The CPU provider, or the first that is here: the baseline's."""
    present = [spec for spec, reason in providers if reason is None]
    return next((spec for spec in present if spec.name == "cpu"), present[0])


def baseline_of(plan: Plan, providers: Found, here: Machine) -> Candidate:
    """The original on the CPU provider (or the first that is here), at the first batch and thread count."""
    return served((), Setting(first_provider(providers), plan.batch[0], (plan.threads or (here.cores,))[0]))


def what_to_try(plan: Plan, graph: Graph, offers: tuple[Offer, ...], providers: Found, here: Machine) -> Tries:
    """The baseline first; then listed recipes in every setting, or the space for `recipes: auto`.

    Raises UsageError for a batch that the model does not take.
    """
    baseline = baseline_of(plan, providers, here)
    settings = _settings(plan, graph, baseline, providers, here)
    absent = tuple(_absent(spec, reason, settings[0]) for spec, reason in providers if reason is not None)
    if plan.recipes is not None:
        listed = [served(recipe, setting) for recipe in ((), *filter(None, plan.recipes)) for setting in settings]
        return Tries(baseline, tuple({one.id: one for one in listed}.values()), absent)
    unsuitable = tuple(
        Skipped(served((Spec(one.name),), settings[0]), one.unsuitable) for one in offers if one.unsuitable is not None
    )
    return Tries(baseline, (baseline,), (*unsuitable, *absent), _space(graph, offers, baseline, settings))


def _settings(plan: Plan, graph: Graph, baseline: Candidate, providers: Found, here: Machine) -> tuple[Setting, ...]:
    """How a model can be served here, the baseline's way first; a provider's settings stand together, by batch."""
    threads, batches = plan.threads or (here.cores,), _batches(plan, graph)
    present = [spec for spec, reason in providers if reason is None]
    found = [Setting(spec, batch, count) for batch in batches for spec in present for count in threads]
    return (baseline.setting, *(one for one in found if one != baseline.setting))


def _absent(provider: Spec, reason: str, like: Setting) -> Invalid:
    return Invalid(served((), replace(like, provider=provider)), f"{provider.name} can't work here", reason)


def _space(graph: Graph, offers: tuple[Offer, ...], baseline: Candidate, settings: tuple[Setting, ...]) -> Space:
    order = _promising(graph)
    suitable = [one for one in _promising_first(offers, order) if one.unsuitable is None]
    singles = [(Spec(one.name, options),) for one in suitable if one.alone for options in one.automatic]
    names = frozenset(one.name for one in suitable)
    return Space(
        baseline=baseline,
        settings=settings,
        singles=tuple(singles),
        cuts={one.name: one.knob for one in suitable if one.knob is not None and LEARN in names},
        exact=frozenset(one.name for one in suitable if one.exact),
        modules=frozenset(one.name for one in suitable if one.on_modules),
        lessons=names & LESSONS,
        promising=max(1, sum(recipe[0].name in order.first for recipe in singles)),
    )


def _promising_first(offers: tuple[Offer, ...], order: Order) -> list[Offer]:
    names = (*order.first, *order.then)
    return sorted(offers, key=lambda one: names.index(one.name) if one.name in names else len(names))


def _promising(graph: Graph) -> Order:
    held = graph.parameters_by_operator
    return PROMISING[max(PROMISING, key=lambda operator: held.get(operator, 0))]


def _batches(plan: Plan, graph: Graph) -> tuple[int, ...]:
    """The batches to measure. Raises UsageError when the model's batch is fixed and another one is asked for."""
    fixed = {one.shape[0] for one in graph.inputs if one.shape and isinstance(one.shape[0], int)}
    if not fixed or set(plan.batch) <= fixed:
        return plan.batch
    only = ", ".join(str(size) for size in sorted(fixed, key=str))
    raise UsageError(
        f"batch: the model takes batches of {only} only, and the budget file asks for "
        f"{', '.join(map(str, plan.batch))}. Write `batch: [{only}]`, or export the model with a dynamic first axis "
        "(torch.export.export(..., dynamic_shapes={name: {0: torch.export.Dim.DYNAMIC}}))."
    )
