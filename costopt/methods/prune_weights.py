"""Set single weights to zero: a smaller stored file (`.costz`); the ONNX file and its speed stay as they are.

Most weights of a trained network can go one by one, many more than whole channels can, for what is left is still in
its place (Han et al., arXiv:1506.02626). But a zero that is stored takes four bytes like any other number, and is
multiplied like any other: no execution provider here skips single zeros. What gets smaller is what is sent and kept:
`costopt pack` writes zeros for next to nothing, most of all after `cluster_weights`. Only `n_m: "2:4"` is a pattern
that hardware knows (NVIDIA's from Ampere on, when TensorRT is told to look for it).

Which weights go:

    magnitude   the smallest |w| of all layers together; layers that need their weights keep more of them
    layer       the smallest |w| of each layer, the same share of each
    mean_abs    in each layer those with |w| < mean |w|: of the weights 0.1, 0.2 ... 1.0 five stay, the mean being 0.55
    wanda       in each row the smallest |w| * |x|, x being what the weight is multiplied with in calibration (Sun et
                al., arXiv:2306.11695): better where a few inputs are far larger than others, as in language models

Half of the weights of the Fashion-MNIST example (a residual CNN, first 1,000 evaluation images, 2026-11) cost
nothing by magnitude (top-1 94.2 % before, 94.3 % after), but 5 points by wanda (88.9 %), which spares no layer.

Cost: none but, for `wanda`, one pass over `samples` calibration samples. It fails where there is no slack: without
learning afterwards half of the weights is about what a convolutional network bears. `distill` after it keeps the zeros
and brings back what was lost; so does pruning in several steps with `distill` between them.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, fx, nn

from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Context, TorchMethod, weights_elsewhere
from costopt.records import Graph, Value

OPERATORS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN")

ALWAYS_KEPT = 0.01
"""The share of each layer that stays: one threshold for all layers can empty one, and with it cut the network through
(layer collapse: Tanaka et al., arXiv:2006.05467)."""

BATCH = 32

Weights = Mapping[str, nn.Parameter]
Scores = dict[str, Tensor]


@dataclass(frozen=True)
class PruneWeights(TorchMethod):
    """Set single weights to zero; embeddings, biases and normalisation stay.

    `share` is how many go, between 0 and 1; `rule: mean_abs` sets it itself. `n_m` "2:4" keeps the best two of each
    four weights along the inputs, by `rule` magnitude or wanda, whatever `share` says. `samples` are for `wanda`.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)
    alone = False

    rule: Literal["magnitude", "layer", "mean_abs", "wanda"] = "magnitude"
    share: float = 0.5
    n_m: str | None = None
    samples: int = 128

    def unsuitable(self, graph: Graph) -> str | None:
        """The operators that hold the weights, when they are not products."""
        return weights_elsewhere(graph, OPERATORS, "is not pruned weight by weight")

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The same modules with more zeros.

        Raises NotApplicable when there would be no more of them, CandidateError when a weight is NaN or infinite, an
        option makes no sense, or `wanda` has no calibration samples.
        """
        self._refuse_options()
        weights = prunable(module)
        if not weights:
            raise NotApplicable("no layer multiplies by weights: there is nothing to prune")
        before = _zeros(weights)
        with torch.no_grad():
            for name, kept in self._kept(module, weights, context).items():
                weights[name].mul_(kept)
        if _zeros(weights) == before:
            raise NotApplicable("no weight would be set to zero that is not zero already")
        return module

    def _refuse_options(self) -> None:
        if not 0 < self.share < 1:
            raise CandidateError("compress", f"share is {self.share:g}: it must lie between 0 (nothing) and 1 (all)")
        if self.n_m is not None:
            pattern_of(self.n_m)
            if self.rule not in ("magnitude", "wanda"):
                words = f"n_m goes with rule magnitude or wanda, not with {self.rule}, which counts in another way"
                raise CandidateError("compress", words)

    def _kept(self, module: fx.GraphModule, weights: Weights, context: Context) -> dict[str, Tensor]:
        """Of each weight tensor, what stays."""
        scores: Scores = {name: one.detach().abs() for name, one in weights.items()}
        if self.rule == "wanda":
            scores |= _by_activations(module, scores, context, self.samples)
        if self.n_m is not None:
            keep, of = pattern_of(self.n_m)
            fitting = {name: score for name, score in scores.items() if score.shape[1] % of == 0}
            return {name: best_of_each(score, keep, of) for name, score in fitting.items()}
        if self.rule == "magnitude":
            return best_of_all(scores, self.share)
        if self.rule == "mean_abs":
            return {name: above_mean(score) for name, score in scores.items()}
        if self.rule == "layer":
            return {name: best(score.flatten(), self.share).view_as(score) for name, score in scores.items()}
        return {name: best(score.flatten(1), self.share).view_as(score) for name, score in scores.items()}


def prunable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Weights that something is multiplied with, by name; each once, however often it is used.

    Raises CandidateError for NaN or infinite ones, which no rule can rank.
    """
    looked_up = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Embedding)}
    found = {
        name: one
        for name, one in module.named_parameters()
        if one.ndim > 1 and one.is_floating_point() and id(one) not in looked_up
    }
    for name, one in found.items():
        if not torch.isfinite(one).all():
            raise CandidateError("compress", f"the weights '{name}' hold NaN or infinite values: mend the model first")
    return found


