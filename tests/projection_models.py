"""Models whose times a calibration has to foretell: none of their layers stands among the reference graphs.

Networks as they are in the wild, from transformers' own configurations with random weights, the shipped example, and
perceptrons, each with a batch; the original, and in 8 bits by costopt's own methods.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    AutoModel,
    BertConfig,
    ConvNextConfig,
    EfficientNetConfig,
    GPT2Config,
    MobileNetV2Config,
    PretrainedConfig,
    RegNetConfig,
    ResNetConfig,
    SegformerConfig,
    ViTConfig,
)

from costopt.methods.int8_dynamic import Int8Dynamic
from costopt.methods.int8_static import Int8Static
from tests.models import small_cnn
from tests.onnx_graphs import Held

os.environ["HF_HUB_OFFLINE"] = "1"

EXAMPLE = Path(__file__).parent.parent / "configs" / "fashion-mnist" / "model.pt2"

Feed = NDArray[np.generic]


@dataclass(frozen=True)
class HeldOut:
    """A file to time, and one call's input."""

    name: str
    path: Path
    feed: dict[str, Feed]


class _Last(nn.Module):
    """A model of transformers with one tensor in and one out."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.model = AutoModel.from_config(config, attn_implementation="eager")  # type: ignore[no-untyped-call]
        self.eval()

    def forward(self, given: Tensor) -> Tensor:
        out: Tensor = self.model(given).last_hidden_state
        return out


def _perceptron(*widths: int) -> nn.Module:
    layers: list[nn.Module] = []
    for inside, outside in itertools.pairwise(widths):
        layers += [nn.Linear(inside, outside), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _bert(layers: int, width: int) -> nn.Module:
    return _Last(
        BertConfig(
            vocab_size=2000,
            num_hidden_layers=layers,
            hidden_size=width,
            intermediate_size=4 * width,
            num_attention_heads=width // 32,
        )
    )


def _vit(side: int, layers: int, width: int) -> nn.Module:
    return _Last(
        ViTConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            intermediate_size=4 * width,
            image_size=side,
            patch_size=16,
        )
    )


class _Speech(nn.Module):
    """A keyword spotter: convolutions over time and a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.ears = nn.Sequential(nn.Conv1d(40, 64, 5, 2), nn.ReLU(), nn.Conv1d(64, 96, 5, 2), nn.ReLU())
        self.memory = nn.GRU(96, 96)
        self.head = nn.Linear(96, 12)

    def forward(self, sound: Tensor) -> Tensor:
        seen, _ = self.memory(self.ears(sound).permute(2, 0, 1))
        answer: Tensor = self.head(seen[-1])
        return answer


