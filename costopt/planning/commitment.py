"""Which machines of a fleet to commit to for a term at a discount: those that are busy for more of it than is paid."""

from dataclasses import dataclass

import numpy as np

from costopt.planning.uptime import Counts, Levels


@dataclass(frozen=True, slots=True)
class Committed:
    """A share off the price on demand for machines that are paid for `hours` whether they are used or not."""

    discount: float
    hours: float

    @property
    def break_even(self) -> float:
        """The share of the term that a machine must be used for: 1 - discount. Below it, on demand is cheaper."""
        return 1 - self.discount


@dataclass(frozen=True, slots=True)
class Commitment:
    """So many of `machines` to commit to, what that saves a month, and the term after which it costs no more.

    `least_hours` is how long the fleet must be needed for the saving to be one: the whole term is paid.
    """

    committed: int
    machines: int
    saved_usd: float
    least_hours: float


def commitment(asked: Committed, levels: Levels, counts: Counts, usd_per_hour: float, hours: float) -> Commitment:
    """The j-th machine is up for the share u_j of time in which j or more are paid for; it is committed to where
    u_j > 1 - discount, and saves (u_j - (1 - discount)) times a month of `hours` at the price on demand.
    """
    most = int(counts[-1])
    at_least = levels.shares[::-1].cumsum()[::-1]
    used = at_least[np.searchsorted(counts, np.arange(1, most + 1))]
    gains = used - asked.break_even
    chosen = int((gains > 0).sum())
    saved = float(gains[:chosen].sum()) * usd_per_hour * hours
    mean_used = float(used[:chosen].mean()) if chosen else 1.0
    return Commitment(chosen, most, saved, asked.break_even / mean_used * asked.hours)
