"""A `.npz` file: named arrays in a zip archive.

`np.savez` stores its members uncompressed, so each lies in one piece inside the file and is read there, however
large. `np.savez_compressed` deflates them; those are unpacked once. Arrays saved without a name, which numpy calls
arr_0, arr_1 and so on, are matched to inputs by position.
"""

import re
import shutil
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from costopt.disk import faults
from costopt.errors import DataError
from costopt.feeds import Feed, zip_entries
from costopt.sampling.arrays import CHUNK_BYTES, ArrayFile, array_in

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""APPNOTE.TXT (the zip specification) 4.3.7: signature, ..., length of the file name, length of the extra field."""

_ENCRYPTED = 0x1


@dataclass(frozen=True)
class Npz(Feed):
    """What `np.savez` and `np.savez_compressed` write."""

    def recognises(self, source: str) -> bool:
        """A zip archive that holds `.npy` members and nothing else."""
        entries = zip_entries(source)
        return bool(entries) and all(entry.endswith(".npy") for entry in entries)

    def arrays(self, source: str, scratch: Path) -> tuple[ArrayFile, ...]:
        """All members, in the archive's order."""
        path = Path(source).absolute()
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            return tuple(_member(archive, path, member, scratch / str(n)) for n, member in enumerate(members))


def _member(archive: zipfile.ZipFile, path: Path, member: zipfile.ZipInfo, scratch: Path) -> ArrayFile:
    name = member.filename.removesuffix(".npy")
    if member.flag_bits & _ENCRYPTED:
        raise DataError(f"{path}: array '{name}' is encrypted; save it without a password")
    if member.compress_type == zipfile.ZIP_STORED:
        start = _start(path, member)
        array = array_in(path, name, scratch, start, start + member.file_size)
    else:
        array = array_in(_unpacked(archive, path, member, scratch), name, scratch)
    unnamed = re.fullmatch(r"arr_\d+", name) is not None
    return ArrayFile("" if unnamed else name, array.path, array.offset_bytes, array.shape, array.dtype)


def _start(path: Path, member: zipfile.ZipInfo) -> int:
    """Where a stored member's bytes begin. The local header is read, since its lengths may differ from the index's."""
    with path.open("rb") as file:
        file.seek(member.header_offset)
        head = file.read(_LOCAL_HEADER.size)
    if len(head) < _LOCAL_HEADER.size or not head.startswith(b"PK\x03\x04"):
        raise DataError(f"{path}: the archive is damaged at '{member.filename}'; copy or save it again")
    _, name_length, extra_length = _LOCAL_HEADER.unpack(head)
    return int(member.header_offset + _LOCAL_HEADER.size + name_length + extra_length)


def _unpacked(archive: zipfile.ZipFile, path: Path, member: zipfile.ZipInfo, scratch: Path) -> Path:
    """A copy of a compressed member outside the archive; its checksum is verified on the way."""
    target = scratch / "unpacked.npy"
    with faults(target):
        scratch.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            with archive.open(member) as packed, target.open("wb") as file:
                shutil.copyfileobj(packed, file, CHUNK_BYTES)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as problem:
            raise DataError(
                f"{path}: array '{member.filename}' can't be unpacked ({problem}); save it again"
            ) from problem
    return target
