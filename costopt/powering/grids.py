"""How much CO2 a kilowatt-hour stands for: by country, and by a cloud's region through the country that it lies in.

All figures are annual means of what is generated there (location-based): what a provider buys elsewhere is not in
them, nor is the hour of the day.
"""

import csv
import difflib
import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from costopt import units

CSV = Path(__file__).with_name("grid.csv")
"""Columns: name (ISO 3166 code of three letters, or a cloud's region), iso2 (a country's code of two letters), country
(three letters), grams_co2e_per_kwh (empty: the country's), year (that the figure is of), as_of (when its source was
read, ISO), source, note."""

_COLUMNS = ("name", "iso2", "country", "grams_co2e_per_kwh", "year", "as_of", "source", "note")


@dataclass(frozen=True, slots=True)
class Grid:
    """Electricity of a place: g CO2e per kWh, the year that this is the mean of (None for a figure of the user's), who
    says so, and what a reader must know."""

    name: str
    country: str
    grams_co2e_per_kwh: float
    year: int | None
    source: str
    note: str = ""

    @property
    def words(self) -> str:
        """`369 g/kWh (USA, 2023)`."""
        dated = ", ".join(str(one) for one in (self.country, self.year) if one)
        grams = f"{units.significant(self.grams_co2e_per_kwh)} g/kWh"
        return f"{grams} ({dated})" if dated else f"{grams} (given)"


def given(grams_co2e_per_kwh: float) -> Grid:
    """A figure of the user's own. Raises ValueError in words for one that no grid has."""
    if not (math.isfinite(grams_co2e_per_kwh) and 0 <= grams_co2e_per_kwh <= _MOST):
        raise ValueError(f"{grams_co2e_per_kwh} is no carbon intensity: write g CO2e per kWh, from 0 to {_MOST:.0f}")
    return Grid("", "", grams_co2e_per_kwh, None, "given")


_MOST = 2000.0
"""g/kWh: burning lignite in an old plant gives about 1,200; above this it is another unit."""


def of(name: str) -> Grid:
    """The grid of a country (`FRA`, `FR`) or a region (`us-east-1`). Raises ValueError in words, with near names."""
    found = find(name)
    if found is None:
        raise ValueError(f"no carbon intensity is known for {name[:40]!r}{_near(name)}")
    return found


def find(name: str) -> Grid | None:
    """The same, or None. Marketplaces write a region as `Texas, US, NA`: any part may be the country."""
    table = read()
    for part in (name, *reversed(name.split(","))):
        grid = table.get(part.strip().lower())
        if grid is not None:
            return grid
    return None


def _near(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), read(), n=3, cutoff=0.6)
    shown = [read()[one].name for one in close]
    near = f"; near: {', '.join(dict.fromkeys(shown))}" if shown else ""
    return f"{near}; a number is g CO2e per kWh, such as 369"


@functools.cache
def read(path: Path = CSV) -> Mapping[str, Grid]:
    """All grids by their names in small letters. Raises ValueError for a row that breaks the rules, naming it."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, strict=True)
        if tuple(table.fieldnames or ()) != _COLUMNS:
            raise ValueError(f"{path.name}: the columns must be {', '.join(_COLUMNS)}, not {table.fieldnames}")
        rows = list(table)
    found: dict[str, Grid] = {}
    for row in sorted(rows, key=lambda row: not row["grams_co2e_per_kwh"]):  # countries first: regions refer to them
        grid = _grid(row, found)
        for name in filter(None, (row["name"], row["iso2"])):
            if name.lower() in found:
                raise ValueError(f"grid '{name}' stands there twice")
            found[name.lower()] = grid
    return found


def _grid(row: Mapping[str, str], known: Mapping[str, Grid]) -> Grid:
    name = row["name"]
    if None in row.values() or None in row:
        raise ValueError(f"grid '{name}': must have {len(_COLUMNS)} fields")
    if not (name and row["source"].startswith("http")):
        raise ValueError(f"grid '{name}': needs a name and a source that can be looked up")
    if not row["grams_co2e_per_kwh"]:
        country = known.get(row["country"].lower())
        if country is None:
            raise ValueError(f"grid '{name}': its country '{row['country']}' has no figure")
        return Grid(name, country.country, country.grams_co2e_per_kwh, country.year, country.source, row["note"])
    grams = float(row["grams_co2e_per_kwh"])
    if not 0 < grams <= _MOST:
        raise ValueError(f"grid '{name}': {row['grams_co2e_per_kwh']} is no g CO2e per kWh")
    if not (re.fullmatch(r"20\d\d", row["year"]) and re.fullmatch(r"20\d\d-\d\d(-\d\d)?", row["as_of"])):
        raise ValueError(f"grid '{name}': needs the year of its figure, and the date of its reading")
    return Grid(name, row["country"], grams, int(row["year"]), row["source"], row["note"])
