"""How many watts a machine draws at a load: from published figures of whole machines, processors and accelerators.

A whole machine where one was measured; else its vCPUs by the processor's generation, plus its accelerators; and where
neither is known, nothing: a guess would be a wrong number that looks right. Each figure has a band, for public sources
disagree: of one and the same machine (c5.metal) the dataset of whole machines has 2.4 times the power at full load, and
2.9 times idle, that the table per thread gives its 96 threads. So the table's figures go up to 2.9 times as high, and
those of whole machines as far down; below the table's, and above the others, a fifth is allowed for parts that neither
counts (a judgement).
"""

import csv
import functools
import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from costopt import units
from costopt.measuring import devices
from costopt.measuring.devices import Device
from costopt.powering import carbon
from costopt.verdict import Interval

Unit = Literal["machine", "vcpu", "device"]

CSV = Path(__file__).with_name("draws.csv")
"""Columns: name, unit (what the figures are of), pattern (regular expression for an instance, provider/type),
accelerator (its name in the price book), device and devices (the row of `measuring.devices` that has the figures, and
how many units of it make one here), or else idle_w, tenth_w, half_w, max_w (watts at no load, 10, 50 and 100 %; the two
in between may be empty), as_of (ISO) and source; low and high (factors: the band), note."""

_COLUMNS = (
    "name", "unit", "pattern", "accelerator", "device", "devices", "idle_w", "tenth_w", "half_w", "max_w", "low",
    "high", "as_of", "source", "note",
)  # fmt: skip

IDLE_OF_MAX = (0.15, 0.25, 0.33)
"""Idle over full power of a server whose idle power is not known: least, middle and most of the generations of Xeon and
EPYC in Cloud Carbon Footprint's table of 2026-03-09, without EPYC's 5th, an outlier."""

IDLE_ACCELERATOR = 0.116
"""Idle over full power of an accelerator whose idle power is not published: T4 (8.1 of 70 W) and A100 (46.5 of 400 W)
both have it."""

CONTEXT_W = 66.0
"""What a loaded CUDA context adds to an idle accelerator at most: 26 to 50 W on A100 and H100, 66 W on L40S, however
much memory it holds (arXiv:2605.23918). It is the upper end of the band when idle: whoever serves has one."""

Curve = tuple[tuple[float, float], ...]
"""Load and watts, both rising."""


@dataclass(frozen=True, slots=True)
class Draw:
    """Watts of one machine by its load: `curve`, and the curves that it may truly have; `words` say what it is of."""

    curve: Curve
    lowest: Curve
    highest: Curve
    words: str
    source: str = ""
    as_of: str = ""

    @property
    def idle_w(self) -> float:
        """Watts when there is nothing to do."""
        return self.curve[0][1]

    @property
    def max_w(self) -> float:
        """Watts at full load."""
        return self.curve[-1][1]

    def watts(self, load: float) -> Interval:
        """The power at a load from 0 to 1, linear between the points that are known, with the ends of its band."""
        return Interval(_at(self.curve, load), _at(self.lowest, load), _at(self.highest, load))


def banded(curve: Curve, low: float, high: float, words: str, source: str = "", as_of: str = "") -> Draw:
    """A draw whose band is a factor at every load."""
    return Draw(curve, _scaled(curve, low), _scaled(curve, high), words, source, as_of)


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table."""

    name: str
    unit: Unit
    pattern: str
    accelerator: str
    curve: Curve
    low: float
    high: float
    source: str
    as_of: str

    def draw(self, factor: float, words: str) -> Draw:
        """So many of what the row is of."""
        return banded(_scaled(self.curve, factor), self.low, self.high, words, self.source, self.as_of)


def of_instance(instance: str, vcpus: int | None, accelerator: str = "", count: int = 0) -> Draw | None:
    """The draw of a cloud's machine such as `aws/c7i.large`; None where neither it nor its class is known."""
    whole = _matching("machine", instance)
    if whole is not None:
        return whole.draw(1, whole.name)
    if accelerator:
        return _accelerated(vcpus, accelerator, count)
    row = _matching("vcpu", instance)
    if row is None or vcpus is None:
        return None
    return row.draw(vcpus, f"{units.count_of(vcpus, 'vCPU')} of {row.name}")


def _accelerated(vcpus: int | None, accelerator: str, count: int) -> Draw | None:
    """Accelerators and the vCPUs beside them, which are of some x86 generation."""
    device = next((row for row in read() if row.unit == "device" and row.accelerator == accelerator), None)
    host = next(row for row in read() if row.name == ANY_X86)
    if device is None:
        return None
    beside = _scaled(host.curve, vcpus or 0)
    curve = tuple((load, count * watts + _at(beside, load)) for load, watts in device.curve)
    words = f"{count} {accelerator} and {units.count_of(vcpus or 0, 'vCPU')} of x86"
    draw = banded(curve, device.low, device.high, words, device.source, device.as_of)
    most = (0.0, draw.highest[0][1] + count * CONTEXT_W), *draw.highest[1:]
    return replace(draw, highest=most)


ANY_X86 = "x86 of any generation"


