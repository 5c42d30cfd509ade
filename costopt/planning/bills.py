"""What a fleet costs a month, and when compressing has paid for itself: arithmetic in US dollars, nothing rounded."""

import math
from dataclasses import dataclass

from costopt.judging import cost
from costopt.judging.cost import MILLION, SECONDS_PER_HOUR

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


@dataclass(frozen=True, slots=True)
class Bill:
    """US dollars a month for machines and for what they send, and how many requests that serves."""

    compute_usd: float
    egress_usd: float
    requests: float

    @property
    def usd(self) -> float:
        """The whole bill of a month."""
        return self.compute_usd + self.egress_usd

    @property
    def usd_per_million(self) -> float:
        """The same per million requests at the traffic that the bill is for."""
        return self.usd / self.requests * MILLION


def bill(
    instances: int, usd_per_hour: float, mean_per_s: float, egress: Egress | None, hours: float = HOURS_PER_MONTH
) -> Bill:
    """Whole machines that are paid for all hours of the month, and the answers that leave it."""
    requests = mean_per_s * SECONDS_PER_HOUR * hours
    sent_usd = 0.0 if egress is None else requests * egress.usd_per_request
    return Bill(instances * usd_per_hour * hours, sent_usd, requests)


def usd_per_million(usd_per_hour: float, rate_per_s: float) -> float:
    """US dollars per million requests of machines that cost so much together and serve `rate_per_s` all the time."""
    return cost.saturated_usd_per_million(usd_per_hour, 1 / rate_per_s)


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
