"""The columns of a bench's tables, and the words that stand in them.

Every scenario has one table with a row a contender; `offline` and `server` have another for each contender, with a row
for each way or rate that was tried. Latencies are per call, per query or per request, and the head says which; the
speed-up and joules are always per inference.
"""

import math
from collections.abc import Iterable, Sequence

from costopt import sheets, units
from costopt.benching.measurements import (
    Batching,
    BenchReport,
    BenchRow,
    Comparison,
    Contender,
    Energy,
    Placement,
    Rate,
    ServerAnswer,
    Try,
    Whole,
)
from costopt.records import Value
from costopt.sheets import UNKNOWN, UNKNOWN_CELL, Cell, Column, Grid, pair
from costopt.verdict import Interval

_NOTHING = pair("", "", "")

_STREAMS = {
    # The head's unit, and percentiles by column. MLPerf's metric is p90 for a single stream and p99 for several, so
    # it stands in the column that a narrow terminal keeps longest.
    "single_stream": ("ms/call", (("p50", "p90"), ("p95", "p99"))),
    "multi_stream": ("ms/query", (("p50", "p99"), ("p90", "p95"))),
}

_SPARED = (
    *("start", "size", "joules modelled", "tail", "joules measured"),
    *("late", "served", "where", "p50", "load", "speedup", "way"),
)


def contenders(report: BenchReport) -> Grid:
    """One row a contender; columns in which nothing is known are left out."""
    match report.run.scenario.name:
        case "offline":
            found = _offline(report)
        case "server":
            found = _server(report)
        case _:
            found = _stream(report)
    all_columns = (*_names(report), *found, *_resources(report), _verdicts(report))
    empty = (UNKNOWN_CELL, _NOTHING)
    told = (one for one in all_columns if one.name == "latency" or any(cell not in empty for cell in one.cells))
    return Grid(tuple(told), expendable=_SPARED)


def tries(report: BenchReport) -> tuple[Grid, ...]:
    """One table for each contender of which more than one way or rate was tried; the best is marked."""
    grids = (_tries_of(row, report) for row in report.rows)
    return tuple(grid for grid in grids if grid is not None and grid.rows > 1)


def _tries_of(row: BenchRow, report: BenchReport) -> Grid | None:
    name = who(row.contender, report)
    if row.whole is not None:
        return _ways(row.whole, f"Ways that were tried for {name}, in order", report)
    if row.server is not None:
        return _rates(row.server, f"Rates that were tried for {name}, in order")
    return None


# ---------------------------------------------------------------------------------------- who it is


def _names(report: BenchReport) -> tuple[Column, ...]:
    beside = {"offline": "", "server": "batching"}.get(report.run.scenario.name, "batch")
    return (
        Column("model", pair("model", "", ""), tuple(_model(row.contender) for row in report.rows), words=True),
        Column("where", pair("provider", beside, ", "), tuple(_where(row, report) for row in report.rows), words=True),
    )


def _model(contender: Contender) -> Cell:
    """The model, and below it the options of its provider and session, which may be long."""
    name = sheets.one_line(contender.model)
    options = sheets.one_line(_options(contender))
    return Cell((name, options), f"{name} ({options})" if options else name)


def _options(contender: Contender) -> str:
    setting = contender.setting
    chosen = (*sorted(setting.provider.options.items()), *sorted(setting.session.items()))
    return ", ".join(f"{name}={in_words(value)}" for name, value in chosen)


def in_words(value: Value) -> str:
    """An option's value as people write it: 20.0 is "20"."""
    return units.given(value) if isinstance(value, float) else str(value)


def _where(row: BenchRow, report: BenchReport) -> Cell:
    """The provider with its share of the work when that is not all; batch and threads; a precision that surprises."""
    lines = (f"{provider(row.contender)}{_share(row)}", _beside(row, report), precision(row))
    return Cell(lines, ", ".join(line for line in lines if line))


def provider(contender: Contender) -> str:
    """Who was asked to do the work: an execution provider, or PyTorch."""
    return contender.setting.provider.name if contender.engine == "onnxruntime" else contender.engine


def _share(row: BenchRow) -> str:
    share = share_of_asked(row)
    return f" {units.percent(share)}" if share is not None and is_shared(row) else ""


def share_of_asked(row: BenchRow) -> float | None:
    """The asked-for provider's share of the time in kernels, or of the nodes where that was not profiled.

    None where nothing is known of it.
    """
    weights = {} if row.opened is None else weights_of(row.opened.placement)
    total = sum(weights.values())
    if not total:
        return None
    asked = row.contender.setting.provider.name
    return sum(weight for name, weight in weights.items() if _is_asked(name, asked)) / total


