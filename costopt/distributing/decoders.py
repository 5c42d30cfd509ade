"""What a decoder computes, reads and holds: its prompt in one pass (prefill), its answer token by token (decode).

Prefill multiplies every weight with many tokens at once, and operations decide how long it takes. Decode reads every
weight for a single token of each request in the batch, and bytes decide. So the two are priced apart.
"""

import math
from dataclasses import dataclass
from typing import Protocol

BITS_PER_BYTE = 8.0

ACTIVATIONS_PER_TOKEN = 14
"""Rows of the model's width that live at once for each token of a pass: residual, normalised input, query, key, value,
attention's output and its projection (7), and a feed-forward pair 3.5 wide (7). Counted from Llama's layer
(arXiv:2302.13971); nothing is recomputed or freed early, so it is high rather than low."""


KERNELS_PER_LAYER = 10
"""Launched for a transformer's layer with fused attention: norm, QKV, rotation, attention, projection, norm, two
feed-forward products, an activation, a sum. Counted, not measured."""


def activation_bytes(weight_bits: int) -> float:
    """Of a number that passes from layer to layer: fp16 or bf16 even where weights are stored in less, else fp32."""
    return max(weight_bits, 16) / BITS_PER_BYTE


@dataclass(frozen=True, slots=True)
class Work:
    """One pass through a model: operations (a multiply-add is two), bytes read, and what chips must exchange.

    `weight_bytes` and `kv_bytes` are read from memory, each once. `row_bytes` is the activation between two layers, of
    all tokens in the pass: what tensor parallel chips sum up twice a layer and pipeline stages hand on. `layers` counts
    those, 0 where they are not known; `kernels` the launches of a pass on an accelerator.
    """

    flops: float
    weight_bytes: float
    kv_bytes: float = 0.0
    row_bytes: float = 0.0
    layers: int = 0
    kernels: int = 0

    @property
    def intensity(self) -> float:
        """Operations per byte: above a chip's own ratio of the two rates its operations decide, below it its memory.

        Source: Williams, Waterman & Patterson 2009, "Roofline". Infinite where no bytes are known.
        """
        moved = self.weight_bytes + self.kv_bytes
        return self.flops / moved if moved else math.inf


