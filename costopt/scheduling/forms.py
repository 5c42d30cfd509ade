"""The forms in which a model may stand in a fleet: a way of serving, the machines for it, how many replicas it needs.

A model is served by one way, on machines of one family: all its replicas are alike then, and one queue before them is
M/G/c, which `planning.capacity` knows the limits of. A queue before unlike servers is not, and nothing here pretends
that it is. Sizes of a family mix, because a replica takes the same vCPUs of each. What this excludes - a model half on
one family and half on another - may be cheaper now and then.

Each way has up to two forms: as it was measured, a replica to a machine of just that type; and `projected`, any number
side by side on all sizes of the family, with calls taken to be slower by the whole band. On the measured machine too:
a neighbour was not there when it was measured.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from costopt import units
from costopt.planning.capacity import MOST_LOAD, Capacities
from costopt.planning.places import BAND
from costopt.planning.simulation import requests_for, simulated
from costopt.scheduling.filling import BLOCK_BYTES, Item
from costopt.scheduling.fleet_file import ModelAsked
from costopt.scheduling.sites import Site, Sites, hosts, why_not
from costopt.scheduling.ways import Way, Ways, fastest, misses

Label = Literal["measured", "given", "projected"]

MOST_REPLICAS = 10**5
"""Of one model: more is a mistake in the file, and no list of machines to print."""

_A_FEW = 5
"""Replicas that a check may add to a small number before it is given up."""


@dataclass(frozen=True, slots=True)
class Form:
    """One form of a model: `replicas` keep the promise at the busiest time, with calls slower by `band`.

    `whole` are all vCPUs of its machine where that has an accelerator, which is not shared; else None.
    """

    model: int
    way: Way
    band: float
    hosts: frozenset[int]
    replicas: int
    whole: int | None = None

    @property
    def cores(self) -> int:
        """vCPUs that a replica takes."""
        return self.way.cores if self.whole is None else self.whole

    @property
    def label(self) -> Label:
        """Where its times come from."""
        return "projected" if self.band else "given" if self.way.by_hand else "measured"

    @property
    def item(self) -> Item:
        """What the integer program must know of it."""
        return Item(self.model, self.cores, self.way.blocks, self.replicas, self.hosts)


@dataclass(frozen=True, slots=True)
class Forms:
    """Of one model; where there are none, `why` says which limit keeps it out."""

    found: tuple[Form, ...]
    why: str = ""


def forms(number: int, model: ModelAsked, ways: Ways, where: Sites) -> Forms:
    """All forms of a model that no other beats, in the order of its ways."""
    share = None if model.promise is None else model.promise.share
    sites = where.found
    capacities = Capacities([one.calls_s for one in ways.found], share, batchings=[one.batching for one in ways.found])
    found = [one for place in range(len(ways.found)) for one in _of_way(number, model, ways, place, sites, capacities)]
    if found:
        return Forms(_undominated(found))
    return Forms((), _why(model, ways, where))


def _of_way(
    number: int, model: ModelAsked, ways: Ways, place: int, sites: Sequence[Site], capacities: Capacities
) -> Iterator[Form]:
    way = ways.found[place]
    for band in (0.0, BAND):
        where = hosts(way, sites, band)
        if where and not misses(way, model.promise, band):
            replicas = _replicas(model, way, band, capacities, place)
            if replicas is not None:
                yield Form(number, way, band, where, replicas, _whole(where, sites))


def _whole(where: frozenset[int], sites: Sequence[Site]) -> int | None:
    """A way that was measured beside an accelerator runs on that one type of machine alone (`sites.why_not`)."""
    return next((sites[place].machine.vcpus for place in where if sites[place].accelerated), None)


def _replicas(model: ModelAsked, way: Way, band: float, capacities: Capacities, place: int) -> int | None:
    """The least number that keeps the promise at the busiest time; None above `MOST_REPLICAS`."""
    mean_s = way.mean_s * (1 + band)
    multiple = math.inf if model.promise is None else model.promise.ms / 1e3 / mean_s
    at_work = model.demand.peak_per_s * way.busy_s * (1 + band)

    def enough(replicas: int) -> bool:
        return capacities.load(place, replicas, multiple, 1 + band) * replicas >= at_work

    if at_work / MOST_LOAD > MOST_REPLICAS:
        return None
    high = max(1, math.floor(at_work / MOST_LOAD))
    low = high - 1
    while not enough(high):
        if high >= MOST_REPLICAS:
            return None
        low, high = high, min(2 * high, MOST_REPLICAS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _undominated(found: Sequence[Form]) -> tuple[Form, ...]:
    """Without forms that another beats: as many machines to choose from, no more replicas, vCPUs or memory."""
    kept: list[Form] = []
    for form in found:
        if not any(_beats(one, form) for one in kept):
            kept = [one for one in kept if not _beats(form, one)] + [form]
    return tuple(kept)


def _beats(one: Form, other: Form) -> bool:
    return (
        one.hosts >= other.hosts
        and one.replicas <= other.replicas
        and one.cores <= other.cores
        and one.way.blocks <= other.way.blocks
    )


# ---------------------------------------------------------------------------------------- checked by simulation


def response_ms(form: Form, model: ModelAsked) -> float | None:
    """The promised percentile at the busiest time with just the replicas that are needed, simulated; in ms."""
    if model.promise is None:
        return None
    calls_s = form.way.calls_s * (1 + form.band)
    batching = form.way.batching
    requests = requests_for(form.replicas, batching.size)
    answers = simulated(calls_s, model.demand.peak_per_s, form.replicas, requests, batching=batching)
    return 1e3 * answers.percentile_s(model.promise.share)


def checked(form: Form, model: ModelAsked) -> Form | None:
    """The same with as many more replicas as a simulation at the busiest rate turns out to need; None where it takes
    over twice as many: then it isn't the wait that breaks the promise, but calls that come too near to it."""
    most = 2 * form.replicas + _A_FEW
    while model.promise is not None and (response_ms(form, model) or 0.0) > model.promise.ms:
        form = replace(form, replicas=form.replicas + math.ceil(form.replicas / 100))
        if form.replicas > most:
            return None
    return form


