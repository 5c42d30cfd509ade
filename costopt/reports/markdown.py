"""Markdown for a pull request: the headline, a table, and why the others lost behind a fold."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from costopt.records import Report
from costopt.reports import Column, Render, columns, footnotes, lost, nearest, one_line, rows, source

# Characters that GitHub's Markdown would read as its own (https://github.github.com/gfm/), or as HTML.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|~$#])")


@dataclass(frozen=True)
class Markdown(Render):
    """GitHub-flavoured Markdown. Every cell is on one line; the chosen row is bold."""

    def __call__(self, report: Report, width: int = 100, colour: bool = False) -> str:  # noqa: ARG002 - no width here
        """The report as Markdown."""
        return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield f"**{_plain(report.headline)}**"
    yield ""
    yield from _table(report)
    yield ""
    yield from _points(nearest(report), "Nearest to the budget:")
    others = lost(report)
    if others:
        yield "<details><summary>Why the others lost</summary>"
        yield ""
        yield from _points(others)
        yield "</details>"
        yield ""
    for note in (*report.notes, *footnotes(report)):
        yield f"- {_plain(note)}"
    yield ""
    yield f"<sub>{_plain(source(report))}</sub>"
    yield ""


def _table(report: Report) -> Iterator[str]:
    shown = columns(report)
    yield f"| {' | '.join(_plain(column.head.line) for column in shown)} |"
    yield f"| {' | '.join('---' if _is_text(column) else '---:' for column in shown)} |"
    for index, row in enumerate(rows(report)):
        cells = [_plain(column.cells[index].line) for column in shown]
        if row.candidate.id == report.winner:
            cells = [f"**{cell}**" for cell in cells]
        yield f"| {' | '.join(cells)} |"


def _is_text(column: Column) -> bool:
    return column.name in ("recipe", "where", "verdict")


def _points(pairs: tuple[tuple[str, str], ...], title: str = "") -> Iterator[str]:
    if not pairs:
        return
    if title:
        yield title
        yield ""
    for candidate, words in pairs:
        yield f"- {_plain(candidate)}: {_plain(words)}"
    yield ""


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", one_line(text))
