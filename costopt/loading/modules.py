"""An exported graph, brought back into modules.

`torch.export` flattens a model into a graph of aten calls that read parameters: `aten.conv2d(x, self.stem.weight)`.
Methods that prune, fold or replace layers look for `nn.Conv2d` and the like. So every such call whose parameters lie
together under one name (`stem.weight`, `stem.bias`) becomes the module of that name, holding the very same parameters:

    %conv2d = call_function[aten.conv2d](%image, %stem_weight, ...)   ->   %stem = call_module[stem](%image)

What is left is an ordinary `fx.GraphModule`: it can be put into eval mode (exported ones refuse), called, changed and
exported again, with outputs that are the same to the last bit. Calls that fit no module stay as they are. (Weights that
lie the other way round are copied, and sums taken in another order: `transposed`.)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload
from torch.export.graph_signature import ConstantArgument, InputKind
from torch.fx.graph import _PyTreeCodeGen
from torch.utils import _pytree as pytree

from costopt.cutting.transposed import transpose
from costopt.errors import CandidateError
from costopt.formats import Loaded, Modules, OnnxFile

aten = torch.ops.aten

_ROLES = ("weight", "bias", "running_mean", "running_var")
_OWN_TENSORS = {*_ROLES, "num_batches_tracked"}
_ASSERTIONS = {aten._assert_tensor_metadata.default, aten._assert_scalar.default, aten._assert_async.msg}
"""What tracing took for granted (a dtype, a size), which a method may change."""


def modules_of(loaded: Loaded, input_names: tuple[str, ...] = ()) -> Modules:
    """The model as modules, in eval mode; a program's parameters are shared with it, but for transposed ones.

    `input_names` replace the names of a program's inputs. Raises CandidateError for what has no modules: an ONNX file,
    and TorchScript, whose layers can be seen only after tracing (`export.program_of`).
    """
    if isinstance(loaded, OnnxFile):
        raise CandidateError("compress", "this method works on torch modules, and the model is an ONNX file")
    if isinstance(loaded, Modules):
        if isinstance(loaded.module, torch.jit.ScriptModule):
            raise CandidateError("compress", "TorchScript must be traced before its layers can be seen")
        return loaded
    inputs = _tensor_inputs(loaded.program)
    exported = loaded.program.module(check_guards=False)
    transpose(exported)
    _bring_back(exported)
    _flatten_forward(exported, inputs, input_names or inputs)
    return Modules(fx.GraphModule(exported, exported.graph).eval(), input_names or inputs)


def _tensor_inputs(program: torch.export.ExportedProgram) -> tuple[str, ...]:
    return tuple(
        spec.arg.name
        for spec in program.graph_signature.input_specs
        if spec.kind is InputKind.USER_INPUT and not isinstance(spec.arg, ConstantArgument)
    )


def _flatten_forward(exported: fx.GraphModule, inputs: tuple[str, ...], names: tuple[str, ...]) -> None:
    """Let forward take one tensor for each of `inputs`, under its name in `names`, and no longer a nest of them."""
    for node in list(exported.graph.nodes):
        if node.op == "placeholder" and node.target not in inputs:  # it was a constant when the program was exported
            exported.graph.erase_node(node)
    codegen = exported.graph._codegen
    assert isinstance(codegen, _PyTreeCodeGen)
    flat = pytree.tree_structure((inputs, {}))
    exported.graph.set_codegen(_PyTreeCodeGen(codegen.pytree_info._replace(orig_args=list(names), in_spec=flat)))


def _bring_back(exported: fx.GraphModule) -> None:
    """Replace each call that has a module by a call of that module, in place."""
    made: dict[tuple[object, ...], str] = {}
    for node in list(exported.graph.nodes):
        build = _BUILDERS.get(node.target) if node.op == "call_function" else None
        call = _Call.of(node, exported) if build is not None else None
        path = call.path if call is not None else None
        if build is None or call is None or path is None:
            continue
        key = (path, node.target, *sorted((name, str(value)) for name, value in call.settings.items()))
        if key not in made:
            module = build(call)
            if module is None or not _is_free(exported, path):
                continue
            _give(module, call.tensors)
            exported.set_submodule(path, module.eval())
            made[key] = path
        _call_module(exported.graph, node, path, call.data)
    for node in list(exported.graph.nodes):
        if node.target in _ASSERTIONS or (node.op == "get_attr" and not node.users):
            exported.graph.erase_node(node)


def _call_module(graph: fx.Graph, node: fx.Node, path: str, data: fx.Node) -> None:
    with graph.inserting_before(node):
        new = graph.call_module(path, (data,))
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    graph.erase_node(node)


def _is_free(exported: fx.GraphModule, path: str) -> bool:
    """Whether nothing would be lost by putting a layer at `path`: it holds a layer's own tensors and no more."""
    there = exported.get_submodule(path)
    own = {name for name, _ in (*there.named_parameters(), *there.named_buffers())}
    return type(there) is nn.Module and own <= _OWN_TENSORS


