"""The choice in words: one sentence on top, why each of the others lost, and what a reader must know to trust it.

Pure text from what was decided; nothing is decided here. Changes are told as people tell them: "accuracy -0.02 points"
is worse, "3.1x less" is cheaper.
"""

import datetime
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from costopt import plugins, stats, units
from costopt.judging.causes import causes
from costopt.judging.limits import change_in_words, excess, metric_in_words
from costopt.judging.objectives import Cost, MedianCall, Objective
from costopt.measuring import noise_rules
from costopt.pricing import offers
from costopt.providers import Provider
from costopt.records import Candidate, Noise, Plan, Run
from costopt.verdict import Drop, Interval, Quote, Refusal, Row

NOT_YET = "not measured yet"

DRIFTED = 1.2
"""A machine whose speed changed by more than this between candidates is said to have drifted: their milliseconds can't
be compared, however well their ratios can. The threshold is a judgement."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided.

    `ranked` are all that meet the budget, the best first; `rivals` are those of them that can't be told from the best
    (itself included), and `winner` is the simplest rival. `nearest` is empty when there is a winner. `baseline` is
    None when the original was not measured; `against_itself` is its speed-up over itself as it was measured, and
    `drift_s` its fastest and slowest seconds per call beside any candidate, `noise` what the machine did meanwhile.
    """

    run: Run
    plan: Plan
    quote: Quote | None
    objective: Objective
    rows: tuple[Row, ...]
    baseline: Row | None
    against_itself: Interval | None
    drift_s: tuple[float, float]
    noise: Noise | None
    winner: Row | None
    ranked: tuple[Row, ...]
    rivals: tuple[Row, ...]
    nearest: tuple[Row, ...]

    @property
    def keep_original(self) -> bool:
        """Whether the winner is the original as it is: its own provider, batch and threads."""
        return self.winner is not None and self.winner.candidate.id == self.run.baseline


# ---------------------------------------------------------------------------------------- on top


def headline(verdict: Verdict) -> str:
    """The answer in one sentence, without a full stop."""
    winner, baseline = verdict.winner, verdict.baseline
    if baseline is None:
        return "Nothing can be judged: the original was not measured, and everything is held against it"
    if winner is None:
        return _nothing_meets(verdict.nearest[0], verdict)
    if verdict.keep_original:
        return _leave_it_alone(winner, verdict)
    accuracy = "" if winner.drop is None else f"; {_accuracy(winner.drop, verdict.plan)}"
    return f"{_name(winner, verdict)} {verdict.objective.gain(winner, baseline)}{accuracy}"


def _name(row: Row, verdict: Verdict) -> str:
    """ "int8_static on openvino", with batch and threads where the run varies them."""
    candidate, tried = row.candidate, verdict.run.candidates
    batch = f" in batches of {candidate.batch}" if len({one.batch for one in tried}) > 1 else ""
    threads = f" with {candidate.threads} threads" if len({one.threads for one in tried}) > 1 else ""
    label = candidate.label if candidate.recipe else "the original"
    return f"{label} on {candidate.provider}{batch}{threads}"


def _nothing_meets(nearest: Row, verdict: Verdict) -> str:
    worst = max((one for one in nearest.refusals if not one.undecided), key=excess, default=None)
    if worst is not None:
        return f"Nothing meets the budget: the nearest, {_name(nearest, verdict)}, {_miss(worst, nearest)}"
    reasons = "; ".join(refusal.words for refusal in nearest.refusals)
    return f"Nothing provably meets the budget: the nearest is {_name(nearest, verdict)} ({reasons})"


def _miss(refusal: Refusal, row: Row) -> str:
    """ "misses p95_ms by 0.400 ms (5.40 against 5)"."""
    value = refusal.value or 0.0
    over, bound = value - refusal.bound, units.given(refusal.bound)
    match refusal.limit:
        case "accuracy_drop":
            metric = "" if row.drop is None else row.drop.metric
            by, found, bound = (units.changes(metric, one).lstrip("+") for one in (over, value, refusal.bound))
        case "p95_ms":
            by, found = f"{units.ms(over)} ms", units.ms(value)
        case "usd_per_million":
            by, found = units.usd(over), units.usd(value)
        case "joules_per_inference":
            by, found = f"{units.significant(over)} J", units.significant(value)
        case "co2_grams_per_million":
            by, found = f"{units.significant(over)} g", units.significant(value)
        case "size_mb" | "memory_mb":
            by, found = units.bytes(over * 1e6), units.megabytes(value * 1e6)
    return f"misses {refusal.limit} by {by} ({found} against {bound})"


def _leave_it_alone(original: Row, verdict: Verdict) -> str:
    told = f"Leave it alone: {_name(original, verdict)} is the {verdict.objective.best} that meets the budget"
    others = [row for row in verdict.rivals if row is not original]
    if others:
        more = f" and {len(others) - 1} more are" if len(others) > 1 else " is"
        return f"{told}; {_name(others[0], verdict)}{more} indistinguishable from it"
    if len(verdict.ranked) > 1:
        second = verdict.ranked[1]
        return f"{told}; {_name(second, verdict)} {verdict.objective.behind(second, original, 'the original')}"
    return f"{told}; nothing else that was measured meets it"


