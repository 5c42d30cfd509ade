"""Which layer costs what: in time, in size, and in accuracy when it is quantised.

Each layer with weights is looked at alone: the milliseconds of its kernel in float32 and in int8 (`layer_times`), its
share of the file, and what rounding it, and nothing else, to 8 bits does to the outputs and to the metric. One graph
with a switch at each layer (`rounding_errors`) answers for all of them in one pass over the samples.

Everything here runs in a `worker.Child`; what follows from it is computed by `layer_costs`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from costopt import plugins, rewriting
from costopt.benching.measurements import LayerFacts, LayersMeasured
from costopt.build import Prepared
from costopt.journal import from_json, to_json
from costopt.metrics import Metric
from costopt.rounding.activations import batches, opened
from costopt.rounding.layer_times import kernels_ms, operations
from costopt.rounding.layers import Weights
from costopt.rounding.qdq import RoundedLayer, Rounding, ranged, ready, rounded_layers
from costopt.rounding.ranges import Ranging
from costopt.rounding.rounding_errors import switch_on, switches_off, with_switches
from costopt.sampling.samples import Samples, spread
from costopt.worker import Answer, Request

log = logging.getLogger("costopt")

RANGE_SAMPLES = 256

Arrays = Mapping[str, NDArray[np.generic]]
Facts = list[list[float]]


def measure(request: Request) -> Answer:
    """Look at every layer of the original. Request: prepared (JSON), run (folder), samples (of the evaluation data).

    Answers layers: a `LayersMeasured` as JSON. Raises NotApplicable when no layer can be quantised, CandidateError when
    the model can't be run.
    """
    prepared, run = from_json(Prepared, request["prepared"]), Path(request["run"])
    model = ready(run / prepared.original.path)

    def inputs(samples: int = RANGE_SAMPLES) -> Iterator[dict[str, NDArray[np.generic]]]:
        return batches(model, prepared.calibration, samples)

    rounding = Rounding()
    log.info("measuring the ranges of activations")
    ranges = Ranging("minmax", symmetric=rounding.symmetric).measured(model, ranged(model), inputs)
    rounded = rounded_layers(model, rounding.quantised(model, ranges))
    found = [one.layer for one in rounded]
    log.info("timing %d layers one by one", len(found))
    times, work = kernels_ms(model, found, rounding, ranges, inputs()), operations(model, found, inputs())
    errors, facts, original = _hurt(model, rounded, prepared, request["samples"])
    layers = tuple(
        LayerFacts(
            name=_name(one),
            operator=one.layer.node.op_type,
            size_bytes=_size_bytes(model, one),
            operations=work[one.layer.node.name],
            float32_ms=times[one.layer.node.name][0],
            int8_ms=times[one.layer.node.name][1],
            output_error=errors[place],
            facts=tuple(tuple(row) for row in facts[place]),
        )
        for place, one in enumerate(rounded)
    )
    return {"layers": to_json(LayersMeasured(layers, tuple(tuple(row) for row in original)))}


def _name(one: RoundedLayer) -> str:
    """The weight's name without what exporters append: it is what the author called the layer."""
    return one.layer.weight.removesuffix(".weight") if "." in one.layer.weight else one.layer.node.name


def _size_bytes(model: onnx.ModelProto, one: RoundedLayer) -> int:
    return int(Weights(model)[one.layer.weight].nbytes)


def _hurt(
    model: onnx.ModelProto, rounded: Sequence[RoundedLayer], prepared: Prepared, samples: int
) -> tuple[list[float], list[Facts], Facts]:
    """Each layer's relative error of the outputs and the metric's facts when it is rounded; the original's facts."""
    session, off = opened(with_switches(model, rounded)), switches_off(rounded)
    names = [output.name for output in session.get_outputs()]
    metric = plugins.make("metrics", prepared.metric, Metric)
    facts: list[Facts] = [[] for _ in rounded]
    original: Facts = []
    apart, whole, start = np.zeros(len(rounded)), 0.0, 0
    places = spread(prepared.evaluation.samples, samples)
    for batch in batches(model, Some(prepared.evaluation, places), len(places)):
        chosen = places[start : start + len(next(iter(batch.values())))]  # a fixed batch may have been filled up
        count, targets = len(chosen), _targets(prepared, chosen)

        def outputs(chosen: Arrays, feed: Arrays = batch, rows: int = count) -> dict[str, NDArray[np.generic]]:
            with rewriting.third_party("running the model with one layer rounded"):
                given = session.run(None, {**feed, **off, **chosen})
            return {name: array[:rows] for name, array in zip(names, given, strict=True)}

        reference = outputs({})
        original += metric.facts(reference, targets).tolist()
        whole += sum(_square(array) for array in reference.values())
        for place, one in enumerate(rounded):
            given = outputs(switch_on(one))
            facts[place] += metric.facts(given, targets).tolist()
            apart[place] += sum(_apart(given[name], array) for name, array in reference.items())
        start += count
        log.info("rounding one layer at a time: %d of %d samples", start, len(places))
    return list(np.sqrt(apart / (whole or 1.0))), facts, original


@dataclass(frozen=True)
class Some:
    """Some of the samples, read like all of them (`methods.Calibration`)."""

    whole: Samples
    places: tuple[int, ...]

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.places)

    def batches(self, size: int, limit: int | None = None) -> Iterator[dict[str, NDArray[np.generic]]]:
        """Batches of at most `size` samples in order, `limit` samples in all."""
        for start in range(0, self.samples if limit is None else min(limit, self.samples), size):
            yield self.whole.at(self.places[start : start + size])


def _targets(prepared: Prepared, chosen: Sequence[int]) -> dict[str, NDArray[np.generic]]:
    if prepared.reference is not None:
        return prepared.reference.at(chosen)
    return prepared.evaluation.targets_at(chosen)


def _apart(one: NDArray[np.generic], other: NDArray[np.generic]) -> float:
    return _square(one.astype(np.float64) - other.astype(np.float64))


def _square(array: NDArray[np.generic]) -> float:
    values = array.astype(np.float64)
    return float(np.sum(values * values))
