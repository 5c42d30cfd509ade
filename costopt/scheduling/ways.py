"""How a model may be served: the candidates of a finished run that keep the run's own budget, or calls given by hand.

A way takes so many vCPUs and so much memory for each replica, and was measured on one machine with so many vCPUs in
use. A replica of a run's candidate takes all cores that the run's machine had, for that is what was measured.
"""

import datetime
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costopt import stats
from costopt.errors import ConfigError, UsageError
from costopt.journal import Journal
from costopt.judging.choose import judge
from costopt.planning import paces, services
from costopt.planning.paces import Paced
from costopt.planning.services import Service, raised_to
from costopt.planning.simulation import ALONE, Batching
from costopt.planning.traffic_file import Promise
from costopt.pricing.book import Book
from costopt.pricing.families import maker_of, may_be
from costopt.records import Measured
from costopt.scheduling.filling import BLOCK_BYTES
from costopt.scheduling.fleet_file import CallsSource, ModelAsked, RunSource, Source

Floats = NDArray[np.float64]

PROCESS_BYTES = 64_000_000
"""What a serving process holds before its model is loaded, on top of a run's peak: Python 3.11 with NumPy and ONNX
Runtime 1.31 imported held 45.3 MB (VmHWM of one process on Linux, 2026-11-22); the rest is room for a server's own."""


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One way to serve a model, one request or a batch of them a call.

    `calls_s` are its calls in seconds, sorted, the slowest raised to what the promised percentile is for certain
    (`sure_s`; None where there are fewer than `needs` calls, and where nothing is promised). `cores` and `memory_bytes`
    are what a replica takes. `measured_on` is the machine, `cpu` the processor that was timed ("" where not known).
    `batching` is how it takes requests: never waiting for a batch to fill.
    """

    name: str
    calls_s: Floats
    seen_s: float | None
    sure_s: float | None
    needs: int
    seen: int
    cores: int
    memory_bytes: int
    measured_on: str
    cpu: str
    by_hand: bool
    told: str
    batching: Batching = ALONE

    @property
    def blocks(self) -> int:
        """Memory of a replica, in the blocks in which it is handed out."""
        return math.ceil(self.memory_bytes / BLOCK_BYTES)

    @property
    def mean_s(self) -> float:
        """The mean call in seconds."""
        return float(self.calls_s.mean())

    @property
    def busy_s(self) -> float:
        """Seconds of a replica for each request, when calls are full."""
        return self.mean_s / self.batching.size


@dataclass(frozen=True, slots=True)
class Ways:
    """Of one model: those that compete, and why others of a run don't (each with the words)."""

    found: tuple[Way, ...]
    refused: tuple[str, ...] = ()


def of_model(model: ModelAsked, book: Book, today: datetime.date) -> Ways:
    """All ways of a model. Raises UsageError, with the place in the fleet file, for a run that can't be used."""
    share = None if model.promise is None else model.promise.share
    parts = [_of(source, share, book, today) for source in model.sources]
    return Ways(
        tuple(one for part in parts for one in part.found), tuple(one for part in parts for one in part.refused)
    )


def _of(source: Source, share: float | None, book: Book, today: datetime.date) -> Ways:
    if isinstance(source, CallsSource):
        return Ways((_by_hand(source, share),))
    try:
        return _of_run(source, share, book, today)
    except UsageError as fault:
        raise ConfigError(f"{source.place}: {fault}") from fault


def _by_hand(source: CallsSource, share: float | None) -> Way:
    """A single call stands for calls that all take as long; of several, the percentile must be known for certain."""
    calls_s = np.sort(np.array(source.calls_ms)) / 1e3
    seen_s, sure_s, needs = None, None, 0
    if share is not None and len(calls_s) == 1:
        seen_s = sure_s = float(calls_s[0])
    elif share is not None:
        found = stats.percentile(calls_s.tolist(), share)
        needs = found.needs
        if found.seen_ms is not None and found.upper_ms is not None:
            seen_s, sure_s = found.seen_ms / 1e3, found.upper_ms / 1e3
            calls_s = raised_to(calls_s, share, sure_s)
    return Way(
        "calls by hand",
        calls_s,
        seen_s,
        sure_s,
        needs,
        len(calls_s),
        source.cores,
        source.memory_bytes,
        source.measured_on,
        "",
        True,
        f"given by hand, measured on {source.measured_on}",
    )


