"""In which ways can a machine of the price book hold a model? All that fit, or the reason why none does.

    one chip ─▶ 2, 4, 8 ... chips of the machine (tensor parallel) ─▶ several machines: a pipeline, each a stage
                                                                      (chips joined by a link of their own: tensor)

More chips than needed are ways too: they shorten a pass, and leave room for more requests at once.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from costopt import units
from costopt.distributing import networks
from costopt.distributing.decoders import Workload
from costopt.distributing.parallel import Spread, evenly
from costopt.pricing.offers import Offer
from costopt.projecting.hardware import Carried, Precision, carried_by

USABLE = 0.9
"""The share of memory that a server fills, the rest being for its runtime: vLLM's default gpu_memory_utilization."""

MOST_MACHINES = 64
"""That one copy of a model is spread over."""

BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
"""Requests in work at once that are looked at. A fixed list, so that a looser limit only adds to the choice."""

_BYTES_PER_GIB = 2**30

TOOLCHAINS = {"tpu": "XLA", "asic": "Neuron"}
"""Chips that run a model only after it went through a compiler of their own."""

NO_RUNTIME = "no maintained ONNX Runtime execution provider for FPGAs: nothing runs there without a design of its own"


@dataclass(frozen=True, slots=True)
class Way:
    """A way to hold the model on machines of a kind.

    An instance holds `copies` of it; where a copy takes several `machines` (`spread`), that is 1, and instances come in
    groups of that many. `most` is the largest batch for which there is memory, one of `BATCHES`. `bytes_per_chip` is
    what a chip (of a processor: the machine) holds at a batch of 1, of `memory_bytes`.
    """

    spread: Spread
    copies: int
    most: int
    bytes_per_chip: float
    memory_bytes: float


@dataclass(frozen=True, slots=True)
class Deployments:
    """The ways to hold a model on a machine, smallest first; without any, `why` not in words.

    `short` is how many times its chips' memory would be needed then; infinite where memory isn't what is missing.
    """

    offer: Offer
    carried: Carried | None
    ways: tuple[Way, ...]
    why: str = ""
    toolchain: str = ""
    short: float = math.inf


def precision_of(workload: Workload) -> Precision:
    """What the numbers are multiplied in."""
    return "fp32" if workload.bits > 16 else "fp16" if workload.bits > 8 else "int8"


def deployments(offer: Offer, workload: Workload) -> Deployments:
    """All ways that fit on one machine; where none does, on the fewest machines that do."""
    carried = carried_by(offer)
    if carried is None:
        return Deployments(offer, None, (), f"nothing known of {offer.accelerator or 'its processor'}")
    chip, precision = carried.chip, precision_of(workload)
    if chip.kind == "fpga":
        return Deployments(offer, carried, (), NO_RUNTIME)
    if chip.peak_per_s(precision) is None:
        return Deployments(offer, carried, (), f"{chip.name}: no {precision} rate is published")
    memory_bytes = _memory_bytes(offer, carried)
    if memory_bytes is None:
        return Deployments(offer, carried, (), "its memory is not known")
    toolchain = TOOLCHAINS.get(chip.kind, "")
    ways = tuple(_fitting(offer, carried, workload, memory_bytes))
    if ways:
        return Deployments(offer, carried, ways, "", toolchain)
    short = _held(workload, Spread(chip), 1) / (USABLE * memory_bytes * (1 if chip.kind == "cpu" else carried.count))
    return Deployments(offer, carried, (), _needs(carried, workload, memory_bytes, offer), toolchain, short)


def _memory_bytes(offer: Offer, carried: Carried) -> float | None:
    """Of one chip; of a machine whose processor computes, all of it."""
    if carried.chip.kind != "cpu":
        return None if carried.chip.memory_gb is None else carried.chip.memory_gb * 1e9
    return None if offer.memory_gib is None else offer.memory_gib * _BYTES_PER_GIB


