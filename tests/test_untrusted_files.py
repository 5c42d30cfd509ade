"""A file that was sent to the user must not run code.

Every hole gets a payload that would leave a canary: a file that nothing else makes. Each test proves two things: that
costopt refuses (or defuses) the file and leaves no canary, and, where it can be done without harm, that the payload is
live: the library's own loader, unguarded, does leave one. A hole whose payload is dead proves nothing.
"""

import contextlib
import io
import json
import logging
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import onnx
import pytest
import sympy  # type: ignore[import-untyped]
import torch
from hypothesis import given, settings
from sympy.printing.repr import srepr  # type: ignore[import-untyped]
from torch import Tensor, nn

from costopt.errors import ModelFileError
from costopt.formats import Program
from costopt.formats.onnx import Onnx
from costopt.formats.pt2 import FILE_OPERATORS, Pt2, Refused, check_expression, check_operator
from costopt.formats.state_dict import StateDict
from costopt.formats.torchscript import FILE_OPERATORS as SCRIPT_FILE_OPERATORS
from costopt.formats.torchscript import check_code
from costopt.loading.load import load
from costopt.records import ModelSource
from tests import models

Entries = dict[str, bytes]
Plant = Callable[[Entries, Path], None]


class Payload:
    """Unpickling it makes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.canary), "w")


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    return tmp_path / "canary"


@pytest.fixture(scope="module")
def plain_pt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.save_pt2(models.two_in_two_out(), tmp_path_factory.mktemp("plain") / "plain.pt2")


@pytest.fixture(autouse=True)
def _quiet_torch() -> Any:
    """torch logs the errors of files that it can't read with their tracebacks."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def refused(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        load(ModelSource(str(path)))
    return str(caught.value)


# ---------------------------------------------------------------------------------------- .pt2


def code(canary: Path) -> str:
    """Python source that makes the canary."""
    return f"open('{canary}','w')"


def in_graph(change: Callable[[dict[str, Any], Path], None]) -> Plant:
    """A plant that changes the graph's JSON."""

    def plant(entries: Entries, canary: Path) -> None:
        graph = json.loads(entries["models/model.json"])
        change(graph, canary)
        entries["models/model.json"] = json.dumps(graph).encode()

    return plant


def in_config(entries: Entries, kind: str, name: str, meta: dict[str, Any]) -> None:
    file = f"data/{kind}/model_{kind}_config.json"
    config = json.loads(entries[file])
    config["config"].setdefault(name, {"is_param": False, "tensor_meta": None}).update(meta)
    entries[file] = json.dumps(config).encode()


def example_inputs(entries: Entries, canary: Path) -> None:
    entries["data/sample_inputs/model.pt"] = saved((Payload(canary),))


def pickled_weight(entries: Entries, canary: Path) -> None:
    in_config(entries, "weights", "scale", {"use_pickle": True})
    entries["data/weights/weight_0"] = saved(Payload(canary))


def all_weights_in_one_pickle(entries: Entries, canary: Path) -> None:
    entries["data/weights/model.pt"] = saved({"scale": Payload(canary)})


def all_constants_in_one_pickle(entries: Entries, canary: Path) -> None:
    entries["data/constants/model.pt"] = saved({"scale": Payload(canary)})


def opaque_object(entries: Entries, canary: Path) -> None:
    in_config(entries, "constants", "x", {"path_name": "opaque_obj_0", "use_pickle": True})
    entries["data/constants/opaque_obj_0"] = pickle.dumps(Payload(canary))


def symbolic_size(graph: dict[str, Any], canary: Path) -> None:
    sizes = graph["graph_module"]["graph"]["tensor_values"]["left"]["sizes"]
    sizes[0] = {"as_expr": {"expr_str": code(canary), "hint": None}}


