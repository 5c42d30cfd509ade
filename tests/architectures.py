"""Architectures as they are in the wild, tiny and with random weights: every method takes them, or refuses in words."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    BertConfig,
    ConvNextConfig,
    EfficientNetConfig,
    GPT2Config,
    LlamaConfig,
    MobileNetV2Config,
    PretrainedConfig,
    RegNetConfig,
    ResNetConfig,
    SegformerConfig,
    ViTConfig,
)
from transformers.pytorch_utils import Conv1D

from costopt.methods import Arrays
from costopt.records import InputSpec
from tests.onnx_graphs import normal

os.environ["HF_HUB_OFFLINE"] = "1"

VOCABULARY = 96
TOKENS = 12
USERS, ITEMS, GENRES = 60, 40, 8


class Wrapped(nn.Module):
    """A model of transformers with one tensor in and one out: the last hidden state."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.model = AutoModel.from_config(config, attn_implementation="eager")  # type: ignore[no-untyped-call]

    def forward(self, given: Tensor) -> Tensor:
        out: Tensor = self.model(given).last_hidden_state
        return out


class Mixer(nn.Module):
    """An MLP-mixer: perceptrons over patches and over channels in turn (Tolstikhin et al., arXiv:2105.01601)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, stride=8)
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(4))
        self.tokens = nn.ModuleList(nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16)) for _ in range(2))
        self.channels = nn.ModuleList(nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)) for _ in range(2))
        self.head = nn.Linear(32, 10)

    def forward(self, given: Tensor) -> Tensor:
        inner = self.patches(given).flatten(2).transpose(1, 2)
        for place in range(2):
            inner = inner + self.tokens[place](self.norms[2 * place](inner).transpose(1, 2)).transpose(1, 2)
            inner = inner + self.channels[place](self.norms[2 * place + 1](inner))
        logits: Tensor = self.head(inner.mean(1))
        return logits


class Encoder(nn.Module):
    """BERT with its mask: the mean of the tokens that count, for any batch and any length."""

    def __init__(self, config: PretrainedConfig) -> None:
        super().__init__()
        self.model = AutoModel.from_config(config, attn_implementation="eager")  # type: ignore[no-untyped-call]

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        hidden: Tensor = self.model(input_ids, attention_mask=attention_mask).last_hidden_state
        counts = attention_mask[:, :, None].to(hidden.dtype)
        return (hidden * counts).sum(1) / counts.sum(1).clamp(min=1)


def _normed(inside: int, outside: int, side: int = 3) -> nn.Module:
    """A convolution that keeps the size, BatchNorm, ReLU."""
    convolution = nn.Conv2d(inside, outside, side, padding=side // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU())


class DenseNet(nn.Module):
    """Two dense blocks, in which each layer reads all before it, with a transition (Huang et al., arXiv:1608.06993)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.first = nn.ModuleList(self._layer(16 + 8 * place) for place in range(3))
        self.transition = nn.Sequential(nn.BatchNorm2d(40), nn.ReLU(), nn.Conv2d(40, 20, 1), nn.AvgPool2d(2))
        self.second = nn.ModuleList(self._layer(20 + 8 * place) for place in range(2))
        self.norm, self.head = nn.BatchNorm2d(36), nn.Linear(36, 10)

    def forward(self, given: Tensor) -> Tensor:
        inner = self.transition(self._block(self.first, self.stem(given)))
        inner = self.norm(self._block(self.second, inner)).relu()
        logits: Tensor = self.head(nn.functional.adaptive_avg_pool2d(inner, 1).flatten(1))
        return logits

    @staticmethod
    def _layer(inside: int) -> nn.Module:
        """BatchNorm before the convolution, and a bottleneck of 1 x 1."""
        return nn.Sequential(
            nn.BatchNorm2d(inside), nn.ReLU(), nn.Conv2d(inside, 16, 1, bias=False),
            nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 8, 3, padding=1, bias=False),
        )  # fmt: skip

    @staticmethod
    def _block(layers: nn.ModuleList, inner: Tensor) -> Tensor:
        for layer in layers:
            inner = torch.cat([inner, layer(inner)], 1)
        return inner


class UNet(nn.Module):
    """Twice down and twice up by transposed convolutions, with skips beside (Ronneberger et al., arXiv:1505.04597)."""

    def __init__(self) -> None:
        super().__init__()
        self.start, self.middle, self.bottom = _normed(3, 16), _normed(16, 24), _normed(24, 32)
        self.up, self.up_again = nn.ConvTranspose2d(32, 24, 2, stride=2), nn.ConvTranspose2d(24, 16, 2, stride=2)
        self.merge, self.merge_again = _normed(48, 24), _normed(32, 16)
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, given: Tensor) -> Tensor:
        start = self.start(given)
        middle = self.middle(nn.functional.max_pool2d(start, 2))
        bottom = self.bottom(nn.functional.max_pool2d(middle, 2))
        inner = self.merge(torch.cat([middle, self.up(bottom)], 1))
        inner = self.merge_again(torch.cat([start, self.up_again(inner)], 1))
        mask: Tensor = self.head(inner)
        return mask


