"""How fast chips and machines talk to one another. What has no figure here can't be spread over: nothing is guessed.

Between machines it is the rate that a provider *sustains* (its baseline), not the "up to" of a burst. Inside a machine
it is what one chip sends while it receives as much.
"""

import csv
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from costopt.projecting.hardware import Confidence

CSV = Path(__file__).with_name("networks.csv")
"""Columns as the fields of `Link`."""

Scope = Literal["between", "inside"]

BITS_PER_BYTE = 8.0


@dataclass(frozen=True, slots=True)
class Link:
    """A way between machines (`name` is one of the price book) or inside one (`name` is a chip of the hardware table).

    `gbit_per_s` counts 10^9 bits each way, over all `links` of a chip together: 1 where all of it is there whoever the
    partner is (a switch, a bus), more where each leads to another neighbour. `latency_us` is what one message costs
    however short it is; it is recalled in every row, whatever `confidence` the rate has: 50 for TCP (30 to 100 seen),
    20 for EFA, 5 for InfiniBand and PCIe, 1 or 2 for links made for it (the low end of what is seen, because libraries
    don't send short messages round the whole ring).
    """

    scope: Scope
    name: str
    gbit_per_s: float
    latency_us: float
    kind: str
    confidence: Confidence
    as_of: str
    source: str
    note: str = ""
    links: int = 1

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second each way."""
        return self.gbit_per_s * 1e9 / BITS_PER_BYTE

    def bytes_per_s_among(self, n: int) -> float:
        """Bytes a second each way among `n` chips: fewer than a chip has links for leave some of them unused.

        In a full mesh n - 1 links are in use. In a grid (ICI), whose dimensions double one after the other, a chip at a
        corner uses one link a dimension: min(links / 2, log2 n); links that close the rings of whole pods are left out.
        """
        if self.links == 1 or n < 2:
            return self.bytes_per_s
        used = min(self.links / 2, math.log2(n)) if self.kind == "ICI" else min(self.links, n - 1)
        return self.bytes_per_s * used / self.links

    @property
    def latency_s(self) -> float:
        """Seconds that one message costs however short it is."""
        return self.latency_us / 1e6


def between(instance: str) -> Link | None:
    """The network of a machine of the price book; None where nobody told us what it sustains."""
    return links().get(("between", instance))


def inside(chip: str) -> Link | None:
    """The link between chips of a kind in one machine; None where it is not known."""
    return links().get(("inside", chip))


@functools.cache
def links(path: Path = CSV) -> Mapping[tuple[Scope, str], Link]:
    """The table's rows by scope and name. Raises ValueError for a row that breaks the rules, naming it."""
    adapter = TypeAdapter(Link)
    with path.open(encoding="utf-8", newline="") as file:
        rows = [adapter.validate_python(row) for row in csv.DictReader(file, strict=True)]
    for one in rows:
        if not (
            0 < one.gbit_per_s < math.inf
            and one.links > 0
            and 0 <= one.latency_us < math.inf
            and one.as_of
            and one.source
        ):
            raise ValueError(f"link '{one.name}': needs a rate and links above zero, a latency, a date and a source")
    found = {(one.scope, one.name): one for one in rows}
    if len(found) < len(rows):
        raise ValueError(f"{path.name}: a link stands there twice")
    return found
