"""Runners, one a file: where the work is done.

A runner takes work (a picklable function from an entry to its outcome) and entries, and yields outcomes as they
arrive. A machine measures one thing at a time, so "more at once" always means more machines.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

from costopt.records import Entry, Outcome

Work = Callable[[Entry], Outcome]


class Runner(ABC):
    """Somewhere that candidates can be measured."""

    @abstractmethod
    def __call__(self, work: Work, entries: Iterable[Entry]) -> Iterator[Outcome]:
        """Yield one outcome a candidate, as it arrives. `entries` is read lazily: one may be added late."""
