"""A fleet in words: the answer in a sentence, the limit that is in the way, and what a reader must know to trust it."""

import datetime
from collections.abc import Iterator, Sequence

from costopt import units
from costopt.planning.demand import BURSTY
from costopt.planning.places import BAND
from costopt.pricing import offers
from costopt.scheduling.fleet_file import FleetAsked, ModelAsked
from costopt.scheduling.fleet_records import Packed, Served
from costopt.scheduling.ways import PROCESS_BYTES

_CENT = 0.005

_ROUNDING = 1e-6
"""A gap smaller than this share of the bill is the solver's own rounding (`columns.FEWER`, `program.EXACT_GAP`)."""


def met(packed: Packed) -> str:
    """The answer, without a full stop."""
    machines = sum(group.count for group in packed.groups)
    told = f"{units.count_of(len(packed.served), 'model')} on {units.count_of(machines, 'machine')}"
    saved = packed.alone_usd - packed.usd
    alone = "as much as each on machines of its own"
    if saved >= _CENT:
        share = units.percent(saved / packed.alone_usd)
        alone = f"{units.cents(saved)} ({share}) less than each on machines of its own"
    beside = f", {alone}" if len(packed.served) > 1 else ""
    return f"{told} cost {units.cents(packed.usd)} a month{beside}"


def gap(packed: Packed) -> str:
    """How far the bill may lie above that of the cheapest fleet of this kind."""
    if _is_least(packed):
        return "no fleet of this kind costs less"
    share = units.percent(1 - packed.bound_usd / packed.usd)
    stopped = "" if packed.in_time else f"; stopped at {units.duration(packed.asked.time_limit_s)}: raise `time_limit`"
    return f"no fleet of this kind costs less than {units.cents(packed.bound_usd)}, {share} below{stopped}"


def _is_least(packed: Packed) -> bool:
    return packed.usd - packed.bound_usd < max(_CENT, 2 * _ROUNDING * packed.usd)


def over_budget(packed: Packed, limit_usd: float) -> str:
    """By how much the cheapest fleet misses the budget, or that a cheaper one was not found."""
    told = f"budget {units.given(limit_usd)} USD/month: the cheapest fleet"
    if _is_least(packed):
        return f"{told} costs {units.cents(packed.usd)}"
    found = f"{told} that was found costs {units.cents(packed.usd)}"
    if packed.bound_usd > limit_usd:
        return f"{found}, and none costs less than {units.cents(packed.bound_usd)}"
    return f"{found}; whether one within the budget exists is not known: raise `time_limit`, or the budget"


def not_placed(
    missing: Sequence[ModelAsked], never: Sequence[ModelAsked], asked: FleetAsked, in_time: bool
) -> tuple[str, ...]:
    """That there are too few machines for some models; `never` are those that have no place even by themselves."""
    limits = ", ".join(f"{name} {units.count(most)}" for name, most in asked.max_instances.items())
    told = f"max_instances ({limits}): too few machines"
    if not in_time:
        told = f"max_instances ({limits}): in {units.duration(asked.time_limit_s)} no place was found"
    first = sorted(missing, key=lambda model: model not in never)
    return tuple(
        f"{model.name}: {told} for it{', even by itself' if model in never else ' beside the others'}"
        for model in first
    )


def too_near(model: ModelAsked) -> str:
    """That the promise lies so near to the calls themselves that simulations don't keep it for certain."""
    limit = "" if model.promise is None else f"{model.promise.name} {units.given(model.promise.ms)} ms: "
    return f"{model.name}: {limit}undecided: its calls alone come too near to that for any number of replicas"


def notes(packed: Packed, today: datetime.date) -> Iterator[str]:
    """What a reader must know to trust a fleet."""
    yield from dict.fromkeys(f"{one.asked.name}: {one.form.way.told}" for one in packed.served)
    if any(one.form.band for one in packed.served):
        yield (
            "projected: replicas side by side on any size of the family that the run or `measured_on` names, taken to "
            f"be {units.percent(BAND)} slower than measured alone; measure them together before you rent many"
        )
    yield (
        "each model is sized for its own busiest time, all at once; its requests come independently of one another and "
        "wait in one queue before all its replicas, which a balancer comes near to by sending each to the machine with "
        "the fewest open requests"
    )
    if any(one.form.way.batching.size > 1 for one in packed.served):
        yield (
            "batches: a free replica takes the requests that wait, up to a full batch, and never waits for more; a "
            "call that is not full is taken to last as long as a full one was measured to; load is of full batches"
        )
    yield from _about_weights(packed.served)
    yield from _about_bursts(packed.served)
    yield (
        f"memory: the peak that was measured and {units.bytes(PROCESS_BYTES)} for the process (by hand: as given), in "
        "blocks of 128 MiB; half a GiB of each machine is left to its system"
    )
    yield from _about_prices(packed, today)


def _about_weights(served: Sequence[Served]) -> Iterator[str]:
    for one in served:
        promise = one.asked.promise
        if promise is not None and one.by_weights_ms is not None and one.by_weights_ms > promise.ms:
            yield (
                f"{one.asked.name}: dealt out at random by the weights alone, {promise.name} would be "
                f"{units.ms(one.by_weights_ms)} ms, over its limit of {units.given(promise.ms)} ms: use weighted least "
                "connections"
            )


def _about_bursts(served: Sequence[Served]) -> Iterator[str]:
    for one in served:
        dispersion = one.asked.demand.dispersion
        if dispersion is not None and dispersion > BURSTY:
            yield (
                f"{one.asked.name}: arrivals come in bursts: a second's count has a variance of "
                f"{units.significant(dispersion, 2)} times its mean, 1 where they are independent; waits will be longer"
            )


def _about_prices(packed: Packed, today: datetime.date) -> Iterator[str]:
    used = [packed.sites[group.machine].quote for group in packed.groups]
    for quote in {one.instance: one for one in used}.values():
        age_days = offers.age_days(quote.as_of, today)
        if quote.note:
            yield quote.note
        if age_days is not None and age_days > offers.OLD_AFTER_DAYS:
            yield f"the price of {quote.instance} is of {quote.as_of}, {age_days} days old: check it"
