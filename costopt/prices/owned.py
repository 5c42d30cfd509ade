"""A machine of your own: purchase, power and staff, spread over the hours in which it works."""

import math
from dataclasses import asdict, dataclass

from costopt import units
from costopt.errors import ConfigError
from costopt.prices import Prices
from costopt.pricing import ownership
from costopt.verdict import Quote


@dataclass(frozen=True)
class Owned(Prices):
    """`machine: {owned: {...}}`; the formula, its units and a worked example stand at `ownership.hour`."""

    purchase_usd: float
    years: float
    watts: float
    usd_per_kwh: float
    pue: float = 1.56
    staff_share_usd_per_year: float = 0.0
    utilisation: float = 1.0

    def quote(self) -> Quote:
        """The price of an hour at work. Raises ConfigError for figures that no machine has, or that cost nothing."""
        self._refuse_nonsense()
        hour = ownership.hour(**asdict(self))
        if not (math.isfinite(hour.usd) and hour.usd > 0):
            raise ConfigError(f"machine.owned: an hour comes out at {hour.usd:g} USD; give what it cost, or its power")
        parts = (f"{units.usd(hour.purchase_usd)} purchase", f"{units.usd(hour.staff_usd)} staff")
        source = f"the budget file (owned: {', '.join(parts)}, {units.usd(hour.power_usd)} power)"
        return Quote(hour.usd, "", source, "", self._note())

    def _note(self) -> str:
        if self.utilisation == 1:
            return ""
        share = units.percent(self.utilisation)
        return (
            f"the price of your own machine is that of an hour at work, {share} of all hours: "
            "costs at your traffic count idle hours themselves, so leave utilisation out for those"
        )

    def _refuse_nonsense(self) -> None:
        allowed = {
            "purchase_usd": self.purchase_usd >= 0,
            "years": self.years > 0,
            "watts": self.watts >= 0,
            "usd_per_kwh": self.usd_per_kwh >= 0,
            "pue": self.pue >= 1,
            "staff_share_usd_per_year": self.staff_share_usd_per_year >= 0,
            "utilisation": 0 < self.utilisation <= 1,
        }
        for name, fine in allowed.items():
            if not fine:
                raise ConfigError(
                    f"machine.owned.{name} is {asdict(self)[name]:g}: {_BOUNDS.get(name, 'write 0 or more')}"
                )


_BOUNDS = {
    "years": "write how long it is kept, such as 4",
    "pue": "a site draws at least what its machines draw, so write 1 or more",
    "utilisation": "write the share of hours in which it works, over 0 and up to 1",
}
