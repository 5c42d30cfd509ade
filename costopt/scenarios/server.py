"""Requests arrive when they like: does the server keep its promise, and how many a second can it take?

MLPerf: LoadGen sends queries by a Poisson process, whether or not the server keeps up; latency counts from the moment
at which a query was scheduled; the metric is the highest rate at which the 99th percentile stays within the bound,
found by binary search. Each query is one sample; the server may gather waiting ones into a batch. MLPerf wants at least
600 s and five runs at the rate; here a verdict takes as many requests as it needs (`rates`), in the time that there is.

The contender is measured alone: rates are absolute, and its own batch counts only where the model takes no other.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from costopt.benching.measurements import Attempt, Batching, Benched, Served
from costopt.errors import CandidateError, Untrue, UsageError
from costopt.journal import from_json, to_json
from costopt.measuring import bench, proof, serving
from costopt.measuring.bench import Service
from costopt.measuring.forecast import CallTimes, Forecast, forecasts, ways
from costopt.measuring.noise import Watch
from costopt.measuring.rates import WIDTH, AttemptAt, answer, decide, judge, search
from costopt.scenarios import Scenario, Stage
from costopt.worker import Child

MOST_BATCH = 64
"""The largest batch that is tried where none was asked for: beyond it, calls outlast most bounds."""

SIZE_S = 0.2
"""How long call times are taken of each batch size. They only say where to look."""

CAUTION = 0.9
"""Of the foretold rate, where the search begins: forecasts leave out what waiting requests cost, and a first rate that
holds is worth more than one that fails when there is time for one only."""

RIVAL = 0.9
"""The second-best way to batch is tried too when its forecast comes this near to the best one's ..."""

RIVAL_TIME = 0.25
"""... in this share of the time."""

IMPOSSIBLE_REQUESTS = 40
"""Sent where a call alone outlasts the bound: a quarter of them late is proof enough (`queueing.HOPELESS_SHARE`)."""

LEAST_REQUESTS = 10
"""In a stretch, even when the time is up."""

OVERSLEPT_SHARE = 0.1
"""Of the bound. When requests are taken up later than this, the loop is what was measured, and not the model."""

TRIES = 3
"""Stretches that may be spoilt in a row by a loop that overslept."""


@dataclass(frozen=True)
class Server(Scenario):
    """Poisson arrivals at `rate` per second (the highest that holds when null), of which 99 of 100 within `p99_ms`.

    Up to `max_batch` waiting requests are served in one call, for which the first waits up to `max_wait_ms`; null tries
    several. `instances` calls may run at once, on one session.
    """

    p99_ms: float
    rate: float | None = None
    max_batch: int | None = None
    max_wait_ms: float | None = None
    instances: int = 1

    def __post_init__(self) -> None:
        above_zero = {
            "p99_ms": self.p99_ms,
            "rate": self.rate,
            "max_batch": self.max_batch,
            "instances": self.instances,
        }
        for name, value in above_zero.items():
            if value is not None and not 0 < value < math.inf:
                raise UsageError(f"scenarios/server: {name} must be more than zero, not {value:g}")
        if self.max_wait_ms is not None and not 0 <= self.max_wait_ms < math.inf:
            raise UsageError(f"scenarios/server: max_wait_ms must be zero or more, not {self.max_wait_ms:g}")

    def measure(self, stage: Stage) -> Benched:
        """Serve stretches of requests until the rate is decided, or the highest is found, or the time is up.

        Raises what `Scenario.measure` says; CandidateError too when the model can't be served with these options.
        """
        deadline = time.monotonic() + stage.seconds
        self._refuse_too_many(stage)
        with Child("bench", stage.log("own")) as child:
            service = bench.serve(child, stage.subject(stage.contender))
            proof.refuse_absent(service)
            watch = Watch()
            attempts = _Trial(self, service, stage.seed, deadline).attempts()
            noise = bench.refuse_disturbed(watch.noise())
            return Benched(stage.contender, stage.opened(service), Served(self.p99_ms, attempts), noise)

    def _refuse_too_many(self, stage: Stage) -> None:
        if stage.cpus and self.instances > len(stage.cpus):
            cpus = f"{len(stage.cpus)} CPU{'s' if len(stage.cpus) > 1 else ''}"
            raise UsageError(
                f"scenarios/server: {self.instances} instances on {cpus} would only wait for one another; "
                f"use at most {len(stage.cpus)}"
            )
        if self.instances > 1 and stage.contender.engine != "onnxruntime":
            raise CandidateError("bench", "PyTorch's threads are set for one caller: it is served by one instance only")