def _give(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put the exported tensors themselves into a module that was made without storage."""
    for name, tensor in tensors.items():
        if name.startswith("running"):
            module.register_buffer(name, tensor)
        else:
            parameter = tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, tensor.requires_grad)
            module.register_parameter(name, parameter)
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        module.register_buffer("num_batches_tracked", torch.tensor(0))


# ---------------------------------------------------------------------------------------- one call


Setting = Any  # what a schema allows: numbers, lists of numbers, texts; checked where it is used


@dataclass(frozen=True)
class _Call:
    """An aten call with its arguments by name: the data that flows in, the tensors that it owns, and its settings.

    `path` is the name that all its tensors lie under, None when they don't lie together.
    """

    data: fx.Node
    path: str | None
    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Setting] = field(default_factory=dict)

    @classmethod
    def of(cls, node: fx.Node, exported: fx.GraphModule) -> "_Call | None":
        """None when data or tensors are not where a module has them, or a setting is computed by the graph."""
        assert isinstance(node.target, OpOverload)
        schema = node.target._schema.arguments
        given = {argument.name: value for argument, value in zip(schema, node.args, strict=False)}
        arguments = {one.name: one.default_value for one in schema if one.has_default_value()} | given | node.kwargs
        data = arguments.pop("indices" if "indices" in arguments else "input")
        owned = {role: arguments.pop(role) for role in _ROLES if role in arguments}
        targets = {role: _read(value) for role, value in owned.items() if value is not None}
        if not isinstance(data, fx.Node) or "" in targets.values() or any(map(_is_computed, arguments.values())):
            return None
        return cls(
            data, _shared_path(targets), {role: _tensor(exported, at) for role, at in targets.items()}, arguments
        )


def _read(value: Setting) -> str:
    """The name of the parameter that a node reads; "" if it does something else."""
    return str(value.target) if isinstance(value, fx.Node) and value.op == "get_attr" else ""


def _is_computed(setting: Setting) -> bool:
    parts = setting if isinstance(setting, list | tuple) else [setting]
    return any(isinstance(part, fx.Node) for part in parts)


def _shared_path(targets: Mapping[str, str]) -> str | None:
    """`stem` for {"weight": "stem.weight", "bias": "stem.bias"}; None when they don't lie together."""
    paths = {target.removesuffix(f".{role}") if target.endswith(f".{role}") else "" for role, target in targets.items()}
    return paths.pop() if len(paths) == 1 and "" not in paths else None


def _tensor(exported: fx.GraphModule, target: str) -> Tensor:
    path, _, name = target.rpartition(".")
    there = exported.get_submodule(path)
    return dict((*there.named_parameters(recurse=False), *there.named_buffers(recurse=False)))[name]


# ---------------------------------------------------------------------------------------- the modules, without storage


def _linear(call: _Call) -> nn.Module:
    outputs, inputs = call.tensors["weight"].shape
    return nn.Linear(inputs, outputs, bias="bias" in call.tensors, device="meta")


def _convolution(call: _Call) -> nn.Module | None:
    weight = call.tensors["weight"]
    if call.settings.get("transposed") or weight.ndim not in _CONVOLUTIONS:
        return None
    axes, groups = weight.ndim - 2, call.settings["groups"]
    assert isinstance(groups, int)
    padding = call.settings["padding"]
    make: Any = _CONVOLUTIONS[weight.ndim]  # three classes that differ in the length of their tuples
    made: nn.Module = make(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),
        stride=_per_axis(call.settings["stride"], axes),
        padding=padding if isinstance(padding, str) else _per_axis(padding, axes),
        dilation=_per_axis(call.settings["dilation"], axes),
        groups=groups,
        bias="bias" in call.tensors,
        device="meta",
    )
    return made


def _per_axis(setting: Setting, axes: int) -> tuple[int, ...]:
    """aten takes one number for all axes, alone or in a list."""
    numbers = tuple(setting) if isinstance(setting, list | tuple) else (setting,)
    return numbers * axes if len(numbers) == 1 else numbers


def _batch_norm(call: _Call) -> nn.Module | None:
    rank = call.data.meta["val"].ndim
    if call.settings["training"] or set(call.tensors) != set(_ROLES) or rank not in _BATCH_NORMS:
        return None
    momentum, eps = call.settings["momentum"], call.settings["eps"]
    return _BATCH_NORMS[rank](len(call.tensors["weight"]), eps=eps, momentum=momentum, device="meta")


def _layer_norm(call: _Call) -> nn.Module:
    shape = call.settings["normalized_shape"]
    return nn.LayerNorm(shape, eps=call.settings["eps"], bias="bias" in call.tensors, device="meta")


def _embedding(call: _Call) -> nn.Module:
    places, width = call.tensors["weight"].shape
    padding = call.settings["padding_idx"]
    return nn.Embedding(places, width, padding_idx=None if padding == -1 else padding, device="meta")


_CONVOLUTIONS = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_BATCH_NORMS = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_BUILDERS: Mapping[object, Callable[[_Call], nn.Module | None]] = {
    aten.linear.default: _linear,
    aten.conv1d.default: _convolution,
    aten.conv1d.padding: _convolution,
    aten.conv2d.default: _convolution,
    aten.conv2d.padding: _convolution,
    aten.conv3d.default: _convolution,
    aten.conv3d.padding: _convolution,
    aten.convolution.default: _convolution,
    aten.batch_norm.default: _batch_norm,
    aten.layer_norm.default: _layer_norm,
    aten.embedding.default: _embedding,
}
