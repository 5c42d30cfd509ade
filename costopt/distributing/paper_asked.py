"""What is asked of a plan on paper: the options of the command line, checked, with what a traffic file says.

--arch llama --params 70e9 --context 8192 --rate 3          a decoder; the nearest published one gives its shape
--arch encoder --params 22.7e6 --tokens 128 --rate 50       one forward pass a request
--arch cnn --flops 1.1e9 --rate 50
"""

import difflib
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from costopt import units
from costopt.distributing import published
from costopt.distributing.decoders import KERNELS_PER_LAYER, Answering, Decoder, Workload
from costopt.distributing.forward import OnePass, encoder_flops
from costopt.distributing.published import Published
from costopt.distributing.replicas import Limits
from costopt.distributing.training_plan import TrainingAsked
from costopt.errors import UsageError
from costopt.planning import demand, traffic_file
from costopt.planning.demand import BURSTY
from costopt.planning.traffic_file import Asked
from costopt.pricing.book import Book

DECODERS = ("llama", "gpt", "mistral", "mixtral", "decoder")
ARCHS = (*DECODERS, "encoder", "cnn")

PROMPT_TOKENS, ANSWER_TOKENS = 550, 150
"""Where nothing else is said: the mean lengths that LLMPerf measures with (ray-project/llmperf-leaderboard, README)."""

INPUT_TOKENS = 128
"""Of an encoder's input where nothing else is said: the length that MiniLM's and BERT's published times are for."""

SHARE = 0.99
"""Of the requests that a limit holds for: as in MLPerf Inference's server scenario."""

CNN_LAYERS = 50
"""Where nothing else is said: about what ResNet-50 has (He et al. 2015, arXiv:1512.03385)."""

KERNELS_PER_CNN_LAYER = 2
"""A convolution with what is fused into it, and what stands alone (pooling, sums). Counted, not measured."""

NEAR = 2.0
"""How far, as a ratio, the nearest published model may be for its layers to be taken. A judgement: between Llama's 8B
and 13B they differ by a quarter, between 13B and 70B by two."""

LIKE = 1.1
"""Within this ratio the nearest published model is taken to be the one that is meant."""

WEIGHT_BITS = (32, 16, 8, 4)
KV_BITS = (16, 8, 4)


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


@dataclass(frozen=True, slots=True)
class PaperAsked:
    """A workload, its traffic and its limits. `notes` say what was assumed."""

    workload: Workload
    traffic: Asked
    limits: Limits
    notes: tuple[str, ...]


def read(options: Options, config: Path | None, overrides: tuple[str, ...], book: Book) -> PaperAsked:
    """The options and the traffic file as one. Raises UsageError and ConfigError in words."""
    _check(options)
    traffic = _traffic(options, config, overrides, book)
    match options.arch:
        case "cnn":
            workload, notes = _cnn(options)
        case "encoder":
            workload, notes = _encoder(options)
        case _:
            workload, notes = _decoder(options)
    told = (*notes, *_about_traffic(traffic))
    return PaperAsked(workload, traffic, _limits(options, traffic, workload), told)


def training(options: Options, batch_tokens: float | None, waiting_usd_per_hour: float) -> TrainingAsked:
    """The same model, to be trained. Raises UsageError in words."""
    _check(options)
    if options.arch == "cnn":
        raise UsageError("--training: --arch cnn is not planned: its operations a step are not counted in tokens")
    served = (
        ("--rate", options.rate),
        ("--p99-ms", options.p99_ms),
        ("--ttft-ms", options.ttft_ms),
        ("--tpot-ms", options.tpot_ms),
    )
    for flag, value in served:
        if value is not None:
            raise UsageError(f"{flag}: training serves no requests; leave it out")
    tokens = _given(batch_tokens, "--batch-tokens", options, "4e6")
    if not (math.isfinite(tokens) and tokens > 0):
        raise UsageError(f"--batch-tokens is {units.given(tokens)}: it must be more than 0")
    if not (math.isfinite(waiting_usd_per_hour) and waiting_usd_per_hour >= 0):
        raise UsageError(f"--waiting-usd-per-hour is {units.given(waiting_usd_per_hour)}: it can't be less than 0")
    params = _given(options.params, "--params", options, "8e9")
    like = _like(options, params)
    active = params if like is None else params * like.active_params / like.params
    return TrainingAsked(
        f"{options.arch} of {_counted(params)} parameters", params, active, tokens, waiting_usd_per_hour
    )


# ---------------------------------------------------------------------------------------- faults


def _check(options: Options) -> None:
    if options.arch not in ARCHS:
        near = difflib.get_close_matches(options.arch.lower(), ARCHS, n=1, cutoff=0.5)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"--arch {options.arch}: unknown{meant} There are {', '.join(ARCHS)}")
    for flag, value in _numbers(options):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise UsageError(f"{flag} is {units.given(value)}: it must be more than 0")
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
        ("--tokens", options.tokens), ("--flops", options.flops), ("--rate", options.rate),
        ("--ttft-ms", options.ttft_ms), ("--tpot-ms", options.tpot_ms), ("--p99-ms", options.p99_ms),
    )  # fmt: skip


