"""A Python function of your own, named `module:function`: it is called without arguments and yields batches.

    def batches():
        for images, labels in loader:          # a DataLoader itself will do, too
            yield {"image": images, "target": labels}

A batch is a dict of arrays named like the model's inputs, a tuple of arrays in the inputs' order (labels may follow
them), or one array. Tensors count as arrays. The batches must come to an end; they are written to disk once.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from costopt.errors import DataError
from costopt.feeds import Feed
from costopt.sampling.arrays import Array, ArrayFile, ArrayWriter
from costopt.user_code import function_named, is_reference


@dataclass(frozen=True)
class Function(Feed):
    """Whatever Python can read: images, tokens, a database."""

    def recognises(self, source: str) -> bool:
        """By its form, when there is no file of that name."""
        return is_reference(source) and not Path(source).exists()

    def arrays(self, source: str, scratch: Path) -> tuple[ArrayFile, ...]:
        """What the batches hold, each array from all batches together."""
        writer = ArrayWriter(scratch, source)
        for batch in _batches(source):
            names, arrays = _parts(source, batch)
            writer.append(names, arrays)
        return writer.finish()


def _batches(source: str) -> Iterator[object]:
    function = function_named(source)
    try:
        made = function()
        if isinstance(made, Iterable):
            yield from made
            return
    except Exception as problem:  # third-party call: the user's code may raise anything
        raise DataError(f"{source}: it raised {type(problem).__name__}: {problem}") from problem
    raise DataError(f"{source}: it gave a {type(made).__name__}; it must yield batches, or return a list of them")


def _parts(source: str, batch: object) -> tuple[list[str], list[Array]]:
    """Names and arrays of a batch; the names are "" when it is not a dict."""
    if isinstance(batch, Mapping):
        names, values = [str(name) for name in batch], list(batch.values())
    else:
        values = list(batch) if isinstance(batch, tuple | list) else [batch]
        names = [""] * len(values)
    try:
        return names, [np.asarray(value) for value in values]
    except Exception as problem:  # third-party call: the values' own __array__, which may refuse in any way
        raise DataError(f"{source}: a batch holds what numpy can't read ({problem}); yield arrays") from problem
