"""The report of `bench` as a sheet: the tables, and what must be known to trust them.

Under the tables stands whatever a figure can't say itself: why a contender has none and what to do about it, who else
did part of the work, which calls were slow, whether the warm-up settled, and why measuring ended where it did.
"""

import math
from collections.abc import Iterator

from costopt import sheets, units
from costopt.benching import bench_columns
from costopt.benching.bench_columns import in_words, who
from costopt.benching.measurements import BenchReport, BenchRow, Comparison
from costopt.sheets import UNKNOWN, Paragraph, Sheet, one_line

_SCENARIOS = {
    "single_stream": "one call after another",
    "multi_stream": "one query of several samples after another",
    "offline": "all samples are there at once, and the whole machine serves them",
    "server": "requests arrive at random (Poisson), whether or not the server keeps up",
}

_ENDED = {
    "precision": "narrow enough",
    "time": "the time was up",
    "rounds": "as many rounds as were asked for",
}


def sheet(report: BenchReport) -> Sheet:
    """The answer as a person reads it."""
    run = report.run
    return Sheet(
        headline=one_line(report.headline),
        alarm=one_line(f"RANDOM INPUTS: {run.feed.words}; real ones may take another time") if run.feed.random else "",
        lead=_lead(report),
        grids=(bench_columns.contenders(report), *bench_columns.tries(report)),
        footnotes=tuple(_footnotes(report)),
        paragraphs=tuple(_paragraphs(report)),
        notes=tuple(_notes(report)),
        source=_source(report),
    )


def _lead(report: BenchReport) -> str:
    """Which scenario, and with which inputs."""
    run = report.run
    threads = {contender.setting.threads for contender in run.contenders}
    everywhere = run.scenario.name != "offline" and len(threads) == 1
    each = f", {units.count_of(threads.pop(), 'thread')}" if everywhere else ""
    inputs = "" if run.feed.random else f"; inputs: {run.feed.words}"  # random ones have been named already
    options = ", ".join(
        f"{name}={in_words(value)}" for name, value in run.scenario.options.items() if value is not None
    )
    asked = f"{run.scenario.name} ({options})" if options else run.scenario.name
    return one_line(f"{asked}: {_SCENARIOS[run.scenario.name]}{each}{inputs}")


def _source(report: BenchReport) -> str:
    """Where the figures come from: the run, the machine, and what is needed to repeat it."""
    run, machine = report.run, report.run.machine
    runtimes = (
        f"{name} {version}" for name, version in run.versions.items() if name.startswith(("onnxruntime", "torch"))
    )
    pinned = ("pinned to its CPUs",) if run.pinned else ()
    where = f"run {run.id} on {machine.cpu}, {units.count_of(machine.cores, 'core')}, {machine.system}"
    return one_line("; ".join((where, *runtimes, f"seed {run.seed}", *pinned)))


# ---------------------------------------------------------------------------------------- what the words mean


def _footnotes(report: BenchReport) -> Iterator[str]:
    names = bench_columns.shown_percentiles(report)
    yield from sheets.too_few((row.latency for row in report.rows), names, _calls(report))
    if report.run.scenario.name == "server":
        yield from _server_words(report)
    elif names:
        yield from _stream_words(report)
    precisions = (bench_columns.precision(row) for row in report.rows)
    for words in dict.fromkeys(words for words in precisions if words):
        yield f"{words}: how the provider was seen to multiply float32"
    yield from dict.fromkeys(
        one_line(f"joules, {row.energy.label}: {row.energy.source}") for row in report.rows if row.energy is not None
    )


def _calls(report: BenchReport) -> str:
    """What one latency belongs to, in the plural."""
    return "queries" if report.run.scenario.name == "multi_stream" else "calls"


def _stream_words(report: BenchReport) -> Iterator[str]:
    query = "query" if report.run.scenario.name == "multi_stream" else "call of a whole batch"
    several, energy = len(report.rows) > 1, any(row.energy is not None for row in report.rows)
    others = [name for name, shown in (("speed-ups", several), ("joules", energy)) if shown]
    yield f"milliseconds are per {query}" + (f"; {' and '.join(others)} are per inference" if others else "")
    if several:
        yield f"speed-ups are against {who(report.run.baseline, report)}, which took turns with each of the others"
    compared = _compared(report)
    if any(not one.told_apart for _, one in compared):
        level = units.percent(report.run.confidence)
        yield f"indistinguishable: the {level} interval of the speed-up holds 1.00x"
    if compared and all(_is_plain(one) for _, one in compared):
        yield f"measuring ended when each interval was within {_within(report)}"


def _server_words(report: BenchReport) -> Iterator[str]:
    bounds = {row.server.bound_ms for row in report.rows if row.server is not None}
    for bound_ms in sorted(bounds):
        yield f"holds: 99 of 100 requests are answered within {units.given(bound_ms)} ms of their intended arrival"
        yield f"late: answered after {units.given(bound_ms)} ms; goodput counts the others; at most: upper bound of p99"
    if any(rate.p99_upper_ms is None for row in report.rows if row.server is not None for rate in row.server.rates):
        yield f"at most {UNKNOWN}: too few requests to bound p99"
    yield "busy: share of the time in calls"


