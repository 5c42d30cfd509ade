"""Int8 weights and activations, with ranges measured beforehand on calibration data.

Every convolution and product gets its inputs rounded to 8 bits by a scale fixed from what calibration saw. The graph
carries `QuantizeLinear` / `DequantizeLinear` pairs (QDQ), which the execution provider fuses into integer kernels. What
lies between (residual additions, Softmax, LayerNormalization) stays in float, and so do products of two activations:
with those quantised too, the error of a small transformer was 2.5 times larger.

How ranges are set: `minmax` takes all that was seen; `percentile` cuts the rarest magnitudes; `entropy` searches the
cut that keeps most information (Kullback-Leibler), which takes far longer and cuts deep where ReLU leaves many zeros.

Sources: Jacob et al., arXiv:1712.05877 (the arithmetic); Wu et al., Integer Quantization for Deep Learning Inference,
arXiv:2004.09602 (the three calibrations compared). ONNX Runtime's calibrators and quantiser do the work.

Cost: the time to run `samples` samples unoptimised; memory for one batch's activations. Helps convolutional networks
most: 1.67x at batch 1, 2.2x at batch 32, top-1 unchanged on a residual CNN (measured 2026-11, 2-core Xeon with AMX,
ONNX Runtime 1.31.1). Hurts where activations have outliers, as in large transformers.

The types decide the speed. On x86 with VNNI, unsigned activations with signed weights are fast and signed activations
slower than float32 (0.53x on the same network); signed ones are right for ARM and TensorRT. On x86 without VNNI,
products of unsigned activations and signed weights may saturate; unsigned weights don't.
"""

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, create_calibrator
from onnxruntime.quantization.calibrate import CalibraterBase, HistogramCollector, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from costopt import rewriting
from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Arrays, Calibration, OnnxMethod, weights_elsewhere
from costopt.records import Graph, Value

COMPUTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""What gets an integer kernel."""

ABSORBED = ("Relu", "Clip")
"""What rounding does by itself, when the range ends where the activation does."""

MOVING = ("MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice")
"""What hands on the 8-bit values that it gets, with the scale that it gets them in."""

TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}

METHODS = {"percentile": CalibrationMethod.Percentile, "entropy": CalibrationMethod.Entropy}

BINS = {"percentile": 2048, "entropy": 512}
"""Bins of the histograms over all values of a tensor.

ONNX Runtime's default of 128 leaves `entropy` a single cut to choose from, so that nothing is searched; the search
takes time with the cube of their number (2048 bins: 46 s for a CNN of 9 convolutions, 512: 6 s).
"""

QUANTISED_BINS = 128
"""Levels that `entropy` weighs a cut by: ONNX Runtime's default, and that of NVIDIA's 8-bit inference (GTC 2017)."""

PER_CHANNEL_OPSET = 13
"""The operator set since which `DequantizeLinear` takes a scale for each channel."""

BATCH = 4
"""Samples in one calibration run: `percentile` and `entropy` hold all activations of a run in memory at once."""


@dataclass(frozen=True)
class Int8Static(OnnxMethod):
    """Int8 weights and activations, with ranges measured beforehand.

    `per_channel` gives each output channel's weights a scale of their own. `percentile`, in per cent, is the share of
    magnitudes that `calibration: percentile` keeps. `samples` is how many calibration samples are read at most.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({}, {"calibration": "percentile"})

    activations: Literal["uint8", "int8"] = "uint8"
    weights: Literal["int8", "uint8"] = "int8"
    per_channel: bool = True
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    percentile: float = 99.99
    samples: int = 256

    def unsuitable(self, graph: Graph) -> str | None:
        """The operators that hold the weights, when they have no integer kernel."""
        return weights_elsewhere(graph, COMPUTED, "has no static int8 kernel")

    def __call__(self, source: Path, target: Path, calibration: Calibration) -> None:
        """Write the model with QDQ pairs.

        Raises NotApplicable when no convolution or product has constant float32 weights, CandidateError when there
        are no calibration samples, the model gives infinite values on them, or an option is out of range.
        """
        model = rewriting.with_opset(rewriting.prepared(source), PER_CHANNEL_OPSET)
        if not rewriting.weighted_nodes(model, COMPUTED):
            raise NotApplicable(f"no {', '.join(COMPUTED[:-1])} or {COMPUTED[-1]} reads constant float32 weights")
        rewriting.write(self._quantised(model, self._ranges(model, calibration)), target)

    def _ranges(self, model: onnx.ModelProto, calibration: Calibration) -> TensorsData:
        """The range of each tensor: all that was seen, or what is left of it when the rare is cut."""
        with tempfile.TemporaryDirectory(prefix="costopt-") as folder:
            ready = Path(folder, "ready.onnx")
            rewriting.write(model, ready)
            with rewriting.third_party("preparing calibration"):
                watcher = _calibrater(ready, CalibrationMethod.MinMax)
            seen = _watched(watcher, batches(model, calibration, self.samples))
            _refuse_infinite(model, seen)
            if self.calibration == "minmax":
                return seen
            with rewriting.third_party("preparing calibration"):
                counter = _calibrater(ready, METHODS[self.calibration])
                counter.collector = self._histograms(seen)
            return _watched(counter, batches(model, calibration, self.samples))

    def _histograms(self, seen: TensorsData) -> HistogramCollector:
        """Empty histograms over what was seen.

        Left to itself, ONNX Runtime spans them over the first batch and adds bins for what a later one brings: without
        end if that is an outlier, and the search for a cut slows down with their cube.
        """
        bins, symmetric = BINS[self.calibration], self.calibration == "percentile"
        collector = HistogramCollector(self.calibration, symmetric, bins, QUANTISED_BINS, self.percentile, "same")
        for name, range_of in seen.items():
            low, high = (np.float32(np.squeeze(end)) for end in range_of.range_value)
            reach = max(abs(low), abs(high)) or np.float32(1)
            edges = np.linspace(0 if symmetric else -reach, reach, bins + 1, dtype=np.float32)
            collector.histogram_dict[name] = (np.zeros(bins, np.int64), edges, low, high, reach)
        return collector

    def _quantised(self, model: onnx.ModelProto, ranges: TensorsData) -> onnx.ModelProto:
        constants = {tensor.name for tensor in model.graph.initializer}
        matmuls = [node for node in model.graph.node if node.op_type == "MatMul"]
        with rewriting.third_party("static quantisation"):
            quantiser = QDQQuantizer(
                model,
                per_channel=self.per_channel,
                reduce_range=False,
                weight_qType=TYPES[self.weights],
                activation_qType=TYPES[self.activations],
                tensors_range=ranges,
                nodes_to_quantize=[],
                nodes_to_exclude=[node.name for node in matmuls if constants.isdisjoint(node.input)],
                op_types_to_quantize=[*COMPUTED, *ABSORBED, *MOVING],
                extra_options={
                    "ActivationSymmetric": self.activations == "int8",  # TensorRT takes no other zero point than 0
                    # what follows is float (a bias, a sum, an activation): rounding before it gains nothing
                    "OpTypesToExcludeOutputQuantization": ["MatMul", "Gemm"],
                },
            )
            quantiser.quantize_model()
            return rewriting.tidied(quantiser.model.model)


