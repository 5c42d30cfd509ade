"""What a torch.save file would import, told without loading it.

A pickle is a program; the names that it imports (its `GLOBAL` and `STACK_GLOBAL` opcodes) tell what kind of thing it
makes: a dict of tensors, a whole `nn.Module`, an estimator of scikit-learn. This is for answers to people. It is not
what keeps them safe: that is `torch.load(weights_only=True)`, which imports nothing but tensors.
"""

import io
import pickletools
from typing import IO

from costopt.formats import Head
from costopt.loading import archive

TENSOR_MODULES = ("torch", "torch._utils", "torch._tensor", "torch.storage", "torch.nn.parameter", "collections")
"""Where a pickle of tensors imports from: `torch._utils._rebuild_tensor_v2`, `torch.FloatStorage`, `OrderedDict`."""

LEGACY_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""How torch.save files of before torch 1.6 begin: the pickle of their magic number (torch/serialization.py)."""

LEGACY_OBJECT = 4
"""The object is the fourth pickle in such a file, after magic number, protocol version and system information."""


def imports_of(head: Head) -> tuple[str, ...] | None:
    """The dotted names that a torch.save file imports, each once; None when torch.save did not write it.

    Raises ModelFileError for a damaged archive.
    """
    if head.first.startswith(LEGACY_MAGIC):
        with head.path.open("rb") as file:
            found = [imports(file) for _ in range(LEGACY_OBJECT)]
        return found[-1]
    entries = {entry.partition("/")[2]: entry for entry in head.entries}
    if "data.pkl" not in entries or "constants.pkl" in entries or "archive_format" in entries:
        return None
    with archive.opened(head.path) as opened:
        return imports(io.BytesIO(opened.read(entries["data.pkl"])))


def holds_tensors_only(names: tuple[str, ...]) -> bool:
    """Whether what is imported is no more than what tensors need."""
    return all(name.rpartition(".")[0] in TENSOR_MODULES for name in names)


def imports(file: IO[bytes]) -> tuple[str, ...]:
    """The dotted names that the pickle at the file's position imports, as far as it can be read."""
    found: list[str] = []
    texts = ["", ""]
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "GLOBAL":
                found.append(str(argument).replace(" ", "."))
            elif opcode.name == "STACK_GLOBAL":
                found.append(".".join(texts[-2:]))
            elif isinstance(argument, str):
                texts.append(argument)
    except (ValueError, EOFError, OverflowError, AttributeError):  # cut off, or no pickle
        pass
    return tuple(dict.fromkeys(found))
