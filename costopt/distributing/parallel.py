"""One pass of a model that is spread over chips: how long it takes, and how much of that is communication.

tensor parallel     every chip has a slice of each layer; two all-reduces a layer        shortens a pass
pipeline parallel   every stage has some of the layers; what leaves one enters the next  fits more, shortens nothing
replicas            whole copies; no traffic between them                                serves more
"""

import math
from dataclasses import dataclass

from costopt.distributing.collectives import all_reduce_s, send_s
from costopt.distributing.decoders import Work
from costopt.distributing.networks import Link
from costopt.projecting.hardware import Chip, MemoryKind, Precision

ALL_REDUCES_PER_LAYER = 2
"""One after attention, one after the feed-forward part. Source: Shoeybi et al. 2019, arXiv:1909.08053, section 3."""

KERNEL_S = 5e-6
"""What a GPU's kernel costs before it computes: 5 to 10 microseconds each are usual (recalled); the low end, because
servers record launches once and replay them. Other accelerators are taken to need as long, for want of figures."""


@dataclass(frozen=True, slots=True)
class Reached:
    """The shares of its peak rates that a chip reaches, of operations and of bytes."""

    operations: float
    memory: float


REACHED: dict[MemoryKind, Reached] = {
    "hbm": Reached(0.75, 0.75),
    "low_power_gddr": Reached(0.5, 0.5),
    "gddr": Reached(0.5, 0.75),
    "ddr": Reached(0.5, 0.5),
}
"""By the class of a chip's memory. HBM (0.67 to 0.84 seen) and cards of 75 W: times of 54 fp32 transformer runs on 7
GPUs, published with NeuSight (Lee et al., ASPLOS 2025). Other GDDR: times of Llama 7B on an L40S, published with
TensorRT-LLM 0.6.1 (docs/source/performance.md): a prompt of 2048 tokens in 73 ms is 0.52 of its FP8 rate, 64 answers
of 2048 tokens at 1,622 tokens a second 0.76 of its bandwidth. Processors: encoders of MiniLM's and BERT-base's shape
in fp32 at 128 tokens, ONNX Runtime 1.31 on one core of an EPYC of Genoa's kind with other work beside it (2026-11):
0.38 to 0.80 of a core's rate in three rounds. Of its even share of bandwidth the same core read 1.2 to 4.8 times,
because it had what others left: a half stands for a machine at work, an assumption. TPUs and Neuron chips get their
memory's class, which is one too."""


@dataclass(frozen=True, slots=True)
class HeldAgainst:
    """How far projected times were from published measurements of decoders: shares of the measured times."""

    times: int
    within_band: int
    median: float
    worst: float


HELD_AGAINST = HeldAgainst(times=20, within_band=19, median=0.096, worst=0.38)
"""Llama 2 7B and 70B on 1 to 8 A100 80 GB: 13 decode speeds of gpt-fast (README of 2023-12), and 7 times to first
token and rates of TensorRT-LLM 0.6.1 in FP16. Nothing was fitted to them; tests/test_paper_times.py has them all."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Chips that hold one copy of a model: `tensor` in each of `stages`, `cores` counted as one chip in a processor.

    `link` joins the chips of a stage, `stage_link` the stages; None where there is but one. `machines` carry them: 1
    where they lie inside a part of one machine.
    """

    chip: Chip
    cores: int = 1
    tensor: int = 1
    stages: int = 1
    machines: int = 1
    link: Link | None = None
    stage_link: Link | None = None

    @property
    def chips(self) -> int:
        """How many chips hold the copy."""
        return self.tensor * self.stages


@dataclass(frozen=True, slots=True)
class Passed:
    """The parts of a pass, in seconds: `compute_s` on the chips, `exchange_s` between them, `launch_s` of kernels."""

    compute_s: float
    exchange_s: float = 0.0
    launch_s: float = 0.0

    @property
    def seconds(self) -> float:
        """The whole pass."""
        return self.compute_s + self.exchange_s + self.launch_s


def passed(work: Work, spread: Spread, precision: Precision, heads: int) -> Passed:
    """One pass through all stages, one after another.

    Compute: max(operations / (rate * reached), bytes / (bandwidth * reached)), of a chip's share; the longest share
    counts, where heads or layers can't be dealt out evenly.

    Raises ValueError where the chip has no rate at that precision.
    """
    peak = spread.chip.peak_per_s(precision)
    if peak is None:
        raise ValueError(f"{spread.chip.name} has no {precision} rate that is published")
    uneven = evenly(heads, spread.tensor) * evenly(work.layers, spread.stages)
    share = uneven / (spread.tensor * spread.cores)
    reached = REACHED[spread.chip.memory_kind]
    moved = work.weight_bytes + work.kv_bytes
    slowest = max(work.flops / (peak * reached.operations), moved / (spread.chip.bytes_per_s * reached.memory))
    kernels = 0 if spread.chip.kind == "cpu" else work.kernels
    return Passed(slowest * share, exchange_s(work, spread), kernels * KERNEL_S)


def exchange_s(work: Work, spread: Spread) -> float:
    """Two all-reduces a layer among the chips of a stage, and a send to each next stage, in seconds."""
    summed = handed = 0.0
    if spread.link is not None:
        rate = spread.link.bytes_per_s_among(spread.tensor)
        once = all_reduce_s(work.row_bytes, spread.tensor, rate, spread.link.latency_s)
        summed = ALL_REDUCES_PER_LAYER * work.layers * once
    if spread.stage_link is not None:
        handed = (spread.stages - 1) * send_s(
            work.row_bytes, spread.stage_link.bytes_per_s, spread.stage_link.latency_s
        )
    return summed + handed


def evenly(parts: int, among: int) -> float:
    """How much longer than the mean the longest share is when whole parts are dealt out; 1 where parts aren't known.

    40 heads among 16 chips: 3 for some, 2.5 on average, 1.2.
    """
    return math.ceil(parts / among) * among / parts if parts else 1.0


def bubble(stages: int, batches: int) -> float:
    """The share of time in which a stage waits for the pipeline to fill and drain: (p-1) / (m+p-1).

    `batches` is m, the parts that pass through one after another. A pipeline that always has as many in it as stages
    never drains, and has none.
    Source: Huang et al. 2018, "GPipe", arXiv:1811.06965; Narayanan et al. 2021, arXiv:2104.04473, section 2.2.
    """
    return (stages - 1) / (batches + stages - 1)
