"""A plan in words: one sentence on top, what compressing brings, and what a reader must know to trust it."""

import datetime
import math
from collections.abc import Iterator, Sequence

from costopt import units
from costopt.measuring import noise_rules
from costopt.planning.bills import BreakEven, Search
from costopt.planning.demand import BURSTY
from costopt.planning.places import BAND, FORETOLD
from costopt.planning.ranking import VERDICTS, Row
from costopt.planning.services import Service
from costopt.planning.traffic_file import Asked
from costopt.pricing import offers
from costopt.pricing.families import maker_of, may_be
from costopt.records import Measured, Outcome, Plan, Run
from costopt.sampling import made_up
from costopt.verdict import Quote


def fleet(row: Row) -> str:
    """`3 aws/c7i.large`, `3 + 1 aws/c7i.large` with a spare one, `up to 3 aws/c7i.large` that follow the traffic."""
    spare = f" + {row.spare}" if row.spare else ""
    up_to = "up to " if _follows(row) else ""
    return f"{up_to}{units.count(row.instances or 0)}{spare} {row.place.name}"


def _follows(row: Row) -> bool:
    """Whether fewer are paid for on average than at the busiest time."""
    return row.mean_paid is not None and not math.isclose(row.mean_paid, row.paid)


def met(choice: Row, asked: Asked) -> str:
    """The choice in one sentence, without a full stop."""
    dollars = units.cents(0.0 if choice.bill is None else choice.bill.usd)
    mean = f", {units.significant(choice.mean_paid or 0.0)} on average" if _follows(choice) else ""
    told = f"{choice.service.name}, served by {fleet(choice)}{mean}, costs {dollars} a month"
    if asked.promise is None or choice.response_ms is None:
        return f"{told}; no latency is promised"
    seen = f"{asked.promise.name} {units.ms(choice.response_ms)} ms"
    return f"{told}; {seen} at the busiest time, the limit {units.given(asked.promise.ms)} ms"


def not_met(rows: Sequence[Row], left_out: Sequence[tuple[str, tuple[str, ...]]], asked: Asked) -> str:
    """Which limit keeps everything out, and by how much the nearest misses it."""
    if not rows:
        why = "; ".join(f"{', '.join(names[:3])}: {reason}" for reason, names in left_out)
        return f"Nothing can be planned: {why}"
    nearest = nearest_of(rows)
    who = f"{nearest.service.name} on {nearest.place.name}"
    match nearest.verdict:
        case "impossible":
            service, limit = nearest.service, 0.0 if asked.promise is None else asked.promise.ms
            call_s = (service.seen_s or 0.0) * nearest.place.pace(service.id)
            alone_ms = 1e3 * (call_s + service.batching.max_wait_s)
            late = f" ({units.ratio(alone_ms / limit)} too slow)" if limit and alone_ms > limit else ""
            return f"Impossible on any number of these machines: the nearest, {who}: {nearest.words}{late}"
        case "undecided":
            return f"Nothing meets this for certain: the nearest, {who}, is undecided ({nearest.words})"
        case _ if nearest.service.meets is True:
            return f"Nothing keeps the limits on energy and CO2: the nearest, {who}: {nearest.words}"
        case _:
            return f"Nothing meets the run's own budget: the nearest, {who}: {nearest.words}"


def nearest_of(rows: Sequence[Row]) -> Row:
    """Of rows none of which meets, the one that might do first."""
    return min(rows, key=_nearness)


def _nearness(row: Row) -> tuple[int, bool, float, object]:
    """Who might do first; of the impossible the fastest, of those that keep the run's own budget if there are any."""
    return VERDICTS.index(row.verdict), row.service.meets is not True, row.service.seen_s or 0.0, row.key


def earned_back(even: BreakEven, search: Search, asked: Asked) -> str:
    """When what was spent on compressing is back: "never", or after so many requests and days."""
    spent = f"{search.words}{' and the work' if asked.work_usd else ''}, {units.usd(even.usd)}"
    if even.requests is None or even.days is None:
        return f"{spent}, is never earned back"
    time = units.about_duration(even.days * 86400) if even.days < 2 else f"{units.significant(even.days, 2)} days"
    return f"{spent}, is earned back after {units.about(even.requests)} requests, {time}"


def saves_nothing(original: Row, rows: Sequence[Row]) -> str:
    """Why a faster model is no cheaper: so many whole machines are needed either way."""
    faster = [row.service for row in rows if row.verdict == "meets" and not row.service.is_original]
    fastest = min(faster, key=lambda one: one.mean_s, default=None)
    if fastest is None or fastest.mean_s >= original.service.mean_s:
        return "nothing that meets this is faster than the original"
    ratio = units.ratio(original.service.mean_s / fastest.mean_s)
    are = "is" if original.paid == 1 else "are"
    idle = units.percent(original.idle or 0.0)
    return (
        f"{ratio} faster saves $0 here, because {fleet(original)} {are} needed either way, and idle {idle} of the time"
    )


# ---------------------------------------------------------------------------------------- notes


def notes(run: Run, plan: Plan, quote: Quote, asked: Asked, rows: Sequence[Row], today: datetime.date) -> Iterator[str]:
    """What a reader must know to trust a plan; `rows` in order."""
    name = quote.instance or "it"
    timed = f"timed on {run.machine.cpu}, {run.machine.cores} cores"
    if may_be(name, run.machine.cpu):
        yield f"measured: {timed}, which the run takes to be {name}"
    else:
        yield f"{timed}, and {name} has a processor of {maker_of(name)}: nothing here was measured on one"
    yield from _about_projections(rows)
    if plan.data.made_up:
        yield made_up.NOTE
    if all(row.service.is_original for row in rows):
        yield "only the original was measured: `costopt compress` finds out what compressing would save"
    yield from _about_traffic(asked)
    yield from _about_batches(asked, rows)
    yield from _about_scaling(asked)
    yield from _about_spot(rows, quote)
    yield from _about_ties(rows)
    yield from _about_price(plan, quote, rows, today)


