"""The file that `costopt plan` reads: YAML, strict, each fault with its line.

requests_per_second: 50            # the mean; with peak_to_mean: 3, or hourly: [24 or 168 relative values]
hourly: [2, 1, 1, ...]             # without requests_per_second: requests a second, hour by hour
arrivals: arrivals.csv             # or a log: one timestamp in seconds a line
p99_ms: 5                          # wait and service together; or p95_ms, or p50_ms
spare: 1                           # instances that may fail without breaking the promise
machine: {instance: aws/c7i.large} # as in a budget file; left out: the machine of the run
machines: [aws/c7i.*]              # left out: all sizes of the measured machine's family
calibrations: [c7g.json]           # files of `costopt calibrate`, brought home from other machines
egress: {bytes_per_response: 2000, usd_per_gb: 0.09}
work: {hours: 8, usd_per_hour: 90}
energy: {grid: FRA, co2_kg_per_month: 50}      # these two: powering.energy_file
data: {request_bytes: 150000, response_bytes: 2000, path: internet}
batching: {max_wait_ms: 5}         # candidates with batches: wait so long for one to fill; left out: take what is there
autoscaling: {start_up_s: 60, min_instances: 1}                      # with hourly or arrivals
scale_to_zero: {idle_s: 300, cold_start_s: 30}
spot: {interruptions_per_month: 0.15, restart_s: 120, fallback: on_demand, over_provision: 0.1}
load_balancer: {usd_per_hour: 0.02, usd_per_gb: 0.01, bytes_per_request: 3000}
storage: {usd_per_gb_month: 0.1}
registry: {usd_per_gb: 0.01, image_mb: 500}
committed: {discount: 0.37, hours: 8760}
"""

import difflib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from costopt import located
from costopt.budget_file import MachineSection, Milliseconds, Section, Text
from costopt.errors import ConfigError
from costopt.located import Located
from costopt.plan import price_of, validated
from costopt.planning import demand
from costopt.planning.bills import HOURS_PER_MONTH, Egress
from costopt.planning.commitment import Committed
from costopt.planning.demand import Demand
from costopt.planning.extra_lines import NOTHING, Extras, LoadBalancer, Registry, Storage
from costopt.planning.interruptions import Spot
from costopt.planning.traffic_sections import (
    LEAST_RATE,
    MOST,
    AutoscalingSection,
    BatchingSection,
    CommittedSection,
    EgressSection,
    LoadBalancerSection,
    Machines,
    NotNegative,
    RegistrySection,
    ScaleToZeroSection,
    SpotSection,
    StorageSection,
    WorkSection,
)
from costopt.planning.uptime import Autoscaling, ScaleToZero
from costopt.powering.energy_file import (
    DataAsked,
    DataSection,
    EnergyAsked,
    EnergySection,
    data_asked,
    energy_asked,
)
from costopt.pricing.book import Book
from costopt.records import Spec

EXAMPLE = "such as `requests_per_second: 50` and `p99_ms: 20`; the README's section on plans has all keys"

SHARES = {"p50_ms": 0.50, "p95_ms": 0.95, "p99_ms": 0.99}


