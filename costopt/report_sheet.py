"""The report of `compress` as a sheet: each candidate in a row, and why each of the others lost."""

from costopt import sheets, units
from costopt.judging.bought import in_words
from costopt.records import Candidate, Recipe
from costopt.sheets import UNKNOWN, UNKNOWN_CELL, Cell, Column, Grid, Paragraph, Sheet, Tone, one_line, pair
from costopt.verdict import Drop, Latency, LimitName, Report, Row

LIMIT_WORDS: dict[LimitName, str] = {
    "accuracy_drop": "accuracy",
    "p95_ms": "latency",
    "usd_per_million": "cost",
    "size_mb": "size",
    "memory_mb": "memory",
    "joules_per_inference": "energy",
    "co2_grams_per_million": "CO2",
}

_EXPENDABLE = ("size", "latency", "where", "speedup")

_UNDECIDED: tuple[str, Tone] = ("undecided", "open")
_REFUSED: tuple[str, Tone] = ("refused", "bad")


def sheet(report: Report) -> Sheet:
    """The answer as a person reads it; the chosen candidate's row is marked."""
    tried = _rows(report)
    chosen = frozenset(index for index, row in enumerate(tried) if row.candidate.id == report.winner)
    too_few = sheets.too_few((row.latency for row in tried), ("p50", "p95"), "samples")
    return Sheet(
        headline=one_line(report.headline),
        grids=(Grid(_columns(report), chosen, _EXPENDABLE),),
        footnotes=(*too_few, _metric_note(report), _cost_note(report)),
        paragraphs=(
            Paragraph("Nearest to the budget", _nearest(report)),
            Paragraph("What each step of the chosen one bought", _bought(report)),
            Paragraph("Why the others lost", _lost(report), folded=True),
            Paragraph("What was tried, in this order", _order(report), folded=True),
        ),
        notes=tuple(one_line(note) for note in report.notes),
        source=_source(report),
    )


def _rows(report: Report) -> tuple[Row, ...]:
    """The candidates that were tried, in their order. What was skipped has no figures; `_lost` says why."""
    return tuple(row for row in report.rows if row.status != "skipped")


def _columns(report: Report) -> tuple[Column, ...]:
    tried = _rows(report)
    priced = any(row.usd is not None and row.usd.saturated is not None for row in tried)
    return (
        Column("recipe", pair("recipe", "", ""), tuple(_recipe(row.candidate) for row in tried), words=True),
        Column(
            "where", pair("provider", "batch", ", "), tuple(_where(row.candidate, report) for row in tried), words=True
        ),
        Column("latency", Cell(("p50 ms", "p95 ms"), "p50 / p95 ms"), tuple(_latency(row.latency) for row in tried)),
        Column("speedup", _speedup_head(report), tuple(sheets.speedup(row.speedup) for row in tried)),
        Column("metric", _metric_head(report), tuple(_metric(row.drop, _most(report)) for row in tried)),
        Column(
            "size",
            pair("MB", "peak MB", " / "),
            tuple(sheets.size(row.size_bytes, row.peak_memory_bytes) for row in tried),
        ),
        Column("cost", _cost_head(priced), tuple(_cost(row, priced) for row in tried)),
        *_joules(report),
        Column("verdict", pair("verdict", "", ""), tuple(verdict(row, report) for row in tried), words=True),
    )


def _joules(report: Report) -> tuple[Column, ...]:
    """Joules per inference and where they come from, where the answer rests on them."""
    if not report.about_energy:
        return ()
    found = [row.energy for row in _rows(report)]
    cells = (
        UNKNOWN_CELL if one is None else pair(units.significant(one.joules_per_inference), one.label, " ")
        for one in found
    )
    return (Column("joules", Cell(("J per", "inference"), "J per inference"), tuple(cells)),)


