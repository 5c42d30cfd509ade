"""What a person sees while a run works: on stderr, so that stdout carries nothing but the report.

On a terminal it is a bar with the stage, candidate k of n, the best so far and the time left; elsewhere (a CI log) one
plain line a candidate. Stages arrive through the `costopt` logger, so that the code that works knows of no bar.
"""

import logging
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn


class Shown(logging.Handler):
    """A watcher (`search.Watcher`) that shows; also the handler of the `costopt` logger while it is entered."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[best]}", style="green"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None, best="")
        self._done = 0
        self._of = ""

    def __enter__(self) -> Self:
        logger = logging.getLogger("costopt")
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        logging.getLogger("costopt").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """A new stage."""
        self._bar.update(self._task, description=record.getMessage())

    def planned(self, total: int | None, done: int) -> None:
        """Set the bar's length, where it is known."""
        self._done, self._of = done, "" if total is None else f"/{total}"
        self._bar.update(self._task, total=total, completed=done)
        if done:
            known = f"{done} candidates" if total is None else f"{done} of {total} candidates"
            self._console.print(f"{known} are known already; going on with the rest")

    def arrived(self, who: str, fate: str, best: str) -> None:
        """Move on by one."""
        self._done += 1
        self._bar.update(self._task, completed=self._done, best=f"best: {best}" if best else "")
        if not self._console.is_terminal or not fate.startswith("skipped"):
            ahead = f"; best: {best}" if best and not self._console.is_terminal else ""
            self._console.print(f"[{self._done}{self._of}] {who}: {fate}{ahead}", markup=False, soft_wrap=True)
