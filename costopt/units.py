"""The only place that rounds a number or writes a unit, and the only place that reads one.

Figures travel through costopt as plain floats with the unit in their name (`p95_ms`, `size_bytes`). They become text
here, at the very end, with as many digits as a reader can use: three significant ones, never an exponent that a person
has to decode. The other way, a person may write `5ms`, `900 kB`, `1%` or `1h30m` in a budget file; the `parse_`
functions turn that into the plain number, or say in words what they would have understood.

A megabyte is 10^6 bytes and a mebibyte 2^20, as in IEC 80000-13.
"""

import math
import re
from collections.abc import Callable, Mapping

# Metrics whose value is a share of samples: people read them in per cent, and their change in percentage points.
SHARES = frozenset({"top1", "top5", "f1", "precision", "recall", "agreement"})

_PLAIN_ABOVE = 1e-6  # below it, the zeros after the point can no longer be counted by eye
_NAMED_SECONDS = {"h": 3600.0, "min": 60.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
_NUMBER = r"(\d+\.?\d*|\.\d+)"

# ---------------------------------------------------------------------------------------- writing


def significant(value: float, digits: int = 3) -> str:
    """A number to `digits` significant digits: 0.5881 is "0.588", 1234.5 is "1,234", 0 is "0"."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "∞" if value > 0 else "-∞"
    rounded = float(f"{value:.{digits - 1}e}")
    if abs(rounded) < _PLAIN_ABOVE:
        return f"{rounded:.{digits - 1}e}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(rounded))))
    return f"{value:,.{decimals}f}"


def ms(milliseconds: float) -> str:
    """Milliseconds without the unit, for a column that carries it: 0.5881 is "0.588"."""
    return significant(milliseconds)


def usd(dollars: float) -> str:
    """US dollars: 0.0213 is "$0.0213"."""
    return f"-${significant(-dollars)}" if dollars < 0 else f"${significant(dollars)}"


def cents(dollars: float) -> str:
    """A bill, to the cent: 1234.5 is "$1,234.50"."""
    return f"-${-dollars:,.2f}" if dollars < 0 else f"${dollars:,.2f}"


def megabytes(size_bytes: float) -> str:
    """Bytes as megabytes (10^6), without the unit, for a column that carries it: 1_260_000 is "1.26"."""
    return significant(size_bytes / 1e6)


def bytes(size_bytes: float) -> str:
    """A size with its unit: 1_260_000 is "1.26 MB"."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(size_bytes) >= scale:
            return f"{significant(size_bytes / scale)} {unit}"
    return f"{size_bytes:.0f} B"


def ratio(value: float) -> str:
    """A ratio: 1.674 is "1.67x", 12.34 is "12.3x", 0.0123 is "0.012x"."""
    if value == 0 or 0.1 <= value < 9.995:
        return f"{value:.2f}x"
    return f"{significant(value, 2 if value < 0.1 else 3)}x"


def percent(share: float) -> str:
    """A share as a whole per cent, for an excess that nobody reads closer: 0.221 is "22 %"."""
    return f"{significant(100 * share, 2)} %"


def points(share: float) -> str:
    """A difference of shares in percentage points, signed: 0.0012 is "+0.12", and what rounds to nothing is "0.00"."""
    text = f"{100 * share:+.2f}"
    return "0.00" if float(text) == 0 else text


def signed(value: float) -> str:
    """A difference of plain numbers, signed: -0.01234 is "-0.0123"."""
    return f"+{significant(value)}" if value > 0 else significant(value)


def score(metric: str, value: float) -> str:
    """A metric's value: "92.43 %" when it is a share of samples (`SHARES`), "0.9931" otherwise."""
    return f"{100 * value:.2f} %" if metric in SHARES else significant(value, 4)


def change(metric: str, difference: float) -> str:
    """A difference of two values of a metric, signed and without the word: points for `SHARES`, else a number."""
    return points(difference) if metric in SHARES else signed(difference)


def changes(metric: str, difference: float) -> str:
    """The same with the word that belongs to it: "-0.02 points", "-0.0012"."""
    return f"{change(metric, difference)} points" if metric in SHARES else change(metric, difference)


def span(low: float, high: float, write: Callable[[float], str]) -> str:
    """An interval, its ends written by one of the functions above: "[1.60x, 1.75x]"."""
    return f"[{write(low)}, {write(high)}]"


def count(number: float) -> str:
    """A whole number with its thousands apart: 9400 is "9,400"."""
    return f"{number:,.0f}"


def count_of(number: float, noun: str) -> str:
    """A whole number of something: "1 thread", "2 threads"."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def about(number: float) -> str:
    """An estimated count, to the two digits that can be meant: 9437 is "9,400"."""
    return count(float(f"{number:.1e}"))


def given(value: float) -> str:
    """A figure as the user wrote it, without digits that it does not need: 5.0 is "5", 0.05 is "0.05"."""
    return f"{value:,.12g}"


def operand(value: float) -> str:
    """A figure inside a formula, with digits enough to work it out again, and no thousands apart: 0.000166184, 3600.

    Six significant digits, four after the point at least, and none that are zeros at the end.
    """
    if abs(value) >= 1 or value == 0:
        decimals = 4 if abs(value) >= 10 else 5
        return f"{value:.{decimals}f}".rstrip("0").rstrip(".")
    return f"{value:.6g}" if abs(value) < _PLAIN_ABOVE else significant(value, 6).rstrip("0").rstrip(".")


def duration(seconds: float) -> str:
    """A length of time in at most two units: "0.42 s", "45 s", "2 min 5 s", "1 h 30 min"."""
    if seconds < 10:
        return f"{significant(seconds, 2)} s"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    parts = ((hours, "h"), (minutes, "min"), (0 if hours else rest, "s"))
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def about_duration(seconds: float) -> str:
    """An estimated length of time, rounded up in the one unit that can be meant: 247 is "5 min", 40 is "40 s"."""
    for unit, scale in (("h", 3600), ("min", 60)):
        if seconds > scale:
            return f"{count(math.ceil(seconds / scale))} {unit}"
    return f"{math.ceil(seconds)} s"


# ---------------------------------------------------------------------------------------- reading


def parse_ms(value: object) -> float:
    """Milliseconds from 5, "5ms", "0.005 s" or "800us". Raises ValueError in words."""
    scales = {"ms": 1.0, "s": 1e3, "us": 1e-3, "µs": 1e-3}
    return _parse(value, "a time", scales, "5 (milliseconds), '5ms' or '0.005s'")


def parse_seconds(value: object) -> float:
    """Seconds from 600, "600s", "10m", "10 min" or "1h30m". Raises ValueError in words."""
    advice = "600 (seconds), '10m' or '1h30m'"
    if not isinstance(value, str):
        return _parse(value, "a length of time", {}, advice)
    part = rf"\s*{_NUMBER}\s*(h|min|ms|m|s)"
    if not re.fullmatch(rf"({part})+\s*", value):
        raise ValueError(f"{value!r} is not a length of time: write {advice}")
    return sum(float(number) * _NAMED_SECONDS[unit] for number, unit in re.findall(part, value))


def parse_megabytes(value: object) -> float:
    """Megabytes (10^6 bytes) from 1, "1MB", "900 kB" or "1 MiB". Raises ValueError in words."""
    decimal = {"b": 1e-6, "kb": 1e-3, "mb": 1.0, "gb": 1e3, "tb": 1e6}
    binary = {"kib": 2**10 / 1e6, "mib": 2**20 / 1e6, "gib": 2**30 / 1e6, "tib": 2**40 / 1e6}
    return _parse(value, "a size", decimal | binary, "1 (megabytes), '1MB', '900 kB' or '1 MiB'")


def parse_share(value: object) -> float:
    """A share from 0.01 or "1%". Raises ValueError in words."""
    return _parse(value, "a share", {"%": 0.01}, "0.01 or '1%'")


def parse_usd(value: object) -> float:
    """US dollars from 0.05, "$0.05" or "0.05 USD". Raises ValueError in words."""
    text = f"{value.strip()[1:]} USD" if isinstance(value, str) and value.strip().startswith("$") else value
    try:
        return _parse(text, "an amount of money", {"usd": 1.0}, "0.05 (US dollars) or '$0.05'")
    except ValueError as error:
        raise ValueError(str(error).replace(repr(text), repr(value))) from None


def _parse(value: object, kind: str, scales: Mapping[str, float], advice: str) -> float:
    """A number, or a text that ends in one of the units; finite and not negative. Units are read in any case."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{value} is not {kind}: it must be finite and not negative; write {advice}")
        return float(value)
    match = re.fullmatch(rf"\s*{_NUMBER}\s*([^\s\d.]+)\s*", value) if isinstance(value, str) else None
    scale = scales.get(match[2].lower()) if match else None
    if match is None or scale is None:
        raise ValueError(f"{value!r} is not {kind}: write {advice}")
    return float(match[1]) * scale
