"""From torch to ONNX, with names that people can use.

    Loaded ──program_of──▶ ExportedProgram ──torch.onnx──▶ ONNX graph ──named──▶ file

There is one way out: whatever torch gave us is brought into a `torch.export` program first, so that a module, a
TorchScript file and a `.pt2` file are written by the same exporter. A file that is ONNX already is copied.

Names are part of the interface of a deployed file: inputs are called as the arguments of `forward`, outputs as the
keys of the dict that it returns (`output`, or `output_0` ..., when it returns no dict), and an axis that varies is
called `batch` or as the user called it, never `s40`. torch's exporter lets an inner value bear the name of an output,
which ONNX Runtime refuses; here the inner value is renamed.

Whether the file computes what the model did is the question of `parity`; what it holds, of `graph`.
"""

import contextlib
import logging
import re
import sys
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind
from torch.utils import _pytree as pytree

from costopt import graph
from costopt.errors import CandidateError
from costopt.formats import Loaded, Modules, OnnxFile, Program
from costopt.loading.modules import modules_of
from costopt.records import InputSpec

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Written:
    """An ONNX graph with its final names, beside the program that it was translated from.

    `program` is the one that the exporter decomposed; `value_of` maps the name of each of its nodes to the name of the
    ONNX value that holds the same number.
    """

    model: ir.Model
    program: ExportedProgram
    value_of: Mapping[str, str]


def export_original(loaded: Loaded, inputs: tuple[InputSpec, ...], example: Arrays, target: Path, opset: int) -> None:
    """Write the model to `target` as ONNX, weights over 1.5 GB beside it as `<target>.data`.

    `inputs` say which axes vary (those that are a name); `example` holds one small real batch by input name. A
    `Program` keeps its own axes and needs neither; of `inputs` it takes the names of the axes. A file that is ONNX
    already is copied with its external data, its opset left alone.

    Raises CandidateError (stage "export") when torch can't trace or translate the model, or when an axis that should
    vary is fixed by the model.
    """
    if isinstance(loaded, OnnxFile):
        graph.copy(loaded.path, target)
        return
    program = program_of(loaded, inputs, example).program
    written = translate(program, inputs, opset)
    with quiet():
        torch.onnx.ONNXProgram(written.model, written.program).save(str(target))


Range = tuple[int, int | None]
"""The least and the greatest size of an axis, if there is one."""

LEAST_PLACES = 5
"""Sequences that are shortened are traced from this length on: one place in four is two of five."""


MOST_RANGES = 2
"""Torch may ask for a range of sizes, and within it for another one; not for ever."""


def program_of(loaded: Program | Modules, inputs: tuple[InputSpec, ...], example: Arrays) -> Program:
    """The model as a torch.export program; a `Program` is one already, the others are traced with `example`.

    Raises CandidateError (stage "export") when the model can't be traced with those axes.
    """
    if isinstance(loaded, Program):
        return loaded
    tensors = _example_tensors(inputs, example)
    module = loaded.module
    if isinstance(module, torch.jit.ScriptModule):
        module = _from_torchscript(module, tensors)
    bounds: dict[str, Range] = {}
    for _ in range(MOST_RANGES):
        try:
            return _traced(module, tensors, inputs, bounds)
        except CandidateError as failed:
            narrower = {**bounds, **_bounds(failed.__cause__, bounds)}
            if narrower == bounds:
                raise
            bounds = narrower
    return _traced(module, tensors, inputs, bounds)


def translate(program: ExportedProgram, inputs: tuple[InputSpec, ...], opset: int) -> Written:
    """The program as an ONNX graph with its final names; the names of its axes are taken from `inputs` where given.

    Raises CandidateError (stage "export") when torch's exporter can't translate it.
    """
    try:
        with quiet():
            made = torch.onnx.export(program, dynamo=True, opset_version=opset, verbose=False)
    except Exception as error:  # the exporter raises what its hundreds of translators raise
        raise CandidateError("export", f"torch.onnx can't translate the model: {in_short(error)}") from error
    if made is None or made.exported_program is None:
        raise CandidateError("export", "torch.onnx gave no graph for the model")
    values = {value.name: value for value in _values(made.model) if value.name}
    nodes = {node.name: values[node.name] for node in made.exported_program.graph.nodes if node.name in values}
    _name_values(made.model, input_names(program), output_names(program))
    _name_axes(made.model, inputs)
    for node in made.model.graph.all_nodes():
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # paths and source lines of the author's machine
    return Written(made.model, made.exported_program, {node: str(value.name) for node, value in nodes.items()})


