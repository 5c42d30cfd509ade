"""`costopt doctor`: can `compress` work on this machine, and how well? Each problem comes with its remedy."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

Level = Literal["ok", "note", "problem"]

REQUIRED = ("torch", "onnx", "onnxruntime", "onnxscript", "numpy", "scipy")
"""Packages that `compress` imports. `onnxruntime-gpu` brings the same module as `onnxruntime`."""

IMPORTED = ("torch", "onnx", "onnxruntime")
"""Those with native code, which can be there and not load."""

OPTIONAL = ("onnxruntime-gpu", "onnxruntime-ep-openvino", "pyarrow", "safetensors")

LITTLE_MEMORY_BYTES = 2**30
"""Exporting a small model takes 399 MiB (peak of the process, measured 2026-11, torch 2.13.0 on Linux); twice over,
since another process serves what was exported, and some room."""

LITTLE_DISK_BYTES = 2**30
"""A run keeps one ONNX file a recipe; a gigabyte holds twenty of a model of 50 MB."""

BUSY_SHARE = 0.25
"""Of the cores; a judgement, not a measurement: other work should leave at least three quarters of them alone."""

DOT_PRODUCTS = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"}
"""CPU features that multiply 8-bit integers faster than float32."""

RAPL = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer. A `note` costs speed or certainty, a `problem` keeps `compress` from working."""

    topic: str
    words: str
    level: Level = "ok"
    remedy: str = ""


def doctor() -> None:
    """Say what this machine has and lacks, with the remedy for each problem."""
    worst_is_problem = False
    for finding in findings():
        worst_is_problem |= finding.level == "problem"
        typer.echo(f"{finding.level:<8} {finding.topic:<12} {finding.words}")
        if finding.remedy:
            typer.echo(f"{'':<21} -> {finding.remedy}")
    if worst_is_problem:
        raise typer.Exit(1)


def findings() -> Iterator[Finding]:
    """Everything that matters here, in the order in which it is read."""
    import platform
    import shutil

    import psutil

    from costopt import machine

    here, packages = machine.here(), installed()
    yield Finding("python", platform.python_version())
    yield from of_packages(packages)
    yield from of_clash(packages)
    yield of_cpu(here.cpu, here.cores, here.features)
    yield of_memory(machine.memory_bytes(), psutil.virtual_memory().available)
    yield of_disk(shutil.disk_usage(Path.cwd()).free)
    yield of_load(psutil.getloadavg()[0], here.cores)
    yield of_energy(RAPL)
    missing = {one.topic for one in of_packages(packages) if one.level == "problem"}
    broken = list(of_imports(name for name in IMPORTED if name not in missing))
    yield from broken
    if not (missing or broken):
        yield from of_providers()


def installed() -> dict[str, str]:
    """Versions of the packages that matter, by name; those that are missing are left out."""
    from importlib import metadata

    versions = {}
    for name in ("costopt", *REQUIRED, *OPTIONAL):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def of_packages(packages: Mapping[str, str]) -> Iterator[Finding]:
    """What is installed, and what is required and is not."""
    for name, version in packages.items():
        yield Finding(name, version)
    served = {*packages, *(["onnxruntime"] if "onnxruntime-gpu" in packages else [])}
    for name in REQUIRED:
        if name not in served:
            yield Finding(name, "not installed", "problem", f"pip install {name}")


def of_imports(modules: Iterable[str]) -> Iterator[Finding]:
    """What is installed and does not load: a library of the system that is missing, say."""
    import importlib

    for name in modules:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            first = str(error).partition("\n")[0]
            remedy = f"pip install --force-reinstall {name}, or install the library that it names"
            yield Finding(name, f"is installed and does not load: {first}", "problem", remedy)


def of_clash(packages: Mapping[str, str]) -> Iterator[Finding]:
    """Two packages that write the same files: whichever came last won, and removing one breaks the other."""
    if {"onnxruntime", "onnxruntime-gpu"} <= packages.keys():
        words = "onnxruntime and onnxruntime-gpu are both installed, and share their files: one of them is broken"
        remedy = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        yield Finding("clash", words, "note", remedy)


def of_cpu(name: str, cores: int, features: tuple[str, ...]) -> Finding:
    """The CPU, and whether it is quick with 8-bit integers."""
    words = f"{name}, {cores} cores; {', '.join(features) or 'features unknown'}"
    if not features or DOT_PRODUCTS & set(features):
        return Finding("cpu", words)
    return Finding("cpu", words, "note", "no 8-bit dot product (VNNI or dotprod): int8 may bring size and little speed")


def of_memory(total_bytes: int, available_bytes: int) -> Finding:
    """Whether two processes with torch fit."""
    from costopt import units

    words = f"{units.bytes(total_bytes)}, {units.bytes(available_bytes)} available"
    if available_bytes >= LITTLE_MEMORY_BYTES:
        return Finding("memory", words)
    return Finding(
        "memory", words, "note", f"close other programs: less than {units.bytes(LITTLE_MEMORY_BYTES)} is tight"
    )


def of_disk(free_bytes: int) -> Finding:
    """Whether a run's files fit beside the current folder."""
    from costopt import units

    words = f"{units.bytes(free_bytes)} free in the current folder"
    if free_bytes >= LITTLE_DISK_BYTES:
        return Finding("disk", words)
    return Finding("disk", words, "note", "make room, or name another disk: costopt compress --out FOLDER")


def of_load(running: float, cores: int) -> Finding:
    """Whether other work disturbs timings. `running` is the load average over a minute."""
    words = f"{running:.2f} processes running on {cores} cores over the last minute"
    if running <= BUSY_SHARE * cores:
        return Finding("load", words)
    return Finding("load", words, "note", "stop other work while measuring: intervals get wide, and runs get long")


def of_energy(folder: Path) -> Finding:
    """Whether the kernel shows an energy counter (RAPL), and whether it may be read."""
    counters = sorted(folder.glob("*rapl*/energy_uj")) if folder.exists() else []
    if not counters:
        return Finding("energy", "no energy counter (RAPL) on this machine; energy is not measured by this version")
    try:
        counters[0].read_text(encoding="ascii")
    except PermissionError:
        return Finding("energy", f"{counters[0]} is there, and only root may read it")
    return Finding("energy", f"{counters[0]} can be read; energy is not measured by this version yet")


def of_providers() -> Iterator[Finding]:
    """Which execution providers can work here, and why the others can't."""
    from costopt import plugins
    from costopt.providers import Provider
    from costopt.records import Spec

    for name in plugins.names("providers"):
        missing = plugins.make("providers", Spec(name), Provider).missing()
        yield Finding("provider", f"{name}: here" if missing is None else f"{name}: not here: {missing}")
