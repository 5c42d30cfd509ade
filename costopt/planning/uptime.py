"""How many machines are up, and when: as many as the busiest time needs, as many as each hour needs, or none at all.

    fixed           enough for the busiest time, always
    autoscaling     enough for each hour (or minute of a log), begun `start_up_s` ahead: demand grows while they start
    scale to zero   none once no request came for `idle_s`; the next request waits for a cold start

All three become the same thing: rates, and the share of time for which machines for each are up. What a rate needs in
machines is another file's matter (`sizes`), so these figures are worked out once for all candidates.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from costopt.planning.demand import HOUR_S, Demand

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

NONE = np.empty(0)


@dataclass(frozen=True, slots=True)
class Autoscaling:
    """Machines follow the traffic, `start_up_s` ahead of it; while any is up, there are `min_instances` at least."""

    start_up_s: float
    min_instances: int = 1


@dataclass(frozen=True, slots=True)
class ScaleToZero:
    """All machines are given back once no request came for `idle_s`; starting again takes `cold_start_s`."""

    idle_s: float
    cold_start_s: float

    def up_share(self, rate_per_s: float) -> float:
        """The share of time that machines are up (and paid, from the start of a cold start on) under Poisson arrivals.

        A cycle begins with the request that finds nothing up: c seconds of cold start, then (e^(rate T) - 1) / rate
        seconds until no request has come for T = `idle_s` (the mean time to the first gap of T in a Poisson process),
        then 1 / rate seconds down. So up = (rate c + e^(rate T) - 1) / (rate c + e^(rate T)): 1 - e^(-rate T) where
        starting takes no time. Source: renewal-reward theorem; Ross 2014, "Introduction to Probability Models", 7.4.
        """
        # expm1 keeps the digits of a rate so small that e^-x is 1.
        gap = rate_per_s * self.idle_s
        starting = rate_per_s * self.cold_start_s * math.exp(-gap)
        return (starting - math.expm1(-gap)) / (1 + starting)

    def cold_share(self, rate_per_s: float) -> float:
        """The share of requests that meet a cold start: they cause it, or come while it lasts.

        1 + rate c of the rate c + e^(rate T) requests of a cycle (`up_share`).
        """
        gone = math.exp(-rate_per_s * self.idle_s)
        return gone * (1 + rate_per_s * self.cold_start_s) / (1 + rate_per_s * self.cold_start_s * gone)

    def starts_per_s(self, rate_per_s: float) -> float:
        """Cold starts a second: one a cycle, of c + e^(rate T) / rate seconds (`up_share`)."""
        gone = math.exp(-rate_per_s * self.idle_s)
        return rate_per_s * gone / (1 + rate_per_s * self.cold_start_s * gone)


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Rates, rising, and the share of all time for which machines for each are up; the shares' sum is `up`.

    `least` is how many machines there are while any is up. `steps_per_s` are the rates one after the other, within
    `cycle_s` seconds that repeat: each step up starts machines. `cold` is the share of requests that meet a cold start
    of all machines, which happens `starts_per_s` times a second.
    """

    rates_per_s: Floats
    shares: Floats
    least: int = 1
    steps_per_s: Floats = field(default_factory=lambda: NONE)
    cycle_s: float = math.inf
    cold: float = 0.0
    starts_per_s: float = 0.0

    @property
    def up(self) -> float:
        """The share of time that machines are up."""
        return float(self.shares.sum())

    def mean(self, counts: Counts) -> float:
        """Machines that are up on average, where `counts` are those for each rate."""
        return float(self.shares @ counts)


def fixed(demand: Demand) -> Levels:
    """Enough for the busiest time, always."""
    return Levels(np.array([demand.peak_per_s]), np.ones(1))


def levels(demand: Demand, autoscaling: Autoscaling | None, to_zero: ScaleToZero | None) -> Levels:
    """What is up with what was asked for; `autoscaling` needs a demand that tells its hours or minutes."""
    if autoscaling is None and to_zero is None:
        return fixed(demand)
    rates = np.array(demand.rates_per_s or (demand.mean_per_s,))
    up = np.ones(len(rates))
    cold = starts_per_s = 0.0
    if to_zero is not None:
        hours = _by_the_hour(rates, demand.window_s)
        up = _each(to_zero.up_share, hours)
        cold = float(hours @ _each(to_zero.cold_share, hours) / hours.sum())
        starts_per_s = float(_each(to_zero.starts_per_s, hours).mean())
    if autoscaling is None:
        return Levels(np.array([demand.peak_per_s]), np.array([up.mean()]), cold=cold, starts_per_s=starts_per_s)
    found, shares = _ahead(rates, up, autoscaling.start_up_s / demand.window_s)
    found[-1] = demand.peak_per_s  # a log's busiest minute may begin within one of these
    cycle_s = len(rates) * demand.window_s
    return Levels(found, shares, autoscaling.min_instances, rates, cycle_s, cold, starts_per_s)


def _each(of_rate: Callable[[float], float], rates: Floats) -> Floats:
    known, places = np.unique(rates, return_inverse=True)
    return np.array([of_rate(float(one)) for one in known])[places]


def _by_the_hour(rates: Floats, window_s: float) -> Floats:
    """The mean of each hour, for each window in it: a minute is too short for its rate to tell how long a pause is.

    Pauses are longer where requests come in bursts within the hour: then less is up, and fewer meet a cold start.
    """
    together = max(1, round(HOUR_S / window_s)) if window_s else 1
    starts = np.arange(0, len(rates), together)
    lengths = np.diff(np.append(starts, len(rates)))
    return np.repeat(np.add.reduceat(rates, starts) / lengths, lengths)


def _ahead(rates: Floats, up: Floats, windows: float) -> tuple[Floats, Floats]:
    """Rates and shares of time, where machines must be ready for the highest rate within the next `windows`.

    In window k of length 1 the highest rate from k to k + m is looked for at first, where m is the whole part of
    `windows`; for the rest, the last part of it, from k to k + m + 1. The windows repeat.
    """
    whole = min(int(windows), len(rates))
    rest = windows - int(windows)
    soon = rates
    for later in range(1, whole + 1):
        soon = np.maximum(soon, np.roll(rates, -later))
    latest = np.maximum(soon, np.roll(rates, -whole - 1))
    known, places = np.unique(np.concatenate([soon, latest]), return_inverse=True)
    weights = np.concatenate([(1 - rest) * up, rest * up]) / len(rates)
    shares: Floats = np.bincount(places, weights, minlength=len(known)).astype(np.float64)
    return known, shares