def _of_others(options: Options) -> tuple[tuple[str, float | None, tuple[str, ...]], ...]:
    """Options that some architectures only have."""
    return (
        ("--context", options.context, DECODERS),
        ("--prompt-tokens", options.prompt_tokens, DECODERS),
        ("--answer-tokens", options.answer_tokens, DECODERS),
        ("--kv-heads", options.kv_heads, DECODERS),
        ("--ttft-ms", options.ttft_ms, DECODERS),
        ("--tpot-ms", options.tpot_ms, DECODERS),
        ("--tokens", options.tokens, ("encoder",)),
        ("--flops", options.flops, ("cnn",)),
        ("--hidden", options.hidden, (*DECODERS, "encoder")),
        ("--heads", options.heads, (*DECODERS, "encoder")),
    )


def _given(value: float | None, flag: str, options: Options, example: str) -> float:
    if value is None:
        raise UsageError(f"--arch {options.arch} needs {flag}, such as {flag} {example}")
    return value


# ---------------------------------------------------------------------------------------- traffic and limits


def _traffic(options: Options, config: Path | None, overrides: tuple[str, ...], book: Book) -> Asked:
    if config is None:
        if overrides:
            raise UsageError(f"--set {overrides[0]}: it overrides a key of the traffic file: add --config traffic.yaml")
        if options.rate is None:
            raise UsageError("--arch needs the traffic: --rate 3 (requests a second) or --config traffic.yaml")
        return Asked(replace(demand.constant(options.rate, 1.0), told="--rate"))
    if options.rate is not None:
        raise UsageError(
            f"--rate {units.given(options.rate)}: {config} says already how many requests come; keep one of the two"
        )
    return traffic_file.read(config, book, overrides)


_PLANNED = frozenset({"demand", "promise", "spare", "hours_per_month", "egress", "machines"})
"""What a plan on paper takes from a traffic file."""


def _about_traffic(traffic: Asked) -> Iterator[str]:
    """What the traffic file says and nobody plans with here, and bursts."""
    said, plain = asdict(traffic), asdict(Asked(traffic.demand))
    others = [name for name in said if name not in _PLANNED and said[name] != plain[name]]
    if others:
        yield f"not planned with on paper, though the traffic file has it: {', '.join(others)}"
    dispersion = traffic.demand.dispersion
    if dispersion is not None and dispersion > BURSTY:
        yield (
            f"arrivals come in bursts: a second's count has a variance of {units.significant(dispersion, 2)} times its "
            "mean, 1 where they are independent; waits will be longer than planned"
        )


def _limits(options: Options, traffic: Asked, workload: Workload) -> Limits:
    """In seconds. A pass that is the whole answer is limited as its first token."""
    promise = traffic.promise
    if promise is not None and options.p99_ms is not None:
        raise UsageError("--p99-ms: the traffic file promises a percentile already; keep one of the two")
    share = SHARE if promise is None else promise.share
    whole = _seconds(options.p99_ms if promise is None else promise.ms)
    if not workload.answer_tokens:
        return Limits(share, ttft_s=whole)
    return Limits(share, _seconds(options.ttft_ms), _seconds(options.tpot_ms), whole)


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1e3


# ---------------------------------------------------------------------------------------- models


def _decoder(options: Options) -> tuple[Workload, list[str]]:
    params = _given(options.params, "--params", options, "70e9")
    like = _like(options, params)
    decoder = _shaped(options, params, like)
    prompt = options.prompt_tokens or PROMPT_TOKENS
    answer = options.answer_tokens or ANSWER_TOKENS
    context = options.context or prompt + answer
    if context < prompt + answer:
        default = "" if options.prompt_tokens and options.answer_tokens else " (some of them by default)"
        raise UsageError(
            f"--context is {context}: prompt and answer have {prompt} + {answer} tokens{default}; "
            "give --prompt-tokens and --answer-tokens that fit in it"
        )
    told = f"requests of {units.count(prompt)} prompt and {units.count(answer)} answer tokens"
    default = (
        "" if options.prompt_tokens and options.answer_tokens else "; --prompt-tokens and --answer-tokens for yours"
    )
    notes = [*_about_shape(like, params), f"{told}, the longest {units.count(context)}{default}"]
    if like is not None and context > like.context:
        notes.append(f"{like.name} was published for {units.count(like.context)} tokens, not {units.count(context)}")
    return Answering(decoder, prompt, answer, context), notes


