"""The price that the budget file gives: `machine: {usd_per_hour: 0.09}`."""

import math
from dataclasses import dataclass

from costopt import units
from costopt.errors import ConfigError
from costopt.prices import Prices
from costopt.verdict import Quote


@dataclass(frozen=True)
class Fixed(Prices):
    """US dollars per hour of the machine, which may be named, less a discount (a share); `terms` say how it is paid.

    It carries no date: whoever wrote it knows its age.
    """

    usd_per_hour: float
    instance: str = ""
    terms: str = ""
    discount: float = 0.0

    def quote(self) -> Quote:
        """The price as given. Raises ConfigError unless it is finite and above zero, and the discount a share."""
        if not (math.isfinite(self.usd_per_hour) and self.usd_per_hour > 0):
            raise ConfigError(f"machine.usd_per_hour is {self.usd_per_hour}: write what an hour costs, such as 0.09")
        if not 0 <= self.discount < 1:
            raise ConfigError(f"machine.discount is {self.discount:g}: write the share taken off, such as 0.2 or 20%")
        less = f"{units.usd(self.usd_per_hour)} less {units.percent(self.discount)}" if self.discount else ""
        told = ", ".join(part for part in (self.terms.replace("_", " "), less) if part)
        source = f"the budget file ({told})" if told else "the budget file"
        return Quote(self.usd_per_hour * (1 - self.discount), self.instance, source, "")
