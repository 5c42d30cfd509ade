"""Let the weights of a layer share few values: a smaller stored file (`.costz`), the same ONNX file and speed.

Each weight tensor gets a codebook of 2^bits values, found by k-means, and each weight becomes the nearest of them
(weight sharing: Han et al., Deep Compression, arXiv:1510.00149, section 3). The ONNX file holds float32 as before and
runs as before; `costopt pack` then writes the codebook once and `bits` bits a weight, less where some values are
frequent. Where a tenth of a layer or more is zero, zero keeps a value of its own, so that what was pruned stays pruned.

Afterwards the values are tuned, so that the model gives what the original gives on calibration inputs (`teaching`): all
weights of a group take the mean of their gradients, and so move together. Biases and normalisation learn beside them.

BatchNorm is folded into the convolution before it first: torch's exporter would do so later, and give each channel of
the shared values a scale of its own.

Cost: the `seconds` of tuning; the grouping itself takes one or two. It fails on layers with few but far outlying
weights, which take the codebook for themselves; and with 2 bits. Tensors that a codebook would not make smaller
(biases, normalisation, small layers) are left alone; embeddings take part, as they are often most of the file. It
belongs at the end of a recipe: what learns after it pulls the shared values apart again.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from costopt.cutting.folding import fold
from costopt.errors import CandidateError, NotApplicable
from costopt.learning.teaching import Lesson, teach
from costopt.learning.training import Budget
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
    """Let the weights of a layer share few values: 2^`bits` of them, `bits` from 2 to 8.

    They are tuned for `seconds`, or for `steps` batches when they are given; not at all when `seconds` is 0. `augment`
    is as in `distill`: auto, none, or some of flip, shift, mixup, noise and replace, joined by +.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)
    alone = False

    bits: int = 5
    seconds: float = 60.0
    steps: int | None = None
    augment: str = "auto"

    def unsuitable(self, graph: Graph) -> str | None:
        """When there are too few weights for a codebook."""
        if graph.parameters >= USES_OF_A_VALUE * 2**self.bits:
            return None
        return f"the graph holds {graph.parameters} weights, too few for a codebook of {2**self.bits}"

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The same modules with few distinct weights in each tensor.

        Raises NotApplicable when there are few enough already; CandidateError when a weight is NaN or infinite, `bits`
        makes no sense, or the values can't be tuned.
        """
        if not FEWEST_BITS <= self.bits <= MOST_BITS:
            words = f"bits is {self.bits}: a codebook has from {FEWEST_BITS} to {MOST_BITS} bits"
            raise CandidateError("compress", words)
        fold(module)
        found = clusterable(module, 2**self.bits)
        if not found:
            raise NotApplicable(f"no weight tensor has enough distinct values for a codebook of {2**self.bits}")
        with torch.no_grad():
            for weight in found.values():
                weight.copy_(torch.from_numpy(clustered(weight.detach().numpy(), 2**self.bits)))
        if self.seconds == 0 and self.steps is None:
            return module
        module.requires_grad_(True)  # a model that was frozen to be exported learns as well
        with moving_together(found.values()), suppress(NotApplicable):  # tuning came no nearer: it changed nothing
            lesson = Lesson(Budget(self.seconds, self.steps), augment=self.augment)
            teach(module, context, lesson, "cluster_weights")
        return module


@contextmanager
def moving_together(weights: Iterable[nn.Parameter]) -> Iterator[None]:
    """While this lasts, equal numbers of a tensor have equal gradients, and zeros none; at the end they are equal."""
    groups = [_Groups(weight) for weight in weights]
    try:
        yield
    finally:
        for group in groups:
            group.close()


class _Groups:
    """The equal numbers of one tensor."""

    def __init__(self, weight: nn.Parameter) -> None:
        values, places = np.unique(weight.detach().numpy(), return_inverse=True)
        self._weight, self._places = weight, torch.from_numpy(places.ravel())
        self._counts = torch.bincount(self._places).float()
        self._moving = torch.from_numpy(values != 0).float()
        weight.requires_grad_(True)
        self._hook = weight.register_hook(self._shared)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def _shared(self, gradient: Tensor) -> Tensor:
        """Each number's gradient replaced by the mean over its group."""
        places, counts, moving = (one.to(gradient.device) for one in (self._places, self._counts, self._moving))
        sums = torch.zeros_like(counts).index_add_(0, places, gradient.flatten().float())
        return (sums / counts * moving)[places].view_as(gradient).to(gradient.dtype)

    def close(self) -> None:
        """Level what rounding has set apart: vector and scalar instructions differ in the last bit."""
        self._hook.remove()
        with torch.no_grad():
            sums = torch.zeros(len(self._counts), dtype=torch.float64)
            means = sums.index_add_(0, self._places, self._weight.flatten().double()) / self._counts
            self._weight.copy_(means[self._places].view_as(self._weight))


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
