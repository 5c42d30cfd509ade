"""The run's folder: what was found is written as it arrives, and nothing that was written is lost.

    runs/<id>/run.json          what all candidates share                       replaced whole, atomically
              plan.json         the budget that the run was last asked with     replaced whole, atomically
              price.json        the price that it was last judged at            replaced whole, atomically
              outcomes.jsonl    one outcome a line, appended and synced to disk as it arrives
              spent.json        the seconds that all goes at it took          replaced whole with each outcome
              artifacts/        one ONNX file a recipe
              lock              held while a run writes; a second run is told

kill -9 can only tear the last line of `outcomes.jsonl`. Reading stops before a torn line, and the next run cuts it off
before it appends; so at most the candidate in flight is lost, and starting again *is* resuming.
"""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import filelock
from pydantic import TypeAdapter, ValidationError

from costopt.benching.measurements import BenchOutcome, BenchRun
from costopt.disk import faults, write_atomically
from costopt.errors import UsageError
from costopt.records import Outcome, Plan, Run
from costopt.verdict import Priced, Quote

T = TypeVar("T")


_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Built on first use: an adapter takes milliseconds to build, and most commands need one or two."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]


def to_json(record: object) -> str:
    """A record as one line of JSON."""
    return _adapter(type(record)).dump_json(record).decode()


def from_json(kind: type[T], text: str | bytes) -> T:
    """The record that `to_json` wrote. Raises pydantic.ValidationError."""
    record: T = _adapter(kind).validate_json(text)
    return record


def stored(kind: type[T], path: Path) -> T:
    """The record in a file of a run. Raises UsageError when it can't be read, or is damaged."""
    try:
        return from_json(kind, path.read_bytes())
    except OSError as fault:
        raise UsageError(f"can't read {path}: {fault.strerror}") from fault
    except ValidationError as problem:
        where = ".".join(str(part) for part in problem.errors()[0]["loc"])
        raise UsageError(
            f"{path} is damaged or of another version of costopt (at '{where}'); take the run's folder away, or give "
            "another with --out, and run `costopt compress` again"
        ) from problem


class Lines(Generic[T]):
    """A file of one record a line that only grows; a torn last line is left out, and cut off by `mend`."""

    def __init__(self, path: Path, kind: Any) -> None:
        self.path = path
        self._kind = kind

    def read(self) -> list[T]:
        """All whole lines. Raises UsageError for one that is damaged."""
        found: list[T] = []
        for number, line in enumerate(self._whole(), 1):
            try:
                found.append(_adapter(self._kind).validate_json(line))
            except ValidationError as problem:
                raise UsageError(
                    f"{self.path}: line {number} is damaged; take it away, and its candidate is measured again"
                ) from problem
        return found

    def _whole(self) -> list[bytes]:
        if not self.path.is_file():
            return []
        return [line for line in self.path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]

    def append(self, record: T) -> None:
        """Add one; it is on the disk when this returns."""
        line = _adapter(self._kind).dump_json(record) + b"\n"
        with faults(self.path), self.path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def mend(self) -> None:
        """Cut off a line that was torn by a crash, so that the next one starts fresh."""
        if self.path.is_file():
            whole = sum(len(line) for line in self._whole())
            with faults(self.path):
                os.truncate(self.path, whole)


class RunFolder:
    """The folder of one run, whatever it holds."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def artifacts(self) -> Path:
        """Where the ONNX files lie."""
        return self.folder / "artifacts"

    @property
    def _lines(self) -> Path:
        return self.folder / "outcomes.jsonl"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run's folder; make it if it is not there.

        Raises UsageError when the folder can't be written, or another run holds it.
        """
        try:
            self.artifacts.mkdir(parents=True, exist_ok=True)
            lock = filelock.FileLock(self.folder / "lock", timeout=0)
            lock.acquire()
        except filelock.Timeout:
            raise UsageError(
                f"another run is writing into {self.folder}; wait for it, or give another folder with --out"
            ) from None
        except OSError as fault:
            raise UsageError(
                f"can't write into {self.folder} ({fault.strerror}); give another folder with --out"
            ) from fault
        try:
            yield
        finally:
            lock.release()

    def discard(self) -> None:
        """Take the folder away again, when nothing was found that is worth keeping."""
        shutil.rmtree(self.folder, ignore_errors=True)


RECORDS = ("run.json", "bench.json")
"""What every run's folder has one of."""


