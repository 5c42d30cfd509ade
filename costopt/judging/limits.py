"""Which limits of a budget does a candidate miss, and by how much?

A limit is met when that is proven: the whole interval of the accuracy drop inside, the upper bound of the p95 below.
What the measurements leave open is refused too, marked as undecided, with what would settle it. Each limit is one
small function from a judged row to its `Refusal`, or None when the limit is met.
"""

from costopt import units
from costopt.records import Budget
from costopt.verdict import Drop, Interval, LimitName, Refusal, Row


def refusals(row: Row, budget: Budget) -> tuple[Refusal, ...]:
    """Every limit in `budget` that a measured candidate does not provably meet, in the order of the budget file.

    A limit on cost needs `row.usd` with a price in it; without one the limit is not looked at.
    """
    found = (
        _accuracy(row, budget),
        _p95(row, budget),
        _cost(row, budget),
        _size(row, budget),
        _memory(row, budget),
        _energy(row, budget),
        _co2(row, budget),
    )
    return tuple(refusal for refusal in found if refusal is not None)


def excess(refusal: Refusal) -> float:
    """How far the value lies over the bound, as a share of it: 0.22 is 22 % over. Unknown values are infinitely far.

    It is negative for an undecided value that may yet turn out to lie inside.
    """
    if refusal.value is None:
        return float("inf")
    return (refusal.value - refusal.bound) / (refusal.bound or 1.0)  # of a bound of zero nothing is a share


def metric_in_words(drop: Drop) -> str:
    """What people call the metric: top1 against labels is "accuracy"."""
    if drop.against == "original" and drop.metric != "agreement":
        return f"{drop.metric} to the original"
    return "accuracy" if drop.metric == "top1" else drop.metric


def change_in_words(drop: Drop) -> str:
    """The drop as a change, minus being worse: "-0.02 points [-0.15, +0.11]"."""
    ends = units.span(-drop.drop.high, -drop.drop.low, lambda end: units.change(drop.metric, end))
    return f"{units.changes(drop.metric, -drop.drop.value)} {ends}"


def _accuracy(row: Row, budget: Budget) -> Refusal | None:
    drop, bound = row.drop, budget.accuracy_drop
    if drop is None or bound is None or drop.certified is True:
        return None
    name, limit = metric_in_words(drop), f"limit {units.changes(drop.metric, -bound)}"
    if drop.certified is False:
        words = f"{name} {change_in_words(drop)}, {limit}"
    else:
        words = f"{name} undecided: {change_in_words(drop)}, {limit}; {_what_would_decide(drop)}"
    return Refusal("accuracy_drop", drop.drop.value, bound, drop.certified is None, words)


def _what_would_decide(drop: Drop) -> str:
    if drop.samples_to_decide is None:
        return "the estimate sits on the limit, so more samples may not decide"
    return f"needs about {units.about(drop.samples_to_decide)} samples, has {units.count(drop.samples)}"


def _p95(row: Row, budget: Budget) -> Refusal | None:
    bound = budget.p95_ms
    if bound is None or row.latency is None:
        return None
    p95 = row.latency.p95
    if p95.seen_ms is None or p95.upper_ms is None:
        words = f"p95 needs {units.count(p95.needs)} samples, has {units.count(row.latency.samples)}"
        return Refusal("p95_ms", None, bound, True, words)
    if p95.seen_ms > bound:
        return _over("p95_ms", p95.seen_ms, bound, f"p95 {units.ms(p95.seen_ms)} ms", f"{units.given(bound)} ms")
    if p95.upper_ms > bound:
        seen, sure = units.ms(p95.seen_ms), units.ms(p95.upper_ms)
        words = f"p95 undecided: {seen} ms seen, under {sure} ms for certain, limit {units.given(bound)} ms"
        return Refusal("p95_ms", p95.upper_ms, bound, True, words)
    return None


def _cost(row: Row, budget: Budget) -> Refusal | None:
    if row.usd is None or budget.usd_per_million is None:
        return None
    value = row.usd.saturated if row.usd.at_traffic is None else row.usd.at_traffic
    if value is None or value <= budget.usd_per_million:
        return None
    bound = f"${units.given(budget.usd_per_million)}"
    return _over("usd_per_million", value, budget.usd_per_million, f"{units.usd(value)} per million", bound)


def _size(row: Row, budget: Budget) -> Refusal | None:
    if row.size_bytes is None or budget.size_mb is None or row.size_bytes / 1e6 <= budget.size_mb:
        return None
    bound = f"{units.given(budget.size_mb)} MB"
    return _over("size_mb", row.size_bytes / 1e6, budget.size_mb, units.bytes(row.size_bytes), bound)


def _memory(row: Row, budget: Budget) -> Refusal | None:
    if row.peak_memory_bytes is None or budget.memory_mb is None or row.peak_memory_bytes / 1e6 <= budget.memory_mb:
        return None
    found, bound = f"peak memory {units.bytes(row.peak_memory_bytes)}", f"{units.given(budget.memory_mb)} MB"
    return _over("memory_mb", row.peak_memory_bytes / 1e6, budget.memory_mb, found, bound)


def _energy(row: Row, budget: Budget) -> Refusal | None:
    bound = budget.joules_per_inference
    if bound is None:
        return None
    if row.energy is None:
        words = (
            "energy is not known: no power is published for what computes here; give energy.watts, measured at the plug"
        )
        return Refusal("joules_per_inference", None, bound, True, words)
    low, high = row.energy.ends
    found = f"{units.significant(row.energy.joules_per_inference)} J per inference ({row.energy.label})"
    span = Interval(row.energy.joules_per_inference, low, high)
    return _within_band("joules_per_inference", span, bound, found, f"{units.given(bound)} J")


def _co2(row: Row, budget: Budget) -> Refusal | None:
    bound, grams = budget.co2_grams_per_million, row.co2_grams_per_million
    if bound is None:
        return None
    if grams is None or row.energy is None:
        words = (
            "CO2 is not known: no power is published for what computes here; give energy.watts, measured at the plug"
        )
        return Refusal("co2_grams_per_million", None, bound, True, words)
    found = f"{units.significant(grams.value)} g CO2e per million ({row.energy.label})"
    return _within_band("co2_grams_per_million", grams, bound, found, f"{units.given(bound)} g")


def _within_band(limit: LimitName, span: Interval, bound: float, found: str, allowed: str) -> Refusal | None:
    """Refused where the least that it may be is over the bound, undecided where only the most is."""
    if span.low > bound:
        return _over(limit, span.value, bound, found, allowed)
    if span.high > bound:
        ends = units.span(span.low, span.high, units.significant)
        words = f"{found} undecided: it may be {ends}, limit {allowed}; give energy.watts, measured at the plug"
        return Refusal(limit, span.value, bound, True, words)
    return None


def _over(limit: LimitName, value: float, bound: float, found: str, allowed: str) -> Refusal:
    """A certain refusal: "p95 6.10 ms is over 5 ms by 22 %", "p95 16.0 ms is 3.20x the limit of 5 ms"."""
    if value < 2 * bound:
        words = f"{found} is over {allowed} by {units.percent((value - bound) / bound)}"
    else:
        words = f"{found} is {units.ratio(value / bound)} the limit of {allowed}"
    return Refusal(limit, value, bound, False, words)
