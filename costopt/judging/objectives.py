"""What "best" means: one small class for each objective of the budget file.

An objective orders judged rows (`key`), says which of them can't be told apart (`same`), and knows the words for
winning (`gain`) and for losing (`behind`) by its figure.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, TypeVar

from costopt import stats, units
from costopt.errors import ConfigError
from costopt.records import Plan
from costopt.verdict import Interval, Row, Usd

T = TypeVar("T")

SAME_SIZE = 0.005
"""Files whose sizes differ by less than this share count as equally large: names and metadata differ by as much."""

SAME_RATIO = 0.005
"""Ratios within this of 1 are told as "the same": two digits after the point would show 1.00x or 1.01x."""


class Objective(ABC):
    """What to make as small as possible. Rows are judged: measured, and held against the original."""

    best: ClassVar[str]
    """The word for the winner."""

    @abstractmethod
    def key(self, row: Row) -> float:
        """Smaller is better."""

    @abstractmethod
    def same(self, one: Row, other: Row, faster: Interval) -> bool:
        """Whether the measurements can't tell two apart; `one` is `faster` times faster per inference."""

    @abstractmethod
    def gain(self, row: Row, original: Row) -> str:
        """What a row's figure is, and how it compares with the original's."""

    @abstractmethod
    def behind(self, row: Row, ahead: Row, whom: str) -> str:
        """By how much a row lies behind one with a smaller key, who is called `whom`."""


def objective_of(plan: Plan, meeting: Sequence[Row]) -> Objective:
    """The plan's objective, for the rows that meet its budget. Latency is the p95 if all of them have one.

    Raises ConfigError for energy where it is not known of any of them.
    """
    match plan.objective:
        case "cost":
            return Cost()
        case "latency":
            return P95() if all(known(row.latency).p95.upper_ms is not None for row in meeting) else MedianCall()
        case "size":
            return Size()
        case "energy":
            if meeting and all(row.energy is None for row in meeting):
                raise ConfigError(
                    "objective: energy is not known here: no power is published for this processor; give "
                    "`energy: {watts: 60}`, measured at the plug while it serves, or write cost, latency or size"
                )
            return Joules()


def known(value: T | None) -> T:
    """A field that every judged row has. Raises ValueError for a row that was not judged."""
    if value is None:
        raise ValueError("this row was not judged: it lacks a figure that every judged row has")
    return value


class Cost(Objective):
    """Money. It grows with machine time, also where whole machines are counted, so no price is needed to compare."""

    best = "cheapest"

    def key(self, row: Row) -> float:
        """Machine time per inference, over the original's."""
        return known(row.usd).relative.value

    def same(self, one: Row, other: Row, faster: Interval) -> bool:  # noqa: ARG002 - see Objective
        """Equally fast; where that tips the number of machines, it is noise that tips it."""
        return stats.indistinguishable(faster)

    def gain(self, row: Row, original: Row) -> str:
        """USD per million, at the user's traffic where it is known; without a price, machine time."""
        usd, base = known(row.usd), known(original.usd)
        if usd.at_traffic is not None:
            return _at_traffic(usd, base)
        if usd.saturated is not None:
            less = _than_the_original(known(base.saturated) / usd.saturated, "less", "more")
            return f"costs {units.usd(usd.saturated)} per million, {less}"
        return _compute(1 / usd.relative.value)

    def behind(self, row: Row, ahead: Row, whom: str) -> str:
        """By the number of machines, or by machine time where that is the same or not known."""
        usd, best = known(row.usd), known(ahead.usd)
        ratio = units.ratio(usd.relative.value / best.relative.value)
        if usd.instances is None or best.instances is None:
            return f"costs {ratio} {whom}"
        if usd.instances == best.instances:
            return f"costs the same at this traffic, but {ratio} {whom} on machines that never idle"
        at_traffic = units.ratio(usd.instances / best.instances)
        return f"costs {at_traffic} {whom}: needs {usd.instances} machines at the peak instead of {best.instances}"


class P95(Objective):
    """The time that 95 % of calls stay under, with 99 % confidence."""

    best = "fastest"

    def key(self, row: Row) -> float:
        """The upper bound of the p95, in milliseconds."""
        return known(known(row.latency).p95.upper_ms)

    def same(self, one: Row, other: Row, faster: Interval) -> bool:
        """The median calls can't be told apart, and each p95 as seen lies under the other's upper bound."""
        seen = max(known(known(row.latency).p95.seen_ms) for row in (one, other))
        return _same_call(one, other, faster) and seen <= min(self.key(one), self.key(other))

    def gain(self, row: Row, original: Row) -> str:
        """Milliseconds, and the ratio of the two bounds; the original may have too few calls for one."""
        told = f"answers 95 % of calls within {units.ms(self.key(row))} ms"
        upper = known(original.latency).p95.upper_ms
        return told if upper is None else f"{told}, {_than_the_original(upper / self.key(row), 'faster', 'slower')}"

    def behind(self, row: Row, ahead: Row, whom: str) -> str:
        """Both bounds, in milliseconds."""
        return f"p95 under {units.ms(self.key(row))} ms, that of {whom} under {units.ms(self.key(ahead))} ms"


