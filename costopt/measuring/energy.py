"""Joules per inference: measured by a counter where there is one, else modelled from published power figures.

    step_of ─▶ Step       by how much and how often the counter moves: what a window must dwarf
    measure ─▶ Metered    an idle window and a serving window, each stretched until the step is under 1 % of its reading
    modelled ─▶ Energy    (idle + (max - idle) * load) * seconds, for the cores that compute

A measured figure is the component's, not the wall's: RAPL sees the CPU package, neither fans nor power supply. It
can't be compared with one from a power analyser (MLPerf Power, arXiv:2410.12032), and never stands in one column with
a modelled figure: each carries its label and where it comes from.
"""

import importlib.util
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from costopt import units
from costopt.measuring.devices import Device, device_of
from costopt.records import Machine, Setting
from costopt.timings import Energy

STEP_SHARE = 0.01
"""The largest share of a reading that one step of the counter may be: a reading is off by less than a step."""

LEAST_WINDOW_S = 1.0
"""Reading a counter takes up to 10 ms (zeus's documentation): 1 % of this."""

MOST_WINDOW_S = 60.0
"""MLPerf Power measures for at least 60 s; a counter that needs longer than that is not worth the wait."""

STEPS_WATCHED = 16
WATCH_LIMIT_S = 10.0
POLL_S = 2e-4
"""RAPL counts about every millisecond (Khan et al. 2018, "RAPL in Action", doi:10.1145/3177754)."""

STRETCHES = 4
"""At constant power one stretch is enough; where the power wanders, this many show that it does."""

POWERCAP = Path("/sys/class/powercap/intel-rapl")
"""Linux shows the counters of Intel and AMD CPUs here (kernel documentation, power/powercap)."""


class Counter(Protocol):
    """A counter of energy that only grows."""

    @property
    def source(self) -> str:
        """What it counts, in words for the report."""

    def joules(self) -> float:
        """The count now, from any start."""


@dataclass(frozen=True, slots=True)
class Unmetered:
    """Why there is no measured figure, or why it would lie; and the remedy."""

    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class Step:
    """How a counter moves: by so many joules at once, so many seconds apart (medians, while idle)."""

    joules: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Window:
    """What a counter counted in a stretch of time, and how many inferences were done in it."""

    joules: float
    seconds: float
    inferences: int = 0

    @property
    def power_w(self) -> float:
        """Mean power in watts."""
        return self.joules / self.seconds


@dataclass(frozen=True, slots=True)
class Metered:
    """Two windows of one counter: nothing to do, and serving."""

    source: str
    idle: Window
    serving: Window

    @property
    def net_joules(self) -> float:
        """What serving took above what the machine draws anyway."""
        return self.serving.joules - self.idle.power_w * self.serving.seconds

    @property
    def energy(self) -> Energy:
        """Joules per inference above idle; the source shows both powers."""
        words = (
            f"{self.source}: {units.significant(self.serving.power_w)} W while serving, less "
            f"{units.significant(self.idle.power_w)} W idle; {self.serving.inferences} inferences in "
            f"{units.duration(self.serving.seconds)}"
        )
        return Energy(self.net_joules / self.serving.inferences, "measured", words)


# ---------------------------------------------------------------------------------------- measured


def stretch(step: Step, window: Window) -> float:
    """Seconds that a window like `window` must have for the step to be at most STEP_SHARE of its reading.

    Where the step is due to slow updates it takes the same share of the time as of the energy. The answer is at most
    the window's own length when that is enough, and infinite when it read nothing.
    """
    if window.joules <= 0:
        return float("inf")
    by_energy = step.joules / STEP_SHARE / window.power_w
    return max(by_energy, step.seconds / STEP_SHARE)