def of_device(device: Device, cores: int) -> Draw:
    """The draw of `cores` of a processor in the table of devices (`measuring.devices`)."""
    share = cores / device.units if device.unit != "device" else 1.0
    known = device.idle_power_w
    idle_w = IDLE_OF_MAX[1] * device.max_power_w if known is None else known
    curve = ((0.0, idle_w * share), (1.0, device.max_power_w * share))
    server = _row(ANY_XEON)
    words = f"{units.count_of(cores, device.unit)} of {device.name}"
    return banded(curve, server.low, server.high, words, device.source, device.as_of)


ANY_XEON = "Sapphire Rapids"
"""The row whose band holds for other processors of the same table."""


def given(idle_w: float | None, max_w: float, words: str) -> Draw:
    """The user's own figures, at the plug. Without `idle_w` it is a quarter of the power at work, with its band."""
    if idle_w is not None:
        return banded(((0.0, idle_w), (1.0, max_w)), 1.0, 1.0, words)
    least, middle, most = (((0.0, share * max_w), (1.0, max_w)) for share in IDLE_OF_MAX)
    return Draw(middle, least, most, f"{words}, idle power assumed")


def _row(name: str) -> Row:
    return next(row for row in read() if row.name == name)


def _matching(unit: Unit, instance: str) -> Row | None:
    return next((row for row in read() if row.unit == unit and re.fullmatch(row.pattern, instance)), None)


def _at(curve: Curve, load: float) -> float:
    for (left, low_w), (right, high_w) in itertools.pairwise(curve):
        if load <= right:
            return carbon.power_w(low_w, high_w, (load - left) / (right - left))
    return curve[-1][1]


def _scaled(curve: Curve, factor: float) -> Curve:
    return tuple((load, factor * watts) for load, watts in curve)


# ---------------------------------------------------------------------------------------- the table


@functools.cache
def read(path: Path = CSV) -> tuple[Row, ...]:
    """The rows of the table. Raises ValueError for one that breaks the rules, naming it."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, strict=True)
        if tuple(table.fieldnames or ()) != _COLUMNS:
            raise ValueError(f"{path.name}: the columns must be {', '.join(_COLUMNS)}, not {table.fieldnames}")
        rows = tuple(_parsed(row) for row in table)
    names = [row.name for row in rows]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path.name}: these names stand there twice: {', '.join(sorted(twice))}")
    return rows


_UNITS: Mapping[str, Unit] = {"machine": "machine", "vcpu": "vcpu", "device": "device"}


def _parsed(row: Mapping[str, str]) -> Row:
    name = row["name"]
    if None in row.values() or None in row:
        raise ValueError(f"draw '{name}': must have {len(_COLUMNS)} fields")
    if row["unit"] not in _UNITS or bool(row["pattern"]) == bool(row["accelerator"]):
        raise ValueError(f"draw '{name}': needs a unit ({', '.join(_UNITS)}), and a pattern or an accelerator")
    re.compile(row["pattern"])
    low, high = float(row["low"]), float(row["high"])
    if not 0 < low <= 1 <= high < math.inf:
        raise ValueError(f"draw '{name}': needs 0 < low <= 1 <= high")
    curve, source, as_of = _of_device(name, row) if row["device"] else _of_its_own(name, row)
    return Row(name, _UNITS[row["unit"]], row["pattern"], row["accelerator"], curve, low, high, source, as_of)


def _of_device(name: str, row: Mapping[str, str]) -> tuple[Curve, str, str]:
    """Curve, source and date of a row that refers to the table of devices."""
    device = next((one for one in devices.read() if one.name == row["device"]), None)
    if device is None or row["max_w"]:
        raise ValueError(f"draw '{name}': no device is called '{row['device']}', or it has figures of its own too")
    idle_w = IDLE_ACCELERATOR * device.max_power_w if device.idle_power_w is None else device.idle_power_w
    curve = ((0.0, idle_w), (1.0, device.max_power_w))
    return _scaled(curve, float(row["devices"]) / device.units), device.source, device.as_of


def _of_its_own(name: str, row: Mapping[str, str]) -> tuple[Curve, str, str]:
    if not (re.fullmatch(r"20\d\d-\d\d(-\d\d)?", row["as_of"]) and "https://" in row["source"]):
        raise ValueError(f"draw '{name}': needs a date and a source that can be looked up")
    return _curve(name, row), row["source"], row["as_of"]


def _curve(name: str, row: Mapping[str, str]) -> Curve:
    """Power rises with load, and n machines that share a load draw no less than fewer of them would: the line through
    any two neighbouring points meets no load at 0 W or more."""
    columns = ((0.0, "idle_w"), (0.1, "tenth_w"), (0.5, "half_w"), (1.0, "max_w"))
    curve = tuple((load, float(row[column])) for load, column in columns if row[column])
    if len(curve) < 2 or curve[0][0] != 0 or curve[-1][0] != 1:
        raise ValueError(f"draw '{name}': needs idle_w and max_w")
    for (left, low_w), (right, high_w) in itertools.pairwise(curve):
        slope = (high_w - low_w) / (right - left)
        if not (0 <= low_w < high_w < math.inf and low_w - slope * left >= 0):
            raise ValueError(f"draw '{name}': watts must rise with load, and more slowly as it grows")
    return curve
