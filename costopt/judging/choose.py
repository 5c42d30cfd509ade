"""Which candidate should be deployed? A pure function of what was measured, so a new budget costs no new measurement.

    outcomes ─▶ rows: each candidate beside the original ─▶ limits ─▶ objective ─▶ winner ─▶ words

The best by the objective is seldom the best for certain. So everyone who meets the budget is compared with it, and
among those whom the measurements can't tell from it the simplest wins: fewer methods, fewer options, the CPU provider,
a smaller batch; then the one that keeps more accuracy. (Being indistinguishable is not transitive, hence the comparison
with one and the same best.)
The original is a candidate like any other and the simplest of all; "leave it alone" is a verdict, not a failure.
"""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from costopt import plugins, stats
from costopt.errors import ConfigError
from costopt.judging import cost, explain, limits
from costopt.judging.bought import bought
from costopt.judging.explain import Verdict
from costopt.judging.objectives import known, objective_of
from costopt.measuring import energy, noise_rules
from costopt.measuring.stretches import at_own_speed
from costopt.metrics import Facts, Metric
from costopt.powering import carbon
from costopt.prices import Prices
from costopt.records import Candidate, Energy, Failed, Invalid, Machine, Measured, Outcome, Plan, Run, Skipped, Timing
from costopt.verdict import Drop, Interval, Quote, Report, Row

NEAREST = 3
"""How many candidates are named when nothing meets the budget."""

_ITSELF = Interval(1.0, 1.0, 1.0)
_NO_DROP = Interval(0.0, 0.0, 0.0)


def judge(run: Run, outcomes: Sequence[Outcome], plan: Plan, today: datetime.date, kept: Quote | None = None) -> Report:
    """The answer for `run.candidates`, in their order; those without an outcome are not measured yet.

    `today` only says how old the price is. `kept` is the price that the run was judged at before (`Journal.quote`);
    without it the plan's price is looked up. Raises ConfigError when the plan asks for what the run can't tell: another
    metric, a limit on cost without a price, an unknown machine.
    """
    found = {one.candidate.id: one for one in outcomes}
    quote = kept or quote_for(plan)
    rows = _rows(run, found, plan, quote)
    verdict = _decide(run, found, plan, quote, rows)
    return Report(
        run=run,
        verdict="not_met" if verdict.winner is None else "met",
        winner=None if verdict.winner is None else verdict.winner.candidate.id,
        keep_original=verdict.keep_original,
        rows=tuple(replace(row, lost=explain.lost(row, verdict)) for row in rows),
        quote=quote,
        confidence=plan.confidence,
        headline=explain.headline(verdict),
        nearest=tuple(row.candidate.id for row in verdict.nearest),
        notes=explain.notes(verdict, today),
        finished=all(one.id in found for one in run.candidates),
        bought=() if verdict.winner is None else bought(verdict.winner, rows),
        about_energy=explain.is_about_energy(plan),
    )


def quote_for(plan: Plan) -> Quote | None:
    """What an hour of the plan's machine costs; None when the plan does not say.

    Raises ConfigError for a machine that is not known, and for a limit on cost without a price.
    """
    if plan.price is not None:
        return plugins.make("prices", plan.price, Prices).quote()
    if plan.budget.usd_per_million is not None:
        raise ConfigError(
            "budget.usd_per_million needs the machine's price: add `machine: {instance: aws/c7i.large}` "
            "or `machine: {usd_per_hour: 0.09}`"
        )
    return None


# ---------------------------------------------------------------------------------------- one row a candidate


@dataclass(frozen=True, slots=True)
class _Yardstick:
    """What every candidate is held against: the original as it was measured, the plan and the price."""

    baseline: Measured
    original_s: float
    facts: Facts
    metric: Metric
    plan: Plan
    quote: Quote | None
    machine: Machine


def _rows(run: Run, found: Mapping[str, Outcome], plan: Plan, quote: Quote | None) -> tuple[Row, ...]:
    metric = _metric(run, plan)
    baseline = found.get(run.baseline)
    yardstick = None
    if isinstance(baseline, Measured):
        original_s = cost.original_seconds(one.timing for one in found.values() if isinstance(one, Measured))
        yardstick = _Yardstick(baseline, original_s, _facts(baseline), metric, plan, quote, run.machine)
    far = _far(run, found)
    rows = (_row(candidate, found.get(candidate.id), yardstick) for candidate in run.candidates)
    return tuple(_spoilt(row, far[row.candidate.id]) if row.candidate.id in far else row for row in rows)


