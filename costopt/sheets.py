"""What a report tells a person, before it is known where it will be read.

    Report      ── report_sheet ──┐            ┌── reports/table ─────▶ terminal
                                  ├──▶ Sheet ──┤
    BenchReport ── bench_sheet ───┘            └── reports/markdown ──▶ pull request

A sheet is one sentence, tables, and what must be known beside them. Its texts are on one line each and hold no control
characters (`one_line`), because a reason may quote a library, and a library a model file. A cell has several short
lines (a value, and below it what surrounds it) or a single long one where there is room; how wide things are, and what
a colour looks like, is the format's affair.

Below the sheet are the cells and words that both kinds of report have.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from costopt import units
from costopt.verdict import Interval, Latency, Percentile

UNKNOWN = "-"
"""What stands in a cell for a figure that is not known; the footnotes say why."""

Tone = Literal["", "good", "open", "bad"]
"""What a cell means to a reader in a hurry: formats may colour it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value with what surrounds it, below each other in `lines`, and all of it in one `line`."""

    lines: tuple[str, ...]
    line: str
    tone: Tone = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its head and its cells, one a row. Words are aligned to the left, figures to the right."""

    name: str
    head: Cell
    cells: tuple[Cell, ...]
    words: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """One table. The first column names the rows, and may be folded.

    `marked` are the rows that stand out. Where there is too little room, the columns that `expendable` names are given
    up, in that order.
    """

    columns: tuple[Column, ...]
    marked: frozenset[int] = frozenset()
    expendable: tuple[str, ...] = ()
    title: str = ""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.columns[0].cells)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A list under a title. `folded` ones may be hidden until they are asked for."""

    title: str
    items: tuple[str, ...]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Sheet:
    """A report for people.

    `alarm` is what must not be overlooked, `lead` what was measured; both come before the tables. `footnotes` explain
    the tables' words, `notes` are what a reader must know to trust them, and `source` says where it all comes from.
    """

    headline: str
    grids: tuple[Grid, ...]
    source: str
    alarm: str = ""
    lead: str = ""
    footnotes: tuple[str, ...] = ()
    paragraphs: tuple[Paragraph, ...] = ()
    notes: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------- cells and words

UNKNOWN_CELL = Cell((UNKNOWN,), UNKNOWN)


def pair(upper: str, lower: str, joint: str, tone: Tone = "") -> Cell:
    """A cell of two lines, which `joint` connects on one; an empty `lower` leaves no trace."""
    return Cell((upper, lower), f"{upper}{joint}{lower}" if lower else upper, tone)


def one_line(text: str) -> str:
    """Text on one line and without control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def seen(percentile: Percentile | None) -> str:
    """Milliseconds, as seen; `UNKNOWN` where there were too few samples."""
    return UNKNOWN if percentile is None or percentile.seen_ms is None else units.ms(percentile.seen_ms)


def percentiles(latency: Latency) -> dict[str, Percentile]:
    """Those that were computed, by name, in order."""
    named = {"p50": latency.p50, "p90": latency.p90, "p95": latency.p95, "p99": latency.p99}
    return {name: one for name, one in named.items() if one is not None}


def too_few(latencies: Iterable[Latency | None], names: tuple[str, ...], calls: str) -> tuple[str, ...]:
    """`p95 -: needs 130 samples, has 40`, once for each such pair of figures; `calls` is the word for samples."""
    return tuple(
        dict.fromkeys(
            f"{name} {UNKNOWN}: needs {units.count(one.needs)} {calls}, has {units.count(latency.samples)}"
            for latency in latencies
            if latency is not None
            for name, one in percentiles(latency).items()
            if name in names and one.seen_ms is None
        )
    )


def speedup(ratio: Interval | None) -> Cell:
    """How many times faster, with its interval; after a single round there is none."""
    if ratio is None:
        return UNKNOWN_CELL
    interval = "one round only" if ratio.high == math.inf else units.span(ratio.low, ratio.high, units.ratio)
    return pair(units.ratio(ratio.value), interval, " ")


def size(size_bytes: int | None, peak_memory_bytes: int | None) -> Cell:
    """Megabytes of the file, and of memory at the peak."""
    file = UNKNOWN if size_bytes is None else units.megabytes(size_bytes)
    peak = UNKNOWN if peak_memory_bytes is None else units.megabytes(peak_memory_bytes)
    return pair(file, "" if file == peak == UNKNOWN else peak, " / ")
