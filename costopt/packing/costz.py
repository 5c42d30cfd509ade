"""`.costz`: an ONNX model in a small file that gives back exactly the files that were measured.

An ONNX file is taken as it is, byte for byte: where a tensor's numbers lie it has a hole, and what is left of it
(nodes, names, shapes) is text that LZMA packs well. The numbers go through `codings`, each tensor by what suits it. So
nothing has to be understood to be given back, and `unpack` needs neither onnx nor protobuf:

    model.onnx  ─▶  the text between the tensors (LZMA)  +  a block for each tensor      ─▶  model.onnx, same sha256
    model.data  ─▶  the same, for external data

Written: `COSTZ`, the version, CRC-32 of what follows, the length of the head, the head (JSON, deflated), all texts, all
blocks. A file is untrusted: nothing in it runs, declared sizes are checked before memory is taken, names lead nowhere
but beside the model, and files appear only when their sha256 is the one that was packed. Deep Compression (Han et al.,
arXiv:1510.00149) is `prune_weights`, `cluster_weights` and this.
"""

import hashlib
import lzma
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from costopt.disk import faults
from costopt.errors import ModelFileError, UsageError
from costopt.packing import codings
from costopt.packing.rans import Damaged, Reader
from costopt.packing.spans import Span, spans

MAGIC = b"COSTZ"
VERSION = 1

MOST_UNPACKED = 1000
"""A file that unpacks to more than this many times its own size (and 64 MiB) is made to fill the disk: a layer of which
nothing but zeros is left reaches such a ratio, a model that still computes something does not."""

FREE_BYTES = 64 * 2**20
MOST_HEAD_BYTES = 64 * 2**20

SAMPLE_BYTES = 1 << 16
"""Of each tensor, what is tried by `likely_share`."""

TEXT_FILTERS = ({"id": lzma.FILTER_LZMA1, "preset": 9, "dict_size": 1 << 24, "lc": 4, "pb": 0},)
"""Raw LZMA, so that a file can't ask for more memory than this dictionary; text has no alignment (`pb`)."""


Bytes = Annotated[int, Field(ge=0)]


class Hole(NamedTuple):
    """A tensor in a file: the bytes of text before it, its own, and those of its block."""

    text_bytes: Bytes
    size_bytes: Bytes
    block_bytes: Bytes


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a model; `text_bytes` are those of its packed text."""

    name: str
    size_bytes: Bytes
    text_bytes: Bytes
    holes: tuple[Hole, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """What is in a `.costz`: the model's file first. `sha256` is over all files, as in `records.Artifact`."""

    sha256: str
    parts: tuple[Part, ...]


HEAD = TypeAdapter(Head)

# ---------------------------------------------------------------------------------------- pack


def pack(source: Path, target: Path) -> int:
    """Write the ONNX file `source`, with its external data, as a `.costz`; how many bytes that takes.

    Raises ModelFileError when it can't be read, UsageError when `unpack` would refuse it, CostoptError when the disk is
    full.
    """
    parts, contents, digest = list[Part](), list[bytes](), hashlib.sha256()
    for path, places in spans(source).items():
        data = path.read_bytes()
        digest.update(data)
        part, written = _packed(path.relative_to(source.parent).as_posix(), data, places)
        parts.append(part)
        contents += written
    if odd := [part.name for part in parts if not _stays_beside(part.name)]:
        raise UsageError(f"{source}: {odd[0]!r} is a name that can't be given back on every system; rename it")
    packed = _assembled(Head(digest.hexdigest(), tuple(parts)), contents)
    total = sum(part.size_bytes for part in parts)
    if total > _most_unpacked(len(packed)):
        raise UsageError(f"{source}: its {total} bytes pack into {len(packed)}: it holds next to nothing but zeros")
    with faults(target):
        _publish([(target, [packed])])
    return len(packed)


def _packed(name: str, data: bytes, places: Sequence[Span]) -> tuple[Part, list[bytes]]:
    """A file's entry in the head, and what is written of it: its text, then a block for each tensor."""
    edges = [0, *(edge for start, end, _ in places for edge in (start, end)), len(data)]
    texts = [data[begin:end] for begin, end in zip(edges[::2], edges[1::2], strict=True)]
    text = lzma.compress(b"".join(texts), lzma.FORMAT_RAW, filters=TEXT_FILTERS)
    blocks = [codings.encode(data[start:end], width) for start, end, width in places]
    pairs = zip(texts, places, blocks, strict=False)  # one more text than tensors: what follows the last
    holes = tuple(Hole(len(before), end - start, len(block)) for before, (start, end, _), block in pairs)
    return Part(name, len(data), len(text), holes), [text, *blocks]


def _assembled(head: Head, contents: Sequence[bytes]) -> bytes:
    deflated = zlib.compress(HEAD.dump_json(head), 9)
    rest = b"".join([len(deflated).to_bytes(4, "little"), deflated, *contents])
    return b"".join([MAGIC, bytes([VERSION]), zlib.crc32(rest).to_bytes(4, "little"), rest])


