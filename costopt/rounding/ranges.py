"""The ranges of activations: what calibration data show, and what is left of it when the rare is cut.

Eight bits divide a range into 255 steps. One outlier makes all steps coarse; cut off, it is wrong and all else is
finer. Four rules choose:

- `minmax` takes all that was seen;
- `percentile` cuts the rarest magnitudes;
- `entropy` searches the cut that keeps most information (Kullback-Leibler), which takes far longer and cuts deep where
  ReLU leaves many zeros;
- `mse` searches the two ends with the least squared error of what they round and cut.

Sources: Wu et al., Integer Quantization for Deep Learning Inference, arXiv:2004.09602 (the first three compared);
Nagel et al., A White Paper on Neural Network Quantization, arXiv:2106.08295, section 3.1 (the last). ONNX Runtime's
calibrators watch, and do all but the last.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator
from onnxruntime.quantization.calibrate import CalibraterBase, HistogramCollector, TensorsData

from costopt import rewriting
from costopt.errors import CandidateError
from costopt.methods import Arrays

Rule = Literal["minmax", "entropy", "percentile", "mse"]

METHODS = {
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
    "mse": CalibrationMethod.Entropy,  # whose calibrater counts signed values; its own search is not used
}

BINS = {"percentile": 2048, "entropy": 512, "mse": 2049}
"""Bins of the histograms over all values of a tensor.

ONNX Runtime's default of 128 leaves `entropy` a single cut to choose from, so that nothing is searched; the search
takes time with the cube of their number (2048 bins: 46 s for a CNN of 9 convolutions, 512: 6 s). An odd number puts 0,
which every range represents exactly, into the middle of a bin.
"""

QUANTISED_BINS = 128
"""Levels that `entropy` weighs a cut by: ONNX Runtime's default, and that of NVIDIA's 8-bit inference (GTC 2017)."""

STEPS = 255
"""Steps in a range of 8 bits."""

CUTS = 64
"""Cuts that `mse` tries at each end of a range, from all of it down to 1/64."""

TURNS = 2
"""How often `mse` moves each end: the other one has moved since."""


@dataclass(frozen=True)
class Ranging:
    """How ranges are chosen. `percentile`, in per cent, is used by that rule alone."""

    rule: Rule = "minmax"
    percentile: float = 99.99
    symmetric: bool = False

    def measured(
        self, model: onnx.ModelProto, operators: Collection[str], inputs: Callable[[], Iterator[Arrays]]
    ) -> TensorsData:
        """The range of each tensor that nodes of types `operators` read or give.

        `inputs` gives the batches anew: all rules but `minmax` read them twice. Raises CandidateError when the model
        can't be run, or gives infinite values.
        """
        with tempfile.TemporaryDirectory(prefix="costopt-") as folder:
            ready = Path(folder, "ready.onnx")
            rewriting.write(model, ready)
            seen = _compute(_watched(ready, CalibrationMethod.MinMax, operators, inputs()))
            refuse_infinite(model, seen)
            if self.rule == "minmax":
                return seen
            counted = _watched(ready, METHODS[self.rule], operators, inputs(), self.histograms(seen))
            return self._least_error(counted.collector) if self.rule == "mse" else _compute(counted)

    def histograms(self, seen: TensorsData) -> HistogramCollector:
        """Empty histograms over what was seen.

        Left to itself, ONNX Runtime spans them over the first batch and adds bins for what a later one brings: without
        end if that is an outlier, and the search for a cut slows down with their cube.
        """
        bins, magnitudes = BINS[self.rule], self.rule == "percentile"
        kind = "percentile" if magnitudes else "entropy"
        collector = HistogramCollector(kind, magnitudes, bins, QUANTISED_BINS, self.percentile, "same")
        for name, range_of in seen.items():
            low, high = (np.float32(np.squeeze(end)) for end in range_of.range_value)
            reach = max(abs(low), abs(high)) or np.float32(1)
            edges = np.linspace(0 if magnitudes else -reach, reach, bins + 1, dtype=np.float32)
            collector.histogram_dict[name] = (np.zeros(bins, np.int64), edges, low, high, reach)
        return collector

    def _least_error(self, collector: HistogramCollector) -> TensorsData:
        found = {}
        for name, (counts, edges, low, high, _) in collector.histogram_dict.items():
            ends = least_error(counts, edges, float(low), float(high), self.symmetric)
            found[name] = tuple(np.array([end], np.float32) for end in ends)
        return TensorsData(CalibrationMethod.MinMax, found)


def least_error(
    counts: NDArray[np.int64], edges: NDArray[np.floating], low: float, high: float, symmetric: bool
) -> tuple[float, float]:
    """The two ends, within `low` and `high` and around 0, with the least squared error of 8-bit rounding.

    `counts` lie between `edges`, in bins of equal width of which 0 is the middle of one. The ends are moved in turn.
    """
    middles, held = (edges[:-1].astype(np.float64) + edges[1:]) / 2, counts > 0
    values, weights = middles[held], counts[held]
    shares = np.arange(CUTS, 0, -1) / CUTS  # of two that are equally good, the one that cuts less comes first

    def error(ends: tuple[float, float]) -> float:
        return _squared_error(values, weights, *ends)

    if symmetric:
        reach = max(-low, high, 0.0)
        return min(((-reach * share, reach * share) for share in shares), key=error)
    best_low, best_high = min(low, 0.0), max(high, 0.0)
    for _ in range(TURNS):
        best_high = min((max(high, 0.0) * share for share in shares), key=lambda end: error((best_low, end)))
        best_low = min((min(low, 0.0) * share for share in shares), key=lambda end: error((end, best_high)))
    return float(best_low), float(best_high)


def _squared_error(values: NDArray[np.float64], weights: NDArray[np.int64], low: float, high: float) -> float:
    """Of values that occur `weights` times, rounded to the steps between two ends and cut there."""
    if high <= low:
        return float(weights @ values**2)
    step = (high - low) / STEPS
    zero = np.round(-low / step)  # 0 is a step itself
    rounded = (np.clip(np.round(values / step) + zero, 0, STEPS) - zero) * step
    return float(weights @ (values - rounded) ** 2)


class OneBatch(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """One batch, as ONNX Runtime's calibrators ask for it."""

    def __init__(self, batch: Arrays) -> None:
        """Hold one batch."""
        self.left = [batch]

    def get_next(self) -> Arrays | None:
        """The batch, then None."""
        return self.left.pop() if self.left else None


