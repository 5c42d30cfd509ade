"""`costopt doctor`: can costopt work on this machine, and how well? Each problem comes with its remedy.

With `--format json`: a list of {"level": "ok | note | problem", "topic", "words", "remedy"}, in the order of the text.
"""

import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from costopt.timings import Noise

Level = Literal["ok", "note", "problem"]

REQUIRED = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "scipy")
"""Packages that `compress` imports. Every build of ONNX Runtime (`builds`) stands for `onnxruntime`."""

IMPORTED = ("torch", "onnx", "onnxruntime")
"""Those with native code, which can be there and not load."""

OPTIONAL = ("onnxruntime-ep-openvino", "pyarrow", "safetensors")

LITTLE_MEMORY_BYTES = 2**30
"""Exporting a small model takes 399 MiB (peak of the process, measured 2026-11, torch 2.13.0 on Linux); twice over,
since another process serves what was exported, and some room."""

LITTLE_DISK_BYTES = 2**30
"""A run keeps one ONNX file a recipe; a gigabyte holds twenty of a model of 50 MB."""

WATCH_S = 1.1
"""Just over the least time in which shares of CPU time can be told (`noise.LEAST_S`)."""

LATE_S = 1e-3
"""A judgement: where one nap in a hundred ends a millisecond late, one request in a hundred waits as long to be run."""

NVIDIA_SMI_LIMIT_S = 2.0
"""`nvidia-smi` answers at once where the driver is at work; where it hangs, so does the driver."""

DOT_PRODUCTS = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"}
"""CPU features that multiply 8-bit integers faster than float32."""

RAPL = Path("/sys/class/powercap")
CPUS = Path("/sys/devices/system/cpu")
NVIDIA = Path("/proc/driver/nvidia/gpus")
DRI = Path("/dev/dri")
DRM = Path("/sys/class/drm")
MAKERS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}


