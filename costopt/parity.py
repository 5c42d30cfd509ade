"""Does the exported file compute what the model did? And if not, where do they part?

Both run on the same real inputs. How far they are apart is told by two numbers: the largest absolute error, and the
relative error max|a - b| / max|a| of the worst output. Beyond TOLERANCE the file is not the model, whatever its
metric says, and the answer names the first node whose value differs: the original is run node by node
(`fx.Interpreter`), the file with its inner values as outputs, and values are held together by the names that the
exporter gave both.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.utils import _pytree as pytree

from costopt import graph
from costopt.errors import CandidateError
from costopt.export import in_short, input_names, program_of, quiet, translate
from costopt.formats import Loaded, Modules, OnnxFile
from costopt.records import Parity

Array = NDArray[np.generic]
Arrays = Mapping[str, Array]

TOLERANCE = 1e-3
"""Largest relative error between a model and its export.

Two right float32 programs differ in the order of their sums and in the algorithm of their convolutions. That is 1e-7
to 1e-6 for the models of this project's tests, and 1e-5 to 1e-4 is what deep networks are commonly allowed (the
default `rtol` of `onnx.backend.test` is 1e-3). A wrong weight, axis or mode is far above it.
"""

TOLERANCE_HALF = 1e-2
"""The same for a file that computes in 16-bit floats anywhere: their unit roundoff is 4.9e-4 (float16) to 3.9e-3."""

SMALLEST_SCALE = 1e-6
"""Outputs that are all smaller are compared absolutely: a relative error of noise says nothing."""

VALUES_PER_SESSION = 64
"""How many inner values are made outputs at a time when looking for the node where values part."""


def parity(loaded: Loaded, path: Path, samples: Iterable[Arrays]) -> Parity:
    """Hold the file at `path` against the model on batches of real inputs (arrays by input name).

    Raises CandidateError (stage "export") when an output has NaN, when either side can't be run on the inputs, and when
    the relative error is over the tolerance: then with both errors and the first node where values part.
    """
    session, allowed = _session(path), tolerance(path)
    names = tuple(output.name for output in session.get_outputs())
    original = _original(loaded, names)
    worst, count = (0.0, 0.0), 0
    for batch in samples:
        found = _run(session, names, batch)
        for name, reference in original(batch).items():
            _refuse_nan(name, reference, found[name], count)
            absolute, relative = difference(reference, found[name])
            if relative > allowed:
                errors = f"'{name}' is off by {absolute:.3g} (relative {relative:.3g}, allowed {allowed:g})"
                raise CandidateError("export", _parted(errors, first_parting(loaded, path, batch)))
            worst = max(worst[0], absolute), max(worst[1], relative)
        count += len(next(iter(batch.values())))
    return Parity(max_abs_error=worst[0], relative_error=worst[1], samples=count)


def reference_outputs(loaded: Loaded, batches: Iterable[Arrays], names: tuple[str, ...]) -> Iterator[dict[str, Array]]:
    """The original's outputs for each batch, called `names` in the order of the ONNX file's outputs.

    Raises CandidateError (stage "export") when the original can't be run on a batch.
    """
    original = _original(loaded, names)
    return (original(batch) for batch in batches)


def difference(reference: Array, found: Array) -> tuple[float, float]:
    """Largest absolute and relative error. Whole numbers and truth values count as the share that differs.

    Infinities of one sign are equal (a mask of -inf is a value like any other); different shapes are infinitely apart.
    """
    if reference.shape != found.shape:
        return float("inf"), float("inf")
    if not reference.size:
        return 0.0, 0.0
    if reference.dtype.kind != "f":
        share = float(np.mean(reference != found))
        return share, share
    wanted, got = reference.astype(np.float64), found.astype(np.float64)
    with np.errstate(invalid="ignore"):
        distance = np.where((wanted == got) | (np.isnan(wanted) & np.isnan(got)), 0.0, np.abs(wanted - got))
    absolute = float(np.where(np.isnan(distance), np.inf, distance).max())
    scale = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=SMALLEST_SCALE))
    return absolute, absolute / scale


def tolerance(path: Path) -> float:
    """The relative error that is allowed for a file, by the floats that it computes in."""
    model = onnx.load(str(path), load_external_data=False)
    half = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16}
    casts = {part.i for node in graph.nodes(model) for part in node.attribute if node.op_type == "Cast"}
    return TOLERANCE_HALF if half & (casts | {one.data_type for one in graph.tensors(model)}) else TOLERANCE


def first_parting(loaded: Loaded, path: Path, batch: Arrays) -> str | None:
    """The first node of the file, in the order in which it runs, whose value is not the original's: in words.

    None when no inner value differs: then the outputs do, or ONNX Runtime's optimised graph does and its plain one
    does not.
    """
    model, allowed = onnx.load(str(path), load_external_data=False), tolerance(path)
    wanted = _reference_values(loaded, path, batch)
    names = [name for node in model.graph.node for name in node.output if name in wanted]
    for start in range(0, len(names), VALUES_PER_SESSION):
        chunk = names[start : start + VALUES_PER_SESSION]
        found = _inner_values(model, path, chunk, batch)
        for name in chunk:
            if difference(wanted[name], found[name])[1] > allowed:
                node = next(node for node in model.graph.node if name in node.output)
                return _in_words(node, {tensor.name for tensor in model.graph.initializer})
    return None


# ---------------------------------------------------------------------------------------- both sides, run


def _original(loaded: Loaded, names: tuple[str, ...]) -> Callable[[Arrays], dict[str, Array]]:
    """The original as a function from arrays by input name to arrays by output name."""
    if isinstance(loaded, OnnxFile):
        session = _session(loaded.path)
        return lambda batch: _run(session, names, batch)
    module = loaded.module if isinstance(loaded, Modules) else loaded.program.module(check_guards=False)

    def run(batch: Arrays) -> dict[str, Array]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in batch.items()}
        args, named = ((), tensors) if isinstance(loaded, Modules) else program_arguments(loaded.program, tensors)
        outputs = _called(module, args, named, batch)
        if len(outputs) != len(names):
            raise CandidateError("export", f"the original gives {len(outputs)} tensors, the exported file {len(names)}")
        return dict(zip(names, outputs, strict=True))

    return run


def _called(
    module: torch.nn.Module, args: tuple[object, ...], named: Mapping[str, object], batch: Arrays
) -> list[Array]:
    try:
        with torch.no_grad(), quiet():
            outputs = module(*args, **named)
    except Exception as error:  # a model's forward is the user's code: whatever it raises is about this input
        given = ", ".join(f"{name} {array.dtype}{list(array.shape)}" for name, array in batch.items())
        raise CandidateError("export", f"the original can't be run on {given}: {in_short(error)}") from error
    return [_array(leaf) for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]


def program_arguments(
    program: ExportedProgram, tensors: Mapping[str, torch.Tensor]
) -> tuple[tuple[object, ...], Mapping[str, object]]:
    """What to call a program's module with: the tensors in the nest of lists and dicts that it was exported with."""
    leaves = [
        spec.arg.value if isinstance(spec.arg, ConstantArgument) else tensors[spec.arg.name]
        for spec in program.graph_signature.input_specs
        if spec.kind is InputKind.USER_INPUT
    ]
    args, named = pytree.tree_unflatten(leaves, program.call_spec.in_spec)
    return args, named