def find(name: str, root: Path = Path("runs"), records: tuple[str, ...] = RECORDS) -> Path:
    """The folder of the run that a user names: its folder, its id, or the start of its id under `root`.

    Only runs with one of `records` count. Raises UsageError when there is none, or more than one.
    """

    def under(folder: Path, pattern: str) -> list[Path]:
        return sorted(path.parent for record in records for path in folder.glob(f"{pattern}{record}"))

    direct = [*under(Path(name), ""), *under(root / name, "")] if name else []
    found = direct[:1] or [path for path in under(root, "*/") if name and path.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    runs = ", ".join(path.name for path in under(root, "*/"))
    known = f"{root}/ holds: {runs}" if runs else f"{root}/ holds no run"
    problem = "names more than one run" if found else "is no run"
    raise UsageError(f"'{name}' {problem}; {known}. Give the folder of a run, or the start of its name.")


class Journal(RunFolder):
    """The folder of a `costopt compress`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._begun: float | None = None

    @classmethod
    def find(cls, name: str, root: Path = Path("runs")) -> "Journal":
        """The run that a user names (see `find`). Raises UsageError when there is none, or more than one."""
        return cls(find(name, root, ("run.json",)))

    def write_run(self, run: Run) -> None:
        """Record what all candidates share."""
        write_atomically(self.folder / "run.json", to_json(run))

    def write_plan(self, plan: Plan) -> None:
        """Record the budget that the run is judged by unless another is given."""
        write_atomically(self.folder / "plan.json", to_json(plan))

    def write_quote(self, plan: Plan, quote: Quote | None) -> None:
        """Record the price that the run is judged at, so that a newer price list does not change what it says."""
        if plan.price is not None and quote is not None:
            write_atomically(self.folder / "price.json", to_json(Priced(plan.price, quote)))

    def has_run(self) -> bool:
        """Whether an earlier go at it came far enough to write down what all candidates share."""
        return (self.folder / "run.json").is_file()

    def run(self) -> Run:
        """What all candidates share. Raises UsageError when it can't be read."""
        return replace(stored(Run, self.folder / "run.json"), seconds=self._seconds())

    def count(self) -> None:
        """Count this go's time from now on, with that of earlier goes; a run begun without a count is left without."""
        earlier = self._seconds()
        if earlier is not None or not self.outcomes():
            self._begun = time.monotonic() - (earlier or 0.0)

    def plan(self) -> Plan:
        """The budget that the run was last asked with. Raises UsageError when it can't be read."""
        return stored(Plan, self.folder / "plan.json")

    def quote(self, plan: Plan) -> Quote | None:
        """The price that the run was last judged at by this plan's price source; None when none was recorded.

        Raises UsageError when it can't be read.
        """
        path = self.folder / "price.json"
        priced = stored(Priced, path) if path.is_file() else None
        return priced.quote if priced is not None and priced.price == plan.price else None

    def outcomes(self) -> tuple[Outcome, ...]:
        """What was found so far, one a candidate, the latest of each."""
        return tuple({one.candidate.id: one for one in self._outcomes.read()}.values())

    def append(self, outcome: Outcome) -> None:
        """Add one outcome; it is on the disk when this returns."""
        self._outcomes.append(outcome)
        if self._begun is not None:
            write_atomically(self.folder / "spent.json", to_json(time.monotonic() - self._begun))

    def mend(self) -> None:
        """Cut off a line that was torn by a crash."""
        self._outcomes.mend()

    def _seconds(self) -> float | None:
        path = self.folder / "spent.json"
        return stored(float, path) if path.is_file() else None

    @property
    def _outcomes(self) -> Lines[Outcome]:
        return Lines(self._lines, Outcome)


class BenchJournal(RunFolder):
    """The folder of a `costopt bench`."""

    def write_run(self, run: BenchRun) -> None:
        """Record what all contenders share."""
        write_atomically(self.folder / "bench.json", to_json(run))

    def run(self) -> BenchRun:
        """What all contenders share. Raises UsageError when it can't be read."""
        return stored(BenchRun, self.folder / "bench.json")

    def outcomes(self) -> tuple[BenchOutcome, ...]:
        """What was found so far, one a contender, the latest of each."""
        return tuple({one.contender.id: one for one in self._outcomes.read()}.values())

    def append(self, outcome: BenchOutcome) -> None:
        """Add one outcome; it is on the disk when this returns."""
        self._outcomes.append(outcome)

    def mend(self) -> None:
        """Cut off a line that was torn by a crash."""
        self._outcomes.mend()

    @property
    def _outcomes(self) -> Lines[BenchOutcome]:
        return Lines(self._lines, BenchOutcome)