class _UNet(nn.Module):
    """Down, up, and over: a transposed convolution and a join."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.top = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
        self.down = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.out = nn.Conv2d(2 * width, 2, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        high = self.top(image)
        answer: Tensor = self.out(torch.cat([high, self.up(self.down(high))], 1))
        return answer


def _pixels(batch: int, side: int, channels: int = 3) -> Feed:
    return np.random.default_rng(0).standard_normal((batch, channels, side, side), dtype=np.float32)


def _numbers(*shape: int) -> Feed:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def _words(batch: int, places: int) -> Feed:
    return np.random.default_rng(0).integers(0, 2000, (batch, places))


@dataclass(frozen=True)
class _Case:
    make: Callable[[], nn.Module]
    feed: Feed
    in_8_bits: str = ""


CASES = {
    "example": _Case(lambda: torch.export.load(EXAMPLE).module(), _numbers(1, 1, 28, 28), "static"),
    "example x8": _Case(lambda: torch.export.load(EXAMPLE).module(), _numbers(8, 1, 28, 28), "static"),
    "small CNN, 24 channels": _Case(lambda: small_cnn(24), _numbers(1, 1, 28, 28)),
    "perceptron 20-64-64-2": _Case(lambda: _perceptron(20, 64, 64, 2), _numbers(1, 20)),
    "perceptron 784-500-300-10": _Case(lambda: _perceptron(784, 500, 300, 10), _numbers(1, 784), "dynamic"),
    "perceptron 784-500-300-10 x32": _Case(lambda: _perceptron(784, 500, 300, 10), _numbers(32, 784), "dynamic"),
    "perceptron 1200-3000-3000-100": _Case(lambda: _perceptron(1200, 3000, 3000, 100), _numbers(1, 1200), "dynamic"),
    "BERT 2 x 128, 20 words": _Case(lambda: _bert(2, 128), _words(1, 20), "dynamic"),
    "BERT 4 x 256, 48 words": _Case(lambda: _bert(4, 256), _words(1, 48), "dynamic"),
    "BERT 6 x 384, 64 words x4": _Case(lambda: _bert(6, 384), _words(4, 64), "dynamic"),
    "ViT 4 x 192, 128 px": _Case(lambda: _vit(128, 4, 192), _pixels(1, 128), "dynamic"),
    "ResNet-18, 96 px": _Case(
        lambda: _Last(ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic")),
        _pixels(1, 96),
        "static",
    ),
    "ResNet-18, 160 px x2": _Case(
        lambda: _Last(ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], layer_type="basic")),
        _pixels(2, 160),
    ),
    "ResNet-26 bottleneck, 128 px": _Case(
        lambda: _Last(ResNetConfig(depths=[2, 2, 2, 2], hidden_sizes=[128, 256, 512, 1024])), _pixels(1, 128), "static"
    ),
    "MobileNetV2, 96 px": _Case(lambda: _Last(MobileNetV2Config(image_size=96)), _pixels(1, 96), "static"),
    "MobileNetV2 0.5, 160 px": _Case(
        lambda: _Last(MobileNetV2Config(image_size=160, depth_multiplier=0.5)), _pixels(1, 160)
    ),
    "ConvNeXt, 96 px": _Case(
        lambda: _Last(ConvNextConfig(hidden_sizes=[48, 96, 192, 384], depths=[2, 2, 4, 2])), _pixels(1, 96)
    ),
    "EfficientNet, 96 px": _Case(
        lambda: _Last(EfficientNetConfig(image_size=96, width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280)),
        _pixels(1, 96),
        "static",
    ),
    "RegNet, 128 px": _Case(
        lambda: _Last(RegNetConfig(hidden_sizes=[48, 96, 192, 384], depths=[1, 2, 3, 1], groups_width=24)),
        _pixels(1, 128),
    ),
    "Segformer, 128 px": _Case(lambda: _Last(SegformerConfig(depths=[1, 1, 1, 1])), _pixels(1, 128)),
    "GPT-2 3 x 256, 32 words": _Case(
        lambda: _Last(GPT2Config(vocab_size=2000, n_positions=64, n_embd=256, n_layer=3, n_head=4, use_cache=False)),
        _words(1, 32),
        "dynamic",
    ),
    "keyword spotter": _Case(_Speech, _numbers(1, 40, 98)),
    "U-Net, 64 px": _Case(lambda: _UNet(24), _pixels(1, 64)),
}


def held_out(folder: Path) -> Iterator[HeldOut]:
    """Every model, exported into a folder (once)."""
    for name, case in CASES.items():
        path = folder / f"{name.replace(' ', '_').replace(',', '')}.onnx"
        if not path.exists():
            _export(case, path)
        given = onnx.load(path, load_external_data=False).graph.input[0].name
        yield HeldOut(name, path, {given: case.feed})
        if case.in_8_bits:
            rounded = path.with_suffix(".int8.onnx")
            if not rounded.exists():
                _round(case, path, rounded, given)
            yield HeldOut(f"{name}, int8 {case.in_8_bits}", rounded, {given: case.feed})


def _export(case: _Case, path: Path) -> None:
    model = case.make()
    example = torch.from_numpy(case.feed)
    program = torch.onnx.export(model, (example,), dynamo=True, verbose=False, external_data=False, opset_version=20)
    assert program is not None
    program.save(str(path))


def _round(case: _Case, path: Path, rounded: Path, given: str) -> None:
    method = Int8Static() if case.in_8_bits == "static" else Int8Dynamic()
    method(path, rounded, Held({given: case.feed}))