def verdict(row: Row, report: Report) -> Cell:
    """What became of a candidate in a word, and the limits or the stage that it failed at."""
    if row.candidate.id == report.winner:
        return pair("chosen", "", ": ", "good")
    if row.status != "measured":
        return pair(row.status, row.stage or "", ": ", "bad")
    if not row.refusals:
        return pair("meets", "", ": ", "good") if row.meets else pair("not judged", "", ": ", "bad")
    undecided = all(one.undecided for one in row.refusals)
    word, tone = _UNDECIDED if undecided else _REFUSED
    limits = [LIMIT_WORDS[one.limit] for one in row.refusals]
    more = f" +{len(limits) - 1}" if len(limits) > 1 else ""
    return Cell((word, f"{limits[0]}{more}"), f"{word}: {', '.join(limits)}", tone)


def _who(candidate: Candidate, report: Report) -> str:
    """A candidate in words: `int8_static on openvino, batch 1`."""
    return f"{candidate.label} on {_where(candidate, report).line}"


def _lost(report: Report) -> tuple[str, ...]:
    """Each of the other candidates, in words, and why it was not chosen; with the fix where there is one.

    A recipe that was skipped or failed for the same reason everywhere is said once, by its name alone.
    """
    known = {report.winner, *report.nearest}
    fates: dict[str, set[str]] = {}
    for row in report.rows:
        fates.setdefault(row.candidate.label, set()).add(f"{row.status} {_why(row)}")
    words: dict[str, None] = {}  # a dict keeps the order, and each line once
    for row in report.rows:
        if row.candidate.id not in known:
            everywhere = row.status in ("skipped", "failed") and len(fates[row.candidate.label]) == 1
            name = one_line(row.candidate.label) if everywhere else _who(row.candidate, report)
            words[f"{name}: {_why(row)}"] = None
    return tuple(words)


def _bought(report: Report) -> tuple[str, ...]:
    return tuple(in_words(one, _metric_label(report)) for one in report.bought)


def _order(report: Report) -> tuple[str, ...]:
    """The search's steps and its reason for each; none where the budget file lists the recipes."""
    reasons = report.run.reasons
    steps = [
        f"{_who(row.candidate, report)}: {reasons[row.candidate.id]}"
        for row in report.rows
        if row.candidate.id in reasons
    ]
    return (*steps, report.run.ended) if steps else ()


def _nearest(report: Report) -> tuple[str, ...]:
    """When nothing meets the budget: the nearest candidates, in words, and each limit that they miss."""
    found = (report.row(candidate_id) for candidate_id in report.nearest)
    return tuple(
        f"{_who(row.candidate, report)}: {one_line('; '.join(one.words for one in row.refusals))}" for row in found
    )


def _source(report: Report) -> str:
    """Where the figures come from: the run, the machine and the price."""
    run, quote = report.run, report.quote
    words = f"run {run.id} of {run.model} on {run.machine.cpu}, {run.machine.cores} cores"
    if quote is None:
        return one_line(words)
    dated = ", ".join(part for part in (quote.instance, _short(quote.source), quote.as_of) if part)
    return one_line(f"{words}; {units.usd(quote.usd_per_hour)} an hour ({dated})")


def _short(source: str) -> str:
    """A link without its path inside the repository, which the JSON report has in full, and the terms behind it."""
    link, space, terms = source.partition(" ")
    if not link.startswith("https://"):
        return source
    return "/".join(link.removeprefix("https://").split("/")[:3]) + space + terms


def _metric_label(report: Report) -> str:
    """The metric's name; for the user's own, the function's."""
    spec = report.run.metric
    return str(spec.options.get("function", spec.name)).rpartition(":")[2]


# ---------------------------------------------------------------------------------------- cells


def _recipe(candidate: Candidate) -> Cell:
    """Names above, options below; the label on one line."""
    names = " + ".join(spec.name for spec in candidate.recipe)
    return Cell((names or "original", _chosen(candidate.recipe)), candidate.label)


def _chosen(recipe: Recipe) -> str:
    return ", ".join(f"{option}={value}" for spec in recipe for option, value in sorted(spec.options.items()))


