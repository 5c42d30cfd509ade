"""Weights rounded to 4 bits in blocks, with regard to what flows through them (GPTQ).

Rounding a weight to the nearest level makes an error in the layer's output. The weights that have not been rounded yet
can take most of it back, as far as their inputs go together with its own: with X what flows into the layer, H = X X^T,
and U the upper Cholesky factor of the inverse of H, the error of row k, divided by U[k, k], is taken from each later
row j in proportion U[k, j].

Each block of rows of a column has a scale (and a zero point) of its own, chosen when its first row comes up, from the
weights as they then are.

Source: Frantar et al., GPTQ, ICLR 2023, arXiv:2210.17323, algorithm 1 (with its damping of 1 % of H's mean diagonal).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

Doubles = NDArray[np.float64]

LEVELS = 16
MIDDLE = 8
"""The zero point of symmetric blocks: `MatMulNBits` takes it where none is given."""

DAMPING = 0.01
"""Share of the mean diagonal that is added to it, so that H can be inverted when inputs go together."""


@dataclass(frozen=True)
class Blocks:
    """Codes (rows, columns) from 0 to 15; a scale and zero point for each block of rows of each column."""

    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    zeros: NDArray[np.uint8]

    def packed(self, size: int) -> NDArray[np.uint8]:
        """The codes as `MatMulNBits` reads them: (columns, blocks, size / 2), the first of two in the low bits."""
        rows, columns = self.codes.shape
        padding = np.tile(self.zeros[-1], (-rows % size, 1))
        by_block = np.concatenate([self.codes, padding]).T.reshape(columns, -1, size)
        return _paired(by_block)

    def packed_zeros(self) -> NDArray[np.uint8]:
        """The zero points as `MatMulNBits` reads them: (columns, blocks / 2, rounded up), flat."""
        zeros = self.zeros.T
        odd = zeros.shape[1] % 2
        return _paired(np.pad(zeros, ((0, 0), (0, odd)), constant_values=MIDDLE))

    def values(self, size: int) -> NDArray[np.float32]:
        """The weights that the codes stand for."""
        block = np.arange(len(self.codes)) // size
        steps = self.codes.astype(np.float32) - self.zeros[block]
        values: NDArray[np.float32] = steps * self.scales[block]
        return values


def _paired(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    both: NDArray[np.uint8] = codes[..., 0::2] | (codes[..., 1::2] * np.uint8(LEVELS))
    return both


def gptq(weight: NDArray[np.float32], hessian: Doubles, size: int, symmetric: bool) -> Blocks:
    """Weights (rows, columns) rounded row by row. `hessian` is X X^T (rows, rows) of what flows in."""
    left, factor = weight.astype(np.float64), _inverse_factor(hessian)
    rows, columns = weight.shape
    codes = np.empty((rows, columns), np.uint8)
    blocks = -(-rows // size)
    scales, zeros = np.empty((blocks, columns)), np.empty((blocks, columns))
    for start in range(0, rows, size):
        block, end = start // size, min(start + size, rows)
        scales[block], zeros[block] = levels(left[start:end], symmetric)
        errors = np.empty((end - start, columns))
        for row in range(start, end):
            steps = np.clip(np.round(left[row] / scales[block]) + zeros[block], 0, LEVELS - 1)
            codes[row] = steps
            errors[row - start] = (left[row] - (steps - zeros[block]) * scales[block]) / factor[row, row]
            left[row + 1 : end] -= np.outer(factor[row, row + 1 : end], errors[row - start])
        left[end:] -= factor[start:end, end:].T @ errors  # the later blocks all at once: the paper's lazy batches
    return Blocks(codes, scales.astype(np.float32), zeros.astype(np.uint8))


def levels(block: Doubles, symmetric: bool) -> tuple[Doubles, Doubles]:
    """A scale and a zero point for each column of a block, from its extremes, as ONNX Runtime's quantiser has them."""
    if symmetric:
        extreme = np.take_along_axis(block, np.abs(block).argmax(0)[None], 0)[0]
        scale = extreme / -MIDDLE  # the extreme itself is the level -8, of which there is no positive one
        zero = np.full(scale.shape, float(MIDDLE))
    else:
        low, high = np.minimum(block.min(0), 0), np.maximum(block.max(0), 0)
        scale = (high - low) / (LEVELS - 1)
        zero = np.clip(np.round(-low / np.where(scale == 0, 1, scale)), 0, LEVELS - 1)
    return np.where(scale == 0, 1.0, scale), zero


def _inverse_factor(hessian: Doubles) -> Doubles:
    """The upper triangular U with U^T U = H^-1. Inputs that are always 0 say nothing: their weight is only rounded."""
    damped = hessian + DAMPING * (np.mean(np.diag(hessian)) or 1.0) * np.eye(len(hessian))
    inverse = linalg.cho_solve(linalg.cho_factor(damped, lower=True), np.eye(len(damped)))
    factor: Doubles = linalg.cholesky(inverse, lower=False)
    return factor
