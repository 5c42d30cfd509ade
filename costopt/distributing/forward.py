"""Models that answer with one forward pass: encoders and CNNs. A request has no second phase, and no state is kept."""

from dataclasses import dataclass

from costopt.distributing.decoders import ACTIVATIONS_PER_TOKEN, BITS_PER_BYTE, Work, activation_bytes

NOTHING = Work(0.0, 0.0)


def encoder_flops(multiplied: float, layers: int, width: int, tokens: int) -> float:
    """Operations of an encoder's pass: 2 P s for weights and 4 layers width s^2 for attention, which looks both ways.

    P counts the weights that are multiplied: embeddings are looked up. `width` is heads * head_dim.
    Source: Kaplan et al. 2020, arXiv:2001.08361, section 2.1, without the causal half.
    """
    return 2 * multiplied * tokens + 4 * layers * width * tokens**2


@dataclass(frozen=True, slots=True)
class OnePass:
    """A model whose forward pass is the answer.

    `tokens` is 1 for a picture; `hidden` and `layers` 0 where they are not known; `kernels` are launched for a pass on
    an accelerator. `weight_bits` is what weights are stored and multiplied in. `flops` are operations (a multiply-add
    is two). `multiplied` counts the parameters that a pass reads: embeddings are held, but a few rows of them are read;
    None is all.
    """

    name: str
    flops: float
    params: float
    tokens: int = 1
    layers: int = 0
    hidden: int = 0
    heads: int = 1
    weight_bits: int = 16
    kernels: int = 0
    multiplied: float | None = None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the input."""
        return self.tokens

    @property
    def answer_tokens(self) -> int:
        """None."""
        return 0

    @property
    def bits(self) -> int:
        """Four bits are unpacked to be multiplied; eight are multiplied as they are."""
        return 16 if self.weight_bits < 8 else self.weight_bits

    @property
    def weight_bytes(self) -> float:
        """params * bits / 8."""
        return self.params * self.weight_bits / BITS_PER_BYTE

    def prefill(self) -> Work:
        """The pass."""
        params = self.params if self.multiplied is None else self.multiplied
        read_bytes = params * self.weight_bits / BITS_PER_BYTE
        return Work(self.flops, read_bytes, 0.0, self.row_bytes, self.layers, self.kernels)

    def step(self, batch: int) -> Work:  # noqa: ARG002 - the protocol's; there is no step whatever the batch
        """There is no second phase."""
        return NOTHING

    def state_bytes(self, batch: int, tensor: int) -> float:  # noqa: ARG002 - whole rows are kept by every chip
        """The activations of a batch."""
        return batch * self.row_bytes * ACTIVATIONS_PER_TOKEN

    @property
    def row_bytes(self) -> float:
        """The activation of an input between two layers."""
        return self.tokens * self.hidden * activation_bytes(self.weight_bits)