def operator_on_files(graph: dict[str, Any], canary: Path) -> None:
    """`torch.from_file(canary, shared=True, size=8)` makes the file."""
    given = {"filename": {"as_string": str(canary)}, "shared": {"as_bool": True}, "size": {"as_int": 8}}
    inner = graph["graph_module"]["graph"]
    inner["tensor_values"]["mapped"] = inner["tensor_values"]["p_scale"]
    inner["nodes"].append(
        {
            "target": "torch.ops.aten.from_file.default",
            "inputs": [{"name": name, "arg": arg, "kind": 1} for name, arg in given.items()],
            "outputs": [{"as_tensor": {"name": "mapped"}}],
            "metadata": {},
            "name": "mapped",
        }
    )


def function_of_python(graph: dict[str, Any], canary: Path) -> None:
    path = {"name": "path", "arg": {"as_string": str(canary)}, "kind": 1}
    node = {"target": "torch.os.mkdir", "inputs": [path], "outputs": [{"as_none": True}], "metadata": {}, "name": "x"}
    graph["graph_module"]["graph"]["nodes"].append(node)


def out_spec(graph: dict[str, Any], kind: str, context: object) -> None:
    signature = graph["graph_module"]["module_call_graph"][0]["signature"]
    version, tree = json.loads(signature["out_spec"])
    signature["out_spec"] = json.dumps([version, {**tree, "type": kind, "context": context}])


def import_of_a_default(graph: dict[str, Any], canary: Path) -> None:
    names = {"default_factory_module": evil_module(canary), "default_factory_name": "E", "dict_context": ["a", "b"]}
    out_spec(graph, "collections.defaultdict", names)


def import_of_an_enum(graph: dict[str, Any], canary: Path) -> None:
    key = {"__enum__": True, "fqn": f"{evil_module(canary)}:E", "name": "x"}
    out_spec(graph, "builtins.dict", json.dumps([key, "b"]))


def evil_module(canary: Path) -> str:
    """A module beside the canary that makes it when it is imported; a new name each time."""
    name = f"evil_{abs(hash(canary))}"
    (canary.parent / f"{name}.py").write_text(f"{code(canary)}\nclass E: pass\n")
    return name


def guards(graph: dict[str, Any], canary: Path) -> None:
    graph["guards_code"] = [code(canary)]


def argument_names(graph: dict[str, Any], canary: Path) -> None:
    signature = graph["graph_module"]["module_call_graph"][0]["signature"]
    signature["forward_arg_names"] = ["left", f"right={code(canary)}"]


def input_name(entries: Entries, canary: Path) -> None:
    evil = json.dumps(f"right={code(canary)}").encode()
    entries["models/model.json"] = entries["models/model.json"].replace(b'"right"', evil)


def parameter_name(entries: Entries, canary: Path) -> None:
    evil = json.dumps(f'training")in[0,1] and {code(canary)} and("').encode()
    for name in ("models/model.json", "data/weights/model_weights_config.json"):
        entries[name] = entries[name].replace(b'"scale"', evil)


def native_library(entries: Entries, canary: Path) -> None:
    entries["data/aotinductor/model/evil.so"] = b"\x7fELF" + str(canary).encode()


def custom_object(entries: Entries, canary: Path) -> None:
    in_config(entries, "constants", "x", {"path_name": "custom_obj_0", "use_pickle": True})
    entries["data/constants/custom_obj_0"] = saved(Payload(canary))


def raw_tensor_under_the_name_of_a_pickle(entries: Entries, canary: Path) -> None:
    in_config(entries, "weights", "scale", {"path_name": "model.pt"})
    all_weights_in_one_pickle(entries, canary)


