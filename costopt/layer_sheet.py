"""The report of `sensitivity` as a sheet, and as plain fields for programs."""

from dataclasses import asdict

from costopt import units
from costopt.benching.bench_facts import Fields
from costopt.benching.measurements import SENSITIVITY_SCHEMA, LayerCost, SensitivityReport
from costopt.sheets import Column, Grid, Sheet, one_line, pair

COLUMNS = (
    "layer", "operator", "float32_ms", "time_share", "int8_ms", "operations_share", "size_bytes", "size_share",
    "output_error", "drop", "drop_low", "drop_high",
)  # fmt: skip

WEAKEST = 3


def sheet(report: SensitivityReport) -> Sheet:
    """Which layer costs what, as a person reads it."""
    return Sheet(
        headline=headline(report),
        grids=(Grid(_columns(report), expendable=("size", "operations")),),
        footnotes=(
            "time: of the layer's kernel alone, on one thread, for one batch of calibration samples; shares are of all "
            "layers with weights",
            f"{report.metric}: how it changes when this layer alone is rounded to 8 bits, on "
            f"{units.count(report.samples)} samples, {units.percent(report.confidence)} interval",
        ),
        source=one_line(f"{report.model} on {report.machine.cpu}, {report.machine.cores} cores"),
    )


def headline(report: SensitivityReport) -> str:
    """Where the time goes, and who loses most accuracy."""
    slowest = report.layers[:WEAKEST]
    share = sum(one.time_share for one in slowest)
    weakest = max(report.layers, key=lambda one: one.output_error)
    names = ", ".join(one.name for one in slowest)
    return one_line(
        f"{units.percent(share)} of the time of layers goes into {names}; {weakest.name} loses most when rounded to 8 "
        f"bits (outputs off by {units.percent(weakest.output_error)})"
    )


def _columns(report: SensitivityReport) -> tuple[Column, ...]:
    layers, metric = report.layers, report.metric
    return (
        Column("layer", pair("layer", "", ""), tuple(pair(one.name, one.operator, ", ") for one in layers), words=True),
        Column(
            "time",
            pair("ms", "share", " / "),
            tuple(pair(units.ms(one.float32_ms), units.percent(one.time_share), " / ") for one in layers),
        ),
        Column("int8", pair("int8 ms", "", ""), tuple(pair(units.ms(one.int8_ms), "", "") for one in layers)),
        Column(
            "operations",
            pair("operations", "", ""),
            tuple(pair(units.percent(one.operations_share), "", "") for one in layers),
        ),
        Column(
            "size",
            pair("MB", "share", " / "),
            tuple(pair(units.megabytes(one.size_bytes), units.percent(one.size_share), " / ") for one in layers),
        ),
        Column(
            "error",
            pair("outputs", "off by", " "),
            tuple(pair(units.percent(one.output_error), "", "") for one in layers),
        ),
        Column(
            "drop",
            pair(metric, "change", " "),
            tuple(
                pair(
                    units.change(metric, -one.drop.value),
                    units.span(-one.drop.high, -one.drop.low, lambda end: units.change(metric, end)),
                    " ",
                )
                for one in layers
            ),
        ),
    )


def flat(one: LayerCost) -> Fields:
    """One layer as fields; see `COLUMNS`."""
    return {
        "layer": one.name,
        "operator": one.operator,
        "float32_ms": one.float32_ms,
        "time_share": one.time_share,
        "int8_ms": one.int8_ms,
        "operations_share": one.operations_share,
        "size_bytes": one.size_bytes,
        "size_share": one.size_share,
        "output_error": one.output_error,
        "drop": one.drop.value,
        "drop_low": one.drop.low,
        "drop_high": one.drop.high,
    }


def nested(report: SensitivityReport) -> dict[str, object]:
    """The whole report as plain dicts and lists."""
    return {
        "schema": SENSITIVITY_SCHEMA,
        "kind": "sensitivity",
        "model": report.model,
        "metric": {"name": report.metric, "against": report.against, "value": report.value, "samples": report.samples},
        "confidence": report.confidence,
        "layers": [flat(one) for one in report.layers],
        "machine": asdict(report.machine),
    }