@dataclass(frozen=True, slots=True)
class Meter:
    """A counter with the clock that goes with it. Tests bring a clock of their own."""

    counter: Counter
    clock: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep

    def measure(self, serve: Callable[[float], int]) -> Metered | Unmetered:
        """Measure idling, then serving.

        `serve(seconds)` serves for about that long and returns how many inferences were done in all, those of its own
        warm-up included; until it is called, nothing of ours may run.
        """
        step = self.step()
        if isinstance(step, Unmetered):
            return step
        idle = self._window(step, self._rest)
        if isinstance(idle, Unmetered):
            return idle
        serving = self._window(step, serve)
        return serving if isinstance(serving, Unmetered) else _trusted(Metered(self.counter.source, idle, serving))

    def step(self) -> Step | Unmetered:
        """Watch the counter move. It is Unmetered when it stands still, or goes backwards."""
        begin = moved = self.clock()
        last = self.counter.joules()
        jumps, waits = list[float](), list[float]()
        while len(jumps) <= STEPS_WATCHED and self.clock() - begin < WATCH_LIMIT_S:
            self.sleep(POLL_S)
            now, count = self.clock(), self.counter.joules()
            if count != last:
                jumps.append(count - last)
                waits.append(now - moved)
                moved, last = now, count
        if len(jumps) < 2:
            return Unmetered(f"{self.counter.source}: the counter stands still", _FIX_COUNTER)
        if min(jumps) < 0:
            return Unmetered(f"{self.counter.source}: the counter went backwards", _FIX_COUNTER)
        # The first wait began somewhere between two steps.
        return Step(statistics.median(jumps[1:]), statistics.median(waits[1:]))

    def _rest(self, seconds: float) -> int:
        self.sleep(seconds)
        return 0

    def _window(self, step: Step, act: Callable[[float], int]) -> Window | Unmetered:
        """A window of `act` that is long enough for the counter's step."""
        seconds = max(LEAST_WINDOW_S, step.seconds / STEP_SHARE)
        for _ in range(STRETCHES):
            if seconds > MOST_WINDOW_S:
                return Unmetered(f"{self.counter.source}: its steps need windows of {seconds:.0f} s", _FIX_COUNTER)
            window = self._count(seconds, act)
            if window.joules <= 0:
                return Unmetered(f"{self.counter.source}: it counted {window.joules:.3g} J", _FIX_COUNTER)
            wanted = stretch(step, window)
            if wanted <= window.seconds:
                return window
            seconds = 1.1 * wanted  # power is never quite constant
        return Unmetered(f"{self.counter.source}: the power changes too much from window to window", _FIX_BUSY)

    def _count(self, seconds: float, act: Callable[[float], int]) -> Window:
        begin, before = self.clock(), self.counter.joules()
        inferences = act(seconds)
        after, end = self.counter.joules(), self.clock()
        return Window(after - before, end - begin, inferences)


_FIX_COUNTER = "use the modelled figure, or measure on another machine"
_FIX_BUSY = "measure again when nothing else runs on this machine"


def _trusted(metered: Metered) -> Metered | Unmetered:
    """Refuse a difference that the steps could have made: less than one in each window."""
    if metered.serving.inferences < 1:
        return Unmetered("no inference was finished while energy was measured", "give it more time")
    if metered.net_joules <= 2 * STEP_SHARE * metered.serving.joules:
        powers = f"{metered.serving.power_w:.3g} W while serving, {metered.idle.power_w:.3g} W idle"
        return Unmetered(f"{metered.source}: {powers}: what serving takes can't be told from idling", _FIX_BUSY)
    return metered


@dataclass(frozen=True, slots=True)
class Rapl:
    """The packages of all CPU sockets, read through zeus, which also follows the counters' wrap-arounds.

    Only zones called "package-N" count: "core" and "uncore" lie inside of them and "psys" around them, so a sum over
    all zones would count energy twice.
    """

    zones: tuple[Any, ...]
    """`zeus.device.cpu.rapl.RAPLCPU` of each package."""

    @property
    def source(self) -> str:
        """How many packages it counts."""
        return f"RAPL, {units.count_of(len(self.zones), 'CPU package')}"

    def joules(self) -> float:
        """All packages together."""
        millijoules: float = sum(zone.get_total_energy_consumption().cpu_mj for zone in self.zones)
        return millijoules / 1e3


