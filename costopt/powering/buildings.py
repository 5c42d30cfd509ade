"""The building around a machine: how much it draws for each watt of the machine, from which grid, at what price."""

from dataclasses import dataclass

from costopt.powering.grids import Grid
from costopt.pricing.ownership import PUE_ON_PREMISES

_PUES = {
    "aws": (1.14, "Amazon's data centres, 2025"),
    "azure": (1.18, "Microsoft's data centres, read 2026-08"),
    "gcp": (1.10, "Google's data centres, read 2026-08"),
}
"""Power usage effectiveness, as each provider's pages on sustainability say of its own: the mean over all its sites and
a year (Amazon's best site has 1.04)."""

PUE_CLOUD = 1.25
"""Other clouds: IDC's mean of public clouds, read 2026-08."""

USD_PER_KWH = 0.08
"""US industrial mean of 2024: 8.15 cents (EIA, Electric Power Monthly, table 5.6.A, read for April 2025)."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where machines stand. `grid` is None where no carbon intensity is known; the two sources are words.

    `billed_usd_per_hour` is the electricity in the price of an hour of a machine of one's own, None for rented ones.
    """

    grid: Grid | None
    pue: float
    usd_per_kwh: float
    pue_source: str
    price_source: str
    billed_usd_per_hour: float | None = None

    @property
    def owned(self) -> bool:
        """Whether electricity is on one's own bill."""
        return self.billed_usd_per_hour is not None


def pue_of(provider: str) -> tuple[float, str]:
    """The PUE of `aws`, `gcp`, `azure` or another cloud, and who says so; of "" that of a building of one's own."""
    if not provider:
        return PUE_ON_PREMISES, "the mean of the industry, Uptime Institute 2024"
    return _PUES.get(provider, (PUE_CLOUD, "IDC's mean of public clouds, read 2026-08"))
