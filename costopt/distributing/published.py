"""Layers, widths and heads of published models, so that a name and a number of parameters say enough to plan with."""

import csv
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

CSV = Path(__file__).with_name("published.csv")
"""Columns as the fields of `Published`."""


@dataclass(frozen=True, slots=True)
class Published:
    """A published transformer.

    `params` counts all weights, `active_params` those that one token passes (fewer in a mixture of experts, which has
    `experts` in each layer and asks `experts_used` of them). A head is `head_dim` wide; `kv_heads` of them have keys
    and values of their own. `context` is the longest text that it was published for, in tokens.

    `shape` is how layers, width and heads are known: `read` in the file that `source` names, or `recalled` from memory.
    `params` and `active_params` are the sum of the weights of that shape (tests/test_paper_maths.py adds them up).
    """

    name: str
    arch: str
    params: int
    active_params: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    context: int
    experts: int
    experts_used: int
    shape: Literal["read", "recalled"]
    as_of: str
    source: str


@functools.cache
def models(path: Path = CSV) -> tuple[Published, ...]:
    """The table's rows in their order. Raises ValueError for a row that breaks the rules, naming it."""
    adapter = TypeAdapter(Published)
    with path.open(encoding="utf-8", newline="") as file:
        found = tuple(adapter.validate_python(row) for row in csv.DictReader(file, strict=True))
    for one in found:
        counts = (one.params, one.layers, one.hidden, one.heads, one.kv_heads, one.head_dim, one.experts_used)
        if min(counts) < 1 or one.heads % one.kv_heads or not one.active_params <= one.params:
            raise ValueError(f"published model '{one.name}': its counts don't fit together")
        if not (one.as_of and one.source):
            raise ValueError(f"published model '{one.name}': needs a date and a source")
    return found


def of_arch(arch: str) -> tuple[Published, ...]:
    """The published models of an architecture, smallest first."""
    return tuple(sorted((one for one in models() if one.arch == arch), key=lambda one: one.params))


def nearest(arch: str, params: float) -> Published:
    """The one whose number of parameters is nearest by ratio. Raises ValueError where the architecture has none."""
    return min(_some(of_arch(arch), arch), key=lambda one: abs(math.log(one.params / params)))


def _some(found: Sequence[Published], arch: str) -> Sequence[Published]:
    if not found:
        raise ValueError(f"no published model of {arch!r}")
    return found
