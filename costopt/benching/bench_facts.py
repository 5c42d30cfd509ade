"""The report of `bench` for other programs: nested for JSON, flat for CSV. Fields may be added, never renamed.

The JSON object, where `INTERVAL` is {"value", "low", "high"} at `confidence`:

    {"schema": 1, "kind": "bench", "run": "…", "headline": "…", "finished": true, "holds": true | false | null,
     "scenario": {"name", "options"}, "feed": {"words", "random"}, "confidence": 0.95, "precision": 0.02,
     "baseline": ID, "notes": ["…"], "seed", "pinned", "created", "machine": {…}, "versions": {…},
     "rows": [{"id", "model", "path", "sha256", "size_bytes", "engine", "provider": {"name", "options"}, "batch",
       "threads", "session": {…}, "status": "measured | failed | invalid | not yet", "reason", "stage", "fix",
       "latency_ms": {"per": "call | query", "p50", "p90", "p95", "p99",           # as seen
          "p50_upper", …,                                                        # stays under it at 99 % confidence
          "samples", "needs": {"p50", …}},                                       # null below so many samples
       "speedup": {"ratio", "low", "high", "told_apart", "rounds", "stopped": "precision | time | rounds",
          "seconds_to_tell", "wide_because": ["…"], "slow_rounds"},                # per inference, against the baseline
       "outliers": {"count", "calls", "slowest_ms"},
       "offline": {"samples_per_s": INTERVAL, "best": TRY, "tries": [TRY]},
          # TRY: {"instances", "threads", "batch", "samples_per_s": INTERVAL, "windows_samples_per_s": [raw]}
       "server": {"bound_ms", "holds": RATE | null, "fails": RATE | null, "rates": [RATE]},
          # RATE: {"rate_per_s", "batching": {"max_batch", "max_wait_ms"}, "p50_ms", "p99_ms", "p99_upper_ms",
          #        "late_share": INTERVAL, "holds", "throughput_per_s", "goodput_per_s", "utilisation", "requests"}
       "load_s", "first_call_s", "peak_memory_bytes", "computes_in": "float32 | bfloat16 | …" | null,
       "placement": {"nodes": {provider: count}, "seconds": {provider: s}, "fallen_back": ["…"]},
       "warm_up": {"calls", "seconds", "settled"}, "joules_per_inference": {"value", "label", "source"}, "notes"}]}

What the scenario does not measure, or was not measured, is null. Latencies are per call of `batch` inferences, per
query, or (in `server`) per request; nothing else is.
"""

from collections.abc import Mapping
from dataclasses import asdict

from costopt import sheets
from costopt.benching import bench_columns
from costopt.benching.measurements import BENCH_SCHEMA, BenchReport, BenchRow, Comparison, Contender, Energy, Try, Whole
from costopt.timings import Opened
from costopt.verdict import Interval, Latency

Facts = dict[str, object]
Fields = dict[str, str | int | float | bool | None]

COLUMNS = (
    "id", "model", "engine", "provider", "provider_options", "batch", "threads", "session", "status", "verdict",
    "scenario", "random_inputs",
    "latency_per", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "latency_samples", "outliers", "slowest_ms",
    "speedup", "speedup_low", "speedup_high", "told_apart", "rounds", "stopped", "seconds_to_tell",
    "samples_per_s", "samples_per_s_low", "samples_per_s_high", "best_instances", "best_threads", "best_batch",
    "bound_ms", "holds_rate_per_s", "fails_rate_per_s",
    "rate_per_s", "max_batch", "max_wait_ms", "request_p50_ms", "request_p99_ms", "request_p99_upper_ms",
    "late_share", "late_share_low", "late_share_high", "goodput_per_s", "throughput_per_s", "utilisation", "requests",
    "size_bytes", "peak_memory_bytes", "load_s", "first_call_s", "computes_in", "share_of_asked_provider",
    "warm_up_settled", "joules_per_inference_measured", "joules_per_inference_modelled",
    "stage", "reason", "fix", "notes",
)  # fmt: skip
"""Of the CSV. The figures from `rate_per_s` to `requests` are those of the rate that the table shows: the highest that
holds, else the lowest that does not."""


