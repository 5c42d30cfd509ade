"""Padding is not learned from: texts of like length come together, and what all of a batch lack is cut off.

Texts are padded to one length, and a model computes the padding like everything else, only to mask it out. While
learning it costs as much as the words do. The calibration texts of a 20M-parameter encoder have 44 tokens on average
and 64 places each: a step of learning took 0.63 in place of 0.84 s, a look at held-out samples 3.7 in place of 4.9 s
(means of two pairs of 40 steps, CPU seconds of a Zen 4 core; measured 2026-11).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from costopt.learning.augmentation import Inputs
from costopt.learning.pairing import Pair, masks, visible
from costopt.methods import Arrays

POOL = 32
"""Batches whose samples are sorted together: enough to find others of one's length, few enough to stay shuffled."""

PLACES = 8
"""Lengths are rounded up to a multiple of this: oneDNN makes a kernel for each shape that it meets."""

TRIED_SAMPLES = 8

CLOSE = 1e-3
"""Largest difference of an output, as a share of its largest value, that is taken for rounding."""


@dataclass(frozen=True, slots=True)
class Padding:
    """What may be cut: `names` are the inputs (batch, sequence) that are padded, `mask` the one that says how far."""

    mask: str
    names: tuple[str, ...]

    def grouped(
        self, order: NDArray[np.intp], block: Arrays, batch: int, random: np.random.Generator
    ) -> NDArray[np.intp]:
        """The rows of `order` in batches of like length, which come in no order of length; an incomplete one is left.

        `block` holds the inputs of all rows that `order` may name.
        """
        lengths = self.lengths(block)
        whole = order[: len(order) - len(order) % batch]
        pools = (whole[start : start + POOL * batch] for start in range(0, len(whole), POOL * batch))
        batches = [pool[np.argsort(lengths[pool], kind="stable")].reshape(-1, batch) for pool in pools]
        mixed: NDArray[np.intp] = random.permutation(np.concatenate([whole[:0].reshape(-1, batch), *batches]))
        return mixed.reshape(-1)

    def lengths(self, inputs: Arrays) -> NDArray[np.intp]:
        """How many places each sample uses, up to its last token: (batch,)."""
        return _lengths(inputs[self.mask])

    def cut(self, inputs: Inputs) -> Inputs:
        """The inputs as far as their longest sample goes."""
        longest = int(_lengths(inputs[self.mask].numpy()).max())
        stop = max(PLACES, -(-longest // PLACES) * PLACES)
        return {name: one[:, :stop] if name in self.names else one for name, one in inputs.items()}


def found(pair: Pair, names: Sequence[str], inputs: Inputs) -> Padding | None:
    """What may be cut from batches like this one; None when that is nothing.

    It is where an input called a mask has a length that may vary, and both models give the same with padding and
    without it on some of these inputs.
    """
    mask = next(iter(masks(inputs)), None)
    padded = _sharing_the_length_of(mask, pair.teacher, names) if mask is not None else ()
    if mask is None or not padded:
        return None
    padding = Padding(mask, padded)
    shortest = np.argsort(padding.lengths({mask: inputs[mask].numpy()}), kind="stable")[:TRIED_SAMPLES]
    few = {name: one[torch.from_numpy(shortest)] for name, one in inputs.items()}
    both = (pair.teacher_says, pair.student_says)
    return padding if all(_harmless(says, pair.outputs, padding, few) for says in both) else None


def _lengths(mask: NDArray[np.generic]) -> NDArray[np.intp]:
    places = np.arange(1, mask.shape[1] + 1)
    longest: NDArray[np.intp] = np.where(mask != 0, places, 0).max(axis=1)
    return longest


def _sharing_the_length_of(mask: str, model: fx.GraphModule, names: Sequence[str]) -> tuple[str, ...]:
    """The inputs (batch, sequence) as long as the mask; none when its length is fixed, or another axis has it too."""
    places = [node.meta.get("val") for node in model.graph.nodes if node.op == "placeholder"]
    shapes = {name: one.shape for name, one in zip(names, places, strict=False) if isinstance(one, Tensor)}
    length: object = shapes[mask][1] if mask in shapes else None  # a symbol where it varies, whatever torch declares
    if not isinstance(length, torch.SymInt):
        return ()
    holding = {name: [str(size) for size in shape].count(str(length)) for name, shape in shapes.items()}
    padded = tuple(name for name, shape in shapes.items() if len(shape) == 2 and str(shape[1]) == str(length))
    return padded if sum(holding.values()) == len(padded) else ()


def _harmless(says: Callable[[Inputs, bool], list[Tensor]], outputs: int, padding: Padding, inputs: Inputs) -> bool:
    """Whether a model gives for each token, and for each sample, what it gives with the padding."""
    cut = padding.cut(inputs)
    if cut[padding.mask].shape == inputs[padding.mask].shape:
        return False  # nothing is padded here: nothing to win
    try:
        with torch.no_grad():
            after = says(cut, False)[:outputs]
    except RuntimeError:  # a length that is written down in the graph
        return False
    with torch.no_grad():
        before = says(inputs, False)[:outputs]
    return all(_close(one, other) for one, other in zip(visible(after, cut), visible(before, inputs), strict=True))


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    return float((one - other).abs().max()) <= CLOSE * max(float(other.abs().max()), CLOSE)
