"""An ONNX file, its external data beside it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costopt import graph
from costopt.errors import ModelFileError
from costopt.formats import Format, Head, OnnxFile
from costopt.records import ModelSource

if TYPE_CHECKING:
    import onnx

# Fields of onnx.ModelProto that may stand before its graph (field 7): number to protobuf wire type.
# https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
GRAPH_FIELD = 7

DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "org.pytorch.aten")
NATIVE_OPERATORS = {"EPContext", "PythonOp", "ATen", "TritonOp"}
"""Operators of com.microsoft that load or call what is not in the graph: compiled blobs, Python, other runtimes."""


@dataclass(frozen=True)
class Onnx(Format):
    """Read where it lies; nothing in it runs but the operators of ONNX and of ONNX Runtime."""

    def recognises(self, head: Head) -> bool:
        """By the protobuf fields at its start: ONNX has no magic number."""
        fields = []
        for number, wire in _fields(head.first):
            if FIELDS.get(number) != wire:
                return False
            fields.append(number)
            if number == GRAPH_FIELD:
                break
        return 1 in fields and len(fields) > 1

    def load(self, source: ModelSource) -> OnnxFile:
        """The path itself, once its operators and its external data are known to be harmless and whole."""
        import onnx

        path = Path(source.path)
        again = "copy or download it again, or export it once more"
        try:
            model = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # protobuf's own exception type differs between its implementations
            raise ModelFileError(f"{path}: the ONNX file is damaged or cut off; {again}") from error
        _check_operators(path, model)
        for tensor in graph.tensors(model):
            if tensor.data_location == tensor.EXTERNAL:
                _check_external(path, tensor)
        try:
            onnx.checker.check_model(str(path))
        except (onnx.checker.ValidationError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelFileError(f"{path}: onnx.checker refuses it: {reason}; {again}") from error
        return OnnxFile(path)


def _fields(start: bytes) -> Iterator[tuple[int, int]]:
    """The (number, wire type) of each protobuf field whose tag lies in the first bytes; (0, 0) for nonsense."""
    at = 0
    while at < len(start):
        tag, at = _varint(start, at)
        number, wire = tag >> 3, tag & 7
        yield number, wire
        if wire not in (0, 2):
            return
        value, at = _varint(start, at)
        at += value if wire == 2 else 0


def _varint(start: bytes, at: int) -> tuple[int, int]:
    """A base-128 varint and the place after it; 0 when it is cut off or longer than ten bytes."""
    value = 0
    for place, byte in enumerate(start[at : at + 10]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    return 0, len(start)


def _check_operators(path: Path, model: "onnx.ModelProto") -> None:
    """Refuse operators that neither ONNX nor ONNX Runtime defines, and those that call something else."""
    own = {function.domain for function in model.functions}
    for node in graph.nodes(model):
        if node.domain not in DOMAINS and node.domain not in own:
            raise ModelFileError(
                f"{path}: operator {node.op_type} is of the domain '{node.domain}', and costopt loads no libraries of "
                "custom operators; export the model with standard operators only"
            )
        if node.op_type in NATIVE_OPERATORS and node.domain not in own:
            raise ModelFileError(
                f"{path}: refused: operator {node.op_type} runs code that is not in the graph; "
                "give the ONNX file that it was compiled from"
            )


def _check_external(path: Path, tensor: "onnx.TensorProto") -> None:
    """External data must be a whole regular file in the model's own folder: other paths read the user's files."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    file, folder = path.parent / location, path.parent.resolve()
    inside = location and not Path(location).is_absolute() and file.resolve().is_relative_to(folder)
    if not inside or ".." in Path(location).parts:
        raise ModelFileError(
            f"{path}: refused: the data of '{tensor.name}' lie outside the model's folder ({location!r}); "
            "copy both files, not links, into one folder: cp --dereference"
        )
    if not file.is_file():
        raise ModelFileError(f"{path}: the file {location}, which holds its weights, is missing; copy it to {folder}")
    needed = int(entries.get("offset") or 0) + int(entries.get("length") or 0)
    if file.stat().st_size < needed:
        has = file.stat().st_size
        raise ModelFileError(f"{file}: cut off: it has {has} bytes and {path.name} needs {needed}; copy it again")
