"""A line of a bill: its name, a formula, the same filled in with numbers, and what comes out.

    formula  price / 3600 * seconds * 1000000
    filled   0.08925 / 3600 * 0.000166184 * 1000000
    value    0.00411998, shown as $0.00412 a million

A value is taken from the object that made the bill, never from the filled text; that the two agree is for tests to say.
Filled text is arithmetic that any calculator takes: `ceil`, `max`, `log` and `erlang_c` are its only functions.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from costopt import units

Label = Literal["measured", "calibrated", "projected", "modelled", "given"]
"""Where a figure comes from: clocked on the machine itself; scaled from a reference run on it; carried over from
another machine, within a band; computed by a model from what was measured or given; or told by a file or a list."""

Unit = Literal[
    "USD", "USD/hour", "USD/million", "ms", "requests/s", "requests", "days", "hours", "MB", "share", "times", "Erlang",
    "machines", "servers", "points", "score", "accuracy",
]  # fmt: skip


def derived(label: Label) -> Label:
    """The label of what is computed from times of this one: no model makes a projection better than it is."""
    return "modelled" if label in ("measured", "given") else label


@dataclass(frozen=True, slots=True)
class Line:
    """One figure. `formula` may be words where nothing can be filled in; then `filled` is empty.

    `value` is None for what is not known, and `words` say why, or what else a reader must know. `low` and `high` are
    the ends of its interval, where it has one.
    """

    name: str
    formula: str
    filled: str
    value: float | None
    unit: Unit
    label: Label
    source: str = ""
    low: float | None = None
    high: float | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Lines that belong together."""

    title: str
    lines: tuple[Line, ...]


def filled(
    name: str,
    formula: str,
    values: Mapping[str, float],
    value: float,
    unit: Unit,
    label: Label,
    source: str = "",
    words: str = "",
) -> Line:
    """A line whose formula's names are filled in with `values`; `value` is what the bill has."""
    return Line(name, formula, fill(formula, values), value, unit, label, source, words=words)


def fill(formula: str, values: Mapping[str, float]) -> str:
    """A formula with numbers in the place of names; the names of functions stay."""
    return re.sub(r"\b[A-Za-z_]\w*", lambda name: _operand(values, name[0]), formula)


def _operand(values: Mapping[str, float], name: str) -> str:
    if name not in values:
        return name
    text = units.operand(values[name])
    return f"({text})" if text.startswith("-") else text


def _dollars(value: float) -> str:
    """To the cent, or to three digits where a cent is too coarse."""
    return units.cents(value) if abs(value) >= 1 else units.usd(value)


def _days(value: float) -> str:
    return units.about_duration(86400 * value) if value < 2 else f"{units.significant(value, 2)} days"


_WRITTEN: Mapping[Unit, Callable[[float], str]] = {
    "USD": _dollars,
    "USD/hour": units.usd,
    "USD/million": units.usd,
    "requests": units.count,
    "days": _days,
    "hours": units.given,
    "share": units.percent,
    "times": units.ratio,
    "machines": units.count,
    "servers": units.count,
    "points": units.points,
    "score": lambda value: units.score("", value),
    "accuracy": lambda value: units.score("top1", value),
}
"""How a value is written; all others to three digits."""

_NAMED: Mapping[Unit, str] = {
    "USD": "", "USD/hour": "an hour", "USD/million": "a million", "share": "", "times": "", "score": "", "accuracy": "",
    "days": "",
}  # fmt: skip
"""What stands behind a value in the place of its unit's name; nothing where its writing says the unit."""


def shown(line: Line) -> str:
    """The value as a person reads it, without its unit where `unit_of` has one: `$0.00412`."""
    return "not known" if line.value is None else _written(line.value, line.unit)


def unit_of(line: Line) -> str:
    """What stands behind the value: `a million`, `ms`; `machine` of one."""
    name = "" if line.value is None else _NAMED.get(line.unit, line.unit)
    return name.removesuffix("s") if line.value == 1 and line.unit in ("machines", "servers", "requests") else name


def ends(line: Line) -> str:
    """The interval as a person reads it: `[2.18x, 2.22x]`; nothing where there is none."""
    if line.low is None or line.high is None:
        return ""
    return units.span(line.low, line.high, lambda end: _written(end, line.unit))


def _written(value: float, unit: Unit) -> str:
    return _WRITTEN.get(unit, units.significant)(value)
