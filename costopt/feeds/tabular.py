"""A Parquet or CSV table: each column an array of its name, read in batches. Needs pyarrow (`costopt[tabular]`).

CSV files begin with a line of names; the delimiter is a comma, semicolon or tab. Columns hold numbers: text, dates and
empty cells are refused, since what they mean to the model is not in the file.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costopt.errors import DataError
from costopt.feeds import Feed, first_bytes
from costopt.sampling.arrays import Array, ArrayFile, ArrayWriter

if TYPE_CHECKING:
    import pyarrow

_PARQUET = b"PAR1"
_DELIMITERS = ",;\t"

_HEADER_BYTES = 1 << 20
"""Room for the first two lines of a table with thousands of columns."""


@dataclass(frozen=True)
class Tabular(Feed):
    """Tables of numbers."""

    def recognises(self, source: str) -> bool:
        """Parquet by its magic bytes, CSV as text whose first two lines have the same number of cells, two or more."""
        return first_bytes(source).startswith(_PARQUET) or bool(_delimiter(source))

    def arrays(self, source: str, scratch: Path) -> tuple[ArrayFile, ...]:
        """One array of shape (samples,) a column, in the columns' order."""
        path = Path(source).absolute()
        try:
            import pyarrow
        except ImportError as problem:
            raise DataError(f"{path} is a table; to read it: pip install 'costopt[tabular]'") from problem
        writer, start = ArrayWriter(scratch, str(path)), 0
        try:
            for batch in _batches(path):
                names = batch.schema.names
                _check_names(path, names)
                writer.append(names, [_numbers(path, batch, name, start) for name in names])
                start += batch.num_rows
        except (pyarrow.ArrowException, OSError) as problem:
            raise DataError(f"{path}: not a whole table ({_first_line(problem)}); save it again") from problem
        if not start:
            raise DataError(f"{path}: there are no rows in it")
        return writer.finish()


def _batches(path: Path) -> "Iterator[pyarrow.RecordBatch]":
    if first_bytes(str(path)).startswith(_PARQUET):
        from pyarrow.parquet import ParquetFile

        with ParquetFile(path) as file:
            yield from file.iter_batches()
        return
    from pyarrow.csv import ParseOptions, open_csv

    with open_csv(path, parse_options=ParseOptions(delimiter=_delimiter(str(path)))) as reader:
        yield from reader


def _delimiter(source: str) -> str:
    """The delimiter of a CSV file; empty when it is none."""
    lines = _first_lines(source)
    if not lines or lines[0][:1] in "<{[":  # HTML and JSON have commas, too
        return ""
    counts = {delimiter: [len(cells) for cells in csv.reader(lines, delimiter=delimiter)] for delimiter in _DELIMITERS}
    fitting = [delimiter for delimiter, (head, *row) in counts.items() if head > 1 and row in ([], [head])]
    return max(fitting, key=lambda delimiter: counts[delimiter][0], default="")


def _first_lines(source: str) -> list[str]:
    """The first two lines, or the only one; none when they are no text."""
    first = first_bytes(source, _HEADER_BYTES)
    whole = first if len(first) < _HEADER_BYTES else first[: first.rfind(b"\n") + 1]
    try:
        lines = whole.decode("utf-8-sig").splitlines()[:2]
    except UnicodeDecodeError:
        return []
    return lines if all(line.replace("\t", "").isprintable() for line in lines) else []


def _check_names(path: Path, names: list[str]) -> None:
    name, times = Counter(names).most_common(1)[0]
    if times > 1:
        raise DataError(f"{path}: {times} columns are called '{name}'; rename them")
    if all(_is_number(name) for name in names):
        raise DataError(f"{path}: its first line holds numbers; put a line with the columns' names before it")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(path: Path, batch: "pyarrow.RecordBatch", name: str, start: int) -> Array:
    """A column as numpy holds it. Raises DataError for what is no number, naming the first empty row."""
    import pyarrow

    column = batch.column(name)
    kind = column.type
    if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_boolean(kind)):
        raise DataError(f"{path}: column '{name}' holds {kind}, not numbers; encode it as in training, or leave it out")
    if column.null_count:
        row = start + column.is_null().to_numpy(zero_copy_only=False).argmax()
        raise DataError(f"{path}: column '{name}' is empty in row {row}; fill it as in training, or leave the row out")
    array: Array = column.to_numpy(zero_copy_only=False)
    return array


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0][:160]
