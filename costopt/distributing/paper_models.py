"""The options of a plan on paper as a model: the nearest published one gives what they leave out."""

from collections.abc import Iterator

from costopt import units
from costopt.distributing import published
from costopt.distributing.decoders import KERNELS_PER_LAYER, Answering, Decoder, Workload
from costopt.distributing.forward import OnePass, encoder_flops
from costopt.distributing.paper_options import DECODERS, Options, given
from costopt.distributing.published import Published
from costopt.errors import UsageError

PROMPT_TOKENS, ANSWER_TOKENS = 550, 150
"""Where nothing else is said: the mean lengths that LLMPerf measures with (ray-project/llmperf-leaderboard, README)."""

INPUT_TOKENS = 128
"""Of an encoder's input where nothing else is said: a few sentences. A judgement."""

CNN_LAYERS = 50
"""Where nothing else is said: about what ResNet-50 has (He et al. 2015, arXiv:1512.03385)."""

KERNELS_PER_CNN_LAYER = 2
"""A convolution with what is fused into it, and what stands alone (pooling, sums). Counted, not measured."""

NEAR = 2.0
"""How far, as a ratio, the nearest published model may be for its layers to be taken. A judgement: between Llama's 8B
and 13B they differ by a quarter, between 13B and 70B by two."""

LIKE = 1.1
"""Within this ratio the nearest published model is taken to be the one that is meant."""


def decoder(options: Options) -> tuple[Workload, list[str]]:
    """A decoder that answers, and what was assumed. Raises UsageError for a shape that can't be."""
    params = given(options.params, "--params", options, "70e9")
    like = like_of(options, params)
    shaped = _shaped(options, params, like)
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
        notes.append(_beyond(like, context))
    return Answering(shaped, prompt, answer, context), notes


def _beyond(like: Published, tokens: int) -> str:
    return f"{like.name} was published for {units.count(like.context)} tokens, not {units.count(tokens)}"


def like_of(options: Options, params: float) -> Published | None:
    """The published model whose shape is taken; None where the user gives it all.

    A mixture of experts is always taken from a published one, because no option says what its experts are.
    Raises UsageError where none is near and something of the shape is missing.
    """
    flags = (
        ("--layers", options.layers), ("--hidden", options.hidden), ("--heads", options.heads),
        ("--kv-heads", options.kv_heads if options.arch in DECODERS else 1),
    )  # fmt: skip
    missing = [flag for flag, value in flags if value is None]
    mixture = any(one.experts > 1 for one in published.of_arch(options.arch))
    if not missing and not mixture:
        return None
    if not published.of_arch(options.arch):
        raise UsageError(f"--arch {options.arch} needs its shape: give {', '.join(missing)}")
    like = published.nearest(options.arch, params)
    if not 1 / NEAR <= like.params / params <= NEAR:
        near = f"the nearest, {like.name}, {counted(like.params)}"
        has = f"no published {options.arch} has about {counted(params)} parameters ({near})"
        if mixture:
            raise UsageError(f"{has}, and no option says what its experts are: plan with --params nearer to it")
        raise UsageError(f"{has}: give {', '.join(missing)}")
    return like


def _shaped(options: Options, params: float, like: Published | None) -> Decoder:
    """The published shape, or what the user gives of it."""
    if like is None:
        return _own(options, params)
    heads = options.heads or like.heads
    if heads == like.heads and options.hidden in (None, like.hidden):
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
    return f"{options.arch} of {counted(params)} parameters{shaped}, {options.bits} bits"


def counted(params: float) -> str:
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
    if like is not None and like.shape == "recalled":
        yield f"the layers, width and heads of {like.name} are from memory: check them"
    if like is not None and not 1 / LIKE <= like.params / params <= LIKE:
        shape = f"{like.name} with {counted(like.params)} parameters"
        yield (
            f"layers, width and heads are those of {shape}, the nearest that is published; "
            "--layers --hidden --heads for yours"
        )


def encoder(options: Options) -> tuple[Workload, list[str]]:
    """An encoder, and what was assumed. Raises UsageError for a shape that can't be."""
    params = given(options.params, "--params", options, "22.7e6")
    like = like_of(options, params)
    tokens = options.tokens or INPUT_TOKENS
    shape = None if like is None else (like.layers, like.hidden, like.heads)
    layers, hidden, heads = shape or (0, 0, 1)
    layers, hidden, heads = options.layers or layers, options.hidden or hidden, options.heads or heads
    _head_dim(hidden, heads)
    multiplied = params * (1.0 if like is None else 1 - like.vocabulary * like.hidden / like.params)
    flops = encoder_flops(multiplied, layers, hidden, tokens)
    kernels = KERNELS_PER_LAYER * layers
    name = _name(options, params, like)
    workload = OnePass(name, flops, params, tokens, layers, hidden, heads, options.bits, kernels, multiplied)
    yours = "; --tokens for yours" if options.tokens is None else ""
    notes = [*_about_shape(like, params), f"inputs of {units.count_of(tokens, 'token')}{yours}"]
    if like is not None and tokens > like.context:
        notes.append(_beyond(like, tokens))
    if like is None:
        notes.append("all parameters are taken to be multiplied: leave those of embeddings out of --params")
    return workload, notes


def cnn(options: Options) -> tuple[Workload, list[str]]:
    """A CNN, and what was assumed. Raises UsageError without its operations."""
    flops = given(options.flops, "--flops", options, "1.1e9")
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