def _far(run: Run, found: Mapping[str, Outcome]) -> dict[str, noise_rules.Fault]:
    """Candidates beside whom the original was far from itself elsewhere: the machine was not the same meanwhile.

    The original's own row stays: without it there is nothing to hold anybody against.
    """
    medians = {
        id_: stats.baseline_median_s(at_own_speed(one.timing))
        for id_, one in found.items()
        if isinstance(one, Measured)
    }
    faults = zip(medians, noise_rules.far_from_neighbours(tuple(medians.values())), strict=True)
    return {id_: fault for id_, fault in faults if fault is not None and id_ != run.baseline}


def _spoilt(row: Row, fault: noise_rules.Fault) -> Row:
    return Row(row.candidate, "invalid", fault.reason, fix=f"{fault.fix}: the same command tries again")


def _metric(run: Run, plan: Plan) -> Metric:
    """The metric that the run was scored with; other facts than its own were not kept.

    Only a metric that wants labels and found none may differ from the plan's: then the run's stands in for it.
    """
    asked = plugins.make("metrics", plan.metric, Metric)
    if plan.metric != run.metric and (run.against == "target" or not asked.needs_labels):
        raise ConfigError(
            f"metric: this run was scored with {run.metric}, not {plan.metric}; change it back, or measure again"
        )
    return plugins.make("metrics", run.metric, Metric)


def _facts(measured: Measured) -> Facts:
    return np.array(measured.score.values, dtype=np.float64)


def _row(candidate: Candidate, outcome: Outcome | None, yardstick: _Yardstick | None) -> Row:
    match outcome:
        case None:
            return Row(candidate, "skipped", explain.NOT_YET)
        case Failed():
            return Row(candidate, "failed", outcome.reason, stage=outcome.stage)
        case Invalid():
            return Row(candidate, "invalid", outcome.reason, fix=outcome.fix)
        case Skipped():
            return Row(candidate, "skipped", outcome.reason)
        case Measured():
            return _beside_the_original(_alone(outcome), outcome, yardstick)


def _alone(measured: Measured) -> Row:
    """What can be said of a candidate without the original."""
    return Row(
        measured.candidate,
        measured.status,
        latency=stats.latency(measured.timing),
        size_bytes=measured.artifact.size_bytes,
        peak_memory_bytes=measured.peak_memory_bytes,
        load_s=measured.load_s,
        placement=measured.placement,
        time_share=measured.time_share,
        first_call_s=measured.first_call_s,
        precision=measured.precision,
        operator_share=measured.operator_share,
    )


def _beside_the_original(row: Row, measured: Measured, yardstick: _Yardstick | None) -> Row:
    """Speed-up, cost and drop against the original, and which limits are missed; nothing of it without an original."""
    if yardstick is None:
        return row
    plan = yardstick.plan
    original = measured.candidate == yardstick.baseline.candidate
    speedup = _ITSELF if original else _speedup(measured.timing, plan.confidence)
    joules = _joules(measured.candidate, yardstick, yardstick.original_s / speedup.value)
    compared = replace(
        row,
        speedup=speedup,
        throughput_per_s=speedup.value / yardstick.original_s,
        usd=cost.usd(yardstick.original_s, speedup, yardstick.quote, plan.traffic),
        energy=joules,
        co2_grams_per_million=_co2(joules, plan),
        drop=_drop(measured, yardstick, original),
    )
    missed = limits.refusals(compared, plan.budget)
    undecided = bool(missed) and all(refusal.undecided for refusal in missed)
    return replace(compared, refusals=missed, meets=None if undecided else not missed)


def _joules(candidate: Candidate, yardstick: _Yardstick, seconds: float) -> Energy | None:
    """Of an inference of so many seconds: by the power that the plan gives for the whole machine, else published."""
    given = yardstick.plan.electricity
    if given is not None and given.watts is not None:
        return energy.at(given.watts, seconds)
    return energy.modelled_on(yardstick.machine, candidate.setting, seconds)


def _co2(joules: Energy | None, plan: Plan) -> Interval | None:
    """Grams of CO2e per million inferences, the building's share (PUE) included."""
    grams = None if plan.electricity is None else plan.electricity.grams_co2e_per_kwh
    if joules is None or plan.electricity is None or grams is None:
        return None
    value, low, high = (
        carbon.grams_per_million(one * plan.electricity.pue, grams)
        for one in (joules.joules_per_inference, *joules.ends)
    )
    return Interval(value, low, high)


