"""A `.npy` file: one array, read where it lies."""

from dataclasses import dataclass
from pathlib import Path

from costopt.feeds import Feed, first_bytes
from costopt.sampling.arrays import ArrayFile, array_in


@dataclass(frozen=True)
class Npy(Feed):
    """What `np.save` writes. The array has no name, so it feeds a model of one input."""

    def recognises(self, source: str) -> bool:
        """By its magic string."""
        return first_bytes(source).startswith(b"\x93NUMPY")

    def arrays(self, source: str, scratch: Path) -> tuple[ArrayFile, ...]:
        """The one array."""
        return (array_in(Path(source).absolute(), "", scratch),)
