"""Markdown for a pull request: the headline, the tables, and what is long behind a fold."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from costopt.reports import AnyReport, Render, sheet
from costopt.sheets import Grid, Paragraph, Sheet, one_line

# Characters that GitHub's Markdown would read as its own (https://github.github.com/gfm/), or as HTML.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~$#])")


@dataclass(frozen=True)
class Markdown(Render):
    """GitHub-flavoured Markdown. Every cell is on one line; marked rows are bold."""

    def __call__(self, report: AnyReport, width: int = 100, colour: bool = False) -> str:  # noqa: ARG002
        """The report as Markdown; there is neither width nor colour here."""
        return written(sheet(report))


def written(shown: Sheet) -> str:
    """Any sheet as Markdown."""
    return "\n".join(_lines(shown))


def _lines(shown: Sheet) -> Iterator[str]:
    yield f"**{_plain(shown.headline)}**"
    yield ""
    yield from _lead(shown)
    for grid in shown.grids[:1]:
        yield from (*_table(grid), "")
    for grid in shown.grids[1:]:
        yield from _fold(grid.title, _table(grid))
    for paragraph in shown.paragraphs:
        yield from _paragraph(paragraph)
    notes = [f"- {_plain(note)}" for note in (*shown.notes, *shown.footnotes)]
    if notes:
        yield from (*notes, "")
    yield f"<sub>{_plain(shown.source)}</sub>"
    yield ""


def _lead(shown: Sheet) -> Iterator[str]:
    if shown.alarm:
        yield f"**{_plain(shown.alarm)}**"
        yield ""
    if shown.lead:
        yield _plain(shown.lead)
        yield ""


def _table(grid: Grid) -> Iterator[str]:
    yield f"| {' | '.join(_plain(column.head.line) for column in grid.columns)} |"
    yield f"| {' | '.join('---' if column.words else '---:' for column in grid.columns)} |"
    for index in range(grid.rows):
        cells = [_plain(column.cells[index].line) for column in grid.columns]
        if index in grid.marked:
            cells = [f"**{cell}**" if cell else "" for cell in cells]
        yield f"| {' | '.join(cells)} |"


def _paragraph(paragraph: Paragraph) -> Iterator[str]:
    points = [f"- {_plain(item)}" for item in paragraph.items]
    if not points:
        return
    if paragraph.folded:
        yield from _fold(paragraph.title, iter(points))
    else:
        yield from (f"{_plain(paragraph.title)}:", "", *points, "")


def _fold(title: str, lines: Iterator[str]) -> Iterator[str]:
    yield from (f"<details><summary>{_plain(title)}</summary>", "", *lines, "", "</details>", "")


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", one_line(text))