LIVE: dict[str, Plant] = {
    "example inputs": example_inputs,
    "a pickled weight": pickled_weight,
    "all weights in one pickle": all_weights_in_one_pickle,
    "all constants in one pickle": all_constants_in_one_pickle,
    "an opaque object": opaque_object,
    "a symbolic size": in_graph(symbolic_size),
    "an operator on files": in_graph(operator_on_files),
    "the import of a default": in_graph(import_of_a_default),
    "the import of an enum": in_graph(import_of_an_enum),
    "guards": in_graph(guards),
    "the name of an input": input_name,
    "the name of a parameter": parameter_name,
    "a tensor under the name of a pickle": raw_tensor_under_the_name_of_a_pickle,
}
# Not shown live: torch's verifier stops functions of Python after it has found them, a library would have to be
# compiled, a C++ object needs a registered class, and torch's generated source uses an argument's name twice, once
# where no call can stand.
NOT_SHOWN_LIVE: dict[str, Plant] = {
    "a function of Python": in_graph(function_of_python),
    "a native library": native_library,
    "a custom object": custom_object,
    "the names of arguments": in_graph(argument_names),
}
DEFUSED = {"guards"}
"""Dropped without a word, since ordinary files have them too."""


def planted(plain: Path, plant: Plant, canary: Path) -> Path:
    entries = read_entries(plain)
    plant(entries, canary)
    return write_entries(canary.parent / "evil.pt2", entries)


def read_entries(path: Path) -> Entries:
    with zipfile.ZipFile(path) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def write_entries(path: Path, entries: Entries) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(f"archive/{name}", content)
    return path


def run(program: torch.export.ExportedProgram) -> None:
    program.module()(torch.ones(2, 4), torch.ones(2, 4))


