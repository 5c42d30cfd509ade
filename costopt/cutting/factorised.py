"""A layer as two thin ones: the factorisation of its weights that keeps its outputs, as calibration saw them.

A layer computes y = W p + b, where p is what it reads for one output: the inputs of an `nn.Linear`, the patch of an
`nn.Conv2d`. Two layers of rank r take its place: the first computes r numbers, A p, the second B A p + b'. Plain SVD
keeps W near; here the *outputs* are kept near: with C the covariance of p over the calibration inputs, the error is

    tr((W - B A) C (W - B A)')        least when A = U'W, U the first eigenvectors of the outputs' covariance W C W'

(Zhang et al. 2016, https://arxiv.org/abs/1505.06798, section 3; the whitened SVD of Yuan et al. 2023,
https://arxiv.org/abs/2312.05821, is the same for linear layers). b' makes up for the means. A convolution of kernel
h x w can be split in three places:

    channels_out   h x w, then 1 x 1      (Zhang et al. 2016)
    spatial        h x 1, then 1 x w      (Jaderberg et al. 2014, https://arxiv.org/abs/1405.3866)
    channels_in    1 x 1, then h x w

For the last two, A comes from the same formula as if the places of the kernel were independent; B is then the exact
least-squares solution, and the error is computed, not estimated. All of it in float64.
"""

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from costopt.errors import CandidateError

STEP = 8
"""Ranks are multiples of it: AVX2 registers hold 8 float32, and int8 kernels work on blocks of 4 to 16."""

RANKS = 12
"""Ranks that are tried for a form of a layer, evenly spread on a logarithmic scale."""

SECOND_COVERS = {"channels_out": (False, False), "spatial": (False, True), "channels_in": (True, True)}
"""For each form, the axes of the kernel (rows, columns) that the second layer covers; the first covers the others."""

RIDGE = 1e-8
"""Added to the unit diagonal of the normal equations, so that directions without variance don't make them singular:
the square root of float64's precision."""


class ObservedLayer:
    """A layer with what calibration showed of it: mean and covariance of its patches, and how often it computes."""

    def __init__(self, module: nn.Linear | nn.Conv2d, path: str) -> None:
        self.module, self.path = module, path
        weight = module.weight.detach()
        if not weight.isfinite().all():
            raise CandidateError("compress", f"low_rank: the weights of '{path}' are not all finite numbers")
        self.weight = weight.double().reshape(len(weight), -1)
        size = self.weight.shape[1]
        self.shift = torch.zeros(size).double()  # numbers near the mean, so that the sums below hold what varies
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

    @functools.cached_property
    def variance(self) -> float:
        """The variance of all outputs together; 0 when it is no more than rounding."""
        mean, covariance = self.moments
        variance = float(torch.einsum("ox,xy,oy->", self.weight, covariance, self.weight))
        power = variance + float((self.weight @ mean).square().sum())
        return variance if variance > 1e-12 * power else 0.0

    def see(self, given: Tensor, made: Tensor, limit: int, generator: torch.Generator) -> None:
        """Take in at most `limit` patches of one call."""
        patches = self._patches(given)
        self._count(given, made)
        if len(patches) > limit:
            patches = patches[torch.randperm(len(patches), generator=generator)[:limit]]
        patches = patches.double()
        if self.rows == 0:
            self.shift = patches.mean(0)
        patches = patches - self.shift
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
        return self.shift + mean, (1 - share) * covariance + share * scale * torch.eye(len(mean)).double()


def _padding(conv: nn.Conv2d) -> tuple[int, int]:
    """Zeros on each side. "same" is taken by `_treatable` only where both sides get equally many."""
    if conv.padding == "valid":
        return 0, 0
    if conv.padding == "same":
        rows, columns = (step * (size - 1) // 2 for step, size in zip(conv.dilation, conv.kernel_size, strict=True))
        return rows, columns
    assert not isinstance(conv.padding, str)
    return conv.padding[0], conv.padding[1]


def is_symmetric(conv: nn.Conv2d) -> bool:
    """Whether zeros are added evenly on both sides."""
    reaches = [step * (size - 1) for step, size in zip(conv.dilation, conv.kernel_size, strict=True)]
    return conv.padding_mode == "zeros" and (conv.padding != "same" or all(reach % 2 == 0 for reach in reaches))


# ---------------------------------------------------------------------------------------- splits of a layer


@dataclass(frozen=True)
class Split:
    """A layer as two: what it costs (`macs`, over all calibration samples), saves, and loses.

    `loss` is the share of the outputs' variance that it gets wrong. `inner` has shape (rank, numbers that the first
    layer reads), `outer` (outputs, rank, places of the second layer's kernel).
    """

    layer: ObservedLayer
    form: str
    macs: int
    loss: float
    inner: Tensor
    outer: Tensor

    @property
    def saved(self) -> int:
        """Multiply-accumulates that go."""
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


def splits(layer: ObservedLayer, least_saving: float) -> Iterator[Split]:
    """Every split that saves enough, in all forms and at a few ranks each."""
    if layer.variance == 0:
        return
    height, width = layer.kernel
    for form, (rows, columns) in SECOND_COVERS.items():
        places = (height if rows else 1) * (width if columns else 1)
        if form == "channels_out" or 1 < places < height * width or (form == "channels_in" and places > 1):
            yield from _splits_of_form(layer, form, places, least_saving)


def _splits_of_form(layer: ObservedLayer, form: str, places: int, least_saving: float) -> Iterator[Split]:
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
        yield Split(layer, form, rank * macs_a_rank, max(0.0, 1 - explained / layer.variance), inner[:rank], outer)


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
