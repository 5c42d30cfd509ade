"""The price book: machines of the clouds and of GPU renters by name, each price dated and with its source.

Prices change, so a quote carries its date and the report says when it is old. `costopt prices list` shows the book and
`costopt prices refresh` brings newer prices; a machine that is not in it is priced by hand, with
`machine: {usd_per_hour: ...}`.
"""

from dataclasses import dataclass
from typing import Literal

from costopt.errors import ConfigError
from costopt.prices import Prices
from costopt.pricing import book, terms
from costopt.verdict import Quote


@dataclass(frozen=True)
class Table(Prices):
    """A machine by provider and type, such as `aws/c7i.large`, in a region, on terms, less a discount (a share)."""

    instance: str
    region: str | None = None
    terms: Literal["on_demand", "spot", "reserved"] = "on_demand"
    discount: float = 0.0

    def quote(self) -> Quote:
        """The price per hour. Raises ConfigError for a machine, region or terms that the book does not have."""
        prices = book.current()
        try:
            offer = prices.find(self.instance, self.region)
        except ConfigError as problem:
            key = "region" if prices.of(self.instance) else "instance"
            words = f"machine.{key}: {problem}; or give its price: machine: {{usd_per_hour: 0.09}}"
            raise ConfigError(words) from problem
        return terms.quote(offer, self.terms, self.discount)
