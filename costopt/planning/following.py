"""What following the traffic brings: machines that come and go, sleep, are on spot, or are committed to for a term."""

from collections.abc import Iterator
from dataclasses import dataclass

from costopt import units
from costopt.planning.commitment import Commitment, commitment
from costopt.planning.ranking import Ranking, Row
from costopt.planning.traffic_file import Asked

_ALWAYS = 0.9999
"""Up for more than this share of the time, less than five minutes a month are down."""


@dataclass(frozen=True, slots=True)
class Following:
    """The chosen fleet against itself always up: instances at the quietest, the busiest and on average.

    Scaled to zero, anything is up for the share `up` of the time, and the share `cold` of the requests meets a cold
    start (1 and 0 where that wasn't asked for). `asleep` is False where that would break the promise (`would_be_late`:
    by requests that meet no cold start, since so few of them may be late beside the others), or not pay.
    """

    fewest: int
    most: int
    mean: float
    always_up_usd: float
    saved_usd: float
    up: float
    cold: float
    asleep: bool
    would_be_late: bool


def following(ranking: Ranking, choice: Row, asked: Asked) -> Following | None:
    """None where nothing was asked to follow the traffic."""
    always = ranking.always_up(choice)
    if (asked.autoscaling is None and asked.scale_to_zero is None) or choice.bill is None or always.bill is None:
        return None
    levels, counts = ranking.paid(choice)
    return Following(
        fewest=int(counts[0]),
        most=int(counts[-1]),
        mean=levels.mean(counts),
        always_up_usd=always.bill.usd,
        saved_usd=always.bill.usd - choice.bill.usd,
        up=ranking.up.sleeping.up,
        cold=ranking.up.sleeping.cold,
        asleep=choice.asleep,
        would_be_late=ranking.late_beside_the_cold(choice),
    )


def committed(ranking: Ranking, choice: Row, asked: Asked) -> Commitment | None:
    """Which of the chosen machines to commit to; None where it wasn't asked, or they are on spot."""
    if asked.committed is None or choice.place.spot is not None or choice.instances is None:
        return None
    levels, counts = ranking.paid(choice)
    return commitment(asked.committed, levels, counts, choice.place.usd_per_hour, asked.hours_per_month)


def told(found: Following | None, term: Commitment | None, choice: Row, asked: Asked) -> tuple[str, ...]:
    """The same in sentences without full stops."""
    return (*_scaling(found, asked), *_sleeping(found, asked), *_on_spot(choice), *_term(term, asked))


def _scaling(found: Following | None, asked: Asked) -> Iterator[str]:
    if found is None or asked.autoscaling is None:
        return
    if found.fewest == found.most:
        yield f"autoscaling: {units.count_of(found.most, 'instance')} at any time, so it saves nothing"
        return
    ahead = units.duration(asked.autoscaling.start_up_s)
    between = (
        f"from {units.count(found.fewest)} to {units.count(found.most)} instances, {units.significant(found.mean)}"
    )
    yield f"autoscaling: {between} on average, each started {ahead} ahead; {_saves(found)}"


def _sleeping(found: Following | None, asked: Asked) -> Iterator[str]:
    if found is None or asked.scale_to_zero is None:
        return
    wait = units.duration(asked.scale_to_zero.cold_start_s)
    meet = f"{units.percent(found.cold)} of the requests"
    if found.asleep:
        saves = "" if asked.autoscaling is not None else f"; {_saves(found)}"
        yield f"scaling to zero: up {units.percent(found.up)} of the time, {meet} meet a cold start of {wait}{saves}"
    elif asked.promise is not None and found.cold > 1 - asked.promise.share:
        room, name = units.percent(1 - asked.promise.share), asked.promise.name
        yield f"not scaled to zero: {meet} would meet a cold start of {wait}, and {name} leaves room for {room}"
    elif asked.promise is not None and found.would_be_late:
        yield f"not scaled to zero: with {meet} that meet a cold start, too many of the others would be late"
    elif found.up > _ALWAYS:
        yield f"not scaled to zero: hardly ever is there no request for {units.duration(asked.scale_to_zero.idle_s)}"
    else:
        yield "not scaled to zero: the starts would cost more than they save"


def _saves(found: Following) -> str:
    share = units.percent(abs(found.saved_usd) / found.always_up_usd)
    if found.saved_usd < 0:
        more = f"costs {units.cents(-found.saved_usd)} a month more ({share})"
        return f"{more} than {units.count(found.most)} always up, for what starts pull"
    return f"saves {units.cents(found.saved_usd)} a month ({share}) against {units.count(found.most)} always up"


def _on_spot(choice: Row) -> Iterator[str]:
    spot = choice.place.spot
    if spot is None or choice.mean_paid is None:
        return
    often = units.significant(spot.per_month * choice.mean_paid, 2)
    instead = "a machine on demand stands in" if spot.asked.fallback else "nothing stands in"
    yield f"spot: about {often} interruptions a month, {instead} for {units.duration(spot.asked.restart_s)} each time"


def _term(term: Commitment | None, asked: Asked) -> Iterator[str]:
    if asked.committed is None:
        return
    if term is None:
        yield "committed: the chosen machines are on spot, where no discount is given for a term"
        return
    off, hours = units.percent(asked.committed.discount), units.given(asked.committed.hours)
    needed = f"a machine must be used {units.percent(asked.committed.break_even)} of the time"
    if not term.committed:
        yield f"committed: {off} off for {hours} hours pays for none of {term.machines} instances: {needed}"
        return
    whole = f"{units.count(term.committed)} of {units.count(term.machines)} instances"
    least = f"if the fleet is needed for {units.about(term.least_hours)} of the {hours} hours or more"
    yield (
        f"committed: {off} off for {hours} hours pays for {whole} ({needed}); it saves {units.cents(term.saved_usd)} a "
        f"month more, {least}; not in the bill"
    )