def _fitting(offer: Offer, carried: Carried, workload: Workload, memory_bytes: float) -> Iterator[Way]:
    found = [way for spread in _inside(carried, workload) if (way := _way(spread, workload, memory_bytes, carried))]
    yield from found or _across(offer, carried, workload, memory_bytes)


def _inside(carried: Carried, workload: Workload) -> Iterator[Spread]:
    """The spreads within one machine."""
    if carried.chip.kind == "cpu":
        yield Spread(carried.chip, cores=carried.count)
        return
    link = networks.inside(carried.chip.name)
    for tensor in _degrees(carried.count):
        if tensor == 1 or (link is not None and tensor <= workload.heads):
            yield Spread(carried.chip, tensor=tensor, link=link if tensor > 1 else None)


def _degrees(most: int) -> tuple[int, ...]:
    """1, 2, 4 ... up to `most`, and `most` itself."""
    powers = [2**power for power in range(most.bit_length()) if 2**power <= most]
    return tuple(sorted({*powers, most}))


def _across(offer: Offer, carried: Carried, workload: Workload, memory_bytes: float) -> Iterator[Way]:
    """The fewest machines that hold it: stages of a pipeline, or one big stage where chips have a link of their own."""
    network = networks.between(offer.instance)
    if network is None:
        return
    machines = range(2, MOST_MACHINES + 1)
    if network.kind == "ICI":
        spreads = (
            Spread(carried.chip, tensor=n, machines=n, link=network)
            for n in machines
            if n.bit_count() == 1 and n <= workload.heads
        )
    else:
        *_, inside = _inside(carried, workload)
        spreads = (
            Spread(carried.chip, inside.cores, inside.tensor, n, n, inside.link, network)
            for n in machines
            if n <= workload.layers
        )
    ways = (_way(spread, workload, memory_bytes, carried) for spread in spreads)
    fewest = next((way for way in ways if way is not None), None)
    if fewest is not None:
        yield fewest


def _way(spread: Spread, workload: Workload, memory_bytes: float, carried: Carried) -> Way | None:
    most = max((one for one in BATCHES if _held(workload, spread, one) <= USABLE * memory_bytes), default=0)
    if not most:
        return None
    copies = 1 if spread.machines > 1 or spread.cores > 1 else carried.count // spread.tensor
    return Way(spread, copies, most, _held(workload, spread, 1), memory_bytes)


def _held(workload: Workload, spread: Spread, batch: int) -> float:
    """Bytes on the fullest chip. Each stage works on a batch of its own, so all stages' batches have their state there:
    p batches, and 1/p of the layers."""
    stages = evenly(workload.layers, spread.stages)
    weights = workload.weight_bytes * stages * evenly(workload.heads, spread.tensor) / spread.chips
    return weights + workload.state_bytes(batch, spread.tensor) * stages


def _needs(carried: Carried, workload: Workload, memory_bytes: float, offer: Offer) -> str:
    """`needs 141 GB, has 72 GB of 80 GB: 2 chips, it has 1; ...`."""
    whole = _held(workload, Spread(carried.chip), 1)
    usable = USABLE * memory_bytes
    chips = "" if carried.chip.kind == "cpu" else f": {units.count_of(math.ceil(whole / usable), 'chip')}, it has "
    has = f"{units.bytes(usable)} of {units.bytes(memory_bytes)}{' each' if carried.count > 1 and chips else ''}"
    told = f"needs {units.bytes(whole)}, can fill {has}{chips}{carried.count if chips else ''}"
    link = networks.between(offer.instance)
    if link is None:
        return f"{told}; what its network sustains is not known, so nothing is spread over several"
    if not workload.layers:
        return f"{told}; without --layers it is not spread over several"
    most = min(MOST_MACHINES, workload.heads if link.kind == "ICI" else workload.layers)
    if most == 1:
        return f"{told}; it has nothing to share among several"
    return f"{told}; {most} of them don't hold it either"
