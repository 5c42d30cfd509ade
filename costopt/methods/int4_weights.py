"""Int4 weights in blocks, each block with a scale of its own: an eighth of the size, at some cost in accuracy.

Every matrix product by a constant becomes ONNX Runtime's `MatMulNBits`; everything else stays in float32. Sixteen
levels are few: smaller blocks keep more accuracy, in a slightly larger file. Weights are rounded to the nearest level;
no calibration data is needed.

Source: Dettmers and Zettlemoyer, The case for 4-bit precision: k-bit Inference Scaling Laws, ICML 2023,
arXiv:2212.09720, for what 4 bits and small blocks keep; the blocks are those of
`onnxruntime.quantization.matmul_nbits_quantizer`.

Cost: seconds. Helps where reading the weights is what takes the time (large matrices, small batches) and wherever
size counts: on four 4096 x 4096 products 5.4x at batch 1 and 1.5x at batch 64; 7.0x and 2.1x with blocks of 128
(measured 2026-11, one core of an AMD EPYC with AVX512-VNNI, ONNX Runtime 1.31.1). Hurts small models, which compute
more than they read: 0.95x on an encoder of 2.2M parameters, 0.87x to 0.90x on a transformer of 0.5M there; and
accuracy: cosine to the original 0.968 on an encoder of 22.7M (measured 2026-11, 2-core Xeon with AMX). Providers other
than ONNX Runtime's own may not take the operator.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from costopt import rewriting
from costopt.methods import Calibration, OnnxMethod, weights_elsewhere
from costopt.records import Graph


@dataclass(frozen=True)
class Int4Weights(OnnxMethod):
    """Int4 weights in blocks.

    `symmetric` blocks have a scale, others a zero point too. `compute` says what the products are taken in: with
    int8, activations are rounded to it block by block.
    """

    block_size: Literal[32, 64, 128] = 32
    symmetric: bool = True
    compute: Literal["int8", "float32"] = "int8"

    def unsuitable(self, graph: Graph) -> str | None:
        """The operators that hold the weights, when they are not matrix products."""
        return weights_elsewhere(graph, ("MatMul", "Gemm"), "has no kernel for int4 weights alone")

    def __call__(self, source: Path, target: Path, calibration: Calibration) -> None:  # noqa: ARG002 - needs no data
        """Write the model with 4-bit weights. Raises NotApplicable when no product has constant float32 weights."""
        model = rewriting.prepared(source)
        rewriting.gemms_as_matmuls(model)
        integer = self.compute == "int8"
        rewriting.write(rewriting.with_weights_in_blocks(model, 4, self.block_size, self.symmetric, integer), target)
