"""Everything is there already: how many samples a second the whole machine serves.

MLPerf: LoadGen sends all samples in one query at the start; the metric is throughput in samples per second. A machine
can be used in many ways (`throughput`), so this scenario sweeps over instances x threads x batch: every way briefly,
then the best ones again and in turns, each on processes of their own that are bound to CPUs of their own. The
contender's number of threads does not count here, and its batch is the smallest that is tried.
"""

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from typing import Protocol

import psutil

from costopt import machine
from costopt.benching.measurements import Benched, Opened, Throughput, Try
from costopt.errors import CandidateError, UsageError
from costopt.measuring import bench, proof, session, throughput
from costopt.measuring.crew import Crew
from costopt.measuring.noise import Watch
from costopt.measuring.throughput import Way
from costopt.scenarios import Scenario, Stage
from costopt.worker import Child

FIRST_PASS = 0.5
"""Share of the time that the first pass may take. A judgement: to miss the best way costs as much as not to know its
figure well."""

SHORT_S = 0.1
SHORT_WINDOWS = 3
"""Windows of the first pass: several, so that it can be told how much they wander."""

LONG_S = 0.5
"""A window of the second pass, at most. Windows of the finalists alternate, so a drift of the machine is shared."""

CALLS_IN_A_WINDOW = 2.0
"""A window is longer where calls are so slow that fewer would fit."""

LEAST_WINDOWS = 8
"""... of each finalist before the second pass may end for its precision."""

FEWEST_WINDOWS = 3
"""... and this many even when the time is up: less would have no interval worth the name."""

MEMORY_SHARE = 0.8
"""Of the memory that is free, that processes may take together: a machine that swaps measures its disk."""


@dataclass(frozen=True)
class Offline(Scenario):
    """Throughput of the whole machine. Batches double from the contender's own up to `max_batch`."""

    max_batch: int = 64

    def measure(self, stage: Stage) -> Benched:
        """The whole sweep. Raises UsageError for a `max_batch` under 1, else as `Scenario.measure` says."""
        if self.max_batch < 1:
            raise UsageError(f"scenarios/offline: max_batch must be 1 or more, not {self.max_batch}")
        deadline = time.monotonic() + stage.seconds
        opened, process_bytes = _alone(stage)
        sweep = Sweep(
            open_crew=lambda instances, threads: _crew(stage, instances, threads),
            cpus=_cpus(stage),
            batches=throughput.ladder(stage.contender.setting.batch, self.max_batch),
            memory=Memory(_free_bytes(), {stage.contender.setting.batch: process_bytes}),
        )
        sweep.try_all(deadline)
        watch = Watch()
        sweep.try_again(deadline, stage.confidence, stage.precision, stage.seed)
        return Benched(stage.contender, opened, sweep.found(), bench.refuse_disturbed(watch.noise()))


def _alone(stage: Stage) -> tuple[Opened, int]:
    """What one process shows beside its speed while nobody disturbs it, and the most memory that it held."""
    with Child("bench", stage.log("own")) as child:
        service = bench.serve(child, stage.subject(stage.contender))
        proof.refuse_absent(service)
        process_bytes: int = child.ask(session.peak_memory, {}, bench.SLACK_S)["process_bytes"]
        return stage.opened(service), process_bytes


def _crew(stage: Stage, instances: int, threads: int) -> Crew:
    contender = stage.contender
    served = replace(contender, setting=replace(contender.setting, threads=threads))
    subject = replace(stage.subject(contender), setting=served.setting)
    return Crew(
        [replace(subject, cpus=cpus) for cpus in throughput.shares(stage.cpus, instances)], stage.log("instances")
    )


def _cpus(stage: Stage) -> int:
    return len(stage.cpus) or machine.cores()


def _free_bytes() -> int:
    return min(psutil.virtual_memory().available, machine.memory_bytes())


# ---------------------------------------------------------------------------------------- the sweep


class Serving(Protocol):
    """What the sweep needs of a crew."""

    def serve(self, batch: int) -> float:
        """Serve this batch from now on; seconds a call."""

    def count(self, window_s: float, windows: int) -> tuple[float, ...]:
        """Samples a second in each window."""

    def process_bytes(self) -> int:
        """The most memory that one process has held."""


