"""Projected times of decoders against published measurements that nothing was fitted to."""

import statistics
from dataclasses import dataclass

import pytest

from costopt.distributing import networks, published
from costopt.distributing.decoders import Decoder
from costopt.distributing.parallel import HELD_AGAINST, REACHED, Spread, passed
from costopt.planning.places import BAND
from costopt.projecting.hardware import chips


@dataclass(frozen=True)
class Decoded:
    """Tokens a second of one request on `gpus` A100 80 GB, with a prompt of 5 tokens and 200 new ones.

    Source: gpt-fast, README of 2023-12 (github.com/pytorch-labs/gpt-fast, commit 0f925b5d), its tables "Benchmarks",
    "Tensor Parallelism" and "Tensor Parallelism + Quantization". The cards were limited to 330 of 400 W. Four bits have
    a scale and a zero of 16 bits each for 32 weights: 5 bits.
    """

    model: str
    bits: int
    gpus: int
    tokens_per_s: float


DECODED = (
    Decoded("Llama 2 7B", 16, 1, 104.9),
    Decoded("Llama 2 7B", 8, 1, 155.58),
    Decoded("Llama 2 7B", 5, 1, 196.80),
    Decoded("Llama 2 70B", 8, 1, 19.13),
    Decoded("Llama 2 70B", 5, 1, 25.25),
    Decoded("Llama 2 7B", 16, 2, 168.84),
    Decoded("Llama 2 7B", 16, 4, 254.02),
    Decoded("Llama 2 7B", 16, 8, 328.43),
    Decoded("Llama 2 70B", 16, 2, 21.32),
    Decoded("Llama 2 70B", 16, 4, 38.01),
    Decoded("Llama 2 70B", 16, 8, 62.50),
    Decoded("Llama 2 70B", 8, 8, 80.44),
    Decoded("Llama 2 70B", 5, 8, 90.77),
)

# TensorRT-LLM 0.6.1, docs/source/performance.md (commit 138f96d4), "A100 GPUs (FP16)": model, GPUs, prompt tokens, ms
# to the first token at batch 1.
FIRST_TOKEN_MS = (
    ("Llama 2 7B", 1, 128, 16.0),
    ("Llama 2 7B", 1, 2048, 133.0),
    ("Llama 2 70B", 4, 128, 47.0),
    ("Llama 2 70B", 4, 2048, 377.0),
)

# The same page, peak throughput of one A100: batch, prompt tokens, answer tokens, answer tokens a second.
RATES = ((384, 128, 128, 5586.0), (60, 128, 2048, 1928.0), (52, 2048, 128, 591.0))

A100 = chips()["NVIDIA A100 80GB SXM"]


def decoder(name: str, bits: int = 16) -> Decoder:
    """A published decoder with its weights in so many bits."""
    one = next(model for model in published.models() if model.name == name)
    return Decoder(
        name, one.params, one.active_params, one.layers, one.hidden, one.heads, one.kv_heads, one.head_dim, bits
    )  # fmt: skip


def spread(gpus: int) -> Spread:
    return Spread(A100, tensor=gpus, link=networks.inside(A100.name) if gpus > 1 else None)


def step_s(model: Decoder, gpus: int, batch: int, context: float) -> float:
    return passed(model.step(batch, context), spread(gpus), "fp16", model.heads).seconds


def prefill_s(model: Decoder, gpus: int, tokens: int) -> float:
    return passed(model.prefill(tokens), spread(gpus), "fp16", model.heads).seconds


def errors() -> list[float]:
    """Projected over measured time, less 1, of all that is published above."""
    decoded = [step_s(decoder(one.model, one.bits), one.gpus, 1, 105) * one.tokens_per_s - 1 for one in DECODED]
    first = [1e3 * prefill_s(decoder(name), gpus, tokens) / ms - 1 for name, gpus, tokens, ms in FIRST_TOKEN_MS]
    seven = decoder("Llama 2 7B")
    rates = [
        rate * (prefill_s(seven, 1, prompt) / answer + step_s(seven, 1, batch, prompt + answer / 2) / batch) - 1
        for batch, prompt, answer, rate in RATES
    ]
    return decoded + first + rates


def test_what_plans_say_of_the_error_is_what_it_is() -> None:
    off = [abs(error) for error in errors()]
    assert len(off) == HELD_AGAINST.times
    assert sum(error <= BAND for error in off) == HELD_AGAINST.within_band
    assert statistics.median(off) == pytest.approx(HELD_AGAINST.median, abs=0.005)
    assert max(off) == pytest.approx(HELD_AGAINST.worst, abs=0.005)


def test_decode_speeds_on_one_to_eight_gpus_lie_within_a_fifth() -> None:
    assert max(abs(error) for error in errors()[: len(DECODED)]) < 0.2


def test_the_shares_of_an_l40s_are_those_of_its_published_times() -> None:
    l40s, seven = chips()["NVIDIA L40S"], decoder("Llama 2 7B", 8)
    peak = l40s.peak_per_s("low_bit")
    assert peak is not None
    of_operations = seven.prefill(2048).flops / 0.073 / peak
    eight_bit_kv = 0.5
    step = seven.step(64, 128 + 1024)
    of_bandwidth = (step.weight_bytes + eight_bit_kv * step.kv_bytes) * 1622 / 64 / l40s.bytes_per_s
    assert of_operations == pytest.approx(REACHED["gddr"].operations, abs=0.05)
    assert of_bandwidth == pytest.approx(REACHED["gddr"].memory, abs=0.05)