def _of_run(source: RunSource, share: float | None, book: Book, today: datetime.date) -> Ways:
    journal = Journal.find(str(source.folder))
    run, budget, outcomes = journal.run(), journal.plan(), journal.outcomes()
    report = judge(run, outcomes, budget, today, journal.quote(budget))
    if report.quote is None or not report.quote.instance:
        raise UsageError(
            f"run {run.id} names no machine: `costopt choose` with a budget file that has "
            "`machine: {instance: aws/c7i.large}` names one"
        )
    served = services.of_run(report, outcomes, share)
    memory = {one.candidate.id: one.peak_memory_bytes for one in outcomes if isinstance(one, Measured)}
    instance, cpu, cores = report.quote.instance, run.machine.cpu, run.machine.cores
    paced = _paced(journal, served, instance, book)
    unclear = {} if paced is None else {**paced.unclear, **paced.cannot}
    meeting = [one for one in served if one.meets and one.id not in unclear]
    refused = tuple(f"{one.name}: {one.lost or unclear[one.id]}" for one in served if one not in meeting)
    told = f"run {run.id}, {_timed(instance, cpu, cores)}"
    if paced is not None:
        told += "; its times are taken there by the proportion of the two processors' peak rates"
    found = [
        Way(
            one.name,
            one.calls_s * pace,
            None if one.seen_s is None else one.seen_s * pace,
            None if one.sure_s is None else one.sure_s * pace,
            one.needs,
            one.seen,
            cores,
            memory[one.candidate.id] + PROCESS_BYTES,
            instance,
            cpu,
            False,
            told,
            one.batching,
        )
        for one in sorted(meeting, key=_plainness)
        for pace in [1.0 if paced is None else paced.paces[one.id]]
    ]
    return Ways(undominated(found), refused)


def _paced(journal: Journal, served: Sequence[Service], instance: str, book: Book) -> Paced | None:
    """How fast candidates would be on a machine whose processor is of another maker than the one that was timed.

    None where it may be the same, and where too little is known of the two: then they are taken to be alike.
    """
    run = journal.run()
    offer = next(iter(book.of(instance)), None)
    if offer is None or offer.vcpus is None or may_be(instance, run.machine.cpu):
        return None
    found = paces.elsewhere(run, journal.outcomes(), served, journal.folder, ()).at(offer, offer.vcpus)
    return found if isinstance(found, Paced) else None


def _timed(instance: str, cpu: str, cores: int) -> str:
    """What was timed, and whether that may be the machine that the run names."""
    timed = f"timed on {cpu}, {cores} cores"
    if may_be(instance, cpu):
        return f"{timed}, which it takes to be {instance}"
    return f"{timed}, and {instance} has a processor of {maker_of(instance)}: nothing was measured on one"


def _plainness(service: Service) -> tuple[tuple[float, ...], float, str]:
    """Of two that are as good, the simpler one comes first."""
    return service.complexity, service.mean_s, service.candidate.id


def undominated(ways: Sequence[Way]) -> tuple[Way, ...]:
    """Without those that an earlier or better one beats in every respect: calls at no percentile longer, memory no
    greater, batches as large. A queue of longer calls never answers sooner, so nothing is lost."""
    kept: list[Way] = []
    for way in ways:
        if not any(_at_least_as_good(one, way) for one in kept):
            kept = [one for one in kept if not _at_least_as_good(way, one)] + [way]
    return tuple(kept)


def _at_least_as_good(one: Way, other: Way) -> bool:
    as_small = one.memory_bytes <= other.memory_bytes and one.batching == other.batching
    return as_small and bool(np.all(_curve(one) <= _curve(other)))


def _curve(way: Way) -> Floats:
    """Percentiles of the calls at a thousand places: of two ways, the queue's input is all that is compared."""
    found: Floats = np.quantile(way.calls_s, np.linspace(0, 1, 1001), method="inverted_cdf")
    return found


def misses(way: Way, promise: Promise | None, band: float) -> str:
    """Why no number of replicas keeps the promise with calls longer by the band; "" where some does."""
    if promise is None:
        return ""
    if way.seen_s is None or way.sure_s is None:
        return f"{promise.name} needs {way.needs} calls, has {way.seen}: measure more"
    return "" if way.sure_s * (1 + band) < promise.ms / 1e3 else "too slow"


def fastest(ways: Iterable[Way]) -> Way | None:
    """The way whose promised percentile was seen lowest."""
    return min((one for one in ways if one.seen_s is not None), key=lambda one: one.seen_s or 0.0, default=None)
