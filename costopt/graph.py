"""What an ONNX file holds: described, weighed, hashed and checked, its external data left on disk.

A large model keeps its weights in files beside it; everything here counts them as part of the model, and nothing here
reads them into memory, save ONNX Runtime itself in `check`.
"""

import hashlib
import math
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from costopt.errors import CandidateError
from costopt.records import Artifact, Graph, InputSpec

if TYPE_CHECKING:
    import onnx

ONNXRUNTIME_ERRORS_ONLY = 3
"""Log severity of ONNX Runtime: warnings about unused initializers and the like are for its developers."""


LONGEST_REASON = 300


def describe(path: Path) -> Graph:
    """Inputs, outputs, operators and parameters of an ONNX file. External data is weighed, not read.

    An axis without a size or a name is called `batch` if it is the first, else `<value>_<axis>`.
    Raises OSError when the file can't be read.
    """
    model = _load(path)
    constants = {tensor.name for tensor in model.graph.initializer}
    return Graph(
        inputs=tuple(_spec(value) for value in model.graph.input if value.name not in constants),
        outputs=tuple(_spec(value) for value in model.graph.output),
        operators=dict(Counter(node.op_type for node in nodes(model))),
        parameters_by_operator=_parameters(model),
        opset=next((one.version for one in model.opset_import if one.domain in ("", "ai.onnx")), 0),
        size_bytes=sum(file.stat().st_size for file in files(path)),
    )


def artifact(path: Path, root: Path) -> Artifact:
    """Size and sha256 of a file and its external data (hashed after it, in the order of their names)."""
    digest = hashlib.sha256()
    for file in files(path):
        with file.open("rb") as opened:
            while chunk := opened.read(1 << 20):
                digest.update(chunk)
    size_bytes = sum(file.stat().st_size for file in files(path))
    return Artifact(path.relative_to(root).as_posix(), size_bytes, digest.hexdigest())


def check(path: Path) -> None:
    """Have onnx check the file and ONNX Runtime load it.

    Raises CandidateError (stage "check") with what they object to, in one line.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = ONNXRUNTIME_ERRORS_ONLY
    try:
        onnx.checker.check_model(str(path))
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen types without a common root
        raise CandidateError("check", f"{path.name} is not a valid model: {plain(error)}") from error


def plain(error: Exception) -> str:
    """What onnx or ONNX Runtime says, in one line, without error codes and places in its C++ source."""
    text = " ".join(str(error).split())
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : ", "", text)
    text = re.sub(r"\S+\.(cc|h|hpp):\d+ .*?\) (?=[A-Z])", "", text)
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]}..."


def copy(source: Path, target: Path) -> None:
    """Copy a model with its external data. Links would save the disk, but onnx refuses data that is linked."""
    shutil.copyfile(source, target)  # the kernel copies, nothing passes through memory
    for location in external_locations(source):
        beside = target.parent / location
        beside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / location, beside)


def files(path: Path) -> tuple[Path, ...]:
    """The file itself, then its external data by name."""
    return (path, *(path.parent / location for location in external_locations(path)))


def external_locations(path: Path) -> tuple[str, ...]:
    """Where the file says that its external data lies, relative to its folder; sorted, each once."""
    found = {
        entry.value
        for tensor in tensors(_load(path))
        for entry in tensor.external_data
        if entry.key == "location" and tensor.data_location == tensor.EXTERNAL
    }
    return tuple(sorted(found))


def tensors(model: "onnx.ModelProto") -> Iterator["onnx.TensorProto"]:
    """Every constant tensor: initializers (sparse ones too) and attributes of nodes, in all graphs and functions."""
    for graph in _graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            yield from (*([attribute.t] if attribute.HasField("t") else ()), *attribute.tensors)
            sparse_ones = (*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else ()),)
            for sparse in (*sparse_ones, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _load(path: Path) -> "onnx.ModelProto":
    import onnx

    return onnx.load(str(path), load_external_data=False)


def _graphs(graph: "onnx.GraphProto") -> Iterator["onnx.GraphProto"]:
    """A graph and every graph inside its nodes."""
    yield graph
    for node in graph.node:
        yield from _inner_graphs(node)


def _inner_graphs(node: "onnx.NodeProto") -> Iterator["onnx.GraphProto"]:
    for attribute in node.attribute:
        for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            yield from _graphs(inner)


def nodes(model: "onnx.ModelProto") -> Iterator["onnx.NodeProto"]:
    """Every node, in all graphs and functions."""
    for graph in _graphs(model.graph):
        yield from graph.node
    for function in model.functions:
        for node in function.node:
            yield node
            for graph in _inner_graphs(node):
                yield from graph.node


def _spec(value: "onnx.ValueInfoProto") -> InputSpec:
    import onnx

    kind = value.type.tensor_type
    shape = tuple(
        (dim.dim_param or (dim.dim_value if dim.dim_value > 0 else _unnamed(value.name, axis)))
        for axis, dim in enumerate(kind.shape.dim)
    )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name if kind.elem_type else "unknown"
    return InputSpec(value.name, shape, dtype)


def _unnamed(name: str, axis: int) -> str:
    return "batch" if axis == 0 else f"{name}_{axis}"


def _parameters(model: "onnx.ModelProto") -> dict[str, int]:
    """Elements of constant tensors by the type of the node that reads them first."""
    sizes = {tensor.name: math.prod(tensor.dims) for graph in _graphs(model.graph) for tensor in graph.initializer}
    for node in nodes(model):
        if node.op_type == "Constant":
            sizes[node.output[0]] = sum(math.prod(part.t.dims) for part in node.attribute if part.HasField("t"))
    counts: Counter[str] = Counter()
    for node in nodes(model):
        for name in node.input:
            counts[node.op_type] += sizes.pop(name, 0)
    counts["unread"] += sum(sizes.values())
    return {operator: count for operator, count in counts.items() if count}
