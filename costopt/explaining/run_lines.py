"""A finished run in lines: what a million inferences cost, and how that follows from price and time.

All figures are those of the run's report (`judging.choose`), whatever made them; here they only get their formulas.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from costopt import units
from costopt.explaining.chosen import in_words
from costopt.explaining.lines import Label, Line, Section, Unit, derived, filled
from costopt.explaining.price_lines import price
from costopt.judging.cost import MILLION, SECONDS_PER_HOUR
from costopt.judging.objectives import known
from costopt.planning import bills
from costopt.planning.bills import HOURS_PER_DAY, BreakEven, Search
from costopt.records import Plan
from costopt.verdict import Quote, Report, Row

SATURATED = f"price / {SECONDS_PER_HOUR} * seconds * {MILLION}"
IN_TURNS = "calls in turns with the original's, round by round, in this run"
THE_BUDGET = "the budget file"


@dataclass(frozen=True, slots=True)
class Explained:
    """What the lines are about: a judged row and the original's, at a price. `label` is that of its machine's times."""

    report: Report
    row: Row
    original: Row
    quote: Quote
    plan: Plan
    label: Label

    @property
    def search(self) -> Search:
        """What finding out cost."""
        return bills.search(self.report.run, self.plan, self.quote.usd_per_hour)


def sections(about: Explained) -> tuple[Section, ...]:
    """All of them in order; the original is not held against itself."""
    compressed = about.row.candidate.id != about.original.candidate.id
    found = [
        Section("The price", tuple(price(about.quote, about.plan.price))),
        Section(f"A million inferences: {in_words(about.row.candidate)}", tuple(_million(about, about.row))),
    ]
    if compressed:
        found += [
            Section(
                f"A million inferences: {in_words(about.original.candidate)}", tuple(_million(about, about.original))
            ),
            Section("What is lost", tuple(_drop(about))),
            Section("What it saves", tuple(_saving(about))),
        ]
    return tuple(section for section in found if section.lines)


# ---------------------------------------------------------------------------------------- a million inferences


def _million(about: Explained, row: Row) -> Iterator[Line]:
    seconds = 1 / known(row.throughput_per_s)
    usd = known(row.usd)
    original = row.candidate.id == about.original.candidate.id
    if original:
        words = "median of all rounds' mean calls, beside every candidate"
        yield Line("time of an inference", words, "", 1e3 * seconds, "ms", about.label, IN_TURNS)
    else:
        speedup = known(row.speedup)
        words = f"interval at {units.percent(about.report.confidence)}"
        yield Line(
            "speed-up", "the original's time over its own", "", speedup.value, "times", "measured", IN_TURNS,
            speedup.low, speedup.high, words,
        )  # fmt: skip
        values = {"original": 1e3 / known(about.original.throughput_per_s), "speedup": speedup.value}
        yield filled("time of an inference", "original / speedup", values, 1e3 * seconds, "ms", about.label, IN_TURNS)
    values = {"price": about.quote.usd_per_hour, "seconds": seconds}
    yield filled("saturated", SATURATED, values, known(usd.saturated), "USD/million", about.label, words="never idle")
    yield from _at_traffic(about, row, seconds)


def _at_traffic(about: Explained, row: Row, seconds: float) -> Iterator[Line]:
    """On whole machines at the traffic of the budget file, if it names one; nothing is set aside for queueing there."""
    traffic, usd = about.plan.traffic, known(row.usd)
    if traffic is None or usd.instances is None or usd.at_traffic is None:
        return
    mean, peak = traffic.requests_per_second, traffic.peak_to_mean
    values = {"mean": mean, "peak_to_mean": peak, "seconds": seconds}
    yield Line("mean traffic", "as given", "", mean, "requests/s", "given", THE_BUDGET)
    formula = "max(1, ceil(mean * peak_to_mean * seconds))"
    yield filled(
        "machines", formula, values, usd.instances, "machines", derived(about.label), words="full load, no queue"
    )
    values = {"machines": usd.instances, "price": about.quote.usd_per_hour, "mean": mean}
    formula = f"machines * price / (mean * {SECONDS_PER_HOUR}) * {MILLION}"
    yield filled("at that traffic", formula, values, usd.at_traffic, "USD/million", derived(about.label))


# ---------------------------------------------------------------------------------------- against the original


def _drop(about: Explained) -> Iterator[Line]:
    """The metric of both, and how far it fell; all samples in pairs."""
    drop, original = about.row.drop, about.original.drop
    if drop is None or original is None:
        return
    source = f"{units.count(drop.samples)} samples of the evaluation data"
    rising = abs(original.value - drop.value - drop.drop.value) <= abs(drop.value - original.value - drop.drop.value)
    formula = "original - candidate" if rising else "candidate - original"
    values = {"original": original.value, "candidate": drop.value}
    unit: Unit = "points" if drop.metric in units.SHARES else "score"
    yield Line(f"{drop.metric} of the original", "", "", original.value, _scored(drop.metric), "measured", source)
    yield Line(f"{drop.metric} of the candidate", "", "", drop.value, _scored(drop.metric), "measured", source)
    line = filled(f"drop of {drop.metric}", formula, values, drop.drop.value, unit, "measured", source)
    yield replace(line, low=drop.drop.low, high=drop.drop.high, words=_certified(drop.certified))


def _scored(metric: str) -> Unit:
    return "accuracy" if metric in units.SHARES else "score"


def _certified(certified: bool | None) -> str:
    return {True: "certified", False: "over the limit", None: "not certified"}[certified]


def _saving(about: Explained) -> Iterator[Line]:
    """Against the original, per million and until the run has paid for itself."""
    at_traffic = known(about.row.usd).at_traffic is not None
    before, after = (_per_million(row, at_traffic) for row in (about.original, about.row))
    where = "at that traffic" if at_traffic else "saturated"
    label = derived(about.label) if at_traffic else about.label
    values = {"original": before, "candidate": after}
    yield filled(f"saved, {where}", "original - candidate", values, before - after, "USD/million", label)
    search = about.search
    words = "by the run's own clock" if search.counted else "its time limit, at most"
    values = {"seconds": search.seconds, "price": about.quote.usd_per_hour}
    formula = f"seconds / {SECONDS_PER_HOUR} * price"
    yield filled("machine time of the run", formula, values, search.usd, "USD", "modelled", words=words)
    even = bills.break_even(search.usd, before - after, MILLION, HOURS_PER_DAY)
    yield break_even(even, {"spent": even.usd, "saved": before - after, "requests": MILLION}, derived(label))


def _per_million(row: Row, at_traffic: bool) -> float:
    usd = known(row.usd)
    return known(usd.at_traffic if at_traffic else usd.saturated)


def break_even(even: BreakEven, values: Mapping[str, float], label: Label) -> Line:
    """After how many requests what was `spent` is back, by `values`: so many `requests` have `saved` so much."""
    if even.requests is None:
        return Line("break-even", "spent / saved", "", None, "requests", label, words="never: nothing is saved")
    return filled("break-even", "ceil(spent / saved * requests)", values, even.requests, "requests", label)
