"""A plan as JSON, for other programs. Fields may be added, never renamed; `schema` counts versions."""

from dataclasses import asdict

from costopt.json_text import json_text
from costopt.planning.answer import Compressing, Planned
from costopt.planning.flips import AccuracyFlip, PriceFlip, TrafficFlip
from costopt.planning.ranking import Row
from costopt.planning.traffic_file import Asked
from costopt.powering import energy_facts
from costopt.powering.capping import capping
from costopt.records import Recipe

PLAN_SCHEMA = 1

Facts = dict[str, object]


def written(planned: Planned) -> str:
    """The whole plan as one JSON object, indented, keys in a fixed order; what is not known or not finite is null."""
    return json_text(facts(planned))


def facts(planned: Planned) -> Facts:
    """The plan as plain values."""
    quote, choice = planned.quote, planned.choice
    bill = None if choice is None else choice.bill
    return {
        "schema": PLAN_SCHEMA,
        "kind": "plan",
        "verdict": "not_met" if planned.choice is None else "met",
        "run": planned.run.id,
        "headline": planned.headline,
        "asked": _asked(planned.asked),
        "choice": None if planned.choice is None else _pair(planned.choice),
        "compressing": None if planned.compressing is None else _compressing(planned.compressing),
        "changes": {
            "traffic": [_traffic(one) for one in planned.by_traffic],
            "price": None if planned.by_price is None else _price(planned.by_price),
            "accuracy": [_accuracy(one) for one in planned.by_accuracy],
        },
        "following": None if planned.following is None else asdict(planned.following),
        "commitment": None if planned.commitment is None else asdict(planned.commitment),
        "not_told_apart": [
            {**_pair(one.row), "usd_per_month": {"low": one.least_usd, "high": one.most_usd}}
            for one in planned.not_told_apart
        ],
        "rows": [_row(row) for row in planned.rows],
        "left_out": [{"reason": why, "machines": names} for why, names in planned.left_out],
        "notes": planned.notes,
        "energy": energy_facts.of_power(planned.power, capping(choice, planned.asked, planned.power)),
        "data": energy_facts.of_data(planned.asked.data, None if bill is None else bill.requests),
        "price": {
            "instance": quote.instance,
            "usd_per_hour": quote.usd_per_hour,
            "as_of": quote.as_of,
            "source": quote.source,
        },
        "machine": {"cpu": planned.run.machine.cpu, "cores": planned.run.machine.cores},
    }


def _asked(asked: Asked) -> Facts:
    promise, demand, egress = asked.promise, asked.demand, asked.egress
    return {
        "mean_per_s": demand.mean_per_s,
        "peak_per_s": demand.peak_per_s,
        "from": demand.told,
        "dispersion": demand.dispersion,
        "promise": None if promise is None else {"share": promise.share, "ms": promise.ms},
        "spare": asked.spare,
        "hours_per_month": asked.hours_per_month,
        "egress": None
        if egress is None
        else {"bytes_per_response": egress.bytes_per_response, "usd_per_gb": egress.usd_per_gb},
        "work_usd": asked.work_usd,
        "batching": {"max_wait_ms": 1e3 * asked.max_wait_s},
        "autoscaling": None if asked.autoscaling is None else asdict(asked.autoscaling),
        "scale_to_zero": None if asked.scale_to_zero is None else asdict(asked.scale_to_zero),
        "spot": None if asked.spot is None else asdict(asked.spot),
        "extras": asdict(asked.extras),
        "committed": None if asked.committed is None else asdict(asked.committed),
    }


def _pair(row: Row) -> Facts:
    terms = "" if row.place.spot is None else "spot"
    return {"candidate": row.service.candidate.id, "machine": row.place.instance, "terms": terms}


def _row(row: Row) -> Facts:
    candidate, place, bill = row.service.candidate, row.place, row.bill
    return {
        "candidate": candidate.id,
        "recipe": _recipe(candidate.recipe),
        "provider": candidate.provider,
        "batch": candidate.batch,
        "threads": candidate.threads,
        "machine": place.instance,
        "terms": "" if place.spot is None else "spot",
        "interruptions_per_month": None if place.spot is None else place.spot.per_month,
        "label": place.label,
        "band": place.band,
        "pace": place.pace(candidate.id) if row.is_timed else None,
        "accelerator": place.accelerator,
        "services_per_instance": place.services,
        "verdict": row.verdict,
        "reason": row.words,
        "instances": row.instances,
        "spare": row.spare,
        "instances_paid_on_average": row.mean_paid,
        "busiest_load": row.busiest_load,
        "idle": row.idle,
        "service_ms": {
            "mean": 1e3 * row.service.mean_s,
            "seen": None if row.service.seen_s is None else 1e3 * row.service.seen_s,
            "sure": None if row.service.sure_s is None else 1e3 * row.service.sure_s,
            "samples": row.service.seen,
        },
        "response_ms": row.response_ms,
        "checked_by_simulation": row.checked and row.response_ms is not None,
        "highest_per_s": row.highest_per_s,
        "usd_per_hour": place.usd_per_hour,
        "price_as_of": place.as_of,
        "usd_per_month": None
        if bill is None
        else {
            "total": bill.usd,
            "compute": bill.compute_usd,
            "egress": bill.egress_usd,
            "lines": [{"kind": one.kind, "usd": one.usd, "formula": one.formula} for one in bill.lines],
        },
        "usd_per_million": {
            "saturated": row.saturated,
            "at_promise": row.at_promise,
            "at_traffic": None if bill is None else bill.usd_per_million,
        },
        "energy": energy_facts.of_fleet(row.footprint),
    }


def _recipe(recipe: Recipe) -> list[Facts]:
    return [{"name": spec.name, "options": dict(spec.options)} for spec in recipe]


def _compressing(found: Compressing) -> Facts:
    even = found.even
    return {
        "against": None if found.original is None else _pair(found.original),
        "saved_usd_per_month": found.saved_usd,
        "machine_usd_at_most": found.search.usd,
        "machine_seconds": found.search.seconds if found.search.counted else None,
        "break_even": None if even is None else {"usd": even.usd, "requests": even.requests, "days": even.days},
        "words": found.words,
    }


def _traffic(flip: TrafficFlip) -> Facts:
    return {"mean_per_s": flip.mean_per_s, **_pair(flip.row)}


def _price(flip: PriceFlip) -> Facts:
    return {"factor": flip.factor, **_pair(flip.row)}


def _accuracy(flip: AccuracyFlip) -> Facts:
    pair = None if flip.row is None else _pair(flip.row)
    return {"limit": flip.limit, "looser": flip.looser, "to": pair}
