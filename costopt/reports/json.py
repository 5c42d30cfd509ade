"""JSON: the whole report, for other programs. Fields may be added, never renamed; `schema` counts versions.

The report of `compress` is made here, that of `bench` (it has `"kind": "bench"`) in `bench_facts`, where its fields are
listed. Both are strict JSON: what is not known, and what is not finite (the upper end of a speed-up's interval after a
single round), is null.
"""

from dataclasses import asdict, dataclass

from costopt import layer_sheet
from costopt.benching import bench_facts
from costopt.benching.measurements import BenchReport, SensitivityReport
from costopt.json_text import json_text
from costopt.records import Energy, Recipe, Run
from costopt.reports import AnyReport, Render
from costopt.verdict import REPORT_SCHEMA, Bought, Drop, Interval, Latency, Percentile, Quote, Report, Row, Usd

Json_ = dict[str, object]


@dataclass(frozen=True)
class Json(Render):
    """One object, indented, keys in a fixed order."""

    def __call__(self, report: AnyReport, width: int = 100, colour: bool = False) -> str:  # noqa: ARG002
        """The report as one JSON object; there is neither width nor colour here."""
        return json_text(_facts(report))


def _facts(report: AnyReport) -> Json_:
    match report:
        case BenchReport():
            return bench_facts.nested(report)
        case SensitivityReport():
            return layer_sheet.nested(report)
        case Report():
            return _report(report)


def _report(report: Report) -> Json_:
    return {
        "schema": REPORT_SCHEMA,
        "verdict": report.verdict,
        "keep_original": report.keep_original,
        "winner": report.winner,
        "baseline": report.run.baseline,
        "run": report.run.id,
        "headline": report.headline,
        "finished": report.finished,
        "ended": report.run.ended,
        "confidence": report.confidence,
        "nearest": report.nearest,
        "notes": report.notes,
        "bought": [_bought(one) for one in report.bought],
        "candidates": [_candidate(row, report.run.reasons.get(row.candidate.id)) for row in report.rows],
        "price": _price(report.quote),
        **_origin(report.run),
    }


def _bought(one: Bought) -> Json_:
    """What a step of the winner changed: `relative_cost` is after over before, `drop` as in `metric`."""
    return {
        "step": {"name": one.step.name, "options": dict(one.step.options)},
        "relative_cost": one.relative_cost,
        "certain": one.certain,
        "usd_per_million": one.usd_per_million,
        "drop": one.drop,
    }


def _candidate(row: Row, why: str | None) -> Json_:
    """`why` is the search's reason for trying it, null where it was listed; candidates stand in the order of tries."""
    candidate = row.candidate
    return {
        "id": candidate.id,
        "label": candidate.label,
        "recipe": _recipe(candidate.recipe),
        "provider": candidate.provider,
        "batch": candidate.batch,
        "threads": candidate.threads,
        "provider_options": dict(candidate.options),
        "session": dict(candidate.session),
        "status": row.status,
        "reason": row.reason,
        "stage": row.stage,
        "fix": row.fix,
        "latency_ms": _latency(row.latency),
        "throughput_per_s": row.throughput_per_s,
        "speedup": None if row.speedup is None else _interval("ratio", row.speedup),
        "metric": _metric(row.drop),
        "size_bytes": row.size_bytes,
        "peak_memory_bytes": row.peak_memory_bytes,
        "load_s": row.load_s,
        "first_call_s": row.first_call_s,
        "usd_per_million": _usd(row.usd),
        "joules_per_inference": _energy(row.energy),
        "co2_grams_per_million": _co2(row.co2_grams_per_million),
        "placement": dict(row.placement),
        "time_share": dict(row.time_share),
        "operator_share": dict(row.operator_share),
        "precision": row.precision,
        "meets": row.meets,
        "refusals": [asdict(refusal) for refusal in row.refusals],
        "lost": row.lost,
        "why": why,
    }


def _recipe(recipe: Recipe) -> list[Json_]:
    return [{"name": spec.name, "options": dict(spec.options)} for spec in recipe]


def _latency(latency: Latency | None) -> Json_ | None:
    """`p95` is what was seen, `p95_upper` what it stays under at 99 % confidence; null below `needs` samples."""
    if latency is None:
        return None
    by_name: dict[str, Percentile] = {"p50": latency.p50, "p95": latency.p95, "p99": latency.p99}
    return {
        **{name: one.seen_ms for name, one in by_name.items()},
        **{f"{name}_upper": one.upper_ms for name, one in by_name.items()},
        "samples": latency.samples,
        "needs": {name: one.needs for name, one in by_name.items()},
    }


def _interval(name: str, interval: Interval) -> Json_:
    return {name: interval.value, "low": interval.low, "high": interval.high}


def _metric(drop: Drop | None) -> Json_ | None:
    if drop is None:
        return None
    return {
        "name": drop.metric,
        "against": drop.against,
        "value": drop.value,
        **_interval("drop", drop.drop),
        "samples": drop.samples,
        "certified": drop.certified,
        "samples_to_decide": drop.samples_to_decide,
        "scored_as": drop.scored_as or None,
    }


def _usd(usd: Usd | None) -> Json_ | None:
    if usd is None:
        return None
    return {
        "saturated": usd.saturated,
        "at_traffic": usd.at_traffic,
        "instances": usd.instances,
        "relative": _interval("ratio", usd.relative),
    }


def _energy(energy: Energy | None) -> Json_:
    """`label` says how it is known: measured by a counter, or modelled from published power (`source` says whose)."""
    return {"value": None, "label": "not measured"} if energy is None else _modelled(energy)


def _modelled(energy: Energy) -> Json_:
    low, high = energy.ends
    told = {"value": energy.joules_per_inference, "label": energy.label, "source": energy.source}
    return {**told, "low": low, "high": high}


def _co2(grams: Interval | None) -> Json_ | None:
    """Known where the energy is, and the plan says where its electricity comes from."""
    return None if grams is None else _interval("value", grams)


def _price(quote: Quote | None) -> Json_ | None:
    return None if quote is None else asdict(quote)


def _origin(run: Run) -> Json_:
    """What was measured, where and with what: enough to repeat it."""
    machine = run.machine
    return {
        "machine": {
            "cpu": machine.cpu,
            "cores": machine.cores,
            "memory_bytes": machine.memory_bytes,
            "system": machine.system,
            "features": machine.features,
            "fingerprint": machine.fingerprint,
        },
        "versions": dict(run.versions),
        "inputs": dict(run.inputs),
        "model": {"path": run.model, "format": run.format, "size_bytes": run.graph.size_bytes},
        "metric": {"name": run.metric.name, "options": dict(run.metric.options), "against": run.against},
        "parity": None if run.parity is None else asdict(run.parity),
        "seed": run.seed,
        "created": run.created,
    }
