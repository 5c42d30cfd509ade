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
from costopt.planning.billing import Billing, Counts, Fleet, Uptime
from costopt.planning.bills import Bill
from costopt.planning.capacity import Capacities
from costopt.planning.demand import Demand
from costopt.planning.places import Place
from costopt.planning.services import Service
from costopt.planning.simulation import Answers, requests_for, simulated
from costopt.planning.sizes import MOST_INSTANCES, Sizes
from costopt.planning.traffic_file import Asked, Promise
from costopt.planning.uptime import Levels
from costopt.powering import footprints
from costopt.powering.footprints import Fleet as Powered
from costopt.powering.footprints import Footprint, Limits, Power

Verdict = Literal["meets", "undecided", "impossible", "refused"]

VERDICTS: tuple[Verdict, ...] = ("meets", "undecided", "impossible", "refused")
"""In the order in which rows are shown."""

_SHORT = "one machine too few while a spot machine restarts: give spot.over_provision, or spare: 1"
_TOO_MANY = f"over {units.count(MOST_INSTANCES)} instances would be needed"


@dataclass(frozen=True, slots=True)
class Row:
    """A candidate on a machine. `band` is by how much its calls are taken to be slower than measured, as a share.

    `instances` serve the busiest time, `spare` come on top (those asked for, and those that stand by for spot ones);
    None where no number is known to be enough, and then there is no bill either. `mean_paid` are the instances on the
    bill on average, fewer than `paid` where they follow the traffic; `asleep` tells that all of them may be given back.

    `busiest_load` is the busiest rate over the most that the instances serve (in mean measured calls, each full),
    `idle` the share of that, over all that is paid for, which is not used. `highest_per_s` is the rate that the
    instances bear with the promise kept. `response_ms` is the promised percentile in a simulation at the busiest rate,
    at the slow end of the band; only of rows that were `checked`. Costs are US dollars per million requests:
    `saturated` on a machine that never idles (None where nobody knows how fast it is there), `at_promise` at
    `highest_per_s`; `bill` has it at the traffic.
    `footprint` is None where nobody knows what the machine draws.
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
    saturated: float | None = None
    at_promise: float | None = None
    response_ms: float | None = None
    checked: bool = False
    mean_paid: float | None = None
    asleep: bool = False
    footprint: Footprint | None = None

    @property
    def is_timed(self) -> bool:
        """Whether it can run on this machine, and it is known how fast."""
        return self.service.id not in self.place.cannot and self.service.id not in self.place.unclear

    @property
    def mean_s(self) -> float:
        """The mean call on this machine in seconds, as likely as not."""
        return self.service.mean_s * self.place.pace(self.service.id)

    @property
    def on_average(self) -> float:
        """Instances on the bill on average over the month."""
        return float(self.paid) if self.mean_paid is None else self.mean_paid

    @property
    def paid(self) -> int:
        """Instances on the bill at the busiest time."""
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
            self.mean_s,
            service.id,
            place.name,
        )


@dataclass(frozen=True, slots=True)
class _Judged:
    """A verdict, the words for it, and the band that a fleet is sized with; None where there is none to size."""

    verdict: Verdict
    words: str
    band: float | None


class Ranking:
    """Rows of every service on every place, for any demand.

    `capacities` are the services' curves (`capacities_of`), which hold for any promise of their percentile. `up` tells
    when machines are up for the demand that was asked for.
    """

    def __init__(
        self,
        services: Sequence[Service],
        places: Sequence[Place],
        asked: Asked,
        capacities: Capacities,
        seed: int = 0,
        power: Power | None = None,
    ) -> None:
        self._services = tuple(services)
        self._places = tuple(places)
        self._asked = asked
        self._capacities = capacities
        self._seed = seed
        self._power = power
        self._numbers = {one.id: number for number, one in enumerate(self._services)}
        self._sizes = Sizes(services, None if asked.promise is None else asked.promise.ms / 1e3, capacities)
        self._billing = Billing(asked, self._sizes)
        self.up = Uptime(asked.demand, asked)
        self._verdicts = {
            (place.name, number): self._judged(place, number)
            for number in range(len(self._services))
            for place in self._places
        }
        self._cheapest = self._cheapest_of_their_kind()

    def whatever_accuracy(self) -> "Ranking":
        """The same where candidates that miss the run's budget by their accuracy alone are let in."""
        services = [replace(one, meets=one.meets or one.meets_but_accuracy) for one in self._services]
        return Ranking(services, self._places, self._asked, self._capacities, self._seed, self._power)

    def rows(self, demand: Demand | None = None) -> tuple[Row, ...]:
        """Every pair, sized by the curves alone, in order; for another demand than the one that was asked for."""
        return self._ordered(self._places, demand)

    def heads(self, demand: Demand | None = None) -> tuple[Row, ...]:
        """The same on those machines alone that are the cheapest of their kind: no other can be the first."""
        return self._ordered(self._cheapest, demand)

    def _cheapest_of_their_kind(self) -> tuple[Place, ...]:
        """Of machines on which every candidate has the same verdict and needs the same number of instances, one each.

        Limits on energy and carbon set every machine apart: what it draws decides whether it may be chosen.
        """
        found: dict[object, Place] = {}
        limited = self._power is not None and self._power.limits != Limits()
        for place in sorted(self._places, key=lambda one: (one.all_in_usd_per_hour, one.name)):
            judged = (self._verdicts[place.name, number] for number in range(len(self._services)))
            terms = None if place.spot is None else (place.spot.asked, place.spot.per_month)
            kind = place.services, terms, tuple((one.verdict, one.band) for one in judged), limited and place.name
            found.setdefault(kind, place)
        return tuple(found.values())

    def _ordered(self, places: Sequence[Place], demand: Demand | None) -> tuple[Row, ...]:
        up = self.up if demand is None else Uptime(demand, self._asked)
        found = (self._row(place, number, up) for number in range(len(self._services)) for place in places)
        return tuple(sorted(found, key=lambda row: row.key))

    def best(self, rows: Iterable[Row]) -> Row | None:
        """The first of those that meet, checked; None where none does."""
        open_ = sorted((row for row in rows if row.verdict == "meets"), key=lambda row: row.key)
        while open_ and not open_[0].checked:
            checked = self.check(open_[0])
            open_ = sorted([checked, *open_[1:]] if checked.verdict == "meets" else open_[1:], key=lambda row: row.key)
        return open_[0] if open_ else None

    def check(self, row: Row) -> Row:
        """The same after a simulation at the busiest rate, with as many more instances as that turns out to need.

        Where requests that meet a cold start take some of what the promise leaves, the others must be the better for
        it; if they are not, nothing sleeps.
        """
        promise = self._asked.promise
        if row.checked or promise is None or row.instances is None:
            return replace(row, checked=True)
        instances = row.instances
        answers = self._simulated(row, instances)
        while answers.percentile_s(promise.share) > promise.ms / 1e3 and instances < MOST_INSTANCES:
            instances += math.ceil(instances / 100)
            answers = self._simulated(row, instances)
        late = row.asleep and self._late(answers, promise)
        same = instances == row.instances and not late
        sized = row if same else self._billed(row, instances, self.up, asleep=row.asleep and not late)
        return replace(sized, response_ms=1e3 * answers.percentile_s(promise.share), checked=True)

    def at_best(self, row: Row) -> Bill | None:
        """The bill of the same pair at the fast end of its machine's band, by the curves alone."""
        band = row.place.pace(row.service.id) * (1 - row.place.band) - 1
        number = self._numbers[row.service.id]
        instances = self._sizes.instances(number, row.place.services, band, self._asked.demand.peak_per_s)
        instances = max(instances, self.up.awake.least)
        if instances > MOST_INSTANCES:
            return None
        return self._billed(replace(row, band=band), instances, self.up, asleep=row.asleep).bill

    def late_beside_the_cold(self, row: Row) -> bool:
        """Whether scaling this row to zero is out because too many that meet no cold start would be late."""
        promise = self._asked.promise
        if promise is None or row.instances is None or not self.up.may_sleep:
            return False
        return self._late(self._simulated(row, row.instances), promise)

    def _late(self, answers: Answers, promise: Promise) -> bool:
        return answers.percentile_s(self.up.share_awake(promise)) > promise.ms / 1e3

    def always_up(self, row: Row) -> Row:
        """The same with enough for the busiest time always up, to tell what following the traffic saves."""
        if row.instances is None:
            return row
        plain = Uptime(self._asked.demand, replace(self._asked, autoscaling=None, scale_to_zero=None))
        return self._billed(row, row.instances, plain, asleep=False)

    def paid(self, row: Row) -> tuple[Levels, Counts]:
        """The levels of the traffic that was asked for, and the instances that are paid for at each."""
        fleet = self._fleet(row, row.instances or 0)
        return self.up.levels(row.asleep), self._billing.paid(fleet, self.up, asleep=row.asleep)

    def _simulated(self, row: Row, instances: int) -> Answers:
        calls_s, servers = row.service.calls_s * (1 + row.band), instances * row.place.services
        requests = requests_for(servers, row.service.batch)
        rate_per_s = self._asked.demand.peak_per_s
        return simulated(calls_s, rate_per_s, servers, requests, self._seed, row.service.batching)

    def _row(self, place: Place, number: int, up: Uptime) -> Row:
        service, judged = self._services[number], self._verdicts[place.name, number]
        row = Row(service, place, judged.verdict, judged.words, judged.band or 0.0)
        if row.is_timed:
            per_s = place.services * service.batch / row.mean_s
            row = replace(row, saturated=bills.usd_per_million(place.usd_per_hour, per_s))
        if judged.band is None:
            return row
        instances = self._sizes.instances(number, place.services, judged.band, up.demand.peak_per_s)
        instances = max(instances, up.awake.least)
        if instances > MOST_INSTANCES:
            return replace(row, verdict="undecided", words=_TOO_MANY) if judged.verdict == "meets" else row
        awake = self._billed(row, instances, up, asleep=False)
        if not up.may_sleep:
            return awake
        asleep = self._billed(row, instances, up, asleep=True)
        return asleep if asleep.key < awake.key else awake  # starts may cost more than they save: images to pull

    def _judged(self, place: Place, number: int) -> "_Judged":
        """By the promise first, then by the run's own budget."""
        service = self._services[number]
        why = place.cannot.get(service.id) or place.unclear.get(service.id)
        if why:
            if service.meets is False:
                return _Judged("refused", service.lost, None)
            return _Judged("impossible" if service.id in place.cannot else "undecided", why, None)
        promised = self._promised(place, number)
        if promised.verdict == "meets" and self._runs_short(place):
            promised = _Judged("undecided", _SHORT, promised.band)
        if promised.verdict == "meets" and place.open:
            promised = _Judged("undecided", place.open, promised.band)
        if service.meets is True or promised.verdict == "impossible":
            return promised
        if service.meets is False:
            return _Judged("refused", service.lost, None)
        return _Judged("undecided", service.lost, promised.band)

    def _runs_short(self, place: Place) -> bool:
        """Whether a promise is left to one spot machine too few while it restarts."""
        asked = self._asked
        kept = asked.promise is None or place.spot is None or asked.spare > 0
        return not kept and place.spot is not None and place.spot.reserve(1) == 0

    def _promised(self, place: Place, number: int) -> "_Judged":
        service, promise = self._services[number], self._asked.promise
        slower, likely = place.slower(service.candidate.id), place.pace(service.candidate.id) - 1
        if promise is None or self._bears(service, slower):
            return _Judged("meets", "", slower)
        if service.seen_s is None or service.sure_s is None:
            return _Judged("undecided", _too_few(service, promise.name), None)
        wait_s = service.batching.max_wait_s
        if promise.ms < 1e3 * (service.seen_s * (1 - place.faster(service.id)) + wait_s):
            wait = f" after a wait of {units.ms(1e3 * wait_s)} ms for a full batch" if wait_s else ""
            alone = f"{promise.name} of the calls alone is {units.ms(1e3 * service.seen_s * (1 + likely))} ms{wait}"
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
        if service.sure_s is None:
            return False
        return service.batching.max_wait_s + service.sure_s * (1 + band) < promise.ms / 1e3

    def _billed(self, row: Row, instances: int, up: Uptime, *, asleep: bool) -> Row:
        place, service, demand = row.place, row.service, up.demand
        servers = instances * place.services
        fleet = self._fleet(row, instances)
        month = self._billing.month(fleet, up, asleep=asleep)
        highest = self._sizes.highest(fleet.number, servers, row.band)
        full_s = row.mean_s / service.batch
        billed = replace(
            row,
            instances=instances,
            spare=month.paid - instances,
            bill=month.bill,
            busiest_load=demand.peak_per_s * full_s / servers,
            idle=max(0.0, 1 - demand.mean_per_s * full_s / (month.mean_paid * place.services)),
            highest_per_s=highest,
            at_promise=bills.usd_per_million(month.paid * place.all_in_usd_per_hour, highest) if highest else None,
            mean_paid=month.mean_paid,
            asleep=asleep,
        )
        return self._powered(billed, demand)

    def _powered(self, row: Row, demand: Demand) -> Row:
        """With what the fleet draws and emits, and refused where that misses a limit.

        For another demand than the one that was asked for only limits matter: nothing else of it is shown.
        """
        power, hours = self._power, self._asked.hours_per_month
        if power is None or row.idle is None or (demand is not self._asked.demand and power.limits == Limits()):
            return row
        place = row.place
        one = 1.0 if place.accelerator else footprints.at_work(row.service.candidate, place.vcpus / place.services)
        # Of candidates in batches nobody knows how full their calls are: taken to be of one request each.
        alone = min(1.0, demand.mean_per_s * row.mean_s / (row.on_average * place.services))
        load = one * (1 - row.idle if row.service.batch == 1 else alone)
        fleet = Powered(row.on_average, load, demand.mean_per_s, hours, place.band)
        found = power.of(place.instance, fleet)
        kept, words = footprints.within(found, power.limits)
        if kept == "kept" or (kept == "open" and row.verdict != "meets"):
            return replace(row, footprint=found)
        return replace(row, footprint=found, verdict="refused" if kept == "missed" else "undecided", words=words)

    def _fleet(self, row: Row, instances: int) -> Fleet:
        return Fleet(self._numbers[row.service.id], row.service, row.place, row.band, instances)


def capacities_of(services: Sequence[Service], asked: Asked, seed: int = 0) -> Capacities:
    """The curves of these services for the percentile that is promised."""
    share = None if asked.promise is None else asked.promise.share
    return Capacities([one.calls_s for one in services], share, seed, [one.batching for one in services])


def _too_few(service: Service, name: str) -> str:
    has = f"{name} needs {units.count(service.needs)} calls, has {units.count(service.seen)}"
    return f"{has}: measure it to the end (`race: false`)"


def _measure(place: Place) -> str:
    return f"measure on it, about {units.usd(place.usd_per_hour / 6)} (10 minutes)"