def _speedup(timing: Timing, confidence: float) -> Interval:
    """Against the original, from the rounds at the machine's own speed; wider for what disturbed it meanwhile."""
    return stats.speedup(at_own_speed(timing), confidence, noise_rules.doubt(timing))


def _drop(measured: Measured, yardstick: _Yardstick, original: bool) -> Drop:
    """The drop under the original; the original's own is zero by definition."""
    facts = yardstick.facts if original else _facts(measured)
    confidence, limit = yardstick.plan.confidence, yardstick.plan.budget.accuracy_drop
    places = measured.score.places
    same_samples = yardstick.facts[list(places)] if places else yardstick.facts
    drop = _NO_DROP if original else stats.drop_interval(yardstick.metric, same_samples, facts, confidence)
    certified = _certified(drop, limit)
    return Drop(
        metric=_metric_name(measured),
        against=measured.score.against,
        value=yardstick.metric.value(facts),
        drop=drop,
        samples=measured.score.samples,
        certified=certified,
        samples_to_decide=_samples_to_decide(drop, limit, len(facts)) if certified is None else None,
        scored_as=measured.score.taken_from,
    )


def _certified(drop: Interval, limit: float | None) -> bool | None:
    """True when the whole interval lies inside the limit, False when all of it lies outside, else None."""
    if limit is None or drop.low <= limit < drop.high:
        return None
    return drop.high <= limit


def _samples_to_decide(drop: Interval, limit: float | None, samples: int) -> int | None:
    return None if limit is None else stats.samples_to_decide(drop, limit, samples)


def _metric_name(measured: Measured) -> str:
    """The metric's name; a user's own is called by its function."""
    spec = measured.score.metric
    return str(spec.options.get("function", spec.name)).rpartition(":")[2]


# ---------------------------------------------------------------------------------------- the contest


def _decide(run: Run, found: Mapping[str, Outcome], plan: Plan, quote: Quote | None, rows: tuple[Row, ...]) -> Verdict:
    """The winner, whom it can't be told from, and the nearest when there is no winner."""
    timings = {id_: one.timing for id_, one in found.items() if isinstance(one, Measured)}
    meeting = [row for row in rows if row.meets]
    objective = objective_of(plan, meeting)
    ranked = tuple(sorted(meeting, key=lambda row: (objective.key(row), _simplicity(row))))
    rivals = tuple(row for row in ranked if objective.same(ranked[0], row, _faster(ranked[0], row, run, timings, plan)))
    original = timings.get(run.baseline)
    return Verdict(
        run=run,
        plan=plan,
        quote=quote,
        objective=objective,
        rows=rows,
        baseline=next((row for row in rows if row.candidate.id == run.baseline and row.status == "measured"), None),
        against_itself=None if original is None else stats.speedup(at_own_speed(original), plan.confidence),
        drift_s=stats.drift(timings.values()) if timings else (0.0, 0.0),
        noise=None if original is None else original.noise,
        winner=min(rivals, key=_simplicity, default=None),
        ranked=ranked,
        rivals=rivals,
        nearest=() if ranked else _nearest(rows),
    )


def _faster(one: Row, other: Row, run: Run, timings: Mapping[str, Timing], plan: Plan) -> Interval:
    """How many times faster `one` is than `other`, per inference. The original needs no detour by way of itself."""
    if one is other:
        return _ITSELF
    if other.candidate.id == run.baseline:
        return known(one.speedup)
    if one.candidate.id == run.baseline:
        return cost.reciprocal(known(other.speedup))
    pair = at_own_speed(timings[one.candidate.id]), at_own_speed(timings[other.candidate.id])
    return stats.between(*pair, plan.confidence, max(map(noise_rules.doubt, pair)))


def _simplicity(row: Row) -> tuple[tuple[float, ...], float, float, str]:
    """How complicated, then how much accuracy is lost, then faster; the id only breaks ties."""
    drop = 0.0 if row.drop is None else row.drop.drop.value
    speedup = 0.0 if row.speedup is None else row.speedup.value
    return (explain.complexity(row.candidate), drop, -speedup, row.candidate.id)


def _nearest(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Those who miss the budget by least, at their worst limit; what is only undecided comes before what is refused."""
    refused = [row for row in rows if row.refusals]
    refused.sort(key=lambda row: (row.meets is not None, max(map(limits.excess, row.refusals)), _simplicity(row)))
    return tuple(refused[:NEAREST])
