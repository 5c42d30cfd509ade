"""Zip archives of torch (`.pt2`, TorchScript), read with suspicion and written anew.

A check is worth nothing if the loader then reads something else: another parser may pick the other one of two entries
with one name, and the file may change in between. So a format checks what it needs, and hands torch a *new* archive
that holds the checked entries and nothing more.

    with opened(path) as archive:
        ...                                  read(archive, name): check it, change it
        torch.export.load(rewritten(archive, keep, replaced))
"""

import contextlib
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO

from costopt.errors import ModelFileError

IN_MEMORY_BYTES = 512 * 1024 * 1024
"""A new archive up to this size stays in memory; a larger one goes to the folder for temporary files."""

MOST_UNPACKED = 20
"""torch stores tensors unpacked and packs only code: an archive that unpacks to more than this many times its own size
(and 64 MiB) is made to fill the memory."""

PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, NotImplementedError)
"""What Python's zip reader raises for damaged archives."""

_FREE_BYTES = 64 * 1024 * 1024


@contextlib.contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """The archive, open for reading, its list of entries checked.

    Raises ModelFileError when it is damaged, has two entries of one name, or would unpack to an absurd size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_entries(path, archive)
            yield archive
    except DAMAGE as error:
        raise ModelFileError(f"{path}: the file is damaged ({error}); copy or download it again") from error


def _check_entries(path: Path, archive: zipfile.ZipFile) -> None:
    names = [entry.filename.lower() for entry in archive.infolist()]  # torch's zip reader ignores case
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ModelFileError(f"{path}: refused: it has two entries called {twice}; save the model again with torch")
    if any(entry.flag_bits & 1 or entry.compress_type not in PACKINGS for entry in archive.infolist()):
        raise ModelFileError(f"{path}: it is encrypted, or packed as torch never does; save the model again with torch")
    unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > MOST_UNPACKED * path.stat().st_size + _FREE_BYTES:
        raise ModelFileError(
            f"{path}: refused: its {path.stat().st_size} bytes unpack to {unpacked}, which is made to fill the memory"
        )


def names_in(archive: zipfile.ZipFile) -> dict[str, str]:
    """The entries by their names without the folder that torch puts around all of them: `models/model.json`."""
    return {entry.partition("/")[2]: entry for entry in archive.namelist()}


def rewritten(archive: zipfile.ZipFile, keep: Collection[str], replaced: Mapping[str, bytes]) -> IO[bytes]:
    """A new archive with the entries `keep` as they are and those of `replaced` with other content; read it at once."""
    target = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - it is the result
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as copy:
        for name in archive.namelist():
            if name in replaced:
                copy.writestr(name, replaced[name])
            elif name in keep:
                with archive.open(name) as old, copy.open(name, "w", force_zip64=True) as new:
                    shutil.copyfileobj(old, new, 1 << 20)
    target.seek(0)
    return target
