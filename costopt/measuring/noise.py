"""What disturbs a measurement, read from the system while we measure.

    watch = Watch()          # before
    ...                      # measure, here and in child processes
    watch.noise()            # after: a `timings.Noise`; `faults(noise)` says what it means

Linux keeps counters that only rise: CPU time by kind, pages from swap, slow-downs for heat. `System` reads them all at
once, and the noise is a function of two such readings (`between`). What it means for a number is another question
(`noise_rules`). Where a system has no such files, as macOS, each figure is None: what is not known is not made up.

Other load is the CPUs' busy time less that of our own processes: this one and all below it. Those that live count by
their own time, those that ended by the time that their parent collected. So a child that ends while we watch is not
lost from the sum, and one that is frozen adds nothing to it.
"""

import os
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from costopt import machine
from costopt.measuring.noise_rules import faults as faults
from costopt.measuring.noise_rules import slackest
from costopt.measuring.noise_rules import together as together
from costopt.timings import Noise

TICKS_PER_S = 100
"""USER_HZ, the unit of CPU times in /proc: constant in Linux's interface (proc(5)), whatever the kernel's own tick."""

LEAST_S = 1.0
"""Shares of CPU time are told from this long on. In a second a CPU's time is 100 ticks, each given as a whole to who
runs when the timer fires (kernel documentation, admin-guide/cpu-load): a share is then good to 5 % of a CPU."""

CREDIBLE = 0.5
"""Share of the wall time that the CPUs must account for. Sandboxes show a /proc/stat that stands still (gVisor shows
zeros), where other load would be read as none at all; half is far from both."""

NAP_S = 1e-3


