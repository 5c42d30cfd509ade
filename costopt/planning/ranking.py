"""Which machine, how many of it, with which candidate? Every pair is sized for the busiest time and billed for a month.

    services x places ─▶ the least number of instances that keeps the promise (`capacity`) ─▶ bill ─▶ in order
                         those at the head are simulated anew at their own rate (`simulation`), and may need one more

A promise counts as kept only at the slow end of what is known: calls as slow as their percentile may be for certain,
and on projected machines slower by the whole band. So a check at the head of the order can only make a fleet dearer,
and the first that stays in front is the cheapest of all.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from costopt import units
from costopt.planning import bills
from costopt.planning.bills import Bill
from costopt.planning.capacity import MOST_LOAD, Capacities
from costopt.planning.demand import Demand
from costopt.planning.places import Place
from costopt.planning.services import Service
from costopt.planning.simulation import requests_for, simulated
from costopt.planning.traffic_file import Asked

Verdict = Literal["meets", "undecided", "impossible", "refused"]

VERDICTS: tuple[Verdict, ...] = ("meets", "undecided", "impossible", "refused")
"""In the order in which rows are shown."""

MOST_INSTANCES = 10**6
"""More than any region has of a type."""

_TOO_MANY = f"over {units.count(MOST_INSTANCES)} instances would be needed"


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate on a machine. `band` is by how much its calls are taken to be slower than measured, as a share.

    `instances` serve the busiest time, `spare` come on top; None where no number is known to be enough, and then there
    is no bill either. `busiest_load` is the share of time that a service works at the busiest time (in the mean
    measured call), `idle` the share of all that is paid for in which nothing is served. `highest_per_s` is the rate
    that the instances bear with the promise kept. `response_ms` is the promised percentile in a simulation at the
    busiest rate, at the slow end of the band; only of rows that were `checked`. Costs are US dollars per million
    requests: `saturated` on a machine that never idles, `at_promise` at `highest_per_s`; `bill` has it at the traffic.
    """

    service: Service
    place: Place
    verdict: Verdict
    words: str = ""
    band: float = 0.0
    instances: int | None = None
    spare: int = 0
    bill: Bill | None = None
    busiest_load: float | None = None
    idle: float | None = None
    highest_per_s: float | None = None
    saturated: float = 0.0
    at_promise: float | None = None
    response_ms: float | None = None
    checked: bool = False

    @property
    def paid(self) -> int:
        """Instances on the bill."""
        return (self.instances or 0) + self.spare

    @property
    def key(self) -> tuple[float, tuple[float, ...], float, float, str, str]:
        """Cheap first; of equal bills the simplest, then what was measured, then the faster. Names only break ties.

        Bills are equal to twelve digits: two machines at half the price are the same money, but not always the same
        floating-point number.
        """
        usd = math.inf if self.bill is None else float(f"{self.bill.usd:.12g}")
        service, place = self.service, self.place
        return (
            usd,
            service.complexity,
            place.band,
            service.mean_s,
            service.candidate.id,
            place.instance,
        )


@dataclass(frozen=True, slots=True)
class _Judged:
    """A verdict, the words for it, and the band that a fleet is sized with; None where there is none to size."""

    verdict: Verdict
    words: str
    band: float | None


