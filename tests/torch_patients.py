"""Models that methods on modules are tried on, as such methods get them: an `fx.GraphModule` and a `Context`."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from costopt import export
from costopt.cutting.surgery import copied
from costopt.formats import Modules
from costopt.loading.modules import modules_of
from costopt.methods import Arrays, Context
from costopt.records import InputSpec
from tests import models
from tests.onnx_graphs import Held, normal


def specs_of(arrays: Mapping[str, NDArray[np.generic]]) -> tuple[InputSpec, ...]:
    """Inputs shaped like these arrays, the first axis of each varying."""
    return tuple(InputSpec(name, ("batch", *array.shape[1:]), str(array.dtype)) for name, array in arrays.items())


def graph_of(model: nn.Module, arrays: Arrays, specs: tuple[InputSpec, ...] = ()) -> fx.GraphModule:
    """The model exported with a varying batch and brought back into modules, as `build` hands it to a method.

    `specs` say so when more than the batch varies.
    """
    example = {name: array[:2] for name, array in arrays.items()}
    program = export.program_of(Modules(model.eval(), tuple(arrays)), specs or specs_of(arrays), example)
    module = modules_of(program).module
    assert isinstance(module, fx.GraphModule)
    return module


def context_of(module: fx.GraphModule, arrays: Arrays, seed: int = 0, folder: Path | None = None) -> Context:
    """Calibration by these arrays; the teacher is `module` as it is now."""
    teacher = copied(module)
    return Context(Held(arrays), tuple(arrays), lambda: copied(teacher), seed, folder)


def outputs(module: nn.Module, arrays: Arrays) -> list[Tensor]:
    """What the module gives, flat."""
    with torch.no_grad():
        given = module(*(torch.from_numpy(array) for array in arrays.values()))
    return [leaf for leaf in pytree.tree_leaves(given) if isinstance(leaf, Tensor)]


def relative_error(module: nn.Module, reference: nn.Module, arrays: Arrays) -> float:
    """The largest Frobenius norm of an output's error over that of the output."""
    pairs = zip(outputs(module, arrays), outputs(reference, arrays), strict=True)
    return max(float((one - other).norm() / other.norm()) for one, other in pairs)


def parameters(module: nn.Module) -> int:
    """How many numbers the module holds."""
    return sum(one.numel() for one in module.parameters())


# ---------------------------------------------------------------------------------------- models beyond `models`


class LeNet(nn.Module):
    """Two convolutions with pooling, flattened into a perceptron: images (batch, 1, 12, 12) to logits (batch, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 6, 3, padding=1), nn.Conv2d(6, 12, 3, padding=1)
        self.hidden, self.head = nn.Linear(12 * 9, 32), nn.Linear(32, 10)

    def forward(self, image: Tensor) -> Tensor:
        inner = nn.functional.max_pool2d(self.first(image).relu(), 2)
        inner = nn.functional.max_pool2d(self.second(inner).relu(), 2)
        logits: Tensor = self.head(self.hidden(inner.flatten(1)).relu())
        return logits


class Inverted(nn.Module):
    """An inverted residual with squeeze-and-excite: expand, depthwise, weigh the channels, project, add."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.expand, self.expand_norm = nn.Conv2d(8, 24, 1, bias=False), nn.BatchNorm2d(24)
        self.depthwise = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.squeeze, self.excite = nn.Conv2d(24, 4, 1), nn.Conv2d(4, 24, 1)
        self.project, self.head = nn.Conv2d(24, 8, 1), nn.Linear(8, 10)

    def forward(self, image: Tensor) -> Tensor:
        start = self.stem(image)
        inner = nn.functional.hardswish(self.expand_norm(self.expand(start)))
        inner = self.depthwise(inner).relu()
        weight = self.excite(self.squeeze(inner.mean((2, 3), keepdim=True)).relu()).sigmoid()
        logits: Tensor = self.head((start + self.project(inner * weight)).mean((2, 3)))
        return logits


class Dense(nn.Module):
    """What each convolution gives is laid beside what it got."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = nn.ModuleList(nn.Conv2d(1 + 6 * step, 6, 3, padding=1) for step in range(3))
        self.head = nn.Linear(19, 10)

    def forward(self, image: Tensor) -> Tensor:
        for step in self.steps:
            image = torch.cat([image, step(image).relu()], dim=1)
        logits: Tensor = self.head(image.mean((2, 3)))
        return logits


class Autoencoder(nn.Module):
    """A small U-Net: down, up by a transposed convolution, and the skip connection beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.down = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.up, self.last = nn.ConvTranspose2d(16, 8, 2, stride=2), nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        first = self.first(image).relu()
        up = self.up(self.down(first).relu()).relu()
        picture: Tensor = self.last(torch.cat([first, up], dim=1))
        return picture


