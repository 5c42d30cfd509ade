"""Let the weights of a layer share few values: a smaller stored file (`.costz`), the same ONNX file and speed.

Each weight tensor gets a codebook of 2^bits values, found by k-means, and each weight becomes the nearest of them
(weight sharing: Han et al., Deep Compression, arXiv:1510.00149, section 3). The ONNX file holds float32 as before and
runs as before; `costopt pack` then writes the codebook once and `bits` bits a weight, less where some values are
frequent. Where a tenth of a layer or more is zero, zero keeps a value of its own, so that what was pruned stays pruned.

Cost: seconds. 5 bits for convolutions and 4 for linear layers cost networks for images next to nothing, 3 bits need
the codebook tuned, 2 bits fail without learning. It fails on layers with few but far outlying weights, which take the
codebook for themselves. Tensors that a codebook would not make smaller (biases, normalisation, small layers) are left
alone; embeddings take part, as they are often most of the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Context, TorchMethod
from costopt.records import Graph, Value

FEWEST_BITS, MOST_BITS = 2, 8
"""Fewer bits are another method (binary weights); with more, an index no longer fits a byte."""

SPARSE = 0.1
"""The share of zeros above which a layer was pruned: learned weights are hardly ever exactly zero."""

USES_OF_A_VALUE = 4
"""A codebook is worth its place when each of its values is used so often on average."""

MOST_ROUNDS = 300
"""k-means ends by itself, when nothing moves; this many rounds are more than it has ever taken here."""

MARKS = 1025
"""Places at which the density of the weights is read."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class ClusterWeights(TorchMethod):
    """Let the weights of a layer share few values: 2^`bits` of them, `bits` from 2 to 8."""

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)
    alone = False

    bits: int = 5

    def unsuitable(self, graph: Graph) -> str | None:
        """When there are too few weights for a codebook."""
        if graph.parameters >= USES_OF_A_VALUE * 2**self.bits:
            return None
        return f"the graph holds {graph.parameters} weights, too few for a codebook of {2**self.bits}"

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:  # noqa: ARG002 - weights say it all
        """The same modules with few distinct weights in each tensor.

        Raises NotApplicable when there are few enough already, CandidateError when a weight is NaN or infinite, or
        `bits` makes no sense.
        """
        if not FEWEST_BITS <= self.bits <= MOST_BITS:
            words = f"bits is {self.bits}: a codebook has from {FEWEST_BITS} to {MOST_BITS} bits"
            raise CandidateError("compress", words)
        found = clusterable(module, 2**self.bits)
        if not found:
            raise NotApplicable(f"no weight tensor has enough distinct values for a codebook of {2**self.bits}")
        with torch.no_grad():
            for weight in found.values():
                weight.copy_(torch.from_numpy(clustered(weight.detach().numpy(), 2**self.bits)))
        return module


def clusterable(module: nn.Module, size: int) -> dict[str, nn.Parameter]:
    """Weight tensors that a codebook of `size` values would make smaller, by name; each once.

    Raises CandidateError for NaN or infinite weights.
    """
    found = dict[str, nn.Parameter]()
    for name, weight in module.named_parameters():
        if weight.ndim < 2 or not weight.is_floating_point() or weight.numel() < USES_OF_A_VALUE * size:
            continue
        if not torch.isfinite(weight).all():
            raise CandidateError("compress", f"the weights '{name}' hold NaN or infinite values: mend the model first")
        if len(np.unique(weight.detach().numpy())) > size:
            found[name] = weight
    return found


def clustered(weights: NDArray[np.floating], size: int) -> NDArray[np.floating]:
    """The weights, each replaced by the nearest value of their codebook."""
    book = codebook(weights.ravel().astype(np.float64), size)
    edges = (book[1:] + book[:-1]) / 2
    return book[np.searchsorted(edges, weights)].astype(weights.dtype)


def codebook(weights: Values, size: int) -> Values:
    """At most `size` values, sorted, of which zero is one if a noticeable share of the weights is zero."""
    zero = weights == 0
    if zero.mean() < SPARSE:
        return k_means(weights, size)
    others = k_means(weights[~zero], size - 1) if not zero.all() else weights[:0]
    return np.union1d(others, [0.0])


def k_means(values: Values, size: int) -> Values:
    """The means of at most `size` groups of numbers, sorted: each number is nearer to its own than to any other.

    Lloyd's rounds (in one dimension groups are ranges of the sorted numbers), from where the best quantiser of many
    levels has its values: as dense as the cube root of the numbers' density (Panter and Dite, Proc. IRE 39, 1951).
    From even steps, as in Han et al., half of 256 values end up without a weight when the weights have long tails.
    """
    ordered = np.sort(values)
    marks = ordered[np.linspace(0, len(ordered) - 1, MARKS).astype(np.int64)]
    # between two marks lie equally many numbers: density is 1 / gap, and its cube root times the gap is gap^(2/3)
    covered = np.concatenate([[0.0], np.cumsum(np.diff(marks) ** (2 / 3))])
    start = np.interp((np.arange(size) + 0.5) / size * covered[-1], covered, marks)
    return _lloyd(ordered, start)


def _lloyd(ordered: Values, means: Values) -> Values:
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    for _ in range(MOST_ROUNDS):
        ends = np.searchsorted(ordered, (means[1:] + means[:-1]) / 2)
        edges = np.concatenate([[0], ends, [len(ordered)]])
        counts = np.diff(edges)
        used = counts > 0
        moved = np.diff(sums[edges])[used] / counts[used]
        if np.array_equal(moved, means):
            break
        means = moved
    return means
