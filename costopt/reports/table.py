"""The table for a terminal, and as plain text when it is piped.

One sentence on top, the tables, then what must be known beside them. Each table takes the first of these forms that
fits the width:

1. every cell on one line;
2. cells of several lines: a value, and below it what surrounds it (interval, p95, peak memory);
3. the same with narrower gaps between columns;
4. without the columns that it can spare (`Grid.expendable`), one more each time. Narrower than that, cells are cut.

Marked rows have a `>`, so that they can be told without colour.
"""

import io
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from rich.box import Box
from rich.console import Console, JustifyMethod
from rich.table import Table as RichTable
from rich.text import Text

from costopt.reports import AnyReport, Render, sheet
from costopt.sheets import Cell, Column, Grid, Sheet, Tone

MARK = "> "

# A rule under the head and nothing else, in ASCII, so that a pipe of any encoding takes it.
_RULE = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)

# Space to `textwrap`, and in no text (`sheets.one_line`): where a line may be broken although nothing is shown there.
_JOINT = "\v"

_STYLES: dict[Tone, str] = {"": "", "good": "green", "open": "yellow", "bad": "red"}


@dataclass(frozen=True, slots=True)
class _Form:
    """One of the forms in the module's first words.

    First columns may be folded to `least_first` before the next form is taken; `int8_dynamic` is never folded.
    """

    one_line: bool
    gap: int
    without: tuple[str, ...] = ()
    least_first: int = 12

    def kept(self, grid: Grid) -> tuple[Column, ...]:
        return tuple(column for column in grid.columns if column.name not in self.without)

    def width(self, column: Column) -> int:
        return max(len(line) for cell in (column.head, *column.cells) for line in self.lines(cell))

    def lines(self, cell: Cell) -> tuple[str, ...]:
        return (cell.line,) if self.one_line else cell.lines

    def first_width(self, grid: Grid, width: int) -> int:
        """What is left for the first column when nothing else is folded."""
        first, *others = self.kept(grid)
        left = width - len(MARK) - sum(self.width(column) + self.gap for column in others)
        return min(left, self.width(first))

    def fits(self, grid: Grid, width: int) -> bool:
        return self.first_width(grid, width) >= min(self.width(grid.columns[0]), self.least_first)


def _forms(grid: Grid) -> Iterator[_Form]:
    yield _Form(one_line=True, gap=2, least_first=24)
    yield _Form(one_line=False, gap=2)
    for spared in range(len(grid.expendable) + 1):
        yield _Form(one_line=False, gap=1, without=grid.expendable[:spared])


@dataclass(frozen=True)
class Table(Render):
    """What a person reads."""

    def __call__(self, report: AnyReport, width: int = 100, colour: bool = False) -> str:
        """The report, `width` columns wide; colours are ANSI sequences."""
        return written(sheet(report), width, colour)


def written(shown: Sheet, width: int = 100, colour: bool = False) -> str:
    """Any sheet as text, `width` columns wide; colours are ANSI sequences."""
    text = io.StringIO()
    system: Literal["standard"] | None = "standard" if colour else None
    console = Console(file=text, width=width, force_terminal=colour, force_jupyter=False, color_system=system)
    _show(shown, console)
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()).rstrip() + "\n"


def _show(shown: Sheet, console: Console) -> None:
    console.print(Text(shown.headline, style="bold"))
    for text, style in ((shown.alarm, "bold red"), (shown.lead, "")):
        if text:
            console.print()
            console.print(Text("\n".join(textwrap.wrap(text, console.width)), style=style))
    for grid in shown.grids:
        console.print()
        if grid.title:
            console.print(Text("\n".join(textwrap.wrap(f"{grid.title}:", console.width))))
        console.print(_table(grid, console.width))
    for line in _below(shown, console.width):
        console.print(Text(line), soft_wrap=True)


def _table(grid: Grid, width: int) -> RichTable:
    form = next((form for form in _forms(grid) if form.fits(grid, width)), list(_forms(grid))[-1])
    first, *others = form.kept(grid)
    first_width = max(form.first_width(grid, width), 1)
    table = RichTable(box=_RULE, show_edge=False, pad_edge=False, padding=(0, form.gap - 1, 0, 0))
    table.add_column(" " * len(MARK) + first.head.line, overflow="fold")
    for column in others:
        justify: JustifyMethod = "left" if column.words else "right"
        table.add_column(_text(column.head, form), justify=justify, no_wrap=True)
    for index in range(grid.rows):
        marked = index in grid.marked
        cells = (_text(column.cells[index], form) for column in others)
        table.add_row(_folded(first.cells[index], form, first_width, marked), *cells, style="bold" if marked else None)
    return table


def _text(cell: Cell, form: _Form) -> Text:
    text = Text("\n".join(form.lines(cell)).rstrip("\n"))
    text.stylize(_STYLES[cell.tone])
    return text


def _folded(cell: Cell, form: _Form, width: int, marked: bool) -> Text:
    """The name of a row, folded between its parts and its options, and behind the mark if there is one."""
    lines = [part for line in form.lines(cell) for part in _wrapped(line, width)]
    indent = " " * len(MARK)
    return Text("\n".join((MARK if marked and not index else indent) + line for index, line in enumerate(lines)))


def _wrapped(line: str, width: int) -> list[str]:
    """Lines of at most `width`, broken at spaces and after `=`; words that are longer, after `_` and `/` too."""
    words = (word if len(word) <= width else re.sub("[_/]", rf"\g<0>{_JOINT}", word) for word in line.split(" "))
    spaced = " ".join(words).replace("=", f"={_JOINT}")
    return [part.replace(_JOINT, "") for part in textwrap.wrap(spaced, width, replace_whitespace=False)]


def _below(shown: Sheet, width: int) -> Iterator[str]:
    """What stands under the tables: footnotes, paragraphs, notes, and where it all comes from."""
    if shown.footnotes:
        yield ""
    for note in shown.footnotes:
        yield from textwrap.wrap(note, width)
    for paragraph in shown.paragraphs:
        yield from _list(paragraph.title, paragraph.items, width)
    yield from _list("Notes", shown.notes, width)
    yield ""
    yield from textwrap.wrap(shown.source, width)


def _list(title: str, items: Iterable[str], width: int) -> Iterator[str]:
    lines = [line for item in items for line in textwrap.wrap(f"- {item}", width, subsequent_indent="  ")]
    if lines:
        yield from ("", *textwrap.wrap(f"{title}:", width), *lines)