def _where(candidate: Candidate, report: Report) -> Cell:
    """Provider and batch, and threads where candidates differ in them."""
    several = len({row.candidate.threads for row in report.rows}) > 1
    threads = f", {units.count_of(candidate.threads, 'thread')}" if several else ""
    session = "".join(f", {name}={value}" for name, value in sorted(candidate.session.items()))
    return pair(str(candidate.setting.provider), f"batch {candidate.batch}{threads}{session}", ", ")


def _latency(latency: Latency | None) -> Cell:
    if latency is None:
        return UNKNOWN_CELL
    return pair(sheets.seen(latency.p50), sheets.seen(latency.p95), " / ")


def _most(report: Report) -> int:
    """How many samples there are: as many as anybody was scored on."""
    return max((row.drop.samples for row in report.rows if row.drop is not None), default=0)


def _metric(drop: Drop | None, most: int) -> Cell:
    """The value, and the interval of its change: what the drop is to the budget, turned so that minus is worse.

    A star marks what was seen on fewer than `most` samples.
    """
    if drop is None:
        return UNKNOWN_CELL
    interval = units.span(-drop.drop.high, -drop.drop.low, lambda change: units.change(drop.metric, change))
    star = "*" if drop.samples < most else ""
    return pair(f"{units.score(drop.metric, drop.value)}{star}", interval, " ")


def _cost(row: Row, priced: bool) -> Cell:
    if row.usd is None:
        return UNKNOWN_CELL
    if not priced:
        return pair(units.ratio(row.usd.relative.value), "", "")
    dollars = row.usd.saturated if row.usd.at_traffic is None else row.usd.at_traffic
    return pair(UNKNOWN if dollars is None else units.usd(dollars), "", "")


def _speedup_head(report: Report) -> Cell:
    level = units.percent(report.confidence)
    return Cell(("speed-up", f"[{level}]"), f"speed-up [{level} interval]")


def _metric_head(report: Report) -> Cell:
    return pair(_metric_label(report), "[change]", " ")


def _cost_head(priced: bool) -> Cell:
    return Cell(("USD per", "million"), "USD/million") if priced else pair("relative", "cost", " ")


# ---------------------------------------------------------------------------------------- words


def _why(row: Row) -> str:
    said = row.lost or row.reason or row.status
    if row.status in ("failed", "invalid") and not said.startswith(row.status):
        said = f"{row.status}: {said}"
    return one_line(f"{said}; {row.fix}" if row.fix and row.fix not in said else said)


def _metric_note(report: Report) -> str:
    label = _metric_label(report)
    unit = " in percentage points" if report.run.metric.name in units.SHARES else ""
    against = "the labels" if report.run.against == "target" else "the original's own outputs (no labels were given)"
    change = f"its change from the original{unit}, minus is worse"
    return f"{label} is against {against}; {change}{_of_part(report)}{_elsewhere(report)}"


def _of_part(report: Report) -> str:
    """That some were scored on part of the samples, which may be easier or harder than all of them."""
    counts = sorted({row.drop.samples for row in report.rows if row.drop is not None})
    if len(counts) < 2:
        return ""
    least = f"{counts[0]:,}" if len(counts) == 2 else f"{counts[0]:,} to {counts[-2]:,}"
    return f"; * who was beaten early shows that of {least} samples, and the change on the same ones"


def _elsewhere(report: Report) -> str:
    """That a file which is served in several settings was scored on all samples in one of them."""
    count = sum(row.drop is not None and bool(row.drop.scored_as) for row in report.rows)
    who = "row was" if count == 1 else "rows were"
    return f"; {count} {who} scored in another setting of the same file, and did the same on part here" if count else ""


def _cost_note(report: Report) -> str:
    known = [row.usd for row in report.rows if row.usd is not None]
    if not any(one.saturated is not None for one in known):
        return "relative cost: 1.00x is what the original costs"
    if any(one.at_traffic is not None for one in known):
        return "USD per million inferences at your traffic, on whole machines sized at the peak"
    return "USD per million inferences on a machine that never idles"