def _accuracy(drop: Drop, plan: Plan) -> str:
    """ "accuracy -0.02 points [-0.15, +0.11], certified"."""
    status = "no accuracy limit set" if plan.budget.accuracy_drop is None else "certified"
    if drop.metric != "agreement":
        return f"{metric_in_words(drop)} {change_in_words(drop)}, {status}"
    # The original agrees with itself on every sample, so the agreement is one minus the drop.
    low, high = 1 - drop.drop.high, min(1.0, 1 - drop.drop.low)
    ends = units.span(low, high, lambda end: units.score(drop.metric, end))
    return f"agrees with the original on {units.score(drop.metric, drop.value)} of samples {ends}, {status}"


# ---------------------------------------------------------------------------------------- why the others lost


def lost(row: Row, verdict: Verdict) -> str | None:
    """Why a candidate was not chosen; None for the winner."""
    if row is verdict.winner:
        return None
    if row.status == "failed":
        return f"failed at {row.stage}: {row.reason}"
    if row.status != "measured":
        return row.reason
    if row.refusals:
        return "; ".join(refusal.words for refusal in row.refusals)
    if verdict.winner is None:
        return "not judged: the original was not measured"
    return _outdone(row, verdict.winner, verdict)


def _outdone(row: Row, winner: Row, verdict: Verdict) -> str:
    """Why one that meets the budget lost to another that does."""
    best = verdict.ranked[0]
    if row in verdict.rivals:
        if best in (row, winner):
            return f"indistinguishable from the winner, which {_preferable(winner, row)}"
        return f"indistinguishable from the best, as is the winner, which {_preferable(winner, row)}"
    if isinstance(verdict.objective, Cost) and _slower(row) and not _slower(winner) and row.speedup is not None:
        return f"{units.ratio(row.speedup.value)}: slower than the original"
    # A winner that only can't be told from the best may itself lie behind this row.
    if verdict.objective.key(winner) < verdict.objective.key(row):
        return verdict.objective.behind(row, winner, "the winner")
    return verdict.objective.behind(row, best, "the best, from which the winner is indistinguishable")


def complexity(candidate: Candidate) -> tuple[float, ...]:
    """What makes a candidate harder to live with, worst first: methods, options, another provider, a larger batch."""
    options = sum(len(spec.options) for spec in candidate.recipe)
    return (len(candidate.recipe), options, candidate.provider != "cpu", candidate.batch)


def _preferable(winner: Row, row: Row) -> str:
    """Why the winner was taken of two that can't be told apart by the objective."""
    if complexity(winner.candidate) < complexity(row.candidate):
        return "is simpler"
    if winner.drop is not None and row.drop is not None and winner.drop.drop.value < row.drop.drop.value:
        return "keeps more accuracy"
    return "came out ahead"


def _slower(row: Row) -> bool:
    """Whether a row is slower than the original for certain."""
    return row.speedup is not None and row.speedup.high < 1


# ---------------------------------------------------------------------------------------- what to know


def notes(verdict: Verdict, today: datetime.date) -> tuple[str, ...]:
    """What a reader must know to trust the answer, whole sentences without full stops."""
    about = (_about_the_run(verdict), _about_the_winner(verdict), _about_energy(verdict), _about_money(verdict, today))
    return (*verdict.run.notes, *itertools.chain(*about))


def _about_the_run(verdict: Verdict) -> Iterator[str]:
    waiting = sum(row.reason == NOT_YET for row in verdict.rows)
    if waiting:
        yield f"{waiting} of {len(verdict.rows)} candidates are not measured yet: the answer may change"
    if verdict.baseline is not None:
        yield f"speed-ups are per inference, against {_name(verdict.baseline, verdict)}"
    itself = verdict.against_itself
    if itself is not None and not stats.indistinguishable(itself):
        ends = units.span(itself.low, itself.high, units.ratio)
        yield (
            f"the original against itself came out at {units.ratio(itself.value)} {ends}: the machine was not quiet, "
            "so read small differences with care"
        )
    fastest_s, slowest_s = verdict.drift_s
    if slowest_s > DRIFTED * fastest_s:
        yield (
            f"the machine's speed changed while it measured: the original took {units.ms(fastest_s * 1e3)} to "
            f"{units.ms(slowest_s * 1e3)} ms a call beside different candidates; speed-ups and costs are paired and "
            "hold, milliseconds are those of their moment"
        )
    yield from _about_noise(verdict)
    yield from _about_placement(verdict)
    yield from _about_precision(verdict)
    if any(row.status == "measured" and row.candidate.batch > 1 for row in verdict.rows):
        yield "latency is per call, and a call serves a whole batch"
    if isinstance(verdict.objective, MedianCall):
        yield "not every candidate was called often enough for a p95, so they are ordered by their median call"


