"""What requests and answers cost on their way: dollars by provider and path, and kWh where a figure exists."""

from dataclasses import dataclass
from typing import Literal

from costopt.planning.bills import BYTES_PER_GB, Egress
from costopt.verdict import Interval

Path = Literal["same_zone", "cross_zone", "internet"]

CROSS_ZONE_USD_PER_GB = 0.02
"""A GB from one zone of a region to another: 0.01 to send and 0.01 to receive, both on the bill of who owns both ends
(AWS, https://aws.amazon.com/ec2/pricing/on-demand, as in infracost's price fixtures of 2024)."""

_INTERNET_USD_PER_GB = {"aws": 0.09, "azure": 0.087, "gcp": 0.12}
"""The first tier, on-demand; GCP's premium network (infracost's price fixtures of 2024). Free allowances (AWS: 100 GB a
month) are not taken off."""

INTERNET_KWH_PER_GB = Interval(0.06, 0.0013, 0.06)
"""Core and fixed-line access: 0.06 kWh in 2015, and half of it every two years since 2000 (Aslan et al. 2018,
doi:10.1111/jiec.12630). Whether it went on falling so was not shown, so 2015's stands, as the high end, and eleven
years of halving are the low end: 0.06 / 2^5.5."""

CLOUD_KWH_PER_GB = Interval(0.001, 0.0, 0.01)
"""Within a cloud: Cloud Carbon Footprint's choice, "the smallest coefficient available" (its Methodology, Networking);
the ends are a judgement."""


@dataclass(frozen=True, slots=True)
class Route:
    """Bytes of a request and of its answer as a program has them, and the way they go.

    `compression_ratio` is their size over that on the wire (1: as they are); `compression_ms_per_mb` the CPU time for
    10^6 bytes, both ways together.
    """

    request_bytes: float
    response_bytes: float
    path: Path
    compression_ratio: float = 1.0
    compression_ms_per_mb: float = 0.0

    @property
    def wire_bytes(self) -> float:
        """Bytes on the wire for a request and its answer."""
        return (self.request_bytes + self.response_bytes) / self.compression_ratio

    @property
    def paid_bytes(self) -> float:
        """Those that are on the bill: what leaves for the internet, both ways between zones, none within one."""
        match self.path:
            case "same_zone":
                return 0.0
            case "cross_zone":
                return self.wire_bytes
            case "internet":
                return self.response_bytes / self.compression_ratio

    @property
    def cpu_ms(self) -> float:
        """CPU time a request for packing and unpacking."""
        return (self.request_bytes + self.response_bytes) / 1e6 * self.compression_ms_per_mb

    def kwh(self, requests: float) -> Interval | None:
        """Energy of the network for so many requests; None within a zone, for which nobody publishes a figure."""
        per_gb = {"same_zone": None, "cross_zone": CLOUD_KWH_PER_GB, "internet": INTERNET_KWH_PER_GB}[self.path]
        if per_gb is None:
            return None
        gigabytes = self.wire_bytes / BYTES_PER_GB * requests
        return Interval(per_gb.value * gigabytes, per_gb.low * gigabytes, per_gb.high * gigabytes)


def usd_per_gb(path: Path, provider: str) -> float | None:
    """What a GB costs on a path; None where the provider's price to the internet is not known."""
    match path:
        case "same_zone":
            return 0.0
        case "cross_zone":
            return CROSS_ZONE_USD_PER_GB
        case "internet":
            return _INTERNET_USD_PER_GB.get(provider)


def egress(route: Route, usd_per_gb: float) -> Egress:
    """The line of the bill that a route makes."""
    return Egress(route.paid_bytes, usd_per_gb)
