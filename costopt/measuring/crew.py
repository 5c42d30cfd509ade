"""Processes that serve one model side by side, each on CPUs of its own: the parent's side.

They open the model together, and count what they finish in the same stretches of time: each is told one moment of the
clock that all processes share, begins to call before it, and goes on until the last window is over. So in every window
all of them are at work, and the sum of what they finished is what the whole machine serves.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from costopt.errors import CandidateError
from costopt.measuring import session, throughput
from costopt.measuring.bench import OPEN_LIMIT_S, SLACK_S, WARM_UP_LIMIT_S, Subject, opening
from costopt.worker import Answer, Child, Request

WARM_UP_LEAST_S = 0.05
WARM_UP_MOST_S = 1.0
"""Less than for a latency (`bench`): what a call still loses to warming up is soon lost in the sum of all windows."""

LEADS_S = (0.1, 0.5, 2.0)
"""How long before the first window the processes are told, one after the other if some began too late. They call from
then on, which also brings caches and thread pools back after a pause."""


class Crew:
    """Several processes with one model. Use it in a `with` block; it is frozen whenever it is not asked for something.

    After a CandidateError it can only be closed: others of its processes may still have an answer to give.
    """

    def __init__(self, subjects: Sequence[Subject], log: Path) -> None:
        self._subjects = subjects
        self._log = log
        self._stack = ExitStack()
        self._children: list[Child] = []
        self._call_s = 0.0

    def __enter__(self) -> Self:
        """Start the processes and open the model in each. Raises CandidateError."""
        with ExitStack() as stack:
            self._children = [stack.enter_context(Child("bench", self._log)) for _ in self._subjects]
            for child, subject in zip(self._children, self._subjects, strict=True):
                child.tell(*opening(subject))
            self._hear(OPEN_LIMIT_S)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def serve(self, batch: int) -> float:
        """Serve calls of `batch` samples from now on, warmed up; seconds that a call takes. Raises CandidateError."""
        self._ask(session.change_batch, {"batch": batch}, WARM_UP_LIMIT_S)
        limits = {"least_s": WARM_UP_LEAST_S, "most_s": WARM_UP_MOST_S}
        self._call_s = max(float(warm["call_s"]) for warm in self._ask(session.warm_up, limits, WARM_UP_LIMIT_S))
        return self._call_s

    def count(self, window_s: float, windows: int) -> tuple[float, ...]:
        """Samples a second of all processes together in each window. Raises CandidateError."""
        for lead_s in LEADS_S:
            whole_s = lead_s + self._call_s + window_s * windows
            start_s = time.monotonic() + lead_s + self._call_s
            request = {"start_s": start_s, "window_s": window_s, "windows": windows}
            answers = self._ask(session.count_samples, request, SLACK_S + 3 * whole_s)
            if not any(answer["late"] for answer in answers):
                return throughput.together([answer["samples"] for answer in answers], window_s)
        late = sum(answer["late"] for answer in answers)
        raise CandidateError("bench", f"{late} of {len(answers)} processes could not begin within {lead_s:g} s")

    def process_bytes(self) -> int:
        """The most memory that one of the processes has held. Raises CandidateError."""
        peaks: list[int] = [peak["process_bytes"] for peak in self._ask(session.peak_memory, {}, SLACK_S)]
        return max(peaks)

    def _ask(self, task: Callable[[Request], Answer], request: Request, limit_s: float) -> list[Answer]:
        """What each process answers to the same request, all working at once."""
        for child in self._children:
            child.tell(task, request)
        return self._hear(limit_s)

    def _hear(self, limit_s: float) -> list[Answer]:
        answers = [child.hear(limit_s) for child in self._children]
        for child in self._children:
            child.pause()
        return answers
