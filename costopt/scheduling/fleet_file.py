"""The file that `costopt fleet` reads: YAML, strict, each fault with its line.

models:
  search: {run: runs/model-1234, requests_per_second: 40, peak_to_mean: 2, p99_ms: 20}
  spam:                              # or calls by hand: of one length, or from a file with one time in ms a line
    {calls_ms: 3.2, cores: 2, memory_mb: 800, measured_on: aws/c7i.large, requests_per_second: 5, p95_ms: 50}
  tags:                              # or several ways, of which one is chosen: measured on several families, say
    {ways: [{run: runs/on-c7i}, {run: runs/on-c7g}], hourly: [2, 1, ...], p99_ms: 20}
machines: [aws/c7i.*, aws/c7g.*]     # left out: all of the book
region: us-east-1                    # left out: each provider's home region
terms: on_demand                     # or spot, reserved
budget: {usd_per_month: 3000, max_instances: {aws/c7i.4xlarge: 10}}
spare: 1                             # machines that may fail at once without breaking a promise
time_limit: 20s                      # of the solver; then the best fleet found so far, with how far off it may be
"""

import difflib
import fnmatch
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from costopt import located, plugins
from costopt.budget_file import Megabytes, Milliseconds, Seconds, Section, Text
from costopt.errors import ConfigError
from costopt.located import KeyPath, Located
from costopt.plan import validated
from costopt.planning import demand
from costopt.planning.bills import HOURS_PER_MONTH
from costopt.planning.demand import Demand
from costopt.planning.traffic_file import SHARES, Promise
from costopt.pricing.book import Book
from costopt.pricing.terms import Terms

EXAMPLE = "such as `models: {search: {run: runs/model-1234, requests_per_second: 40, p99_ms: 20}}`"

MAX_BYTES = 64 * 2**20
"""Of a file of calls: some five million lines."""


@dataclass(frozen=True, slots=True)
class RunSource:
    """A way to serve that a finished run tells: its candidates compete. `place` is where the file says so."""

    folder: Path
    place: str


@dataclass(frozen=True, slots=True)
class CallsSource:
    """A way to serve that is given by hand: calls in milliseconds, whole vCPUs and bytes of a replica."""

    calls_ms: tuple[float, ...]
    cores: int
    memory_bytes: int
    measured_on: str
    place: str


Source = RunSource | CallsSource


@dataclass(frozen=True, slots=True)
class ModelAsked:
    """A model: how it may be served, its traffic, and what is promised."""

    name: str
    sources: tuple[Source, ...]
    demand: Demand
    promise: Promise | None


@dataclass(frozen=True, slots=True)
class FleetAsked:
    """What a fleet is packed for. `machines` are names from the price book; `spare` machines may fail at once."""

    models: tuple[ModelAsked, ...]
    machines: tuple[str, ...]
    region: str | None = None
    terms: Terms = "on_demand"
    usd_per_month: float | None = None
    max_instances: Mapping[str, int] = field(default_factory=dict)
    spare: int = 0
    hours_per_month: float = HOURS_PER_MONTH
    time_limit_s: float = 20.0


class WaySection(Section):
    """One way to serve a model: a run, or calls by hand."""

    run: Text | None = None
    calls_ms: Milliseconds | None = None
    calls: Text | None = None
    cores: Annotated[int, Field(ge=1)] | None = None
    memory_mb: Megabytes | None = None
    measured_on: Text | None = None


MOST_RATE = 1e12
"""Requests a second: more is a mistake in the file, and sums of it would leave the range of numbers."""


class ModelSection(WaySection):
    """A model with its traffic and its promise."""

    ways: Annotated[list[WaySection], Field(min_length=1)] | None = None
    requests_per_second: Annotated[float, Field(gt=0, le=MOST_RATE)] | None = None
    peak_to_mean: Annotated[float, Field(ge=1, le=MOST_RATE)] | None = None
    hourly: list[Annotated[float, Field(ge=0, le=MOST_RATE)]] | None = None
    arrivals: Text | None = None
    p50_ms: Milliseconds | None = None
    p95_ms: Milliseconds | None = None
    p99_ms: Milliseconds | None = None


class BudgetSection(Section):
    """Limits of the whole fleet."""

    usd_per_month: Annotated[float, Field(gt=0)] | None = None
    max_instances: dict[str, Annotated[int, Field(ge=0)]] | None = None