def nested(report: BenchReport) -> Facts:
    """The JSON object of the module's first words; numbers that are not finite are still in it."""
    run = report.run
    return {
        "schema": BENCH_SCHEMA,
        "kind": "bench",
        "run": run.id,
        "headline": report.headline,
        "finished": report.finished,
        "holds": report.holds,
        "scenario": {"name": run.scenario.name, "options": dict(run.scenario.options)},
        "feed": asdict(run.feed),
        "confidence": run.confidence,
        "precision": run.precision,
        "baseline": run.baseline.id,
        "notes": list(dict.fromkeys((*run.notes, *report.notes))),
        "rows": [_row(row, report) for row in report.rows],
        "seed": run.seed,
        "pinned": run.pinned,
        "created": run.created,
        "machine": {**asdict(run.machine), "fingerprint": run.machine.fingerprint},
        "versions": dict(run.versions),
    }


def _row(row: BenchRow, report: BenchReport) -> Facts:
    return {
        **_contender(row.contender),
        "status": row.status,
        "reason": row.reason or None,
        "stage": row.stage or None,
        "fix": row.fix or None,
        "latency_ms": None if row.latency is None else _latency(row.latency, report),
        "speedup": None if row.comparison is None else _speedup(row.comparison),
        "outliers": None if row.outliers is None else asdict(row.outliers),
        "offline": None if row.whole is None else _offline(row.whole),
        "server": None if row.server is None else asdict(row.server),
        **_opened(row.opened),
        "warm_up": None if row.warm_up is None else asdict(row.warm_up),
        "joules_per_inference": None if row.energy is None else _energy(row.energy),
        "notes": list(row.notes),
    }


def _contender(contender: Contender) -> Facts:
    setting = contender.setting
    return {
        "id": contender.id,
        "model": contender.model,
        "path": contender.path,
        "sha256": contender.sha256,
        "size_bytes": contender.size_bytes,
        "engine": contender.engine,
        "provider": {"name": setting.provider.name, "options": dict(setting.provider.options)},
        "batch": setting.batch,
        "threads": setting.threads,
        "session": dict(setting.session),
    }


def _latency(latency: Latency, report: BenchReport) -> Facts:
    found = sheets.percentiles(latency)
    return {
        "per": _latency_per(report),
        **{name: one.seen_ms for name, one in found.items()},
        **{f"{name}_upper": one.upper_ms for name, one in found.items()},
        "samples": latency.samples,
        "needs": {name: one.needs for name, one in found.items()},
    }


def _latency_per(report: BenchReport) -> str:
    return "query" if report.run.scenario.name == "multi_stream" else "call"


def _speedup(comparison: Comparison) -> Facts:
    ratio = comparison.ratio
    return {
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "told_apart": comparison.told_apart,
        "rounds": comparison.rounds,
        "stopped": comparison.stopped,
        "seconds_to_tell": comparison.seconds_to_tell,
        "wide_because": list(comparison.wide_because),
        "slow_rounds": comparison.slow_rounds,
    }


def _offline(whole: Whole) -> Facts:
    return {
        "samples_per_s": asdict(whole.samples_per_s),
        "best": _try(whole.best, whole.samples_per_s),
        "tries": [_try(one, interval) for one, interval in whole.tries],
    }


def _try(one: Try, interval: Interval) -> Facts:
    return {
        "instances": one.instances,
        "threads": one.threads,
        "batch": one.batch,
        "samples_per_s": asdict(interval),
        "windows_samples_per_s": list(one.samples_per_s),
    }


def _opened(opened: Opened | None) -> Facts:
    if opened is None:
        return dict.fromkeys(("load_s", "first_call_s", "peak_memory_bytes", "computes_in", "placement"))
    placement = opened.placement
    return {
        "load_s": opened.load_s,
        "first_call_s": opened.first_call_s,
        "peak_memory_bytes": opened.peak_memory_bytes,
        "computes_in": opened.precision or None,
        "placement": {
            "nodes": dict(placement.nodes),
            "seconds": dict(placement.seconds),
            "fallen_back": list(placement.fallen_back),
        },
    }


