"""In which floating-point format does a provider really multiply float32 numbers? By arithmetic, not by belief.

A number 1 + 2^-k survives a multiplication by 1 only in a format whose mantissa has at least k bits:

    float32          23 bits
    tensorfloat32    10 bits, and float32's range
    float16          10 bits, and a range that 2^17 and 2^-30 lie outside of
    bfloat16          7 bits

So a matrix product and a convolution of tiny float32 graphs, with such numbers once among the inputs and once among the
constant weights, tell the format from what comes back. All other terms of the sums are 0, so that adding up rounds
nothing, and a format that is kept for the sums alone (float32 sums of bfloat16 products) does not hide.
Formats: IEEE 754-2019 (binary16, binary32); NVIDIA, "TensorFloat-32 in the A100 GPU" (2020); Intel, "BFLOAT16 -
hardware numerics definition" (2018).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from costopt import plugins
from costopt.errors import CandidateError
from costopt.measuring import session_options
from costopt.providers import Provider, opened, recorded
from costopt.records import Setting, Spec

Format = Literal["float32", "tensorfloat32", "float16", "bfloat16", "unknown"]
Floats = NDArray[np.float32]

_MANTISSA_BITS: dict[int, Format] = {23: "float32", 10: "tensorfloat32", 7: "bfloat16"}
"""A format by the bits of its mantissa; float16 has tensorfloat32's, and is told from it by its range."""

_COARSEST_FIRST: tuple[Format, ...] = ("bfloat16", "float16", "tensorfloat32", "float32")

FACTORS: tuple[float, ...] = (*(1 + 2.0**-bit for bit in range(1, 24)), 2.0**17, 2.0**-30)
"""What is multiplied by 1: exact in float32, all of them. The last two are beyond float16 (65504, 2^-24)."""

_SIDE = 64
"""Numbers on each side of the probe, filled up with ones: as large as the tiles that matrix units compute in."""


def decode(inputs: Sequence[float], weights: Sequence[float]) -> Format:
    """The format from what became of `FACTORS`: once multiplied as inputs, once as weights.

    "unknown" where the two differ, or where they fit none of the formats.
    """
    one, other = _format(inputs), _format(weights)
    return one if one == other else "unknown"


def _format(products: Sequence[float]) -> Format:
    exact = [product == factor for product, factor in zip(products, FACTORS, strict=True)]
    *bits, large, small = exact
    kept = bits.index(False) if False in bits else len(bits)
    if any(bits[kept:]):  # a format loses every number that is finer than its mantissa
        return "unknown"
    found = _MANTISSA_BITS.get(kept, "unknown")
    if large and small:
        return found
    return "float16" if found == "tensorfloat32" else "unknown"


# ---------------------------------------------------------------------------------------- the probe


def probe(provider: Spec, threads: int) -> Format:
    """The format that a provider multiplies float32 numbers in, the coarser one of matrix product and convolution.

    "unknown" when it takes neither, or fits no format. Run it in a child process: a provider may crash.
    """
    found = {_seen(graph, provider, threads) for graph in (_product(), _convolution())}
    return next((one for one in _COARSEST_FIRST if one in found), "unknown")


def _seen(model: ModelProto, provider: Spec, threads: int) -> Format:
    try:
        products = _products(model, provider, threads)
    except CandidateError:  # it does not take this operator
        return "unknown"
    inputs, weights = products[: len(FACTORS)], products[_SIDE : _SIDE + len(FACTORS)]
    return decode(inputs.tolist(), weights.tolist())


def _products(model: ModelProto, provider: Spec, threads: int) -> Floats:
    """The diagonal of what a graph makes of the probe. Raises CandidateError when the provider does not compute it."""
    one = plugins.make("providers", provider, Provider)
    options = session_options.make(Setting(provider, threads=threads))
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = opened(model.SerializeToString(), options, one)
        _refuse_other(session, one)
        (outputs,) = session.run(None, {"x": _inputs().reshape(_shape(session))})
    except CandidateError:
        raise
    except Exception as problem:  # third-party call: a provider may refuse a graph in any way it likes
        raise CandidateError("bench", f"the probe of its precision fails: {problem}") from problem
    diagonal: Floats = np.diagonal(np.asarray(outputs, dtype=np.float32).reshape(2 * _SIDE, 2 * _SIDE))
    return diagonal


def _refuse_other(session: onnxruntime.InferenceSession, provider: Provider) -> None:
    """Raise CandidateError when the record names others alone: their format would be taken for this provider's."""
    taken = recorded(session)
    if taken and provider.runtime_name not in taken:
        raise CandidateError("bench", f"{provider.runtime_name} left the probe to {', '.join(sorted(taken))}")


def _shape(session: onnxruntime.InferenceSession) -> list[int]:
    shape: list[int] = session.get_inputs()[0].shape
    return shape


def _inputs() -> Floats:
    """A diagonal matrix: FACTORS where the weights are 1, then 1 where the weights are FACTORS."""
    return np.diag(np.concatenate([_side(), np.ones(_SIDE, np.float32)]))


def _weights() -> Floats:
    return np.diag(np.concatenate([np.ones(_SIDE, np.float32), _side()]))


def _side() -> Floats:
    side = np.ones(_SIDE, np.float32)
    side[: len(FACTORS)] = FACTORS
    return side


def _product() -> ModelProto:
    """y = x @ w: row i of the result has x[i, i] * w[i, i] on the diagonal."""
    size = 2 * _SIDE
    return _model("MatMul", [size, size], _weights())


def _convolution() -> ModelProto:
    """A convolution with a 1x1 kernel, whose channels are the rows and whose positions are the columns.

    Not 3x3: fast algorithms for that (Winograd's) round on the way, in any format.
    """
    size = 2 * _SIDE
    return _model("Conv", [1, size, size // 8, 8], _weights().reshape(size, size, 1, 1))


def _model(operator: str, shape: Sequence[int], weights: Floats) -> ModelProto:
    """One node with constant weights; the output has the input's shape."""
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "w"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


# ---------------------------------------------------------------------------------------- in words
