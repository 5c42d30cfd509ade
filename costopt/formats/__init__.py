"""Kinds of model file, one a file; a file is recognised by its content, never by its name.

`recognises` looks at the first bytes and, for a zip archive, at its entries; it imports nothing heavy and runs nothing.
`load` gives one of three things:

- `Program`: a graph that torch.export wrote (or that a loader brought into that form);
- `Modules`: an `nn.Module` with the names of its inputs;
- `OnnxFile`: a graph that is ONNX already.

A file that was sent to the user must not be able to run code: each loader checks what it is about to read, and refuses
with ModelFileError what could. A refusal ends in the next command to run.
"""

import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costopt.records import ModelSource

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Head:
    """What can be seen of a file without reading it whole: its first bytes, and its entries if it is a zip archive."""

    path: Path
    first: bytes
    entries: tuple[str, ...]

    @classmethod
    def of(cls, path: Path) -> "Head":
        """Read the head of a file. Raises OSError when it can't be read."""
        with path.open("rb") as file:
            first = file.read(4096)
        if not zipfile.is_zipfile(path):
            return cls(path, first, ())
        with zipfile.ZipFile(path) as archive:
            return cls(path, first, tuple(archive.namelist()))


@dataclass(frozen=True, slots=True)
class Program:
    """A graph that torch.export wrote."""

    program: "torch.export.ExportedProgram"


@dataclass(frozen=True, slots=True)
class Modules:
    """A module, in eval mode, and the names of its inputs in order. `note` tells what its reader should know."""

    module: "torch.nn.Module"
    input_names: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A graph that is ONNX already; external data lies beside it."""

    path: Path


Loaded = Program | Modules | OnnxFile


class Format(ABC):
    """One kind of model file."""

    @abstractmethod
    def recognises(self, head: Head) -> bool:
        """Whether a file is of this kind, by its content."""

    @abstractmethod
    def load(self, source: ModelSource) -> Loaded:
        """The model. Raises ModelFileError, whose message ends in the next command to run."""
