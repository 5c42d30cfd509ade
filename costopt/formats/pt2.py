"""A `.pt2` archive, as torch.export.save writes it.

`torch.export.load` trusts the file. It unpickles weights, constants and example inputs, loads native libraries,
evaluates the text of symbolic sizes (`sympy.sympify`), finds operators by walking attributes from dotted names
(`torch.os.system` is one), imports modules that tree specifications name, and pastes names into Python source (read in
torch 2.13: export/pt2_archive/_package.py, _export/serde/serialize.py, utils/_pytree.py, fx/graph.py).

So torch never sees the file. The graph is read here with `json` alone; all in it that is a name, a size, an operator or
a tree is checked against what torch.export writes; and torch gets a new archive with the checked graph and the raw
bytes of the tensors. Pickles, libraries, guards, examples and extra files don't get that far. Everything is placed on
the CPU on the way, since ONNX knows no devices. What is not guarded against are bugs in torch's own kernels.
"""

import ast
import importlib
import io
import json
import math
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from costopt.errors import ModelFileError
from costopt.formats import Format, Head, Program
from costopt.loading import archive
from costopt.records import ModelSource

GRAPH = "models/model.json"
EXAMPLES = "data/sample_inputs/model.pt"
HEADER = ("archive_format", "archive_version", "byteorder", ".data/version")
BEFORE_ARCHIVES = "serialized_exported_program.json"

SAVE_AGAIN = "with the torch that wrote it, run torch.export.save(torch.export.load('old.pt2'), 'new.pt2')"


@dataclass(frozen=True)
class Pt2(Format):
    """The graph and its weights, in a zip archive."""

    def recognises(self, head: Head) -> bool:
        """By the entry that names the format."""
        entries = {entry.partition("/")[2] for entry in head.entries}
        return "archive_format" in entries or BEFORE_ARCHIVES in head.entries

    def load(self, source: ModelSource) -> Program:
        """What `torch.export.load` gives for a clean copy of the file, on the CPU."""
        import torch

        path = Path(source.path)
        try:
            with archive.opened(path) as opened:
                clean = _clean_copy(opened)
        except Refused as refused:
            raise ModelFileError(f"{path}: refused: {refused}") from refused
        try:
            return Program(torch.export.load(clean))
        except Exception as error:  # torch's reader raises whatever its hundred steps raise
            reason = " ".join(str(error).split())[:200]
            raise ModelFileError(f"{path}: torch {torch.__version__} can't read it ({reason}); {SAVE_AGAIN}") from error


class Refused(Exception):
    """What is in the file that torch.export does not write."""


def _dangerous(what: str) -> Refused:
    return Refused(f"{what}, which can run code; ask its author for a plain torch.export.save of the model")


def _clean_copy(opened: zipfile.ZipFile) -> IO[bytes]:
    """A new archive for torch, of what was checked. Raises Refused."""
    names = archive.names_in(opened)
    if any(name.startswith("data/aotinductor/") or name.endswith((".so", ".dll", ".dylib")) for name in names):
        raise _dangerous("it holds native libraries (a program compiled by AOTInductor)")
    if GRAPH not in names:
        old = BEFORE_ARCHIVES in opened.namelist()
        raise Refused(("it was saved by torch 2.7 or older" if old else f"it holds no {GRAPH}") + f"; {SAVE_AGAIN}")
    keep = {names[name] for name in HEADER if name in names}
    replaced = {names[GRAPH]: json.dumps(clean_graph(_json(opened.read(names[GRAPH])))).encode()}
    if EXAMPLES in names:
        _tensors_only(opened.read(names[EXAMPLES]), "example inputs")
        replaced[names[EXAMPLES]] = b""
    for kind in ("weights", "constants"):
        raw, new = _clean_tensors(opened, names, kind)
        keep |= raw
        replaced |= new
    return archive.rewritten(opened, keep, replaced)


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused("its graph is no JSON that torch wrote; copy or download the file again") from error


# ---------------------------------------------------------------------------------------- tensors


