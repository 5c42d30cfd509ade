"""The table for a terminal, and as plain text when it is piped.

One sentence on top, the candidates, then why each of the others lost. The table takes the first of these forms that
fits the width:

1. every cell on one line;
2. cells of two lines: a value, and below it what surrounds it (interval, p95, peak memory);
3. the same with narrower gaps between columns;
4. without size and memory;
5. without latency too, then without provider and batch, then without speed-up. Narrower than that, cells are cut.

The chosen row is marked by `>`, so that it can be told without colour.
"""

import io
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from rich.box import Box
from rich.console import Console, JustifyMethod
from rich.table import Table as RichTable
from rich.text import Text

from costopt.records import Report
from costopt.reports import Cell, Column, Render, columns, footnotes, lost, nearest, one_line, rows, source

MARK = "> "

# A rule under the head and nothing else, in ASCII, so that a pipe of any encoding takes it.
_RULE = Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)

_GREEN, _YELLOW = ("chosen", "meets"), ("undecided",)


@dataclass(frozen=True, slots=True)
class _Form:
    """One of the forms in the module's first words.

    Recipes may be folded to `least_recipe` before the next form is taken: `int8_dynamic` stays on one line in each.
    """

    one_line: bool
    gap: int
    without: tuple[str, ...] = ()
    least_recipe: int = 12

    def kept(self, shown: tuple[Column, ...]) -> tuple[Column, ...]:
        return tuple(column for column in shown if column.name not in self.without)

    def width(self, column: Column) -> int:
        return max(len(line) for cell in (column.head, *column.cells) for line in self.lines(cell))

    def lines(self, cell: Cell) -> tuple[str, ...]:
        return (cell.line,) if self.one_line else (cell.upper, cell.lower)

    def recipe_width(self, shown: tuple[Column, ...], width: int) -> int:
        """What is left for the recipe when nothing else is folded."""
        recipe, *others = self.kept(shown)
        left = width - len(MARK) - sum(self.width(column) + self.gap for column in others)
        return min(left, self.width(recipe))

    def fits(self, shown: tuple[Column, ...], width: int) -> bool:
        return self.recipe_width(shown, width) >= min(self.width(shown[0]), self.least_recipe)


_FORMS = (
    _Form(one_line=True, gap=2, least_recipe=24),
    _Form(one_line=False, gap=2),
    _Form(one_line=False, gap=1),
    _Form(one_line=False, gap=1, without=("size",)),
    _Form(one_line=False, gap=1, without=("size", "latency")),
    _Form(one_line=False, gap=1, without=("size", "latency", "where")),
    _Form(one_line=False, gap=1, without=("size", "latency", "where", "speedup")),
)


@dataclass(frozen=True)
class Table(Render):
    """What a person reads."""

    def __call__(self, report: Report, width: int = 100, colour: bool = False) -> str:
        """The report, `width` columns wide; colours are ANSI sequences."""
        text = io.StringIO()
        system: Literal["standard"] | None = "standard" if colour else None
        console = Console(file=text, width=width, force_terminal=colour, force_jupyter=False, color_system=system)
        console.print(Text(one_line(report.headline), style="bold"))
        console.print()
        console.print(_table(report, width))
        for line in _below(report, width):
            console.print(Text(line), soft_wrap=True)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"


def _table(report: Report, width: int) -> RichTable:
    shown = columns(report)
    form = next((form for form in _FORMS if form.fits(shown, width)), _FORMS[-1])
    recipe, *others = form.kept(shown)
    recipe_width = max(form.recipe_width(shown, width), 1)
    table = RichTable(box=_RULE, show_edge=False, pad_edge=False, padding=(0, form.gap - 1, 0, 0))
    table.add_column(" " * len(MARK) + recipe.head.line, overflow="fold")
    for column in others:
        justify: JustifyMethod = "left" if column.name in ("where", "verdict") else "right"
        table.add_column(_text(column.head, form), justify=justify, no_wrap=True)
    for index, row in enumerate(rows(report)):
        chosen = row.candidate.id == report.winner
        first = _folded(recipe.cells[index], form, recipe_width, chosen)
        cells = [_text(column.cells[index], form) for column in others]
        cells[-1].stylize(_colour(others[-1].cells[index].upper))
        table.add_row(first, *cells, style="bold" if chosen else None)
    return table


def _colour(verdict: str) -> str:
    return "green" if verdict in _GREEN else "yellow" if verdict in _YELLOW else "red"


def _text(cell: Cell, form: _Form) -> Text:
    return Text("\n".join(form.lines(cell)).rstrip("\n"))


def _folded(cell: Cell, form: _Form, width: int, chosen: bool) -> Text:
    """A recipe, folded between its methods and its options, and behind the mark of the chosen one."""
    spaced = (line.replace("=", "= ") for line in form.lines(cell))
    lines = [part.replace("= ", "=") for line in spaced for part in textwrap.wrap(line, width)]
    indent = " " * len(MARK)
    return Text("\n".join((MARK if chosen and not index else indent) + line for index, line in enumerate(lines)))


def _below(report: Report, width: int) -> Iterator[str]:
    """What stands under the table: footnotes, the nearest, why the others lost, notes, and where it all comes from."""
    yield ""
    for note in footnotes(report):
        yield from textwrap.wrap(note, width)
    yield from _list("Nearest to the budget:", (f"{who}: {words}" for who, words in nearest(report)), width)
    yield from _list("Why the others lost:", (f"{who}: {words}" for who, words in lost(report)), width)
    yield from _list("Notes:", (one_line(note) for note in report.notes), width)
    yield ""
    yield from textwrap.wrap(source(report), width)


def _list(title: str, items: Iterable[str], width: int) -> Iterator[str]:
    lines = [line for item in items for line in textwrap.wrap(f"- {item}", width, subsequent_indent="  ")]
    if lines:
        yield from ("", title, *lines)