def input_specs(program: ExportedProgram) -> tuple[InputSpec, ...]:
    """The program's own inputs, its varying axes named as `export_original` names them."""
    placeholders = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    tensors = {name: placeholders[name] for name in input_names(program)}
    names = _axis_names({name: tuple(map(_size, tensor.shape)) for name, tensor in tensors.items()}, {})
    return tuple(
        InputSpec(name, tuple(names.get(size, size) for size in map(_size, tensor.shape)), _dtype_name(tensor.dtype))
        for name, tensor in tensors.items()
    )


def input_names(program: ExportedProgram) -> tuple[str, ...]:
    """The program's tensor inputs: the names of the arguments of the forward that was exported."""
    specs = program.graph_signature.input_specs
    return tuple(
        spec.arg.name
        for spec in specs
        if spec.kind is InputKind.USER_INPUT and not isinstance(spec.arg, ConstantArgument)
    )


def output_names(program: ExportedProgram) -> tuple[str, ...]:
    """The names that the program's tensor outputs have in the ONNX file."""
    specs = [spec for spec in program.graph_signature.output_specs if spec.kind is OutputKind.USER_OUTPUT]
    leaves = [not isinstance(spec.arg, ConstantArgument) for spec in specs]
    return tuple(name for name, tensor in named_leaves(program.call_spec.out_spec.unflatten(leaves)) if tensor)


def named_leaves(outputs: object) -> list[tuple[str, object]]:
    """What a forward returned, flat and with names: keys of dicts, places in tuples (`output_0`), or `output`."""
    flat, _ = pytree.tree_flatten_with_path(outputs)
    return [(_path_name(path), leaf) for path, leaf in flat]


