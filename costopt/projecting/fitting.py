"""A machine's speed in two dozen figures: what each unit of each kind of work takes, fitted to reference graphs.

    time of a call = sum over columns of (how much a model asks of it) * (seconds a unit)

The columns are operations by class and format, bytes by class and by whether they come out of a cache, rows, and a
constant for each node and for each call: a roofline whose two sides are added up, because kernels compute and load in
turns more than at once. Nothing can take negative time, so the fit is a nonnegative least-squares one, on relative
errors: a graph of 10 microseconds counts as much as one of 10 milliseconds.

Tried on one core of an AMD EPYC (Zen 4) with ONNX Runtime 1.31, 2026-11, median error by cross-validation on the
references, and on 31 models held out: one rate for each class, 16 % and 17 %; with elementwise work told apart by how
much it does, weights and values that no cache holds apart from others, and an overhead for each 8-bit node, 6 % and
10 %; with convolutions counted in whole blocks of 16 channels, the recurrent's weights once a step, and ONNX Runtime's
slow SkipLayerNormalization by itself, 6 % and 4 %.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from costopt.projecting.work import Work

Demand = Mapping[str, float]
"""How much a model asks of each column in one call."""

COLUMNS: Mapping[str, str] = {
    "call": "calls",
    "node": "nodes",
    "int8_node": "nodes",
    "conv_fp32": "operations",
    "conv_fp32_moved": "bytes",
    "conv_int8": "operations",
    "conv_int8_moved": "bytes",
    "conv_int8_gathered": "pieces",
    "depthwise_fp32": "operations",
    "depthwise_fp32_moved": "bytes",
    "depthwise_int8": "operations",
    "depthwise_int8_moved": "bytes",
    "matmul_fp32": "operations",
    "matmul_fp32_moved": "bytes",
    "matmul_int8": "operations",
    "matmul_int8_moved": "bytes",
    "weights_cached": "bytes",
    "weights_streamed": "bytes",
    "light_cached": "bytes",
    "light_streamed": "bytes",
    "strided": "bytes",
    "heavy": "operations",
    "rows": "rows",
    "residual_norm": "operations",
    "pool": "operations",
    "quantize": "operations",
}
"""Each column's unit; its rate is in seconds a unit."""

CACHE_BYTES = 32 * 2**20
"""The last cache of a machine that doesn't tell."""


def demand(works: Sequence[Work], cache_bytes: float = CACHE_BYTES) -> Demand:
    """What a model asks of each column; nodes that are not known (`work.unknown`) count as nodes only."""
    total = dict.fromkeys(COLUMNS, 0.0)
    total["call"], total["node"] = 1.0, float(len(works))
    streamed = _streamed(sum(one.weight_bytes for one in works), cache_bytes)
    for one in works:
        for column, amount in _asks(one, cache_bytes).items():
            total[column] += amount
        if one.kind in ("conv", "depthwise", "matmul"):
            total["weights_streamed"] += streamed * one.weight_bytes
            total["weights_cached"] += (1 - streamed) * one.weight_bytes
    return total


def _asks(one: Work, cache_bytes: float) -> dict[str, float]:
    match one.kind:
        case "conv" | "depthwise" | "matmul":
            narrow = one.precision == "int8"
            name = f"{one.kind}_{'int8' if narrow else 'fp32'}"
            asks = {name: one.rounded, f"{name}_moved": one.read_bytes + one.written_bytes}
            return {**asks, "int8_node": 1.0, "conv_int8_gathered": one.gathered} if narrow else asks
        case "light" | "pool":
            streamed = _streamed(one.moved_bytes, cache_bytes)
            asks = {"light_streamed": streamed * one.moved_bytes, "light_cached": (1 - streamed) * one.moved_bytes}
            return {**asks, "pool": one.operations} if one.kind == "pool" else asks
        case "rowwise":
            return {"heavy": one.operations, "rows": one.rows}
        case "strided":
            return {"strided": one.moved_bytes}
        case "heavy" | "residual_norm" | "quantize":
            return {one.kind: one.operations}
        case "free" | "unknown":
            return {}


def _streamed(touched_bytes: float, cache_bytes: float) -> float:
    """The share of bytes that come from memory: none up to half of the last cache, all from twice its size on.

    Reading in a circle pushes out what is read next, and neighbours share the cache; measured at 25 MB of weights
    against 32 MiB of cache: a third (one core of an AMD EPYC, 2026-11).
    """
    if touched_bytes <= 0:
        return 0.0
    return min(max(math.log(2 * touched_bytes / cache_bytes) / math.log(4), 0.0), 1.0)


def fitted(demands: Sequence[Demand], seconds: Sequence[float]) -> Mapping[str, float]:
    """Seconds a unit of each column, none negative, that foretell the references with the least squared relative error.

    Raises ValueError for no references, or a time that is not above zero.
    """
    from scipy.optimize import nnls

    if not seconds or min(seconds) <= 0:
        raise ValueError("needs references, and times above zero")
    asked = np.array([[one[column] for column in COLUMNS] for one in demands]) / np.array(seconds)[:, None]
    scale = np.maximum(np.abs(asked).max(axis=0), np.finfo(float).tiny)  # units differ by nine orders of magnitude
    rates, _ = nnls(asked / scale, np.ones(len(seconds)))
    return {column: float(rate) for column, rate in zip(COLUMNS, rates / scale, strict=True)}


def predicted_s(rates: Mapping[str, float], asked: Demand) -> float:
    """Seconds of a call. Raises KeyError for a column without a rate."""
    return sum(rates[column] * amount for column, amount in asked.items())


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How far predictions lie from times: relative errors, without sign, of `models`; and the share of pairs of models
    of which the slower was foretold to be slower."""

    models: int
    median: float
    worst: float
    ordered: float


def accuracy(predicted: Sequence[float], measured: Sequence[float]) -> Accuracy:
    """The errors of `predicted` beside `measured`, both in seconds. Raises ValueError for less than two."""
    if len(measured) < 2:
        raise ValueError("needs two models or more")
    guesses, times = np.array(predicted), np.array(measured)
    errors = np.abs(guesses / times - 1)
    first, second = np.triu_indices(len(times), 1)
    right = (guesses[first] - guesses[second]) * (times[first] - times[second]) > 0
    return Accuracy(len(times), float(np.median(errors)), float(errors.max()), float(right.mean()))
