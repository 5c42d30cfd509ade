"""Runners, one a file: where the work is done.

A runner takes work (a picklable function from a candidate to its outcome) and candidates, and yields outcomes as they
arrive. A machine measures one thing at a time, so "more at once" always means more machines.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

from costopt.records import Candidate, Outcome

Work = Callable[[Candidate], Outcome]


class Runner(ABC):
    """Somewhere that candidates can be measured."""

    @abstractmethod
    def __call__(self, work: Work, candidates: Iterable[Candidate]) -> Iterator[Outcome]:
        """Yield one outcome a candidate, as it arrives. `candidates` is read lazily: one may be added late."""