class Ranking:
    """Rows of every service on every place, for any demand.

    `capacities` are the services' curves (`capacities_of`), which hold for any promise of their percentile.
    """

    def __init__(
        self, services: Sequence[Service], places: Sequence[Place], asked: Asked, capacities: Capacities, seed: int = 0
    ) -> None:
        self._services = tuple(services)
        self._places = tuple(places)
        self._asked = asked
        self._capacities = capacities
        self._seed = seed
        self._verdicts = {
            (place.instance, number): self._judged(place, number)
            for number in range(len(self._services))
            for place in self._places
        }

    def rows(self, demand: Demand | None = None) -> tuple[Row, ...]:
        """Every pair, sized by the curves alone, in order; for another demand than the one that was asked for."""
        wanted = self._asked.demand if demand is None else demand
        found = (self._row(place, number, wanted) for number in range(len(self._services)) for place in self._places)
        return tuple(sorted(found, key=lambda row: row.key))

    def best(self, rows: Iterable[Row]) -> Row | None:
        """The first of those that meet, checked; None where none does."""
        open_ = sorted((row for row in rows if row.verdict == "meets"), key=lambda row: row.key)
        while open_ and not open_[0].checked:
            open_ = sorted([self.check(open_[0]), *open_[1:]], key=lambda row: row.key)
        return open_[0] if open_ else None

    def check(self, row: Row) -> Row:
        """The same after a simulation at the busiest rate, with as many more instances as that turns out to need."""
        promise = self._asked.promise
        if row.checked or promise is None or row.instances is None:
            return replace(row, checked=True)
        place, instances = row.place, row.instances
        calls_s = row.service.calls_s * (1 + row.band)
        while True:
            servers = instances * place.services
            requests = requests_for(servers)
            answers = simulated(calls_s, self._asked.demand.peak_per_s, servers, requests, self._seed)
            response_s = answers.percentile_s(promise.share)
            if response_s <= promise.ms / 1e3 or instances >= MOST_INSTANCES:
                break
            instances += math.ceil(instances / 100)
        sized = row if instances == row.instances else self._billed(row, instances, self._asked.demand)
        return replace(sized, response_ms=1e3 * response_s, checked=True)

    def _row(self, place: Place, number: int, demand: Demand) -> Row:
        service = self._services[number]
        mean_s = service.mean_s * place.pace(service.candidate.id)
        saturated = bills.usd_per_million(place.usd_per_hour, place.services / mean_s)
        row = Row(service, place, "meets", saturated=saturated)
        judged = self._verdicts[place.instance, number]
        sized = replace(row, verdict=judged.verdict, words=judged.words, band=judged.band or 0.0)
        instances = None if judged.band is None else self._instances(place, number, demand.peak_per_s, judged.band)
        if instances is None:
            return replace(sized, verdict="undecided", words=_TOO_MANY) if judged.verdict == "meets" else sized
        return self._billed(sized, instances, demand)

    def _judged(self, place: Place, number: int) -> "_Judged":
        """By the promise first, then by the run's own budget."""
        service = self._services[number]
        if why := place.cannot.get(service.candidate.id):
            return _Judged("impossible", why, None)
        promised = self._promised(place, number)
        if promised.verdict == "meets" and place.open:
            promised = _Judged("undecided", place.open, promised.band)
        if service.meets is True or promised.verdict == "impossible":
            return promised
        if service.meets is False:
            return _Judged("refused", service.lost, None)
        return _Judged("undecided", service.lost, promised.band)

    def _promised(self, place: Place, number: int) -> "_Judged":
        service, promise = self._services[number], self._asked.promise
        slower, likely = place.slower(service.candidate.id), place.pace(service.candidate.id) - 1
        if promise is None or self._bears(service, slower):
            return _Judged("meets", "", slower)
        if service.seen_s is None or service.sure_s is None:
            return _Judged("undecided", _too_few(service, promise.name), None)
        fastest_ms = 1e3 * service.seen_s * (1 - place.faster(service.candidate.id))
        if promise.ms < fastest_ms:
            alone = f"{promise.name} of the calls alone is {units.ms(1e3 * service.seen_s * (1 + likely))} ms"
            return _Judged("impossible", f"{alone}, the limit {units.given(promise.ms)} ms", None)
        if place.band:
            words = f"the margin lies within {units.percent(place.band)}: {_measure(place)}"
            return _Judged("undecided", words, likely if self._bears(service, likely) else None)
        seen, sure = units.ms(1e3 * service.seen_s), units.ms(1e3 * service.sure_s)
        words = f"{promise.name} of the calls alone: {seen} ms seen, under {sure} ms for certain"
        return _Judged("undecided", words, None)

    def _bears(self, service: Service, band: float) -> bool:
        """Whether some number of servers keeps the promise with calls longer by the band: when nobody has to wait."""
        promise = self._asked.promise
        if promise is None:
            return True
        return service.sure_s is not None and service.sure_s * (1 + band) < promise.ms / 1e3

    def _highest(self, number: int, servers: int, band: float) -> float:
        """The highest rate per second at which so many servers keep the promise with calls longer by the band."""
        mean_s = self._services[number].mean_s * (1 + band)
        promise = self._asked.promise
        multiple = math.inf if promise is None else promise.ms / 1e3 / mean_s
        return self._capacities.load(number, servers, multiple) * servers / mean_s

    def _instances(self, place: Place, number: int, rate_per_s: float, band: float) -> int | None:
        """The least number of instances that bear the rate; None above `MOST_INSTANCES`."""

        def enough(instances: int) -> bool:
            return self._highest(number, instances * place.services, band) >= rate_per_s

        mean_s = self._services[number].mean_s * (1 + band)
        high = max(1, math.floor(rate_per_s * mean_s / MOST_LOAD / place.services))
        low = high - 1
        while not enough(high):
            if high >= MOST_INSTANCES:
                return None
            low, high = high, min(2 * high, MOST_INSTANCES)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return high

    def _billed(self, row: Row, instances: int, demand: Demand) -> Row:
        place, asked = row.place, self._asked
        likely_s = row.service.mean_s * place.pace(row.service.candidate.id)
        paid, servers = instances + asked.spare, instances * place.services
        highest = self._highest(self._services.index(row.service), servers, row.band)
        return replace(
            row,
            instances=instances,
            spare=asked.spare,
            bill=bills.bill(paid, place.usd_per_hour, demand.mean_per_s, asked.egress, asked.hours_per_month),
            busiest_load=demand.peak_per_s * likely_s / servers,
            idle=max(0.0, 1 - demand.mean_per_s * likely_s / (paid * place.services)),
            highest_per_s=highest,
            at_promise=bills.usd_per_million(paid * place.usd_per_hour, highest) if highest else None,
        )


def capacities_of(services: Sequence[Service], asked: Asked, seed: int = 0) -> Capacities:
    """The curves of these services for the percentile that is promised."""
    return Capacities([one.calls_s for one in services], None if asked.promise is None else asked.promise.share, seed)


def _too_few(service: Service, name: str) -> str:
    has = f"{name} needs {units.count(service.needs)} calls, has {units.count(service.seen)}"
    return f"{has}: measure it to the end (`race: false`)"


def _measure(place: Place) -> str:
    return f"measure on it, about {units.usd(place.usd_per_hour / 6)} (10 minutes)"