class FleetFile(Section):
    """Models that share machines."""

    models: Annotated[dict[str, ModelSection], Field(min_length=1)]
    machines: Annotated[list[Text], Field(min_length=1)] | None = None
    region: Text | None = None
    terms: Literal["on_demand", "spot", "reserved"] = "on_demand"
    budget: BudgetSection | None = None
    spare: Annotated[int, Field(ge=0, le=3)] = 0
    hours_per_month: Annotated[float, Field(gt=0, le=744)] = HOURS_PER_MONTH
    time_limit: Seconds = 20.0


def read(path: Path, book: Book, overrides: tuple[str, ...] = ()) -> FleetAsked:
    """What a fleet file asks for. Raises ConfigError: a line a fault, with its place, path and remedy."""
    source = located.read(path, f"write one, {EXAMPLE}")
    for one in overrides:
        source = source.override(one)
    file = validated(FleetFile, source, EXAMPLE)
    budget = file.budget or BudgetSection()
    machines = _machines(file.machines, source, book)
    if file.region is not None and not any((one, file.region) in book.offers for one in machines):
        raise source.error(("region",), f"no price of these machines in '{file.region}'")
    return FleetAsked(
        models=tuple(_Model(name, one, source, path.absolute().parent, book).asked() for name, one in _sorted(file)),
        machines=machines,
        region=file.region,
        terms=file.terms,
        usd_per_month=budget.usd_per_month,
        max_instances=_most(budget.max_instances or {}, source, book),
        spare=file.spare,
        hours_per_month=file.hours_per_month,
        time_limit_s=file.time_limit,
    )


def _sorted(file: FleetFile) -> list[tuple[str, ModelSection]]:
    """By name, so that the order of lines in a file changes no answer."""
    return sorted(file.models.items())


# ---------------------------------------------------------------------------------------- one model


