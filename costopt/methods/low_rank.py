"""Each large layer as two thin ones: a factorisation of its weights that keeps its outputs on calibration inputs.

`costopt.cutting.factorised` splits one layer, in the way that serves it best; here it is decided which layers are
split, and at which ranks. Ranks are multiples of 8, because kernels work on 8 or 16 numbers at once. They are chosen by
one of

    macs     the share of the *model's* multiply-accumulates that goes: each layer gets the rank at which the last
             multiply-accumulate that is saved costs the model's outputs equally much (a Lagrange multiplier). What an
             error in a layer does to the outputs is measured, one layer at a time
    ratio    the share of each layer's own multiply-accumulates that goes
    energy   the share of the variance of each layer's outputs that must stay

Sources: Zhang et al. 2016, https://arxiv.org/abs/1505.06798; Jaderberg et al. 2014, https://arxiv.org/abs/1405.3866.

Cost: one run over `samples` calibration samples, and one on 16 for each layer; an eigenproblem of the size of each
layer's output; for convolutions the covariance of whole patches, (channels x h x w) squared numbers.

It suits wide convolutions: a residual CNN (93.65 % of 2,000 test images) kept 93.6 % without half of its operations and
92.15 % without 65 % of them. When it fails: transformers use their ranks. A six-layer text encoder's embeddings kept a
cosine of 0.933 without a quarter of the operations, and need `distill` (measured 2026-11, torch 2.13, with 256 and 100
unlabelled inputs). Two kernels in place of one read and write `rank` numbers more for each output, so a layer that
saves few operations may get slower: `least_saving` keeps such layers whole. Grouped convolutions, and weights that
layers share, are left alone.
"""

import functools
import math
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, fx, nn

from costopt.cutting import surgery
from costopt.cutting.factorised import STEP, ObservedLayer, Split, is_symmetric, splits
from costopt.cutting.observed import Inputs, batches, floats, refuse_constant
from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Context, Knob, TorchMethod, weights_elsewhere
from costopt.records import Graph, Value
from costopt.units import percent

COMPUTED = ("Conv", "Gemm", "MatMul")

ROWS = 16384
"""Patches of a layer that its covariance is estimated from, drawn at random from those of all samples."""

BATCH = 16
"""Samples in one run, and samples that sensitivity is measured on."""

DEFAULT_MACS = 0.25

SMALLEST = 1e-12
"""Below it a relative squared error is rounding."""


@dataclass(frozen=True)
class LowRank(TorchMethod):
    """Two thin layers in place of a large one, where that saves operations.

    Give one of `macs` (0.25 if none is given), `ratio` and `energy`, each between 0 and 1 (see above). A layer stays
    whole unless at least `least_saving` of its multiply-accumulates go. `samples` are read from calibration at most.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({}, {"macs": 0.5})
    knob = Knob("macs", low=0.1, high=0.8, first=0.3)

    macs: float | None = None
    ratio: float | None = None
    energy: float | None = None
    least_saving: float = 0.2
    samples: int = 256

    def unsuitable(self, graph: Graph) -> str | None:
        """The operators that hold the weights, when they are neither products nor convolutions."""
        return weights_elsewhere(graph, COMPUTED, "has no low-rank form")

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The model with its large layers split; parts are called `<layer>.first` and `<layer>.second`.

        Raises NotApplicable when no layer saves operations or the budget is out of reach, CandidateError for options
        out of range, weights or inputs that are not finite, and calibration that is empty or does not vary.
        """
        self._refuse_misfits(context)
        layers = _observed(module, context, self.samples)
        if layers and not any(layer.variance for layer in layers.values()):
            raise CandidateError("compress", "low_rank: calibration does not vary: no layer's outputs ever change")
        curves = {path: found for path, layer in layers.items() if (found := list(splits(layer, self.least_saving)))}
        if not curves:
            raise NotApplicable(f"no layer of rank {STEP} or more saves {percent(self.least_saving)} of its operations")
        chosen = self._chosen(curves, module, context)
        if not chosen:
            raise NotApplicable("every layer needs its full rank to keep what was asked for")
        for path, split in chosen.items():
            _put(module, path, split.parts())
        module.recompile()
        return module.eval()

    def _refuse_misfits(self, context: Context) -> None:
        given = {name: value for name, value in self._amounts().items() if value is not None}
        if len(given) > 1:
            raise CandidateError("compress", f"low_rank takes one of macs, ratio and energy, not {' and '.join(given)}")
        for name, value in (given | {"least_saving": self.least_saving}).items():
            if not 0 < value < 1:
                raise CandidateError("compress", f"low_rank: {name} must lie between 0 and 1, not {value}")
        held = context.calibration.samples
        if (seen := min(self.samples, held)) < 2:
            words = f"low_rank: {seen} of {held} calibration samples"
            raise CandidateError("compress", f"{words}: what varies can't be seen in fewer than 2")
        refuse_constant(context)

    def _amounts(self) -> dict[str, float | None]:
        return {"macs": self.macs, "ratio": self.ratio, "energy": self.energy}

    def _chosen(
        self, curves: Mapping[str, list["Split"]], module: fx.GraphModule, context: Context
    ) -> dict[str, "Split"]:
        """The best split of each layer that is to be split."""
        if self.energy is not None:
            return _by_energy(curves, self.energy)
        if self.ratio is not None:
            return _by_ratio(curves, self.ratio)
        return _by_macs(curves, self.macs or DEFAULT_MACS, module, next(batches(module, context, BATCH, BATCH)))


# ---------------------------------------------------------------------------------------- what calibration shows


