"""What an hour of a machine of one's own costs, so that it can be held against one that is rented."""

from dataclasses import dataclass

HOURS_PER_YEAR = 8760
"""365 days."""

PUE_ON_PREMISES = 1.56
"""Power that a site draws over what its machines draw, on average: Uptime Institute, Global Data Center Survey 2024."""


@dataclass(frozen=True, slots=True)
class Hour:
    """What an hour of work is made of, in US dollars."""

    purchase_usd: float
    staff_usd: float
    power_usd: float

    @property
    def usd(self) -> float:
        """All of it."""
        return self.purchase_usd + self.staff_usd + self.power_usd


def hour(
    purchase_usd: float,
    years: float,
    watts: float,
    usd_per_kwh: float,
    pue: float = PUE_ON_PREMISES,
    staff_share_usd_per_year: float = 0.0,
    utilisation: float = 1.0,
) -> Hour:
    """What an hour costs in which the machine works:

        purchase:  purchase_usd / (years * 8760 h * utilisation)
        staff:     staff_share_usd_per_year / (8760 h * utilisation)
        power:     watts / 1000 * pue * usd_per_kwh

    This is the usual total cost of ownership, spread over the hours of use: what stands idle has been paid for too.
    The purchase is spread evenly over the years, without interest or resale. `watts` is the draw at work, at the plug;
    hours without work are taken to draw nothing. `utilisation` is the share of all hours in which it does this or
    other paid work. 4000 USD over 4 years at 300 W, 0.15 USD/kWh, PUE 1.56, 500 USD a year of somebody's time and 60 %
    of the hours: 4000 / 21,024 + 500 / 5,256 + 0.3 * 1.56 * 0.15 = 0.1903 + 0.0951 + 0.0702 = 0.3556 USD.
    """
    hours_per_year = HOURS_PER_YEAR * utilisation
    return Hour(
        purchase_usd=purchase_usd / (years * hours_per_year),
        staff_usd=staff_share_usd_per_year / hours_per_year,
        power_usd=watts / 1000 * pue * usd_per_kwh,
    )
