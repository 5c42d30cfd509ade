"""Requests that come whether or not the server keeps up: the schedule, the queue, and the loop that serves it.

    schedule ─▶ Line ─▶ work: take a batch, call the model, note when it was answered ─▶ Attempt
                 │
                 one queue, first come first served; each instance of the model takes from it in turn

Arrivals are decided before anything runs (an open loop), and latency counts from the moment at which a request was to
arrive. A loop that sends the next request only when the last was answered would leave out just the requests that a
slow server keeps waiting: "coordinated omission" (Gil Tene, "How NOT to measure latency", 2013). MLPerf has the same
rule: latency is "from when the LoadGen was scheduled to pass a query to the SUT, to the time it receives a reply"
(inference rules, "LoadGen operation"), and in its server scenario queries arrive by a Poisson process.

The loop knows time only through a `Clock`. In a child it is the real one; here is a virtual one, on which hours of
queueing take a second, so that the very code that measures can be held against queueing theory.
"""

import heapq
import threading
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from costopt.benching.measurements import Attempt, Batching

PROMISED_SHARE = 0.99
"""The share of requests that is to be answered within the bound: MLPerf's, in its server scenario."""

HOPELESS_SHARE = 0.25
"""Once so many of all planned requests are known to be late, the rest can't save a promise for 99 of 100.

If at most 1 in 100 is late in the long run, then this share of a stretch that starts with an empty queue is late with
a chance of at most 0.01 / 0.25 = 4 % (Markov's inequality, which holds however much the requests depend on another).
An overloaded server is so found out long before its queue was served.
"""


class Clock(Protocol):
    """Seconds since a stretch of requests began, and a way to wait for a moment."""

    def now(self) -> float:
        """Seconds since the beginning."""

    def wait_until(self, moment_s: float) -> None:
        """Return at `moment_s`, or at once when that is over."""