def is_shared(row: BenchRow) -> bool:
    """Whether others than the asked-for provider did a part of the work that shows, to the per cent."""
    share = share_of_asked(row)
    return share is not None and units.percent(share) != units.percent(1.0)


def weights_of(placement: Placement) -> dict[str, float]:
    """What each provider did, by its short name: seconds in kernels, or nodes when it was not profiled."""
    weights = placement.seconds or placement.nodes
    return {name.removesuffix("ExecutionProvider"): float(weight) for name, weight in weights.items()}


def _is_asked(runtime: str, asked: str) -> bool:
    """Whether ONNX Runtime's name means this plug-in: theirs is ours in other letters, but for one."""
    return runtime.lower() == {"directml": "dml"}.get(asked, asked.replace("_", ""))


def precision(row: BenchRow) -> str:
    """The format in which float32 is multiplied, when it is another one: "in bfloat16"."""
    seen = "" if row.opened is None else row.opened.precision
    return "" if seen in ("", "float32") else f"in {seen}" if seen != "unknown" else "precision unknown"


def _beside(row: BenchRow, report: BenchReport) -> str:
    """What tells this contender from others on the same provider."""
    if report.run.scenario.name == "server":
        rate = shown_rate(row.server)
        parts = [_batching(rate.batching) if rate else "", _threads(row.contender, report)]
    else:
        parts = [_batch(row.contender, report), _threads(row.contender, report)]
    return ", ".join(part for part in parts if part)


def _batch(contender: Contender, report: BenchReport) -> str:
    """Always told of streams, whose calls have it; elsewhere it is where trying begins, and told if it differs."""
    stream = report.run.scenario.name in _STREAMS
    several = len({row.contender.setting.batch for row in report.rows}) > 1
    return f"batch {contender.setting.batch}" if stream or several else ""


def _threads(contender: Contender, report: BenchReport) -> str:
    several = len({row.contender.setting.threads for row in report.rows}) > 1
    wanted = several and report.run.scenario.name != "offline"  # there, each way has threads of its own
    return units.count_of(contender.setting.threads, "thread") if wanted else ""


def who(contender: Contender, report: BenchReport) -> str:
    """A contender in words: `int8.onnx on openvino, batch 8`."""
    parts = (provider(contender), _batch(contender, report), _threads(contender, report))
    return f"{_model(contender).line} on {', '.join(part for part in parts if part)}"


# ---------------------------------------------------------------------------------------- what it took


def _resources(report: BenchReport) -> tuple[Column, ...]:
    return (
        Column("size", pair("MB", "peak MB", " / "), tuple(_size(row) for row in report.rows)),
        Column("start", Cell(("load s", "first s"), "load / first call s"), tuple(_start(row) for row in report.rows)),
        *(_joules(report, label) for label in ("measured", "modelled")),
    )


def _size(row: BenchRow) -> Cell:
    if row.opened is None:
        return UNKNOWN_CELL
    return sheets.size(row.contender.size_bytes, row.opened.peak_memory_bytes)


def _start(row: BenchRow) -> Cell:
    if row.opened is None:
        return UNKNOWN_CELL
    return pair(units.significant(row.opened.load_s), units.significant(row.opened.first_call_s), " / ")


def _joules(report: BenchReport, label: str) -> Column:
    """Measured and modelled figures never share a column."""
    head = Cell(("joules per", "inference,", label), f"joules per inference, {label}")
    return Column(f"joules {label}", head, tuple(_joules_of(row.energy, label) for row in report.rows))


def _joules_of(energy: Energy | None, label: str) -> Cell:
    if energy is None or energy.label != label:
        return UNKNOWN_CELL
    return pair(units.significant(energy.joules_per_inference), "", "")


# ---------------------------------------------------------------------------------------- streams


def _stream(report: BenchReport) -> tuple[Column, ...]:
    unit, (first, second) = _STREAMS[report.run.scenario.name]
    latencies = (_latency("latency", unit, first, report), _latency("tail", unit, second, report))
    return latencies if len(report.rows) == 1 else (*latencies, _speedups(report))


def shown_percentiles(report: BenchReport) -> tuple[str, ...]:
    """The percentiles that the table shows, in order; none where latency is not what was asked."""
    _, columns = _STREAMS.get(report.run.scenario.name, ("", ()))
    return tuple(sorted(name for column in columns for name in column))


