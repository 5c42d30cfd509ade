"""The price table that comes with costopt: on-demand prices of common machines, each dated and with its source.

Prices change, so a quote carries its date and the report says when it is old. A machine that is not in the table is
priced by hand, with `machine: {usd_per_hour: ...}`.
"""

import csv
import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from costopt.errors import ConfigError
from costopt.prices import Prices
from costopt.verdict import Quote

CSV = Path(__file__).with_name("table.csv")
"""Columns: instance (provider/type), region, vcpus, memory_gib, accelerator, usd_per_hour, as_of (ISO date), source."""


@dataclass(frozen=True)
class Table(Prices):
    """A machine by provider and type, such as `aws/c7i.large`."""

    instance: str

    def quote(self) -> Quote:
        """The on-demand price per hour. Raises ConfigError for a machine that is not in the table."""
        rows = {row["instance"]: row for row in read()}
        if self.instance not in rows:
            raise ConfigError(
                f"machine.instance: '{self.instance}' is not in the price table{_nearest(self.instance, rows)}; "
                "or give its price: machine: {usd_per_hour: 0.09}"
            )
        row = rows[self.instance]
        source = f"{row['source']} (on demand, {row['region']})"
        return Quote(float(row["usd_per_hour"]), self.instance, source, row["as_of"])


def read() -> tuple[dict[str, str], ...]:
    """The rows of the table, as text."""
    with CSV.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def _nearest(name: str, known: Iterable[str]) -> str:
    """`; near: aws/c7i.large, aws/c7i.xlarge`; a type is found without its provider too, in any case."""
    spellings = {alias.lower(): one for one in known for alias in (one.partition("/")[2], one)}
    close = difflib.get_close_matches(name.lower(), spellings, n=6, cutoff=0.7)
    found = list(dict.fromkeys(spellings[one] for one in close))[:3]
    return f"; near: {', '.join(found)}" if found else ""
