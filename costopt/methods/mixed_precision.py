"""Int8 where it saves time for little error; the other layers stay in float32.

Layers differ in both: one loses half of all accuracy that static quantisation costs and saves nothing, the next one is
the other way round. So both are measured, each layer by itself: the error of the model's outputs when that layer alone
is quantised (`rounding_errors`), and the milliseconds that its kernel saves on this machine (`layer_times`). Layers are
quantised in the order of error per millisecond until `quantized`, a share of all that int8 could save, is reached; what
runs slower in int8 never is.

    ranges ─▶ all layers rounded ─▶ errors, milliseconds ─▶ order ─▶ as many as `quantized` asks for

Source: Dong et al., HAWQ-V2, NeurIPS 2020, arXiv:1911.03852 (an order of layers by sensitivity and a budget).

Cost: that of `int8_static`, and a pass over `sensitivity_samples` for each layer. Helps where a few layers hold most of
the error: mean cosine of an encoder of 22.7M parameters to the original 0.990 with all of int8's gain, 0.993 with three
quarters, 0.996 with half; after `smooth: 0.75` 0.997, 0.9985 and 0.9992 (measured 2026-11, 100 texts of 64 tokens,
times of one core of an AMD EPYC with AVX512-VNNI). Fails where errors don't add up, as in very deep nets: then the
order is only a good guess.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from costopt import rewriting
from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Arrays, Calibration, OnnxMethod, weights_elsewhere
from costopt.records import Graph, Value
from costopt.rounding.activations import batches
from costopt.rounding.layer_times import operations, saved_ms
from costopt.rounding.layers import layers
from costopt.rounding.qdq import COMPUTED, Rounding, ranged, ready, rounded_layers
from costopt.rounding.ranges import Ranging
from costopt.rounding.rounding_errors import errors
from costopt.rounding.smoothing import smoothed


@dataclass(frozen=True)
class MixedPrecision(OnnxMethod):
    """Int8 where it saves time for little error.

    `quantized`, above 0 and up to 1, is the share of the time that int8 saves which is to be kept. `smooth` is that of
    `int8_static`. `samples` calibration samples give the ranges, `sensitivity_samples` of them the errors. `by:
    operations` takes a layer's multiplications for its time: the same layers on every machine and in every run.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)

    quantized: float = 0.9
    activations: Literal["uint8", "int8"] = "uint8"
    weights: Literal["int8", "uint8"] = "int8"
    per_channel: bool = True
    calibration: Literal["minmax", "entropy", "percentile", "mse"] = "minmax"
    smooth: float | None = None
    samples: int = 256
    sensitivity_samples: int = 16
    by: Literal["time", "operations"] = "time"

    def unsuitable(self, graph: Graph) -> str | None:
        """The operators that hold the weights, when they have no integer kernel."""
        return weights_elsewhere(graph, COMPUTED, "has no static int8 kernel")

    def __call__(self, source: Path, target: Path, calibration: Calibration) -> None:
        """Write the model with QDQ pairs round some of its layers.

        Raises NotApplicable when no layer has constant float32 weights or runs faster in int8, CandidateError when
        there are no calibration samples, the model gives infinite values on them, or an option is out of range.
        """
        if not 0 < self.quantized <= 1:
            words = f"quantized: {self.quantized} is not above 0 and up to 1, the share of what int8 saves"
            raise CandidateError("compress", words)
        model = ready(source)

        def inputs(samples: int = self.samples) -> Iterator[Arrays]:
            return batches(model, calibration, samples)

        if self.smooth is not None:
            model = smoothed(model, inputs(), self.smooth)
        rounding = Rounding(self.activations, self.weights, self.per_channel)
        ranges = Ranging(self.calibration, symmetric=rounding.symmetric).measured(model, ranged(model), inputs)
        rounded = rounded_layers(model, rounding.quantised(model, ranges))
        found = [one.layer for one in rounded]
        timed = self.by == "time"
        saved = saved_ms(model, found, rounding, ranges, inputs()) if timed else operations(model, found, inputs())
        hurt = errors(model, rounded, inputs(self.sensitivity_samples))
        kept = worth_it(hurt, saved, self.quantized)
        left = [one.node.name for one in layers(model) if one.node.name not in kept]
        rewriting.write(rounding.quantised(model, ranges, left), target)


def worth_it(error: Mapping[str, float], saved: Mapping[str, float], share: float) -> set[str]:
    """The layers with the least error per millisecond saved that together save `share` of what all could save.

    Raises NotApplicable when none saves anything.
    """
    faster = sorted((name for name in error if saved[name] > 0), key=lambda name: (error[name] / saved[name], name))
    if not faster:
        raise NotApplicable("no layer runs faster in int8 than in float32 on this machine")
    wanted, reached = share * sum(saved[name] for name in faster), 0.0
    kept = set[str]()
    for name in faster:
        if reached >= wanted:
            break
        reached += saved[name]
        kept.add(name)
    return kept