@dataclass(frozen=True, slots=True)
class Promise:
    """The share of requests that must be answered, wait and service together, within so many milliseconds."""

    share: float
    ms: float

    @property
    def name(self) -> str:
        """`p99`."""
        return f"p{100 * self.share:.0f}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a plan is made for. `machines` are names from the price book; None stands for the family of the run's own.

    `work_usd` is what people's time for compressing costs, `price` names what the measured machine costs; None leaves
    it as the run has it. `max_wait_s` is how long a free server waits for a batch to fill.
    """

    demand: Demand
    promise: Promise | None = None
    spare: int = 0
    hours_per_month: float = HOURS_PER_MONTH
    egress: Egress | None = None
    work_usd: float = 0.0
    machines: tuple[str, ...] | None = None
    price: Spec | None = None
    energy: EnergyAsked | None = None
    data: DataAsked | None = None
    max_wait_s: float = 0.0
    autoscaling: Autoscaling | None = None
    scale_to_zero: ScaleToZero | None = None
    spot: Spot | None = None
    extras: Extras = NOTHING
    committed: Committed | None = None
    calibrations: tuple[Path, ...] = ()


class TrafficFile(Section):
    """A traffic, and what is promised to those who send it."""

    requests_per_second: Annotated[float, Field(gt=0, le=MOST)] | None = None
    peak_to_mean: Annotated[float, Field(ge=1, le=MOST)] | None = None
    hourly: list[NotNegative] | None = None
    arrivals: Text | None = None
    p50_ms: Milliseconds | None = None
    p95_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None
    spare: Machines = 0
    hours_per_month: Annotated[float, Field(gt=0, le=744)] = HOURS_PER_MONTH
    egress: EgressSection | None = None
    work: WorkSection | None = None
    machine: MachineSection | None = None
    machines: Annotated[list[Text], Field(min_length=1)] | None = None
    calibrations: list[Text] = Field(default_factory=list)
    energy: EnergySection | None = None
    data: DataSection | None = None
    batching: BatchingSection = BatchingSection()
    autoscaling: AutoscalingSection | None = None
    scale_to_zero: ScaleToZeroSection | None = None
    spot: SpotSection | None = None
    load_balancer: LoadBalancerSection | None = None
    storage: StorageSection | None = None
    registry: RegistrySection | None = None
    committed: CommittedSection | None = None


def read(path: Path, book: Book, overrides: tuple[str, ...] = ()) -> Asked:
    """What a traffic file asks for; its patterns of machines are looked up in the price book.

    Raises ConfigError: a line a fault, with its place, path and remedy.
    """
    source = located.read(path, f"write one, {EXAMPLE}")
    for one in overrides:
        source = source.override(one)
    file = validated(TrafficFile, source, EXAMPLE)
    if file.data is not None and file.egress is not None:
        raise source.error(("data",), "egress says already what leaves the cloud; keep one of the two")
    return Asked(
        demand=_demand(file, source, path.absolute().parent),
        promise=_promise(file, source),
        spare=file.spare,
        hours_per_month=file.hours_per_month,
        egress=None if file.egress is None else Egress(file.egress.bytes_per_response, file.egress.usd_per_gb),
        work_usd=0.0 if file.work is None else file.work.hours * file.work.usd_per_hour,
        machines=None if file.machines is None else _machines(file.machines, source, book),
        price=None if file.machine is None else price_of(file.machine, source),
        energy=energy_asked(file.energy),
        data=data_asked(file.data),
        max_wait_s=file.batching.max_wait_ms / 1e3,
        autoscaling=_autoscaling(file, source),
        scale_to_zero=None
        if file.scale_to_zero is None
        else ScaleToZero(file.scale_to_zero.idle_s, file.scale_to_zero.cold_start_s),
        spot=_spot(file.spot),
        extras=Extras(_load_balancer(file, source), _storage(file.storage), _registry(file.registry)),
        committed=None if file.committed is None else Committed(file.committed.discount, file.committed.hours),
        calibrations=tuple(path.absolute().parent / one for one in file.calibrations),
    )


def _promise(file: TrafficFile, source: Located) -> Promise | None:
    bounds = {"p50_ms": file.p50_ms, "p95_ms": file.p95_ms, "p99_ms": file.p99_ms}
    given = [(key, ms) for key, ms in bounds.items() if ms is not None]
    if len(given) > 1:
        raise source.error((given[1][0],), f"{given[0][0]} is promised already; keep one of the two")
    return Promise(SHARES[given[0][0]], given[0][1]) if given else None


def _demand(file: TrafficFile, source: Located, folder: Path) -> Demand:
    """The traffic, said in one of three ways. Raises ConfigError for two ways at once, or none."""
    if file.peak_to_mean is not None and (file.hourly is not None or file.arrivals is not None):
        other = "hourly" if file.hourly is not None else "arrivals"
        raise source.error(("peak_to_mean",), f"{other} says already how far the busiest time lies above the mean")
    if file.arrivals is not None:
        for key, given in (("requests_per_second", file.requests_per_second), ("hourly", file.hourly)):
            if given is not None:
                raise source.error((key,), "arrivals says already how many requests come; keep one of the two")
        return _of_log(folder / file.arrivals, source)
    if file.hourly is not None:
        try:
            return demand.hourly(file.hourly, file.requests_per_second)
        except ValueError as fault:
            raise source.error(("hourly",), str(fault)) from fault
    if file.requests_per_second is None:
        raise source.error((), "says nothing of the traffic: give requests_per_second: 50, or hourly, or arrivals")
    if file.requests_per_second < LEAST_RATE:
        raise source.error(("requests_per_second",), f"is less than {LEAST_RATE:g}, one request in 30 years")
    return demand.constant(file.requests_per_second, file.peak_to_mean or 1.0)


def _autoscaling(file: TrafficFile, source: Located) -> Autoscaling | None:
    given = file.autoscaling
    if given is None:
        return None
    if file.hourly is None and file.arrivals is None:
        words = "needs to know when less is asked for: give `hourly` or `arrivals`, or remove it"
        raise source.error(("autoscaling",), words)
    return Autoscaling(given.start_up_s, given.min_instances)


def _spot(given: SpotSection | None) -> Spot | None:
    if given is None:
        return None
    fallback = given.fallback == "on_demand"
    return Spot(given.interruptions_per_month, given.restart_s, fallback, given.over_provision)


def _load_balancer(file: TrafficFile, source: Located) -> LoadBalancer | None:
    given = file.load_balancer
    if given is None:
        return None
    through = given.bytes_per_request
    if through is None and file.data is not None:
        through = file.data.request_bytes + file.data.response_bytes
    if through is None and file.egress is not None:
        through = file.egress.bytes_per_response
    if through is None and given.usd_per_gb:
        words = "is missing: how many bytes of a request go through it, both ways? (or give `data`)"
        raise source.error(("load_balancer", "bytes_per_request"), words)
    return LoadBalancer(given.usd_per_hour, given.usd_per_gb, through or 0.0)


def _storage(given: StorageSection | None) -> Storage | None:
    return None if given is None else Storage(given.usd_per_gb_month, given.copies)


def _registry(given: RegistrySection | None) -> Registry | None:
    return None if given is None else Registry(given.usd_per_gb, 1e6 * given.image_mb)


def _of_log(path: Path, source: Located) -> Demand:
    try:
        return demand.of_log(path)
    except ConfigError as fault:
        raise source.error(("arrivals",), str(fault)) from fault


def _machines(patterns: Sequence[str], source: Located, book: Book) -> tuple[str, ...]:
    """The machines that match, each once. Raises ConfigError for a pattern that matches none; it names the nearest."""
    known = tuple(dict.fromkeys(instance for instance, _ in book.offers))
    wanted: dict[str, None] = {}
    for place, pattern in enumerate(patterns):
        matching = fnmatch.filter(known, pattern)
        if not matching:
            words = f"{pattern!r} matches no machine of the price book{_near(known, pattern)}"
            raise source.error(("machines", place), words)
        wanted.update(dict.fromkeys(matching))
    return tuple(wanted)


def _near(known: Sequence[str], pattern: str) -> str:
    spellings = {alias.lower(): one for one in known for alias in (one.partition("/")[2], one)}
    close = difflib.get_close_matches(pattern.lower().rstrip("*?."), spellings, n=6, cutoff=0.6)
    near = list(dict.fromkeys(spellings[one] for one in close))[:3]
    return f"; near: {', '.join(near)}" if near else "; `costopt prices list` shows all"
