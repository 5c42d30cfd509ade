"""A TorchScript archive, as torch.jit.save writes it, scripted or traced.

Loading one runs code in TorchScript: `__setstate__` of its objects. That language reaches no Python, but torch has
operators that write and map files (`aten::save`, `aten::from_file`), operators that talk to other machines (`c10d`),
and C++ classes. So the code is searched before torch gets it: operators must come from namespaces that compute, and no
name may be the one of an operator on files. What is searched is what torch writes; a file in another style (comments,
single quotes, computed attribute names) is refused, because a search could miss something in it. torch then gets a new
archive that holds what was searched.
"""

import io
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costopt.errors import ModelFileError
from costopt.formats import Format, Head, Modules
from costopt.loading import archive, pickles
from costopt.records import ModelSource

if TYPE_CHECKING:
    import torch

NAMESPACES = {"aten", "prim", "prims", "quantized", "torchvision"}
"""Where operators may come from. Missing are, among others, c10d and symm_mem (network), profiler and inductor."""

FILE_OPERATORS = {"save", "from_file"}
"""Operators of aten that take a file name; a test looks whether torch has grown others."""

CLASSES = {"quantized"}
"""C++ classes (`__torch__.torch.classes.<namespace>`): packed weights of quantised layers."""

KEPT = re.compile(r"(code/.*\.py|data\.pkl|constants\.pkl|(data|constants)/\d+|version|byteorder|\.data/version)")

_TEXT = re.compile(r'"(?:[^"\\\n]|\\.)*"')
_GETATTR = re.compile(r'(?<![\w.])getattr\([\w.]+, "([\w.\-]+)"\)')
_OPERATOR = re.compile(r"(?<![\w.])ops\.(\w+)\.\w+")
_CLASS = re.compile(r"__torch__\.torch\.classes\.(\w+)")
_ATTRIBUTE = re.compile(r'__annotations__\["([\w.\-]+)"\]')


@dataclass(frozen=True)
class Torchscript(Format):
    """A module and its code; its layers can be seen only after tracing."""

    def recognises(self, head: Head) -> bool:
        """By its folder of code and its table of constants."""
        entries = [entry.partition("/")[2] for entry in head.entries]
        return any(entry.startswith("code/") for entry in entries) and not any(
            entry in ("archive_format", "models/model.json") for entry in entries
        )

    def load(self, source: ModelSource) -> Modules:
        """The module in eval mode, on the CPU, and the arguments of its forward that have no default."""
        import torch

        path = Path(source.path)
        with archive.opened(path) as opened:
            names = archive.names_in(opened)
            _check(path, opened, names)
            clean = archive.rewritten(opened, {entry for name, entry in names.items() if KEPT.fullmatch(name)}, {})
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript itself is deprecated: we know
                module = torch.jit.load(clean, map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except Exception as error:  # the C++ reader raises RuntimeError, and much else for damaged content
            reason = " ".join(str(error).split())[:200]
            raise ModelFileError(
                f"{path}: torch {torch.__version__} can't read this TorchScript ({reason}); save it again, or as .pt2"
            ) from error
        for name in module.state_dict():
            if not re.fullmatch(r"[\w.\-]+", name):  # names end up in generated source
                raise _refused(path, f"a parameter is called {name[:60]!r}")
        return Modules(module, _input_names(module))


def _input_names(module: "torch.jit.ScriptModule") -> tuple[str, ...]:
    arguments = module._c._get_method("forward").schema.arguments[1:]
    return tuple(one.name for one in arguments if not one.has_default_value())


def _refused(path: Path, what: str) -> ModelFileError:
    return ModelFileError(f"{path}: refused: {what}, which can do harm; ask its author for the model as .pt2 or ONNX")


def _check(path: Path, opened: zipfile.ZipFile, names: dict[str, str]) -> None:
    if not {"data.pkl", "constants.pkl"} <= set(names):
        raise ModelFileError(f"{path}: TorchScript of before torch 1.5, or cut off; save it again with torch.jit.save")
    for name, entry in names.items():
        if name.startswith("code/") and name.endswith(".py"):
            check_code(path, opened.read(entry).decode("utf-8", errors="replace"))
    for name in ("data.pkl", "constants.pkl"):
        for imported in pickles.imports(io.BytesIO(opened.read(names[name]))):
            if not imported.startswith(("__torch__.", "torch.", "collections.OrderedDict")):
                raise _refused(path, f"its {name} imports {imported[:80]}")
            _check_class(path, imported)


def check_code(path: Path, code: str) -> None:
    """Let pass TorchScript as torch writes it that calls nothing but operators that compute."""
    for literal in _GETATTR.findall(code):
        _check_word(path, literal)
    bare = _ATTRIBUTE.sub("", _GETATTR.sub("", code))
    bare = _TEXT.sub("", bare) if '"""' not in bare else bare
    if re.search(r"""["'#\\]|(?<!\w)(getattr|__annotations__)(?!\w)""", bare):
        raise _refused(path, "its code is not in the form in which torch writes it")
    for word in re.findall(r"\w+", bare):
        _check_word(path, word)
    operators = _OPERATOR.findall(bare)
    if set(operators) - NAMESPACES or len(operators) != len(re.findall(r"(?<![\w.])ops(?!\w)", bare)):
        strange = ", ".join(sorted(set(operators) - NAMESPACES)) or "no fixed place"
        raise _refused(path, f"its code calls operators of {strange}")
    _check_class(path, bare)


def _check_word(path: Path, word: str) -> None:
    if word in FILE_OPERATORS:
        raise _refused(path, f"its code calls '{word}', an operator on files")


def _check_class(path: Path, text: str) -> None:
    strange = set(_CLASS.findall(text)) - CLASSES
    if strange or len(_CLASS.findall(text)) != len(re.findall(r"torch\s*\.\s*classes", text)):
        raise _refused(path, f"it holds C++ objects ({', '.join(sorted(strange)) or 'torch.classes'})")
