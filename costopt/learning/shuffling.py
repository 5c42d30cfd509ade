"""Calibration inputs in shuffled batches to learn from, and some held out to judge by.

Data that don't fit into memory are read in their order, in blocks that do, and shuffled within each block. Every k-th
sample is held out, so that data that are sorted are judged by all of their kinds. Batches depend on the seed and on
their number alone: a run that was interrupted goes on with the batches that it would have had.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costopt.errors import CandidateError
from costopt.methods import Arrays, Calibration

HELD_OUT_SHARE, HELD_OUT_FEWEST, HELD_OUT_MOST = 0.1, 8, 512
"""A tenth is judged by: more of few samples, for two tell nothing, and less of many, for it takes time to judge."""

FEWEST = 16
"""With fewer samples nothing is left to judge by."""

MEMORY_BYTES = 2**30
"""The largest block that is held in memory."""


Grouped = Callable[[NDArray[np.intp], Arrays, int, np.random.Generator], NDArray[np.intp]]
"""From shuffled row numbers of a block, the block, and the size of a batch: the rows, batch after batch."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Inputs by name; of each sample its number among all that are learned from, and its place in the data."""

    inputs: Arrays
    numbers: NDArray[np.intp]
    places: NDArray[np.intp]


class Shuffled:
    """Calibration inputs, divided into those to learn from and those to judge by.

    Raises CandidateError when there are too few, or when all are alike.
    """

    def __init__(self, calibration: Calibration, batch: int, seed: int, memory_bytes: int = MEMORY_BYTES) -> None:
        if calibration.samples < FEWEST:
            words = f"there are {calibration.samples} calibration samples, and learning needs {FEWEST} or more"
            raise CandidateError("compress", f"{words} (some hundreds are a good start); give more calibration data")
        self._calibration, self._seed = calibration, seed
        self._stride = min(round(1 / HELD_OUT_SHARE), calibration.samples // HELD_OUT_FEWEST)
        self._stride = max(self._stride, -(-calibration.samples // HELD_OUT_MOST))
        self._block = self._block_samples(memory_bytes)
        self._whole = next(self._read()) if self._block >= calibration.samples else None
        self.samples = calibration.samples - -(-calibration.samples // self._stride)
        self.batch = min(batch, self._block - self._block // self._stride, self.samples)
        self.held_out = self._held_out()
        self.held_out_places = np.arange(0, calibration.samples, self._stride)
        _refuse_constant(self.held_out)

    def _block_samples(self, memory_bytes: int) -> int:
        """How many samples make a block: a multiple of the stride, so that each block holds out as many."""
        sample = next(self._calibration.batches(1, 1))
        fitting = memory_bytes // max(1, sum(array.nbytes for array in sample.values()))
        return max(1, fitting // self._stride) * self._stride

    def _read(self) -> Iterator[Arrays]:
        return self._calibration.batches(self._block)

    def _held_out(self) -> Arrays:
        blocks = self._read() if self._whole is None else iter([self._whole])
        parts = [{name: array[:: self._stride] for name, array in block.items()} for block in blocks]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def batches(self, skip: int = 0, grouped: Grouped | None = None) -> Iterator[Batch]:
        """Batches of `batch` samples without end, from the one with number `skip` on; an epoch's rest is left out.

        `grouped`, when given, puts a block's samples into another order, batch by batch.
        """
        for epoch in itertools.count():
            blocks = self._read() if self._whole is None else iter([self._whole])
            for number, block in enumerate(blocks):
                learned = self._learned(block)
                random = np.random.default_rng((self._seed, epoch, number))
                order = random.permutation(learned)
                order = grouped(order, block, self.batch, random) if grouped is not None else order
                for start in range(0, len(order) - self.batch + 1, self.batch):
                    if skip > 0:
                        skip -= 1
                        continue
                    rows = order[start : start + self.batch]
                    inputs = {name: array[rows] for name, array in block.items()}
                    numbers = number * self._learned_in_block + self._numbers(rows)
                    yield Batch(inputs, numbers, number * self._block + rows)

    @property
    def _learned_in_block(self) -> int:
        return self._block - self._block // self._stride

    def _learned(self, block: Arrays) -> NDArray[np.intp]:
        rows = np.arange(len(next(iter(block.values()))))
        learned: NDArray[np.intp] = rows[rows % self._stride != 0]
        return learned

    def _numbers(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """The numbers of a block's rows among those that are learned from: each has `row // stride + 1` left out."""
        return rows - rows // self._stride - 1


def _refuse_constant(inputs: Arrays) -> None:
    """Raises CandidateError when the samples can't be told apart."""
    if all(np.array_equal(array, np.broadcast_to(array[:1], array.shape)) for array in inputs.values()):
        raise CandidateError("compress", "all calibration samples are alike: nothing can be learned from them")