def _about_noise(verdict: Verdict) -> Iterator[str]:
    """What disturbed the machine while the original was timed: it is not refused, for without it there is no run."""
    for fault in noise_rules.faults(verdict.noise) if verdict.noise else ():
        yield f"while the original was timed: {fault.reason}; {fault.fix}"


def _about_placement(verdict: Verdict) -> Iterator[str]:
    """Who else had a share of the time, where a provider did not do all of the work itself."""
    for row in verdict.rows:
        if len(row.time_share) > 1:
            ordered = sorted(row.time_share.items(), key=lambda one: -one[1])
            shares = ", ".join(f"{name} {units.percent(share)}" for name, share in ordered)
            yield f"{_name(row, verdict)}: share of the time by provider: {shares}"


def _about_precision(verdict: Verdict) -> Iterator[str]:
    """Which providers were seen to compute float32 in a narrower format."""
    words: dict[str, None] = {}  # a dict keeps the order, and each line once
    for row in verdict.rows:
        provider = row.candidate.setting.provider
        narrowed = plugins.make("providers", provider, Provider).narrowed(row.precision)
        if narrowed:
            words[f"{provider} {narrowed}"] = None
    yield from words


def _about_the_winner(verdict: Verdict) -> Iterator[str]:
    if verdict.run.against == "original":
        yield "there are no labels: the score is agreement with the original, which may itself be wrong"
    winner = verdict.winner
    if winner is None:
        return
    if verdict.keep_original:
        yield from causes(winner, verdict.rows, verdict.run.machine)
    if verdict.plan.budget.accuracy_drop is None:
        yield "no accuracy limit set: candidates were chosen without regard to accuracy"
        drop = winner.drop
        if drop is not None and drop.drop.low > 0:
            yield f"the winner is certainly worse than the original: {metric_in_words(drop)} {change_in_words(drop)}"
    others = [row for row in verdict.rivals if row is not winner]
    if others:
        names = ", ".join(_name(row, verdict) for row in others)
        reason = " and ".join(sorted({_preferable(winner, row) for row in others}))
        yield f"the best are indistinguishable; the winner {reason}, compared with {names}"


def _about_energy(verdict: Verdict) -> Iterator[str]:
    """Where joules and grams come from, when the answer rests on them."""
    plan, row = verdict.plan, verdict.winner or verdict.baseline
    if not is_about_energy(plan) or row is None or row.energy is None:
        return
    low, high = row.energy.ends
    span = "" if low == high else f", {units.span(low, high, units.significant)}"
    joules = f"{units.significant(row.energy.joules_per_inference)} J per inference"
    yield f"energy is {row.energy.label}, while it computes: {joules}{span} ({row.energy.source})"
    if plan.electricity is not None and row.co2_grams_per_million is not None:
        grams = units.significant(row.co2_grams_per_million.value)
        yield f"CO2: {grams} g per million inferences, at {plan.electricity.words}; idle hours are not in it"


def is_about_energy(plan: Plan) -> bool:
    """Whether the answer to a plan rests on joules or CO2."""
    limits = plan.budget.joules_per_inference, plan.budget.co2_grams_per_million
    return plan.objective == "energy" or any(one is not None for one in limits)


def _about_money(verdict: Verdict, today: datetime.date) -> Iterator[str]:
    quote = verdict.quote
    if quote is None:
        yield "no price is known, so costs are relative to the original; add `machine: {instance: aws/c7i.large}`"
        return
    if quote.instance:
        machine = verdict.run.machine
        yield (
            f"times were taken on {machine.cpu} ({machine.cores} cores), the price is that of {quote.instance}: "
            "costs hold where the two are equally fast"
        )
    if quote.note:
        yield quote.note
    yield from _in_own_money(verdict, quote)
    age_days = offers.age_days(quote.as_of, today)
    if age_days is not None and age_days > offers.OLD_AFTER_DAYS:
        yield f"the price of {quote.instance} is of {quote.as_of}, {age_days} days old: check it"


def _in_own_money(verdict: Verdict, quote: Quote) -> Iterator[str]:
    """The amounts that matter in the plan's currency, at its rate."""
    currency = verdict.plan.currency
    if currency is None:
        return
    told = [f"an hour of the machine is {units.significant(quote.usd_per_hour / currency.usd)} {currency.code}"]
    usd = None if verdict.winner is None else verdict.winner.usd
    dollars = None if usd is None else usd.saturated if usd.at_traffic is None else usd.at_traffic
    if dollars is not None:
        told.append(f"a million of the winner {units.significant(dollars / currency.usd)} {currency.code}")
    rate = f"{units.given(currency.usd)} USD of {currency.as_of}"
    yield f"at 1 {currency.code} = {rate}, {' and '.join(told)}"
