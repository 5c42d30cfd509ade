"""What does it bring to limit a GPU's power? Energy, for time; money only where electricity is on one's own bill."""

import csv
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from costopt import units
from costopt.powering import carbon

CSV = Path(__file__).with_name("power_caps.csv")
"""Columns: gpu, max_w (its power limit), best_cap (the share of it at which a job takes least energy), best_saved and
best_slowdown (shares, there), saved_within_5 and saved_within_10 (the most energy saved at up to 5 and 10 % slowdown),
as_of, source, note. Medians over 45 to 58 combinations of model and batch, in training."""

_NUMBERS = ("max_w", "best_cap", "best_saved", "best_slowdown", "saved_within_5", "saved_within_10")
_COLUMNS = ("gpu", *_NUMBERS, "as_of", "source", "note")


@dataclass(frozen=True, slots=True)
class PowerCap:
    """One GPU's row of the table; shares from 0 to 1."""

    gpu: str
    max_w: float
    best_cap: float
    best_saved: float
    best_slowdown: float
    saved_within_5: float
    saved_within_10: float
    as_of: str
    source: str
    note: str

    @property
    def energy_delay(self) -> float:
        """The energy-delay product at the best cap, over that without one."""
        return carbon.energy_delay(1 - self.best_saved, 1 + self.best_slowdown)


def of(gpu: str) -> PowerCap:
    """The row of a GPU such as `V100`. Raises ValueError in words: which there are."""
    found = next((one for one in read() if re.search(rf"\b{re.escape(one.gpu)}\b", gpu, re.IGNORECASE)), None)
    if found is None:
        known = ", ".join(one.gpu for one in read())
        raise ValueError(f"no measured power cap is known for {gpu[:40]!r}; there are {known}")
    return found


@dataclass(frozen=True, slots=True)
class Worth:
    """A month in US dollars: what the energy that a cap saves is worth, and what the lost time costs."""

    saved_usd: float
    time_usd: float

    @property
    def pays(self) -> bool:
        """Whether the energy is worth more than the time."""
        return self.saved_usd > self.time_usd


def worth(compute_usd: float, energy_usd: float, saved: float, slowdown: float) -> Worth:
    """A cap's worth where the same work must be done: slower machines are needed for longer by `slowdown`, so the
    machine time grows by that share, and energy falls by `saved`. All a month, in US dollars."""
    return Worth(saved * energy_usd, slowdown * compute_usd)


def tenant(compute_usd: float, energy_usd: float) -> str:
    """Why a tenant should leave the power alone, with the figures; `energy_usd` is all of the fleet's electricity."""
    share = units.percent(energy_usd / compute_usd) if compute_usd else "an unknown share"
    return (
        f"power caps are the provider's to set; to a tenant they would lose money: {units.percent(TYPICAL_SLOWDOWN)} "
        f"slowdown is {units.usd(TYPICAL_SLOWDOWN * compute_usd)} a month of machine time, and all of the electricity "
        f"is worth {units.usd(energy_usd)} ({share} of the machines' price), of which the best cap known saves "
        f"{units.percent(most_saved())}"
    )


TYPICAL_SLOWDOWN = 0.2
"""At the cap of least energy on a V100 or an RTX 6000 (the table)."""


def most_saved() -> float:
    """The largest share of energy that a cap saves in the table."""
    return max(one.best_saved for one in read())


def advice(cap: PowerCap) -> str:
    """The measured choices, in one sentence."""
    shares = f"{units.percent(cap.best_cap)} of {units.given(cap.max_w)} W"
    saved, slower = units.percent(cap.best_saved), units.percent(cap.best_slowdown)
    return (
        f"power cap of a {cap.gpu}: least energy at {shares}, {saved} less for {slower} more time (energy-delay "
        f"product {units.ratio(cap.energy_delay)}); {units.percent(cap.saved_within_5)} less within 5 % more time, "
        f"{units.percent(cap.saved_within_10)} within 10 %; medians in training ({cap.as_of}), so measure it on yours"
    )


CLOCKS = (
    "where a GPU draws far less than its limit a cap never binds (an H200 that decodes, 137 to 300 of 700 W): there a "
    "locked clock saved up to 32 % of the energy (arXiv:2605.11999, 2026-05); what that costs in time, measure on yours"
)
"""Advice for work that waits for memory more than it computes. The paper's figures, read 2026-08; the slowdown that
goes with them was not among what was read."""


@functools.cache
def read(path: Path = CSV) -> tuple[PowerCap, ...]:
    """The rows of the table. Raises ValueError for one that breaks the rules, naming it."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, strict=True)
        if tuple(table.fieldnames or ()) != _COLUMNS:
            raise ValueError(f"{path.name}: the columns must be {', '.join(_COLUMNS)}, not {table.fieldnames}")
        return tuple(_parsed(row) for row in table)


def _parsed(row: Mapping[str, str]) -> PowerCap:
    gpu = row["gpu"]
    if None in row.values() or None in row:
        raise ValueError(f"power cap '{gpu}': must have {len(_COLUMNS)} fields")
    numbers = {name: float(row[name]) for name in _NUMBERS}
    if not (numbers["max_w"] > 0 and all(0 < numbers[name] < 1 for name in _NUMBERS[1:])):
        raise ValueError(f"power cap '{gpu}': needs max_w above 0 and shares between 0 and 1")
    if not numbers["saved_within_5"] <= numbers["saved_within_10"] <= numbers["best_saved"]:
        raise ValueError(f"power cap '{gpu}': more slowdown can't save less")
    if not (re.fullmatch(r"20\d\d-\d\d(-\d\d)?", row["as_of"]) and "https://" in row["source"]):
        raise ValueError(f"power cap '{gpu}': needs a date and a source that can be looked up")
    return PowerCap(
        gpu,
        numbers["max_w"],
        numbers["best_cap"],
        numbers["best_saved"],
        numbers["best_slowdown"],
        numbers["saved_within_5"],
        numbers["saved_within_10"],
        row["as_of"],
        row["source"],
        row["note"],
    )
