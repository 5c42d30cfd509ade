"""What is asked of a plan on paper: the options of the command line, checked, with what a traffic file says.

--arch llama --params 70e9 --context 8192 --rate 3          a decoder; the nearest published one gives its shape
--arch encoder --params 22.7e6 --tokens 128 --rate 50       one forward pass a request
--arch cnn --flops 1.1e9 --rate 50
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from costopt import units
from costopt.distributing import paper_models
from costopt.distributing.decoders import Workload
from costopt.distributing.paper_options import MOST, Options, check, given
from costopt.distributing.replicas import Limits
from costopt.distributing.training_plan import TrainingAsked
from costopt.errors import UsageError
from costopt.planning import demand, traffic_file
from costopt.planning.demand import BURSTY
from costopt.planning.traffic_file import Asked
from costopt.pricing.book import Book

SHARE = 0.99
"""Of the requests that a limit holds for: as in MLPerf Inference's server scenario."""

TRAINED_BITS = 16
"""Of weights as they are multiplied in training: `training_plan.STATE_BYTES`."""


@dataclass(frozen=True, slots=True)
class PaperAsked:
    """A workload, its traffic and its limits. `notes` say what was assumed."""

    workload: Workload
    traffic: Asked
    limits: Limits
    notes: tuple[str, ...]


def read(options: Options, config: Path | None, overrides: tuple[str, ...], book: Book) -> PaperAsked:
    """The options and the traffic file as one. Raises UsageError and ConfigError in words."""
    check(options)
    traffic = _traffic(options, config, overrides, book)
    match options.arch:
        case "cnn":
            workload, notes = paper_models.cnn(options)
        case "encoder":
            workload, notes = paper_models.encoder(options)
        case _:
            workload, notes = paper_models.decoder(options)
    told = (*notes, *_about_traffic(traffic))
    return PaperAsked(workload, traffic, _limits(options, traffic, workload), told)


def training(options: Options, batch_tokens: float | None, waiting_usd_per_hour: float) -> TrainingAsked:
    """The same model, to be trained. Raises UsageError in words."""
    check(options)
    if options.arch == "cnn":
        raise UsageError("--training: --arch cnn is not planned: its operations a step are not counted in tokens")
    _refuse_serving(options)
    tokens = given(batch_tokens, "--batch-tokens", options, "4e6")
    if not 1 <= tokens <= MOST:
        raise UsageError(
            f"--batch-tokens is {units.given(tokens)}: it must be 1 at least and {units.given(MOST)} at most"
        )
    if not 0 <= waiting_usd_per_hour <= MOST:
        told = units.given(waiting_usd_per_hour)
        raise UsageError(f"--waiting-usd-per-hour is {told}: it can't be less than 0 or more than {units.given(MOST)}")
    params = given(options.params, "--params", options, "8e9")
    like = paper_models.like_of(options, params)
    active = params if like is None else params * like.active_params / like.params
    return TrainingAsked(
        f"{options.arch} of {paper_models.counted(params)} parameters", params, active, tokens, waiting_usd_per_hour
    )


def _refuse_serving(options: Options) -> None:
    """What a training has no use for would be left out in silence. Raises UsageError."""
    served = (
        ("--rate", options.rate), ("--p99-ms", options.p99_ms), ("--ttft-ms", options.ttft_ms),
        ("--tpot-ms", options.tpot_ms), ("--context", options.context), ("--prompt-tokens", options.prompt_tokens),
        ("--answer-tokens", options.answer_tokens), ("--tokens", options.tokens),
    )  # fmt: skip
    for flag, value in served:
        if value is not None:
            raise UsageError(f"{flag}: training serves no requests; leave it out")
    for flag, bits in (("--bits", options.bits), ("--kv-bits", options.kv_bits)):
        if bits != TRAINED_BITS:
            raise UsageError(
                f"{flag} {bits}: training is planned in mixed precision of {TRAINED_BITS} bits; leave it out"
            )


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

_KEYS = {
    "work_usd": "work", "price": "machine", "max_wait_s": "batching", "extras": "load_balancer, storage or registry",
}  # fmt: skip
"""What the traffic file calls it, where that is another name."""


def _about_traffic(traffic: Asked) -> Iterator[str]:
    """What the traffic file says and nobody plans with here, and bursts."""
    said, plain = asdict(traffic), asdict(Asked(traffic.demand))
    others = [name for name in said if name not in _PLANNED and said[name] != plain[name]]
    if others:
        keys = ", ".join(_KEYS.get(name, name) for name in others)
        yield f"not planned with on paper, though the traffic file has it: {keys}"
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