def _clean_tensors(opened: zipfile.ZipFile, names: dict[str, str], kind: str) -> tuple[set[str], dict[str, bytes]]:
    """The entries of the weights (or constants) that can stay as they are, and those to replace."""
    folder = f"data/{kind}/"
    config_name, whole = f"{folder}model_{kind}_config.json", f"{folder}model.pt"
    if whole in names:  # torch 2.8: one torch.save of all
        return set(), {names[whole]: _tensors_only(opened.read(names[whole]), kind)}
    if config_name not in names:
        raise Refused(f"it holds no {config_name}; copy or download the file again")
    config = _on_cpu(_json(opened.read(names[config_name])))
    keep, replaced = set(), {names[config_name]: json.dumps(config).encode()}
    for name, meta in config["config"].items():
        entry = folder + str(meta["path_name"])
        if not _TENSOR_ENTRY.fullmatch(entry) or entry not in names:
            raise _dangerous(f"'{name[:60]}' of its {kind} is no tensor but the entry {entry[:60]!r}")
        _check_dotted(name)
        if meta["use_pickle"]:
            replaced[names[entry]] = _tensors_only(opened.read(names[entry]), f"{kind} '{name}'")
        else:
            _check_sizes(name, meta["tensor_meta"], opened.getinfo(names[entry]).file_size)
            keep.add(names[entry])
    return keep, replaced


_TENSOR_ENTRY = re.compile(r"data/weights/weight_\d+|data/constants/tensor_\d+")


def _tensors_only(saved: bytes, what: str) -> bytes:
    """A torch.save of tensors, written anew. Raises Refused when it holds anything else."""
    import torch

    if not saved:
        return saved
    try:
        tensors = torch.load(io.BytesIO(saved), map_location="cpu", weights_only=True)
    except Exception as error:  # weights_only=True raises what its unpickler raises; the reason is the same for each
        raise _dangerous(f"its {what} are a pickle that holds more than tensors") from error
    written = io.BytesIO()
    torch.save(tensors, written)
    return written.getvalue()


def _check_sizes(name: str, meta: Any, stored_bytes: int) -> None:
    """An entry without bytes makes torch allocate the size that the file claims."""
    sizes = [size.get("as_int") for size in meta["sizes"]]
    if not all(isinstance(size, int) for size in sizes) or (not stored_bytes and math.prod(sizes)):
        raise Refused(f"the tensor '{name}' claims sizes {sizes} and has {stored_bytes} bytes; download the file again")


# ---------------------------------------------------------------------------------------- the graph


def clean_graph(program: Any) -> Any:
    """The program as torch.export wrote it (schema.ExportedProgram as JSON), without what nobody needs.

    Raises Refused when a name, size, operator or tree in it is not of the kind that torch.export writes.
    """
    try:
        program["guards_code"] = []  # Python source
        module = program["graph_module"]
        module["metadata"], module["treespec_namedtuple_fields"] = {}, {}
        module["module_call_graph"] = [entry for entry in module["module_call_graph"] if entry["fqn"] == ""]
        for name in program["range_constraints"]:
            _check_symbol(name)
        for part in _dicts(program):
            _check_dict(part)
    except (KeyError, TypeError, AttributeError) as error:
        raise Refused(f"its graph is not one that torch.export writes ({error}); {SAVE_AGAIN}") from error
    return _on_cpu(program)


def _dicts(tree: Any) -> Iterator[dict[str, Any]]:
    """Every dict of the schema in a JSON tree: a map from the model's own names to dicts gives those dicts alone.

    There is no recursion: a file can be nested as deeply as it likes.
    """
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
            for key, value in part.items():
                waiting.extend(value.values() if key in _MAPS and isinstance(value, dict) else [value])
        elif isinstance(part, list):
            waiting.extend(part)


def _check_dict(part: dict[str, Any]) -> None:
    """Check the fields that torch gives a meaning beyond their value, wherever they stand."""
    for key, value in part.items():
        if key in ("name", "as_name"):
            _check_name(value)
        elif key in _DOTTED:
            _check_dotted(value)
        elif key in _MAPS:
            for name in value:
                _check_name(name)
        elif key == "expr_str":
            check_expression(value)
        elif key in ("target", "as_operator"):
            check_operator(value)
        elif key in ("in_spec", "out_spec"):
            check_tree(value)
        elif key == "forward_arg_names":
            for name in value or ():
                _check_name(name)
        elif key in ("as_custom_obj", "custom_obj", "custom_obj_values") and value:
            raise _dangerous("it holds custom objects")
    if "metadata" in part:  # only the stack of modules is worth keeping: it names the layers
        stack = (part["metadata"] or {}).get("nn_module_stack")
        part["metadata"] = {"nn_module_stack": stack} if isinstance(stack, str) else {}


_DOTTED = {"parameter_name", "buffer_name", "tensor_constant_name", "user_input_name", "fqn"}
_MAPS = {"tensor_values", "sym_int_values", "sym_float_values", "sym_bool_values"} | {
    "as_string_to_argument",
    "range_constraints",
}


