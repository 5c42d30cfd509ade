"""What a bench found: a pure function of what was measured, so `costopt show` settles it anew without measuring.

outcomes ─▶ a row a contender, beside the first ─▶ what the machine did meanwhile ─▶ one sentence
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from costopt import plugins, stats, units
from costopt.benching.measurements import (
    Benched,
    BenchOutcome,
    BenchReport,
    BenchRow,
    BenchRun,
    Comparison,
    Contender,
    Energy,
    Served,
    Throughput,
    Unbenched,
)
from costopt.measuring import energy, noise_rules, rates, stopping, throughput
from costopt.measuring.noise_rules import Fault
from costopt.measuring.stretches import at_own_speed
from costopt.providers import Provider
from costopt.timings import Timing
from costopt.verdict import Interval

_ITSELF = Interval(1.0, 1.0, 1.0)


def judge(run: BenchRun, outcomes: Sequence[BenchOutcome]) -> BenchReport:
    """The answer for `run.contenders`, in their order; those without an outcome are not measured yet."""
    found = {one.contender.id: one for one in outcomes if _beside_the_first(one, run)}
    rows = _against_neighbours(tuple(_row(one, found.get(one.id), run) for one in run.contenders), found)
    timings = _timings(found)
    return BenchReport(
        run=run,
        rows=rows,
        headline=_headline(run, rows, timings),
        holds=_holds(run, rows),
        notes=(*run.notes, *_narrowed(rows)),
        finished=all(one.id in found for one in run.contenders),
    )


def _beside_the_first(outcome: BenchOutcome, run: BenchRun) -> bool:
    """Whether it took turns with whom all are held against now; nobody named is anybody."""
    return not isinstance(outcome, Benched) or outcome.beside in ("", run.baseline.id)


# ---------------------------------------------------------------------------------------- a row a contender


def _row(contender: Contender, outcome: BenchOutcome | None, run: BenchRun) -> BenchRow:
    match outcome:
        case None:
            return BenchRow(contender, "not yet", "not measured yet; the same command goes on")
        case Unbenched():
            return BenchRow(contender, outcome.status, outcome.reason, outcome.stage, outcome.fix)
        case Benched():
            row = BenchRow(contender, "measured", opened=outcome.opened, energy=outcome.energy)
            return _measured(row, outcome, run)


def _measured(row: BenchRow, outcome: Benched, run: BenchRun) -> BenchRow:
    match outcome.found:
        case Timing():
            return _timed(row, outcome.found, run)
        case Throughput():
            whole = throughput.whole(outcome.found, run.confidence)
            return replace(row, whole=whole, notes=(*row.notes, *outcome.found.left_out))
        case Served():
            remark = rates.remark(outcome.found)
            return replace(row, server=rates.answer(outcome.found), notes=(*row.notes, *([remark] if remark else [])))


def _timed(row: BenchRow, timing: Timing, run: BenchRun) -> BenchRow:
    return replace(
        row,
        latency=stats.latency(timing),
        comparison=_comparison(row.contender, timing, run),
        outliers=stats.outliers(timing.seconds),
        warm_up=timing.warm_up,
        energy=row.energy or _modelled(row.contender, timing, run),
    )


def _modelled(contender: Contender, timing: Timing, run: BenchRun) -> Energy | None:
    """Joules per inference by published power; one call after another only, for then the CPU is always busy."""
    if run.scenario.name != "single_stream":
        return None
    seconds = statistics.median(timing.seconds) / timing.batch
    return energy.modelled_on(run.machine, contender.setting, seconds)


def _comparison(contender: Contender, timing: Timing, run: BenchRun) -> Comparison:
    """The ratio against the first contender; the first is as fast as itself by definition."""
    rounds = len(timing.rounds)
    if contender == run.baseline:
        return Comparison(_ITSELF, False, rounds, timing.stopped)
    faults = noise_rules.faults(timing.noise) if timing.noise else ()
    kept = at_own_speed(timing)
    ratio = stats.speedup(kept, run.confidence, noise_rules.doubt(timing))
    return Comparison(
        ratio,
        told_apart=not stats.indistinguishable(ratio),
        rounds=rounds,
        stopped=timing.stopped,
        slow_rounds=rounds - len(kept.rounds),
        seconds_to_tell=stopping.seconds_to_tell(ratio, _spent_s(timing)),
        wide_because=tuple(f"{fault.reason}; {fault.fix}" for fault in faults if fault.widen > 1),
    )


def _spent_s(timing: Timing) -> float:
    """Seconds in calls of both sides."""
    return sum(sum(one.seconds) + sum(one.baseline_seconds) for one in timing.rounds)


def _against_neighbours(rows: tuple[BenchRow, ...], found: Mapping[str, BenchOutcome]) -> tuple[BenchRow, ...]:
    """The rows, without the figures of those beside whom the first contender was far from itself elsewhere."""
    medians = {id_: stats.baseline_median_s(at_own_speed(timing)) for id_, timing in _timings(found).items()}
    far = dict(zip(medians, noise_rules.far_from_neighbours(tuple(medians.values())), strict=True))
    return tuple(_refused(row, far.get(row.contender.id)) for row in rows)


def _timings(found: Mapping[str, BenchOutcome]) -> dict[str, Timing]:
    return {id_: one.found for id_, one in found.items() if isinstance(one, Benched) and isinstance(one.found, Timing)}


def _refused(row: BenchRow, fault: Fault | None) -> BenchRow:
    return row if fault is None else BenchRow(row.contender, "invalid", fault.reason, fix=fault.fix)


def fastest(run: BenchRun, outcomes: Sequence[BenchOutcome]) -> Contender | None:
    """The contender on ONNX Runtime that takes least time per inference, as measured; None when none was timed."""
    rows = [row for row in judge(run, outcomes).rows if row.comparison and row.contender.engine == "onnxruntime"]
    return max(rows, key=lambda row: _ratio(row).value).contender if rows else None


# ---------------------------------------------------------------------------------------- in one sentence


def _narrowed(rows: Sequence[BenchRow]) -> tuple[str, ...]:
    """Which providers were seen to compute float32 in a narrower format; each once."""
    seen = {
        str(row.contender.setting.provider): (row.contender.setting.provider, row.opened.precision)
        for row in rows
        if row.opened is not None and row.contender.engine == "onnxruntime"
    }
    found = ((name, plugins.make("providers", spec, Provider).narrowed(one)) for name, (spec, one) in seen.items())
    return tuple(f"{name} {words}" for name, words in found if words)


def _headline(run: BenchRun, rows: tuple[BenchRow, ...], timings: Mapping[str, Timing]) -> str:
    measured = [row for row in rows if row.status == "measured"]
    if not measured:
        return "nothing could be measured"
    match run.scenario.name:
        case "offline":
            return _most(measured)
        case "server":
            return "; ".join(_held(row) for row in measured)
        case _:
            return _fastest(run, measured, timings)


def _fastest(run: BenchRun, rows: Sequence[BenchRow], timings: Mapping[str, Timing]) -> str:
    """Who answers soonest per inference, and whether that is sure."""
    if len(rows) == 1:
        return f"{who(rows[0].contender)}: one contender, so nothing to compare it with"
    best, *others = sorted(rows, key=lambda row: -_ratio(row).value)
    rivals = [row for row in others if not _told(best, row, run, timings)]
    if run.baseline == best.contender:
        slower = min(_ratio(row).value for row in others)
        words = (
            f"{who(best.contender)} is the fastest per inference (the slowest takes {units.ratio(1 / slower)} as long)"
        )
    else:
        ratio = _ratio(best)
        interval = units.span(ratio.low, ratio.high, units.ratio)
        words = f"{who(best.contender)} is {units.ratio(ratio.value)} {interval} as fast as {who(run.baseline)}"
    if not rivals:
        return words
    more = f" and {units.count_of(len(rivals) - 1, 'other')}" if len(rivals) > 1 else ""
    return f"{words}; {who(rivals[0].contender)}{more} can't be told from it"


def _ratio(row: BenchRow) -> Interval:
    assert row.comparison is not None
    return row.comparison.ratio


def _told(best: BenchRow, other: BenchRow, run: BenchRun, timings: Mapping[str, Timing]) -> bool:
    """Whether the best can be told from another: straight where one of them is the first, else by way of it."""
    for row, opposite in ((best, other), (other, best)):
        if row.contender == run.baseline:
            return not stats.indistinguishable(_ratio(opposite))
    pair = at_own_speed(timings[best.contender.id]), at_own_speed(timings[other.contender.id])
    between = stats.between(*pair, run.confidence, max(map(noise_rules.doubt, pair)))
    return not stats.indistinguishable(between)


def _most(rows: Sequence[BenchRow]) -> str:
    """Who serves most samples a second with the whole machine."""
    best = max(rows, key=lambda row: row.whole.samples_per_s.value if row.whole else 0.0)
    assert best.whole is not None
    way, rate = best.whole.best, best.whole.samples_per_s
    return (
        f"{best.contender.model} on {_provider(best.contender)} serves {units.significant(rate.value)} samples/s "
        f"{units.span(rate.low, rate.high, units.significant)} on the whole machine, with "
        f"{units.count_of(way.instances, 'instance')} of {units.count_of(way.threads, 'thread')} at batch {way.batch}"
    )


def _held(row: BenchRow) -> str:
    """What a server holds."""
    answer = row.server
    assert answer is not None
    bound = f"p99 within {units.given(answer.bound_ms)} ms"
    name = f"{row.contender.model} on {_provider(row.contender)}"
    held = "" if answer.holds is None else f"holds {units.significant(answer.holds.rate_per_s)} requests/s with {bound}"
    failed = "" if answer.fails is None else f"does not hold {units.significant(answer.fails.rate_per_s)}"
    if not held:
        failed = f"{failed} requests/s with {bound}" if failed else f"is undecided: too few requests to tell {bound}"
    return f"{name} {', and '.join(part for part in (held, failed) if part)}"


def who(contender: Contender) -> str:
    """A contender in words: `a.onnx on cpu, batch 8, 2 threads`."""
    setting = contender.setting
    threads = units.count_of(setting.threads, "thread")
    return f"{contender.model} on {_provider(contender)}, batch {setting.batch}, {threads}"


def _provider(contender: Contender) -> str:
    return str(contender.setting.provider) if contender.engine == "onnxruntime" else contender.engine


def _holds(run: BenchRun, rows: tuple[BenchRow, ...]) -> bool | None:
    """Whether every contender of a server scenario holds the rate that was asked for (or any, where none was)."""
    if run.scenario.name != "server":
        return None
    answers = [row.server for row in rows]
    if any(answer is None or (answer.holds is None and answer.fails is not None) for answer in answers):
        return False
    return True if all(answer is not None and answer.holds is not None for answer in answers) else None