class Form(StrEnum):
    """How the answer is printed."""

    text = "text"
    json = "json"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer. A `note` costs speed or certainty, a `problem` keeps `compress` from working."""

    level: Level
    topic: str
    words: str
    remedy: str = ""


def doctor(
    form: Annotated[Form, typer.Option("--format", "-f", help="How the answer is printed.")] = Form.text,
) -> None:
    """Say what this machine has and lacks, with the remedy for each problem."""
    import json

    found = []
    for finding in findings():
        found.append(finding)
        if form is Form.text:
            _say(finding)
    if form is Form.json:
        typer.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    if any(finding.level == "problem" for finding in found):
        raise typer.Exit(1)


def _say(finding: Finding) -> None:
    typer.echo(f"{finding.level:<8} {finding.topic:<12} {finding.words}")
    if finding.remedy:
        typer.echo(f"{'':<21} -> {finding.remedy}")


def findings() -> Iterator[Finding]:
    """Everything that matters here, in the order in which it is read."""
    from costopt.providers import installed_builds

    builds = installed_builds()
    packages = installed(builds)
    software = [*of_packages(packages, builds), *of_clash(builds)]
    yield Finding("ok", "python", sys.version.partition(" ")[0])
    yield from software
    yield from of_hardware()
    yield from of_quiet()
    missing = {one.topic for one in software if one.level == "problem"}
    broken = list(of_imports(name for name in IMPORTED if name not in missing))
    yield from broken
    if not (missing or broken):
        yield from of_providers()


# ---------------------------------------------------------------------------------------- software


def installed(builds: Collection[str]) -> dict[str, str]:
    """Versions of the packages that matter, by name; those that are missing are left out."""
    from importlib import metadata

    versions = {}
    for name in dict.fromkeys(("costopt", *REQUIRED, *OPTIONAL, *builds)):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def of_packages(packages: Mapping[str, str], builds: Collection[str]) -> Iterator[Finding]:
    """What is installed, and what is required and is not."""
    for name, version in packages.items():
        yield Finding("ok", name, version)
    for name in REQUIRED:
        if name not in packages and not (name == "onnxruntime" and builds):
            yield Finding("problem", name, "not installed", f"pip install {name}")


def of_clash(builds: Sequence[str]) -> Iterator[Finding]:
    """Several packages that write the same files (`providers.clash`)."""
    from costopt.providers import clash

    found = clash(builds)
    if found is not None:
        words, remedy = found
        yield Finding("note", "clash", words, remedy)


def of_imports(modules: Iterable[str]) -> Iterator[Finding]:
    """What is installed and does not load: a library of the system that is missing, say."""
    import importlib

    for name in modules:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            first = str(error).partition("\n")[0]
            remedy = f"pip install --force-reinstall {name}, or install the library that it names"
            yield Finding("problem", name, f"is installed and does not load: {first}", remedy)


def of_providers() -> Iterator[Finding]:
    """Which execution providers can work here, and how to get the others."""
    from costopt import plugins
    from costopt.providers import Provider
    from costopt.records import Spec

    for name in plugins.names("providers"):
        missing = plugins.make("providers", Spec(name), Provider).missing()
        yield Finding("ok", "provider", f"{name}: here" if missing is None else f"{name}: not here: {missing}")


# ---------------------------------------------------------------------------------------- hardware


def of_hardware() -> Iterator[Finding]:
    """What the machine has, as far as this process may use it."""
    import shutil

    import psutil

    from costopt import machine
    from costopt.measuring import noise

    here, swap, available = machine.here(), psutil.swap_memory(), psutil.virtual_memory().available
    yield of_cpu(here.cpu, here.cores, here.features)
    yield from of_share(os.cpu_count() or 1, len(noise.usable_cpus()), here.cores)
    yield of_memory(machine.memory_bytes(), available)
    yield of_swap(swap.used, swap.total, available)
    yield of_disk(shutil.disk_usage(Path.cwd()).free)
    yield from of_gpus()
    yield of_energy(RAPL)
    counters = noise.System().read()
    yield of_frequency(counters.governors, turbo())
    yield of_heat(counters.throttled)


def of_cpu(name: str, cores: int, features: tuple[str, ...]) -> Finding:
    """The CPU, and whether it is quick with 8-bit integers."""
    words = f"{name}, {cores} cores; {', '.join(features) or 'features unknown'}"
    if not features or DOT_PRODUCTS & set(features):
        return Finding("ok", "cpu", words)
    return Finding("note", "cpu", words, "no 8-bit dot product (VNNI or dotprod): int8 may bring size and little speed")


def of_share(whole: int, allowed: int, usable: int) -> Iterator[Finding]:
    """Whether this process may use less than the machine: `allowed` CPUs by its mask, `usable` at once by its quota."""
    if allowed < whole:
        yield Finding("ok", "cores", f"{allowed} of the machine's {whole}, by this process's affinity mask")
    if usable < allowed:
        words = f"{usable} at once of {allowed}, by the container's quota: beyond it all threads are stopped together"
        yield Finding("note", "cores", words, f"measure with at most {usable} threads, or raise the container's quota")


def of_memory(total_bytes: int, available_bytes: int) -> Finding:
    """Whether two processes with torch fit."""
    from costopt import units

    words = f"{units.bytes(total_bytes)}, {units.bytes(available_bytes)} available"
    if available_bytes >= LITTLE_MEMORY_BYTES:
        return Finding("ok", "memory", words)
    remedy = f"close other programs: less than {units.bytes(LITTLE_MEMORY_BYTES)} is tight"
    return Finding("note", "memory", words, remedy)


def of_swap(used_bytes: int, total_bytes: int, available_bytes: int) -> Finding:
    """Whether memory is short. Idle pages in swap harm nobody, as long as there is room for them to come back."""
    from costopt import units

    if not total_bytes:
        return Finding("ok", "swap", "none")
    words = f"{units.bytes(used_bytes)} of {units.bytes(total_bytes)} in use"
    if used_bytes <= available_bytes:
        return Finding("ok", "swap", words)
    return Finding("note", "swap", words, "close other programs: what is in swap no longer fits into memory")


def of_disk(free_bytes: int) -> Finding:
    """Whether a run's files fit beside the current folder."""
    from costopt import units

    words = f"{units.bytes(free_bytes)} free in the current folder"
    if free_bytes >= LITTLE_DISK_BYTES:
        return Finding("ok", "disk", words)
    return Finding("note", "disk", words, "make room, or name another disk: costopt compress --out FOLDER")


def of_gpus(nvidia: Path = NVIDIA, dri: Path = DRI) -> Iterator[Finding]:
    """GPUs by NVIDIA's own tool, and by what the kernel's drivers show: `nvidia` and `dri` are their folders."""
    said = nvidia_smi()
    nodes = sorted(dri.glob("renderD*"))
    if said is not None:
        yield from of_nvidia(said)
    elif nvidia.exists():
        words = f"{len(list(nvidia.iterdir()))} behind NVIDIA's driver, and no nvidia-smi"
        yield Finding("note", "gpu", words, "install the tools and libraries that belong to the driver")
    elif not nodes:
        yield Finding("ok", "gpu", "none found")
    for node in nodes:
        yield of_render_node(node, os.access(node, os.R_OK | os.W_OK))