def _zeros(weights: Weights) -> int:
    return sum(int((one == 0).sum()) for one in weights.values())


# ---------------------------------------------------------------------------------------- which weights stay


def above_mean(score: Tensor) -> Tensor:
    """Those that are no smaller than the mean."""
    return score >= score.mean()


def best(score: Tensor, share: float) -> Tensor:
    """All but `share` of the last axis, the largest ones; ties go by place, so that the count is exact."""
    kept = torch.ones_like(score, dtype=torch.bool)
    smallest = score.argsort(dim=-1, stable=True)[..., : int(share * score.shape[-1])]
    return kept.scatter_(-1, smallest, False)


def best_of_all(scores: Scores, share: float) -> dict[str, Tensor]:
    """All but `share` of everything, the largest ones wherever they are; `ALWAYS_KEPT` of each tensor."""
    together = best(torch.cat([score.flatten() for score in scores.values()]), share)
    parts = torch.split(together, [score.numel() for score in scores.values()])
    safe = {name: best(score.flatten(), 1 - ALWAYS_KEPT) for name, score in scores.items()}
    return {name: (part | safe[name]).view_as(scores[name]) for name, part in zip(scores, parts, strict=True)}


def best_of_each(score: Tensor, keep: int, of: int) -> Tensor:
    """The largest `keep` of each `of` neighbours along axis 1, the inputs."""
    inputs_last = score.movedim(1, -1)
    kept = best(inputs_last.reshape(-1, of), (of - keep) / of).view_as(inputs_last)
    return kept.movedim(-1, 1)


def pattern_of(text: str) -> tuple[int, int]:
    """(2, 4) for "2:4". Raises CandidateError for what is no such pattern."""
    found = re.fullmatch(r"(\d{1,3}):(\d{1,3})", text)
    keep, of = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 0 < keep < of:
        words = f"n_m is '{text}': write how many stay of how many, such as \"2:4\" (in quotes)"
        raise CandidateError("compress", words)
    return keep, of


# ---------------------------------------------------------------------------------------- activations


def _by_activations(module: fx.GraphModule, scores: Scores, context: Context, samples: int) -> Scores:
    """|w| times the Euclidean norm of what it is multiplied with, for linear layers and convolutions."""
    if min(samples, context.calibration.samples) < 1:
        seen = f"{samples} of {context.calibration.samples} calibration samples"
        raise CandidateError("compress", f"{seen}: rule wanda needs one; set samples, or give calibration data")
    squares = dict[str, Tensor]()
    layers = {name: one for name, one in module.named_modules() if isinstance(one, nn.Linear | nn.modules.conv._ConvNd)}
    hooks = [layer.register_forward_pre_hook(_summing(name, squares)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            for batch in context.calibration.batches(BATCH, samples):
                module(*(torch.from_numpy(batch[name]).contiguous() for name in context.input_names))
    finally:
        for hook in hooks:
            hook.remove()
    return dict(_weighed(layers, squares, scores))


def _summing(name: str, squares: dict[str, Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """A hook that adds up the squares of each input channel over everything that passes."""

    def add(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        (data,) = inputs
        channel = data.ndim - 1 if isinstance(layer, nn.Linear) else 1
        sums = data.double().square().sum([axis for axis in range(data.ndim) if axis != channel])
        squares[name] = squares.get(name, torch.zeros_like(sums)) + sums

    return add


def _weighed(layers: Mapping[str, nn.Module], squares: Scores, scores: Scores) -> Iterator[tuple[str, Tensor]]:
    for name, layer in layers.items():
        weight = f"{name}.weight"
        if name not in squares or weight not in scores:
            continue
        groups = layer.groups if isinstance(layer, nn.modules.conv._ConvNd) else 1
        norms = squares[name].sqrt().float().view(groups, 1, -1)
        score = scores[weight]
        weighed = score.view(groups, score.shape[0] // groups, score.shape[1], -1) * norms.unsqueeze(-1)
        yield weight, weighed.view_as(score)
