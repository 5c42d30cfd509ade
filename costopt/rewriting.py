"""ONNX graphs rewritten by other people's tools: read, made ready, handed over, written.

    read ─▶ prepared ─▶ (gemms_as_matmuls) ─▶ a quantiser, inside `third_party` ─▶ write

The quantisers of ONNX Runtime want constants folded and shapes known, and trip over what torch's exporter writes
(`prepared` mends it). They print, set up logging and raise what they like; `third_party` keeps that from the user.
Nothing here touches the source file or leaves a temporary one behind.
"""

import io
import logging
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import onnx

from costopt import graph
from costopt.errors import CandidateError, NotApplicable

SINGLE_FILE_BYTES = 2**31 - 2**24
"""Weights beyond this lie beside the graph, as external data: protobuf refuses messages of 2 GiB and more."""

QUANTISED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "MatMulNBits", "QLinearConv"}
)
"""Operators that only a quantised graph holds."""

HALF_PRECISION = frozenset({onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16})

ERRORS_ONLY = 3
"""Log severity of ONNX Runtime: its warnings are for its developers."""


@contextmanager
def third_party(what: str) -> Iterator[None]:
    """Run a tool in silence; whatever it raises becomes a CandidateError that says what could not be done, and why.

    ONNX Runtime's Python tools print to stdout, warn through the root logger, and one of them sets that logger up when
    it is imported (`matmul_nbits_quantizer`).
    """
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)  # logging.basicConfig does nothing where there is a handler already
    try:
        with redirect_stdout(io.StringIO()):
            yield
    except Exception as problem:  # third-party call: ValueError, AssertionError, bare RuntimeError, pybind11 errors ...
        words = " ".join(str(problem).split())[:300] or type(problem).__name__
        raise CandidateError("compress", f"{what} failed: {words}") from problem
    finally:
        root.removeHandler(silent)


def read(path: Path) -> onnx.ModelProto:
    """The model, with its external data in memory."""
    return onnx.load(path)


def write(model: onnx.ModelProto, path: Path) -> None:
    """Write the model as one file or, above `SINGLE_FILE_BYTES`, with its weights in `<name>.data` beside it."""
    if _is_large(model):
        emptied = onnx.ModelProto()  # onnx moves the weights out of what it saves
        emptied.CopyFrom(model)
        onnx.save(emptied, path, save_as_external_data=True, location=f"{path.name}.data")
    else:
        onnx.save(model, path)


def prepared(source: Path) -> onnx.ModelProto:
    """The model as quantisers want it: constants and BatchNorm folded, every shape inferred.

    This is ONNX Runtime's own pre-processing, as its documentation asks for before quantisation
    (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html#pre-processing).
    Raises NotApplicable for a model that is quantised already, CandidateError when its shapes can't be inferred.
    """
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = read(source)
    if found := {node.op_type for node in model.graph.node} & QUANTISED:
        raise NotApplicable(f"the model is quantised already: it holds {', '.join(sorted(found))}")
    _mend_declarations(model)
    with tempfile.TemporaryDirectory(prefix="costopt-") as folder, third_party("pre-processing by ONNX Runtime"):
        plain, ready = Path(folder, "plain.onnx"), Path(folder, "ready.onnx")
        write(model, plain)
        quant_pre_process(
            plain,
            ready,
            skip_symbolic_shape=True,  # ONNX Runtime and onnx infer the exporter's graphs; sympy dies on some
            skip_optimization=not can_be_optimised(model),
            save_as_external_data=_is_large(model),
        )
        return tidied(read(ready))


def can_be_optimised(model: onnx.ModelProto) -> bool:
    """Whether ONNX Runtime can write an optimised form of this model that is worth having.

    It can't save one of 2 GiB, and writes casts to float32 into those in half precision when it runs on a CPU.
    """
    return not (_is_large(model) or any(tensor.data_type in HALF_PRECISION for tensor in graph.tensors(model)))


def tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph: each node after those that it reads and with a name of its own, no operator set that is not used.

    ONNX Runtime's tools append nodes at the end, tell nodes apart by their names, and declare every domain there is.
    """
    import onnx_ir  # takes a quarter of a second, and a plan reads graphs without it
    from onnx_ir.passes import Sequential
    from onnx_ir.passes.common import NameFixPass, RemoveUnusedOpsetsPass, TopologicalSortPass

    tidy = Sequential(TopologicalSortPass(), NameFixPass(), RemoveUnusedOpsetsPass())(onnx_ir.from_proto(model))
    return onnx_ir.to_proto(tidy.model)


def weighted_nodes(model: onnx.ModelProto, operators: Collection[str]) -> int:
    """How many nodes of these types read a constant float32 tensor."""
    weights = {one.name for one in model.graph.initializer if one.data_type == onnx.TensorProto.FLOAT}
    return sum(node.op_type in operators and not weights.isdisjoint(node.input) for node in model.graph.node)


def with_opset(model: onnx.ModelProto, least: int) -> onnx.ModelProto:
    """The model in version `least` of the standard operators, if it is in an older one."""
    if any(one.domain in ("", "ai.onnx") and one.version < least for one in model.opset_import):
        with third_party(f"the conversion to operator set {least}"):
            return onnx.version_converter.convert_version(model, least)
    return model


def gemms_as_matmuls(model: onnx.ModelProto) -> None:
    """Turn each `Gemm` with a constant weight into `MatMul` and `Add`, in place: some quantisers know only those.

    ONNX Runtime's own rewrite transposes the weight in place, which breaks a weight that two nodes share, and leaves
    its old shape in `value_info`, so that the shape inference that comes after it fails.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = [part for node in model.graph.node for part in _matmul_and_add(node, weights)]
    read_names = {name for node in nodes for name in node.input} | {one.name for one in model.graph.output}
    kept = [tensor for name, tensor in weights.items() if name in read_names]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept)


def _matmul_and_add(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> list[onnx.NodeProto]:
    """The node itself, or what a plain `Gemm` is made of; a transposed weight joins `weights` under its own name."""
    options = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    scaled = options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0
    if node.op_type != "Gemm" or node.input[1] not in weights or scaled or options.get("transA", 0):
        return [node]
    weight, bias = node.input[1], node.input[2:3]
    if options.get("transB", 0):
        weight = f"{weight}_transposed"
        array = onnx.numpy_helper.to_array(weights[node.input[1]])
        weights[weight] = onnx.numpy_helper.from_array(array.T, weight)
    product = f"{node.output[0]}_product" if bias and bias[0] else node.output[0]
    matmul = onnx.helper.make_node("MatMul", [node.input[0], weight], [product], f"{node.output[0]}_matmul")
    if product == node.output[0]:
        return [matmul]
    return [matmul, onnx.helper.make_node("Add", [product, bias[0]], [node.output[0]], f"{node.output[0]}_add")]


def with_weights_in_blocks(
    model: onnx.ModelProto, bits: int, block_size: int, symmetric: bool, integer_arithmetic: bool
) -> onnx.ModelProto:
    """The model with each `MatMul` by a constant float32 weight turned into ONNX Runtime's `MatMulNBits`.

    `block_size` weights of a column share a scale (and a zero point unless `symmetric`). With `integer_arithmetic` the
    activations are rounded to int8, block by block (`accuracy_level` 4 of
    https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#commicrosoftmatmulnbits), else the
    products are float32 (level 1). Raises NotApplicable when there is no such `MatMul`.
    """
    if not weighted_nodes(model, {"MatMul"}):
        raise NotApplicable("no MatMul or Gemm reads constant float32 weights")
    with third_party(f"{bits}-bit quantisation of weights"):
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        level = 4 if integer_arithmetic else 1
        quantiser = MatMulNBitsQuantizer(model, bits, block_size, symmetric, level)
        quantiser.process()
    weights = {tensor.name: tensor for tensor in quantiser.model.model.graph.initializer}  # twice where nodes share one
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights.values())
    return model


def _mend_declarations(model: onnx.ModelProto) -> None:
    """Let weights be declared once, as initializers.

    Torch's exporter repeats their shapes in `value_info`, where they go stale when a tool changes a weight. Files of IR
    version 3 list them as inputs too, which a caller may override, so that no tool dares to fold them.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    for declared in (model.graph.value_info, model.graph.input):
        kept = [value for value in declared if value.name not in weights]
        del declared[:]
        declared.extend(kept)
    model.ir_version = max(model.ir_version, 4)  # the first in which an initializer need not be an input


def _is_large(model: onnx.ModelProto) -> bool:
    weights_bytes: int = sum(tensor.ByteSize() for tensor in graph.tensors(model))
    return weights_bytes > SINGLE_FILE_BYTES