@pytest.mark.parametrize("hole", [*LIVE, *NOT_SHOWN_LIVE])
def test_a_pt2_file_with_a_payload_runs_none_of_it(
    hole: str, plain_pt2: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(canary.parent)
    path = planted(plain_pt2, (LIVE | NOT_SHOWN_LIVE)[hole], canary)
    if hole in DEFUSED:
        loaded = load(ModelSource(str(path)))[1]
        assert isinstance(loaded, Program)
        run(loaded.program)
    else:
        message = refused(path)
        assert "refused" in message
        assert len(message.splitlines()) <= 2
    assert not canary.exists()


@pytest.mark.parametrize("hole", LIVE)
def test_the_payload_of_a_pt2_file_is_live_without_the_guard(
    hole: str, plain_pt2: Path, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(canary.parent)
    path = planted(plain_pt2, LIVE[hole], canary)
    with contextlib.suppress(Exception):  # most payloads leave a program that is no good afterwards
        run(torch.export.load(path))
    assert canary.exists()


def test_the_old_format_inside_a_new_archive_is_not_read(plain_pt2: Path, canary: Path) -> None:
    """torch.export.load falls back to it when the new one can't be read."""
    path = planted(plain_pt2, in_graph(unknown_operator), canary)
    with zipfile.ZipFile(path, "a") as archive:
        for name, content in old_format(canary).items():
            archive.writestr(name, content)
    refused(path)
    assert not canary.exists()
    with contextlib.suppress(Exception):
        torch.export.load(path)
    assert canary.exists()


def unknown_operator(graph: dict[str, Any], canary: Path) -> None:
    graph["graph_module"]["graph"]["nodes"][0]["target"] = "torch.ops.aten.no_such_operator.default"
    assert not canary.exists()


def old_format(canary: Path) -> Entries:
    from torch._export.serde.schema import SCHEMA_VERSION
    from torch._export.serde.serialize import serialize

    written = serialize(models.exported(models.two_in_two_out()))
    return {
        "version": ".".join(map(str, SCHEMA_VERSION)).encode(),
        "serialized_exported_program.json": written.exported_program,
        "serialized_state_dict.pt": written.state_dict,
        "serialized_constants.pt": written.constants,
        "serialized_example_inputs.pt": saved((Payload(canary),)),
    }


@pytest.mark.parametrize("how", ["one pickle", "a pickled weight"])
def test_pickles_of_tensors_are_read(how: str, plain_pt2: Path, tmp_path: Path) -> None:
    """torch 2.8 wrote all weights as one pickle, and later ones pickle what is no plain tensor."""
    entries, weight = read_entries(plain_pt2), nn.Parameter(torch.full((4,), 7.0))
    if how == "one pickle":
        entries["data/weights/model.pt"] = saved({"scale": weight})
    else:
        in_config(entries, "weights", "scale", {"use_pickle": True})
        entries["data/weights/weight_0"] = saved(weight)
    _, loaded = load(ModelSource(str(write_entries(tmp_path / "model.pt2", entries))))
    assert isinstance(loaded, Program)
    assert torch.equal(loaded.program.state_dict["scale"], weight)


def test_torch_gets_a_copy_of_what_was_checked_and_not_the_file(
    plain_pt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    real = torch.export.load

    def spy(file: Any) -> torch.export.ExportedProgram:
        given.append(file)
        return real(file)

    monkeypatch.setattr(torch.export, "load", spy)
    Pt2().load(ModelSource(str(plain_pt2)))
    assert not isinstance(given[0], str | Path)
    with zipfile.ZipFile(given[0]) as archive:
        entries = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert entries["data/sample_inputs/model.pt"] == b""
    assert json.loads(entries["models/model.json"])["guards_code"] == []


def test_two_entries_of_one_name_are_refused(plain_pt2: Path, tmp_path: Path) -> None:
    """torch's zip reader ignores case, Python's does not: one would be checked and the other one read."""
    path = write_entries(tmp_path / "twice.pt2", {**read_entries(plain_pt2), "Models/Model.json": b"{}"})
    assert "two entries called archive/models/model.json" in refused(path)


def test_an_archive_that_unpacks_to_an_absurd_size_is_refused(plain_pt2: Path, tmp_path: Path) -> None:
    path = write_entries(tmp_path / "bomb.pt2", read_entries(plain_pt2))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/extra/zeros", bytes(200_000_000))
    assert path.stat().st_size < 1_000_000
    assert "made to fill the memory" in refused(path)


def test_a_tensor_that_claims_more_than_it_has_is_refused(plain_pt2: Path, tmp_path: Path) -> None:
    entries = read_entries(plain_pt2)
    config = json.loads(entries["data/weights/model_weights_config.json"])
    config["config"]["scale"]["tensor_meta"]["sizes"] = [{"as_int": 10**14}]
    entries["data/weights/model_weights_config.json"] = json.dumps(config).encode()
    entries["data/weights/weight_0"] = b""
    assert "claims sizes" in refused(write_entries(tmp_path / "huge.pt2", entries))


def test_a_graph_nested_beyond_measure_is_refused(plain_pt2: Path, tmp_path: Path) -> None:
    deep = b'{"graph_module": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    path = write_entries(tmp_path / "deep.pt2", {**read_entries(plain_pt2), "models/model.json": deep})
    assert "no JSON that torch wrote" in refused(path)


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.ops.load_library",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.save.default",
        "torch.ops.aten.__init__.__func__",
        "torch.ops.aten.relu.default.__class__",
        "torch.ops.c10d.send.default",
        "torch.ops.higher_order.call_torchbind",
        "torch.ops.higher_order.triton_kernel_wrapper_functional",
        "torch.load",
        "torch.hub.load",
        "_operator.attrgetter",
        "_operator.methodcaller",
        "math.__loader__",
        "#namespace:operator",
        "torch.ops.aten.relu.default\nimport os",
    ],
)
def test_what_is_no_operator_that_computes_is_refused(target: str) -> None:
    with pytest.raises(Refused):
        check_operator(target)


@pytest.mark.parametrize("target", ["torch.ops.aten.relu.default", "torch.ops.aten.add.Tensor", "_operator.floordiv",
                                    "torch.sym_max", "math.ceil", "torch.ops.higher_order.cond"])  # fmt: skip
def test_operators_that_compute_pass(target: str) -> None:
    check_operator(target)


def test_torch_has_no_operators_on_files_but_the_ones_known_here() -> None:
    takes_a_file = {
        schema.name.partition("::")[2]
        for schema in torch._C._jit_get_all_schemas()
        if schema.name.startswith(("aten::", "prims::", "prim::", "quantized::"))
        and any(str(one.type) == "str" and re.search("file|path|url|dir", one.name) for one in schema.arguments)
    }
    assert takes_a_file == FILE_OPERATORS == SCRIPT_FILE_OPERATORS


symbols = st.sampled_from([sympy.Symbol(name, integer=True, positive=True) for name in ("s0", "s41", "u3")])
expressions = st.recursive(
    symbols | st.integers(-1000, 1000).map(sympy.Integer),
    lambda inner: st.tuples(st.sampled_from([sympy.Add, sympy.Mul, sympy.Max, sympy.Min]), inner, inner).map(
        lambda parts: parts[0](parts[1], parts[2])
    ),
    max_leaves=8,
)


@given(expressions)
def test_sizes_as_sympy_prints_them_pass(expression: sympy.Expr) -> None:
    check_expression(srepr(expression))
    check_expression(str(expression))


@given(expressions, st.sampled_from(["open('x','w')", "__import__('os')", "s0.__class__", "(lambda: s0)()", "[s0][0]",
                                     "Symbol('s0').func", "Mul('open(1)')", "Integer('1+1')", "Float('open(1)')",
                                     "Symbol('s0', positive='x')", "Pow(9, Pow(9, 9))", "9**9**9", "2**1000000",
                                     "Pow(2, 1000000, True)", "Pow(2, e=1000000)", "f'{s0}'", "b'x'", "s0 if 1 else 2",
                                     "10**60 * 1000000000000000000000", "exec", "*s0", "Add(*s0)"]))  # fmt: skip
@settings(max_examples=300)
def test_anything_else_inside_a_size_is_refused(expression: sympy.Expr, evil: str) -> None:
    for text in (evil, f"Add({srepr(expression)}, {evil})", f"{evil} + {expression}"):
        with pytest.raises(Refused):
            check_expression(text)


# ---------------------------------------------------------------------------------------- TorchScript


class Saves(nn.Module):
    """Writes a file when it is called."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        torch.ops.aten.save(x, self.path)
        return x


class Maps(Saves):
    """Maps a file, which makes it, when it is called."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_file(self.path, shared=True, size=4)


class SavesWhenLoaded(Saves):
    """Writes a file while it is loaded."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> str:
        return self.path

    @torch.jit.export
    def __setstate__(self, path: str) -> None:
        self.path = path
        self.training = False
        torch.ops.aten.save(torch.zeros(1), path)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", [Saves, Maps, SavesWhenLoaded])
def test_torchscript_that_writes_files_is_refused_and_would_have_written(
    kind: type[Saves], tmp_path: Path, canary: Path
) -> None:
    path = tmp_path / "evil.pt"
    torch.jit.save(torch.jit.script(kind(str(canary))), str(path))
    canary.unlink(missing_ok=True)
    assert "operator on files" in refused(path)
    assert not canary.exists()
    torch.jit.load(str(path))(torch.ones(4))  # type: ignore[no-untyped-call]
    assert canary.exists()


@pytest.mark.parametrize(
    "evil",
    [
        "torch.save(x, path)",
        "torch . save(x, path)",
        "torch.\\\nsave(x, path)",
        'getattr(torch, "save")(x, path)',
        'getattr(torch, "sa\\x76e")(x, path)',
        'getattr(torch, "sa" + "ve")(x, path)',
        "ops.aten.save(x, path)",
        "ops.c10d.send(x, 1)",
        "ops.profiler._record_function_enter(path)",
        "(ops)\n.c10d.send(x, 1)",
        "o = ops",
        '"""" + torch.save(x, path) + """"',
        "'\"' + torch.save(x, path) + '\"'",
        "__torch__.torch.classes.dist_c10d.FileStore(path)",
        "x = 1  # torch.relu",
    ],
)
def test_torchscript_that_reaches_beyond_computing_is_refused(evil: str) -> None:
    with pytest.raises(ModelFileError, match="refused"):
        check_code(Path("evil.pt"), f"def forward(self, x: Tensor) -> Tensor:\n  {evil}\n  return x\n")


def test_torchscript_may_talk_of_saving_in_a_text() -> None:
    check_code(Path("fine.pt"), 'def forward(self, x: Tensor) -> Tensor:\n  _0 = "can\'t save \\"x\\""\n  return x\n')


def test_torchscript_that_imports_python_is_refused(tmp_path: Path, canary: Path) -> None:
    path = models.save_torchscript(models.two_in_two_out(), tmp_path / "plain.pt")
    evil = write_entries(tmp_path / "evil.pt", {**read_entries(path), "data.pkl": pickle.dumps(Payload(canary), 2)})
    assert "imports" in refused(evil)
    assert not canary.exists()


# ---------------------------------------------------------------------------------------- pickles and tensors


def zipped(payload: Payload, path: Path) -> None:
    torch.save({"weight": payload}, path)


def of_before_torch_1_6(payload: Payload, path: Path) -> None:
    torch.save({"weight": payload}, path, _use_new_zipfile_serialization=False)


def of_plain_pickle(payload: Payload, path: Path) -> None:
    path.write_bytes(pickle.dumps(payload))


@pytest.mark.parametrize("name", ["model.pt", "model.pt2", "model.onnx", "model.safetensors", "model.ckpt"])
@pytest.mark.parametrize("write", [zipped, of_before_torch_1_6, of_plain_pickle])
def test_a_pickle_is_not_loaded_under_any_name(
    write: Callable[[Payload, Path], None], name: str, tmp_path: Path, canary: Path
) -> None:
    path = tmp_path / name
    write(Payload(canary), path)
    assert "pickle" in refused(path)
    assert not canary.exists()
    if write is of_plain_pickle:
        pickle.loads(path.read_bytes())
    else:
        torch.load(io.BytesIO(path.read_bytes()), weights_only=False)
    assert canary.exists()


@pytest.mark.parametrize("write", [zipped, of_before_torch_1_6])
def test_tensors_are_read_by_an_unpickler_that_imports_nothing_else(
    write: Callable[[Payload, Path], None], tmp_path: Path, canary: Path
) -> None:
    """Even if recognition by imports were fooled."""
    path = tmp_path / "model.pt"
    write(Payload(canary), path)
    with pytest.raises(ModelFileError, match="can't read these tensors"):
        StateDict().load(ModelSource(str(path), arch="tests.models:TwoInTwoOut"))
    assert not canary.exists()


def test_trust_is_what_the_flag_says_it_is(tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "model.pt"
    zipped(Payload(canary), path)
    with pytest.raises(ModelFileError, match="no state dict"):
        load(ModelSource(str(path), trust_pickle=True))
    assert canary.exists()


# ---------------------------------------------------------------------------------------- ONNX


def onnx_with_external(folder: Path, location: str) -> Path:
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [4], bytes(16), raw=True)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "16")):
        weight.external_data.add(key=key, value=value)
    return onnx_of(folder, [onnx.helper.make_node("Add", ["x", "w"], ["y"])], [weight])


def onnx_of(folder: Path, nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], domain: str = "") -> Path:
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = onnx.helper.make_graph(nodes, "g", values[:1], values[1:], weights)
    opsets = [onnx.helper.make_opsetid("", 20)] + ([onnx.helper.make_opsetid(domain, 1)] if domain else [])
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.bin"
    path.write_bytes(b"sixteen secrets.")
    (tmp_path / "model").mkdir()
    return path


@pytest.mark.parametrize("how", ["up", "absolute", "link", "up and down"])
def test_onnx_reads_no_data_outside_its_own_folder(how: str, secret: Path) -> None:
    folder = secret.parent / "model"
    (folder / "link.bin").symlink_to(secret)
    location = {
        "up": "../secret.bin",
        "absolute": str(secret),
        "link": "link.bin",
        "up and down": "../model/link.bin",
    }[how]
    assert "outside the model's folder" in refused(onnx_with_external(folder, location))


def test_onnx_with_missing_or_short_data_is_told(secret: Path) -> None:
    path = onnx_with_external(secret.parent / "model", "weights.bin")
    assert "is missing" in refused(path)
    (path.parent / "weights.bin").write_bytes(bytes(15))
    assert "15 bytes and model.onnx needs 16" in refused(path)
    (path.parent / "weights.bin").write_bytes(bytes(16))
    assert load(ModelSource(str(path)))[0] == "onnx"


def test_onnx_with_operators_of_somebody_else_is_refused(tmp_path: Path) -> None:
    node = onnx.helper.make_node("PyOp", ["x"], ["y"], domain="ai.onnx.contrib")
    assert "no libraries of custom operators" in refused(onnx_of(tmp_path, [node], [], "ai.onnx.contrib"))


def test_onnx_with_a_compiled_blob_is_refused(tmp_path: Path) -> None:
    node = onnx.helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft", ep_cache_context="evil.so")
    assert "runs code that is not in the graph" in refused(onnx_of(tmp_path, [node], [], "com.microsoft"))


def test_onnx_inside_a_subgraph_is_searched_too(tmp_path: Path) -> None:
    inner = onnx.helper.make_node("PyOp", ["x"], ["z"], domain="ai.onnx.contrib")
    branch = onnx.helper.make_graph(
        [inner], "b", [], [onnx.helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, [4])]
    )
    condition = onnx.helper.make_tensor("c", onnx.TensorProto.BOOL, [], [True])
    node = onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    path = onnx_of(tmp_path, [node], [condition], "ai.onnx.contrib")
    with pytest.raises(ModelFileError, match="PyOp"):
        Onnx().load(ModelSource(str(path)))


# ---------------------------------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def every_kind(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder, model = tmp_path_factory.mktemp("kinds"), models.two_in_two_out()
    return {
        "pt2": models.save_pt2(model, folder / "a").read_bytes(),
        "torchscript": models.save_torchscript(model, folder / "b").read_bytes(),
        "state_dict": models.save_state_dict(model, folder / "c").read_bytes(),
        "safetensors": models.save_safetensors(model, folder / "d").read_bytes(),
        "onnx": models.save_onnx(model, folder / "e").read_bytes(),
    }


@pytest.mark.parametrize("kind", ["pt2", "torchscript", "state_dict", "safetensors", "onnx"])
def test_a_file_that_is_cut_off_is_told_in_words(kind: str, every_kind: dict[str, bytes], tmp_path: Path) -> None:
    path, content = tmp_path / "model.pt", every_kind[kind]
    for length in range(0, len(content) - 1, max(1, len(content) // 23)):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            load(ModelSource(str(path), arch="tests.models:TwoInTwoOut"))


@pytest.mark.parametrize("kind", ["pt2", "torchscript", "state_dict", "safetensors", "onnx"])
def test_a_file_with_a_changed_byte_loads_or_is_told_in_words(
    kind: str, every_kind: dict[str, bytes], tmp_path: Path
) -> None:
    path, content = tmp_path / "model.pt", every_kind[kind]
    outcomes = set()
    for place in range(0, len(content), max(1, len(content) // 41)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            load(ModelSource(str(path), arch="tests.models:TwoInTwoOut"))
            outcomes.add("loads")
        except ModelFileError:
            outcomes.add("told")
    assert "told" in outcomes
