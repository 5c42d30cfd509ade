"""A fleet's month: how many instances are paid for when, and the bill that comes of it, line by line."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costopt.judging.cost import SECONDS_PER_HOUR
from costopt.planning import bills, extra_lines, uptime
from costopt.planning.bills import HOURS_PER_MONTH, Bill, Factor, Line
from costopt.planning.demand import Demand
from costopt.planning.extra_lines import Use
from costopt.planning.interruptions import Interrupted
from costopt.planning.places import Place
from costopt.planning.services import Service
from costopt.planning.sizes import Sizes
from costopt.planning.traffic_file import Asked, Promise
from costopt.planning.uptime import Levels

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Fleet:
    """So many instances of a place with a service each of whose calls is slower than measured by the band."""

    number: int
    service: Service
    place: Place
    band: float
    instances: int


@dataclass(frozen=True, slots=True)
class Month:
    """A bill, the instances paid for at the busiest time and on average, and the starts of instances in a month."""

    bill: Bill
    paid: int
    mean_paid: float
    starts: float


class Uptime:
    """When machines are up for a demand; `may_sleep` where all of them may be given back while no request comes.

    They may where so few requests meet a cold start that the promise leaves room for them: each counts as late.
    """

    def __init__(self, demand: Demand, asked: Asked) -> None:
        self.demand = demand
        self.awake = uptime.levels(demand, asked.autoscaling, None)
        self.sleeping = uptime.levels(demand, asked.autoscaling, asked.scale_to_zero)
        room = 1.0 if asked.promise is None else 1 - asked.promise.share
        self.may_sleep = asked.scale_to_zero is not None and self.sleeping.cold <= room

    def levels(self, asleep: bool) -> Levels:
        """With machines given back while no request comes, or without."""
        return self.sleeping if asleep else self.awake

    def share_awake(self, promise: Promise) -> float:
        """The share of the requests that meet no cold start which must be in time: the others are late.

        late = cold + (1 - cold) (1 - share awake) = 1 - share.
        """
        return 1 - (1 - promise.share - self.sleeping.cold) / (1 - self.sleeping.cold)


class Billing:
    """Months of fleets, for what was asked and what rates need (`sizes`)."""

    def __init__(self, asked: Asked, sizes: Sizes) -> None:
        self._asked = asked
        self._sizes = sizes

    def month(self, fleet: Fleet, up: Uptime, *, asleep: bool) -> Month:
        """What a fleet costs that is large enough for the busiest time."""
        levels = up.levels(asleep)
        counts = self.paid(fleet, up, asleep=asleep)
        paid, mean_paid = int(counts[-1]), levels.mean(counts)
        starts = self._starts(fleet, up, levels, paid) if self._asked.extras.registry is not None else 0.0
        return Month(self._bill(fleet, up.demand, mean_paid, starts), paid, mean_paid, starts)

    def paid(self, fleet: Fleet, up: Uptime, *, asleep: bool) -> Counts:
        """Instances on the bill at each level of the traffic; those at the last are for the busiest time."""
        levels = up.levels(asleep)
        needed = self._needed(fleet, up, levels, levels.rates_per_s)
        spot = fleet.place.spot
        reserve = 0 if spot is None else np.array([spot.reserve(int(one)) for one in needed])
        return needed + reserve + self._asked.spare

    def _needed(self, fleet: Fleet, up: Uptime, levels: Levels, rates_per_s: Floats) -> Counts:
        """Instances that serve each rate; as many more everywhere as a check found the curves to be short of."""
        if len(levels.rates_per_s) == 1:
            return np.full(len(rates_per_s), fleet.instances)
        number, side_by_side = fleet.number, fleet.place.services
        by_curves = self._sizes.each(number, side_by_side, fleet.band, rates_per_s)
        busiest = self._sizes.instances(number, side_by_side, fleet.band, up.demand.peak_per_s)
        short = max(0, fleet.instances - max(busiest, levels.least))
        return np.maximum(by_curves, levels.least) + short

    def _starts(self, fleet: Fleet, up: Uptime, levels: Levels, paid: int) -> float:
        """Starts of instances in a month, at most: one roll-out, steps up, wakings, and replacements of spot machines.

        Wakings and replacements are counted for as many instances as the busiest time has.
        """
        seconds = self._asked.hours_per_month * SECONDS_PER_HOUR
        spot = fleet.place.spot
        replaced = 0.0 if spot is None else paid * spot.per_month * self._asked.hours_per_month / HOURS_PER_MONTH
        woken = levels.starts_per_s * seconds * paid
        if not len(levels.steps_per_s):
            return paid + woken + replaced
        steps = self._needed(fleet, up, levels, levels.steps_per_s)
        ups = float(np.maximum(steps - np.roll(steps, 1), 0).sum())
        return paid + woken + replaced + ups * seconds / levels.cycle_s

    def _bill(self, fleet: Fleet, demand: Demand, mean_paid: float, starts: float) -> Bill:
        asked, place = self._asked, fleet.place
        hours = asked.hours_per_month
        requests = demand.mean_per_s * SECONDS_PER_HOUR * hours
        more = extra_lines.lines(asked.extras, Use(requests, hours, starts, fleet.service.size_bytes))
        if place.spot is not None and place.spot.asked.fallback:
            more = (_stand_ins(mean_paid, place.spot, hours), *more)
        return bills.bill(mean_paid, place.usd_per_hour, demand.mean_per_s, asked.egress, hours, more)


def _stand_ins(mean_paid: float, spot: Interrupted, hours: float) -> Line:
    """Machines on demand in the place of spot machines that restart."""
    return Line(
        bills.MACHINES,
        (
            Factor(mean_paid, "instances"),
            Factor(spot.per_month * hours / HOURS_PER_MONTH, "interruptions"),
            Factor(spot.asked.restart_s / SECONDS_PER_HOUR, "hours"),
            Factor(spot.on_demand_usd_per_hour, "USD/hour on demand"),
        ),
    )
