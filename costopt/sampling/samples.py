"""The user's data, matched to the model's inputs and read in batches, so that they need not fit into memory.

    source ─▶ open_source ─▶ ArrayFile* ─▶ match ─▶ Samples ─▶ batches, targets

`Samples` is a description: it names files and offsets, crosses to child processes as JSON, and each process reads the
same bytes.
"""

import dataclasses
import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from costopt import plugins
from costopt.errors import DataError
from costopt.feeds import Feed, first_bytes
from costopt.records import InputSpec, Spec
from costopt.sampling.arrays import CHUNK_BYTES, Array, ArrayFile, ArrayWriter
from costopt.sampling.matching import TARGET, Input, Purpose, matched

LOOKED_AT = 64
"""Samples that are searched for NaN; reading all of them would take as long as scoring a model."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Inputs under the model's own names, and labels if there are any. All have the same first axis."""

    inputs: tuple[Input, ...]
    target: ArrayFile | None = None

    @classmethod
    def written(cls, batches: Iterable[Mapping[str, Array]], folder: Path) -> "Samples":
        """Write batches of named arrays into a folder. Raises DataError for no batch, or batches that differ."""
        writer = ArrayWriter(folder, "model outputs")
        for batch in batches:
            writer.append(list(batch), list(batch.values()))
        return cls(tuple(Input(array.name, array.dtype, array.shape[1:], (array,)) for array in writer.finish()))

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return self.inputs[0].samples

    def batches(self, size: int, limit: int | None = None) -> Iterator[dict[str, Array]]:
        """Batches of at most `size` samples in order, `limit` samples in all."""
        total = self.samples if limit is None else min(limit, self.samples)
        for start in range(0, total, size):
            yield self.rows(start, min(start + size, total))

    def rows(self, start: int, stop: int) -> dict[str, Array]:
        """Samples `start` to `stop` of every input."""
        return {one.name: one.read(start, stop) for one in self.inputs}

    def targets(self, start: int, stop: int) -> dict[str, Array]:
        """{"target": labels `start` to `stop`}, or nothing when there are no labels."""
        return {} if self.target is None else {TARGET: self.target.read(start, stop)}

    def at(self, places: Sequence[int]) -> dict[str, Array]:
        """The samples at some places of every input; neighbours are read in one piece."""
        return _joined([self.rows(start, stop) for start, stop in _pieces(places)])

    def targets_at(self, places: Sequence[int]) -> dict[str, Array]:
        """{"target": labels at some places}, or nothing when there are no labels."""
        return _joined([self.targets(start, stop) for start, stop in _pieces(places)])

    def to_json(self) -> dict[str, object]:
        """Plain dicts, lists, numbers and texts."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, facts: Mapping[str, object]) -> "Samples":
        """What `to_json` gave, also after a trip through JSON. Raises pydantic.ValidationError."""
        from pydantic import TypeAdapter

        return TypeAdapter(cls).validate_python(facts)


def _pieces(places: Sequence[int]) -> list[tuple[int, int]]:
    if places[-1] - places[0] == len(places) - 1:
        return [(places[0], places[-1] + 1)]
    return [(place, place + 1) for place in places]


def _joined(parts: Sequence[dict[str, Array]]) -> dict[str, Array]:
    return parts[0] if len(parts) == 1 else {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def spread(samples: int, most: int) -> tuple[int, ...]:
    """At most so many places, in order, chosen by chance, the same ones each time; every place when there are no more.

    By chance, because data may be sorted, which the first few would hide, or their classes may take turns, of which
    every 20th sample would show a few.
    """
    return tuple(sorted(random.Random(0).sample(range(samples), min(samples, most))))


def sha256(samples: Samples) -> str:
    """Digest of names, types, shapes and values: what the model sees, wherever it lies. Reads everything once."""
    digest = hashlib.sha256()
    for one in samples.inputs:
        digest.update(f"{one.name} {one.dtype} {one.row};".encode())
        for part in one.parts:
            _digest(part, digest)
    if samples.target is not None:
        _digest(samples.target, digest)
    return digest.hexdigest()


def _digest(array: ArrayFile, digest: "hashlib._Hash") -> None:
    digest.update(f"{array.dtype} {array.shape};".encode())
    step = max(1, CHUNK_BYTES // max(1, array.sample_bytes))
    for start in range(0, array.shape[0], step):
        digest.update(array.read(start, start + step).data)


# -------------------------------------------------------------------------------------------- from a source


def open_source(source: str, scratch: Path) -> tuple[ArrayFile, ...]:
    """Every array in a data file, or from a `module:function`; what can't be used in place is written under `scratch`.

    The kind of file is recognised by its content. Raises DataError for what is missing, damaged or of no known kind.
    """
    for name in plugins.names("feeds"):
        feed = plugins.make("feeds", Spec(name), Feed)
        if feed.recognises(source):
            return feed.arrays(source, scratch.absolute())
    raise DataError(f"{source}: {_unrecognised(source)}")


def _unrecognised(source: str) -> str:
    """Why a source is of no known kind, and what to do."""
    path, kinds = Path(source), "costopt reads .npz, .npy, .pt, .safetensors, Parquet, CSV and module:function"
    if path.is_dir():
        return f"this is a folder; name a file in it. {kinds}"
    if not path.exists():
        return "there is no such file; give the path of a data file, or module:function"
    first = first_bytes(source)
    if not first:
        return "the file is empty; copy or save it again"
    if first.lstrip()[:1] == b"<":
        return "this is an HTML or XML page, as a failed download leaves it; download the data again"
    if first.startswith(b"version https://git-lfs"):
        return "this is a Git LFS pointer and not the data; run: git lfs pull"
    if first.startswith(b"PK"):
        return "this zip archive is cut off, or holds no arrays; copy it again, or save it with np.savez"
    return f"its content is of no known kind. {kinds}; np.savez makes a file"


def match(arrays: Sequence[ArrayFile], inputs: Sequence[InputSpec], purpose: Purpose) -> Samples:
    """The arrays as the model wants them (`matching` tells how). Raises DataError, saying what to change."""
    fed, target = matched(arrays, inputs, purpose)
    for one in fed:
        values = one.read(0, min(LOOKED_AT, max(1, CHUNK_BYTES // max(1, one.sample_bytes))))
        if values.dtype.kind == "f" and np.isnan(values).any():
            sample = np.argwhere(np.isnan(values))[0][0]
            remedy = "fill it as in training, or leave the sample out"
            raise DataError(f"{purpose} data: '{one.name}' has a NaN in sample {sample}; {remedy}")
    return Samples(fed, target)