class VirtualClock:
    """Time that passes only when somebody waits, or sets it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def now(self) -> float:
        """Seconds since the beginning."""
        return self.now_s

    def wait_until(self, moment_s: float) -> None:
        """Be there at once."""
        self.now_s = max(self.now_s, moment_s)


class Batch(NamedTuple):
    """Requests `first` to `first + size`, taken out of the line at `start_s`."""

    first: int
    size: int
    start_s: float


def schedule(rate_per_s: float, requests: int, seed: int) -> list[float]:
    """The seconds at which `requests` requests of a Poisson process arrive, in order.

    One stream of a seed serves every rate, stretched or squeezed: at a higher rate the same requests come in the same
    order, only sooner, so that attempts at two rates differ by the rate and not by luck ("common random numbers").
    """
    gaps = np.random.default_rng(seed).standard_exponential(requests)
    arrivals: list[float] = (gaps.cumsum() / rate_per_s).tolist()
    return arrivals


def ready_s(arrivals_s: Sequence[float], first: int, batching: Batching) -> float:
    """When a free server calls the model for the requests from `first` on.

    As soon as `max_batch` of them are there, or when the first has waited for `max_wait_ms`, whichever comes sooner.
    """
    patience = arrivals_s[first] + batching.max_wait_ms / 1e3
    last = first + batching.max_batch - 1
    return min(arrivals_s[last], patience) if last < len(arrivals_s) else patience


def waiting(arrivals_s: Sequence[float], first: int, now_s: float, most: int) -> int:
    """How many requests from `first` on have arrived by now: at least 1, at most `most`."""
    return max(1, bisect_right(arrivals_s, now_s, first, min(first + most, len(arrivals_s))) - first)


class Line:
    """The queue before the server: it hands out batches in order of arrival, and writes down what became of them.

    Instances may take from it in threads of their own. Whoever waits for arrivals holds the lock meanwhile, so that
    the next free instance queues behind it.
    """

    def __init__(self, arrivals_s: Sequence[float], batching: Batching, bound_s: float, clock: Clock) -> None:
        self.overslept_s: list[float] = []
        self._arrivals_s = arrivals_s
        self._batching = batching
        self._bound_s = bound_s
        self._clock = clock
        self._lock = threading.Lock()
        self._next = 0
        self._late = 0
        self._answered: list[tuple[Batch, float]] = []
        self._given_up_s: float | None = None

    def take(self) -> Batch | None:
        """Wait for the next batch. None when all requests are served, or so many are late that it is hopeless."""
        with self._lock:
            if self._next == len(self._arrivals_s) or self._hopeless():
                return None
            first, ready = self._next, ready_s(self._arrivals_s, self._next, self._batching)
            if self._clock.now() < ready:
                self._clock.wait_until(ready)
                self.overslept_s.append(self._clock.now() - ready)
            now = self._clock.now()
            size = waiting(self._arrivals_s, first, now, self._batching.max_batch)
            self._next += size
            return Batch(first, size, now)

    def answered(self, batch: Batch) -> None:
        """Note that the answers of a batch are there now."""
        end = self._clock.now()
        first, after = batch.first, batch.first + batch.size
        with self._lock:
            self._answered.append((batch, end))
            self._late += bisect_left(self._arrivals_s, end - self._bound_s, first, after) - first

    def close(self) -> None:
        """Hand out nothing any more: an instance failed."""
        self._next = len(self._arrivals_s)

    def _hopeless(self) -> bool:
        if self._given_up_s is None:
            now = self._clock.now()
            overdue = bisect_left(self._arrivals_s, now - self._bound_s, self._next) - self._next
            if self._late + overdue >= HOPELESS_SHARE * len(self._arrivals_s):
                self._given_up_s = now
        return self._given_up_s is not None

    def attempt(self, rate_per_s: float, instances: int) -> Attempt:
        """What became of the requests, once every instance is done.

        When it was given up, the requests that had already waited for longer than the bound count with the time that
        they had waited: less than they would have had to, but late all the same. Those after them do not count.
        """
        arrivals = np.asarray(self._arrivals_s)
        ends = self._ends(arrivals)
        arrivals = arrivals[: len(ends)]
        calls = [(batch.start_s, end) for batch, end in self._answered]
        return Attempt(
            rate_per_s=rate_per_s,
            batching=self._batching,
            instances=instances,
            latencies_s=tuple((ends - arrivals).round(6).tolist()),
            busy_periods=busy_periods(arrivals, ends),
            seconds=float(ends.max() - arrivals[0]),
            busy_s=sum(end - start for start, end in calls),
            calls=len(calls),
        )

    def _ends(self, arrivals: NDArray[np.float64]) -> NDArray[np.float64]:
        """When each request was answered, or given up; only for the requests that count."""
        counted = self._next
        if self._given_up_s is not None:
            counted = max(counted, bisect_left(self._arrivals_s, self._given_up_s - self._bound_s))
        ends = np.full(counted, self._given_up_s if self._given_up_s is not None else arrivals[-1])
        for batch, end in self._answered:
            ends[batch.first : batch.first + batch.size] = end
        return ends


def busy_periods(arrivals: NDArray[np.float64], ends: NDArray[np.float64]) -> tuple[int, ...]:
    """How many requests were served between one moment without any request and the next, in order.

    Both arrays have the shape (requests,), in order of arrival. A request opens a busy period when all before it had
    been answered when it came.
    """
    empty_since = np.maximum.accumulate(ends)[:-1]
    opens = np.concatenate([[0], 1 + np.flatnonzero(arrivals[1:] >= empty_since), [len(arrivals)]])
    return tuple(np.diff(opens).tolist())


def work(line: Line, call: Callable[[int, int], None]) -> None:
    """One instance of the model: take a batch, call it, until the line is done. `call` gets first request and size."""
    while (batch := line.take()) is not None:
        call(batch.first, batch.size)
        line.answered(batch)


def simulate(
    rate_per_s: float,
    arrivals_s: Sequence[float],
    batching: Batching,
    bound_s: float,
    service_s: Callable[[int], float],
    instances: int = 1,
) -> Attempt:
    """The same line in virtual time: a call of n requests takes `service_s(n)` seconds.

    Whichever instance is free first takes the next batch.
    """
    clock = VirtualClock()
    line = Line(arrivals_s, batching, bound_s, clock)
    free_s = [0.0] * instances
    while True:
        clock.now_s = heapq.heappop(free_s)
        batch = line.take()
        if batch is None:
            return line.attempt(rate_per_s, instances)
        clock.now_s += service_s(batch.size)
        line.answered(batch)
        heapq.heappush(free_s, clock.now_s)