def _latency(name: str, unit: str, names: tuple[str, str], report: BenchReport) -> Column:
    upper, lower = names
    head = Cell((unit, upper, lower), f"{upper} / {lower} {unit}")
    return Column(name, head, tuple(_latencies(row, upper, lower) for row in report.rows))


def _latencies(row: BenchRow, upper: str, lower: str) -> Cell:
    if row.latency is None:
        return UNKNOWN_CELL
    found = sheets.percentiles(row.latency)
    return pair(sheets.seen(found.get(upper)), sheets.seen(found.get(lower)), " / ")


def _speedups(report: BenchReport) -> Column:
    level = units.percent(report.run.confidence)
    head = Cell(("speed-up per", "inference", f"[{level}]"), f"speed-up per inference [{level}]")
    return Column("speedup", head, tuple(_speedup(row, report) for row in report.rows))


def _speedup(row: BenchRow, report: BenchReport) -> Cell:
    if row.comparison is None:
        return UNKNOWN_CELL
    if row.contender == report.run.baseline:  # 1 by definition: an interval would claim a measurement
        return pair(units.ratio(1.0), "", "")
    return sheets.speedup(row.comparison.ratio)


# ---------------------------------------------------------------------------------------- offline


def _offline(report: BenchReport) -> tuple[Column, ...]:
    best = tuple(None if row.whole is None else row.whole.best for row in report.rows)
    found = tuple(None if row.whole is None else row.whole.samples_per_s for row in report.rows)
    head = Cell(("instances", "x threads", "x batch"), "instances x threads x batch")
    return (Column("way", head, tuple(_way(one) for one in best)), _samples_per_s(found, report))


def _way(one: Try | None) -> Cell:
    if one is None:
        return UNKNOWN_CELL
    return pair(f"{one.instances} x {one.threads} x {one.batch}", "", "")


def _samples_per_s(found: Iterable[Interval | None], report: BenchReport) -> Column:
    head = pair("samples/s", f"[{units.percent(report.run.confidence)}]", " ")
    return Column("samples_per_s", head, tuple(_with_interval(one) for one in found))


def _with_interval(found: Interval | None) -> Cell:
    if found is None:
        return UNKNOWN_CELL
    interval = "one window only" if found.high == math.inf else units.span(found.low, found.high, units.significant)
    return pair(units.significant(found.value), interval, " ")


def _ways(whole: Whole, title: str, report: BenchReport) -> Grid:
    ways = tuple(one for one, _ in whole.tries)
    columns = (
        Column("instances", pair("instances", "", ""), _figures(one.instances for one in ways), words=True),
        Column("threads", Cell(("threads", "each"), "threads each"), _figures(one.threads for one in ways)),
        Column("batch", pair("batch", "", ""), _figures(one.batch for one in ways)),
        _samples_per_s((interval for _, interval in whole.tries), report),
        Column("windows", pair("windows", "", ""), _figures(len(one.samples_per_s) for one in ways)),
    )
    best = frozenset(index for index, one in enumerate(ways) if one == whole.best)
    return Grid(columns, best, ("windows",), title)


def _figures(numbers: Iterable[int]) -> tuple[Cell, ...]:
    return tuple(pair(units.count(number), "", "") for number in numbers)


# ---------------------------------------------------------------------------------------- server


def _server(report: BenchReport) -> tuple[Column, ...]:
    return _rate_columns([shown_rate(row.server) for row in report.rows])


def shown_rate(answer: ServerAnswer | None) -> Rate | None:
    """The rate whose figures stand in a contender's row: the highest that holds, else the one that says most."""
    if answer is None:
        return None
    return answer.holds or answer.fails or (answer.rates[-1] if answer.rates else None)


def _rate_columns(rates: Sequence[Rate | None]) -> tuple[Column, ...]:
    unit = "ms/request"
    heads = {
        "load": Cell(("rate/s", "busy"), "rate/s, busy"),
        "p50": Cell((unit, "p50"), f"p50 {unit}"),
        "p99": Cell((unit, "p99", "at most"), f"p99 {unit}, at most"),
        "late": pair("late", "[interval]", " "),
        "served": Cell(("goodput/s", "answers/s"), "goodput / answers per s"),
    }
    cells = [_rate(rate) for rate in rates]
    return tuple(
        Column(name, head, tuple(one.get(name, UNKNOWN_CELL) for one in cells)) for name, head in heads.items()
    )