def likely_share(source: Path) -> float:
    """About how much of an ONNX file its `.costz` would take at most; 1 is all of it.

    zlib tells it from the middle of each tensor, in a fraction of the time, and does somewhat worse than `codings`.
    """
    total = saved = 0.0
    for path, places in spans(source).items():
        total += path.stat().st_size
        with path.open("rb") as file:
            for start, end, _ in places:
                file.seek(start + max(0, end - start - SAMPLE_BYTES) // 16 * 8)  # half of the way, on whole numbers
                sample = file.read(min(end - start, SAMPLE_BYTES))
                saved += (1 - len(zlib.compress(sample, 1)) / len(sample)) * (end - start)
    return 1 - saved / total


# ---------------------------------------------------------------------------------------- unpack


def unpack(source: Path, target: Path) -> tuple[Path, ...]:
    """Write the model in the `.costz` file `source` to `target`, external data beside it; the files written.

    Raises ModelFileError for a file that is damaged, from a later version or made to do harm, UsageError when a file
    that would be written is there already, CostoptError when the disk is full. Then nothing is left behind.
    """
    try:
        data = source.read_bytes()
    except OSError as fault:
        raise ModelFileError(f"{source}: it can't be read ({fault.strerror}); check the path") from fault
    try:
        head, contents = _head(source, data)
        files = _free(target, head)
        with faults(target):
            _publish(zip(files, _unpacked(head, contents), strict=True))
    except (Damaged, lzma.LZMAError, zlib.error) as damage:
        raise ModelFileError(f"{source}: the file is damaged ({damage}); copy or download it again") from damage
    return files


def _free(target: Path, head: Head) -> tuple[Path, ...]:
    """Where each file goes. Raises UsageError when a file is there, or two would go to one place."""
    files = (target, *(target.parent / part.name for part in head.parts[1:]))
    for file in files:
        if file.exists():
            raise UsageError(f"{file} is there already and stays as it is; name another place with --out")
    if target in files[1:]:
        raise UsageError(f"{target} is the name of the model's external data; name the model otherwise with --out")
    return files


def _head(source: Path, data: bytes) -> tuple[Head, Reader]:
    """What the file declares, once that is known to be harmless, and its texts and blocks."""
    reader = Reader(memoryview(data))
    if data[: len(MAGIC)] != MAGIC:
        raise ModelFileError(f"{source}: it is no .costz file: it does not begin with COSTZ")
    reader.take(len(MAGIC))
    (version,) = reader.take(1)
    if version != VERSION:
        raise ModelFileError(f"{source}: it has version {version}, this costopt reads {VERSION}: update costopt")
    checksum = int.from_bytes(reader.take(4), "little")
    if checksum != zlib.crc32(reader.data[reader.position :]):
        raise Damaged("its checksum differs")
    inflate = zlib.decompressobj()
    text = inflate.decompress(reader.take(int.from_bytes(reader.take(4), "little")), MOST_HEAD_BYTES)
    try:
        head = HEAD.validate_json(text)
    except ValidationError as error:
        raise Damaged("its head makes no sense") from error
    _refuse_harm(source, head, len(data))
    return head, reader


def _refuse_harm(source: Path, head: Head, size_bytes: int) -> None:
    """Raises ModelFileError for sizes that fill the disk or the memory, and for names that lead elsewhere."""
    total = sum(part.size_bytes for part in head.parts)
    if total > _most_unpacked(size_bytes):
        words = f"refused: its {size_bytes} bytes unpack to {total}, which is made to fill the disk"
        raise ModelFileError(f"{source}: {words}")
    names = [part.name for part in head.parts]
    if not names or len({name.lower() for name in names}) < len(names):
        raise Damaged("it names no file, or one twice")
    for name in names:
        if not _stays_beside(name):
            raise ModelFileError(f"{source}: refused: it would write to {name!r}, outside of the model's folder")


def _stays_beside(name: str) -> bool:
    """Whether a relative name leads into the folder or below it on every system, to no hidden file."""
    steps = name.split("/")
    return name.isprintable() and not set(name) & set("\\:") and not any(step[:1] in ("", ".") for step in steps)


def _most_unpacked(size_bytes: int) -> int:
    return MOST_UNPACKED * size_bytes + FREE_BYTES


def _unpacked(head: Head, contents: Reader) -> Iterator[list[bytes]]:
    """The bytes of each file. Raises Damaged when they are not those that were packed."""
    digest = hashlib.sha256()
    for part in head.parts:
        pieces = list(_pieces(part, contents))
        for piece in pieces:
            digest.update(piece)
        yield pieces
    if digest.hexdigest() != head.sha256:
        raise Damaged("what it unpacks to has another sha256 than what was packed")
    if contents.position != len(contents.data):
        raise Damaged("there is more in it than belongs there")


def _pieces(part: Part, contents: Reader) -> Iterator[bytes]:
    """Text, tensor, text, tensor ..., text."""
    size_of_text = part.size_bytes - sum(hole.size_bytes for hole in part.holes)
    if size_of_text < 0:
        raise Damaged("its sizes contradict each other")
    inflate = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=TEXT_FILTERS)
    text = Reader(memoryview(inflate.decompress(contents.take(part.text_bytes), size_of_text)))
    for hole in part.holes:
        yield bytes(text.take(hole.text_bytes))
        yield codings.decode(contents.take(hole.block_bytes), hole.size_bytes)
    yield bytes(text.take(len(text.data) - text.position))


def _publish(files: Iterable[tuple[Path, Iterable[bytes]]]) -> None:
    """Write files that appear when all of them are whole, or not at all. Raises what making their bytes raises."""
    scratches = dict[Path, Path]()
    try:
        for target, pieces in files:
            target.parent.mkdir(parents=True, exist_ok=True)
            scratches[target] = target.with_name(f".{target.name}.{os.getpid()}")
            with scratches[target].open("wb") as opened:
                opened.writelines(pieces)
                opened.flush()
                os.fsync(opened.fileno())
        for target, scratch in reversed(scratches.items()):  # the model last: where it is, its data are
            scratch.replace(target)
    finally:
        for scratch in scratches.values():
            scratch.unlink(missing_ok=True)
