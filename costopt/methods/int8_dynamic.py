"""Int8 weights, activations quantised to int8 as they arrive: no calibration data needed.

Each matrix product reads its activations' range, rounds them to 8 bits, multiplies in integers and scales back. The
range is that of the very sample at hand, so outliers of another sample do no harm. Embedding tables become int8 too,
and are widened row by row as they are read. Convolutions stay in float: with ONNX Runtime's integer convolution
(ConvInteger) a residual CNN ran at 0.63x (measured 2026-11, one core of an AMD EPYC with AVX512-VNNI).

Source: Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference,
CVPR 2018, arXiv:1712.05877, equation 1, for the arithmetic; `onnxruntime.quantization.quantize_dynamic` does it.

Cost: seconds. Helps models made of matrix products and LSTMs: 2.0x to 2.2x on a 22.7M-parameter encoder, cosine to the
original 0.993 (measured 2026-11, 2-core Xeon with AMX, ONNX Runtime 1.31.1). Unsigned weights gain next to nothing
there (1.09x). With `smooth: 0.75` (SmoothQuant, `smoothing`) that encoder's cosine goes from 0.992 to 0.997, for 6 % to
15 % more time; with 0.5 it falls to 0.982 (measured 2026-11, 300 texts of 64 tokens, one core of an AMD EPYC with
AVX512-VNNI). Hurts where products are so small that finding the ranges costs more than they do.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from costopt import rewriting
from costopt.errors import NotApplicable
from costopt.methods import Calibration, OnnxMethod, weights_elsewhere
from costopt.records import Graph, Value
from costopt.rounding.activations import batches
from costopt.rounding.smoothing import smoothed

COMPUTED = ("MatMul", "LSTM", "Attention")
"""What has an integer kernel; `Gemm` is turned into `MatMul` first."""

LOOKED_UP = ("Gather", "EmbedLayerNormalization")
"""Embedding tables: stored in int8, no arithmetic."""

TYPES = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}


@dataclass(frozen=True)
class Int8Dynamic(OnnxMethod):
    """Int8 weights, activations quantised as they arrive.

    `per_channel` gives each output channel a scale of its own. `weights` may be unsigned for CPUs whose 8-bit products
    of signed numbers saturate (AVX2 without VNNI). `smooth`, above 0 and up to 1, is how much of the unevenness of
    activations goes into the weights first, as `samples` calibration samples show it.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({}, {"smooth": 0.75})

    per_channel: bool = True
    weights: Literal["int8", "uint8"] = "int8"
    smooth: float | None = None
    samples: int = 64

    def unsuitable(self, graph: Graph) -> str | None:
        """The operators that hold the weights, when they have no integer kernel."""
        return weights_elsewhere(graph, (*COMPUTED, "Gemm"), "has no fast dynamic int8 kernel")

    def __call__(self, source: Path, target: Path, calibration: Calibration) -> None:
        """Write the model with int8 weights.

        Raises NotApplicable when no product has constant float32 weights, CandidateError when smoothing gets no
        samples or `smooth` is out of range.
        """
        model = rewriting.prepared(source)
        rewriting.gemms_as_matmuls(model)
        if not rewriting.weighted_nodes(model, COMPUTED):
            raise NotApplicable(f"no {', '.join(COMPUTED)} or Gemm reads constant float32 weights")
        if self.smooth is not None:
            model = smoothed(model, batches(model, calibration, self.samples), self.smooth)
        rewriting.write(self._quantised(model), target)

    def _quantised(self, model: onnx.ModelProto) -> onnx.ModelProto:
        with tempfile.TemporaryDirectory(prefix="costopt-") as folder, rewriting.third_party("dynamic quantisation"):
            quantised = Path(folder, "quantised.onnx")
            quantize_dynamic(
                model,
                quantised,
                op_types_to_quantize=[*COMPUTED, *LOOKED_UP],
                per_channel=self.per_channel,
                weight_type=TYPES[self.weights],
                use_external_data_format=True,
                # onnx can't infer what ONNX Runtime's own operators give; in these graphs it is float32
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
            return rewriting.tidied(rewriting.read(quantised))
