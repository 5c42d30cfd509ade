"""This machine, one candidate at a time."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from costopt.records import Entry, Outcome
from costopt.runners import Runner, Work


@dataclass(frozen=True)
class Here(Runner):
    """Sequential on purpose: two sessions on one machine slow each other down, and then neither number is true."""

    def __call__(self, work: Work, entries: Iterable[Entry]) -> Iterator[Outcome]:
        """One after the other, as they are asked for."""
        yield from map(work, entries)