class Shared(nn.Module):
    """One layer used twice, and one weight that two layers share."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.twice(self.twice(x).relu()).relu()
        out: Tensor = self.head(self.second(self.first(inner).relu()).relu())
        return out


class Recurrent(nn.Module):
    """An LSTM over seven steps, and a head on the last one."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(12, 24, batch_first=True), nn.Linear(24, 4)

    def forward(self, x: Tensor) -> Tensor:
        steps, _ = self.lstm(x)
        out: Tensor = self.head(steps[:, -1])
        return out


class Worn(nn.Module):
    """Trained down by a penalty: unread, constant and duplicate channels, and a residual branch that is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.wide, self.narrow, self.head = nn.Conv2d(8, 16, 3), nn.Conv2d(16, 8, 1), nn.Linear(8, 10)
        with torch.no_grad():
            for parameter in self.branch.parameters():
                parameter.zero_()
            self.wide.weight[:3] = 0  # three constants that differ in their bias
            self.head.weight[:, 0] = 0  # an unread channel
            for parameter in self.wide.parameters():
                parameter[10:12] = parameter[9]

    def forward(self, image: Tensor) -> Tensor:
        start = self.stem(image).relu()
        inner = self.wide(start + self.branch(start)).relu()
        logits: Tensor = self.head(self.narrow(inner).relu().mean((2, 3)))
        return logits


class Recommender(nn.Module):
    """Two embeddings side by side into a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item = nn.Embedding(200, 8), nn.Embedding(100, 8)
        self.hidden, self.head = nn.Linear(16, 32), nn.Linear(32, 1)

    def forward(self, user: Tensor, item: Tensor) -> Tensor:
        both = torch.cat([self.user(user), self.item(item)], dim=1)
        out: Tensor = self.head(self.hidden(both).relu())
        return out


class Classifier(nn.Module):
    """A text encoder with one answer for each text; behind layer `after`, `every` so many neighbours are one."""

    def __init__(self, layers: int = 4, after: int | None = None, every: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = models.SmallEncoder(layers=layers)
        self.after, self.every = after, every

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        model, mask = self.inner, attention_mask
        inner = model.embedding(input_ids) + model.positions(torch.arange(input_ids.shape[1]))
        for number, layer in enumerate(model.layers):
            if number == self.after:
                groups = range(0, mask.shape[1], self.every)
                tokens = [inner[:, at : at + self.every] * mask[:, at : at + self.every, None] for at in groups]
                counts = [mask[:, at : at + self.every].sum(1, keepdim=True).clamp(min=1) for at in groups]
                inner = torch.stack([one.sum(1) / count for one, count in zip(tokens, counts, strict=True)], 1)
                mask = mask[:, :: self.every]
            inner = layer(inner, mask[:, None, None, :].to(torch.bool))
        weights = mask[:, :, None].to(inner.dtype)
        mean: Tensor = (inner * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
        return mean


# ---------------------------------------------------------------------------------------- all of them


@dataclass(frozen=True)
class Patient:
    """How to make a model, and inputs for any batch; `specs` as for `graph_of`. Weights depend on the seed alone."""

    make: Callable[[], nn.Module]
    arrays: Callable[[int], Arrays]
    specs: tuple[InputSpec, ...] = ()

    def graph(self) -> fx.GraphModule:
        """A fresh copy, as a method gets it."""
        return copied(self.exported)

    @functools.cached_property
    def exported(self) -> fx.GraphModule:
        """The one that is copied: exporting takes long."""
        torch.manual_seed(0)
        return graph_of(self.make(), self.arrays(2), self.specs)


TEXTS = tuple(InputSpec(name, ("batch", "sequence"), "int64") for name in models.encoder_arrays(1))
"""The inputs of an encoder whose sequences may have any length."""


def _images(batch: int) -> Arrays:
    return {"image": normal(batch, 1, 12, 12)}


def _pairs(batch: int) -> Arrays:
    """Many users, and few of the items that there are."""
    random = np.random.default_rng(0)
    return {"user": random.integers(0, 200, batch), "item": 20 * random.integers(0, 5, batch)}


PATIENTS: Mapping[str, Patient] = {
    "cnn": Patient(models.small_cnn, models.cnn_arrays),
    "encoder": Patient(models.small_encoder, models.encoder_arrays),
    "texts": Patient(functools.partial(Classifier, layers=2), models.encoder_arrays, TEXTS),
    "lenet": Patient(LeNet, _images),
    "inverted": Patient(Inverted, _images),
    "dense": Patient(Dense, _images),
    "autoencoder": Patient(Autoencoder, _images),
    "shared": Patient(Shared, lambda batch: {"x": normal(batch, 16)}),
    "worn": Patient(Worn, _images),
    "recurrent": Patient(Recurrent, lambda batch: {"x": normal(batch, 7, 12)}),
    "recommender": Patient(Recommender, _pairs),
}