def in_short(error: BaseException) -> str:
    """What a library's exception says at its root, as one line of at most 300 characters."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines[:3]) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:297]}..."


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's exporter from printing to stdout and from warning about what no user can act on."""
    loggers = [logging.getLogger(name) for name in ("torch", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


# ---------------------------------------------------------------------------------------- into a program


def _example_tensors(inputs: tuple[InputSpec, ...], example: Arrays) -> dict[str, torch.Tensor]:
    """The example as tensors, every varying axis with two places at least: torch.export takes one for a constant."""
    tensors = {}
    for spec in inputs:
        array = example[spec.name]
        for axis, size in enumerate(spec.shape):
            if isinstance(size, str) and array.shape[axis] == 1:
                array = np.repeat(array, 2, axis=axis)
        tensors[spec.name] = torch.from_numpy(np.array(array))
    return tensors


def _traced(
    module: torch.nn.Module,
    tensors: dict[str, torch.Tensor],
    inputs: tuple[InputSpec, ...],
    bounds: Mapping[str, Range],
) -> Program:
    shapes = {spec.name: _varying(spec, bounds) for spec in inputs}
    try:
        with quiet():
            return Program(torch.export.export(module, (), tensors, dynamic_shapes=shapes))
    except Exception as error:  # torch.export runs the user's own code: whatever it raises is the model's
        raise CandidateError("export", f"torch.export can't trace the model: {_why(error)}") from error


def _varying(spec: InputSpec, bounds: Mapping[str, Range]) -> dict[int, Dim]:
    """The axes of an input that vary, within `bounds` where there are any; equal names are equal sizes.

    What is no name (`2*batch`) is left to torch.
    """
    return {
        axis: _dim(size, bounds.get(size, (1, None))) if size.isidentifier() else Dim.AUTO
        for axis, size in enumerate(spec.shape)
        if isinstance(size, str)
    }


def _dim(name: str, bounds: Range) -> Dim:
    low, high = bounds
    return Dim(name, min=low, max=high)


def _bounds(error: BaseException | None, known: Mapping[str, Range]) -> dict[str, Range]:
    """The ranges that torch.export asks for, in which the model can be traced; the file may take more than them.

    A table of 512 positions makes a model refuse longer sequences ("Suggested fixes: sequence = Dim('sequence',
    max=512)"). Where a sequence is shortened, it must not come out one long, for sizes of one are laid over others
    ("sequence ... guard ((2 + L['x'].size()[1]) // 3) != 1"). Nothing where an axis would have to be a constant.
    """
    text = str(error)
    fixes = [line.strip() for line in text.partition("Suggested fixes:")[2].splitlines() if " = " in line]
    found = [re.fullmatch(r"(\w+) = Dim\('\w+'(?:, min=(\d+))?(?:, max=(\d+))?\)", line) for line in fixes]
    if not all(found):
        return {}
    asked = {one[1]: (int(one[2] or 1), int(one[3]) if one[3] else None) for one in found if one is not None}
    shortened = re.findall(r"Not all values of (\w+) = .* // \d+\) != 1", text)
    return asked | {name: (LEAST_PLACES, known.get(name, (1, None))[1]) for name in shortened if name not in asked}


def _why(error: Exception) -> str:
    """Why tracing failed. The one reason that users meet often gets words of its own: an axis that is a constant."""
    fixed = re.search(r"marked (\w+) as dynamic but your code specialized it to be a constant \((\d+)\)", str(error))
    if fixed is None:
        return in_short(error)
    name, size = fixed.groups()
    return (
        f"axis '{name}' can't vary, its code fixes it to {size}; write {size} in place of '{name}' in the shapes under "
        "`inputs:` in the budget file, or mend the code"
    )


def _from_torchscript(module: torch.jit.ScriptModule, example: dict[str, torch.Tensor]) -> torch.nn.Module:
    """TorchScript as a graph of aten calls, by the converter that torch itself ships for moving off TorchScript.

    The dynamo exporter refuses ScriptModules, and the exporter that took them is deprecated since torch 2.9.
    """
    from torch._export.converter import TS2EPConverter

    try:
        with quiet():
            program = TS2EPConverter(module, tuple(example.values())).convert()
    except Exception as error:  # the converter is a large private part of torch: it raises anything
        advice = "save it as .pt2 with torch.export instead"
        raise CandidateError("export", f"torch can't convert this TorchScript ({in_short(error)}); {advice}") from error
    return modules_of(Program(program), tuple(example)).module


# ---------------------------------------------------------------------------------------- names


def _path_name(path: tuple[object, ...]) -> str:
    parts = []
    for key in path:
        match key:
            case pytree.MappingKey():
                parts.append(str(key.key))
            case pytree.GetAttrKey():
                parts.append(key.name)
            case pytree.SequenceKey():
                parts += [str(key.idx)] if parts else ["output", str(key.idx)]
    return "_".join(parts) or "output"


def _values(model: ir.Model) -> Iterator[ir.Value]:
    """Every value of the graph and of the graphs inside it, each once."""
    for part in model.graphs():
        yield from part.inputs
        yield from (value for value in part.initializers.values() if not value.is_graph_input())
        yield from (value for node in part for value in node.outputs)


def _name_values(model: ir.Model, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
    """Give the graph's inputs and outputs their public names; an inner value that has one of them steps aside."""
    public = dict(zip(model.graph.inputs, inputs, strict=True))
    for value, name in zip(model.graph.outputs, outputs, strict=True):
        public[value] = f"{name}_output" if name in inputs else name
    wanted = set(public.values())
    taken = wanted | {value.name for value in _values(model)}
    for value in _values(model):
        if value.name in wanted:
            value.name = _free(f"{value.name}_inner", taken)
    for value, name in public.items():
        value.name = name


def _free(name: str, taken: set[str | None]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _name_axes(model: ir.Model, inputs: tuple[InputSpec, ...]) -> None:
    """Replace the exporter's symbols (`s40`, and `2*s40` in inner shapes) by readable names."""
    shapes = {str(value.name): _sizes(value) for value in model.graph.inputs}
    names = _axis_names(shapes, {spec.name: spec.shape for spec in inputs})
    for value in _values(model):
        if value.shape is not None:
            value.shape = ir.Shape([_renamed_size(size, names) for size in value.shape])


def _axis_names(
    shapes: Mapping[str, tuple[int | str, ...]], given: Mapping[str, tuple[int | str, ...]]
) -> dict[int | str, str]:
    """A readable name for each symbol in the inputs' shapes: the user's, or one that tells what the axis is."""
    names: dict[int | str, str] = {}
    for name, shape in shapes.items():
        for axis, symbol in enumerate(shape):
            if isinstance(symbol, int) or symbol in names:
                continue
            users = given[name][axis] if len(given.get(name, ())) == len(shape) else None
            readable = users if isinstance(users, str) else _axis_name(axis, len(shape))
            names[symbol] = readable if readable not in names.values() else f"{name}_{readable}"
    return names


def _axis_name(axis: int, rank: int) -> str:
    """What an axis most often is: (batch, sequence, ...) up to rank three, (batch, channels, height, width) above."""
    usual = ("batch", "sequence", "features") if rank <= 3 else ("batch", "channels", "height", "width")
    return usual[axis] if axis < len(usual) else f"axis_{axis}"


def _renamed_size(size: int | ir.SymbolicDim, names: Mapping[int | str, str]) -> int | str | None:
    """None for a size that nobody knows: by a name, all unknown sizes would be one, and ONNX Runtime relies on it."""
    if isinstance(size, int) or size.value is None:
        return size if isinstance(size, int) else None
    return _renamed(size.value, names)


def _renamed(size: str, names: Mapping[int | str, str]) -> str:
    return re.sub(r"[A-Za-z_]\w*", lambda match: names.get(match[0], match[0]), size)


def _sizes(value: ir.Value) -> tuple[int | str, ...]:
    shape = value.shape if value.shape is not None else ()
    return tuple(size if isinstance(size, int) else str(size) for size in shape)


def _size(size: int | torch.SymInt) -> int | str:
    return size if isinstance(size, int) else str(size)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


# ---------------------------------------------------------------------------------------- ONNX already
