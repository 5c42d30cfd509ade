"""How many requests come, on average and when it is busiest: from a rate, from the hours of a day, or from a log.

Machines are paid for all the time and must be enough for the busiest time; so two rates decide a bill, and within the
busiest time requests are taken to come independently of one another (a Poisson process). How far a log is from that is
told by its dispersion.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from costopt import units
from costopt.errors import ConfigError

HOURS = (24, 168)
"""A day or a week, hour by hour."""

MINUTE_S, HOUR_S = 60.0, 3600.0

MAX_BYTES = 256 * 2**20
"""Of a log of arrivals: over ten million lines."""

MAX_SPAN_S = 366 * 86_400.0
"""Of a log of arrivals: a year, or its minutes take more memory than they are worth."""

LATEST_S = 1e11
"""As seconds since 1970 this is the year 5138; timestamps of today are above it where they are in milliseconds."""

BURSTY = 1.5
"""A dispersion above this is called bursty. Of an hour's 3,600 counts of a Poisson process, it comes out within
1 +- 0.07 in 99.7 of 100 cases (its standard error is sqrt(2 / 3600)); half more than that is no chance."""


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests a second, on average over the month and at the busiest time; `told` is where that comes from.

    `dispersion` is variance over mean of the requests per second in the busiest hour of a log: 1 for a Poisson process,
    more for bursts; None where there was no log. `rates_per_s` are those of each window of `window_s` seconds, which
    repeat, hours or a log's minutes; none where only the mean and the peak are known.
    """

    mean_per_s: float
    peak_per_s: float
    told: str
    dispersion: float | None = None
    rates_per_s: tuple[float, ...] = ()
    window_s: float = 0.0

    def times(self, factor: float) -> "Demand":
        """The same pattern with `factor` times as many requests."""
        return replace(
            self,
            mean_per_s=factor * self.mean_per_s,
            peak_per_s=factor * self.peak_per_s,
            rates_per_s=tuple(factor * one for one in self.rates_per_s),
        )


def constant(mean_per_s: float, peak_to_mean: float) -> Demand:
    """A mean rate, and how far the busiest time lies above it."""
    told = "requests_per_second times peak_to_mean" if peak_to_mean > 1 else "taken as constant: no peak_to_mean"
    return Demand(mean_per_s, mean_per_s * peak_to_mean, told)


def hourly(values: Sequence[float], mean_per_s: float | None) -> Demand:
    """The hours of a day or a week; sized for the busiest.

    With a mean rate the values are relative to one another, without one they are requests a second themselves.
    Raises ValueError in words for another number of hours, or where no hour has a request.
    """
    if len(values) not in HOURS:
        raise ValueError(f"has {len(values)} values: give 24 (a day) or 168 (a week), one an hour")
    if not max(values) > 0:
        raise ValueError("is 0 in every hour: without requests there is nothing to plan")
    mean, peak = math.fsum(values) / len(values), max(values)
    scale = 1.0 if mean_per_s is None else mean_per_s / mean
    rates = tuple(scale * one for one in values)
    return Demand(scale * mean, scale * peak, f"the busiest of {len(values)} hours", None, rates, HOUR_S)


def of_log(path: Path) -> Demand:
    """A file of one arrival a line, in seconds from any beginning; sized for its busiest minute.

    The busiest minute is the one with most arrivals wherever it begins. Raises ConfigError, with the line, for what is
    no number, for one that must be milliseconds, and for a log shorter than a minute or longer than a year.
    """
    times = np.sort(_timestamps(path))
    span_s = float(times[-1] - times[0]) if len(times) else 0.0
    if span_s < MINUTE_S:
        raise ConfigError(
            f"{path}: {len(times)} arrivals within {span_s:g} s: give a minute or more, one timestamp in seconds a line"
        )
    if span_s > MAX_SPAN_S:
        raise ConfigError(
            f"{path}: {units.significant(span_s / 86_400)} days from first to last: give a year at most, in seconds "
            "(are these milliseconds?)"
        )
    _, busiest = _busiest(times, MINUTE_S)
    mean = (len(times) - 1) / span_s
    told = f"the busiest minute of {units.count(len(times))} arrivals in {units.duration(span_s)}"
    if span_s >= HOUR_S:
        _, in_an_hour = _busiest(times, HOUR_S)
        told += f", of which the busiest hour has {units.significant(in_an_hour / HOUR_S)} requests/s"
    return Demand(mean, max(busiest / MINUTE_S, mean), told, _dispersion(times), _by_the_minute(times), MINUTE_S)


def _by_the_minute(times: NDArray[np.float64]) -> tuple[float, ...]:
    """Requests a second in each whole minute from the first arrival on."""
    minutes = int((times[-1] - times[0]) // MINUTE_S)
    counts = np.histogram(times, bins=minutes, range=(times[0], times[0] + minutes * MINUTE_S))[0]
    return tuple((counts / MINUTE_S).tolist())


def _busiest(times: NDArray[np.float64], window_s: float) -> tuple[float, int]:
    """The beginning of the stretch of `window_s` with most arrivals, and how many it has."""
    counts = np.searchsorted(times, times + window_s, side="left") - np.arange(len(times))
    place = int(np.argmax(counts))
    return float(times[place]), int(counts[place])


def _dispersion(times: NDArray[np.float64]) -> float:
    """Variance over mean of the counts per second, over the busiest hour or the whole where it is shorter."""
    begin_s, _ = _busiest(times, HOUR_S)
    seconds = int(min(HOUR_S, times[-1] - begin_s))
    if seconds < MINUTE_S:
        begin_s, seconds = float(times[0]), int(times[-1] - times[0])
    counts = np.histogram(times, bins=seconds, range=(begin_s, begin_s + seconds))[0]
    return float(counts.var() / counts.mean())


def _timestamps(path: Path) -> NDArray[np.float64]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: over {MAX_BYTES >> 20} MiB; give the busiest days only")
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as fault:
        raise ConfigError(
            f"{path}: can't be read ({fault.strerror}); it holds one timestamp in seconds a line"
        ) from fault
    except UnicodeDecodeError as fault:
        raise ConfigError(f"{path}: not a text file (byte {fault.start} is not UTF-8)") from fault
    found = (_timestamp(path, number, line) for number, line in enumerate(lines, 1) if line.strip())
    return np.fromiter(found, dtype=np.float64)


def _timestamp(path: Path, number: int, line: str) -> float:
    try:
        value = float(line)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{path}:{number}: {line.strip()[:40]!r} is no timestamp: write seconds, such as 12.5")
    if abs(value) > LATEST_S:
        raise ConfigError(
            f"{path}:{number}: {line.strip()[:40]} can't be in seconds: is it in milliseconds, or smaller? Divide first"
        )
    return value
