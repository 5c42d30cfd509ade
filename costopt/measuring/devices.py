"""What devices draw: the table of published power figures, and which of its rows this machine is.

A row is found by the CPU's or GPU's own name. A cloud machine that only says "AMD EPYC" is told by instructions that
one generation brought in; the row's `recognised_by` says so in words. What can't be told has no figure: a wrong row
would be a wrong number that looks right.
"""

import csv
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from costopt.records import Machine

Kind = Literal["cpu", "gpu"]
Unit = Literal["core", "thread", "device"]

CSV = Path(__file__).with_name("devices.csv")
"""Columns: name, kind, pattern (regular expression, searched in the system's name for the device, in any case), unit
and units (what the power figures cover: 56 cores of a socket, 1 hardware thread, 1 device), idle_power_w (empty when
not published), max_power_w (a socket's or board's TDP, or measured under full load), as_of (ISO date of the
source or of its reading), source, note."""

_COLUMNS = ("name", "kind", "pattern", "unit", "units", "idle_power_w", "max_power_w", "as_of", "source", "note")


@dataclass(frozen=True, slots=True)
class Device:
    """One row. `idle_power_w` and `max_power_w` are of all `units` together.

    `recognised_by` says in words why this row was taken for a machine; it is empty in the table itself.
    """

    name: str
    kind: Kind
    pattern: str
    unit: Unit
    units: int
    idle_power_w: float | None
    max_power_w: float
    as_of: str
    source: str
    note: str
    recognised_by: str = ""


@dataclass(frozen=True, slots=True)
class _Trait:
    """A generation told by its instructions, where the name does not tell: it has `present` and lacks `absent`."""

    pattern: str
    present: str
    absent: str
    device: str
    words: str


# Linux names of features, as `machine.RELEVANT_FEATURES` lists them. AMX came to Xeons with Sapphire Rapids, AVX-512
# BF16 to EPYCs with the 4th generation and AVX-VNNI with the 5th (x86 feature flags in Linux's cpufeatures.h).
# A hypervisor may hide features of a later generation, so the words name the class and not a model.
_TRAITS = (
    _Trait(r"^Intel.*Xeon", "amx_tile", "", "Sapphire Rapids Xeon class", "has AMX: Sapphire Rapids or later"),
    _Trait(r"^AMD EPYC", "avx512_bf16", "avx_vnni", "EPYC 4th generation class", "has AVX-512 BF16 and no AVX-VNNI"),
)


@functools.cache
def read(path: Path = CSV) -> tuple[Device, ...]:
    """The rows of a device table, in their order. Raises ValueError for a row that breaks the rules, naming it."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, strict=True)
        if tuple(table.fieldnames or ()) != _COLUMNS:
            raise ValueError(f"{path.name}: the columns must be {', '.join(_COLUMNS)}, not {table.fieldnames}")
        rows = tuple(_device(row) for row in table)
    names = [row.name for row in rows]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path.name}: these names stand there twice: {', '.join(sorted(twice))}")
    return rows


@functools.cache
def _adapter() -> "TypeAdapter[Device]":
    return TypeAdapter(Device)


def _device(row: Mapping[str | None, object]) -> Device:
    if None in row:
        raise ValueError(f"device '{row['name']}': more fields than columns")
    # Text becomes the field's type or is refused; only an idle power may be empty: it was not published.
    device = _adapter().validate_python({**row, "idle_power_w": row["idle_power_w"] or None})
    idle_w = device.idle_power_w or 0.0
    if device.units < 1 or not 0 <= idle_w < device.max_power_w < math.inf:
        raise ValueError(f"device '{device.name}': needs units >= 1 and 0 <= idle_power_w < max_power_w")
    if not (device.pattern and device.as_of and device.source):
        raise ValueError(f"device '{device.name}': needs a pattern, a date and a source")
    re.compile(device.pattern)
    return device


def device_of(machine: Machine) -> Device | None:
    """The row of this machine's CPU, or None when neither its name nor its instructions tell."""
    return _by_name("cpu", machine.cpu) or _by_trait(machine)


def gpu_of(name: str) -> Device | None:
    """The row of a GPU by the name that NVML gives it ("NVIDIA H100 PCIe"), or None."""
    return _by_name("gpu", name)


def _by_name(kind: Kind, name: str) -> Device | None:
    """The first row that fits: the table holds single models before classes."""
    for row in read():
        if row.kind == kind and re.search(row.pattern, name, re.IGNORECASE):
            return replace(row, recognised_by=f"the name '{name}'")
    return None


def _by_trait(machine: Machine) -> Device | None:
    rows = {row.name: row for row in read()}
    for trait in _TRAITS:
        fits = trait.present in machine.features and trait.absent not in machine.features
        if fits and re.search(trait.pattern, machine.cpu, re.IGNORECASE):
            return replace(rows[trait.device], recognised_by=f"'{machine.cpu}' names no model, but it {trait.words}")
    return None
