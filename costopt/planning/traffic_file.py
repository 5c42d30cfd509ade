"""The file that `costopt plan` reads: YAML, strict, each fault with its line.

requests_per_second: 50            # the mean; with peak_to_mean: 3, or hourly: [24 or 168 relative values]
hourly: [2, 1, 1, ...]             # without requests_per_second: requests a second, hour by hour
arrivals: arrivals.csv             # or a log: one timestamp in seconds a line
p99_ms: 5                          # wait and service together; or p95_ms, or p50_ms
spare: 1                           # instances that may fail without breaking the promise
machines: [aws/c7i.*]              # left out: all sizes of the measured machine's family
calibrations: [c7g.json]           # files of `costopt calibrate`, brought home from other machines
egress: {bytes_per_response: 2000, usd_per_gb: 0.09}
work: {hours: 8, usd_per_hour: 90}
"""

import difflib
import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from costopt import located
from costopt.budget_file import Milliseconds, Section, Text
from costopt.errors import ConfigError
from costopt.located import Located
from costopt.plan import validated
from costopt.planning import demand
from costopt.planning.bills import HOURS_PER_MONTH, Egress
from costopt.planning.demand import Demand
from costopt.pricing.book import Book

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

    `work_usd` is what people's time for compressing costs.
    """

    demand: Demand
    promise: Promise | None = None
    spare: int = 0
    hours_per_month: float = HOURS_PER_MONTH
    egress: Egress | None = None
    work_usd: float = 0.0
    machines: tuple[str, ...] | None = None
    calibrations: tuple[Path, ...] = ()


class EgressSection(Section):
    """What leaves the cloud with each answer."""

    bytes_per_response: Annotated[float, Field(ge=0)]
    """Bytes of an answer as it is sent, headers included."""
    usd_per_gb: Annotated[float, Field(ge=0)]
    """What sending 10^9 bytes costs."""


class WorkSection(Section):
    """People's time that compressing takes."""

    hours: Annotated[float, Field(ge=0)]
    usd_per_hour: Annotated[float, Field(ge=0)]


class TrafficFile(Section):
    """A traffic, and what is promised to those who send it."""

    requests_per_second: Annotated[float, Field(gt=0)] | None = None
    peak_to_mean: Annotated[float, Field(ge=1)] | None = None
    hourly: list[Annotated[float, Field(ge=0)]] | None = None
    arrivals: Text | None = None
    p50_ms: Milliseconds | None = None
    p95_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None
    spare: Annotated[int, Field(ge=0)] = 0
    hours_per_month: Annotated[float, Field(gt=0, le=744)] = HOURS_PER_MONTH
    egress: EgressSection | None = None
    work: WorkSection | None = None
    machines: Annotated[list[Text], Field(min_length=1)] | None = None
    calibrations: list[Text] = Field(default_factory=list)


def read(path: Path, book: Book, overrides: tuple[str, ...] = ()) -> Asked:
    """What a traffic file asks for; its patterns of machines are looked up in the price book.

    Raises ConfigError: a line a fault, with its place, path and remedy.
    """
    source = located.read(path, f"write one, {EXAMPLE}")
    for one in overrides:
        source = source.override(one)
    file = validated(TrafficFile, source, EXAMPLE)
    return Asked(
        demand=_demand(file, source, path.absolute().parent),
        promise=_promise(file, source),
        spare=file.spare,
        hours_per_month=file.hours_per_month,
        egress=None if file.egress is None else Egress(file.egress.bytes_per_response, file.egress.usd_per_gb),
        work_usd=0.0 if file.work is None else file.work.hours * file.work.usd_per_hour,
        machines=None if file.machines is None else _machines(file.machines, source, book),
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
    return demand.constant(file.requests_per_second, file.peak_to_mean or 1.0)


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