# ---------------------------------------------------------------------------------------- contender by contender


def _paragraphs(report: BenchReport) -> Iterator[Paragraph]:
    for title, lines in (
        ("Without figures", _without_figures(report)),
        ("Who did the work", _work(report)),
        ("Slow calls (over 3 IQR above the third quartile; they count like all others)", _outliers(report)),
        ("Slow spells of the machine (their rounds do not count for the speed-up)", _slow_spells(report)),
        ("Warm-ups that never settled (the figures hold part of them)", _unsettled(report)),
        ("Where measuring ended", _endings(report)),
    ):
        yield Paragraph(title, tuple(one_line(line) for line in lines))


def _without_figures(report: BenchReport) -> Iterator[str]:
    for row in report.rows:
        if row.status == "not yet":
            yield f"{who(row.contender, report)}: {row.reason or 'not measured yet'}"
        elif row.status != "measured":
            stage = f" at {row.stage}" if row.stage else ""
            fix = f"; {row.fix}" if row.fix else ""
            yield f"{who(row.contender, report)}: {row.status}{stage}: {row.reason}{fix}"


def _work(report: BenchReport) -> Iterator[str]:
    """Where others than the asked-for provider did part of the work, with the nodes that they took."""
    for row in report.rows:
        if row.opened is not None and bench_columns.is_shared(row):
            placement = row.opened.placement
            unit = "the time in kernels" if placement.seconds else "the nodes"
            nodes = f": {', '.join(placement.fallen_back)}" if placement.fallen_back else ""
            yield f"{who(row.contender, report)}: {_shares(row)} of {unit}{nodes}"


def _shares(row: BenchRow) -> str:
    assert row.opened is not None
    weights = bench_columns.weights_of(row.opened.placement)
    total = sum(weights.values())
    ordered = sorted(weights.items(), key=lambda one: -one[1])
    return ", ".join(f"{name} {units.percent(weight / total)}" for name, weight in ordered)


def _outliers(report: BenchReport) -> Iterator[str]:
    """Calls that Tukey calls far out, as `stats.outliers` counts them."""
    for row in report.rows:
        found = row.outliers
        if found is not None and found.count:
            share = f"{units.count(found.count)} of {units.count(found.calls)} {_calls(report)}"
            yield f"{who(row.contender, report)}: {share}, the slowest {units.ms(found.slowest_ms)} ms"


def _slow_spells(report: BenchReport) -> Iterator[str]:
    """Rounds that don't count for the ratio, because the machine was slower meanwhile (`stretches`)."""
    for row, comparison in _compared(report):
        if comparison.slow_rounds:
            rounds = f"{units.count(comparison.slow_rounds)} of {units.count_of(comparison.rounds, 'round')}"
            yield f"{who(row.contender, report)}: {rounds}"


def _unsettled(report: BenchReport) -> Iterator[str]:
    for row in report.rows:
        if row.warm_up is not None and not row.warm_up.settled:
            calls, seconds = units.count(row.warm_up.calls), units.duration(row.warm_up.seconds)
            yield f"{who(row.contender, report)}: still changing after {calls} calls in {seconds}"


def _endings(report: BenchReport) -> Iterator[str]:
    """How wide each interval is and why it is not narrower; nothing where a footnote says the same of all."""
    compared = _compared(report)
    if all(_is_plain(one) for _, one in compared):
        return
    for row, comparison in compared:
        rounds = units.count_of(comparison.rounds, "round")
        reasons = "; ".join(("", *(f"widened: {reason}" for reason in comparison.wide_because)))
        asked = f", {_within(report)} was asked for" if comparison.stopped == "time" else ""
        yield f"{who(row.contender, report)}: {_width(comparison)} in {rounds}: {_ended(comparison)}{asked}{reasons}"


def _ended(comparison: Comparison) -> str:
    return _ENDED.get(comparison.stopped, comparison.stopped)


def _compared(report: BenchReport) -> list[tuple[BenchRow, Comparison]]:
    """The contenders that were held against the baseline: not itself, whose ratio is 1 by definition."""
    others = (row for row in report.rows if row.contender != report.run.baseline)
    return [(row, row.comparison) for row in others if row.comparison is not None]


def _is_plain(comparison: Comparison) -> bool:
    return comparison.stopped == "precision" and not comparison.wide_because


def _width(comparison: Comparison) -> str:
    ratio = comparison.ratio
    if ratio.high == math.inf:
        return "no interval"
    return _half(ratio.high - ratio.low, ratio.value)


def _within(report: BenchReport) -> str:
    return _half(report.run.precision, 1.0)


def _half(width: float, value: float) -> str:
    """A full width as people write it, to both sides and relative: "± 1 %"."""
    return f"± {units.given(float(f'{50 * width / value:.1e}'))} %"


def _notes(report: BenchReport) -> Iterator[str]:
    """Those of the run and of the report, then what is to be said of single contenders; each once."""
    yield from dict.fromkeys(one_line(note) for note in (*report.run.notes, *report.notes))
    for row in report.rows:
        for note in row.notes:
            yield one_line(f"{who(row.contender, report)}: {note}")