def _watched(
    ready: Path,
    method: CalibrationMethod,
    operators: Collection[str],
    inputs: Iterator[Arrays],
    collector: HistogramCollector | None = None,
) -> CalibraterBase:
    """A calibrater that has seen the inputs, batch by batch, so that memory does not grow with the samples."""
    with rewriting.third_party("preparing calibration"):
        calibrater = create_calibrator(
            ready,
            list(operators),
            augmented_model_path=str(ready.with_name(f"{method.name}.onnx")),
            calibrate_method=method,
            use_external_data_format=True,
        )
        if collector is not None:
            calibrater.collector = collector
    for batch in inputs:
        with rewriting.third_party("calibration"):
            calibrater.collect_data(OneBatch(batch))
    return calibrater


def _compute(calibrater: CalibraterBase) -> TensorsData:
    with rewriting.third_party("calibration"):
        ranges: TensorsData = calibrater.compute_data()
        return ranges


def refuse_infinite(model: onnx.ModelProto, ranges: TensorsData) -> None:
    """Raises CandidateError for the first tensor of the graph, in its order, that took an infinite value."""
    for name in (
        *(one.name for one in model.graph.input),
        *(name for node in model.graph.node for name in node.output),
    ):
        low, high = (float(np.squeeze(end)) for end in ranges[name].range_value) if name in ranges else (0.0, 0.0)
        if not np.isfinite(high - low):
            words = f"calibration saw values from {low} to {high} in '{name}': no 8-bit scale holds them"
            raise CandidateError("compress", words)