# ---------------------------------------------------------------------------------------- why there is none


def _why(model: ModelAsked, ways: Ways, where: Sites) -> str:
    """Which limit keeps a model out of every machine, in words, and the nearest."""
    if not ways.found:
        return f"nothing meets the run's own budget: {'; '.join(ways.refused[:2])}"
    sites = where.found
    somewhere = [way for way in ways.found if any(not why_not(way, site) for site in sites)]
    if not somewhere:
        return _no_machine(ways.found[0], where)
    if model.promise is None:
        return f"over {units.count(MOST_REPLICAS)} replicas would be needed"
    promise, nearest = model.promise, fastest(somewhere)
    limit = f"{promise.name} {units.given(promise.ms)} ms"
    if nearest is None or nearest.seen_s is None:
        return f"{limit}: {misses(somewhere[0], promise, 0.0)}"
    seen_ms = 1e3 * nearest.seen_s
    who = f"{nearest.name} on {nearest.measured_on}, {units.ms(seen_ms)} ms"
    if promise.ms <= seen_ms * (1 - BAND) or (promise.ms <= seen_ms and hosts(nearest, sites, 0.0)):
        return f"{limit}: no machine is fast enough, the nearest, {who}"
    if not misses(nearest, promise, BAND):
        return f"{limit}: over {units.count(MOST_REPLICAS)} replicas would be needed"
    return (
        f"{limit}: undecided: the nearest, {who}, and beside others or on other sizes, {units.percent(BAND)} slower or "
        "faster: measure there"
    )


def _no_machine(way: Way, where: Sites) -> str:
    """The reason of the machine that comes nearest: first one of its family."""
    sites = where.found
    reasons = dict.fromkeys(why_not(way, site) for site in sites)
    own = [why for why in reasons if not why.startswith("another family")]
    if not own and (unusable := next((why for why, names in where.left_out if way.measured_on in names), "")):
        return f"{way.measured_on}: {unusable}"
    if not reasons:
        return "no machine can be priced"
    if not own:
        return f"{next(iter(reasons))}: add {way.measured_on} or its sizes to `machines`, or measure there"
    largest = max((one.machine for one in sites if why_not(way, one) in own), key=lambda one: one.blocks)
    if "memory" in own[-1]:
        takes, has = units.bytes(way.blocks * BLOCK_BYTES), units.bytes(largest.blocks * BLOCK_BYTES)
        return f"memory: a replica takes {takes}, the largest machine, {largest.name}, has {has} for it"
    return own[-1]
