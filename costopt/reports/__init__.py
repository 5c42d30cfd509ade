"""Report formats, one a file: from a `Report` to text. Nothing here computes; nothing here prints.

What the formats for people share is here too: the columns of the table, whose cells have two lines (a value, and what
surrounds it) or one where there is room, and the words about each candidate.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from costopt import units
from costopt.records import Candidate, Drop, Latency, LimitName, Percentile, Recipe, Report, Row

UNKNOWN = "-"
"""What stands in a cell for a figure that is not known; `footnotes` says why."""

LIMIT_WORDS: dict[LimitName, str] = {
    "accuracy_drop": "accuracy",
    "p95_ms": "latency",
    "usd_per_million": "cost",
    "size_mb": "size",
    "memory_mb": "memory",
}


class Render(ABC):
    """One format."""

    @abstractmethod
    def __call__(self, report: Report, width: int = 100, colour: bool = False) -> str:
        """The whole report as text, ending in a newline. `width` is in columns; a format may ignore both options."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A value, what surrounds it, and both on one line."""

    upper: str
    lower: str
    line: str


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its head and its cells, one a row of `rows`."""

    name: str
    head: Cell
    cells: tuple[Cell, ...]


def rows(report: Report) -> tuple[Row, ...]:
    """The candidates that were tried, in their order. What was skipped has no figures; `lost` says why."""
    return tuple(row for row in report.rows if row.status != "skipped")


def columns(report: Report) -> tuple[Column, ...]:
    """The table: recipe, provider and batch, latency, speed-up, metric, size and memory, cost, verdict."""
    tried = rows(report)
    priced = any(row.usd is not None and row.usd.saturated is not None for row in tried)
    return (
        Column("recipe", Cell("recipe", "", "recipe"), tuple(_recipe(row.candidate) for row in tried)),
        Column("where", _pair("provider", "batch", ", "), tuple(_where(row.candidate, report) for row in tried)),
        Column("latency", Cell("p50 ms", "p95 ms", "p50 / p95 ms"), tuple(_latency(row.latency) for row in tried)),
        Column("speedup", _speedup_head(report), tuple(_speedup(row) for row in tried)),
        Column("metric", _metric_head(report), tuple(_metric(row.drop) for row in tried)),
        Column("size", Cell("MB", "peak MB", "MB / peak MB"), tuple(_size(row) for row in tried)),
        Column("cost", _cost_head(priced), tuple(_cost(row, priced) for row in tried)),
        Column("verdict", Cell("verdict", "", "verdict"), tuple(verdict(row, report) for row in tried)),
    )


def verdict(row: Row, report: Report) -> Cell:
    """What became of a candidate in a word, and the limits or the stage that it failed at."""
    if row.candidate.id == report.winner:
        return _pair("chosen", "", ": ")
    if row.status != "measured":
        return _pair(row.status, row.stage or "", ": ")
    if not row.refusals:
        return _pair("meets" if row.meets else "not judged", "", ": ")
    word = "undecided" if all(one.undecided for one in row.refusals) else "refused"
    limits = [LIMIT_WORDS[one.limit] for one in row.refusals]
    more = f" +{len(limits) - 1}" if len(limits) > 1 else ""
    return Cell(word, f"{limits[0]}{more}", f"{word}: {', '.join(limits)}")


def who(candidate: Candidate, report: Report) -> str:
    """A candidate in words: `int8_static on openvino, batch 1`."""
    return f"{candidate.label} on {_where(candidate, report).line}"


def lost(report: Report) -> tuple[tuple[str, str], ...]:
    """Each of the other candidates, in words, and why it was not chosen; with the fix where there is one.

    A recipe that was skipped or failed for the same reason everywhere is said once, by its name alone.
    """
    known = {report.winner, *report.nearest}
    fates: dict[str, set[str]] = {}
    for row in report.rows:
        fates.setdefault(row.candidate.label, set()).add(f"{row.status} {_why(row)}")
    words: dict[tuple[str, str], None] = {}  # a dict keeps the order, and each line once
    for row in report.rows:
        if row.candidate.id not in known:
            everywhere = row.status in ("skipped", "failed") and len(fates[row.candidate.label]) == 1
            name = one_line(row.candidate.label) if everywhere else who(row.candidate, report)
            words[name, _why(row)] = None
    return tuple(words)


def nearest(report: Report) -> tuple[tuple[str, str], ...]:
    """When nothing meets the budget: the nearest candidates, in words, and each limit that they miss."""
    found = (report.row(candidate_id) for candidate_id in report.nearest)
    return tuple((who(row.candidate, report), one_line("; ".join(one.words for one in row.refusals))) for row in found)


def footnotes(report: Report) -> tuple[str, ...]:
    """Why some figures are not known, and what the columns mean."""
    return (*_too_few(report), _metric_note(report), _cost_note(report))


def source(report: Report) -> str:
    """Where the figures come from: the run, the machine and the price."""
    run, quote = report.run, report.quote
    words = f"run {run.id} of {run.model} on {run.machine.cpu}, {run.machine.cores} cores"
    if quote is None:
        return one_line(words)
    dated = ", ".join(part for part in (quote.instance, _short(quote.source), quote.as_of) if part)
    return one_line(f"{words}; {units.usd(quote.usd_per_hour)} an hour ({dated})")


def _short(source: str) -> str:
    """A link without its path inside the repository, which the JSON report has in full."""
    if not source.startswith("https://"):
        return source
    return "/".join(source.removeprefix("https://").split("/")[:3])


def metric_label(report: Report) -> str:
    """The metric's name; for the user's own, the function's."""
    spec = report.run.metric
    return str(spec.options.get("function", spec.name)).rpartition(":")[2]


