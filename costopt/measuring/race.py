"""Session settings raced for real: the judge of `tuning.search`, and what it leaves beside the model.

Every variant of a race stays open in a process of its own, frozen, until the race has settled; so a look with more
rounds goes on from those that it has. The rounds choose; the figures of a report come from a fresh measurement.
"""

import logging
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from costopt import stats
from costopt.errors import CandidateError
from costopt.measuring import bench, tuning
from costopt.measuring.bench import Service, Subject
from costopt.measuring.stretches import at_own_speed
from costopt.measuring.tuning import Broken, Tuned
from costopt.records import Graph, Setting
from costopt.timings import Round, Timing
from costopt.verdict import Interval
from costopt.worker import Child

log = logging.getLogger("costopt")


@dataclass
class Racing:
    """The processes of one race: the best so far and its variants. Use it in a `with` block."""

    subject: Subject
    log: Path
    seed: int
    _open: dict[str, Service] = field(default_factory=dict)
    _rounds: dict[str, list[Round]] = field(default_factory=dict)
    _children: ExitStack = field(default_factory=ExitStack)
    _against: Setting | None = None

    def __enter__(self) -> "Racing":
        return self

    def __exit__(self, *ending: object) -> None:
        self._close()

    def _close(self) -> None:
        self._children.close()
        self._open.clear()
        self._rounds.clear()

    def __call__(self, variant: Setting, best: Setting, rounds: int, confidence: float) -> Interval | Broken:
        """How many times faster `variant` is than `best`, from so many rounds (`tuning.Judge`)."""
        if best != self._against:  # a new race: the processes of the last one have nothing more to say
            self._close()
            self._against = best
        try:
            own, other = self._service(variant), self._service(best)
            taken = self._rounds.setdefault(repr(variant), [])
            order = random.Random(f"{self.seed} {variant!r} {len(taken)}")
            taken.extend(bench.take_rounds(own, other, order, rounds - len(taken)))
        except CandidateError as problem:
            self._open.pop(repr(variant), None)
            return Broken(problem.reason)
        timing = at_own_speed(Timing(tuple(taken), variant.batch, best.batch, ""))
        return stats.speedup(timing, confidence)

    def _service(self, setting: Setting) -> Service:
        if repr(setting) not in self._open:
            child = self._children.enter_context(Child("bench", self.log))
            self._open[repr(setting)] = bench.serve(child, replace(self.subject, setting=setting))
        return self._open[repr(setting)]


def tuned(subject: Subject, graph: Graph, cores: int, seconds: float, seed: int, logs: Path) -> Tuned:
    """Search the session settings of one subject for at most `seconds`."""
    deadline = time.monotonic() + seconds
    branches = 2 if _branches(graph) else 1

    def propose(best: Setting) -> tuple[tuning.Variant, ...]:
        log.info("session options: %s", _words(best))
        return tuning.variants(best, cores, branches)

    with Racing(subject, logs / "tuning.log", seed) as judge:
        return tuning.search(subject.setting, propose, judge, seed=seed, time_is_up=lambda: time.monotonic() > deadline)


def _branches(graph: Graph) -> bool:
    """Whether some nodes may run at once: a graph that joins what it parted (Add, Concat, Mul of two inner values)."""
    return bool({"Add", "Concat", "Mul", "Sum"} & set(graph.operators))


def _words(setting: Setting) -> str:
    session = ", ".join(f"{name}={value}" for name, value in sorted(setting.session.items()))
    return f"{setting.threads} threads" + (f", {session}" if session else "")
