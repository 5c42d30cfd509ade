"""Arrays on disk, in numpy's `.npy` format: found where they lie, or written batch by batch.

The format is described in numpy.lib.format: a magic string, a header that is a Python literal (shape, order, type),
then the values. It can hold a pickle in place of values; such a file is refused here and never opened.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from costopt.disk import faults
from costopt.errors import DataError

Array = NDArray[np.generic]

CHUNK_BYTES = 1 << 24
"""How much of an array is in memory at a time while it is copied."""


@dataclass(frozen=True, slots=True)
class ArrayFile:
    """An array that lies in a file: C order, `offset_bytes` from the start. `name` is "" when the source has none.

    `dtype` is numpy's name of it ("float32"), or numpy's code (">f4", "<U5") when the name would not tell all.
    """

    name: str
    path: str
    offset_bytes: int
    shape: tuple[int, ...]
    dtype: str

    def read(self, start: int, stop: int) -> Array:
        """Samples `start` to `stop` (at most the last), in memory of their own: aligned, and no part of the file.

        Read and not mapped: a mapped file that is cut short kills the process, and its pages count as the process's
        memory. Raises DataError when the file is no longer what it was.
        """
        row, dtype = self.shape[1:], np.dtype(self.dtype)
        stop = min(stop, self.shape[0])
        values = math.prod(row) * (stop - start)
        offset = self.offset_bytes + start * self.sample_bytes
        try:
            return np.fromfile(self.path, dtype, values, offset=offset).reshape(stop - start, *row)
        except (OSError, ValueError) as problem:
            raise DataError(f"{self.path}: it changed or went away during the run; start again") from problem

    @property
    def sample_bytes(self) -> int:
        """Size of one sample."""
        return math.prod(self.shape[1:]) * np.dtype(self.dtype).itemsize


# --------------------------------------------------------------------------------------------- .npy, read


def array_in(path: Path, name: str, scratch: Path, start: int = 0, stop: int | None = None) -> ArrayFile:
    """The array of the `.npy` bytes that lie between `start` and `stop` in a file (to its end when None).

    Used in place, or written again under `scratch` when it is in Fortran order. `name` is what errors call it, and
    becomes the array's. Raises DataError for bytes that are no array of numbers, or fewer than their header promises.
    """
    what = f"{path}: array '{name}'" if name else str(path)
    with path.open("rb") as file:
        file.seek(start)
        shape, fortran, dtype = _header(file, what)
        offset = file.tell()
        size_bytes = file.seek(0, io.SEEK_END)
    if dtype.hasobject:
        raise DataError(
            f"{what} holds Python objects, so a pickle, which could run code: costopt does not open it. "
            "Save numbers (np.asarray(x, 'float32')), or leave it out"
        )
    if dtype.names is not None:
        raise DataError(f"{what} is a record array ({', '.join(dtype.names)}): save each field as an array of its own")
    wanted_bytes = math.prod(shape) * dtype.itemsize
    missing_bytes = offset + wanted_bytes - min(size_bytes if stop is None else stop, size_bytes)
    if missing_bytes > 0:
        raise DataError(
            f"{what} is cut off: {missing_bytes:,} bytes are missing of shape {shape}; copy or save it again"
        )
    if fortran and wanted_bytes:
        return _in_c_order(np.memmap(path, dtype, "r", offset, shape, order="F"), name, what, scratch)
    return ArrayFile(name, str(path), offset, shape, dtype_name(dtype))


def _header(file: BinaryIO, what: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        shape, fortran, dtype = readers[np.lib.format.read_magic(file)](file)
    except Exception as problem:  # third-party call: a parser of bytes that may be anything; it evaluates literals only
        raise DataError(f"{what} has no valid .npy header; save it again with np.save or np.savez") from problem
    if any(length < 0 for length in shape):
        raise DataError(f"{what} has the impossible shape {shape}; save it again with np.save or np.savez")
    return shape, fortran, dtype


def _in_c_order(array: Array, name: str, what: str, scratch: Path) -> ArrayFile:
    """A copy with each sample's values side by side, as models want them."""
    writer = ArrayWriter(scratch, what)
    rows = max(1, CHUNK_BYTES // array[:1].nbytes)
    for start in range(0, len(array), rows):
        writer.append((name,), (array[start : start + rows],))
    return writer.finish()[0]


def dtype_name(dtype: np.dtype[np.generic]) -> str:
    """`float32`; numpy's code where the name would lose the byte order or the length of a text."""
    return dtype.name if dtype.isnative and dtype.kind in "biufc" else dtype.str


# ------------------------------------------------------------------------------------------- .npy, written


@dataclass
class _Growing:
    """One array on its way to disk."""

    name: str
    path: Path
    dtype: np.dtype[np.generic]
    row: tuple[int, ...]
    samples: int = 0

    def header(self) -> bytes:
        """numpy leaves room in it for a first axis that grows, so its length does not depend on `samples`."""
        buffer = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(self.dtype)
        facts = {"descr": descr, "fortran_order": False, "shape": (self.samples, *self.row)}
        np.lib.format.write_array_header_1_0(buffer, facts)
        return buffer.getvalue()


@dataclass
class ArrayWriter:
    """Arrays that grow together, batch by batch, each in a `.npy` file of its own in a folder.

    Files are numbered, so that no name from the data becomes a path. A file that is there already is replaced and not
    written into: somebody may be reading it. `source` is what errors call the data.
    """

    folder: Path
    source: str
    growing: list[_Growing] = field(default_factory=list)

    def append(self, names: Sequence[str], batch: Sequence[Array]) -> None:
        """Add one batch: arrays with the same first axis, and the names and kinds of the batches before.

        Raises DataError when they differ, CostoptError when the disk is full or can't be written.
        """
        if not self.growing:
            self._begin(names, batch)
        self._check(names, batch)
        for one, array in zip(self.growing, batch, strict=True):
            with faults(one.path), one.path.open("ab") as file:
                file.write(np.ascontiguousarray(array).data)
            one.samples += len(array)

    def finish(self) -> tuple[ArrayFile, ...]:
        """Write the final shapes. Raises DataError when there was no batch."""
        if not self.growing:
            raise DataError(f"{self.source}: there are no samples in it")
        return tuple(self._finished(one) for one in self.growing)

    def _begin(self, names: Sequence[str], batch: Sequence[Array]) -> None:
        for position, (name, array) in enumerate(zip(names, batch, strict=True)):
            if array.dtype.kind not in "biuf" or not array.dtype.isnative or array.ndim == 0:
                raise DataError(
                    f"{self.source}: array '{name or position}' is {array.dtype} {array.shape}; "
                    "it must hold numbers, and its first axis the samples"
                )
            one = _Growing(name, (self.folder / f"{position}.npy").absolute(), array.dtype, array.shape[1:])
            with faults(one.path):
                self.folder.mkdir(parents=True, exist_ok=True)
                one.path.unlink(missing_ok=True)
                one.path.write_bytes(one.header())
            self.growing.append(one)

    def _check(self, names: Sequence[str], batch: Sequence[Array]) -> None:
        known = [one.name for one in self.growing]
        if known != list(names):
            before, here = _listed(known), _listed(names)
            raise DataError(f"{self.source}: a batch holds {here}, those before it {before}; all must hold the same")
        if len({array.shape[:1] for array in batch}) > 1:
            shapes = ", ".join(str(array.shape) for array in batch)
            raise DataError(
                f"{self.source}: a batch has the shapes {shapes}; their first axis must be the same samples"
            )
        for one, array in zip(self.growing, batch, strict=True):
            if not array.shape or array.shape[1:] != one.row or array.dtype != one.dtype:
                raise DataError(
                    f"{self.source}: array '{one.name or one.path.stem}' has a batch of {array.dtype} {array.shape}, "
                    f"and before it samples of {one.dtype} {one.row}; make all batches alike (pad what is shorter)"
                )

    def _finished(self, one: _Growing) -> ArrayFile:
        header = one.header()
        with faults(one.path), one.path.open("r+b") as file:
            file.write(header)
        return ArrayFile(one.name, str(one.path), len(header), (one.samples, *one.row), dtype_name(one.dtype))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(name or str(position) for position, name in enumerate(names))
