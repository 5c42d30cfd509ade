"""One row of the price book: a machine in a region, what an hour of it costs, and who said so when.

A price without a date is no price: nobody can tell how wrong it has become. So each carries an ISO date, or the word
`undated` where its source has none and the file is named to the commit; a date is never made up.
"""

import datetime
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TypeVar

T = TypeVar("T")

OLD_AFTER_DAYS = 90
"""A price older than this is called old: a quarter of a year. A judgement: price lists change every few weeks."""

UNDATED = "undated"
"""Stands for the date of a snapshot that has none."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A machine that can be rented. Prices are US dollars an hour, before tax; None is what is not known.

    `instance` is provider/type, such as `aws/c7i.large`. `as_of` is the date of the on-demand price, `spot_as_of` and
    `reserved_as_of` those of the others: ISO dates, or `undated`; a reserved price without a date and source of its own
    has those of the on-demand price. `memory_gib` counts 2**30 bytes.
    """

    instance: str
    region: str
    vcpus: int | None
    memory_gib: float | None
    accelerator: str
    accelerator_count: int
    usd_per_hour: float
    spot_usd_per_hour: float | None
    reserved_usd_per_hour: float | None
    as_of: str
    spot_as_of: str
    source: str
    spot_source: str = ""
    reserved_as_of: str = ""
    reserved_source: str = ""
    note: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """What tells two offers apart: the machine and its region."""
        return self.instance, self.region

    @property
    def provider(self) -> str:
        """`aws` of `aws/c7i.large`."""
        return self.instance.partition("/")[0]

    @property
    def type(self) -> str:
        """`c7i.large` of `aws/c7i.large`."""
        return self.instance.partition("/")[2]

    @property
    def spot_discount(self) -> float | None:
        """The share of the on-demand price that spot saves: 0.66 is 66 % less."""
        return None if self.spot_usd_per_hour is None else 1 - self.spot_usd_per_hour / self.usd_per_hour


COLUMNS = tuple(one.name for one in fields(Offer))
"""The columns of a book, in their order."""

REQUIRED = ("instance", "region", "usd_per_hour", "as_of", "source")
"""The columns that every book has; the others may be left out."""


def age_days(date: str, today: datetime.date) -> int | None:
    """How old a price is; None for one that is undated."""
    return None if date in ("", UNDATED) else (today - datetime.date.fromisoformat(date)).days


def is_old(date: str, today: datetime.date) -> bool:
    """Whether a price is so old that it should be looked up again; nobody knows that of one that is undated."""
    age = age_days(date, today)
    return age is None or age > OLD_AFTER_DAYS


def from_row(row: Mapping[str, str]) -> Offer:
    """The offer in a row of a book. Raises ValueError in words for a field that is not what its column says."""
    return Offer(
        instance=row["instance"].strip(),
        region=row["region"].strip(),
        vcpus=_whole(row, "vcpus"),
        memory_gib=_number(row, "memory_gib"),
        accelerator=row.get("accelerator", "").strip(),
        accelerator_count=_whole(row, "accelerator_count") or 0,
        usd_per_hour=_price(row),
        spot_usd_per_hour=_number(row, "spot_usd_per_hour"),
        reserved_usd_per_hour=_number(row, "reserved_usd_per_hour"),
        as_of=_date(row, "as_of"),
        spot_as_of=_date(row, "spot_as_of"),
        source=row["source"].strip(),
        spot_source=row.get("spot_source", "").strip(),
        reserved_as_of=_date(row, "reserved_as_of"),
        reserved_source=row.get("reserved_source", "").strip(),
        note=row.get("note", "").strip(),
    )


def to_row(offer: Offer) -> dict[str, str]:
    """The fields as a book writes them; `from_row` gives the same offer back."""
    return {name: _written(value) for name, value in asdict(offer).items()}


def printable(text: str) -> str:
    """Text without control characters: a list may come from anywhere, and its names end up on a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def iso_date(text: str) -> str:
    """A calendar date as it stands, such as 2026-07-20. Raises ValueError in words."""
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        pass  # a month 13 is told like any other text that is no date
    raise ValueError(f"{text[:40]!r} is no date: write it as 2026-07-20")


def dollars(text: str) -> float:
    """A plain number of US dollars. Raises ValueError in words for anything else, a currency sign included."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise ValueError(f"{text[:40]!r} is not a plain number: write US dollars, such as 0.0893, without a sign")
    return value


def _price(row: Mapping[str, str]) -> float:
    if not row["usd_per_hour"].strip():
        raise ValueError("usd_per_hour is empty: write what an hour costs on demand, or take the row out")
    return _field(row, "usd_per_hour", dollars)


def _number(row: Mapping[str, str], column: str) -> float | None:
    return _field(row, column, dollars) if row.get(column, "").strip() else None


def _whole(row: Mapping[str, str], column: str) -> int | None:
    number = _number(row, column)
    if number is not None and number != int(number):
        raise ValueError(f"{column} is {row[column].strip()}: write a whole number, or leave it empty")
    return None if number is None else int(number)


def _date(row: Mapping[str, str], column: str) -> str:
    text = row.get(column, "").strip()
    return text if text in ("", UNDATED) else _field(row, column, iso_date)


def _field(row: Mapping[str, str], column: str, read: Callable[[str], T]) -> T:
    """A field read by `read`, whose complaint is told with the column's name."""
    try:
        return read(row[column].strip())
    except ValueError as problem:
        raise ValueError(f"{column}: {problem}") from None


def _written(value: str | float | None) -> str:
    """A number with the digits that it needs: 16.0 is "16", and what is not known is empty."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return "" if value is None else str(value)
