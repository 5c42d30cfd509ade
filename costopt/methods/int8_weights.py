"""Int8 weights in blocks, each block with a scale of its own: a quarter of the size, nearly the original's outputs.

Every matrix product by a constant becomes ONNX Runtime's `MatMulNBits`; everything else stays in float32. Blocks keep
an outlier from costing more than its neighbours their precision, and since no activation range is fixed beforehand, no
calibration data is needed.

Source: Dettmers et al., LLM.int8(), NeurIPS 2022, arXiv:2208.07339, section 2.1, for absmax rounding; the blocks are
those of `onnxruntime.quantization.matmul_nbits_quantizer`.

Cost: seconds. Helps where reading the weights is what takes the time (large matrices, small batches) and wherever
size counts: on four 4096 x 4096 products 3.8x at batch 1 and 2.2x at batch 64, on an encoder of 2.2M parameters 1.16x,
on a transformer of 0.5M 0.97x (measured 2026-11, one core of an AMD EPYC with AVX512-VNNI, ONNX Runtime 1.31.1). Hurts
badly with `compute: float32`: ONNX Runtime's CPU provider has no 8-bit kernel for it and widens the whole weight on
each call, 25 times slower than float32 on those products at batch 1. Providers other than ONNX Runtime's own may not
take the operator.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from costopt import rewriting
from costopt.methods import Calibration, OnnxMethod, weights_elsewhere
from costopt.records import Graph


@dataclass(frozen=True)
class Int8Weights(OnnxMethod):
    """Int8 weights in blocks.

    `symmetric` blocks have a scale, others a zero point too. `compute` says what the products are taken in: with
    int8, activations are rounded to it block by block.
    """

    block_size: Literal[32, 64, 128] = 128
    symmetric: bool = True
    compute: Literal["int8", "float32"] = "int8"

    def unsuitable(self, graph: Graph) -> str | None:
        """The operators that hold the weights, when they are not matrix products."""
        return weights_elsewhere(graph, ("MatMul", "Gemm"), "has no kernel for int8 weights alone")

    def __call__(self, source: Path, target: Path, calibration: Calibration) -> None:  # noqa: ARG002 - needs no data
        """Write the model with 8-bit weights. Raises NotApplicable when no product has constant float32 weights."""
        model = rewriting.prepared(source)
        rewriting.gemms_as_matmuls(model)
        integer = self.compute == "int8"
        rewriting.write(rewriting.with_weights_in_blocks(model, 8, self.block_size, self.symmetric, integer), target)
