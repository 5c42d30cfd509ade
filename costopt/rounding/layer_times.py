"""How much time a layer saves on this machine when it is quantised.

ONNX Runtime fuses and renames nodes as it likes, so that a whole model's profile does not tell which kernel was which
layer. So each layer is cut out, with the shape that really flows into it, and profiled alone, in float32 and with QDQ
pairs. Layers that are alike (operator, attributes, shapes) are measured once: a transformer has three or four kinds.

Rounding what flows into a product is part of its cost. A convolution gets its input rounded by the one before it.
"""

import json
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization.calibrate import TensorsData

from costopt import rewriting
from costopt.methods import Arrays
from costopt.rounding.activations import flowing
from costopt.rounding.layers import Floats, Layer, Weights
from costopt.rounding.qdq import Rounding

CALLS = 9
"""Profiled calls of each layer, of which the fastest counts: whatever disturbs a call only ever adds to it."""

WARM_CALLS = 2
"""Calls before those: the first packs weights."""

Event = Mapping[str, Any]
"""One event of ONNX Runtime's profile, in Chrome's trace format: name, dur in microseconds, args."""

BOUNDARIES = frozenset({"QuantizeLinear", "DequantizeLinear"})


def saved_ms(
    model: onnx.ModelProto, found: Iterable[Layer], rounding: Rounding, ranges: TensorsData, inputs: Iterable[Arrays]
) -> Mapping[str, float]:
    """The milliseconds that each layer saves by being quantised, on one thread, by the name of its node.

    Negative where the float32 kernel is the faster one. The first batch of `inputs` gives the shapes.
    Raises CandidateError when a layer can't be run.
    """
    timed = kernels_ms(model, found, rounding, ranges, inputs)
    return {name: float_ms - int8_ms for name, (float_ms, int8_ms) in timed.items()}


def kernels_ms(
    model: onnx.ModelProto, found: Iterable[Layer], rounding: Rounding, ranges: TensorsData, inputs: Iterable[Arrays]
) -> Mapping[str, tuple[float, float]]:
    """The milliseconds of each layer alone, on one thread, in float32 and quantised, by the name of its node.

    Raises CandidateError when a layer can't be run.
    """
    found, known = list(found), dict[str, tuple[float, float]]()
    arrays = next(flowing(model, [one.input for one in found], inputs))
    taken = {}
    for layer in found:
        array = arrays[layer.input].astype(np.float32)
        alone = cut_out(model, layer, array.shape)
        kind = _kind(alone)
        if kind not in known:
            quantised = rounding.quantised(alone, ranges)
            known[kind] = _kernels_ms(alone, layer, array), _kernels_ms(quantised, layer, array)
        taken[layer.node.name] = known[kind]
    return taken


def operations(model: onnx.ModelProto, found: Iterable[Layer], inputs: Iterable[Arrays]) -> Mapping[str, float]:
    """The multiplications of each layer for the first batch, by the name of its node: each output takes as many as
    there are weights for its channel. (A transposed convolution's inputs take them instead.)
    """
    found, weights = list(found), Weights(model)
    arrays = next(flowing(model, [name for one in found for name in (one.input, one.output)], inputs))
    counts = {}
    for one in found:
        turned = one.node.op_type == "ConvTranspose"
        shape = weights[one.weight].shape
        channels = shape[0] if turned else shape[one.axis_out]
        counts[one.node.name] = arrays[one.input if turned else one.output].size * float(np.prod(shape)) / channels
    return counts


def cut_out(model: onnx.ModelProto, layer: Layer, shape: tuple[int, ...]) -> onnx.ModelProto:
    """A model of this layer alone, with its own constants, for an input of this shape."""
    weights, kind = Weights(model), onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [layer.node],
        "layer",
        [onnx.helper.make_tensor_value_info(layer.input, kind, shape)],
        [onnx.helper.make_tensor_value_info(layer.output, kind, None)],
        [onnx.numpy_helper.from_array(weights[name], name) for name in layer.node.input[1:] if name],
    )
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _kind(alone: onnx.ModelProto) -> str:
    """What layers that take equally long have in common."""
    (node,), (given,) = alone.graph.node, alone.graph.input
    attributes = sorted(str(one) for one in node.attribute)
    shapes = [list(one.dims) for one in alone.graph.initializer]
    return f"{node.op_type} {attributes} {shapes} {given.type}"


def _kernels_ms(alone: onnx.ModelProto, layer: Layer, array: Floats) -> float:
    """The time of the layer's kernels, each that of its fastest call."""
    uncounted = BOUNDARIES if layer.node.op_type.startswith("Conv") else frozenset[str]()
    return fastest_ms(alone, {layer.input: array}, uncounted)


def fastest_ms(alone: onnx.ModelProto, feed: Arrays, uncounted: Collection[str] = (), calls: int = CALLS) -> float:
    """The milliseconds of a model's kernels on one thread, each that of its fastest call.

    Operators in `uncounted` take no time. Raises CandidateError when the model can't be run.
    """
    micros: defaultdict[str, list[int]] = defaultdict(list)
    for event in _profile(alone, feed, calls):
        if event["name"].endswith("_kernel_time") and event["args"]["op_name"] not in uncounted:
            micros[event["name"]].append(event["dur"])
    return 1e-3 * sum(min(taken[WARM_CALLS:]) for taken in micros.values())


def _profile(alone: onnx.ModelProto, feed: Arrays, calls: int) -> list[Event]:
    """ONNX Runtime's events of some calls on one thread. Nothing is left on the disk."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = rewriting.ERRORS_ONLY
    options.intra_op_num_threads, options.enable_profiling = 1, True
    with rewriting.third_party("profiling a layer"), tempfile.TemporaryDirectory(prefix="costopt-") as folder:
        options.profile_file_prefix = str(Path(folder, "profile"))
        session = onnxruntime.InferenceSession(alone.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for _ in range(WARM_CALLS + calls):
            session.run(None, feed)
        events: list[Event] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        return events
