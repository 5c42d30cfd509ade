"""The whole of `costopt prices refresh`: read, settle, and write the user's own book; or leave all as it was.

prices.csv                               the user's own book, replaced whole
prices.2026-11-22T19-30-05.012345.csv    the one before it, kept under the time at which it was replaced (UTC)
"""

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from costopt.disk import faults, write_atomically
from costopt.errors import CostoptError, UsageError
from costopt.pricing import book, download, gpuhunt_library, sources
from costopt.pricing.incoming import Incoming, Origin, Settled, settle
from costopt.pricing.offers import Offer, iso_date

Offers = Mapping[tuple[str, str], Offer]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the user asked for: a format by name, a file or address, and what the list itself may not say."""

    source: str
    place: str
    as_of: str | None = None
    provider: str | None = None
    regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of it: `kept` is where the earlier book lies, None when there was none.

    `changed` are offers as the book had them and as it has them now, where the on-demand price differs; `outdated`
    counts rows that were older than what the user's book has.
    """

    settled: Settled
    path: Path
    kept: Path | None
    changed: tuple[tuple[Offer, Offer], ...]
    outdated: int


def refresh(asked: Asked, now: datetime.datetime, today: datetime.date) -> Refreshed:
    """Bring a price list into the user's own book. `now` is in UTC and names the earlier book; `today` is the user's.

    Raises UsageError for a list that can't be read, has no date, or has no row that can be taken; CostoptError when
    the disk is full. Then nothing is written.
    """
    incoming, before = _read(asked), book.current()
    origin = Origin(_date(asked, incoming, today), f"{asked.source}: {download.shown(asked.place)}")
    incoming = replace(incoming, offers=tuple(_dated(one, asked.as_of or "") for one in incoming.offers))
    settled = settle(incoming, before, origin, asked.regions, today)
    if not settled.taken:
        raise UsageError(_nothing(asked, settled))
    merged = book.overlaid(book.own(), settled.taken).offers
    outdated = sum(book.rank(merged[one.key].as_of) > book.rank(one.as_of) for one in settled.taken)
    path = book.own_path()
    kept = _replaced(path, book.written(merged.values()), now)
    return Refreshed(settled, path, kept, _changed(before.offers, book.current().offers), outdated)


def _read(asked: Asked) -> Incoming:
    reader = sources.reader_of(asked.source)
    if (asked.source, asked.place) == ("gpuhunt", gpuhunt_library.PLACE):
        return gpuhunt_library.read(asked.provider)
    text = download.text_of(asked.place)
    try:
        return reader(text, asked.provider or _cloud(asked.place))
    except UsageError as problem:
        raise UsageError(f"{download.shown(asked.place)}: {problem}") from problem


def _changed(before: Offers, now: Offers) -> tuple[tuple[Offer, Offer], ...]:
    both = ((before[key], one) for key, one in now.items() if key in before)
    return tuple((old, new) for old, new in both if old.usd_per_hour != new.usd_per_hour)


def _date(asked: Asked, incoming: Incoming, today: datetime.date) -> str:
    """The date of a list's prices: its own, or the user's. Raises UsageError without one, or with two."""
    if asked.as_of is not None:
        try:
            as_of = iso_date(asked.as_of)
        except ValueError as problem:
            raise UsageError(f"--as-of: {problem}") from problem
        if datetime.date.fromisoformat(as_of) > today:
            raise UsageError(f"--as-of: {as_of} is still to come (today is {today})")
        if incoming.as_of not in (None, as_of):
            raise UsageError(
                f"--as-of: the list says that it is of {incoming.as_of}, not of {as_of}; leave the flag out"
            )
        return as_of
    if incoming.as_of is None and incoming.listings:
        raise UsageError(
            f"{download.shown(asked.place)}: this kind of list has no date inside; say when it was made (the day of "
            "its commit or release, not today): --as-of YYYY-MM-DD"
        )
    return incoming.as_of or ""


def _dated(offer: Offer, as_of: str) -> Offer:
    """A row of one's own with the date that the user gave, where it has none."""
    spot_as_of = offer.spot_as_of if offer.spot_as_of or offer.spot_usd_per_hour is None else as_of
    return replace(offer, as_of=offer.as_of or as_of, spot_as_of=spot_as_of)


def _cloud(place: str) -> str | None:
    """Whose prices a file of SkyPilot's catalogue has, by where it lies there."""
    found = re.search(r"catalogs/[\w.-]+/(\w+)/vms\.csv$", download.shown(place) if "://" in place else place)
    return None if found is None else found[1]


def _nothing(asked: Asked, settled: Settled) -> str:
    """Why no row was taken, in words."""
    place = download.shown(asked.place)
    if settled.refused:
        more = f" (and {len(settled.refused) - 1} more)" if len(settled.refused) > 1 else ""
        return f"{place}: no row can be taken, and nothing was written: {settled.refused[0]}{more}"
    if settled.elsewhere:
        words = f"all of its {settled.elsewhere} rows are of other regions; name yours with --region, or --region all"
        return f"{place}: nothing was written: {words}"
    return f"{place}: it holds no prices, and nothing was written"


def _replaced(path: Path, text: str, now: datetime.datetime) -> Path | None:
    """Replace the user's book whole, the one before it kept under its time. Raises CostoptError, and then neither."""
    with faults(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write_atomically(path, text)
        return None
    kept = path.with_name(f"{path.stem}.{now:%Y-%m-%dT%H-%M-%S.%f}{path.suffix}")
    write_atomically(kept, book.text_of(path))
    try:
        write_atomically(path, text)
    except CostoptError:
        kept.unlink(missing_ok=True)
        raise
    return kept
