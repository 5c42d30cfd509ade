"""What a fleet costs a month, and when compressing has paid for itself: arithmetic in US dollars, nothing rounded."""

import math
from dataclasses import dataclass

from costopt import units
from costopt.judging import cost
from costopt.judging.cost import MILLION, SECONDS_PER_HOUR
from costopt.records import Plan, Run

HOURS_PER_MONTH = 730.0
"""8,760 hours a year over twelve."""

HOURS_PER_DAY = 24.0
BYTES_PER_GB = 1e9


@dataclass(frozen=True, slots=True)
class Egress:
    """What leaves the cloud with each answer, and the price of it (a GB is 10^9 bytes)."""

    bytes_per_response: float
    usd_per_gb: float

    @property
    def usd_per_request(self) -> float:
        """US dollars for sending one answer."""
        return self.bytes_per_response / BYTES_PER_GB * self.usd_per_gb


MACHINES = "machines"
"""The kind of a line for machines."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A number in a formula, with its unit in words: 730 "hours"."""

    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a bill: US dollars a month, the product of its factors. The lines of a kind belong together."""

    kind: str
    factors: tuple[Factor, ...]

    @property
    def usd(self) -> float:
        """The amount."""
        return math.prod(one.value for one in self.factors)

    @property
    def formula(self) -> str:
        """`2 instances x 0.1 USD/hour x 730 hours`."""
        return " x ".join(f"{units.operand(one.value)} {one.unit}".rstrip() for one in self.factors)


@dataclass(frozen=True, slots=True)
class Bill:
    """What a month costs, line by line, and how many requests that serves."""

    lines: tuple[Line, ...]
    requests: float

    def of(self, kind: str) -> float:
        """US dollars of the lines of a kind."""
        return math.fsum(one.usd for one in self.lines if one.kind == kind)

    @property
    def compute_usd(self) -> float:
        """US dollars for machines."""
        return self.of(MACHINES)

    @property
    def egress_usd(self) -> float:
        """US dollars for what leaves the cloud."""
        return self.of("egress")

    @property
    def usd(self) -> float:
        """The whole bill of a month."""
        return math.fsum(one.usd for one in self.lines)

    @property
    def usd_per_million(self) -> float:
        """The same per million requests at the traffic that the bill is for."""
        return self.usd / self.requests * MILLION


def bill(
    instances: float,
    usd_per_hour: float,
    mean_per_s: float,
    egress: Egress | None,
    hours: float = HOURS_PER_MONTH,
    more: tuple[Line, ...] = (),
) -> Bill:
    """Machines that are paid for all hours of the month, the answers that leave it, and `more` lines; machines first.

    `instances` are whole ones, or their mean over the month where their number changes.
    """
    requests = mean_per_s * SECONDS_PER_HOUR * hours
    lines = [machines(instances, usd_per_hour, hours)]
    if egress is not None:
        lines.append(by_gb("egress", requests, egress.bytes_per_response, egress.usd_per_gb))
    return Bill(tuple(sorted((*lines, *more), key=lambda one: one.kind != "machines")), requests)


def by_gb(kind: str, requests: float, bytes_per_request: float, usd_per_gb: float) -> Line:
    """What moves with each request, paid by the GB; told by the million requests, where figures can be read."""
    per_million = Factor(bytes_per_request * MILLION / BYTES_PER_GB, "GB a million")
    return Line(kind, (Factor(requests / MILLION, "million requests"), per_million, Factor(usd_per_gb, "USD/GB")))


def machines(instances: float, usd_per_hour: float, hours: float) -> Line:
    """Machines that are paid by the hour."""
    return Line(MACHINES, (Factor(instances, "instances"), Factor(usd_per_hour, "USD/hour"), Factor(hours, "hours")))


def usd_per_million(usd_per_hour: float, rate_per_s: float) -> float:
    """US dollars per million requests of machines that cost so much together and serve `rate_per_s` all the time."""
    return cost.saturated_usd_per_million(usd_per_hour, 1 / rate_per_s)


@dataclass(frozen=True, slots=True)
class Search:
    """What finding out cost: seconds of the run's machine, and US dollars for them.

    `counted` tells that the run's own clock says so; else it is the time limit, which is the most that it can be.
    """

    seconds: float
    usd: float
    counted: bool

    @property
    def words(self) -> str:
        """`the run's machine time (25 min)`, or `(at most)`."""
        return f"the run's machine time ({units.about_duration(self.seconds) if self.counted else 'at most'})"


def search(run: Run, plan: Plan, usd_per_hour: float) -> Search:
    """What a run cost on its machine, at the price of an hour."""
    seconds = plan.time_limit_s if run.seconds is None else run.seconds
    return Search(seconds, seconds / SECONDS_PER_HOUR * usd_per_hour, run.seconds is not None)


def is_money(saved_usd_per_month: float) -> bool:
    """Whether a saving comes to a cent a month when it is rounded: less is no reason to change anything."""
    return saved_usd_per_month >= 0.005


@dataclass(frozen=True, slots=True)
class BreakEven:
    """What has to be earned back, and after how many requests and days it is; both None where it never is."""

    usd: float
    requests: float | None
    days: float | None


def break_even(usd: float, saved_usd_per_month: float, requests_per_month: float, hours: float) -> BreakEven:
    """When savings of so much a month have paid `usd`; `hours` is the length of the month.

    requests = usd / (saved / requests per month), days = usd / (saved / days per month).
    """
    if saved_usd_per_month <= 0:
        return BreakEven(usd, None, None)
    months = usd / saved_usd_per_month
    return BreakEven(usd, math.ceil(months * requests_per_month), months * hours / HOURS_PER_DAY)