@dataclass(frozen=True, slots=True)
class CpuTicks:
    """Time of some CPUs together since the machine started, in ticks. Steal is no part of busy, both are of total."""

    busy: int
    steal: int
    total: int

    def since(self, earlier: "CpuTicks") -> "CpuTicks":
        """What passed since. Never negative, although iowait and steal are known to fall a little (proc(5))."""
        return CpuTicks(
            max(0, self.busy - earlier.busy), max(0, self.steal - earlier.steal), max(0, self.total - earlier.total)
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """All counters at one moment; None for what the system does not show.

    `cpus` may be used, `cores` of them at once (a container's quota). `own_ticks` is what our own processes used.
    `throttled` has one count for each CPU that shows it, in the order of their numbers.
    """

    at_s: float
    cpus: int
    cores: int
    ticks: CpuTicks | None
    own_ticks: int | None
    swapped_pages: int | None
    throttled: tuple[int, ...]
    governors: tuple[str, ...]


def usable_cpus() -> frozenset[int]:
    """Numbers of the CPUs in this process's affinity mask; of all CPUs where there is no such mask."""
    try:
        return frozenset(os.sched_getaffinity(0))
    except AttributeError:  # macOS has no affinity mask
        return frozenset(range(os.cpu_count() or 1))


@dataclass(frozen=True, slots=True)
class System:
    """Where the counters are, and which are ours: those of `cpus`, and of the processes `pids` and all below them.

    `cores` is how many of these CPUs can be used at once. `clock` gives seconds.
    """

    pids: frozenset[int] = field(default_factory=lambda: frozenset({os.getpid()}))
    cpus: Collection[int] = field(default_factory=usable_cpus)
    cores: int = field(default_factory=machine.cores)
    proc: Path = Path("/proc")
    devices: Path = Path("/sys/devices/system/cpu")
    clock: Callable[[], float] = time.monotonic

    def read(self) -> Reading:
        """All counters now."""
        return Reading(
            at_s=self.clock(),
            cpus=len(self.cpus),
            cores=min(self.cores, len(self.cpus)),
            ticks=_cpu_ticks(_text(self.proc / "stat"), self.cpus),
            own_ticks=_own_ticks(self.proc, self.pids),
            swapped_pages=_swapped_pages(_text(self.proc / "vmstat")),
            throttled=_throttled(self.devices, self.cpus),
            governors=_governors(self.devices, self.cpus),
        )


class Watch:
    """Watches the machine from when it is made until `noise` is asked for, which can be more than once.

    This process and all below it count as ours; `pids` name others that do, if there are any.
    """

    def __init__(self, pids: Iterable[int] = (), system: System | None = None) -> None:
        system = system or System()
        self._system = replace(system, pids=system.pids | frozenset(pids))
        self._before = self._system.read()

    def noise(self) -> Noise:
        """What the machine did since the watch began."""
        return between(self._before, self._system.read())


def between(before: Reading, after: Reading) -> Noise:
    """The noise between two readings of one system. CPU shares are None below `LEAST_S` seconds."""
    ticks = _passed(before, after)
    return Noise(
        seconds=after.at_s - before.at_s,
        cpus=after.cores,
        other_load=_other_load(before, after, ticks),
        steal=min(1.0, ticks.steal / ticks.total) if ticks else None,
        swapped_pages=_rise(before.swapped_pages, after.swapped_pages),
        throttled=_most_throttled(before.throttled, after.throttled),
        governor=slackest(after.governors),
    )


def _passed(before: Reading, after: Reading) -> CpuTicks | None:
    """CPU time that passed; None when it was too little to tell shares, or the counters stood still."""
    seconds = after.at_s - before.at_s
    if before.ticks is None or after.ticks is None or seconds < LEAST_S:
        return None
    passed = after.ticks.since(before.ticks)
    return passed if passed.total >= CREDIBLE * seconds * TICKS_PER_S * after.cpus else None


def _other_load(before: Reading, after: Reading, ticks: CpuTicks | None) -> float | None:
    """Share that others took of the CPU time that is ours to use.

    With a quota of 2 of 64 CPUs, 62 stand free beside us: others disturb only with what does not fit there. Where the
    kernel counts stolen time as a process's own, the share comes out too low, never too high.
    """
    own = _rise(before.own_ticks, after.own_ticks)
    if ticks is None or own is None:
        return None
    usable = ticks.total * after.cores / after.cpus
    others = max(0, ticks.busy - own) - (ticks.total - usable)
    return min(1.0, max(0.0, others / usable))


def _rise(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def _most_throttled(before: tuple[int, ...], after: tuple[int, ...]) -> int | None:
    """The most slowed CPU's events, not the sum: one event of a package is counted by each CPU in it."""
    return max((max(0, now - then) for then, now in zip(before, after, strict=False)), default=None)


# ---------------------------------------------------------------------------------------- files of the system


def _text(path: Path) -> str:
    """A file of the system; empty when it is not there or not ours to read, as in many containers."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cpu_ticks(stat: str, cpus: Collection[int]) -> CpuTicks | None:
    """CPU time of `cpus` from /proc/stat; None when one of them is not in it.

    The columns are user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in user already (proc(5)).
    """
    wanted = {f"cpu{number}" for number in cpus}
    rows = [words for line in stat.splitlines() if (words := line.split()) and words[0] in wanted]
    if len(rows) < len(wanted) or any(len(words) < 9 for words in rows):
        return None
    columns = [sum(int(words[column]) for words in rows) for column in range(1, 9)]
    user, nice, system, _, _, irq, softirq, steal = columns
    return CpuTicks(user + nice + system + irq + softirq, steal, sum(columns))


def _own_ticks(proc: Path, roots: frozenset[int]) -> int | None:
    """CPU time of some processes and all below them, with that of children that ended; None when none is there."""
    processes = {pid: found for pid in _pids(proc) if (found := _process(_text(proc / str(pid) / "stat")))}
    family: set[int] = set()
    newest = set(roots & processes.keys())
    while newest:
        family |= newest
        newest = {pid for pid, (parent, _) in processes.items() if parent in newest} - family
    return sum(processes[pid][1] for pid in family) if family else None


def _pids(proc: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(proc) if name.isdigit()]
    except OSError:  # no /proc here
        return []


def _process(stat: str) -> tuple[int, int] | None:
    """Parent and CPU time (own, and collected from children) from /proc/<pid>/stat; None when the process is gone.

    The name, in brackets, may hold brackets and blanks itself: fields count from the last bracket.
    """
    fields = stat.rpartition(")")[2].split()
    return (int(fields[1]), sum(int(time) for time in fields[11:15])) if len(fields) >= 15 else None


def _swapped_pages(vmstat: str) -> int | None:
    words = [line.split() for line in vmstat.splitlines()]
    return next((int(line[1]) for line in words if len(line) == 2 and line[0] == "pswpin"), None)


def _throttled(devices: Path, cpus: Collection[int]) -> tuple[int, ...]:
    """Times that each CPU was slowed down for the heat of its core or package. AMD and Arm show no such counter."""
    counts = []
    for number in sorted(cpus):
        folder = devices / f"cpu{number}" / "thermal_throttle"
        both = [_text(folder / f"{part}_throttle_count").strip() for part in ("core", "package")]
        if any(both):
            counts.append(sum(int(count) for count in both if count.isdigit()))
    return tuple(counts)


def _governors(devices: Path, cpus: Collection[int]) -> tuple[str, ...]:
    """The frequency governors in use, each once. Virtual machines show none: the host decides."""
    found = {_text(devices / f"cpu{number}" / "cpufreq" / "scaling_governor").strip() for number in cpus}
    return tuple(sorted(found - {""}))


# ---------------------------------------------------------------------------------------- waking up


def lateness_s(
    seconds: float, clock: Callable[[], float] = time.perf_counter, sleep: Callable[[float], None] = time.sleep
) -> tuple[float, ...]:
    """How late the system woke us from naps of a millisecond, over some seconds: seconds beyond what was asked for.

    A thread that waits for its turn to run is late; so is any request that such a machine serves.
    """
    late = []
    end = clock() + seconds
    while (begin := clock()) < end:
        sleep(NAP_S)
        late.append(max(0.0, clock() - begin - NAP_S))
    return tuple(late)
