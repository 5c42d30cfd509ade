"""Weights rounded to 4 bits in blocks: to the nearest level, or with regard to what flows through them (GPTQ).

Each block of rows of a column has a scale (and a zero point) of its own. Extremes are rare: a range that cuts them off
has finer steps for all the others. The range is the one, of several about that of the extremes, that leaves the least
squared error (Choukroun et al., arXiv:1902.06822; the `mse` option of GPTQ's own code does the same).

GPTQ: rounding a weight to the nearest level makes an error in the layer's output. The weights that have not been
rounded yet can take most of it back, as far as their inputs go together with its own: with X what flows into the layer,
H = X X^T, and U the upper Cholesky factor of the inverse of H, the error of row k, divided by U[k, k], is taken from
each later row j in proportion U[k, j].

A block's levels are chosen when its first row comes up, from the weights as they then are.

Half-Quadratic Quantization (Badri and Shaji 2023, https://mobiusml.github.io/hqq_blog/, p = 0.7) was tried in place of
least squares, with its zero points rounded to whole levels, since others take 32 bits each, and the scale solved for as
well. It came between: mean cosine to the original of an encoder of 22.7M parameters 0.9625 with the extremes' levels,
0.9653 with its own, 0.9684 with these; 0.9710, 0.9725 and 0.9734 where blocks have zero points, and 0.9719 with its own
in float32, in a file 2 % larger (blocks of 32, each weight to its nearest level, 100 texts; measured 2026-11).

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

RANGES = np.arange(56, 89) / 80
"""What the scale of the extremes is multiplied by, 0.7 to 1.1.

More than 1 suits symmetric blocks that reach as far up as down, for there is no level 8. With none above 1 and the
extremes' zero points alone, blocks with zero points came out worse than by the extremes on one of two encoders:
relative error of its scores 0.093, not 0.085 (measured 2026-11).
"""


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


def nearest(weight: NDArray[np.float32], size: int, symmetric: bool) -> Blocks:
    """Weights (rows, columns), each rounded to the nearest of its block's levels."""
    parts = [weight[start : start + size].astype(np.float64) for start in range(0, len(weight), size)]
    found = [levels(part, symmetric) for part in parts]
    codes = [_codes(part, *one) for part, one in zip(parts, found, strict=True)]
    scales, zeros = (np.stack([one[place] for one in found]) for place in (0, 1))
    return Blocks(np.concatenate(codes).astype(np.uint8), scales.astype(np.float32), zeros.astype(np.uint8))


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
            steps = _codes(left[row], scales[block], zeros[block])
            codes[row] = steps
            errors[row - start] = (left[row] - (steps - zeros[block]) * scales[block]) / factor[row, row]
            left[row + 1 : end] -= np.outer(factor[row, row + 1 : end], errors[row - start])
        left[end:] -= factor[start:end, end:].T @ errors  # the later blocks all at once: the paper's lazy batches
    return Blocks(codes, scales.astype(np.float32), zeros.astype(np.uint8))


def levels(block: Doubles, symmetric: bool) -> tuple[Doubles, Doubles]:
    """A scale and a zero point for each column of a block: those with the least squared error.

    Tried are `RANGES` of scales, each with the zero point of the extremes and, unless `symmetric`, those beside it.
    """
    whole, zero = _of_extremes(block, symmetric)
    zeros = [np.clip(zero + shift, 0, LEVELS - 1) for shift in ((0,) if symmetric else (-1, 0, 1))]
    tried = [(whole * share, one) for share in RANGES for one in zeros]
    errors = [np.square((_codes(block, *one) - one[1]) * one[0] - block).sum(0) for one in tried]
    best = (np.argmin(errors, 0), np.arange(block.shape[1]))
    return np.stack([scale for scale, _ in tried])[best], np.stack([zero for _, zero in tried])[best]


def _codes(weights: Doubles, scale: Doubles, zero: Doubles) -> Doubles:
    return np.clip(np.round(weights / scale) + zero, 0, LEVELS - 1)


def _of_extremes(block: Doubles, symmetric: bool) -> tuple[Doubles, Doubles]:
    """A scale and a zero point for each column, from its extremes, as ONNX Runtime's quantiser has them."""
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