def _rate(rate: Rate | None) -> dict[str, Cell]:
    if rate is None:
        return {}
    at_most = UNKNOWN if rate.p99_upper_ms is None else units.ms(rate.p99_upper_ms)
    late = rate.late_share
    return {
        "load": pair(units.significant(rate.rate_per_s), units.percent(rate.utilisation), ", "),
        "p50": pair(units.ms(rate.p50_ms), "", ""),
        "p99": pair(units.ms(rate.p99_ms), at_most, ", "),
        "late": pair(_share_of_requests(late.value), units.span(late.low, late.high, _share_of_requests), " "),
        "served": pair(units.significant(rate.goodput_per_s), units.significant(rate.throughput_per_s), " / "),
    }


def _share_of_requests(share: float) -> str:
    """A share in per cent; less than one request in 100,000 is none, for nobody promises more nines than that."""
    return units.percent(share if share >= 1e-5 else 0.0)


def _batching(batching: Batching) -> str:
    """`one by one`, `up to 8`, `up to 8, 2 ms`: how many are answered together, and how long the first may wait."""
    if batching.max_batch == 1:
        return "one by one"
    wait = f", {units.given(batching.max_wait_ms)} ms" if batching.max_wait_ms else ""
    return f"up to {batching.max_batch}{wait}"


def _rates(answer: ServerAnswer, title: str) -> Grid:
    rates = answer.rates
    _, *others = _rate_columns(rates)
    columns = (
        Column("rate", pair("rate/s", "", ""), _texts(units.significant(one.rate_per_s) for one in rates), words=True),
        Column("batching", pair("batching", "", ""), _texts(_batching(one.batching) for one in rates), words=True),
        *others,
        Column("busy", pair("busy", "", ""), _texts(units.percent(one.utilisation) for one in rates)),
        Column("requests", pair("requests", "", ""), _figures(one.requests for one in rates)),
        Column("verdict", pair("verdict", "", ""), tuple(_rate_verdict(one) for one in rates), words=True),
    )
    best = frozenset(index for index, one in enumerate(rates) if one == answer.holds)
    return Grid(columns, best, ("requests", "busy", "served", "late", "p50", "batching", "p99"), title)


def _texts(texts: Iterable[str]) -> tuple[Cell, ...]:
    return tuple(pair(text, "", "") for text in texts)


def _rate_verdict(rate: Rate) -> Cell:
    if rate.holds is None:
        return pair("undecided", "", "", "open")
    return pair("holds", "", "", "good") if rate.holds else pair("does not hold", "", "", "bad")


# ---------------------------------------------------------------------------------------- verdicts


def _verdicts(report: BenchReport) -> Column:
    cells = tuple(verdict(row, report) for row in report.rows)
    return Column("verdict", pair("verdict", "", ""), cells, words=True)


def verdict(row: BenchRow, report: BenchReport) -> Cell:
    """What became of a contender in a word or two; nothing where there is nothing to compare with."""
    if row.status != "measured":
        return pair(row.status, row.stage, ": ", "open" if row.status == "not yet" else "bad")
    if row.server is not None:
        return _held(row.server)
    if len(report.rows) == 1 or row.comparison is None:
        return _NOTHING
    return pair("baseline", "", "") if row.contender == report.run.baseline else _compared(row.comparison)


def _compared(comparison: Comparison) -> Cell:
    if comparison.told_apart:
        faster = comparison.ratio.value > 1
        return pair("faster", "", "", "good") if faster else pair("slower", "", "", "bad")
    if comparison.ratio.high == math.inf:  # after one round nothing can be said, nor how long it would take
        return pair("indistinguishable", "", "", "open")
    if comparison.seconds_to_tell is None:
        return Cell(("indistinguishable", "even in a day"), "indistinguishable (even in a day)", "open")
    more = f"about {units.about_duration(comparison.seconds_to_tell)} more"
    return Cell(("indistinguishable", more), f"indistinguishable ({more} to tell)", "open")


def _held(answer: ServerAnswer) -> Cell:
    holds = "" if answer.holds is None else f"{units.significant(answer.holds.rate_per_s)}/s"
    fails = "" if answer.fails is None else f"{units.significant(answer.fails.rate_per_s)}/s"
    if holds and fails:
        return Cell((f"holds {holds}", f"not {fails}"), f"holds {holds}, does not hold {fails}", "good")
    if holds:
        return pair(f"holds {holds}", "", "", "good")
    if fails:
        return pair("does not hold", fails, " ", "bad")
    requests = sum(rate.requests for rate in answer.rates)
    return pair("undecided", units.count_of(requests, "request"), " after ", "open")
