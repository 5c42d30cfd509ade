"""How fast is a candidate, against the baseline? The parent's side of measuring.

Candidate and baseline are served by two processes that take turns in rounds: first one, then the other, in an order
that chance decides. What slows the machine for a second then slows both, and cancels in their ratio. Whoever waits is
frozen, because an idle thread pool that spins would take time from whoever is measured (two live sessions that took
turns in one process: 59 ms instead of 29 ms a call, measured 2026-11 on a 2-core Xeon).

Measuring ends when the interval of the ratio is narrow enough, or when the time is up (`Stop`). Because part of a
process's speed stays with it for life, a narrow interval needs several pairs of processes: generations.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from costopt import stats
from costopt.errors import Untrue
from costopt.journal import to_json
from costopt.measuring import session, stopping, torch_session
from costopt.measuring.noise import Watch
from costopt.measuring.noise_rules import faults, together
from costopt.measuring.stretches import at_own_speed
from costopt.records import Setting
from costopt.sampling.samples import Samples
from costopt.timings import Noise, Round, Stopped, Timing, WarmUp
from costopt.worker import Answer, Child, Request

T = TypeVar("T")

TURN_S = 0.025
"""How long one side is timed in a round. What disturbs a machine comes in stretches, so short turns cancel more of it:
for the same 12 s, turns of 25 ms gave a standard error of 0.003 of the log ratio, 100 ms 0.007, 200 ms 0.015, and
10 ms no less than 25 ms (measured 2026-11-22, the shipped example's model on a 2-core EPYC, two runs of each)."""

CALLS_IN_A_TURN = 3
"""A turn has at least so many calls where they are slow: their median is not moved by one stray pause..."""

LONGEST_TURN_S = 0.25
"""... unless they are so slow that a turn would take longer than this; then a turn may be a single call."""

WARM_UP_LEAST_S = 0.5
"""Before the change-point test looks. In simulation a warm-up that faded over 0.3 s passed a first look after 0.2 s
with 30 % of it left; after 0.5 s it was nearly always seen (`tests/bench_statistics.py`)."""

WARM_UP_MOST_S = 5.0
"""Calls that still change after this long (or eight of them, where they are slow) are measured all the same, and the
report says so."""

OPEN_LIMIT_S = 600.0
"""A provider may build an engine for minutes when it loads a model."""

WARM_UP_LIMIT_S = 600.0
"""A model whose single call takes ten minutes counts as hung."""

SLACK_S = 60.0
"""A child that is this much later than its work should take has hung."""

Engine = Literal["onnxruntime", "torch", "torch.compile"]


@dataclass(frozen=True)
class Subject:
    """What a child is to serve. `cpus` are those that it is bound to; none leaves it free."""

    path: str
    setting: Setting
    samples: Samples
    cpus: tuple[int, ...] = ()
    engine: Engine = "onnxruntime"


@dataclass(frozen=True)
class Service:
    """A model that is served by a child, and what it showed before the first round."""

    child: Child
    subject: Subject
    call_s: float
    load_s: float
    first_call_s: float
    nodes: dict[str, int]
    warm_up: WarmUp

    def peak_memory_bytes(self) -> int:
        """The process's peak above what it held before the model was loaded. Raises CandidateError."""
        peak: int = self.child.ask(session.peak_memory, {}, SLACK_S)["bytes"]
        self.child.pause()
        return peak

    def serve_for(self, seconds: float) -> int:
        """Call the model one call after another; how many inferences that were. Raises CandidateError."""
        answer = self.child.ask(session.time_calls, {"seconds": seconds, "least": 1}, 2 * seconds + SLACK_S)
        self.child.pause()
        return self.subject.setting.batch * (len(answer["seconds"]) + int(answer["warm"]))


@dataclass(frozen=True)
class Stop:
    """When measuring may end: the relative width of the interval, (high - low) / ratio, or seconds, whichever first.

    With `stretch`, slow calls may take up to three times the seconds, so that there are enough for a p95. A subject
    that is slower than `to_beat` times the other for certain has lost its race, and is not measured any further. A
    narrow interval does not end it before the subject has answered `least_calls`.
    """

    precision: float
    confidence: float
    seconds: float
    stretch: bool = False
    to_beat: float | None = None
    least_calls: int = 0


def opening(subject: Subject) -> tuple[Callable[[Request], Answer], Request]:
    """The task by which a child opens a subject, and its request."""
    request: Request = {
        "path": subject.path,
        "setting": to_json(subject.setting),
        "samples": subject.samples.to_json(),
        "cpus": list(subject.cpus),
    }
    if subject.engine == "onnxruntime":
        return session.open_session, request
    return torch_session.open_program, {**request, "compiled": subject.engine == "torch.compile"}


def serve(child: Child, subject: Subject) -> Service:
    """Open a model in a child and warm it up; it is left frozen. Raises CandidateError."""
    opened = child.ask(*opening(subject), OPEN_LIMIT_S)
    warm = child.ask(session.warm_up, {"least_s": WARM_UP_LEAST_S, "most_s": WARM_UP_MOST_S}, WARM_UP_LIMIT_S)
    child.pause()
    return Service(
        child,
        subject,
        warm["call_s"],
        opened["load_s"],
        opened["first_call_s"],
        opened["nodes"],
        WarmUp(warm["calls"], warm["seconds"], warm["settled"]),
    )


# ---------------------------------------------------------------------------------------- taking turns


@dataclass(frozen=True)
class Pair:
    """Two subjects that take turns, and how. A query is `calls` calls in a row (`multi_stream`)."""

    own: Subject
    other: Subject
    stop: Stop
    seed: int
    machine: str
    own_log: Path
    other_log: Path
    calls: int = 1
    other_calls: int = 1


def _never(_: Service) -> bool:
    return False


def measure(
    pair: Pair,
    before: Callable[[Service], None],
    after: Callable[[Service, Timing], T],
    hopeless: Callable[[Service], bool] = _never,
) -> tuple[Timing, T]:
    """Time a candidate beside the baseline until the interval is narrow enough or the time is up.

    `before` looks at the candidate before its first round and may refuse it; one that is `hopeless` gets a rough figure
    only. `after` sees it, still open, after its last round, with what was taken. Raises CandidateError when one of the
    two crashes or hangs, Untrue when the machine was so disturbed that the figures would lie, and what `before` and
    `after` raise.
    """
    turns = _Turns(pair)
    while True:
        with Child("bench", pair.other_log) as other_child, Child("bench", pair.own_log) as own_child:
            other, own = serve(other_child, pair.other), serve(own_child, pair.own)
            if turns.generation == 0:
                before(own)
                turns.rough = hopeless(own)
            turns.take(own, other)
            if turns.over:
                timing = turns.timing()
                return timing, after(own, timing)


class _Turns:
    """The rounds of one measurement, over as many pairs of processes as its precision needs."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        self.generation = 0
        self.over = False
        self.rough = False
        self._generations = stopping.generations_needed(pair.stop.precision, pair.stop.confidence)
        self._order = random.Random(pair.seed)
        self._rounds: list[Round] = []
        self._noises: list[Noise] = []
        self._stopped: Stopped = "time"
        self._warm_up: WarmUp | None = None

    def take(self, own: Service, other: Service) -> None:
        """Let two services take turns until this generation has given its share."""
        if self._warm_up is None or not own.warm_up.settled:  # one that never settled is what a reader must know of
            self._warm_up = own.warm_up
        watch = Watch((own.child.pid, other.child.pid))
        self._stopped = self._until_enough(own, other)
        self._noises.append(watch.noise())
        self.generation += 1
        self.over = self._stopped == "beaten" or self.generation == self._generations

    def _until_enough(self, own: Service, other: Service) -> Stopped:
        deadline = time.monotonic() + self._most_s(own, other) / self._generations
        calls = self.pair.calls, self.pair.other_calls
        taken, check = 0, stopping.next_check(0)
        while True:
            self._rounds += take_rounds(own, other, self._order, 1, calls, self.generation)
            taken += 1
            if taken >= check:
                check = stopping.next_check(taken)
                if self.rough or self._beaten():
                    return "beaten"
                if self._enough():
                    return "precision"
            if time.monotonic() > deadline:
                return "time"

    def _most_s(self, own: Service, other: Service) -> float:
        """What all rounds may take: what was given, and where calls are slow what p95 needs, up to three times that.

        Both sides need those calls (`stats.queries_needed`), and calls that only warm up take about as long again.
        """
        slower_s = max(own.call_s, other.call_s)
        needed_s = 4 * stats.queries_needed(0.95) * slower_s
        given_s = self.pair.stop.seconds
        return min(max(given_s, needed_s), 3 * given_s) if self.pair.stop.stretch else given_s

    def _enough(self) -> bool:
        """Whether this will do, if the generations still to come give as many rounds as those so far."""
        stop, timing = self.pair.stop, at_own_speed(self.timing())
        called = stopping.called_enough(timing, stop.least_calls, self._generations)
        return called and stopping.enough(timing, stop.precision, stop.confidence, self._generations)

    def _beaten(self) -> bool:
        stop = self.pair.stop
        return stop.to_beat is not None and stopping.beaten(at_own_speed(self.timing()), stop.to_beat, stop.confidence)

    def timing(self) -> Timing:
        """What was taken so far."""
        pair = self.pair
        return Timing(
            tuple(self._rounds),
            pair.own.setting.batch * pair.calls,
            pair.other.setting.batch * pair.other_calls,
            pair.machine,
            together(self._noises),
            self._warm_up,
            self._stopped,
        )


def take_rounds(
    own: Service, other: Service, order: random.Random, count: int, calls: tuple[int, int] = (1, 1), generation: int = 0
) -> list[Round]:
    """So many rounds of two services that are open; `calls` in a query of each. Raises CandidateError."""
    seconds = turn_s(max(own.call_s * calls[0], other.call_s * calls[1]))
    return [_round(own, other, order.random() < 0.5, seconds, calls, generation) for _ in range(count)]


def _round(
    own: Service, other: Service, own_first: bool, seconds: float, calls: tuple[int, int], generation: int
) -> Round:
    if own_first:
        first = _turn(own, seconds, calls[0])
        return Round(first, _turn(other, seconds, calls[1]), generation)
    second = _turn(other, seconds, calls[1])
    return Round(_turn(own, seconds, calls[0]), second, generation)


def turn_s(query_s: float) -> float:
    """How long one turn of a round takes, for queries that take `query_s`."""
    return max(TURN_S, min(CALLS_IN_A_TURN * query_s, LONGEST_TURN_S))


def _turn(service: Service, seconds: float, calls: int) -> tuple[float, ...]:
    limit_s = SLACK_S + 3 * (seconds + service.call_s * calls)
    answer = service.child.ask(session.time_calls, {"seconds": seconds, "least": 1, "calls": calls}, limit_s)
    service.child.pause()
    return tuple(answer["seconds"])


def refuse_disturbed(noise: Noise | None) -> Noise | None:
    """The noise, unless the machine was so disturbed that figures would lie. Raises Untrue."""
    for fault in faults(noise) if noise else ():
        if fault.invalid:
            raise Untrue(fault.reason, fault.fix, again=True)
    return noise