def _array(tensor: torch.Tensor) -> Array:
    tensor = tensor.detach().cpu()
    array: Array = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()
    return array


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = graph.ONNXRUNTIME_ERRORS_ONLY
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _plain_session(model: onnx.ModelProto, folder: Path) -> onnxruntime.InferenceSession:
    """A session that runs the graph as it stands; its external data lie in `folder`."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = graph.ONNXRUNTIME_ERRORS_ONLY
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder.absolute()))
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _run(session: onnxruntime.InferenceSession, names: Sequence[str], batch: Arrays) -> dict[str, Array]:
    wanted = {one.name for one in session.get_inputs()}
    try:
        outputs = session.run(list(names), {name: array for name, array in batch.items() if name in wanted})
    except Exception as error:  # onnxruntime raises a dozen types without a common root
        raise CandidateError("export", f"ONNX Runtime can't run the file: {graph.plain(error)}") from error
    return dict(zip(names, outputs, strict=True))


# ---------------------------------------------------------------------------------------- where they part


class _Recorder(fx.Interpreter):
    """Runs a graph node by node and keeps what each gave, if somebody asks for it."""

    def __init__(self, module: fx.GraphModule, wanted: Mapping[str, str]) -> None:
        super().__init__(module)
        self.wanted = wanted
        self.values: dict[str, Array] = {}

    def run_node(self, n: fx.Node) -> object:
        result = super().run_node(n)
        if n.name in self.wanted and isinstance(result, torch.Tensor) and result.is_floating_point():
            self.values[self.wanted[n.name]] = _array(result)
        return result


def _reference_values(loaded: Loaded, path: Path, batch: Arrays) -> dict[str, Array]:
    """The original's inner values, by the names that they have in the file."""
    if isinstance(loaded, OnnxFile):
        source = onnx.load(str(loaded.path), load_external_data=False)
        names = [name for node in source.graph.node for name in node.output if name]
        found = _inner_values(source, loaded.path, names, batch)
        return {name: value for name, value in found.items() if value.dtype.kind == "f"}
    about = graph.describe(path)
    program = program_of(loaded, about.inputs, batch).program
    written = translate(program, about.inputs, about.opset)
    recorder = _Recorder(written.program.graph_module, written.value_of)
    tensors = {name: torch.from_numpy(np.ascontiguousarray(batch[name])) for name in input_names(program)}
    with torch.no_grad():
        recorder.run(*_placeholders(written.program, tensors))
    return recorder.values


