"""A model on paper, on every machine of the price book: how many it takes, and what that costs a month.

    offers ─▶ ways to hold the model ─▶ pace at each batch ─▶ least copies ─▶ whole instances ─▶ bill ─▶ in order

Every time here is projected, and may be off by `BAND` either way. So a fleet is sized with times at the slow end, and
the bill at the fast end stands beside it. A limit that holds at the fast end only is undecided, never met.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from costopt import units
from costopt.distributing.deployments import BATCHES, Deployments, Way, deployments, precision_of
from costopt.distributing.pace import Pace, pace
from costopt.distributing.paper_asked import PaperAsked
from costopt.distributing.replicas import MOST_COPIES, Limits, Served, least_copies
from costopt.judging.cost import MILLION, SECONDS_PER_HOUR
from costopt.planning import bills
from costopt.planning.places import BAND
from costopt.pricing.offers import Offer

Verdict = Literal["meets", "undecided", "impossible", "can't run"]

VERDICTS: tuple[Verdict, ...] = ("meets", "undecided", "impossible", "can't run")
"""In the order in which rows are shown."""

_TOO_MANY = f"over {units.count(MOST_COPIES)} copies would be needed"

SLOW, AS_PROJECTED, FAST = 1 + BAND, 1.0, 1 - BAND
"""What projected times are multiplied with."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Enough machines for the busiest time, were times `factor` of the projected ones; `pace` has them as projected.

    `served` has the promised percentile at that factor. `month_usd` is the bill of `instances` and `spare`, with
    egress where the traffic file has it.
    """

    way: Way
    pace: Pace
    served: Served
    instances: int
    spare: int
    month_usd: float
    factor: float


@dataclass(frozen=True, slots=True)
class Miss:
    """A limit that even the quickest way misses at the fast end: its name, the time there and the limit, in seconds."""

    name: str
    seconds: float
    limit_s: float

    @property
    def times(self) -> float:
        """How many times too slow."""
        return self.seconds / self.limit_s

    @property
    def words(self) -> str:
        """`TTFT 12.3 ms at the fast end, the limit 5 ms`."""
        limit = units.given(1e3 * self.limit_s)
        return f"{self.name} {units.ms(1e3 * self.seconds)} ms at the fast end, the limit {limit} ms"


@dataclass(frozen=True, slots=True)
class PaperRow:
    """A machine and what it would take. `fleet` is the one that a bill is for; None where no number is enough.

    It is sized at the slow end of the band; of undecided rows at the projected times, or else at the fast end.
    `low_usd` is the month's bill at the fast end. `miss` tells why a row is impossible.
    """

    found: Deployments
    verdict: Verdict
    words: str = ""
    fleet: Fleet | None = None
    low_usd: float | None = None
    miss: Miss | None = None

    @property
    def offer(self) -> Offer:
        """The machine."""
        return self.found.offer

    @property
    def key(self) -> tuple[int, float, float, str]:
        """Verdict, bill (without one: how far off), then the faster; the name only breaks ties."""
        off = self.found.short if self.miss is None else self.miss.times
        usd = off if self.fleet is None else float(f"{self.fleet.month_usd:.12g}")
        seconds = math.inf if self.fleet is None else self.fleet.pace.seconds_per_request
        return VERDICTS.index(self.verdict), usd, seconds, self.offer.instance


@dataclass(frozen=True, slots=True)
class Paper:
    """The whole answer: every machine that something is known of, in order; the choice is the first that meets.

    `alike` are those whose bills may be the choice's as well, on other chips.
    """

    asked: PaperAsked
    rows: tuple[PaperRow, ...]
    choice: PaperRow | None
    alike: tuple[PaperRow, ...]


def on_all(asked: PaperAsked, offers: Sequence[Offer]) -> Paper:
    """The plan for these machines."""
    rows = tuple(sorted((row(asked, one) for one in offers), key=lambda one: one.key))
    choice = rows[0] if rows and rows[0].verdict == "meets" else None
    alike = () if choice is None else tuple(one for one in rows if one is not choice and _alike(one, choice))
    return Paper(asked, rows, choice, alike)


def row(asked: PaperAsked, offer: Offer) -> PaperRow:
    """One machine, sized and judged."""
    found = deployments(offer, asked.workload)
    if not found.ways:
        return PaperRow(found, "can't run", found.why)
    fast = fleet(asked, found, FAST)
    if fast is None:
        missed = worst_miss(asked, found)
        return PaperRow(found, "impossible", _TOO_MANY if missed is None else missed.words, miss=missed)
    slow = fleet(asked, found, SLOW)
    sized = slow or fleet(asked, found, AS_PROJECTED) or fast
    if slow is None:
        ported = f"; another toolchain ({found.toolchain})" if found.toolchain else ""
        return PaperRow(found, "undecided", _within(offer, sized) + ported, sized, fast.month_usd)
    doubt = _doubt(asked, found)
    if doubt:
        return PaperRow(found, "undecided", f"{doubt}{_measure(offer, sized)}", sized, fast.month_usd)
    return PaperRow(found, "meets", "", sized, fast.month_usd)


def _doubt(asked: PaperAsked, found: Deployments) -> str:
    """Why the band can't be relied on there, to be followed by what measuring costs; empty where it can."""
    if found.toolchain:
        return f"another toolchain ({found.toolchain}): port it and "
    kind = None if found.carried is None else found.carried.chip.kind
    if kind == "cpu" and precision_of(asked.workload) != "fp32":
        return "only fp32 was held against measurements on a processor: plan with --bits 32, or "
    return ""