def _energy(energy: Energy) -> Facts:
    return {"value": energy.joules_per_inference, "label": energy.label, "source": energy.source}


# ---------------------------------------------------------------------------------------- flat


def flat(row: BenchRow, report: BenchReport) -> Fields:
    """One contender's fields among `COLUMNS`; what is not known is left out or None."""
    setting = row.contender.setting
    return {
        "id": row.contender.id,
        "model": row.contender.model,
        "engine": row.contender.engine,
        "provider": setting.provider.name,
        "provider_options": _listed(setting.provider.options),
        "batch": setting.batch,
        "threads": setting.threads,
        "session": _listed(setting.session),
        "status": row.status,
        "verdict": bench_columns.verdict(row, report).line,
        "scenario": report.run.scenario.name,
        "random_inputs": report.run.feed.random,
        **_flat_latency(row, report),
        **_flat_speedup(row.comparison),
        **_flat_offline(row.whole),
        **_flat_server(row),
        **_flat_resources(row),
        "stage": row.stage,
        "reason": row.reason,
        "fix": row.fix,
        "notes": "; ".join(row.notes),
    }


def _listed(options: Mapping[str, object]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(options.items()))


def _flat_latency(row: BenchRow, report: BenchReport) -> Fields:
    fields: Fields = {}
    if row.latency is not None:
        fields = {"latency_per": _latency_per(report), "latency_samples": row.latency.samples}
        fields |= {f"{name}_ms": one.seen_ms for name, one in sheets.percentiles(row.latency).items()}
    if row.outliers is not None:
        fields |= {"outliers": row.outliers.count, "slowest_ms": row.outliers.slowest_ms}
    return fields


def _flat_speedup(comparison: Comparison | None) -> Fields:
    if comparison is None:
        return {}
    return {
        **_interval("speedup", comparison.ratio),
        "told_apart": comparison.told_apart,
        "rounds": comparison.rounds,
        "stopped": comparison.stopped,
        "seconds_to_tell": comparison.seconds_to_tell,
    }


def _flat_offline(whole: Whole | None) -> Fields:
    if whole is None:
        return {}
    best = whole.best
    return {
        **_interval("samples_per_s", whole.samples_per_s),
        "best_instances": best.instances,
        "best_threads": best.threads,
        "best_batch": best.batch,
    }


def _flat_server(row: BenchRow) -> Fields:
    answer, rate = row.server, bench_columns.shown_rate(row.server)
    if answer is None or rate is None:
        return {}
    return {
        "bound_ms": answer.bound_ms,
        "holds_rate_per_s": None if answer.holds is None else answer.holds.rate_per_s,
        "fails_rate_per_s": None if answer.fails is None else answer.fails.rate_per_s,
        "rate_per_s": rate.rate_per_s,
        "max_batch": rate.batching.max_batch,
        "max_wait_ms": rate.batching.max_wait_ms,
        "request_p50_ms": rate.p50_ms,
        "request_p99_ms": rate.p99_ms,
        "request_p99_upper_ms": rate.p99_upper_ms,
        **_interval("late_share", rate.late_share),
        "goodput_per_s": rate.goodput_per_s,
        "throughput_per_s": rate.throughput_per_s,
        "utilisation": rate.utilisation,
        "requests": rate.requests,
    }


def _flat_resources(row: BenchRow) -> Fields:
    fields: Fields = {"size_bytes": row.contender.size_bytes}
    if row.opened is not None:
        fields |= {
            "peak_memory_bytes": row.opened.peak_memory_bytes,
            "load_s": row.opened.load_s,
            "first_call_s": row.opened.first_call_s,
            "computes_in": row.opened.precision,
            "share_of_asked_provider": bench_columns.share_of_asked(row),
        }
    if row.warm_up is not None:
        fields["warm_up_settled"] = row.warm_up.settled
    if row.energy is not None:
        fields[f"joules_per_inference_{row.energy.label}"] = row.energy.joules_per_inference
    return fields


def _interval(name: str, interval: Interval) -> Fields:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