class Workload(Protocol):
    """What one request asks of a model: a prompt in one pass, then `answer_tokens` steps, each for a whole batch."""

    @property
    def name(self) -> str:
        """What the model is called."""

    @property
    def prompt_tokens(self) -> int:
        """Tokens (or inputs) that the first pass takes."""

    @property
    def answer_tokens(self) -> int:
        """Tokens of the answer; 0 where the first pass is the answer."""

    @property
    def bits(self) -> int:
        """Bits of a number as it is multiplied: 32, 16 or 8."""

    @property
    def heads(self) -> int:
        """Parts that a layer can be cut into among chips; 1 where it can't be."""

    @property
    def layers(self) -> int:
        """Layers that stages can share; 0 where they are not known."""

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights."""

    def prefill(self) -> Work:
        """The first pass of one request."""

    def step(self, batch: int) -> Work:
        """The next token of each of `batch` requests."""

    def state_bytes(self, batch: int, tensor: int) -> float:
        """What one of `tensor` chips holds of `batch` requests beside weights, were all layers on it."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """A transformer that answers token by token.

    `params` counts all weights, `active_params` those that a token passes; `experts` in each layer, of which a token
    asks `experts_used` (both 1 in a dense model). `weight_bits` and `kv_bits` are bits of a stored weight, and of a
    stored key or value.
    """

    name: str
    params: float
    active_params: float
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    weight_bits: int = 16
    kv_bits: int = 16
    experts: int = 1
    experts_used: int = 1

    @property
    def weight_bytes(self) -> float:
        """params * bits / 8. Scales of groups of quantised weights come on top: 3 % at 16 bits for 128 of 4 bits."""
        return self.params * self.weight_bits / BITS_PER_BYTE

    @property
    def kv_bytes_per_token(self) -> float:
        """Keys and values that a token leaves behind: 2 * layers * kv_heads * head_dim * bytes.

        Llama 2 70B in fp16: 2 * 80 * 8 * 128 * 2 = 327,680 bytes.
        Source: Pope et al. 2022, arXiv:2211.05102; grouped heads: Ainslie et al. 2023, arXiv:2305.13245.
        """
        return 2 * self.layers * self.kv_heads * self.head_dim * self.kv_bits / BITS_PER_BYTE

    def weight_bytes_read(self, tokens: float) -> float:
        """Bytes of weights that `tokens` tokens in one pass touch: all of a dense model, once.

        Of a mixture, the experts that any token asks: E (1 - (1 - k/E)^tokens) in each layer, were experts equally
        likely and independent. An expert's share of all weights is (params - active) / (E - k).
        """
        if self.experts == self.experts_used:
            return self.weight_bytes
        expert = (self.params - self.active_params) / (self.experts - self.experts_used)
        touched = self.experts * (1 - math.pow(1 - self.experts_used / self.experts, tokens))
        return (self.params - (self.experts - touched) * expert) * self.weight_bits / BITS_PER_BYTE

    def prefill(self, tokens: int) -> Work:
        """The prompt of one request: 2 P s for weights, 2 layers heads head_dim s^2 for causal attention.

        P is `active_params`, s the tokens; each pair of tokens costs two products of width heads * head_dim (scores and
        sums), and half of the pairs look ahead and are left out. P counts the tables of embeddings and of the output,
        of which a prompt uses but a few rows: too high by 15 % for Llama 3.1 8B, whose two tables are 1.05 of its 8.03
        billion, by 27 % for Llama 3.2 1B, by 4 % for Llama 2 7B. The slow side is the safe one.
        Source: Kaplan et al. 2020, arXiv:2001.08361, section 2.1; Dao 2023, arXiv:2307.08691, for the causal half.
        """
        attention = 2 * self.layers * self.heads * self.head_dim * tokens**2
        return Work(
            flops=2 * self.active_params * tokens + attention,
            weight_bytes=self.weight_bytes_read(tokens),
            kv_bytes=tokens * self.kv_bytes_per_token,
            row_bytes=tokens * self.row_bytes,
            layers=self.layers,
            kernels=KERNELS_PER_LAYER * self.layers,
        )

    def step(self, batch: int, context: float) -> Work:
        """One token for each of `batch` requests that are `context` tokens long: weights are read once for them all.

        2 P + 4 layers heads head_dim context operations each; bytes: the weights, and batch * context * KV.
        Source: Pope et al. 2022, arXiv:2211.05102, section 2.
        """
        attention = 4 * self.layers * self.heads * self.head_dim * context
        return Work(
            flops=batch * (2 * self.active_params + attention),
            weight_bytes=self.weight_bytes_read(batch),
            kv_bytes=batch * context * self.kv_bytes_per_token,
            row_bytes=batch * self.row_bytes,
            layers=self.layers,
            kernels=KERNELS_PER_LAYER * self.layers,
        )

    @property
    def row_bytes(self) -> float:
        """The activation of one token between two layers."""
        return self.hidden * activation_bytes(self.weight_bits)


@dataclass(frozen=True, slots=True)
class Answering:
    """A decoder that answers requests of one length; `context` tokens are what the longest may have.

    Memory holds one request of that length, and others of `prompt_tokens` + `answer_tokens`.
    """

    decoder: Decoder
    prompt_tokens: int
    answer_tokens: int
    context: int

    @property
    def name(self) -> str:
        """The decoder's."""
        return self.decoder.name

    @property
    def bits(self) -> int:
        """Weights of 8 or 4 bits are unpacked to fp16 to be multiplied: they save bytes, not operations."""
        return max(self.decoder.weight_bits, 16)

    @property
    def heads(self) -> int:
        """The decoder's."""
        return self.decoder.heads

    @property
    def layers(self) -> int:
        """The decoder's."""
        return self.decoder.layers

    @property
    def weight_bytes(self) -> float:
        """The decoder's."""
        return self.decoder.weight_bytes

    def prefill(self) -> Work:
        """The prompt of one request."""
        return self.decoder.prefill(self.prompt_tokens)

    def step(self, batch: int) -> Work:
        """A token at the answer's middle: a step's time grows with the context, so that is its mean."""
        return self.decoder.step(batch, self.prompt_tokens + self.answer_tokens / 2)

    def state_bytes(self, batch: int, tensor: int) -> float:
        """KV cache and the activations of a prompt; heads of keys and values are whole, so few of them are repeated."""
        decoder = self.decoder
        tokens = (batch - 1) * (self.prompt_tokens + self.answer_tokens) + self.context
        share = math.ceil(decoder.kv_heads / tensor) / decoder.kv_heads
        return tokens * decoder.kv_bytes_per_token * share + ACTIVATIONS_PER_TOKEN * self.context * decoder.row_bytes