# ---------------------------------------------------------------------------------------- sizes


def fleet(asked: PaperAsked, found: Deployments, factor: float) -> Fleet | None:
    """The cheapest fleet that keeps the limits, were times `factor` of the projected; None where none does."""
    fleets = (one for way in found.ways for one in _fleets(asked, found, way, factor))
    return min(fleets, key=lambda one: (one.month_usd, one.way.spread.chips, one.pace.batch), default=None)


def _fleets(asked: PaperAsked, found: Deployments, way: Way, factor: float) -> Iterator[Fleet]:
    traffic = asked.traffic
    for batch in _batches(asked, way):
        projected = pace(asked.workload, way, batch)
        one = least_copies(projected.times(factor), traffic.demand.peak_per_s, asked.limits, way.copies)
        if one is not None:
            instances = one.copies // way.copies * way.spread.machines
            spare = traffic.spare * way.spread.machines
            yield Fleet(
                way, projected, one, instances, spare, _month_usd(asked, found.offer, instances + spare), factor
            )


def _batches(asked: PaperAsked, way: Way) -> tuple[int, ...]:
    """One at a time where the first pass is the answer: nothing is shared by waiting for others."""
    return tuple(one for one in BATCHES if one <= way.most) if asked.workload.answer_tokens else (1,)


def _month_usd(asked: PaperAsked, offer: Offer, instances: int) -> float:
    traffic = asked.traffic
    mean_per_s = traffic.demand.mean_per_s
    return bills.bill(instances, offer.usd_per_hour, mean_per_s, traffic.egress, traffic.hours_per_month).usd


# ---------------------------------------------------------------------------------------- verdicts


def _alike(one: PaperRow, choice: PaperRow) -> bool:
    """Whether the bills' ranges overlap.

    On equal chips in equal number a wrong projection is wrong for both alike: there, whether the other is cheaper at
    the fast end, because its instances come in smaller steps.
    """
    if one.verdict != "meets" or one.fleet is None or choice.fleet is None:
        return False
    if one.low_usd is None or choice.low_usd is None:
        return False
    here, there = one.fleet.way.spread, choice.fleet.way.spread
    if (here.chip, here.chips, here.machines) == (there.chip, there.chips, there.machines):
        return one.low_usd < choice.low_usd
    return one.low_usd <= choice.fleet.month_usd


def _measure(offer: Offer, one: Fleet) -> str:
    machines = one.way.spread.machines
    return f"measure: about {units.usd(machines * offer.usd_per_hour)} (an hour)"


def _within(offer: Offer, one: Fleet) -> str:
    return f"the margin lies within {units.percent(BAND)}; {_measure(offer, one)}"


def worst_miss(asked: PaperAsked, found: Deployments) -> Miss | None:
    """The limit that even the quickest way misses most; None where a request alone keeps all of them."""
    quickest = (_worst(pace(asked.workload, way, 1).times(FAST), asked.limits) for way in found.ways)
    return min((one for one in quickest if one is not None), key=lambda one: one.times, default=None)


def _worst(one: Pace, limits: Limits) -> Miss | None:
    first_s = one.prefill_s + one.step_s
    pairs = (
        ("TTFT" if one.answer_tokens else "the pass", first_s, limits.ttft_s),
        ("TPOT", one.tpot_s, limits.tpot_s),
        ("the whole answer", first_s + one.answer_tokens * one.tpot_s, limits.whole_s),
    )
    misses = [Miss(name, seconds, most) for name, seconds, most in pairs if most is not None and seconds > most]
    return max(misses, key=lambda miss: miss.times, default=None)


# ---------------------------------------------------------------------------------------- per million


@dataclass(frozen=True, slots=True)
class Million:
    """US dollars per million requests, and per million tokens of prompts and of answers apart.

    `answer_usd` is None where the first pass is the answer.
    """

    requests_usd: float
    prompt_usd: float
    answer_usd: float | None


def saturated(offer: Offer, way: Way, one: Pace) -> Million:
    """On machines that never idle.

    A copy's price an hour / 3600, times the chips' seconds: per request `seconds_per_request`, per prompt token
    prefill / prompt tokens, per answer token step(b) / b; all * 10^6. Times are as projected.
    """
    usd_per_s = offer.usd_per_hour * way.spread.machines / way.copies / one.stages / SECONDS_PER_HOUR
    return Million(
        requests_usd=MILLION * usd_per_s * one.seconds_per_request,
        prompt_usd=MILLION * usd_per_s * one.prefill_s / one.prompt_tokens,
        answer_usd=MILLION * usd_per_s * one.step_s / one.batch if one.answer_tokens else None,
    )


def at_traffic(asked: PaperAsked, row: PaperRow) -> Million | None:
    """The month's bill over the month's requests; prompts and answers share it as they share the chips' time."""
    if row.fleet is None:
        return None
    full = saturated(row.offer, row.fleet.way, row.fleet.pace)
    traffic = asked.traffic
    requests = traffic.demand.mean_per_s * SECONDS_PER_HOUR * traffic.hours_per_month
    times = row.fleet.month_usd / requests * MILLION / full.requests_usd
    answer_usd = None if full.answer_usd is None else times * full.answer_usd
    return replace(
        full, requests_usd=times * full.requests_usd, prompt_usd=times * full.prompt_usd, answer_usd=answer_usd
    )
