"""An explanation as a person reads it: a table a section, each line with its formula and the same filled in."""

import textwrap
from collections.abc import Sequence

from costopt.explaining.explanation import Explanation
from costopt.explaining.lines import Line, Section, ends, shown, unit_of
from costopt.sheets import Cell, Column, Grid, Paragraph, Sheet, one_line, pair

FORMULA_WIDTH = 34
"""Columns that a formula may take in a terminal before it goes on below."""

LABELS = (
    "measured: clocked on this machine; calibrated: scaled by a reference run there; projected: carried over from "
    "another machine, or worked out from what was; modelled: worked out from what was measured or given; given: told "
    "by a file"
)


def sheet(found: Explanation) -> Sheet:
    """Sources are numbered, and named below."""
    sources = _sources(found.sections)
    machine = f" on {found.machine}" if found.machine else ""
    who = "" if found.candidate is None else f", candidate {found.candidate.id}{machine}"
    return Sheet(
        headline=one_line(found.headline),
        grids=tuple(_grid(section, sources) for section in found.sections),
        footnotes=(LABELS,),
        paragraphs=(Paragraph("Sources", tuple(f"[{number + 1}] {one}" for number, one in enumerate(sources))),),
        notes=tuple(one_line(note) for note in found.notes),
        source=one_line(f"run {found.run.id} of {found.run.model} on {found.run.machine.cpu}{who}"),
    )


def _sources(sections: Sequence[Section]) -> tuple[str, ...]:
    """Each once, in the order of the lines."""
    named = (one_line(line.source) for section in sections for line in section.lines)
    return tuple(dict.fromkeys(source for source in named if source))


def _grid(section: Section, sources: Sequence[str]) -> Grid:
    lines = section.lines
    return Grid(
        (
            Column(
                "name", pair("line", "", ""), tuple(pair(one_line(line.name), "", "") for line in lines), words=True
            ),
            Column("value", pair("value", "", ""), tuple(map(_value, lines))),
            Column("formula", pair("formula, filled in", "", ""), tuple(_formula(line) for line in lines), words=True),
            Column("label", pair("is", "", ""), tuple(_label(line, sources) for line in lines), words=True),
        ),
        title=one_line(section.title),
    )


def _value(line: Line) -> Cell:
    """The value, its unit and its interval, below each other."""
    parts = [part for part in (shown(line), unit_of(line), ends(line)) if part]
    return Cell(tuple(parts), " ".join(parts))


def _formula(line: Line) -> Cell:
    """The formula, the same filled in, and what else a reader must know, below each other."""
    parts = [line.formula, f"= {line.filled}" if line.filled else "", f"({line.words})" if line.words else ""]
    told = [one_line(part) for part in parts if part]
    wrapped = [piece for part in told for piece in textwrap.wrap(part, FORMULA_WIDTH, subsequent_indent="  ")]
    return Cell(tuple(wrapped) or ("",), " ".join(told))


def _label(line: Line, sources: Sequence[str]) -> Cell:
    source = one_line(line.source)
    return pair(line.label, f"[{sources.index(source) + 1}]" if source else "", " ")