def _placeholders(program: ExportedProgram, tensors: Mapping[str, torch.Tensor]) -> Iterator[object]:
    """What the program's graph takes: parameters, buffers and constants first, then the inputs."""
    held = {**program.constants, **program.state_dict}
    for spec in program.graph_signature.input_specs:
        if spec.kind is not InputKind.USER_INPUT:
            yield held[str(spec.target)]
        else:
            yield spec.arg.value if isinstance(spec.arg, ConstantArgument) else tensors[spec.arg.name]


def _inner_values(model: onnx.ModelProto, path: Path, names: Sequence[str], batch: Arrays) -> dict[str, Array]:
    """Inner values of an ONNX file, from ONNX Runtime's plain graph: its optimiser would fuse them away."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    have = {output.name for output in model.graph.output}
    changed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in have)
    return _run(_plain_session(changed, path.parent), names, batch)


def _in_words(node: onnx.NodeProto, constants: Set[str]) -> str:
    """`node_conv2d_2 (Conv of body.0.second.weight)`: the layer is told by its weights, else by torch's metadata."""
    weights = [name for name in node.input if name in constants]
    told = {entry.key: entry.value for entry in node.metadata_props}
    scopes = [part.strip(" '\"") for part in told.get("pkg.torch.onnx.name_scopes", "").strip("[]").split(",")]
    layer = next((scope for scope in reversed(scopes[:-1]) if scope), "")
    where = f" of {', '.join(weights)}" if weights else f" in {layer}" if layer else ""
    return f"{node.name or node.output[0]} ({node.op_type}{where})"


def _parted(errors: str, node: str | None) -> str:
    where = f"values first part at node {node}" if node else "no inner value differs before the outputs"
    return f"the exported file does not compute what the model does: output {errors}; {where}"


def _refuse_nan(name: str, reference: Array, found: Array, before: int) -> None:
    for what, array in (("the original", reference), ("the exported file", found)):
        wrong = np.isnan(array) if array.dtype.kind == "f" else np.zeros(1, dtype=bool)
        if wrong.any():
            sample = before + (int(np.argwhere(wrong)[0][0]) if wrong.ndim else 0)
            raise CandidateError(
                "export", f"{what} gives NaN in output '{name}' for sample {sample} of the evaluation data"
            )
