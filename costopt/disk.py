"""Writing, so that a disk which is full or read-only ends in one line of words, and a crash never in half a file."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from costopt.errors import CostoptError

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a write says when there is no room: on the disk, in the user's quota, below the limit on a file's size."""


@contextmanager
def faults(path: Path) -> Iterator[None]:
    """Turn what a disk can do to a write of `path` into a CostoptError that says what to do."""
    try:
        yield
    except OSError as fault:
        if fault.errno in FULL:
            raise CostoptError(
                f"the disk is full: could not write {path} ({fault.strerror}). "
                "Free some space and run the same command again: it goes on where it stopped."
            ) from fault
        raise CostoptError(f"could not write {path} ({fault.strerror}); check the folder and run again") from fault


def write_atomically(path: Path, text: str) -> None:
    """Replace a file whole: a reader sees the old text or the new one, never a part. Raises CostoptError."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with faults(path):
        try:
            with scratch.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        finally:
            scratch.unlink(missing_ok=True)