class MedianCall(Objective):
    """The time of a median call, over that of an inference of the original: for when some have no p95."""

    best = "fastest"

    def key(self, row: Row) -> float:
        """A call of batch 8 takes the time of eight inferences."""
        return known(row.usd).relative.value * row.candidate.batch

    def same(self, one: Row, other: Row, faster: Interval) -> bool:
        """The median calls can't be told apart."""
        return _same_call(one, other, faster)

    def gain(self, row: Row, original: Row) -> str:
        """The ratio of the two."""
        times = self.key(original) / self.key(row)
        return f"answers {_than_the_original(times, 'faster', 'slower')} (median call)"

    def behind(self, row: Row, ahead: Row, whom: str) -> str:
        """The ratio of the two."""
        return f"a median call takes {units.ratio(self.key(row) / self.key(ahead))} the time of {whom}"


class Size(Objective):
    """The size of the file."""

    best = "smallest"

    def key(self, row: Row) -> float:
        """Bytes."""
        return float(known(row.size_bytes))

    def same(self, one: Row, other: Row, faster: Interval) -> bool:  # noqa: ARG002 - see Objective
        """Within `SAME_SIZE` of each other."""
        sizes = sorted((self.key(one), self.key(other)))
        return sizes[1] - sizes[0] <= SAME_SIZE * sizes[0]

    def gain(self, row: Row, original: Row) -> str:
        """The size, and the ratio of the two."""
        size, base = known(row.size_bytes), known(original.size_bytes)
        return f"is {units.bytes(size)}, {_than_the_original(base / size, 'smaller', 'larger')}"

    def behind(self, row: Row, ahead: Row, whom: str) -> str:
        """The ratio of the two."""
        return f"is {units.ratio(self.key(row) / self.key(ahead))} the size of {whom}"


class Joules(Objective):
    """Energy per inference while it computes. Those of whom it is not known come last."""

    best = "thriftiest"

    def key(self, row: Row) -> float:
        """Joules per inference."""
        return math.inf if row.energy is None else row.energy.joules_per_inference

    def same(self, one: Row, other: Row, faster: Interval) -> bool:
        """The power is the same kind of figure for both, so only their times may be noise."""
        if math.isinf(self.key(other)):
            return False
        power = self.key(other) / self.key(one) / faster.value
        return stats.indistinguishable(Interval(faster.value * power, faster.low * power, faster.high * power))

    def gain(self, row: Row, original: Row) -> str:
        """Joules and how they are known, and the ratio of the two."""
        label = "" if row.energy is None else f" ({row.energy.label})"
        told = f"takes {units.significant(self.key(row))} J per inference{label}"
        if math.isinf(self.key(original)):
            return told
        return f"{told}, {_than_the_original(self.key(original) / self.key(row), 'less', 'more')}"

    def behind(self, row: Row, ahead: Row, whom: str) -> str:
        """The ratio of the two."""
        if math.isinf(self.key(row)):
            return f"its energy is not known; {whom} has a figure"
        return f"takes {units.ratio(self.key(row) / self.key(ahead))} the energy of {whom}"


def _at_traffic(usd: Usd, original: Usd) -> str:
    """Where both need as many machines, they cost the same today; the difference shows when traffic grows."""
    told = f"costs {units.usd(known(usd.at_traffic))} per million at this traffic"
    if usd.instances != original.instances:
        less = _than_the_original(known(original.at_traffic) / known(usd.at_traffic), "less", "more")
        return f"{told}, {less}"
    less = _than_the_original(1 / usd.relative.value, "less", "more")
    return f"{told}, as the original does, and {less} on machines that never idle"


def _compute(times: float) -> str:
    """Without a price machine time stands for money: they are proportional."""
    if math.isclose(times, 1, rel_tol=SAME_RATIO):
        return "takes as much compute as the original, so costs the same"
    if times > 1:
        return f"takes 1/{units.significant(times, 2)} of the original's compute, so costs {units.ratio(times)} less"
    return f"takes {units.ratio(1 / times)} the original's compute, so costs {units.ratio(1 / times)} as much"


def _same_call(one: Row, other: Row, faster: Interval) -> bool:
    calls = other.candidate.batch / one.candidate.batch
    return stats.indistinguishable(Interval(faster.value * calls, faster.low * calls, faster.high * calls))


def _than_the_original(times: float, better: str, worse: str) -> str:
    """ "3.10x less than the original", "1.20x more than the original", "the same as the original"."""
    if math.isclose(times, 1, rel_tol=SAME_RATIO):
        return "the same as the original"
    told = f"{units.ratio(times)} {better}" if times > 1 else f"{units.ratio(1 / times)} {worse}"
    return f"{told} than the original"