def nvidia_smi() -> tuple[int, str] | None:
    """Exit code and output of `nvidia-smi -L`, which lists one GPU a line; None where there is no such tool."""
    import shutil
    import subprocess

    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        ended = subprocess.run([tool, "-L"], capture_output=True, text=True, timeout=NVIDIA_SMI_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {NVIDIA_SMI_LIMIT_S:.0f} s"
    return ended.returncode, ended.stdout + ended.stderr


def of_nvidia(said: tuple[int, str]) -> Iterator[Finding]:
    """What `nvidia-smi -L` said: "GPU 0: NVIDIA H100 80GB HBM3 (UUID: ...)", a line each, or why it can't."""
    code, output = said
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    listed = [line.partition(" (UUID")[0] for line in lines if line.startswith(("GPU ", "MIG "))]
    if code == 0 and listed:
        yield from (Finding("ok", "gpu", name) for name in listed)
        return
    words = f"nvidia-smi is here and lists none: {lines[0] if lines else 'it says nothing'}"
    yield Finding("note", "gpu", words, "load or reinstall NVIDIA's driver; in a container, start it with --gpus all")


def of_render_node(node: Path, ours: bool, drm: Path = DRM) -> Finding:
    """The device file through which Mesa, ROCm or OpenVINO drive a GPU, with its maker's name (PCI vendor number)."""
    number = drm / node.name / "device" / "vendor"
    maker = MAKERS.get(number.read_text(encoding="ascii").strip() if number.exists() else "", "a GPU of another maker")
    if ours:
        return Finding("ok", "gpu", f"{maker}, at {node}")
    remedy = "sudo usermod -aG render,video $USER, and log in again"
    return Finding("note", "gpu", f"{maker}, at {node}, and not ours to use", remedy)


def of_energy(folder: Path) -> Finding:
    """Whether the kernel shows an energy counter (RAPL), and whether it may be read.

    Since 2020 only root may, because the counters tell secrets (CVE-2020-8694).
    """
    counters = sorted(folder.glob("*rapl*/energy_uj")) if folder.exists() else []
    if not counters:
        return Finding("ok", "energy", "no energy counter (RAPL): the CPU's energy can't be measured on this machine")
    try:
        counters[0].read_text(encoding="ascii")
    except PermissionError:
        python = os.path.realpath(sys.executable)
        remedy = f"sudo chmod a+r {folder}/*rapl*/energy_uj, or sudo setcap cap_dac_read_search=ep {python}"
        return Finding("note", "energy", f"{counters[0]} is there, and only root may read it", remedy)
    return Finding("ok", "energy", f"{counters[0]} can be read")


def turbo(cpus: Path = CPUS) -> bool | None:
    """Whether the CPU may clock up while it is cool; None where the system does not say. Two drivers, two files."""
    for file, on in (("intel_pstate/no_turbo", "0"), ("cpufreq/boost", "1")):
        if (cpus / file).exists():
            return (cpus / file).read_text(encoding="ascii").strip() == on
    return None


def of_frequency(governors: Collection[str], turbo: bool | None) -> Finding:
    """Whether the clock stays where it is."""
    from costopt.measuring import noise_rules
    from costopt.timings import Noise

    boost = {None: "turbo not shown", True: "turbo on: the clock depends on heat and load", False: "turbo off"}[turbo]
    if not governors:
        return Finding("ok", "frequency", f"no governor shown, as on virtual machines; {boost}")
    words = f"governor {', '.join(governors)}; {boost}"
    fixes = [fault.fix for fault in noise_rules.faults(Noise(0.0, 1, governor=noise_rules.slackest(governors)))]
    return Finding("note" if fixes else "ok", "frequency", words, "; ".join(fixes))


def of_heat(throttled: Collection[int]) -> Finding:
    """Whether the CPU had to slow down for its heat since the machine started; `throttled` has a count for each CPU."""
    from costopt import units

    if not throttled:
        return Finding("ok", "heat", "no count of slow-downs shown")
    if not max(throttled):
        return Finding("ok", "heat", "never slowed down for heat since the machine started")
    words = f"slowed down for heat {units.count(max(throttled))} times since the machine started"
    return Finding("note", "heat", words, "see to its cooling: what is measured during a slow-down is invalid")


# ---------------------------------------------------------------------------------------- how quiet it is


def of_quiet(seconds: float = WATCH_S) -> Iterator[Finding]:
    """What would disturb a measurement now, from watching the machine for a moment."""
    from costopt.measuring import noise

    watch = noise.Watch()
    late_s = noise.lateness_s(seconds)
    yield of_noise(watch.noise())
    yield of_wake_ups(late_s)


def of_noise(seen: "Noise") -> Finding:
    """What others took from us, judged by the rules that measurements are judged by. The governor has its own line."""
    from costopt import units
    from costopt.measuring import noise_rules

    shares = (("other load", seen.other_load), ("steal", seen.steal))
    counts = (("pages from swap", seen.swapped_pages), ("slow-downs for heat", seen.throttled))
    parts = [f"{name} {'not shown' if share is None else units.percent(share)}" for name, share in shares]
    parts += [f"{name} {units.count(number)}" for name, number in counts if number]
    words = f"{', '.join(parts)}, over {units.duration(seen.seconds)}"
    fixes = [fault.fix for fault in noise_rules.faults(replace(seen, governor=None))]
    return Finding("note" if fixes else "ok", "noise", words, "; ".join(fixes))


def of_wake_ups(late_s: Collection[float]) -> Finding:
    """How punctually the system's timer and scheduler wake a thread; `late_s` are seconds beyond what was asked for."""
    from costopt import units

    ordered = sorted(late_s)
    middle, rare = (ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99))
    words = (
        f"naps of 1 ms end {units.ms(1e3 * middle)} ms late, one in a hundred {units.ms(1e3 * rare)} ms, "
        f"the latest {units.ms(1e3 * ordered[-1])} ms"
    )
    if rare <= LATE_S:
        return Finding("ok", "wake-ups", words)
    return Finding("note", "wake-ups", words, "stop other programs, or choose a machine with CPUs of its own")
