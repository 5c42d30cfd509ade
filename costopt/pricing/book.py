"""The price book: the one that comes with costopt, and the user's own laid over it row by row.

    costopt/pricing/book.csv        shipped: each price dated, each with its source
    $COSTOPT_PRICES, else           the user's own, which `costopt prices refresh` writes; any spreadsheet can
    $XDG_DATA_HOME/costopt/prices.csv, else ~/.local/share/costopt/prices.csv

Of two rows for the same machine and region the one with the newest on-demand price holds, and of two spot prices the
newest; the user's where they are equally old.
"""

import csv
import difflib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from costopt.errors import ConfigError, UsageError
from costopt.pricing.offers import COLUMNS, REQUIRED, UNDATED, Offer, from_row, printable, to_row

SHIPPED = Path(__file__).with_name("book.csv")

VARIABLE = "COSTOPT_PRICES"

MAX_BYTES = 64 * 2**20
"""Of a file that is read. 1,500 machines in 57 regions, as many as Azure has, make a book of 15 MB."""

HOME_REGIONS = {"aws": "us-east-1", "gcp": "us-central1", "azure": "eastus"}
"""The region that is meant where none is named: the one that the shipped book has most prices of."""


class BookFault(UsageError):
    """A book that can't be read; `faults` are one sentence each, with line numbers."""

    def __init__(self, path: Path, faults: tuple[str, ...]) -> None:
        more = f" (and {len(faults) - 1} more: `costopt prices check {path}`)" if len(faults) > 1 else ""
        super().__init__(f"{path}: {faults[0]}{more}")
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Book:
    """Offers by machine and region."""

    offers: Mapping[tuple[str, str], Offer]

    def of(self, instance: str) -> tuple[Offer, ...]:
        """The offers of a machine in all regions, its provider's home region first, then by price."""
        found = (one for one in self.offers.values() if one.instance == instance)
        return tuple(sorted(found, key=lambda one: (not _at_home(one), one.usd_per_hour, one.region)))

    def find(self, instance: str, region: str | None = None) -> Offer:
        """One machine; without a region in its provider's home region, or in the only one.

        Raises ConfigError for a machine, or a region, that the book does not have; it names the nearest.
        """
        found = self.of(instance)
        if not found:
            raise ConfigError(f"'{instance}' is not in the price book{self.near(instance)}")
        regions = ", ".join(one.region for one in found[:_NAMED]) + (", ..." if len(found) > _NAMED else "")
        if region is not None:
            if (instance, region) not in self.offers:
                raise ConfigError(f"{instance} has no price in '{region}'; the book has it in {regions}")
            return self.offers[instance, region]
        if len(found) > 1 and not _at_home(found[0]):
            raise ConfigError(
                f"{instance} is priced in several regions ({regions}); name one: `region: {found[0].region}`"
            )
        return found[0]

    def near(self, instance: str) -> str:
        """`; near: aws/c7i.large, aws/c7i.xlarge`; a type is found without its provider too, in any case."""
        known = dict.fromkeys(one for one, _ in self.offers)
        spellings = {alias.lower(): one for one in known for alias in (one.partition("/")[2], one)}
        close = difflib.get_close_matches(instance.lower(), spellings, n=6, cutoff=0.7)
        found = list(dict.fromkeys(spellings[one] for one in close))[:3]
        return f"; near: {', '.join(found)}" if found else ""


_NAMED = 5
"""How many regions a message names."""


def _at_home(offer: Offer) -> bool:
    return HOME_REGIONS.get(offer.provider) == offer.region


# ---------------------------------------------------------------------------------------- the two books


def current() -> Book:
    """The book as it holds today. Raises BookFault when the user's own can't be read."""
    return overlaid(read(SHIPPED), own())


def own() -> tuple[Offer, ...]:
    """The rows of the user's own book; none where there is no file. Raises BookFault."""
    path = own_path()
    return read(path) if path.exists() else ()


def own_path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where the user's own book lies, whether or not it is there (XDG Base Directory Specification)."""
    if environment.get(VARIABLE):
        return Path(environment[VARIABLE])
    data = environment.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "costopt" / "prices.csv"


def overlaid(below: Iterable[Offer], above: Iterable[Offer]) -> Book:
    """One book of two, row by row: the newest prices hold, those of `above` where two are equally old."""
    offers = {one.key: one for one in below}
    for one in above:
        offers[one.key] = newest(offers[one.key], one) if one.key in offers else one
    return Book(offers)


