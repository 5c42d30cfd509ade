"""Each large layer as two thin ones: a factorisation of its weights that loses least on the calibration inputs.

A layer computes y = W p + b, where p is what it reads for one output: the inputs of an `nn.Linear`, the patch of an
`nn.Conv2d`. Two layers of rank r take its place: the first computes r numbers, A p, the second B A p + b'. Plain SVD
keeps W near; here the *outputs* are kept near: with C the covariance of p over the calibration inputs, the error is

    tr((W - B A) C (W - B A)')        least when A = U'W, U the first eigenvectors of the outputs' covariance W C W'

(Zhang et al. 2016, https://arxiv.org/abs/1505.06798, section 3; the whitened SVD of Yuan et al. 2023,
https://arxiv.org/abs/2312.05821, is the same for linear layers). b' makes up for the means. A convolution of kernel
h x w can be split in three places, and each layer takes the split that serves it best:

    channels_out   h x w, then 1 x 1      (Zhang et al. 2016)
    spatial        h x 1, then 1 x w      (Jaderberg et al. 2014, https://arxiv.org/abs/1405.3866)
    channels_in    1 x 1, then h x w

For the last two, A comes from the same formula as if the places of the kernel were independent; B is then the exact
least-squares solution, and the error is computed, not estimated.

Ranks are multiples of 8, because kernels work on 8 or 16 numbers at once. They are chosen by one of

    macs     the share of the *model's* multiply-accumulates that goes: each layer gets the rank at which the last
             multiply-accumulate that is saved costs the model's outputs equally much (a Lagrange multiplier). What an
             error in a layer does to the outputs is measured, one layer at a time
    ratio    the share of each layer's own multiply-accumulates that goes
    energy   the share of the variance of each layer's outputs that must stay

Cost: one run over `samples` calibration samples; an eigenproblem of the size of each layer's output; for convolutions
the covariance of whole patches, (channels x h x w) squared numbers.

When it fails: two kernels in place of one read and write r numbers more for each output, so a layer that saves few
operations gets slower: `least_saving` keeps such layers whole. Narrow, depthwise and grouped convolutions have
little to give. Layers trained to full rank (small CNNs) lose accuracy fast; attention's projections and wide
perceptrons lose least.
"""

import functools
import math
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree
from torch.utils.flop_counter import FlopCounterMode

from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Context, TorchMethod, weights_elsewhere
from costopt.records import Graph, Value
from costopt.units import percent

COMPUTED = ("Conv", "Gemm", "MatMul")

STEP = 8
"""Ranks are multiples of it: AVX2 registers hold 8 float32, and int8 kernels work on blocks of 4 to 16."""

SECOND_COVERS = {"channels_out": (False, False), "spatial": (False, True), "channels_in": (True, True)}
"""The axes of the kernel (rows, columns) that the second layer covers; the first covers the others."""

RANKS = 12
"""Ranks that are tried for a split of a layer, evenly spread on a logarithmic scale."""

ROWS = 16384
"""Patches of a layer that its covariance is estimated from, drawn at random from those of all samples."""

BATCH = 16
"""Samples in one run, and samples that sensitivity is measured on."""

DEFAULT_MACS = 0.25

RIDGE = 1e-8
"""Added to the unit diagonal of the normal equations, so that directions without variance don't make them singular:
the square root of float64's precision."""


