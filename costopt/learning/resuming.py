"""The state of long work in a file, so that a run that was killed goes on from there.

The file holds plain tensors and numbers, is replaced whole, and is read without running any code (`weights_only`). What
can't be read, or belongs to other work, is as good as nothing: the work starts again.
"""

import os
import pickle
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from costopt import disk
from costopt.errors import CostoptError

EVERY_S = 20.0
"""Seconds between two writings: so much may be lost by a kill."""

SHARE = 0.05
"""Writings come more rarely where they would take a larger share of the time."""

State = dict[str, Any]  # tensors and numbers under names, nested as optimisers nest theirs


class Kept:
    """One file with the state of one piece of work; `work` describes it, and is compared when the file is read."""

    def __init__(self, path: Path, work: str, every_s: float | None = None) -> None:
        self._path, self._work = path, work
        self._every_s = EVERY_S if every_s is None else every_s
        self._due_s = time.monotonic() + self._every_s

    def read(self) -> State | None:
        """The state that was written last; None when there is none of this work."""
        if not zipfile.is_zipfile(self._path):
            return None
        try:
            kept = torch.load(self._path, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError, pickle.UnpicklingError):
            return None
        return kept["state"] if isinstance(kept, dict) and kept.get("work") == self._work else None

    def write_if_due(self, state: Callable[[], State]) -> None:
        """Write if the time has come. Raises CostoptError when the disk is full."""
        started_s = time.monotonic()
        if started_s < self._due_s:
            return
        self._write(state())
        now_s = time.monotonic()
        self._due_s = now_s + max(self._every_s, (now_s - started_s) / SHARE)

    def _write(self, state: State) -> None:
        scratch = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with disk.faults(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with scratch.open("wb") as file:
                    torch.save({"work": self._work, "state": state}, file)
                    file.flush()
                    os.fsync(file.fileno())
                scratch.replace(self._path)
            except RuntimeError as fault:  # torch's own writer says so when a write comes back short
                raise CostoptError(f"could not write {self._path} ({fault}); is the disk full?") from fault
            finally:
                scratch.unlink(missing_ok=True)
