"""The graph that ONNX Runtime would run for a model, and the size and type of every value in it.

ONNX Runtime writes its optimised graph with the shapes that it inferred; what its own quantised operators give is
missing there, but has a name in the original graph, where onnx infers it.
"""

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime

from costopt import rewriting
from costopt.errors import CandidateError

LARGEST_BYTES = 2**30
"""Files beyond this are counted as they are: ONNX Runtime would have to write them out a second time, and can't above
2 GiB."""

_HALF_A_BYTE = frozenset({onnx.TensorProto.INT4, onnx.TensorProto.UINT4})


@dataclass(frozen=True, slots=True)
class _Value:
    shape: tuple[int, ...]
    kind: int


class Values:
    """Shapes and types of a graph's values by name, constants told apart."""

    def __init__(self, values: Mapping[str, _Value], constants: frozenset[str]) -> None:
        self._values = values
        self._constants = constants

    def known(self, name: str) -> bool:
        """Whether its shape and type are known."""
        return name in self._values

    def is_constant(self, name: str) -> bool:
        """Whether it is part of the model and not of what flows through it."""
        return name in self._constants

    def shape(self, name: str) -> tuple[int, ...]:
        """Its axes. Raises KeyError where it isn't known."""
        return self._values[name].shape

    def elements(self, name: str) -> int:
        """How many numbers it holds."""
        return math.prod(self._values[name].shape)

    def item_bytes(self, name: str) -> float:
        """Bytes of one of its numbers."""
        kind = self._values[name].kind
        if kind in _HALF_A_BYTE:
            return 0.5
        return float(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize) if kind != onnx.TensorProto.STRING else 8.0

    def bytes(self, name: str) -> float:
        """All its bytes."""
        return self.elements(name) * self.item_bytes(name)


def optimised(path: Path, sizes: Mapping[str, int]) -> onnx.ModelProto:
    """The graph as ONNX Runtime's CPU provider would run it, without a layout chosen; weights included.

    The file's own graph where it is too large to write. Raises CandidateError for a file that ONNX Runtime refuses.
    """
    if path.stat().st_size > LARGEST_BYTES or any(path.parent.glob(f"{path.name}.data")):
        return onnx.load(str(path), load_external_data=False)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = rewriting.ERRORS_ONLY
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    with tempfile.TemporaryDirectory(prefix="costopt-") as folder, rewriting.third_party("optimising by ONNX Runtime"):
        written = Path(folder, "optimised.onnx")
        options.optimized_model_filepath = str(written)
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(str(written))


def values_of(model: onnx.ModelProto, path: Path, sizes: Mapping[str, int]) -> Values:
    """Every value of `model` whose shape is known. Raises CandidateError for an input with an axis without a size."""
    original = onnx.load(str(path), load_external_data=False)
    _fill_in(original, sizes)
    _fill_in(model, sizes)
    with rewriting.third_party("inferring shapes"):
        told = onnx.shape_inference.infer_shapes(original, data_prop=True)
        plain = _in_plain_operators(model, told)
        inferred = onnx.shape_inference.infer_shapes(plain, data_prop=True)
    found: dict[str, _Value] = {}
    for graph in (inferred.graph, told.graph, model.graph):
        for info in (*graph.input, *graph.output, *graph.value_info):
            if (value := _value(info)) is not None:
                found[info.name] = value
    constants: dict[str, _Value] = {}
    for tensor in model.graph.initializer:
        constants[tensor.name] = _Value(tuple(tensor.dims), tensor.data_type)
    for node in model.graph.node:
        if node.op_type == "Constant":
            for one in node.attribute:
                if one.HasField("t"):
                    constants[node.output[0]] = _Value(tuple(one.t.dims), one.t.data_type)
    return Values({**found, **constants}, frozenset(constants))


_UNARY = (
    "QLinearLeakyRelu", "QLinearSigmoid", "QLinearSoftmax", "Gelu", "FastGelu", "BiasGelu", "QuickGelu",
    "SkipLayerNormalization", "QuantizeLinear", "DequantizeLinear",
)  # fmt: skip

_STAND_INS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "FusedConv": ("Conv", (0, 1)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    "QGemm": ("Gemm", (0, 3)),
    "FusedGemm": ("Gemm", (0, 1)),
    "MatMulIntegerToFloat": ("MatMul", (0, 1)),
    "DynamicQuantizeMatMul": ("MatMul", (0, 1)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    **dict.fromkeys(_UNARY, ("Identity", (0,))),
}
"""Operators of ONNX Runtime's own that onnx infers nothing for, and a standard one that gives the same shape for the
inputs at these places."""


def _in_plain_operators(model: onnx.ModelProto, original: onnx.ModelProto) -> onnx.ModelProto:
    """The graph for inferring shapes only: stand-ins for what onnx doesn't know, and what is known of the original."""
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    for node in plain.graph.node:
        if node.op_type in _STAND_INS and node.domain == "com.microsoft":
            node.op_type, places = _STAND_INS[node.op_type]
            node.domain = ""
            kept = [node.input[place] for place in places]
            del node.input[:]
            node.input.extend(kept)
    told = {one.name for one in (*plain.graph.value_info, *plain.graph.output)}
    made = {name for node in plain.graph.node for name in node.output}
    plain.graph.value_info.extend(
        one for one in original.graph.value_info if one.name in made and one.name not in told and _value(one)
    )
    return plain


def _value(info: onnx.ValueInfoProto) -> _Value | None:
    kind = info.type.tensor_type
    if not kind.elem_type or not kind.HasField("shape"):
        return None
    shape = tuple(axis.dim_value for axis in kind.shape.dim)
    return _Value(shape, kind.elem_type) if all(kind_ > 0 for kind_ in shape) else None


def _fill_in(model: onnx.ModelProto, sizes: Mapping[str, int]) -> None:
    """Give open axes of the inputs their sizes, and forget what was inferred without them."""
    constants = {tensor.name for tensor in model.graph.initializer}
    for given in model.graph.input:
        for axis in given.type.tensor_type.shape.dim:
            if axis.dim_param:
                size = sizes.get(axis.dim_param)
                if size is None and given.name not in constants:
                    raise CandidateError("project", f"axis '{axis.dim_param}' of input '{given.name}' has no size")
                axis.dim_value = size or 1
