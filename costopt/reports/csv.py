"""CSV: one row a candidate, or a contender of a bench; raw figures with the unit in the column's name."""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass

from costopt import layer_sheet
from costopt.benching import bench_facts
from costopt.benching.bench_facts import Fields
from costopt.benching.measurements import BenchReport, SensitivityReport
from costopt.report_sheet import verdict
from costopt.reports import AnyReport, Render
from costopt.verdict import Drop, Interval, Latency, Report, Row, Usd

COLUMNS = (
    "id", "recipe", "provider", "batch", "threads", "status", "verdict",
    "p50_ms", "p95_ms", "p99_ms", "latency_samples", "throughput_per_s", "speedup", "speedup_low", "speedup_high",
    "metric", "metric_value", "drop", "drop_low", "drop_high", "certified", "metric_samples",
    "size_bytes", "peak_memory_bytes", "load_s",
    "relative_cost", "relative_cost_low", "relative_cost_high",
    "usd_per_million_saturated", "usd_per_million_at_traffic",
    "meets", "lost",
)  # fmt: skip


@dataclass(frozen=True)
class Csv(Render):
    """For spreadsheets and data frames. What is not known is an empty field."""

    def __call__(self, report: AnyReport, width: int = 100, colour: bool = False) -> str:  # noqa: ARG002
        """A head and one line a candidate, contender or layer, those without figures included."""
        if isinstance(report, BenchReport):
            return _written(bench_facts.COLUMNS, (_known(bench_facts.flat(row, report)) for row in report.rows))
        if isinstance(report, SensitivityReport):
            return _written(layer_sheet.COLUMNS, (_known(layer_sheet.flat(one)) for one in report.layers))
        return _written(COLUMNS, (_fields(row, report) for row in report.rows))


def _written(columns: tuple[str, ...], lines: Iterable[Fields]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _known(fields: Fields) -> Fields:
    """The same without numbers that are not finite: the upper end of an interval after a single round."""
    return {name: value for name, value in fields.items() if not isinstance(value, float) or math.isfinite(value)}


def _fields(row: Row, report: Report) -> Fields:
    candidate = row.candidate
    return {
        "id": candidate.id,
        "recipe": candidate.label,
        "provider": candidate.provider,
        "batch": candidate.batch,
        "threads": candidate.threads,
        "status": row.status,
        "verdict": verdict(row, report).line,
        "throughput_per_s": row.throughput_per_s,
        "size_bytes": row.size_bytes,
        "peak_memory_bytes": row.peak_memory_bytes,
        "load_s": row.load_s,
        "meets": row.meets,
        "lost": row.lost or row.reason,
        **({} if row.latency is None else _latency(row.latency)),
        **({} if row.speedup is None else _interval("speedup", row.speedup)),
        **({} if row.drop is None else _metric(row.drop)),
        **({} if row.usd is None else _cost(row.usd)),
    }


def _latency(latency: Latency) -> Fields:
    return {
        "p50_ms": latency.p50.seen_ms,
        "p95_ms": latency.p95.seen_ms,
        "p99_ms": latency.p99.seen_ms,
        "latency_samples": latency.samples,
    }


def _metric(drop: Drop) -> Fields:
    return {
        "metric": drop.metric,
        "metric_value": drop.value,
        **_interval("drop", drop.drop),
        "certified": drop.certified,
        "metric_samples": drop.samples,
    }


def _cost(usd: Usd) -> Fields:
    return {
        **_interval("relative_cost", usd.relative),
        "usd_per_million_saturated": usd.saturated,
        "usd_per_million_at_traffic": usd.at_traffic,
    }


def _interval(name: str, interval: Interval) -> Fields:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
