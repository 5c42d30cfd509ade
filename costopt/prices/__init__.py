"""Price sources, one a file: what an hour of the machine costs."""

from abc import ABC, abstractmethod

from costopt.verdict import Quote


class Prices(ABC):
    """Somebody who knows what a machine costs. Its fields say which machine."""

    @abstractmethod
    def quote(self) -> Quote:
        """The price, dated and with its source. Raises ConfigError for an unknown machine, naming the nearest."""
