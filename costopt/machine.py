"""The machine that this process runs on, as far as it can change a timing.

What counts is what this process may use, not what the hardware has: a container's CPU quota, an affinity mask and a
memory limit are part of the machine.
"""

import math
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from costopt.records import Machine

# Instruction sets that ONNX Runtime's and oneDNN's kernels choose between, as /proc/cpuinfo spells them: dot products
# of 8-bit integers (VNNI, dotprod, i8mm), half precision, and matrix tiles (AMX).
RELEVANT_FEATURES = (
    "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16",
    "amx_tile", "amx_int8", "amx_bf16",
    "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip

_CPUINFO = Path("/proc/cpuinfo")
_CGROUP = Path("/sys/fs/cgroup")

# The kernel's own share of the memory differs by a few MiB from one boot to the next; the machine stays the same.
_MEMORY_STEP_BYTES = 256 * 2**20


def here() -> Machine:
    """This machine, as this process may use it."""
    facts = _cpu_facts()
    return Machine(
        cpu=_cpu_name(facts),
        cores=cores(),
        memory_bytes=memory_bytes() // _MEMORY_STEP_BYTES * _MEMORY_STEP_BYTES,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        features=_features(facts),
    )


def cores(cgroup: Path = _CGROUP) -> int:
    """CPUs that this process may run on: hardware threads in its affinity mask, at most its cgroup's quota."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS and Windows have no affinity mask
        allowed = os.cpu_count() or 1
    return max(1, min(allowed, _quota_cpus(cgroup) or allowed))


def memory_bytes(cgroup: Path = _CGROUP) -> int:
    """Memory that this process may use: the machine's, at most its cgroup's limit."""
    total = psutil.virtual_memory().total
    limit = _first_line(cgroup / "memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def _quota_cpus(cgroup: Path) -> int | None:
    """Whole CPUs in a cgroup's quota; None without one. `cpu.max` holds "quota period" in microseconds (cgroup v2)."""
    quota, _, period = _first_line(cgroup / "cpu.max").partition(" ")
    return math.ceil(int(quota) / int(period)) if quota.isdigit() and period.isdigit() else None


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").partition("\n")[0].strip()
    except OSError:  # no cgroup v2 here: no limit is known
        return ""


def _cpu_facts() -> Mapping[str, str]:
    """The first processor's lines in /proc/cpuinfo; empty where there is none."""
    if not _CPUINFO.exists():
        return {}
    first = _CPUINFO.read_text(encoding="utf-8", errors="replace").partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _cpu_name(facts: Mapping[str, str]) -> str:
    if "model name" in facts:
        return facts["model name"]
    if platform.system() == "Darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or "unknown"
    return platform.processor() or platform.machine() or "unknown"


def _features(facts: Mapping[str, str]) -> tuple[str, ...]:
    """The relevant instruction sets, in the order of `RELEVANT_FEATURES`. x86 calls the line flags, Arm Features."""
    present = set(facts.get("flags", facts.get("Features", "")).split())
    return tuple(name for name in RELEVANT_FEATURES if name in present)