def one_line(text: str) -> str:
    """Text on one line and without control characters: a reason may quote a library, and a library a model file."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


# ---------------------------------------------------------------------------------------- cells


def _pair(upper: str, lower: str, joint: str) -> Cell:
    return Cell(upper, lower, f"{upper}{joint}{lower}" if lower else upper)


def _recipe(candidate: Candidate) -> Cell:
    """Names above, options below; the label on one line."""
    names = " + ".join(spec.name for spec in candidate.recipe)
    return Cell(names or "original", _chosen(candidate.recipe), candidate.label)


def _chosen(recipe: Recipe) -> str:
    return ", ".join(f"{option}={value}" for spec in recipe for option, value in sorted(spec.options.items()))


def _where(candidate: Candidate, report: Report) -> Cell:
    """Provider and batch, and threads where candidates differ in them."""
    several = len({row.candidate.threads for row in report.rows}) > 1
    threads = f", {candidate.threads} thread{'s' if candidate.threads > 1 else ''}" if several else ""
    return _pair(candidate.provider, f"batch {candidate.batch}{threads}", ", ")


def _latency(latency: Latency | None) -> Cell:
    if latency is None:
        return Cell(UNKNOWN, "", UNKNOWN)
    return _pair(_seen(latency.p50), _seen(latency.p95), " / ")


def _seen(percentile: Percentile) -> str:
    return UNKNOWN if percentile.seen_ms is None else units.ms(percentile.seen_ms)


def _speedup(row: Row) -> Cell:
    if row.speedup is None:
        return Cell(UNKNOWN, "", UNKNOWN)
    low, high = row.speedup.low, row.speedup.high
    interval = "one round only" if high == float("inf") else units.span(low, high, units.ratio)
    return _pair(units.ratio(row.speedup.value), interval, " ")


def _metric(drop: Drop | None) -> Cell:
    """The value, and the interval of its change: what the drop is to the budget, turned so that minus is worse."""
    if drop is None:
        return Cell(UNKNOWN, "", UNKNOWN)
    interval = units.span(-drop.drop.high, -drop.drop.low, lambda change: units.change(drop.metric, change))
    return _pair(units.score(drop.metric, drop.value), interval, " ")


def _size(row: Row) -> Cell:
    size = UNKNOWN if row.size_bytes is None else units.megabytes(row.size_bytes)
    peak = UNKNOWN if row.peak_memory_bytes is None else units.megabytes(row.peak_memory_bytes)
    return _pair(size, "" if size == peak == UNKNOWN else peak, " / ")


def _cost(row: Row, priced: bool) -> Cell:
    if row.usd is None:
        return Cell(UNKNOWN, "", UNKNOWN)
    if not priced:
        return _pair(units.ratio(row.usd.relative.value), "", "")
    dollars = row.usd.saturated if row.usd.at_traffic is None else row.usd.at_traffic
    return _pair(UNKNOWN if dollars is None else units.usd(dollars), "", "")


def _speedup_head(report: Report) -> Cell:
    level = units.percent(report.confidence)
    return Cell("speed-up", f"[{level}]", f"speed-up [{level} interval]")


def _metric_head(report: Report) -> Cell:
    label = metric_label(report)
    return Cell(label, "[change]", f"{label} [change]")


def _cost_head(priced: bool) -> Cell:
    return Cell("USD per", "million", "USD/million") if priced else Cell("relative", "cost", "relative cost")


# ---------------------------------------------------------------------------------------- words


def _why(row: Row) -> str:
    said = row.lost or row.reason or row.status
    if row.status in ("failed", "invalid") and not said.startswith(row.status):
        said = f"{row.status}: {said}"
    return one_line(f"{said}; {row.fix}" if row.fix and row.fix not in said else said)


def _too_few(report: Report) -> Iterator[str]:
    """`p95: needs 130 samples, has 40`, once for each such pair of figures."""
    missing = {
        f"{name} {UNKNOWN}: needs {units.count(percentile.needs)} samples, has {units.count(row.latency.samples)}": None
        for row in rows(report)
        if row.latency is not None
        for name, percentile in (("p50", row.latency.p50), ("p95", row.latency.p95))
        if percentile.seen_ms is None
    }
    yield from missing


def _metric_note(report: Report) -> str:
    label = metric_label(report)
    unit = " in percentage points" if report.run.metric.name in units.SHARES else ""
    against = "the labels" if report.run.against == "target" else "the original's own outputs (no labels were given)"
    return f"{label} is against {against}; its change from the original{unit}, minus is worse"


def _cost_note(report: Report) -> str:
    known = [row.usd for row in report.rows if row.usd is not None]
    if not any(one.saturated is not None for one in known):
        return "relative cost: 1.00x is what the original costs"
    if any(one.at_traffic is not None for one in known):
        return "USD per million inferences at your traffic, on whole machines sized at the peak"
    return "USD per million inferences on a machine that never idles"