def _check_name(name: Any) -> None:
    """Names of values become Python identifiers in generated source."""
    if name and not (isinstance(name, str) and name.isidentifier()):
        raise _dangerous(f"the name {str(name)[:60]!r} is no identifier")


def _check_dotted(name: Any) -> None:
    """Names of parameters are pasted into generated source, between dots or quotes."""
    if not (isinstance(name, str) and re.fullmatch(r"[\w.\-]*", name)):
        raise _dangerous(f"the parameter name {str(name)[:60]!r} holds more than letters, digits, dots and dashes")


def _check_symbol(name: str) -> None:
    """torch counts up to the number of an unbacked symbol, one by one."""
    if not re.fullmatch(r"[A-Za-z_]{1,40}\d{0,6}", name):
        raise _dangerous(f"the range of {name[:60]!r} is that of no symbol")


def _on_cpu(tree: Any) -> Any:
    for part in _dicts(tree):
        for key in ("device", "as_device"):
            if isinstance(part.get(key), dict) and "type" in part[key]:
                part[key] = {"type": "cpu", "index": None}
    return tree


# ---------------------------------------------------------------------------------------- operators

OPERATOR_NAMESPACES = ("aten", "prims", "quantized_decomposed", "torchvision")
CONTROL_FLOW = {"cond", "while_loop", "map_impl", "scan", "associative_scan"} | {
    "wrap_with_set_grad_enabled",
    "wrap_with_autocast",
}
FILE_OPERATORS = {"save", "from_file"}
"""Operators of aten that take a file name; a test looks whether torch has grown others."""

PYTHON_OPERATORS = {
    "_operator": "getitem add sub mul floordiv truediv mod pow neg pos abs lshift rshift eq ne lt le gt ge and_ or_",
    "math": "ceil floor trunc sqrt log log2 exp sin cos tan tanh",
    "torch": "sym_int sym_float sym_max sym_min sym_not sym_ite sym_sum _sym_sqrt _sym_log2",
}


def check_operator(target: Any) -> None:
    """Let pass what torch.export writes as the target of a call: operators that compute and do nothing else."""
    space, _, name = str(target).rpartition(".")
    if name in PYTHON_OPERATORS.get(space, "").split():
        return
    if space == "torch.ops.higher_order" and name in CONTROL_FLOW:
        return
    operator = re.fullmatch(rf"torch\.ops\.({'|'.join(OPERATOR_NAMESPACES)})\.(\w+)\.(\w+)", str(target))
    if operator is None or operator[2] in FILE_OPERATORS or not _is_operator(*operator.groups()):
        raise _dangerous(f"it calls {str(target)[:80]}, which is no operator that computes")


def _is_operator(namespace: str, name: str, overload: str) -> bool:
    """Whether torch knows it: `torch.ops.aten.__init__.__func__` is found by a walk over attributes too."""
    import torch

    if namespace == "torchvision":  # its operators are known to torch once it is imported
        try:
            importlib.import_module(namespace)
        except ImportError as error:
            raise Refused(
                "it uses operators of torchvision, which is not installed; pip install torchvision"
            ) from error
    try:
        torch._C._get_schema(f"{namespace}::{name}", overload.removesuffix("default"))
    except RuntimeError:
        return False
    return True


# ---------------------------------------------------------------------------------------- trees

_TREES = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"} | {
    "torch.fx.immutable_collections.immutable_list",
    "torch.fx.immutable_collections.immutable_dict",
}


def check_tree(text: Any) -> None:
    """Let pass trees of tuples, lists and dicts with simple keys; other kinds make torch import what they name."""
    for part in _dicts(_json(str(text).encode())):
        kind, context = part["type"], part["context"]
        if kind not in _TREES:
            what = f"its inputs or outputs are of the type {str(kind)[:80]!r}"
            raise Refused(f"{what}; export a forward that takes and gives tuples, lists and dicts of tensors")
        keys = _json(context.encode()) if isinstance(context, str) else context
        for key in keys or ():
            if not (isinstance(key, int) or (isinstance(key, str) and re.fullmatch(r"[\w.\- ]*", key))):
                raise _dangerous(f"a dict of its inputs or outputs has the key {str(key)[:60]!r}")


# ---------------------------------------------------------------------------------------- sizes

LONGEST_EXPRESSION = 4000
LARGEST_NUMBER = 2**63
LARGEST_EXPONENT = 64
MOST_POWERS = 4
LONGEST_FLOAT_BITS = 200