def _calibrater(ready: Path, method: CalibrationMethod) -> CalibraterBase:
    return create_calibrator(
        ready,
        [*COMPUTED, *ABSORBED],
        augmented_model_path=str(ready.with_name(f"{method.name}.onnx")),
        calibrate_method=method,
        use_external_data_format=True,
    )


def _watched(calibrater: CalibraterBase, inputs: Iterator[Arrays]) -> TensorsData:
    """The ranges that a calibrater finds, batch by batch, so that memory does not grow with the samples."""
    for batch in inputs:
        with rewriting.third_party("calibration"):
            calibrater.collect_data(OneBatch(batch))
    with rewriting.third_party("calibration"):
        ranges: TensorsData = calibrater.compute_data()
        return ranges


class OneBatch(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """One batch, as ONNX Runtime's calibrators ask for it."""

    def __init__(self, batch: Arrays) -> None:
        """Hold one batch."""
        self.left = [batch]

    def get_next(self) -> Arrays | None:
        """The batch, then None."""
        return self.left.pop() if self.left else None


def batches(model: onnx.ModelProto, calibration: Calibration, samples: int) -> Iterator[Arrays]:
    """At most `samples` calibration samples, in batches that the model takes.

    A model with a batch of fixed size gets its last batch filled up with samples of that batch, which changes no range.
    Raises CandidateError when there are no samples.
    """
    if min(samples, calibration.samples) < 1:
        seen = f"{samples} of {calibration.samples} calibration samples"
        raise CandidateError("compress", f"{seen}: ranges can't be measured without one; set samples, or give data")
    first = model.graph.input[0].type.tensor_type.shape.dim
    fixed = first[0].dim_value if first else 0
    for batch in calibration.batches(fixed or BATCH, samples):
        yield {name: np.resize(array, (fixed or len(array), *array.shape[1:])) for name, array in batch.items()}


def _refuse_infinite(model: onnx.ModelProto, ranges: TensorsData) -> None:
    """Raises CandidateError for the first tensor of the graph, in its order, that took an infinite value."""
    for name in (
        *(one.name for one in model.graph.input),
        *(name for node in model.graph.node for name in node.output),
    ):
        low, high = (float(np.squeeze(end)) for end in ranges[name].range_value) if name in ranges else (0.0, 0.0)
        if not np.isfinite(high - low):
            words = f"calibration saw values from {low} to {high} in '{name}': no 8-bit scale holds them"
            raise CandidateError("compress", words)
