"""Int8 weights and activations, with ranges measured beforehand on calibration data.

Every convolution and product gets its inputs rounded to 8 bits by a scale fixed from what calibration saw. What lies
between stays in float.

    (equalize) ─▶ (smooth) ─▶ ranges, by `calibration` ─▶ QDQ pairs ─▶ (bias_correction ─▶ QDQ pairs anew)

Sources: Jacob et al., arXiv:1712.05877 (the arithmetic); `ranges`, `smoothing`, `equalization` and `bias_correction`
name those of the options. ONNX Runtime's calibrators and quantiser do the work.

Cost: the time to run `samples` samples unoptimised, once more for each option; memory for one batch's activations.
Helps convolutional networks most: 1.67x at batch 1, 2.2x at batch 32, top-1 unchanged on a residual CNN (measured
2026-11, 2-core Xeon with AMX, ONNX Runtime 1.31.1). Activations with outliers, as transformers have them, want
`smooth`: mean cosine to the original 0.989 without, 0.997 with 0.7, 0.998 with 0.8 on an encoder of 22.7M parameters
(300 paragraphs, all 100 for calibration; `int8_dynamic` 0.992). `calibration: mse` with `bias_correction` takes the
error of the CNN's logits from 1.39 % to 1.09 %; `equalize` gains nothing there, and `percentile` is worse (1.89 %).

The types decide the speed. On x86 with VNNI, unsigned activations with signed weights are fast and signed activations
slower than float32 (0.53x on the same network); signed ones are right for ARM and TensorRT. On x86 without VNNI,
products of unsigned activations and signed weights may saturate; unsigned weights don't.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import onnx

from costopt import rewriting
from costopt.methods import Arrays, Calibration, OnnxMethod, weights_elsewhere
from costopt.records import Graph, Value
from costopt.rounding.activations import batches
from costopt.rounding.bias_correction import corrected
from costopt.rounding.equalization import equalised
from costopt.rounding.layers import layers
from costopt.rounding.qdq import COMPUTED, Rounding, chosen, ranged, ready
from costopt.rounding.ranges import Ranging
from costopt.rounding.smoothing import smoothed


@dataclass(frozen=True)
class Int8Static(OnnxMethod):
    """Int8 weights and activations, with ranges measured beforehand.

    `per_channel` gives each output channel's weights a scale of their own. `percentile`, in per cent, is the share of
    magnitudes that `calibration: percentile` keeps. `smooth`, above 0 and up to 1, is how much of an activation's
    unevenness goes into the weights. `only` and `exclude` are operator types and names of nodes, separated by commas.
    `samples` is how many calibration samples are read at most.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = (
        {},
        {"smooth": 0.75, "bias_correction": True},
        {"calibration": "mse", "bias_correction": True},
    )

    activations: Literal["uint8", "int8"] = "uint8"
    weights: Literal["int8", "uint8"] = "int8"
    per_channel: bool = True
    calibration: Literal["minmax", "entropy", "percentile", "mse"] = "minmax"
    percentile: float = 99.99
    equalize: bool = False
    smooth: float | None = None
    bias_correction: bool = False
    only: str = ""
    exclude: str = ""
    samples: int = 256

    def unsuitable(self, graph: Graph) -> str | None:
        """The operators that hold the weights, when they have no integer kernel."""
        return weights_elsewhere(graph, COMPUTED, "has no static int8 kernel")

    def __call__(self, source: Path, target: Path, calibration: Calibration) -> None:
        """Write the model with QDQ pairs.

        Raises NotApplicable when no convolution or product has constant float32 weights, or an option finds nothing to
        work on; CandidateError when there are no calibration samples, the model gives infinite values on them, or an
        option is out of range.
        """
        model = ready(source)
        kept = {one.node.name for one in chosen(model, self.only, self.exclude)}
        left = [one.node.name for one in layers(model) if one.node.name not in kept]

        def inputs() -> Iterator[Arrays]:
            return batches(model, calibration, self.samples)

        model = self._evened(model, inputs)
        rounding = Rounding(self.activations, self.weights, self.per_channel)
        ranges = Ranging(self.calibration, self.percentile, rounding.symmetric).measured(model, ranged(model), inputs)
        quantised = rounding.quantised(model, ranges, left)
        if self.bias_correction:
            quantised = rounding.quantised(corrected(model, quantised, inputs()), ranges, left)
        rewriting.write(quantised, target)

    def _evened(self, model: onnx.ModelProto, inputs: Callable[[], Iterator[Arrays]]) -> onnx.ModelProto:
        """The model that computes the same with channels that are easier to round, as far as the options ask for it."""
        if self.equalize:
            model = equalised(model)
        return model if self.smooth is None else smoothed(model, inputs(), self.smooth)
