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
    GPT2Config,
    LlamaConfig,
    MobileNetV2Config,
    PretrainedConfig,
    RegNetConfig,
    ResNetConfig,
    SegformerConfig,
    ViTConfig,
)

from costopt.methods import Arrays
from tests.onnx_graphs import normal

os.environ["HF_HUB_OFFLINE"] = "1"

VOCABULARY = 96
TOKENS = 12


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


def images(batch: int) -> Arrays:
    """Pictures of 32 x 32 in three colours."""
    return {"given": normal(batch, 3, 32, 32)}


def tokens(batch: int) -> Arrays:
    """Numbers of tokens."""
    return {"given": np.random.default_rng(0).integers(0, VOCABULARY, (batch, TOKENS))}


@dataclass(frozen=True)
class Architecture:
    """How to make one, and inputs for any batch."""

    make: Callable[[], nn.Module]
    arrays: Callable[[int], Arrays]


def _text(config: PretrainedConfig) -> Architecture:
    return Architecture(lambda: Wrapped(config), tokens)


def _picture(config: PretrainedConfig) -> Architecture:
    return Architecture(lambda: Wrapped(config), images)


_WIDE: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 64}

ARCHITECTURES: Mapping[str, Architecture] = {
    "bert": _text(BertConfig(vocab_size=VOCABULARY, max_position_embeddings=16, **_WIDE)),
    "gpt2": _text(GPT2Config(vocab_size=VOCABULARY, n_positions=16, n_embd=32, n_layer=3, n_head=4, use_cache=False)),
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
}  # fmt: skip


def lively(model: nn.Module) -> nn.Module:
    """The model with weights that let something through: some initialisations leave outputs of 1e-25."""
    torch.manual_seed(0)
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight)
    return model.eval()
