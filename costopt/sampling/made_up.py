"""Inputs made up at random, for a model whose real ones are not at hand; every report says so.

Speed can depend on values (denormal numbers, early exits, rows of an embedding) and always on shapes, so real inputs
are better. Floats are standard normal; integers are 0 or 1, which any table of embeddings and any mask takes.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from costopt.errors import DataError, UsageError
from costopt.records import InputSpec
from costopt.sampling.arrays import Array
from costopt.sampling.samples import Samples

SAMPLES = 256
"""So many samples, that caches don't hold them all while they rotate ..."""

MOST_BYTES = 64 << 20
"""... but no more than this in all, and one at least."""

NOTE = "inputs were made up at random, and speed can depend on values: give real ones with --inputs"
"""What a reader of times that were taken with them must know."""


def samples(
    inputs: tuple[InputSpec, ...], dimensions: Mapping[str, int], batch: int, seed: int, folder: Path
) -> Samples:
    """Random samples for a model, written under `folder`; at least one batch.

    `dimensions` tells the length of axes that vary, other than the batch. Raises UsageError for one that is missing,
    DataError for a type that nothing can be made up for.
    """
    rows = {one.name: _row(one, dimensions) for one in inputs}
    each = sum(int(np.prod(rows[one.name])) * np.dtype(one.dtype).itemsize for one in inputs)
    count = max(batch, min(SAMPLES, MOST_BYTES // max(1, each)))
    return Samples.written(_batches(inputs, rows, count, seed), folder)


def _row(one: InputSpec, dimensions: Mapping[str, int]) -> tuple[int, ...]:
    """The shape of one sample."""
    return tuple(_length(one, axis, dimensions) for axis in one.shape[1:])


def _length(one: InputSpec, axis: int | str, dimensions: Mapping[str, int]) -> int:
    if isinstance(axis, int):
        return axis
    if axis not in dimensions:
        shape = ", ".join(map(str, one.shape))
        raise UsageError(
            f"input '{one.name}' is {one.dtype} ({shape}), and how long '{axis}' is can't be made up: give real inputs "
            f"(--inputs evaluation.npz), or --dim {axis}=128"
        )
    return dimensions[axis]


def _batches(
    inputs: tuple[InputSpec, ...], rows: Mapping[str, tuple[int, ...]], count: int, seed: int
) -> Iterator[dict[str, Array]]:
    chance = np.random.default_rng(seed)
    for _ in range(count):
        yield {one.name: _made((1, *rows[one.name]), one, chance) for one in inputs}


def _made(shape: tuple[int, ...], one: InputSpec, chance: np.random.Generator) -> Array:
    dtype = np.dtype(one.dtype)
    if dtype.kind == "f":
        return chance.standard_normal(shape).astype(dtype)
    if dtype.kind in "iub":
        return chance.integers(0, 2, shape).astype(dtype)
    raise DataError(f"input '{one.name}' is {one.dtype}: give real inputs with --inputs")