def newest(old: Offer, new: Offer) -> Offer:
    """The offer with the newest on-demand price, with the newest spot price of the two if it isn't above that."""
    base, other = (new, old) if rank(new.as_of) >= rank(old.as_of) else (old, new)
    spot = new if _spot_rank(new) >= _spot_rank(old) else old
    if spot is base or spot.spot_usd_per_hour is None or spot.spot_usd_per_hour > base.usd_per_hour:
        return _filled(base, other)
    fresh = replace(base, spot_usd_per_hour=spot.spot_usd_per_hour, spot_as_of=spot.spot_as_of)
    return _filled(replace(fresh, spot_source=spot.spot_source), other)


def _filled(base: Offer, other: Offer) -> Offer:
    """What the newer row does not say of the machine itself is taken from the older one: it is the same machine."""
    accelerated = base if base.accelerator else other
    return replace(
        _with_reserved(base, other),
        vcpus=other.vcpus if base.vcpus is None else base.vcpus,
        memory_gib=other.memory_gib if base.memory_gib is None else base.memory_gib,
        accelerator=accelerated.accelerator,
        accelerator_count=accelerated.accelerator_count,
    )


def _with_reserved(base: Offer, other: Offer) -> Offer:
    """Lists have no reserved prices, so the older row's stays, unless it now lies above the on-demand price."""
    price = other.reserved_usd_per_hour
    if base.reserved_usd_per_hour is not None or price is None or price > base.usd_per_hour:
        return base
    as_of, source = other.reserved_as_of or other.as_of, other.reserved_source or other.source
    return replace(base, reserved_usd_per_hour=price, reserved_as_of=as_of, reserved_source=source)


def rank(date: str) -> str:
    """ISO dates sort as texts; what has no date is older than anything."""
    return "" if date == UNDATED else date


def _spot_rank(offer: Offer) -> tuple[bool, str]:
    return offer.spot_usd_per_hour is not None, rank(offer.spot_as_of)


# ---------------------------------------------------------------------------------------- reading and writing


def read(path: Path) -> tuple[Offer, ...]:
    """The rows of a book, in their order. Raises BookFault for a file that is none, or a field that can't be read."""
    offers, faults = parse(text_of(path))
    if faults:
        raise BookFault(path, faults)
    return offers


def text_of(path: Path) -> str:
    """The text of a file of at most `MAX_BYTES`. Raises UsageError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"{path}: over {MAX_BYTES >> 20} MiB is too much for a price list; is it the right file?")
        return content.decode("utf-8-sig")
    except OSError as fault:
        raise UsageError(f"{path}: can't be read ({fault.strerror}); name a file") from fault
    except UnicodeDecodeError as fault:
        raise UsageError(f"{path}: not a text file (byte {fault.start} is not UTF-8)") from fault


def parse(text: str) -> tuple[tuple[Offer, ...], tuple[str, ...]]:
    """The rows of a book that can be read, and a sentence with the line for each that can't."""
    table = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = tuple(table.fieldnames or ())
        if fault := _fault_of_columns(columns):
            return (), (fault,)
        rows = list(_rows(table))
    except csv.Error as problem:
        return (), (f"line {table.line_num + 1}: not CSV ({problem})",)
    offers = tuple(one for _, one in rows if isinstance(one, Offer))
    return offers, tuple(f"line {line}: {one}" for line, one in rows if isinstance(one, str))


def _rows(table: "csv.DictReader[str]") -> Iterator[tuple[int, Offer | str]]:
    """Each row with its line: an offer, or what keeps it from being one."""
    for row in table:
        if None in row or None in row.values():
            yield table.line_num, f"{len(table.fieldnames or ())} fields belong in a row, as in the first line"
            continue
        try:
            yield table.line_num, from_row(row)
        except ValueError as problem:
            yield table.line_num, printable(f"{row['instance'][:60]}: {problem}")


def _fault_of_columns(columns: tuple[str, ...]) -> str | None:
    missing = [one for one in REQUIRED if one not in columns]
    unknown = [one for one in columns if one not in COLUMNS]
    if missing:
        has = printable(", ".join(columns))[:200] or "none"
        return f"line 1: no price book: the column {missing[0]} is missing (it has {has})"
    if unknown:
        return f"line 1: unknown column {unknown[0][:60]!r}; there are {', '.join(COLUMNS)}"
    double = [one for one in columns if columns.count(one) > 1]
    if double:
        return f"line 1: the column {double[0]} stands there twice; keep one"
    return None


def written(offers: Iterable[Offer]) -> str:
    """A book as a file holds it, sorted by machine and region; `parse` gives the same offers back."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(to_row(one) for one in sorted(offers, key=lambda one: one.key))
    return text.getvalue()