class _Trial:
    """One contender's attempts, in the time that it has."""

    def __init__(self, asked: Server, service: Service, seed: int, deadline: float) -> None:
        self._asked = asked
        self._child = service.child
        self._seed = seed
        self._deadline = deadline
        self._bound_s = asked.p99_ms / 1e3
        request = {"most": asked.max_batch or MOST_BATCH, "bound_s": self._bound_s, "seconds": SIZE_S}
        answered = self._child.ask(serving.call_times, request, bench.WARM_UP_LIMIT_S)
        self._times: dict[int, list[float]] = dict(answered["times"])
        self._fixed: int | None = answered["fixed"]
        self._refuse_larger_than_fixed()

    def _refuse_larger_than_fixed(self) -> None:
        most = self._asked.max_batch
        if self._fixed and most and most > self._fixed:
            raise CandidateError(
                "bench", f"the model takes batches of {self._fixed} only, so max_batch can't be {most}; leave it out"
            )

    def attempts(self) -> tuple[Attempt, ...]:
        """All stretches of requests, in order."""
        if CallTimes(self._times, self._seed).fastest_s() > self._bound_s:
            return self._impossible()
        best, *others = self._foretold()
        rivals = [one for one in others if one.rate_per_s >= RIVAL * best.rate_per_s][:1]
        if self._asked.rate is not None:
            return self._decided(self._asked.rate, [best, *rivals])
        return self._searched(best, rivals)

    def _foretold(self) -> list[Forecast]:
        within = [size for size, seconds in self._times.items() if min(seconds) <= self._bound_s]
        asked = self._asked
        batchings = ways(within, asked.max_batch, asked.max_wait_ms, asked.p99_ms)
        return forecasts(self._times, batchings, asked.p99_ms, asked.instances, self._seed)

    def _impossible(self) -> tuple[Attempt, ...]:
        """A call alone outlasts the bound: a few requests prove it, at a rate that leaves the server half idle."""
        size, seconds = min(self._times.items(), key=lambda one: min(one[1]))
        rate_per_s = self._asked.rate or 0.5 / min(seconds)
        attempt, _ = self._serve(Batching(size), rate_per_s, IMPOSSIBLE_REQUESTS, 0)
        return (attempt,)

    def _decided(self, rate_per_s: float, foretold: Sequence[Forecast]) -> tuple[Attempt, ...]:
        """Whether one rate holds, in the first way to batch, or else in the second."""
        attempts: tuple[Attempt, ...] = ()
        for place, one in enumerate(foretold, 1):
            share = place / len(foretold)  # half the time for the first of two, all that is left for the second
            found = decide(self._at(one.batching), rate_per_s, self._asked.p99_ms, self._left, further_share=share)
            attempts += found
            if judge(found, self._asked.p99_ms).holds:
                break
        return attempts

    def _searched(self, best: Forecast, rivals: Sequence[Forecast]) -> tuple[Attempt, ...]:
        """The highest rate that holds in the best way to batch, and whether the next best holds more."""
        reserve_s = RIVAL_TIME * self._left() if rivals else 0.0
        guess = CAUTION * best.rate_per_s or self._low_guess(best.batching)
        attempts = search(self._at(best.batching), guess, self._asked.p99_ms, lambda: self._left() - reserve_s)
        held = answer(Served(self._asked.p99_ms, attempts)).holds
        if held is None:
            return attempts
        for one in rivals:
            more = held.rate_per_s * (1 + WIDTH)
            found = decide(self._at(one.batching), more, self._asked.p99_ms, self._left)
            attempts += found
            if judge(found, self._asked.p99_ms).holds:
                attempts += search(self._at(one.batching), more * (1 + WIDTH), self._asked.p99_ms, self._left)
        return attempts

    def _low_guess(self, batching: Batching) -> float:
        """Where to begin when no rate at all was foretold to hold."""
        return 0.05 * self._asked.instances * CallTimes(self._times, self._seed).capacity_per_s(batching.max_batch)

    def _left(self) -> float:
        return self._deadline - time.monotonic()

    def _at(self, batching: Batching) -> AttemptAt:
        """How to serve a stretch of requests in one way to batch."""

        def attempt_at(rate_per_s: float, requests: int, stretch: int) -> Attempt:
            fits = max(LEAST_REQUESTS, min(requests, int(rate_per_s * self._left())))
            return _undisturbed(lambda: self._serve(batching, rate_per_s, fits, stretch), self._asked.p99_ms)

        return attempt_at

    def _serve(self, batching: Batching, rate_per_s: float, requests: int, stretch: int) -> tuple[Attempt, float]:
        request = {
            "rate_per_s": rate_per_s,
            "requests": requests,
            "seed": (self._seed << 8) + stretch,  # every rate has the same arrivals, every stretch its own
            "bound_s": self._bound_s,
            "batching": to_json(batching),
            "instances": self._asked.instances,
            "fixed": self._fixed,
        }
        limit_s = bench.SLACK_S + 3 * (requests / rate_per_s + self._bound_s)
        answered = self._child.ask(serving.attempt, request, limit_s)
        return from_json(Attempt, answered["attempt"]), answered["overslept_s"]


def _undisturbed(serve: Callable[[], tuple[Attempt, float]], bound_ms: float) -> Attempt:
    """A stretch in which the loop was on time, or that holds all the same: what was overslept counts against it.

    Raises Untrue when there is none.
    """
    for _ in range(TRIES):
        attempt, overslept_s = serve()
        if overslept_s <= OVERSLEPT_SHARE * bound_ms / 1e3 or judge([attempt], bound_ms).holds:
            return attempt
    raise Untrue(
        f"the loop that takes up requests woke up {1e3 * overslept_s:.1f} ms late, {TRIES} times in a row: over "
        f"a tenth of the {bound_ms:g} ms that were promised: it was measured, and not the model",
        "measure again when nothing else runs, or with fewer threads so that the loop has a CPU",
    )
