"""What one node of a model does in one call: operations, and bytes read and written. A multiply-add counts two.

Bytes are those of the node's tensors, each read and written once: what caches keep between nodes shows in the rate that
is fitted, not in the count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from costopt.projecting.hardware import Precision
from costopt.projecting.operators import Class


@dataclass(frozen=True, slots=True)
class Work:
    """One node: its operations, and the bytes of the constants and activations that it reads and of what it writes.

    `gathered` are the values that windows of a convolution larger than one pixel take together, for all outputs.
    `rows` are the rows that it works through one by one, for those that do (class `rowwise`).
    `rounded` is how many operations whole vectors of 16 channels do for it (a convolution with 3 channels to 20 fills
    32); the same as `operations` for all but convolutions. An unknown node has no operations, but bytes where the
    shapes are known; `why` says what is not known of it.
    """

    name: str
    operator: str
    kind: Class
    precision: Precision
    operations: float = 0.0
    rounded: float = 0.0
    weight_bytes: float = 0.0
    read_bytes: float = 0.0
    written_bytes: float = 0.0
    rows: float = 0.0
    gathered: float = 0.0
    why: str = ""

    @property
    def moved_bytes(self) -> float:
        """All bytes that it reads and writes."""
        return self.weight_bytes + self.read_bytes + self.written_bytes

    @property
    def intensity(self) -> float:
        """Operations a byte; 0 for a node that moves none."""
        return self.operations / self.moved_bytes if self.moved_bytes else 0.0


def unknown(works: Sequence[Work]) -> Mapping[str, int]:
    """How many nodes of each operator type are not known, by type: what a projection leaves out."""
    kinds = [one.operator for one in works if one.kind == "unknown"]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
