"""The child process that may crash alone.

Everything that touches a model (loading, exporting, compressing, running) happens in a child: third-party code that
crashes, hangs or eats all memory then ends one candidate, not the run. Parent and child speak JSON, one line each way:

    parent                                   child: python -m costopt.worker
      {"task": "module:function", ...}  ──▶    calls the function with the request, a dict
      {"news": "..."}                   ◀──    where long work is, for a progress bar: the `costopt` logger's lines
      {"answer": {...}}                 ◀──    what it returned, or
      {"error": {"stage", "reason"}}    ◀──    the CandidateError that it raised

Functions of one child share its memory, so a session opened by one request is there for the next. What third-party
libraries print goes to the child's log, never into the conversation.
"""

import ctypes
import importlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import psutil

from costopt.disk import FULL
from costopt.errors import CandidateError, CostoptError, DataError, ModelFileError, NotApplicable, UsageError

log = logging.getLogger("costopt")

PRELOADED = {"bench": ("costopt.measuring.session",)}
"""What the children of a stage import at once: two that take turns then do it side by side, before either is timed.
Both are ready after 0.39 in place of 0.54 s (medians of eight starts each, 2-core EPYC, 2026-11)."""

Request = dict[str, Any]
Answer = dict[str, Any]

_ERRORS: dict[str, type[CostoptError]] = {
    kind.__name__: kind for kind in (CostoptError, UsageError, ModelFileError, DataError)
}