def _about_projections(rows: Sequence[Row]) -> Iterator[str]:
    """What times that were not measured rest on, and how far they may be off."""
    places = {row.place.instance: row.place for row in rows}.values()
    if any(one.label == "projected" for one in places):
        yield (
            f"projected: services as measured side by side, {units.percent(BAND)} slower or faster; sized for slower. "
            "Measure on the machine before you rent many"
        )
    if any(one.label == "projected" and one.paces for one in places):
        yield (
            "projected onto another processor or accelerator: the time measured here times the proportion of two "
            "rooflines, from peak rates; not held against one by us. `costopt calibrate` there narrows it"
        )
    bands = sorted({one.band for one in places if one.label == "calibrated"})
    if bands:
        off = " or ".join(units.percent(one) for one in bands)
        yield f"calibrated: by the rates that `costopt calibrate` fitted there, {off} slower or faster; {FORETOLD}"


def _about_traffic(asked: Asked) -> Iterator[str]:
    yield (
        "requests come independently of one another within the busiest time and wait in one queue before all "
        "instances; spells in which a machine is slow for seconds are not in it, nor is time on the network"
    )
    dispersion = asked.demand.dispersion
    if dispersion is not None and dispersion > BURSTY:
        yield (
            f"arrivals come in bursts: a second's count has a variance of {units.significant(dispersion, 2)} times its "
            "mean, 1 where they are independent; waits will be longer than planned"
        )


def about_noise(run: Run, outcomes: Sequence[Outcome]) -> Iterator[str]:
    """What disturbed the machine while the original was timed, which no turns with another cancel in its own times."""
    original = next((one for one in outcomes if isinstance(one, Measured) and one.candidate.id == run.baseline), None)
    noise = None if original is None else original.timing.noise
    for fault in noise_rules.faults(noise) if noise else ():
        yield f"while the original was timed: {fault.reason}; {fault.fix}"


def _about_batches(asked: Asked, rows: Sequence[Row]) -> Iterator[str]:
    """What is taken for granted of candidates that serve batches, where one can be seen."""
    if any(row.service.batch > 1 for row in rows if row.verdict == "meets"):
        waits = (
            f"waits {units.ms(1e3 * asked.max_wait_s)} ms at most for more"
            if asked.max_wait_s
            else "never waits for more"
        )
        yield (
            f"batches: a free server takes the requests that wait, up to a full batch, and {waits}; a call that is not "
            "full is taken to last as long as a full one was measured to; load is of full batches"
        )


def _about_scaling(asked: Asked) -> Iterator[str]:
    if asked.autoscaling is not None:
        yield (
            "autoscaling: machines are ready when the traffic comes, as with a schedule or a good forecast; one that "
            "only reacts is late by the time that a machine takes to start"
        )
    if asked.scale_to_zero is not None:
        yield (
            "scale to zero: requests come independently of one another within each hour; each that meets a cold start "
            "counts as late"
        )


def _about_spot(rows: Sequence[Row], quote: Quote) -> Iterator[str]:
    """How sure prices and interruptions are, where machines on spot are planned with."""
    on_spot = [row.place for row in rows if row.place.spot is not None]
    if not on_spot:
        return
    yield (
        "spot: machines are taken away one by one here; clouds also take all of a type at once, and then only what is "
        "on demand is left"
    )
    undated = next((one for one in on_spot if not one.as_of and one.source != quote.source), None)
    if undated is not None:
        yield f"spot: the price of {undated.name} is of an undated list: check it"
    if any(one.spot is not None and one.spot.asked.interruptions_per_month is None for one in on_spot):
        yield (
            "spot: interruptions are the upper end of the family's band in AWS's advisor for us-east-1, as of 2025-06; "
            "the open band, over 20 % a month, is read as 40 %"
        )


def _about_price(plan: Plan, quote: Quote, rows: Sequence[Row], today: datetime.date) -> Iterator[str]:
    others = any(row.place.instance != quote.instance for row in rows)
    if plan.price is not None and plan.price.name != "table" and others:
        terms = "" if any(row.place.spot is not None for row in rows) else ", on demand"
        yield f"the price of {quote.instance} is the budget file's, those of other sizes the price book's{terms}"
    if quote.note:
        yield quote.note
    age_days = offers.age_days(quote.as_of, today)
    if age_days is not None and age_days > offers.OLD_AFTER_DAYS:
        yield f"the price of {quote.instance} is of {quote.as_of}, {age_days} days old: check it"


def _about_ties(rows: Sequence[Row]) -> Iterator[str]:
    """Who else has the first row's bill, and why that one comes first."""
    choice = rows[0] if rows and rows[0].verdict == "meets" else None
    if choice is None:
        return
    equal: dict[str, Service] = {
        row.service.id: row.service
        for row in rows
        if row.verdict == "meets" and row.key[0] == choice.key[0] and row.service is not choice.service
    }
    if not equal:
        return
    others = list(equal.values())
    reason = (
        "simplest" if all(one.complexity > choice.service.complexity for one in others) else "simplest, then the faster"
    )
    yield f"the bill is the same with {units.count_of(len(others), 'other candidate')}: the {reason} was chosen"
