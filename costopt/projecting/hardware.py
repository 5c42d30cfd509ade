"""What chips can do at their best, and which machine of the price book carries which.

Peak rates are ceilings out of datasheets or instruction widths: no model reaches them, so a time that follows from them
is `projected`, whatever derating factor it is given. A machine whose chip isn't told by its name or by the price
book's `accelerator` carries nothing that is known: a wrong row would be a wrong number that looks right.
"""

import csv
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from costopt.pricing.families import size_of
from costopt.pricing.offers import Offer

Kind = Literal["cpu", "gpu", "tpu", "asic", "fpga"]
MemoryKind = Literal["ddr", "gddr", "low_power_gddr", "hbm"]
Confidence = Literal["official", "datasheet", "derived", "recalled"]
Precision = Literal["fp32", "fp16", "int8", "low_bit"]

CSV = Path(__file__).with_name("hardware.csv")
"""Columns as the fields of `Chip`; rates and memory may be empty where they are not published."""


@dataclass(frozen=True, slots=True)
class Chip:
    """A chip, or one physical core of a processor (kind `cpu`), and the most that it can do.

    Rates count 10^12 operations a second (a multiply-add is two), dense. `fp16_tflops` is the better of fp16 and bf16
    with fp32 sums, `low_bit_tops` that of fp8 or int4. `memory_gb` and `memory_gb_per_s` count 10^9 bytes; a core's
    share of its socket's bandwidth, whose memory is the machine's. None is what is not published. `low_power_gddr`
    tells boards of 75 W and less, whose clocks fall under load. `carried_as` is the chip's name in the price book.
    `confidence` is where the figures come from: the maker's documentation, a datasheet, widths times clocks, or memory.
    """

    name: str
    kind: Kind
    carried_as: str
    fp32_tflops: float | None
    fp16_tflops: float | None
    int8_tops: float | None
    low_bit_tops: float | None
    memory_gb: float | None
    memory_gb_per_s: float
    memory_kind: MemoryKind
    max_power_w: float | None
    idle_power_w: float | None
    confidence: Confidence
    as_of: str
    source: str
    note: str

    def peak_per_s(self, precision: Precision) -> float | None:
        """Operations a second at this precision; None where the chip has none that is published.

        fp16 falls back to fp32 rates, int8 to fp16 ones, and lower bits to int8 ones: what has no units of its own runs
        on wider ones.
        """
        rates = {
            "low_bit": (self.low_bit_tops, self.int8_tops, self.fp16_tflops, self.fp32_tflops),
            "int8": (self.int8_tops, self.fp16_tflops, self.fp32_tflops),
            "fp16": (self.fp16_tflops, self.fp32_tflops),
            "fp32": (self.fp32_tflops,),
        }[precision]
        tera = next((rate for rate in rates if rate is not None), None)
        return None if tera is None else tera * 1e12

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second from and to its memory."""
        return self.memory_gb_per_s * 1e9


@dataclass(frozen=True, slots=True)
class Carried:
    """What a machine computes with: `count` chips, or so many physical cores."""

    chip: Chip
    count: int


@dataclass(frozen=True, slots=True)
class _Cores:
    """The core that a family of machines has, and how many vCPUs one core is."""

    core: str
    vcpus_per_core: int


# The providers' pages of their instance types name the processors: Intel families sell hardware threads (two a core),
# those of AMD's 7th generation at AWS and all of Graviton sell cores. Families that run on whichever of several
# processors is free (GCP E2 and N2, Azure D v5) are not told by their name, and left out.
_FAMILIES = {
    "aws/c6i": _Cores("Ice Lake core", 2),
    "aws/m6i": _Cores("Ice Lake core", 2),
    "aws/c7i": _Cores("Sapphire Rapids core", 2),
    "aws/m7i": _Cores("Sapphire Rapids core", 2),
    "gcp/c3-standard": _Cores("Sapphire Rapids core", 2),
    "gcp/c3-highcpu": _Cores("Sapphire Rapids core", 2),
    "aws/c7a": _Cores("EPYC Genoa core", 1),
    "aws/m7a": _Cores("EPYC Genoa core", 1),
    "aws/c7g": _Cores("Graviton3 core", 1),
    "aws/m7g": _Cores("Graviton3 core", 1),
    "aws/c8g": _Cores("Graviton4 core", 1),
    "aws/m8g": _Cores("Graviton4 core", 1),
}


def carried_by(offer: Offer) -> Carried | None:
    """The chips or cores of a machine of the price book; None where they are not told, or nothing is known of them."""
    if offer.accelerator:
        chip = _carried_as().get(offer.accelerator)
        return None if chip is None else Carried(chip, max(offer.accelerator_count, 1))
    size = size_of(offer.instance)
    cores = None if size is None else _FAMILIES.get(size.family)
    if size is None or cores is None:
        return None
    return Carried(chips()[cores.core], max(size.vcpus // cores.vcpus_per_core, 1))


def vcpus_per_core(chip: Chip) -> int:
    """How many vCPUs the providers sell one core of this kind as; 1 where none of them is known to."""
    return next((one.vcpus_per_core for one in _FAMILIES.values() if one.core == chip.name), 1)


def kind_of(accelerator: str) -> Kind | None:
    """What computes in a machine with this accelerator, as the price book names it; a processor where there is none."""
    if not accelerator:
        return "cpu"
    chip = _carried_as().get(accelerator)
    return None if chip is None else chip.kind


@functools.cache
def chips(path: Path = CSV) -> Mapping[str, Chip]:
    """The table's rows by name, in their order. Raises ValueError for a row that breaks the rules, naming it."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = [_chip(row) for row in csv.DictReader(file, strict=True)]
    found = {row.name: row for row in rows}
    if len(found) < len(rows):
        raise ValueError(f"{path.name}: a name stands there twice")
    return found


@functools.cache
def _carried_as() -> Mapping[str, Chip]:
    return {chip.carried_as: chip for chip in chips().values() if chip.carried_as}


@functools.cache
def _adapter() -> "TypeAdapter[Chip]":
    return TypeAdapter(Chip)


_MAY_BE_EMPTY = (
    "fp32_tflops", "fp16_tflops", "int8_tops", "low_bit_tops", "memory_gb", "max_power_w", "idle_power_w",
)  # fmt: skip


def _chip(row: Mapping[str, str]) -> Chip:
    # Text becomes the field's type or is refused; only these may be empty: they were not published.
    chip = _adapter().validate_python({key: None if key in _MAY_BE_EMPTY and not row[key] else row[key] for key in row})
    rates = (chip.fp32_tflops, chip.fp16_tflops, chip.int8_tops, chip.low_bit_tops)
    known = [rate for rate in (*rates, chip.memory_gb, chip.memory_gb_per_s) if rate is not None]
    if all(rate is None for rate in rates) or not all(0 < value < math.inf for value in known):
        raise ValueError(f"chip '{chip.name}': needs a rate, and rates and memory above zero")
    if not (chip.as_of and chip.source):
        raise ValueError(f"chip '{chip.name}': needs a date and a source")
    return chip
