"""Int4 weights in blocks, each block with a scale of its own: an eighth of the size, at some cost in accuracy.

Every matrix product by a constant becomes ONNX Runtime's `MatMulNBits`; everything else stays in float32. Sixteen
levels are few: smaller blocks keep more accuracy, in a slightly larger file. `rule: rtn` rounds weights to the nearest
of levels that span a block's extremes, `mse` of those that leave the least squared error: neither needs calibration
data. With `gptq` the weights of a column that are not rounded yet take back the error of those that are, as far as
calibration data show that their inputs go together (`four_bits`).

Source: Dettmers and Zettlemoyer, The case for 4-bit precision: k-bit Inference Scaling Laws, ICML 2023,
arXiv:2212.09720, for what 4 bits and small blocks keep; the blocks are those of
`onnxruntime.quantization.matmul_nbits_quantizer`.

Cost: seconds. Helps where reading the weights is what takes the time (large matrices, small batches) and wherever
size counts: on four 4096 x 4096 products 5.4x at batch 1 and 1.5x at batch 64; 7.0x and 2.1x with blocks of 128
(measured 2026-11, one core of an AMD EPYC with AVX512-VNNI, ONNX Runtime 1.31.1). Hurts small models, which compute
more than they read: 0.95x on an encoder of 2.2M parameters, 0.87x to 0.90x on a transformer of 0.5M there; and
accuracy: mean cosine to the original on an encoder of 22.7M 0.962 with `rtn`, 0.968 with `mse`, 0.987 with `gptq`, each
as fast as the others (0.971, 0.973 and 0.989 unless `symmetric`; measured 2026-11, 100 texts).
Providers other than ONNX Runtime's own may not take the operator.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from costopt import rewriting
from costopt.errors import CandidateError
from costopt.methods import Arrays, Calibration, OnnxMethod, weights_elsewhere
from costopt.records import Graph, Value
from costopt.rounding.activations import batches, flowing
from costopt.rounding.four_bits import Blocks, gptq, nearest
from costopt.rounding.layers import Weights, drop_unread, layers
from costopt.rounding.qdq import refuse_damaged


@dataclass(frozen=True)
class Int4Weights(OnnxMethod):
    """Int4 weights in blocks.

    `symmetric` blocks have a scale, others a zero point too. `compute` says what the products are taken in: with
    int8, activations are rounded to it block by block. `samples` is how many calibration samples `rule: gptq` reads.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({}, {"rule": "gptq"})

    block_size: Literal[32, 64, 128] = 32
    symmetric: bool = True
    compute: Literal["int8", "float32"] = "int8"
    rule: Literal["rtn", "mse", "gptq"] = "mse"
    samples: int = 64

    def unsuitable(self, graph: Graph) -> str | None:
        """The operators that hold the weights, when they are not matrix products."""
        return weights_elsewhere(graph, ("MatMul", "Gemm"), "has no kernel for int4 weights alone")

    def __call__(self, source: Path, target: Path, calibration: Calibration) -> None:
        """Write the model with 4-bit weights.

        Raises NotApplicable when no product has constant float32 weights; CandidateError when weights are not finite,
        and with `rule: gptq` when there are no calibration samples, or what flows in is not finite.
        """
        model = rewriting.prepared(source)
        rewriting.gemms_as_matmuls(model)
        integer = self.compute == "int8"
        whole = onnx.ModelProto()
        whole.CopyFrom(model)
        made = rewriting.with_weights_in_blocks(model, 4, self.block_size, self.symmetric, integer)
        if self.rule != "rtn":
            refuse_damaged(whole)
            self._round_anew(made, whole, calibration)
        rewriting.write(made, target)

    def _round_anew(self, made: onnx.ModelProto, whole: onnx.ModelProto, calibration: Calibration) -> None:
        """Replace the blocks of each product, of which the float32 weight in `whole` is rounded anew."""
        products = {one.output: one for one in layers(whole) if one.node.op_type == "MatMul"}
        moments: Mapping[str, NDArray[np.float64]] = {}
        if self.rule == "gptq":
            inputs = batches(whole, calibration, self.samples)
            moments = second_moments(whole, {one.input for one in products.values()}, inputs)
        weights, new = Weights(whole), Weights(made)
        for node in made.graph.node:
            if node.op_type == "MatMulNBits" and node.output[0] in products:
                layer = products[node.output[0]]
                blocks = self._blocks(weights[layer.weight], moments.get(layer.input))
                _replace(node, new, blocks, self.block_size)
        drop_unread(made)

    def _blocks(self, weight: NDArray[np.float32], moment: NDArray[np.float64] | None) -> Blocks:
        if moment is None:
            return nearest(weight, self.block_size, self.symmetric)
        return gptq(weight, moment, self.block_size, self.symmetric)


def _replace(node: onnx.NodeProto, new: Weights, blocks: Blocks, size: int) -> None:
    """Give a `MatMulNBits` its own codes, scales and, where it has them, zero points."""
    values: list[NDArray[np.generic]] = [blocks.packed(size), blocks.scales.T, blocks.packed_zeros()]
    for place, array in enumerate(values[: len(node.input) - 1], 1):
        old = new[node.input[place]]
        node.input[place] = f"{node.output[0]}_{('codes', 'scales', 'zeros')[place - 1]}"
        new.put(node.input[place], np.ascontiguousarray(array.reshape(old.shape), old.dtype))


def second_moments(
    model: onnx.ModelProto, names: Iterable[str], inputs: Iterable[Arrays]
) -> Mapping[str, NDArray[np.float64]]:
    """The sum of x x^T over all rows x (the last axis) of each tensor. Raises CandidateError when one is not finite."""
    asked, sums = list(names), dict[str, NDArray[np.float64]]()
    for arrays in flowing(model, asked, inputs):
        for name, array in arrays.items():
            rows = array.reshape(-1, array.shape[-1]).astype(np.float32)
            if not np.isfinite(rows).all():
                raise CandidateError("compress", f"calibration saw values in '{name}' that are not finite")
            sums[name] = sums.get(name, 0.0) + (rows.T @ rows).astype(np.float64)
    return sums
