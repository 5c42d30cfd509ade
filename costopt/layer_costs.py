"""Which layer costs what: pure, from what was measured of each layer by itself (`sensitivity`)."""

import numpy as np

from costopt import plugins, stats
from costopt.benching.measurements import LayerCost, LayerFacts, LayersMeasured, SensitivityReport
from costopt.metrics import Metric
from costopt.records import Machine, Plan, Spec


def report(
    measured: LayersMeasured, model: str, machine: Machine, metric: Spec, against: str, plan: Plan
) -> SensitivityReport:
    """The layers, the most expensive in time first."""
    judge = plugins.make("metrics", metric, Metric)
    original = np.array(measured.original, np.float64)
    costs = [_cost(one, measured, judge, plan.confidence) for one in measured.layers]
    return SensitivityReport(
        model=model,
        machine=machine,
        metric=str(metric.options.get("function", metric.name)).rpartition(":")[2],
        against="target" if against == "target" else "original",
        value=judge.value(original),
        samples=len(original),
        confidence=plan.confidence,
        layers=tuple(sorted(costs, key=lambda one: -one.float32_ms)),
    )


def _cost(one: LayerFacts, measured: LayersMeasured, metric: Metric, confidence: float) -> LayerCost:
    layers = measured.layers
    before, after = (np.array(rows, np.float64) for rows in (measured.original, one.facts))
    return LayerCost(
        name=one.name,
        operator=one.operator,
        size_bytes=one.size_bytes,
        size_share=one.size_bytes / sum(other.size_bytes for other in layers),
        operations_share=one.operations / sum(other.operations for other in layers),
        float32_ms=one.float32_ms,
        time_share=one.float32_ms / (sum(other.float32_ms for other in layers) or 1.0),
        int8_ms=one.int8_ms,
        output_error=one.output_error,
        drop=stats.drop_interval(metric, before, after, confidence),
    )