class Memory:
    """How many processes fit. `by_batch` are the bytes that one was seen to hold when it served that batch."""

    def __init__(self, free_bytes: int, by_batch: dict[int, int]) -> None:
        self._most_bytes = MEMORY_SHARE * free_bytes
        self._by_batch = by_batch

    def seen(self, batch: int, process_bytes: int) -> None:
        """Remember what a process held."""
        self._by_batch[batch] = max(process_bytes, self._by_batch.get(batch, 0))

    def needed_bytes(self, way: Way) -> int:
        """What all processes of a way hold; twice the batch counts as twice the memory where it was not seen yet."""
        own, half = self._by_batch.get(way.batch), self._by_batch.get(way.batch // 2, 0)
        return way.instances * (2 * half if own is None else own)

    def fit(self, ways: list[Way]) -> bool:
        """Whether the processes of all these ways may be open at once."""
        return sum(self.needed_bytes(way) for way in ways) <= self._most_bytes


class Sweep:
    """The search for the way that serves most: what was tried, and what was left out and why.

    `open_crew` opens so many instances of so many threads; `batches` are those to try, ascending.
    """

    def __init__(
        self,
        open_crew: Callable[[int, int], AbstractContextManager[Serving]],
        cpus: int,
        batches: tuple[int, ...],
        memory: Memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open_crew, self._cpus, self._batches, self._memory = open_crew, cpus, batches, memory
        self._clock = clock
        self._first: list[Try] = []
        self._again: list[Try] = []
        self._left_out: list[str] = []

    def found(self) -> Throughput:
        """All tries in their order, and what was left out."""
        return Throughput((*self._first, *self._again), tuple(self._left_out))

    # ------------------------------------------------------------------------------------ the first pass

    def try_all(self, deadline: float) -> None:
        """Every way, briefly, in at most `FIRST_PASS` of the time.

        Raises CandidateError when the first one fails, or none fits into memory.
        """
        now = self._clock()
        until = now + FIRST_PASS * (deadline - now)
        splits = throughput.splits(self._cpus)
        for place, (instances, threads) in enumerate(splits):
            now = self._clock()
            smallest = Way(instances, self._batches[0], threads)
            if self._first and now >= until:
                self._leave_out(smallest, "the time was up")
            elif self._fits(smallest):
                self._climb(instances, threads, now + (until - now) / (len(splits) - place))
        if not self._first:
            raise CandidateError("bench", self._left_out[0])

    def _climb(self, instances: int, threads: int, until: float) -> None:
        """One crew through larger and larger batches, until they bring nothing, don't fit, fail, or the time is up."""
        way = Way(instances, self._batches[0], threads)
        rates: list[float] = []
        try:
            with self._open_crew(instances, threads) as crew:
                for batch in self._batches:
                    way = replace(way, batch=batch)
                    if not throughput.worth_doubling(rates) or not self._fits(way):
                        return
                    if rates and self._clock() >= until:
                        return self._leave_out(way, "the time was up")
                    rates.append(self._brief(crew, way))
        except CandidateError as problem:
            if not self._first:
                raise
            self._leave_out(way, problem.reason)
            self._batches = tuple(batch for batch in self._batches if batch < way.batch) or self._batches
        return None

    def _brief(self, crew: Serving, way: Way) -> float:
        call_s = crew.serve(way.batch)
        self._memory.seen(way.batch, crew.process_bytes())
        samples_per_s = crew.count(max(SHORT_S, CALLS_IN_A_WINDOW * call_s / SHORT_WINDOWS), SHORT_WINDOWS)
        self._first.append(Try(way.instances, way.threads, way.batch, samples_per_s))
        return sum(samples_per_s) / len(samples_per_s)

    def _fits(self, way: Way) -> bool:
        if self._memory.fit([way]):
            return True
        self._leave_out(way, f"needs {self._memory.needed_bytes(way) / 1e9:.1f} GB of memory, too much of what is free")
        return False

    def _leave_out(self, way: Way, why: str) -> None:
        """A way, and with it all larger batches of the same crew."""
        larger = " and more" if way.batch < self._batches[-1] else ""
        self._left_out.append(f"{way}{larger}: {why}")

    # ------------------------------------------------------------------------------------ the second pass

    def try_again(self, deadline: float, confidence: float, precision: float, seed: int) -> None:
        """The best ways again, in turns, until each is known well enough or the time is up. Raises CandidateError."""
        windows: dict[Way, tuple[float, ...]] = {}
        chance = random.Random(seed)
        with ExitStack() as stack:
            turns = [self._reopened(stack, way) for way in self._finalists()]
            share_s = (deadline - self._clock()) / (len(turns) * LEAST_WINDOWS)
            long_s = max(SHORT_S, min(LONG_S, share_s))
            while not self._enough(windows, deadline, confidence, precision):
                chance.shuffle(turns)
                for way, crew, call_s in turns:
                    counted = crew.count(max(long_s, CALLS_IN_A_WINDOW * call_s), 1)
                    windows[way] = windows.get(way, ()) + counted
        self._again = [_tried(way, windows[way]) for way in sorted(windows)]

    def _finalists(self) -> list[Way]:
        """The best ways of the first pass, as many as may be open at once; the best of all in any case."""
        chosen: list[Way] = []
        for way in throughput.ranked(self._first)[: throughput.FINALISTS]:
            if not chosen or self._memory.fit([*chosen, way]):
                chosen.append(way)
        return chosen

    def _reopened(self, stack: ExitStack, way: Way) -> tuple[Way, Serving, float]:
        crew = stack.enter_context(self._open_crew(way.instances, way.threads))
        return way, crew, crew.serve(way.batch)

    def _enough(
        self, windows: dict[Way, tuple[float, ...]], deadline: float, confidence: float, precision: float
    ) -> bool:
        taken = min((len(some) for some in windows.values()), default=0)
        if taken < FEWEST_WINDOWS:
            return False
        tries = [_tried(way, some) for way, some in windows.items()]
        narrow = taken >= LEAST_WINDOWS and all(throughput.precise(one, confidence, precision) for one in tries)
        return narrow or self._clock() >= deadline


def _tried(way: Way, samples_per_s: tuple[float, ...]) -> Try:
    return Try(way.instances, way.threads, way.batch, samples_per_s)
