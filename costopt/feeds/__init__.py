"""Kinds of data, one a file: where calibration and evaluation inputs come from.

A feed is turned into plain arrays on disk (`ArrayFile`) before work starts, so that every child process reads the same
bytes and data larger than memory is never held whole. A `.npy` file, an uncompressed member of a `.npz` file and a
tensor in a `.safetensors` file are read where they lie; everything else is written once, batch by batch, into the
run's folder.

A file that was sent to the user must not be able to run code: no feed unpickles, save through torch's `weights_only`,
and only the `module:function` that the budget file names is imported.
"""

import zipfile
from abc import ABC, abstractmethod
from pathlib import Path

from costopt.errors import DataError
from costopt.sampling.arrays import ArrayFile as ArrayFile


class Feed(ABC):
    """One kind of data source."""

    @abstractmethod
    def recognises(self, source: str) -> bool:
        """Whether `source` (a path, or `module:function`) is of this kind; by content where there is any."""

    @abstractmethod
    def arrays(self, source: str, scratch: Path) -> tuple[ArrayFile, ...]:
        """Every array in the source, in its order; the first axis of each is the sample.

        What can't be read in place is written under `scratch`. Raises DataError.
        """


def first_bytes(source: str, count: int = 4096) -> bytes:
    """The beginning of a file; nothing when there is none. Raises DataError when it can't be read."""
    path = Path(source)
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as problem:
        raise DataError(f"{source}: can't be read ({problem.strerror}); check its permissions") from problem


def zip_entries(source: str) -> tuple[str, ...]:
    """The names in a zip archive; none when it is no archive, or a damaged one."""
    if not first_bytes(source, 4).startswith(b"PK"):
        return ()
    try:
        with zipfile.ZipFile(source) as archive:
            return tuple(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return ()