def _observed(module: fx.GraphModule, context: Context, samples: int) -> dict[str, ObservedLayer]:
    """Every layer that could be split, by path, after a run over the calibration samples."""
    layers = {path: ObservedLayer(layer, path) for path, layer in _treatable(module)}
    samples = min(samples, context.calibration.samples)
    limit, generator = math.ceil(ROWS * BATCH / samples), torch.Generator().manual_seed(context.seed)

    def see(layer: ObservedLayer, _: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        layer.see(given[0], made, limit, generator)

    hooks = [layer.module.register_forward_hook(functools.partial(see, layer)) for layer in layers.values()]
    try:
        for inputs in batches(module, context, BATCH, samples):
            _run(module, inputs)
    finally:
        for hook in hooks:
            hook.remove()
    for path, layer in layers.items():
        if not layer.products.isfinite().all():
            raise CandidateError("compress", f"low_rank: calibration brought values that are not finite to '{path}'")
    return layers


def _treatable(module: fx.GraphModule) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    """Linear layers and convolutions that own their weights: splitting one of two that share them saves nothing."""
    owners = Counter(id(weight) for _, weight in module.named_parameters(remove_duplicate=False))
    owners.update(id(_attribute(module, str(node.target))) for node in module.graph.nodes if node.op == "get_attr")
    for path in dict.fromkeys(str(node.target) for node in module.graph.nodes if node.op == "call_module"):
        layer = module.get_submodule(path)
        if not isinstance(layer, nn.Linear | nn.Conv2d) or owners[id(layer.weight)] > 1:
            continue
        if isinstance(layer, nn.Linear) or (layer.groups == 1 and is_symmetric(layer)):
            yield path, layer


def _attribute(module: fx.GraphModule, target: str) -> object:
    path, _, name = target.rpartition(".")
    return dict(module.get_submodule(path).named_parameters(recurse=False)).get(name)


# ---------------------------------------------------------------------------------------- which split of which layer


def _by_energy(curves: Mapping[str, list[Split]], energy: float) -> dict[str, Split]:
    """The split of each layer that costs least and keeps that share of the variance."""
    kept = {path: [one for one in found if 1 - one.loss >= energy] for path, found in curves.items()}
    return {path: min(found, key=lambda one: one.macs) for path, found in kept.items() if found}


def _by_ratio(curves: Mapping[str, list[Split]], ratio: float) -> dict[str, Split]:
    """The split of each layer that loses least and saves that share of its operations."""
    cheap = {path: [one for one in found if one.saved >= ratio * one.layer.macs] for path, found in curves.items()}
    return {path: min(found, key=lambda one: one.loss) for path, found in cheap.items() if found}


def _by_macs(
    curves: Mapping[str, list[Split]], share: float, module: fx.GraphModule, inputs: Inputs
) -> dict[str, Split]:
    """Splits that together save that share of the model's operations, at the least loss.

    With a price on each multiply-accumulate, every layer chooses for itself; the price is raised until they save
    enough. Raises NotApplicable when they can't.
    """
    samples = next(iter(curves.values()))[0].layer.samples
    budget = share * sum(surgery.macs(module, inputs).values()) * samples
    most = sum(max(one.saved for one in found) for found in curves.values())
    if most < budget:
        reach = percent(most / budget * share)
        raise NotApplicable(
            f"low rank saves at most {reach} of the operations, less than the {percent(share)} asked for"
        )
    wanted = _run(module, inputs)
    harm = {path: _harm(found, module, inputs, wanted) for path, found in curves.items()}
    low, high = 0.0, 2 * max(harm[path] * one.loss for path, found in curves.items() for one in found)
    while low < (price := (low + high) / 2) < high:
        enough = sum(one.saved for one in _worth_it(curves, harm, price).values()) >= budget
        low, high = (low, price) if enough else (price, high)
    return _worth_it(curves, harm, high)


def _worth_it(curves: Mapping[str, list[Split]], harm: Mapping[str, float], price: float) -> dict[str, Split]:
    """What each layer chooses when a multiply-accumulate that is saved brings `price`."""
    chosen = {}
    for path, found in curves.items():
        best = min(found, key=lambda one: (harm[path] * one.loss - price * one.saved, one.macs))
        if harm[path] * best.loss <= price * best.saved:
            chosen[path] = best
    return chosen


def _harm(found: list[Split], module: fx.GraphModule, inputs: Inputs, wanted: list[Tensor]) -> float:
    """What a loss of 1 in a layer does to the model's outputs: their relative squared error, per loss, when only this
    layer is split, at the middle one of its ranks."""
    split = sorted(found, key=lambda one: one.macs)[len(found) // 2]
    first, second = split.parts()
    module.set_submodule(split.layer.path, nn.Sequential(first, second))
    try:
        given = _run(module, inputs)
    finally:
        module.set_submodule(split.layer.path, split.layer.module)
    errors = [
        float((one - other).square().sum() / other.square().sum().clamp(min=SMALLEST))
        for one, other in zip(given, wanted, strict=True)
    ]
    return max(errors) / max(split.loss, SMALLEST)


def _run(module: fx.GraphModule, inputs: Inputs) -> list[Tensor]:
    with torch.no_grad():
        return floats(module(*inputs))


def _put(module: fx.GraphModule, path: str, parts: tuple[nn.Module, nn.Module]) -> None:
    """Have the graph call `<path>.first` and `<path>.second` where it called the layer."""
    first, second = parts
    module.set_submodule(path, nn.Sequential(OrderedDict(first=first, second=second)))
    for node in list(module.graph.nodes):
        if node.op == "call_module" and node.target == path:
            with module.graph.inserting_before(node):
                inner = module.graph.call_module(f"{path}.first", node.args)
            node.target, node.args = f"{path}.second", (inner,)
