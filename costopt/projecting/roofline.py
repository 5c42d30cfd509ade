"""How long a chip should take for a model by its peak rates: the longer of computing and moving bytes, node by node.

Roofline: Williams, Waterman and Patterson 2009, "Roofline: an insightful visual performance model for multicore
architectures", Communications of the ACM 52(4):65-76. It is always too quick: nothing reaches its peaks. So for
accelerators it is divided by what such chips were seen to reach, and every node pays for its launch.
"""

from collections.abc import Mapping, Sequence

from costopt.projecting.hardware import Chip, Kind, MemoryKind, Precision
from costopt.projecting.work import Work

REACHED: Mapping[MemoryKind, float] = {"hbm": 0.75, "low_power_gddr": 0.5, "gddr": 0.5, "ddr": 0.5}
"""The share of a roofline that chips reach, by their memory. Computed from the labels published with NeuSight (Lee et
al., ASPLOS 2025: fp32 transformer inference, 54 points on 7 GPUs): those with HBM reached 67 % to 84 %, boards of 70 W
48 % to 54 %. Boards with other memory were not among them, and are taken to be no better than the latter."""

LAUNCH_S = 7.5e-6
"""What starting one kernel on an accelerator takes: 5 to 10 microseconds (recalled, not measured by us)."""

CALL_S = 5.3e-6
NODE_S = 0.21e-6
"""What a call and a node cost on a CPU beside their work: fitted by `costopt calibrate` (one core of an AMD EPYC, ONNX
Runtime 1.31, 2026-11). Taken to be the same on every CPU."""

MODEL_SHARE = 0.9
"""Of a chip's memory, at most: its driver and allocator take the rest. A judgement."""


def roofline_s(works: Sequence[Work], chip: Chip, cores: float = 1.0, narrow: bool = True) -> float:
    """Seconds at the peaks of a chip (or of so many cores of it); without `narrow`, 8-bit work at float32 rates.

    A chip without published float32 rates (TPUs) computes in bfloat16.
    """
    total = 0.0
    for one in works:
        precision: Precision = one.precision if narrow or one.precision != "int8" else "fp32"
        rate = chip.peak_per_s(precision) or chip.peak_per_s("fp16") or chip.peak_per_s("int8")
        assert rate is not None, f"{chip.name} has no rate"  # hardware.csv is checked for one
        total += max(one.operations / rate, one.moved_bytes / chip.bytes_per_s) / cores
    return total


def accelerated_s(works: Sequence[Work], chip: Chip) -> float:
    """Seconds on an accelerator: what such chips reach of the roofline, and a launch for every node that does any.

    Sending inputs there and results back is not in it.
    """
    launched = sum(one.kind != "free" for one in works)
    return roofline_s(works, chip) / REACHED[chip.memory_kind] + launched * LAUNCH_S


def other_core_s(works: Sequence[Work], measured_s: float, here: Chip, there: Chip, cores: float) -> float:
    """Seconds on other cores, from those measured here, in the proportion of the two rooflines.

    `cores` is how many times as many cores of the other kind there are. Overheads stay as they are. What is in 8 bits
    is never taken to gain more than what is in float32 does: whether a kernel uses wider 8-bit units isn't known until
    it ran there.
    """
    overhead_s = min(CALL_S + NODE_S * len(works), measured_s)
    ratios = (
        roofline_s(works, there, cores, narrow) / roofline_s(works, here, narrow=narrow) for narrow in (True, False)
    )
    return overhead_s + (measured_s - overhead_s) * max(ratios)


EXECUTED: Mapping[Kind, str] = {
    "cpu": "",
    "gpu": "",
    "tpu": "runs on XLA, not on ONNX Runtime: another toolchain",
    "asic": "runs on AWS Neuron, not on ONNX Runtime: another toolchain",
    "fpga": "has no maintained execution provider of ONNX Runtime: it would take a design of its own",
}
"""Why a chip does not run an ONNX file as it is; "" where it does."""