class Recurrent(nn.Module):
    """A classifier of token sequences: an LSTM both ways, then a GRU, and the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, 24)
        self.lstm = nn.LSTM(24, 16, batch_first=True, bidirectional=True)
        self.gru, self.head = nn.GRU(32, 24, batch_first=True), nn.Linear(24, 5)

    def forward(self, given: Tensor) -> Tensor:
        inner, _ = self.lstm(self.table(given))
        inner, _ = self.gru(inner)
        logits: Tensor = self.head(inner[:, -1])
        return logits


class Recommender(nn.Module):
    """Users, items and the mean of an item's genres, multiplied with each other and read by a perceptron (DLRM,
    Naumov et al., arXiv:1906.00091)."""

    def __init__(self) -> None:
        super().__init__()
        self.user, self.item, self.genre = nn.Embedding(USERS, 16), nn.Embedding(ITEMS, 16), nn.Embedding(GENRES, 16)
        self.hidden, self.second, self.head = nn.Linear(35, 32), nn.Linear(32, 16), nn.Linear(16, 1)

    def forward(self, user: Tensor, item: Tensor, genres: Tensor) -> Tensor:
        who, what, kind = self.user(user), self.item(item), self.genre(genres).mean(1)
        pairs = torch.stack([(who * what).sum(1), (who * kind).sum(1), (what * kind).sum(1)], 1)
        inner = self.hidden(torch.cat([who, what, pairs], 1)).relu()
        score: Tensor = self.head(self.second(inner).relu()).sigmoid()
        return score


def images(batch: int) -> Arrays:
    """Pictures of 32 x 32 in three colours."""
    return {"given": normal(batch, 3, 32, 32)}


def tokens(batch: int) -> Arrays:
    """Numbers of tokens: half of the vocabulary is never used."""
    return {"given": np.random.default_rng(0).integers(0, VOCABULARY // 2, (batch, TOKENS))}


def sentences(batch: int) -> Arrays:
    """Numbers of tokens, with a mask of which the last places are free in all but the first sentence."""
    mask = np.ones((batch, TOKENS), np.int64)
    mask[1:, -3:] = 0
    return {"input_ids": tokens(batch)["given"], "attention_mask": mask}


def visits(batch: int) -> Arrays:
    """Who saw what, of which genres: a tenth of the users and of the items."""
    random = np.random.default_rng(0)
    return {
        "user": random.integers(0, USERS // 10, batch),
        "item": random.integers(0, ITEMS // 10, batch),
        "genres": random.integers(0, GENRES, (batch, 3)),
    }


@dataclass(frozen=True)
class Architecture:
    """How to make one, and inputs for any batch. `free` names the axes that vary, batch first."""

    make: Callable[[], nn.Module]
    arrays: Callable[[int], Arrays]
    free: tuple[str, ...] = ("batch",)

    def specs(self) -> tuple[InputSpec, ...]:
        """The inputs as they are described to the exporter."""
        example = self.arrays(2).items()
        return tuple(
            InputSpec(name, (*self.free, *one.shape[len(self.free) :]), str(one.dtype)) for name, one in example
        )


def _text(config: PretrainedConfig) -> Architecture:
    return Architecture(lambda: Wrapped(config), tokens)


def _picture(config: PretrainedConfig) -> Architecture:
    return Architecture(lambda: Wrapped(config), images)


_WIDE: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}

ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": _text(BertConfig(vocab_size=VOCABULARY, max_position_embeddings=16, **_WIDE)),
    "gpt2": _text(GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=32, n_layer=2, n_head=4, use_cache=False)),
    "llama": _text(LlamaConfig(vocab_size=VOCABULARY, num_key_value_heads=2, use_cache=False, **_WIDE)),
    "vit": _picture(ViTConfig(image_size=32, patch_size=8, **_WIDE)),
    "resnet": _picture(ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[2, 2], layer_type="basic")),
    "regnet": _picture(RegNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[1, 2], groups_width=8)),
    "mobilenet_v2": _picture(MobileNetV2Config(depth_multiplier=0.25, image_size=32)),
    "convnext": _picture(ConvNextConfig(hidden_sizes=[16, 32], depths=[2, 2], num_stages=2)),
    "segformer": _picture(
        SegformerConfig(
            num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[16, 32], num_attention_heads=[1, 2],
            patch_sizes=[7, 3], strides=[4, 2], mlp_ratios=[2, 2],
        )
    ),
    "mixer": Architecture(Mixer, images),
    "efficientnet": _picture(
        EfficientNetConfig(
            width_coefficient=0.25, depth_coefficient=1.0, image_size=32, hidden_dim=320,
            kernel_sizes=[3, 5], in_channels=[32, 64], out_channels=[64, 96], strides=[1, 2], num_block_repeats=[1, 2],
            expand_ratios=[1, 6], depthwise_padding=[],
        )
    ),
    "densenet": Architecture(DenseNet, images),
    "unet": Architecture(UNet, images),
    "recurrent": Architecture(Recurrent, tokens),
    "recommender": Architecture(Recommender, visits),
    "encoder": Architecture(
        lambda: Encoder(BertConfig(vocab_size=VOCABULARY, max_position_embeddings=16, **_WIDE)),
        sentences,
        ("batch", "sequence"),
    ),
}  # fmt: skip


def lively(model: nn.Module) -> nn.Module:
    """The model with weights that let something through: some initialisations leave outputs of 1e-25."""
    torch.manual_seed(0)
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight)
        elif isinstance(part, Conv1D):
            nn.init.normal_(part.weight, std=part.weight.shape[0] ** -0.5)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
    return model.eval()