def rapl(root: Path = POWERCAP) -> Rapl | Unmetered:
    """The CPU's energy counters, or why they can't be read here and what to do."""
    packages = [zone for zone in sorted(root.glob("intel-rapl:*")) if _is_package(zone)]
    if not packages:
        return Unmetered(
            f"no energy counter: {root} holds no CPU package (virtual machines and many containers have none)",
            "use the modelled figure, or measure on a machine of your own",
        )
    closed = [zone / "energy_uj" for zone in packages if not os.access(zone / "energy_uj", os.R_OK)]
    if closed:
        # Since CVE-2020-8694 (Platypus) Linux lets root alone read it.
        return Unmetered(f"{closed[0]} can't be read by this user", f"sudo chmod a+r {root}/intel-rapl:*/energy_uj")
    if importlib.util.find_spec("zeus") is None:
        return Unmetered("zeus, which reads the energy counters, is not installed", "pip install 'costopt[energy]'")
    from zeus.device.cpu.rapl import RAPLCPU

    return Rapl(tuple(RAPLCPU(int(zone.name.partition(":")[2]), str(root)) for zone in packages))


def _is_package(zone: Path) -> bool:
    try:
        return (zone / "name").read_text(encoding="ascii").startswith("package")
    except OSError:  # it went away, or is no zone
        return False


# ---------------------------------------------------------------------------------------- modelled


def modelled(device: Device, seconds_per_inference: float, threads: int, load: float = 1.0) -> Energy | None:
    """Joules per inference from published power: (idle + (max - idle) * load) * seconds, for the part that computes.

    That part is `threads` hardware threads or, where a row is about a socket, its share of the socket's TDP by cores,
    each thread keeping one core busy; of a GPU it is the whole device. `load` is the share of the time in which it
    computes: 1 while inferences follow each other. No PUE: energy at the server. None when the load is under 1 and
    the idle power is not published. Raises ValueError for a load outside of 0 to 1.
    Source: Lannelongue et al. 2021, "Green Algorithms", doi:10.1002/advs.202100707 (TDP by cores); idle and linear
    load as in Cloud Carbon Footprint's methodology.
    """
    if not 0 <= load <= 1:
        raise ValueError(f"load is a share from 0 to 1, not {load}")
    if device.idle_power_w is None and load < 1:
        return None
    idle_w = device.idle_power_w or 0.0
    power_w = (idle_w + (device.max_power_w - idle_w) * load) * _share(device, threads)
    joules = power_w * seconds_per_inference
    low, high = (factor * joules for factor in BAND)
    return Energy(joules, "modelled", _words(device, power_w, threads, load), low, high)


BAND = (0.8, 2.9)
"""What modelled energy may be over its figure. Public sources disagree so far: Teads' dataset gives an AWS c5.metal 2.4
(full load) to 2.9 times (idle) the power that its 96 threads of Cascade Lake have in Cloud Carbon Footprint's table of
2026-03-09; the lower end is a judgement."""


def at(watts: float, seconds_per_inference: float) -> Energy:
    """Joules per inference of a machine whose power while it serves was measured at the plug: watts * seconds."""
    return Energy(watts * seconds_per_inference, "modelled", f"energy.watts of the budget file: {units.given(watts)} W")


ON_THE_CPU = frozenset({"cpu", "openvino", "xnnpack", "torch"})
"""Providers (and the reference) whose time is the CPU's, so that its power may be counted."""


def modelled_on(machine: Machine, setting: Setting, seconds_per_inference: float) -> Energy | None:
    """The same for a machine and a way to serve; None where its CPU is not known for sure, or does not compute."""
    provider = setting.provider
    elsewhere = provider.name not in ON_THE_CPU or provider.options.get("device", "CPU") != "CPU"
    device = None if elsewhere else device_of(machine)
    return None if device is None else modelled(device, seconds_per_inference, min(setting.threads, machine.cores))


def _share(device: Device, threads: int) -> float:
    return 1.0 if device.unit == "device" else threads / device.units


def _words(device: Device, power_w: float, threads: int, load: float) -> str:
    part = device.name if device.unit == "device" else f"{units.count_of(threads, 'thread')} of {device.name}"
    known_by = f" (known by {device.recognised_by})" if device.recognised_by else ""
    at = "full load" if load == 1 else f"{units.percent(load)} load"
    return f"{part}{known_by}: {units.significant(power_w)} W at {at}, PUE 1; {device.source}, {device.as_of}"
