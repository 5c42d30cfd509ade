"""The options of a plan on paper as they stand on the command line, and what is wrong with them by themselves."""

import difflib
import math
from dataclasses import dataclass

from costopt import units
from costopt.errors import UsageError

DECODERS = ("llama", "gpt", "mistral", "mixtral", "decoder")
ARCHS = (*DECODERS, "encoder", "cnn")

WEIGHT_BITS = (32, 16, 8, 4)
KV_BITS = (16, 8, 4)

MOST = 1e18
"""Of any number but a rate or a limit: beyond all models, and small enough for products of them to stay finite."""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line's, by name; None is not given."""

    arch: str
    params: float | None = None
    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    bits: int = 16
    kv_bits: int = 16
    context: int | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    tokens: int | None = None
    flops: float | None = None
    rate: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    p99_ms: float | None = None


def check(options: Options) -> None:
    """Raises UsageError for the first value that can't be."""
    if options.arch not in ARCHS:
        near = difflib.get_close_matches(options.arch.lower(), ARCHS, n=1, cutoff=0.5)
        meant = f"; did you mean {near[0]}?" if near else "."
        raise UsageError(f"--arch {options.arch}: unknown{meant} There are {', '.join(ARCHS)}")
    for flag, value in _numbers(options):
        if value is not None and not 0 < value <= MOST:
            raise UsageError(f"{flag} is {_short(value)}: it must be more than 0 and at most {units.given(MOST)}")
    for flag, value in _unbounded(options):
        if value is not None and not 0 < value < math.inf:
            raise UsageError(f"{flag} is {units.given(value)}: it must be more than 0, and finite")
    for flag, bits, known in (("--bits", options.bits, WEIGHT_BITS), ("--kv-bits", options.kv_bits, KV_BITS)):
        if bits not in known:
            raise UsageError(f"{flag} is {bits}: write {', '.join(map(str, known[:-1]))} or {known[-1]}")
    for flag, value, only in _of_others(options):
        if value is not None and options.arch not in only:
            raise UsageError(f"{flag}: --arch {options.arch} has none; it belongs to {', '.join(only)}")


def _numbers(options: Options) -> tuple[tuple[str, float | None], ...]:
    return (
        ("--params", options.params), ("--layers", options.layers), ("--hidden", options.hidden),
        ("--heads", options.heads), ("--kv-heads", options.kv_heads), ("--context", options.context),
        ("--prompt-tokens", options.prompt_tokens), ("--answer-tokens", options.answer_tokens),
        ("--tokens", options.tokens), ("--flops", options.flops),
    )  # fmt: skip


def _unbounded(options: Options) -> tuple[tuple[str, float | None], ...]:
    return (
        ("--rate", options.rate), ("--ttft-ms", options.ttft_ms), ("--tpot-ms", options.tpot_ms),
        ("--p99-ms", options.p99_ms),
    )  # fmt: skip


def _short(value: float) -> str:
    """An integer may have more digits than a line, or than a float holds."""
    return f"over {units.given(MOST)}" if value > MOST else units.given(value)


def _of_others(options: Options) -> tuple[tuple[str, float | None, tuple[str, ...]], ...]:
    """Options that some architectures only have."""
    return (
        ("--context", options.context, DECODERS),
        ("--prompt-tokens", options.prompt_tokens, DECODERS),
        ("--answer-tokens", options.answer_tokens, DECODERS),
        ("--kv-heads", options.kv_heads, DECODERS),
        ("--kv-bits", None if options.kv_bits == KV_BITS[0] else options.kv_bits, DECODERS),
        ("--ttft-ms", options.ttft_ms, DECODERS),
        ("--tpot-ms", options.tpot_ms, DECODERS),
        ("--tokens", options.tokens, ("encoder",)),
        ("--flops", options.flops, ("cnn",)),
        ("--hidden", options.hidden, (*DECODERS, "encoder")),
        ("--heads", options.heads, (*DECODERS, "encoder")),
    )


def given(value: float | None, flag: str, options: Options, example: str) -> float:
    """The value of an option that must be given. Raises UsageError."""
    if value is None:
        raise UsageError(f"--arch {options.arch} needs {flag}, such as {flag} {example}")
    return value