@dataclass(frozen=True, slots=True)
class _Model:
    """A model's section, and what its faults are told with."""

    name: str
    section: ModelSection
    source: Located
    folder: Path
    book: Book

    def asked(self) -> ModelAsked:
        return ModelAsked(self.name, self._sources(), self._demand(), self._promise())

    def _error(self, words: str, *keys: str | int) -> ConfigError:
        return self.source.error(self._path(*keys), words)

    def _path(self, *keys: str | int) -> KeyPath:
        return ("models", self.name, *keys)

    def _sources(self) -> tuple[Source, ...]:
        section = self.section
        if section.ways is None:
            return (self._source(section, ()),)
        for key in WaySection.model_fields:
            if key in section.model_fields_set:
                raise self._error("`ways` says already how the model is served; move it there", key)
        return tuple(self._source(one, ("ways", place)) for place, one in enumerate(section.ways))

    def _source(self, way: WaySection, path: tuple[str | int, ...]) -> Source:
        ways = [key for key in ("run", "calls_ms", "calls") if key in way.model_fields_set]
        if not ways:
            raise self._error("does not say how it is served: give `run`, `calls_ms` or `calls`", *path)
        if len(ways) > 1:
            raise self._error(f"{ways[0]} is given already; keep one of the two", *path, ways[1])
        place = f"{self.source.where(self._path(*path, ways[0]))}: {located.dotted(self._path(*path, ways[0]))}"
        return self._run(way, way.run, path, place) if way.run is not None else self._by_hand(way, path, place)

    def _run(self, way: WaySection, run: str, path: tuple[str | int, ...], place: str) -> RunSource:
        for key in ("cores", "memory_mb", "measured_on"):
            if key in way.model_fields_set:
                raise self._error("the run says that already; remove the line", *path, key)
        return RunSource(self.folder / Path(run).expanduser(), place)

    def _by_hand(self, way: WaySection, path: tuple[str | int, ...], place: str) -> CallsSource:
        if way.cores is None or way.memory_mb is None or way.measured_on is None:
            missing = next(key for key in ("cores", "memory_mb", "measured_on") if key not in way.model_fields_set)
            raise self._error(f"calls by hand need {missing} too: cores: 2, memory_mb: 800, measured_on: ...", *path)
        if not self.book.of(way.measured_on):
            words = f"'{way.measured_on}' is not in the price book{self.book.near(way.measured_on)}"
            raise self._error(words, *path, "measured_on")
        calls = (way.calls_ms,) if way.calls_ms is not None else self._calls(way.calls or "", path)
        return CallsSource(calls, way.cores, math.ceil(way.memory_mb * 1e6), way.measured_on, place)

    def _calls(self, name: str, path: tuple[str | int, ...]) -> tuple[float, ...]:
        file = self.folder / name
        try:
            if file.stat().st_size > MAX_BYTES:
                raise self._error(f"{file}: over {MAX_BYTES >> 20} MiB; give fewer calls", *path, "calls")
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except OSError as fault:
            raise self._error(f"{file}: can't be read ({fault.strerror})", *path, "calls") from fault
        except UnicodeDecodeError as fault:
            raise self._error(f"{file}: not a text file (byte {fault.start} is not UTF-8)", *path, "calls") from fault
        calls = tuple(self._call(file, number, line, path) for number, line in enumerate(lines, 1) if line.strip())
        if not calls:
            raise self._error(f"{file}: is empty: write one call a line, in milliseconds", *path, "calls")
        return calls

    def _call(self, file: Path, number: int, line: str, path: tuple[str | int, ...]) -> float:
        try:
            value = float(line)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            words = f"{file}:{number}: {line.strip()[:40]!r} is no length of a call: write milliseconds, such as 3.2"
            raise self._error(words, *path, "calls")
        return value

    def _promise(self) -> Promise | None:
        section = self.section
        bounds = {"p50_ms": section.p50_ms, "p95_ms": section.p95_ms, "p99_ms": section.p99_ms}
        given = [(key, ms) for key, ms in bounds.items() if ms is not None]
        if len(given) > 1:
            raise self._error(f"{given[0][0]} is promised already; keep one of the two", given[1][0])
        return Promise(SHARES[given[0][0]], given[0][1]) if given else None

    def _demand(self) -> Demand:
        section = self.section
        rate = section.requests_per_second
        if section.peak_to_mean is not None and (section.hourly is not None or section.arrivals is not None):
            other = "hourly" if section.hourly is not None else "arrivals"
            raise self._error(f"{other} says already how far the busiest time lies above the mean", "peak_to_mean")
        if section.arrivals is not None:
            for key in ("requests_per_second", "hourly"):
                if key in section.model_fields_set:
                    raise self._error("arrivals says already how many requests come; keep one of the two", key)
            return self._of_log(self.folder / section.arrivals)
        if section.hourly is not None:
            try:
                return demand.hourly(section.hourly, rate)
            except ValueError as fault:
                raise self._error(str(fault), "hourly") from fault
        if rate is None:
            raise self._error("says nothing of its traffic: give requests_per_second: 50, or hourly, or arrivals")
        return demand.constant(rate, section.peak_to_mean or 1.0)

    def _of_log(self, path: Path) -> Demand:
        try:
            return demand.of_log(path)
        except ConfigError as fault:
            raise self._error(str(fault), "arrivals") from fault


# ---------------------------------------------------------------------------------------- machines


def _machines(patterns: Sequence[str] | None, source: Located, book: Book) -> tuple[str, ...]:
    """The machines that match, each once. Raises ConfigError for a pattern that matches none; it names the nearest."""
    known = tuple(dict.fromkeys(instance for instance, _ in book.offers))
    wanted: dict[str, None] = {}
    for place, pattern in enumerate(["*"] if patterns is None else patterns):
        matching = fnmatch.filter(known, pattern)
        if not matching:
            words = f"{pattern!r} matches no machine of the price book{_near(known, pattern)}"
            raise source.error(("machines", place), words)
        wanted.update(dict.fromkeys(matching))
    return tuple(sorted(wanted))


def _near(known: Sequence[str], pattern: str) -> str:
    close = difflib.get_close_matches(pattern.rstrip("*?."), known, n=3, cutoff=0.6)
    return f"; near: {', '.join(close)}" if close else "; `costopt prices list` shows all"


def _most(given: Mapping[str, int], source: Located, book: Book) -> Mapping[str, int]:
    known = {instance for instance, _ in book.offers}
    for name in given:
        if name not in known:
            words = f"no machine of the price book{plugins.nearest(name, known)}"
            raise source.error(("budget", "max_instances", name), words)
    return dict(sorted(given.items()))
