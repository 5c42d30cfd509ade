"""How many samples a second does the whole machine serve, and which way of using it serves most? Pure.

A way is so many processes, each with so many threads on CPUs of its own, and calls of so many samples. Which one is
best can't be told beforehand: many processes of one thread waste no time on meeting at the end of each operator, few
processes share the caches and the memory better. So `scenarios/offline` tries, in two passes, and here is what it
decides by:

    ways ─▶ every way, briefly ─▶ finalists ─▶ these again, in turns ─▶ whole: the best, with its interval

The first pass only chooses. Whoever came out on top of many short trials owes some of that to luck, so the figure that
is shown for a finalist is made of its second pass alone.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from costopt.benching.measurements import Throughput, Try, Whole
from costopt.stats import PROCESS_SPREAD
from costopt.units import count_of
from costopt.verdict import Interval

FINALISTS = 3
"""Ways that are measured again."""

GAIN = 1.03
"""A larger batch that serves less than this times as much as the best smaller one has brought nothing. A judgement:
the short trials of the first pass wander by some per cent."""

PATIENCE = 2
"""Doublings of the batch in a row that bring nothing, after which larger batches are not tried. A judgement: one may
fall on a batch that a kernel happens to dislike."""


@dataclass(frozen=True, slots=True, order=True)
class Way:
    """One way to use the machine, ordered from simple to less so: by processes, then samples a call, then threads."""

    instances: int
    batch: int
    threads: int

    def __str__(self) -> str:
        return f"{count_of(self.instances, 'instance')} of {count_of(self.threads, 'thread')}, batch {self.batch}"


def splits(cpus: int) -> tuple[tuple[int, int], ...]:
    """(instances, threads) for so many CPUs: every way to share them out evenly, then the same with half the threads.

    Half, because two hardware threads of one core share its arithmetic units: one thread a core may serve as much.
    """
    even = [(count, cpus // count) for count in range(1, cpus + 1) if cpus % count == 0]
    return (*even, *((count, threads // 2) for count, threads in even if threads > 1))


def shares(cpus: Sequence[int], instances: int) -> tuple[tuple[int, ...], ...]:
    """CPUs for each instance, no CPU twice, neighbours together; empty sets when no CPUs are known."""
    size = len(cpus) // instances
    return tuple(tuple(cpus[place * size : (place + 1) * size]) for place in range(instances))


def ladder(batch: int, max_batch: int) -> tuple[int, ...]:
    """`batch`, and its doublings up to `max_batch`."""
    doublings = (batch << times for times in itertools.count())
    return tuple(itertools.takewhile(lambda size: size <= max(batch, max_batch), doublings))


def worth_doubling(samples_per_s: Sequence[float]) -> bool:
    """Whether a larger batch is worth a try, after what smaller ones served, in order."""
    best, idle = 0.0, 0
    for rate in samples_per_s:
        idle = 0 if rate > GAIN * best else idle + 1
        best = max(best, rate)
    return idle < PATIENCE


def way_of(one: Try) -> Way:
    """The way that a try took."""
    return Way(one.instances, one.batch, one.threads)


def ranked(tries: Sequence[Try]) -> tuple[Way, ...]:
    """The ways that served most in the first pass, most first; the simpler first where two are equal."""
    return tuple(way_of(one) for one in sorted(tries, key=lambda one: (-_mean(one), way_of(one))))


def _mean(one: Try) -> float:
    return float(np.mean(one.samples_per_s)) if one.samples_per_s else 0.0


# ---------------------------------------------------------------------------------------- from calls to windows


def in_windows(ends_s: Sequence[float], batch: int, start_s: float, window_s: float, windows: int) -> list[float]:
    """Samples that one process finished in each of `windows` windows in a row, the first from `start_s` on.

    `ends_s` are the moments at which calls of `batch` samples ended, each beginning when the one before ended; the
    first moment is the begin of the first call. A call that lies in two windows counts in both, by its parts, so that
    nothing is lost or counted twice, and a window needs no whole number of calls.
    """
    finished = batch * np.arange(len(ends_s))
    edges = start_s + window_s * np.arange(windows + 1)
    samples: list[float] = np.diff(np.interp(edges, ends_s, finished)).tolist()
    return samples


def together(samples: Sequence[Sequence[float]], window_s: float) -> tuple[float, ...]:
    """Samples a second of all processes together in each window, from what each finished (`in_windows`)."""
    return tuple(sum(window) / window_s for window in zip(*samples, strict=True))


# ---------------------------------------------------------------------------------------- what follows


def interval(one: Try, confidence: float) -> Interval:
    """Samples a second: the mean over windows, with a t-interval.

    Part of a process's speed stays with it for life (`stats.PROCESS_SPREAD`); the more processes took part, the less of
    it is left in their sum. One window proves nothing: then it is (0, inf). Raises ValueError for none.
    """
    return _interval(one, confidence, PROCESS_SPREAD / math.sqrt(one.instances))


def _interval(one: Try, confidence: float, spread: float) -> Interval:
    """With `spread`, relative to the mean, as a standard deviation that no number of windows makes smaller."""
    from scipy.special import stdtrit

    rates = np.asarray(one.samples_per_s)
    if not rates.size:
        raise ValueError("a try without a window has no throughput: count in one window at least")
    mean = float(rates.mean())
    if rates.size == 1:
        return Interval(mean, 0.0, math.inf)
    variance = float(rates.var(ddof=1)) / rates.size + (mean * spread) ** 2
    half = float(stdtrit(rates.size - 1, (1 + confidence) / 2)) * math.sqrt(variance)
    return Interval(mean, max(0.0, mean - half), mean + half)


def precise(one: Try, confidence: float, precision: float) -> bool:
    """Whether more windows would be a waste: what they can narrow is at most `precision` wide, relative to the rate."""
    found = _interval(one, confidence, spread=0.0)
    return found.high - found.low <= precision * found.value


def whole(throughput: Throughput, confidence: float) -> Whole:
    """The best way to use the machine, and what every way gave, in the order of the tries.

    The leader has the highest lower bound. The best is the simplest way whose figure is no worse than the leader's may
    be: a second process that brings nothing sure is not recommended. Ways that were measured again compete with each
    other alone, by what they gave then. Raises ValueError when nothing was tried.
    """
    if not throughput.tries:
        raise ValueError("a throughput without a try says nothing")
    seen = _by_way(throughput.tries)
    found = {way: (one, interval(one, confidence)) for way, (one, _) in seen.items()}
    again = {way for way, (_, repeated) in seen.items() if repeated}
    rivals = {way: rate for way, (_, rate) in found.items() if way in again or not again}
    leader = max(rivals.values(), key=lambda rate: (rate.low, rate.value))
    best = min(way for way, rate in rivals.items() if rate.value >= leader.low)
    return Whole(*found[best], tuple(found.values()))


def _by_way(tries: Sequence[Try]) -> dict[Way, tuple[Try, bool]]:
    """One try a way, and whether it was measured again: then with the windows of all its tries but the first."""
    found: dict[Way, tuple[Try, bool]] = {}
    for one in tries:
        way = way_of(one)
        before = found.get(way)
        windows = before[0].samples_per_s if before and before[1] else ()
        found[way] = (replace(one, samples_per_s=windows + one.samples_per_s), before is not None)
    return found