@dataclass(frozen=True)
class LowRank(TorchMethod):
    """Two thin layers in place of a large one, where that saves operations.

    Give one of `macs` (0.25 if none is given), `ratio` and `energy`, each between 0 and 1 (see above). A layer stays
    whole unless at least `least_saving` of its multiply-accumulates go. `samples` are read from calibration at most.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({}, {"macs": 0.5})

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
        splits = {path: found for path, layer in layers.items() if (found := list(_splits(layer, self.least_saving)))}
        if not splits:
            raise NotApplicable(f"no layer of rank {STEP} or more saves {percent(self.least_saving)} of its operations")
        chosen = self._chosen(splits, module, context)
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
        if min(self.samples, context.calibration.samples) < 2:
            seen = f"{self.samples} of {context.calibration.samples} calibration samples"
            raise CandidateError("compress", f"low_rank: {seen}: what varies can't be seen in fewer than 2")

    def _amounts(self) -> dict[str, float | None]:
        return {"macs": self.macs, "ratio": self.ratio, "energy": self.energy}

    def _chosen(
        self, splits: Mapping[str, list["_Split"]], module: fx.GraphModule, context: Context
    ) -> dict[str, "_Split"]:
        """The best split of each layer that is to be split."""
        if self.energy is not None:
            return _by_energy(splits, self.energy)
        if self.ratio is not None:
            return _by_ratio(splits, self.ratio)
        return _by_macs(splits, self.macs or DEFAULT_MACS, module, _first_batch(context))


# ---------------------------------------------------------------------------------------- what a layer reads


class _Layer:
    """A layer with what calibration showed of it: mean and covariance of its patches, and how often it computes."""

    def __init__(self, module: nn.Linear | nn.Conv2d, path: str) -> None:
        self.module, self.path = module, path
        weight = module.weight.detach()
        if not weight.isfinite().all():
            raise CandidateError("compress", f"low_rank: the weights of '{path}' are not all finite numbers")
        self.weight = weight.double().reshape(len(weight), -1)
        size = self.weight.shape[1]
        self.rows, self.sum, self.products = 0, torch.zeros(size).double(), torch.zeros(size, size).double()
        self.fourth = 0.0
        self.samples, self.places = 0, dict.fromkeys(SECOND_COVERS, 0)

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the kernel; a linear layer is a convolution of kernel 1 x 1."""
        return (
            (self.module.kernel_size[0], self.module.kernel_size[1]) if isinstance(self.module, nn.Conv2d) else (1, 1)
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates over all calibration samples."""
        return self.places["channels_out"] * self.weight.numel()

    def see(self, given: Tensor, made: Tensor, limit: int, generator: torch.Generator) -> None:
        """Take in at most `limit` patches of one call."""
        patches = self._patches(given)
        self._count(given, made)
        if len(patches) > limit:
            patches = patches[torch.randperm(len(patches), generator=generator)[:limit]]
        patches = patches.double()
        self.rows += len(patches)
        self.sum += patches.sum(0)
        self.products += patches.T @ patches
        self.fourth += float(patches.square().sum(1).square().sum())

    def _count(self, given: Tensor, made: Tensor) -> None:
        """How many places the first layer of each form computes at: those of the outputs along the axes that it covers,
        those of the inputs along the others."""
        self.samples += len(made)
        if isinstance(self.module, nn.Linear):
            self.places["channels_out"] += made.numel() // made.shape[-1]
            return
        for form, second_covers in SECOND_COVERS.items():
            sizes = [
                given.shape[2 + axis] if second else made.shape[2 + axis] for axis, second in enumerate(second_covers)
            ]
            self.places[form] += len(made) * math.prod(sizes)

    def _patches(self, given: Tensor) -> Tensor:
        """What the layer reads for each output, one a row."""
        if isinstance(self.module, nn.Linear):
            return given.reshape(-1, given.shape[-1])
        conv = self.module
        unfolded = nn.functional.unfold(
            given,
            self.kernel,
            dilation=(conv.dilation[0], conv.dilation[1]),
            padding=_padding(conv),
            stride=(conv.stride[0], conv.stride[1]),
        )
        return unfolded.transpose(1, 2).flatten(0, 1)

    @functools.cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the patches, the second shrunk towards a multiple of the identity.

        By how much, Ledoit and Wolf tell (2004, https://doi.org/10.1016/S0047-259X(03)00096-4): hardly at all when
        there are far more rows than columns, nearly wholly when there are few.
        """
        mean = self.sum / self.rows
        covariance = self.products / self.rows - mean.outer(mean)
        scale = covariance.diagonal().mean()
        dispersion = covariance.square().sum() - len(mean) * scale**2
        noise = (self.fourth / self.rows - (self.products / self.rows).square().sum()) / self.rows
        share = float((noise / dispersion).clamp(0, 1)) if dispersion > 0 else 1.0
        return mean, (1 - share) * covariance + share * scale * torch.eye(len(mean)).double()


def _padding(conv: nn.Conv2d) -> tuple[int, int]:
    """Zeros on each side. "same" is taken by `_treatable` only where both sides get equally many."""
    if conv.padding == "valid":
        return 0, 0
    if conv.padding == "same":
        rows, columns = (step * (size - 1) // 2 for step, size in zip(conv.dilation, conv.kernel_size, strict=True))
        return rows, columns
    assert not isinstance(conv.padding, str)
    return conv.padding[0], conv.padding[1]


def _observed(module: fx.GraphModule, context: Context, samples: int) -> dict[str, _Layer]:
    """Every layer that could be split, by path, after a run over the calibration samples."""
    layers = {path: _Layer(layer, path) for path, layer in _treatable(module)}
    samples = min(samples, context.calibration.samples)
    limit, generator = math.ceil(ROWS * BATCH / samples), torch.Generator().manual_seed(context.seed)

    def see(layer: _Layer, _: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        layer.see(given[0], made, limit, generator)

    hooks = [layer.module.register_forward_hook(functools.partial(see, layer)) for layer in layers.values()]
    try:
        for batch in context.calibration.batches(BATCH, samples):
            _run(module, [torch.from_numpy(batch[name]) for name in context.input_names])
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
        if isinstance(layer, nn.Linear) or (layer.groups == 1 and _is_symmetric(layer)):
            yield path, layer


def _attribute(module: fx.GraphModule, target: str) -> object:
    path, _, name = target.rpartition(".")
    return dict(module.get_submodule(path).named_parameters(recurse=False)).get(name)


def _is_symmetric(conv: nn.Conv2d) -> bool:
    """Whether zeros are added evenly on both sides."""
    reaches = [step * (size - 1) for step, size in zip(conv.dilation, conv.kernel_size, strict=True)]
    return conv.padding_mode == "zeros" and (conv.padding != "same" or all(reach % 2 == 0 for reach in reaches))


# ---------------------------------------------------------------------------------------- splits of a layer


@dataclass(frozen=True)
class _Split:
    """A layer as two: what it costs (`macs`, over all calibration samples), saves, and loses.

    `loss` is the share of the outputs' variance that it gets wrong. `inner` has shape (rank, numbers that the first
    layer reads), `outer` (outputs, rank, places of the second layer's kernel).
    """

    layer: _Layer
    form: str
    macs: int
    loss: float
    inner: Tensor
    outer: Tensor

    @property
    def saved(self) -> int:
        return self.layer.macs - self.macs

    def parts(self) -> tuple[nn.Module, nn.Module]:
        """The two layers, in the precision of the one."""
        old, rank = self.layer.module, len(self.inner)
        if isinstance(old, nn.Linear):
            first: nn.Module = nn.Linear(old.in_features, rank, bias=False)
            second: nn.Module = nn.Linear(rank, old.out_features)
        else:
            rows, columns = SECOND_COVERS[self.form]
            first = _convolution(old, old.in_channels, rank, (not rows, not columns), bias=False)
            second = _convolution(old, rank, old.out_channels, (rows, columns), bias=True)
        _fill(first, {"weight": self.inner}, old.weight)
        _fill(second, {"weight": self.outer, "bias": self._bias()}, old.weight)
        return first.eval(), second.eval()

    def _bias(self) -> Tensor:
        """What makes the outputs' means those of the whole layer."""
        mean, _ = self.layer.moments
        bias = self.layer.module.bias
        reached = torch.einsum("orp,rx,xp->o", self.outer, self.inner, mean.reshape(self.inner.shape[1], -1))
        return self.layer.weight @ mean - reached + (0 if bias is None else bias.detach().double())


def _convolution(old: nn.Conv2d, inputs: int, outputs: int, covers: tuple[bool, bool], bias: bool) -> nn.Conv2d:
    """Kernel, stride, padding and dilation of the old one along the axes (rows, columns) that this one `covers`."""

    def along(values: tuple[int, ...], otherwise: int) -> tuple[int, int]:
        rows, columns = (value if covered else otherwise for value, covered in zip(values, covers, strict=True))
        return rows, columns

    return nn.Conv2d(
        inputs,
        outputs,
        along(old.kernel_size, 1),
        stride=along(old.stride, 1),
        padding=along(_padding(old), 0),
        dilation=along(old.dilation, 1),
        bias=bias,
    )


def _fill(layer: nn.Module, values: Mapping[str, Tensor], like: Tensor) -> None:
    for name, parameter in list(layer.named_parameters()):
        value = values[name].reshape(parameter.shape).to(like.device, like.dtype)
        layer.register_parameter(name, nn.Parameter(value.contiguous(), like.requires_grad))


def _splits(layer: _Layer, least_saving: float) -> Iterator[_Split]:
    """Every split that saves enough, in all forms and at a few ranks each."""
    _, covariance = layer.moments
    variance = float(torch.einsum("ox,xy,oy->", layer.weight, covariance, layer.weight))
    if variance <= 0:
        return
    height, width = layer.kernel
    for form, (rows, columns) in SECOND_COVERS.items():
        places = (height if rows else 1) * (width if columns else 1)
        if form == "channels_out" or 1 < places < height * width or (form == "channels_in" and places > 1):
            yield from _splits_of_form(layer, form, places, variance, least_saving)


def _splits_of_form(layer: _Layer, form: str, places: int, variance: float, least_saving: float) -> Iterator[_Split]:
    """Splits whose second layer has a kernel of that many places."""
    _, covariance = layer.moments
    outputs, read = len(layer.weight), layer.weight.shape[1] // places
    macs_a_rank = layer.places[form] * read + layer.places["channels_out"] * outputs * places
    ranks = _ranks(min(int((1 - least_saving) * layer.macs / macs_a_rank), read, outputs * places))
    if not ranks:
        return
    weight = layer.weight.reshape(outputs, read, places)
    spread = covariance.reshape(read, places, read, places)
    inner = _directions(weight, spread)[: ranks[-1]]
    seen = torch.einsum("xpyq,sy->xpsq", spread, inner)
    gram, cross = torch.einsum("rx,xpsq->rpsq", inner, seen), torch.einsum("oxp,xpsq->osq", weight, seen)
    for rank in ranks:
        outer, explained = _least_squares(gram[:rank, :, :rank], cross[:, :rank])
        yield _Split(layer, form, rank * macs_a_rank, max(0.0, 1 - explained / variance), inner[:rank], outer)


def _ranks(most: int) -> list[int]:
    """A few multiples of `STEP` up to `most`, closer together where they are small."""
    if most < STEP:
        return []
    steps = np.geomspace(1, most // STEP, RANKS)
    return sorted({STEP * int(step) for step in steps.round()})


def _directions(weight: Tensor, spread: Tensor) -> Tensor:
    """What the first layer had best compute, the most telling first; each of variance one, so that rounding it later
    to 8 bits costs least.

    `weight` has shape (outputs, inner, places), `spread`, a covariance, (inner, places, inner, places). As if the
    places were independent: U'W for the eigenvectors U of W C W', or of the smaller matrix that shares them.
    """
    flat = weight.transpose(1, 2).flatten(0, 1)
    inner = torch.einsum("xpyp->xy", spread) / spread.shape[1]
    if len(flat) <= len(inner):
        found = torch.linalg.eigh(flat @ inner @ flat.T).eigenvectors.flip(1).T @ flat
    else:
        values, vectors = torch.linalg.eigh(inner)
        root = vectors * values.clamp(min=0).sqrt() @ vectors.T
        squared = flat.T @ flat
        found = torch.linalg.eigh(root @ squared @ root).eigenvectors.flip(1).T @ root @ squared
    deviations = torch.einsum("rx,xy,ry->r", found, inner, found).clamp(min=0).sqrt()
    scaled: Tensor = found / deviations.clamp(min=RIDGE * float(deviations.max())).unsqueeze(1)
    return scaled


def _least_squares(gram: Tensor, cross: Tensor) -> tuple[Tensor, float]:
    """The second layer that comes nearest to the outputs, and how much of their variance it explains.

    `gram` is the covariance of what it reads, (rank, places, rank, places); `cross` that with the outputs, (outputs,
    rank, places).
    """
    outputs, rank, places = cross.shape
    matrix, wanted = gram.reshape(rank * places, -1), cross.reshape(outputs, -1)
    matrix = matrix + RIDGE * torch.eye(len(matrix)).double()
    outer = torch.linalg.solve(matrix, wanted.T).T
    return outer.reshape(outputs, rank, places), float((outer * wanted).sum())


# ---------------------------------------------------------------------------------------- which split of which layer


def _by_energy(splits: Mapping[str, list[_Split]], energy: float) -> dict[str, _Split]:
    """The split of each layer that costs least and keeps that share of the variance."""
    kept = {path: [one for one in found if 1 - one.loss >= energy] for path, found in splits.items()}
    return {path: min(found, key=lambda one: one.macs) for path, found in kept.items() if found}


def _by_ratio(splits: Mapping[str, list[_Split]], ratio: float) -> dict[str, _Split]:
    """The split of each layer that loses least and saves that share of its operations."""
    cheap = {path: [one for one in found if one.saved >= ratio * one.layer.macs] for path, found in splits.items()}
    return {path: min(found, key=lambda one: one.loss) for path, found in cheap.items() if found}


def _by_macs(
    splits: Mapping[str, list[_Split]], share: float, module: fx.GraphModule, inputs: list[Tensor]
) -> dict[str, _Split]:
    """Splits that together save that share of the model's operations, at the least loss.

    With a price on each multiply-accumulate, every layer chooses for itself; the price is raised until they save
    enough. Raises NotApplicable when they can't.
    """
    samples = next(iter(splits.values()))[0].layer.samples
    budget = share * _macs(module, inputs) * samples / len(inputs[0])
    most = sum(max(one.saved for one in found) for found in splits.values())
    if most < budget:
        reach = percent(most / budget * share)
        raise NotApplicable(
            f"low rank saves at most {reach} of the operations, less than the {percent(share)} asked for"
        )
    harm = {path: _harm(found, module, inputs) for path, found in splits.items()}
    low, high = 0.0, 2 * max(harm[path] * one.loss for path, found in splits.items() for one in found)
    while low < (price := (low + high) / 2) < high:
        enough = sum(one.saved for one in _worth_it(splits, harm, price).values()) >= budget
        low, high = (low, price) if enough else (price, high)
    return _worth_it(splits, harm, high)


def _worth_it(splits: Mapping[str, list[_Split]], harm: Mapping[str, float], price: float) -> dict[str, _Split]:
    """What each layer chooses when a multiply-accumulate that is saved brings `price`."""
    chosen = {}
    for path, found in splits.items():
        best = min(found, key=lambda one: (harm[path] * one.loss - price * one.saved, one.macs))
        if harm[path] * best.loss <= price * best.saved:
            chosen[path] = best
    return chosen


def _harm(found: list[_Split], module: fx.GraphModule, inputs: list[Tensor]) -> float:
    """What a loss of 1 in a layer does to the model's outputs: their relative squared error, per loss, when only this
    layer is split, at the middle one of its ranks."""
    split = sorted(found, key=lambda one: one.macs)[len(found) // 2]
    wanted = _run(module, inputs)
    first, second = split.parts()
    module.set_submodule(split.layer.path, nn.Sequential(first, second))
    try:
        given = _run(module, inputs)
    finally:
        module.set_submodule(split.layer.path, split.layer.module)
    errors = [
        float((one - other).square().sum() / other.square().sum()) for one, other in zip(given, wanted, strict=True)
    ]
    return max(errors) / max(split.loss, RIDGE)


# ---------------------------------------------------------------------------------------- the graph


def _run(module: fx.GraphModule, inputs: list[Tensor]) -> list[Tensor]:
    """The model's outputs that are not whole numbers, flat."""
    with torch.no_grad():
        given = pytree.tree_leaves(module(*inputs))
    return [leaf for leaf in given if isinstance(leaf, Tensor) and leaf.is_floating_point()]


def _first_batch(context: Context) -> list[Tensor]:
    batch = next(context.calibration.batches(BATCH, BATCH))
    return [torch.from_numpy(batch[name]) for name in context.input_names]


def _macs(module: fx.GraphModule, inputs: list[Tensor]) -> int:
    """Multiply-accumulates of one run: products of matrices, convolutions, attention."""
    with FlopCounterMode(display=False) as counter:
        _run(module, inputs)
    return int(counter.get_total_flops()) // 2


def _put(module: fx.GraphModule, path: str, parts: tuple[nn.Module, nn.Module]) -> None:
    """Have the graph call `<path>.first` and `<path>.second` where it called the layer."""
    first, second = parts
    module.set_submodule(path, nn.Sequential(OrderedDict(first=first, second=second)))
    for node in list(module.graph.nodes):
        if node.op == "call_module" and node.target == path:
            with module.graph.inserting_before(node):
                inner = module.graph.call_module(f"{path}.first", node.args)
            node.target, node.args = f"{path}.second", (inner,)
