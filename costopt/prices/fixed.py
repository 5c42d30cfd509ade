"""The price that the budget file gives: `machine: {usd_per_hour: 0.09}`."""

import math
from dataclasses import dataclass

from costopt.errors import ConfigError
from costopt.prices import Prices
from costopt.verdict import Quote


@dataclass(frozen=True)
class Fixed(Prices):
    """US dollars per hour of the machine, which may be named. It carries no date: whoever wrote it knows its age."""

    usd_per_hour: float
    instance: str = ""

    def quote(self) -> Quote:
        """The price as given. Raises ConfigError unless it is finite and above zero."""
        if not (math.isfinite(self.usd_per_hour) and self.usd_per_hour > 0):
            raise ConfigError(f"machine.usd_per_hour is {self.usd_per_hour}: write what an hour costs, such as 0.09")
        return Quote(self.usd_per_hour, self.instance, "the budget file", "")