class Child:
    """A worker process, seen from the parent. Use it in a `with` block: it is gone when the block ends.

    `stage` names what it is for in the reason of a failure; `log` is where its output goes.
    """

    def __init__(self, stage: str, log: Path) -> None:
        self.stage = stage
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            self._log_start = output.tell()  # several children write one log; the last words are this one's
            self._process = subprocess.Popen(
                # -P: the current folder may hold files that somebody sent; a `numpy.py` there must not be imported.
                [sys.executable, "-P", "-m", "costopt.worker", str(os.getpid()), *PRELOADED.get(stage, ())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=_environment(stage),
                # Ctrl-C goes to the whole foreground group: the parent alone decides what it means.
                start_new_session=True,
            )
        self._paused = False
        self._heard = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(BrokenPipeError):  # a request that was never read
                    pipe.close()

    def pause(self) -> None:
        """Freeze the process, so that its idle thread pool can't spin beside somebody who is being measured."""
        if not self._paused and self._process.poll() is None:
            psutil.Process(self._process.pid).suspend()
            self._paused = True

    def resume(self) -> None:
        """Let a frozen process go on."""
        if self._paused and self._process.poll() is None:
            psutil.Process(self._process.pid).resume()
        self._paused = False

    def ask(self, task: Callable[[Request], Answer], request: Request, limit_s: float) -> Answer:
        """Have the child call `task` (a module's function) with `request`, and wait for its answer.

        Raises CandidateError when the child crashes, hangs for more than `limit_s` seconds, or says that the model
        does not suit; other errors of costopt's own pass through as they are.
        """
        self.tell(task, request)
        return self.hear(limit_s)

    def tell(self, task: Callable[[Request], Answer], request: Request) -> None:
        """Send a request without waiting, so that several children can work at once; `hear` must follow.

        Raises CandidateError when the child is gone.
        """
        self.resume()
        stdin = self._process.stdin
        assert stdin is not None
        line = json.dumps({"task": f"{task.__module__}:{task.__qualname__}", "request": request})
        try:
            stdin.write(line.encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            raise CandidateError(self.stage, self._obituary()) from None

    def hear(self, limit_s: float) -> Answer:
        """Wait for the answer to what was told. Raises as `ask` does."""
        deadline = time.monotonic() + limit_s
        while True:
            text = self._read_line(deadline)
            if text is None:
                self._process.kill()
                raise CandidateError(self.stage, f"no answer within {limit_s:.0f} s; it was ended")
            if not text.endswith(b"\n"):
                raise CandidateError(self.stage, self._obituary())
            reply: dict[str, Any] = json.loads(text)
            if "news" in reply:
                log.info("%s", reply["news"])
                continue
            if "error" in reply:
                raise _revive(reply["error"])
            answer: Answer = reply["answer"]
            return answer

    def _read_line(self, deadline: float) -> bytes | None:
        """The child's next line; None when the time is up; without its newline when the child died."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        while b"\n" not in self._heard:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                return None
            part = os.read(pipe, 1 << 20)
            if not part:
                return self._heard
            self._heard += part
        line, _, self._heard = self._heard.partition(b"\n")
        return line + b"\n"

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def _obituary(self) -> str:
        """How the process ended, with the last line that it wrote."""
        code = self._process.wait()
        last = _last_line(self.log, self._log_start)
        if code == -signal.SIGKILL:
            return "the process was killed (signal 9), most likely because the machine ran out of memory"
        if code < 0:
            return f"the process crashed with {signal.Signals(-code).name}; last words: {last}"
        return f"{last} (exit code {code}; the whole log: {self.log})"


def _environment(stage: str) -> dict[str, str]:
    """What a child for this stage finds in its environment.

    Torch's threads (OpenMP) spin for milliseconds after each operation, in the hope of the next one, and take the
    processor from whoever has work where it is shared. Where nothing is measured they sleep instead, unless the user
    said otherwise: pruning channels of small models took 103 s of processor time so, and takes 16 s (torch 2.13,
    2-core x86 shared with other work, measured 2026-11). What is measured keeps torch's own ways.
    """
    return dict(os.environ) if stage == "bench" else {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}


def _last_line(log: Path, start: int) -> str:
    text = log.read_bytes()[start:].decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def _revive(error: dict[str, str]) -> CostoptError:
    """The error that the child raised."""
    if error["kind"] == "NotApplicable":
        return NotApplicable(error["reason"])
    if error["kind"] == "CandidateError":
        return CandidateError(error["stage"], error["reason"])
    return _ERRORS.get(error["kind"], CostoptError)(error["reason"])


# ---------------------------------------------------------------------------------------- the child's side


def _die_with(parent: int) -> None:
    """Ask Linux to kill this process when its parent ends, however it ends: no orphan may go on measuring."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1  # linux/prctl.h
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)


def _answer(line: str) -> dict[str, Any]:
    message = json.loads(line)
    module, _, function = message["task"].partition(":")
    task: Callable[[Request], Answer] = vars(importlib.import_module(module))[function]
    try:
        return {"answer": task(message["request"])}
    except CandidateError as problem:
        return {"error": {"kind": type(problem).__name__, "stage": problem.stage, "reason": problem.reason}}
    except CostoptError as problem:
        return {"error": {"kind": type(problem).__name__, "stage": "", "reason": str(problem)}}
    except OSError as fault:
        if fault.errno not in FULL:
            raise
        words = f"the disk is full ({fault}). Free some space and run the same command again: it goes on."
        return {"error": {"kind": "CostoptError", "stage": "", "reason": words}}


class _News(logging.Handler):
    """Tells the parent what the `costopt` logger is told here."""

    def __init__(self, conversation: TextIO) -> None:
        super().__init__(logging.INFO)
        self._conversation = conversation

    def emit(self, record: logging.LogRecord) -> None:
        """One line of the conversation."""
        _say(self._conversation, {"news": record.getMessage()})


def _say(conversation: TextIO, message: dict[str, Any]) -> None:
    conversation.write(json.dumps(message) + "\n")
    conversation.flush()


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    _die_with(int(sys.argv[1]))
    # Libraries print to standard output; the conversation moves to a descriptor of its own.
    conversation = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    log.addHandler(_News(conversation))
    log.setLevel(logging.INFO)
    for module in sys.argv[2:]:
        importlib.import_module(module)
    for line in sys.stdin:
        _say(conversation, _answer(line))


if __name__ == "__main__":
    main()