def _like(options: Options, params: float) -> Published | None:
    """The published model whose shape is taken; None where the user gives it all.

    Raises UsageError where none is near and something of the shape is missing.
    """
    flags = (
        ("--layers", options.layers), ("--hidden", options.hidden), ("--heads", options.heads),
        ("--kv-heads", options.kv_heads if options.arch in DECODERS else 1),
    )  # fmt: skip
    missing = [flag for flag, value in flags if value is None]
    if not missing:
        return None
    if not published.of_arch(options.arch):
        raise UsageError(f"--arch {options.arch} needs its shape: give {', '.join(missing)}")
    like = published.nearest(options.arch, params)
    if not 1 / NEAR <= like.params / params <= NEAR:
        near = f"the nearest, {like.name}, {_counted(like.params)}"
        has = f"no published {options.arch} has about {_counted(params)} parameters ({near})"
        raise UsageError(f"{has}: give {', '.join(missing)}")
    return like


def _shaped(options: Options, params: float, like: Published | None) -> Decoder:
    """The published shape, or what the user gives of it."""
    if like is None:
        return _own(options, params)
    heads = options.heads or like.heads
    if options.heads is None and options.hidden is None:
        head_dim = like.head_dim
    else:
        head_dim = _head_dim(options.hidden or like.hidden, heads)
    return Decoder(
        name=_name(options, params, like),
        params=params,
        active_params=params * like.active_params / like.params,
        layers=options.layers or like.layers,
        hidden=options.hidden or like.hidden,
        heads=heads,
        kv_heads=_kv_heads(options.kv_heads or min(like.kv_heads, heads), heads),
        head_dim=head_dim,
        weight_bits=options.bits,
        kv_bits=options.kv_bits,
        experts=like.experts,
        experts_used=like.experts_used,
    )


def _own(options: Options, params: float) -> Decoder:
    layers, hidden = options.layers or 0, options.hidden or 0
    heads, kv_heads = options.heads or 0, options.kv_heads or 0
    return Decoder(
        name=_name(options, params, None),
        params=params,
        active_params=params,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=_kv_heads(kv_heads, heads),
        head_dim=_head_dim(hidden, heads),
        weight_bits=options.bits,
        kv_bits=options.kv_bits,
    )


def _name(options: Options, params: float, like: Published | None) -> str:
    shaped = "" if like is None else f" (shaped as {like.name})"
    return f"{options.arch} of {_counted(params)} parameters{shaped}, {options.bits} bits"


def _counted(params: float) -> str:
    """`70.0B`, `22.7M`."""
    return f"{units.significant(params / 1e9)}B" if params >= 1e9 else f"{units.significant(params / 1e6)}M"


def _head_dim(hidden: int, heads: int) -> int:
    if hidden % heads:
        raise UsageError(f"--hidden is {hidden}: it must be a multiple of the {heads} heads (--heads)")
    return hidden // heads


def _kv_heads(kv_heads: int, heads: int) -> int:
    if heads % kv_heads:
        raise UsageError(f"--kv-heads is {kv_heads}: the {heads} heads (--heads) must be a multiple of it")
    return kv_heads


def _about_shape(like: Published | None, params: float) -> Iterator[str]:
    if like is not None and not 1 / LIKE <= like.params / params <= LIKE:
        shape = f"{like.name} with {_counted(like.params)} parameters"
        yield (
            f"layers, width and heads are those of {shape}, the nearest that is published; "
            "--layers --hidden --heads for yours"
        )


def _encoder(options: Options) -> tuple[Workload, list[str]]:
    params = _given(options.params, "--params", options, "22.7e6")
    like = _like(options, params)
    tokens = options.tokens or INPUT_TOKENS
    shape = None if like is None else (like.layers, like.hidden, like.heads)
    layers, hidden, heads = shape or (0, 0, 1)
    layers, hidden, heads = options.layers or layers, options.hidden or hidden, options.heads or heads
    _head_dim(hidden, heads)
    looked_up = 0 if like is None else like.vocabulary * like.hidden
    multiplied = params - looked_up if params > looked_up else params
    flops = encoder_flops(multiplied, layers, hidden, tokens)
    kernels = KERNELS_PER_LAYER * layers
    name = _name(options, params, like)
    workload = OnePass(name, flops, params, tokens, layers, hidden, heads, options.bits, kernels)
    notes = [*_about_shape(like, params), f"inputs of {units.count_of(tokens, 'token')}"]
    if options.tokens is None:
        notes[-1] += "; --tokens for yours"
    return workload, notes


def _cnn(options: Options) -> tuple[Workload, list[str]]:
    flops = _given(options.flops, "--flops", options, "1.1e9")
    params, layers = options.params or 0.0, options.layers or CNN_LAYERS
    name = f"cnn of {units.significant(flops / 1e9)} GFLOP, {options.bits} bits"
    notes = ["a multiply-add is two operations: papers that count it once print half of --flops"]
    if options.params is None:
        notes.append("only operations are counted, not the bytes of weights: give --params; activations never are")
    if options.layers is None:
        notes.append(
            f"{CNN_LAYERS} layers taken, {KERNELS_PER_CNN_LAYER} launches each on an accelerator; --layers for yours"
        )
    kernels = KERNELS_PER_CNN_LAYER * layers
    return OnePass(name, flops, params, layers=layers, weight_bits=options.bits, kernels=kernels), notes