_FUNCTIONS = frozenset(
    re.findall(
        r"\w+",
        """
        Symbol Integer Rational Float Add Mul Pow Mod Max Min Abs floor ceiling Piecewise ExprCondPair Tuple And Or Not
        Equality Unequality StrictLessThan LessThan StrictGreaterThan GreaterThan Eq Ne Lt Le Gt Ge
        FloorDiv CeilDiv CleanDiv IntTrueDiv FloatTrueDiv PythonMod ModularIndexing Where LShift RShift PowByNatural
        FloatPow CeilToInt FloorToInt TruncToInt RoundToInt TruncToFloat ToFloat RoundDecimal Identity
        IsNonOverlappingAndDenseIndicator
        """,
    )
)
_ASSUMPTIONS = {"integer", "positive", "nonnegative", "negative", "nonpositive", "nonzero", "zero", "real", "finite"}
_POWERS = {"Pow", "PowByNatural", "FloatPow", "LShift"}
_NAMES = re.compile(r"true|false|int_oo|oo|[a-z]{1,3}\d{1,6}")
_TEXTS = {"Symbol": re.compile(r"[A-Za-z_]\w{0,40}"), "Float": re.compile(r"-?\d{1,30}(\.\d{0,60})?(e[+-]?\d{1,3})?")}
_SYNTAX = (
    ast.Expression,
    ast.Load,
    ast.BinOp,
    ast.UnaryOp,
    ast.Compare,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
    ast.keyword,
)


def check_expression(text: Any) -> None:
    """Let pass an arithmetic expression over sizes, as sympy's `srepr` or `str` prints it: torch evaluates it."""
    shown = f"the size {str(text)[:80]!r} is no arithmetic"
    if not re.fullmatch(rf"[\w ,.()+\-*/%<>=!&|~']{{1,{LONGEST_EXPRESSION}}}", str(text), re.ASCII):
        raise _dangerous(shown)
    try:
        tree = ast.parse(str(text), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _dangerous(shown) from error
    nodes = list(ast.walk(tree))
    texts = {id(node.args[0]) for node in nodes if isinstance(node, ast.Call) and _is_text_call(node)}
    powers = [node for node in nodes if _exponent(node) is not None]
    if not all(_is_arithmetic(node) or id(node) in texts for node in nodes) or len(powers) > MOST_POWERS:
        raise _dangerous(shown)
    if any(_largest(_exponent(node)) > LARGEST_EXPONENT for node in powers):
        raise _dangerous(shown)


def _is_arithmetic(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), keywords=keywords):
            return name in _FUNCTIONS and all(map(_is_assumption, keywords))
        case ast.Name(id=name):
            return name in _FUNCTIONS or _NAMES.fullmatch(name) is not None
        case ast.Constant(value=bool() | None):
            return True
        case ast.Constant(value=int() | float() as number):
            return abs(number) <= LARGEST_NUMBER
        case _:
            return isinstance(node, _SYNTAX)


def _is_assumption(keyword: ast.keyword) -> bool:
    """`positive=True`, or a Float's `precision=53`."""
    match keyword:
        case ast.keyword(arg="precision", value=ast.Constant(value=int() as bits)):
            return bits <= LONGEST_FLOAT_BITS
        case ast.keyword(arg=name, value=ast.Constant(value=bool())):
            return name in _ASSUMPTIONS
        case _:
            return False


def _is_text_call(call: ast.Call) -> bool:
    """`Symbol('s0', ...)` and `Float('0.5', ...)` take a text; sympy evaluates a text anywhere else."""
    match call:
        case ast.Call(func=ast.Name(id=name), args=[ast.Constant(value=str() as text)]) if name in _TEXTS:
            return _TEXTS[name].fullmatch(text) is not None
        case _:
            return False


def _exponent(node: ast.AST) -> ast.AST | None:
    match node:
        case ast.BinOp(op=ast.Pow() | ast.LShift(), right=right):
            return right
        case ast.Call(func=ast.Name(id=name), args=[_, right, *_]) if name in _POWERS:
            return right
        case _:
            return None


def _largest(exponent: ast.AST | None) -> float:
    """The largest number in an exponent; infinite if it is computed from sizes or from other powers."""
    assert exponent is not None
    parts = list(ast.walk(exponent))
    if {part.id for part in parts if isinstance(part, ast.Name)} - {"Integer", "Rational", "Float"}:
        return math.inf
    if any(isinstance(part, ast.Constant) and isinstance(part.value, str) for part in parts):
        return math.inf
    if any(_exponent(part) is not None for part in parts):
        return math.inf
    numbers = (part.value for part in parts if isinstance(part, ast.Constant))
    return max((abs(number) for number in numbers if isinstance(number, int | float)), default=0)
