"""Name to file: the folder is the registry.

`methods/int8_static.py` holds `class Int8Static`, a frozen dataclass whose fields *are* its options in the budget
file. Listing reads file names and first docstring lines with `ast` and imports nothing, so `costopt list methods` is
instant and a plug-in's own imports are paid by those who use it. A new plug-in is one new file.
"""

import ast
import dataclasses
import difflib
import importlib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from costopt.errors import UsageError
from costopt.records import Spec, Value

Kind = Literal["formats", "feeds", "methods", "metrics", "providers", "prices", "runners", "reports", "scenarios"]

T = TypeVar("T")

_PACKAGE = Path(__file__).parent


def names(kind: Kind) -> tuple[str, ...]:
    """The plug-ins of a folder, in alphabetical order."""
    return tuple(sorted(path.stem for path in (_PACKAGE / kind).glob("*.py") if path.stem != "__init__"))


def describe(kind: Kind, name: str) -> str:
    """The first docstring line of a plug-in, read without importing it."""
    tree = ast.parse((_PACKAGE / kind / f"{name}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'per_channel'?`, or the list of what is known when nothing is near."""
    options = sorted(known)
    close = difflib.get_close_matches(name, options, n=1)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(options)}" if options else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """One option of a plug-in: its type, and its default as it stands in the source; None when it must be given."""

    hint: Any
    default: str | None


def options(kind: Kind, name: str) -> dict[str, Option]:
    """The options of a plug-in by name, in their order, read without importing it.

    Raises UsageError for an unknown name (with the nearest).
    """
    if name not in names(kind):
        raise UsageError(f"{kind}: no '{name}'{nearest(name, names(kind))}")
    tree = ast.parse((_PACKAGE / kind / f"{name}.py").read_text(encoding="utf-8"))
    aliases = {ast.unparse(one.targets[0]): one.value for one in tree.body if isinstance(one, ast.Assign)}
    return {
        ast.unparse(one.target): Option(_hint(one.annotation, aliases), ast.unparse(one.value) if one.value else None)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.name == _class_name(name)
        for one in node.body
        if isinstance(one, ast.AnnAssign) and not ast.unparse(one.annotation).startswith("ClassVar")
    }


def _hint(node: ast.expr, aliases: Mapping[str, ast.expr]) -> object:
    """The type that an annotation stands for. Options are plain values, so these few forms are all there are."""
    plain: dict[str, object] = {"bool": bool, "int": int, "float": float, "str": str, "None": None}
    text = ast.unparse(node)
    if text in aliases:
        return _hint(aliases[text], aliases)
    if text in plain:
        return plain[text]
    if isinstance(node, ast.BinOp):
        return typing.Union[_hint(node.left, aliases), _hint(node.right, aliases)]  # noqa: UP007 - made at run time
    if isinstance(node, ast.Subscript) and text.startswith("Literal["):
        return Literal[ast.literal_eval(node.slice)]
    raise TypeError(f"an option's type must be bool, int, float, str, None or Literal, not {text}")


def _class_name(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def find(kind: Kind, name: str, base: type[T]) -> type[T]:
    """The class of one plug-in: `int8_static` is `Int8Static` in `methods/int8_static.py`.

    Raises UsageError for an unknown name (with the nearest), TypeError for a file that breaks the convention.
    """
    if name not in names(kind):
        raise UsageError(f"{kind}: no '{name}'{nearest(name, names(kind))}")
    module = importlib.import_module(f"costopt.{kind}.{name}")
    found = vars(module).get(_class_name(name))
    if not (isinstance(found, type) and issubclass(found, base)):
        raise TypeError(f"costopt/{kind}/{name}.py must define a {base.__name__} named in CamelCase after the file")
    return found


def make(kind: Kind, spec: Spec, base: type[T]) -> T:
    """The plug-in that a Spec describes.

    Raises UsageError when the name, an option's name or an option's type is wrong, naming the nearest.
    """
    plugin = find(kind, spec.name, base)
    hints = typing.get_type_hints(plugin)
    known = {one.name: hints[one.name] for one in dataclasses.fields(plugin) if one.init}  # type: ignore[arg-type]
    _refuse_misfits(kind, spec, known)
    return plugin(**spec.options)


def check(kind: Kind, spec: Spec) -> None:
    """What `make` would say of a Spec, from the plug-in's text alone: nothing is imported.

    Raises UsageError when the name, an option's name or an option's type is wrong, naming the nearest, and when an
    option without a default is missing.
    """
    known = options(kind, spec.name)
    _refuse_misfits(kind, spec, {name: option.hint for name, option in known.items()})
    for name, option in known.items():
        if option.default is None and name not in spec.options:
            raise UsageError(f"{kind}/{spec.name} needs the option '{name}' ({in_words(option.hint)})")


def _refuse_misfits(kind: Kind, spec: Spec, known: Mapping[str, object]) -> None:
    for option, value in spec.options.items():
        if option not in known:
            raise UsageError(f"{kind}/{spec.name} has no option '{option}'{nearest(option, known)}")
        if not _fits(value, known[option]):
            raise UsageError(f"{kind}/{spec.name}: {option} must be {in_words(known[option])}, not {value!r}")


def _fits(value: Value, hint: object) -> bool:
    if typing.get_origin(hint) is Literal:
        return value in typing.get_args(hint)
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if hint is types.NoneType else isinstance(hint, type) and isinstance(value, hint)


def in_words(hint: object) -> str:
    """An option's type for people: `one of minmax, entropy`, `a whole number or null`."""
    if typing.get_origin(hint) is Literal:
        return "one of " + ", ".join(str(choice) for choice in typing.get_args(hint))
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        return " or ".join(in_words(part) for part in typing.get_args(hint))
    if hint is types.NoneType:
        return "null"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    return words.get(hint, str(hint)) if isinstance(hint, type) else str(hint)
