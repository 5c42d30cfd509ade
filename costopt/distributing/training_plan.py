"""Training on paper: each machine of the book as one of n that share a batch, and from which n on more don't pay.

    machine ─▶ seconds of a step on it alone (operations, exchange between its chips) ─▶ `TrainingStep` over its network

A machine holds the whole state, spread over its chips; n machines deal out the batch and sum their gradients.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from costopt import units
from costopt.distributing import networks
from costopt.distributing.collectives import all_reduce_s
from costopt.distributing.deployments import NO_RUNTIME, TOOLCHAINS, USABLE
from costopt.distributing.parallel import REACHED
from costopt.distributing.training_steps import MOST_MACHINES, TrainingStep
from costopt.pricing.offers import Offer
from costopt.projecting.hardware import Carried, Chip, carried_by

STATE_BYTES = 16
"""Bytes a parameter in mixed-precision training with Adam: weight and gradient in 16 bits, and weight, momentum and
variance in 32. Source: Rajbhandari et al. 2019, "ZeRO", arXiv:1910.02054, section 3.1. Activations come on top: they
are taken to be computed again."""

WEIGHT_BYTES = 2
"""Of each parameter, as it is multiplied: what every chip needs of the whole model to compute."""

GRADIENT_BYTES = 2
"""Of each parameter, summed over all machines after a step."""

FLOPS_PER_PARAM_AND_TOKEN = 6
"""Two forward, four backward. Source: Kaplan et al. 2020, arXiv:2001.08361, section 2.1."""

FOR_ANSWERS_ONLY = frozenset({"AWS Inferentia2"})
"""Chips that are sold for inference alone, by their makers' pages."""


@dataclass(frozen=True, slots=True)
class TrainingAsked:
    """A model of `params`, of which a token passes `active_params`; a step has `batch_tokens` on all machines together.

    `waiting_usd_per_hour` is what it costs that somebody waits for the result.
    """

    name: str
    params: float
    active_params: float
    batch_tokens: float
    waiting_usd_per_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """A machine: `step` over its network, whose `compute_s` is the whole step on it alone; None where `why` says so.

    `fastest` and `worth` are the numbers of machines beyond which a step takes longer, and costs more with the waiting.
    Both are 1 where the network is not known: then it can't be spread.
    """

    offer: Offer
    step: TrainingStep | None
    fastest: int = 1
    worth: int = 1
    why: str = ""
    network: str = ""
    toolchain: str = ""


def rows(asked: TrainingAsked, offers: Sequence[Offer]) -> tuple[TrainingRow, ...]:
    """All machines, the one that trains a token at the least cost first."""
    return tuple(sorted((row(asked, one) for one in offers), key=lambda one: (_usd(asked, one), one.offer.instance)))


def row(asked: TrainingAsked, offer: Offer) -> TrainingRow:
    """One machine."""
    carried = carried_by(offer)
    why = _why_not(asked, offer, carried)
    if carried is None or why:
        return TrainingRow(offer, None, why=why)
    network, toolchain = networks.between(offer.instance), TOOLCHAINS.get(carried.chip.kind, "")
    alone_s = _alone_s(asked, carried)
    if network is None:
        step = TrainingStep(alone_s, 0.0, math.inf, 0.0)
        return TrainingRow(offer, step, network="not known", toolchain=toolchain)
    rate = network.bytes_per_s_among(MOST_MACHINES)
    step = TrainingStep(alone_s, GRADIENT_BYTES * asked.params, rate, network.latency_s)
    worth = step.most_worth(offer.usd_per_hour, asked.waiting_usd_per_hour)
    return TrainingRow(offer, step, step.fastest(), worth, network=network.kind, toolchain=toolchain)


def usd_per_billion_tokens(asked: TrainingAsked, row: TrainingRow, n: int) -> float | None:
    """US dollars for 10^9 tokens on n machines, without the waiting; None where it can't be trained there."""
    if row.step is None:
        return None
    return row.step.usd(n, row.offer.usd_per_hour) / asked.batch_tokens * 1e9


def _usd(asked: TrainingAsked, one: TrainingRow) -> float:
    if one.step is None:
        return math.inf
    return one.step.usd(one.worth, one.offer.usd_per_hour, asked.waiting_usd_per_hour)


def _alone_s(asked: TrainingAsked, carried: Carried) -> float:
    """6 P tokens / (chips * rate * reached), and what the chips exchange: `_exchanged_inside_s`."""
    chip = carried.chip
    peak = chip.peak_per_s("fp16")
    if peak is None:
        raise ValueError(f"{chip.name} has no fp16 rate that is published")
    flops = FLOPS_PER_PARAM_AND_TOKEN * asked.active_params * asked.batch_tokens
    computed_s = flops / (carried.count * peak * REACHED[chip.memory_kind].operations)
    return computed_s + _exchanged_inside_s(asked, carried)


def _exchanged_inside_s(asked: TrainingAsked, carried: Carried) -> float:
    """The chips of a machine share optimizer and gradients: as much as one all-reduce, half of it of gradients and half
    of new weights. Where weights don't fit on each chip either, they are gathered twice a step: half as much again.

    Source: Rajbhandari et al. 2019, "ZeRO", arXiv:1910.02054, section 7.
    """
    chip, n = carried.chip, carried.count
    link = networks.inside(chip.name) if n > 1 else None
    if link is None:
        return 0.0
    rate = link.bytes_per_s_among(n)
    once_s = all_reduce_s(GRADIENT_BYTES * asked.params, n, rate, link.latency_s)
    per_chip = asked.params * (WEIGHT_BYTES + (STATE_BYTES - WEIGHT_BYTES) / n)
    fits = chip.memory_gb is not None and per_chip <= USABLE * chip.memory_gb * 1e9
    return once_s if fits else 1.5 * once_s


def _why_not(asked: TrainingAsked, offer: Offer, carried: Carried | None) -> str:
    if carried is None:
        return f"nothing known of {offer.accelerator or 'its processor'}"
    chip = carried.chip
    if chip.kind == "fpga":
        return NO_RUNTIME
    if chip.name in FOR_ANSWERS_ONLY:
        return f"{chip.name} is made for inference"
    if chip.peak_per_s("fp16") is None:
        return f"{chip.name}: no fp16 rate is published"
    if carried.count > 1 and chip.kind != "cpu" and networks.inside(chip.name) is None:
        return f"the link between its {carried.count} x {chip.name} is not known"
    memory_bytes, needed = _memory_bytes(offer, carried, chip), STATE_BYTES * asked.params
    if memory_bytes is None:
        return "its memory is not known"
    if needed > USABLE * memory_bytes:
        return f"needs {units.bytes(needed)}, can fill {units.bytes(USABLE * memory_bytes)}"
    return ""


def _memory_bytes(offer: Offer, carried: Carried, chip: Chip) -> float | None:
    if chip.kind == "cpu":
        return None if offer.memory_gib is None else offer.memory_gib * 2**30
    return None if chip.memory_gb is None else carried.count * chip.memory_gb * 1e9
