"""What does an inference cost? Money from time, with nothing measured and nothing rounded.

    seconds per inference ─▶ saturated: a machine that never idles
                          └▶ at traffic: whole machines, enough for the busiest moment, paid all the time

A candidate's time per inference is the original's divided by the speed-up. Both halves of the speed-up were measured
in turn, so a machine that was slow while this candidate had its turn does not make the candidate dear. The original's
own time is taken from its turns beside every candidate, all over the run, so that one slow minute does not set it.
"""

import math
import statistics
from collections.abc import Iterable

from costopt.records import Timing, Traffic
from costopt.verdict import Interval, Quote, Usd

SECONDS_PER_HOUR = 3600
MILLION = 1_000_000


def original_seconds(timings: Iterable[Timing]) -> float:
    """Seconds per inference of the original: the median, over all rounds of all candidates, of a round's mean.

    Means inside a round, because a machine is busy during its stray pauses too; the median over rounds, because a
    machine that other work slowed for a while was not slowed by the original. Raises ValueError when there is no round.
    """
    means = [
        statistics.fmean(one.baseline_seconds) / timing.baseline_batch
        for timing in timings
        for one in timing.rounds
        if one.baseline_seconds
    ]
    if not means:
        raise ValueError("the original has no timed calls, so no cost can be told")
    return statistics.median(means)


def saturated_usd_per_million(usd_per_hour: float, seconds: float) -> float:
    """USD per million inferences of `seconds` each on a machine that never idles."""
    return usd_per_hour / SECONDS_PER_HOUR * seconds * MILLION


def instances_needed(traffic: Traffic, seconds: float) -> int:
    """Whole machines for the busiest moment, at `seconds` per inference and full load.

    Nothing is set aside for queueing: `Traffic.peak_to_mean` is where a reserve is asked for.
    """
    busy = traffic.requests_per_second * traffic.peak_to_mean * seconds
    # 0.1 * 3 * 10 is 3.0000000000000004: without the allowance a load that just fits would rent one machine more.
    return max(1, math.ceil(busy * (1 - 1e-12)))


def traffic_usd_per_million(usd_per_hour: float, instances: int, traffic: Traffic) -> float:
    """USD per million inferences when `instances` machines are paid all the time and serve the mean traffic."""
    return instances * usd_per_hour / (traffic.requests_per_second * SECONDS_PER_HOUR) * MILLION


def usd(original_s: float, speedup: Interval, quote: Quote | None, traffic: Traffic | None) -> Usd:
    """What a candidate costs. Without a quote only `relative` is known, and with traffic the number of instances.

    `original_s` are the original's seconds per inference, and `speedup` is per inference against it.
    """
    seconds = original_s / speedup.value
    instances = None if traffic is None else instances_needed(traffic, seconds)
    if quote is None:
        return Usd(reciprocal(speedup), instances=instances)
    saturated = saturated_usd_per_million(quote.usd_per_hour, seconds)
    if traffic is None or instances is None:
        return Usd(reciprocal(speedup), saturated)
    at_traffic = traffic_usd_per_million(quote.usd_per_hour, instances, traffic)
    return Usd(reciprocal(speedup), saturated, at_traffic, instances)


def reciprocal(ratio: Interval) -> Interval:
    """One over a positive ratio: how many times slower, for how many times faster."""
    return Interval(1 / ratio.value, 1 / ratio.high, 1 / ratio.low if ratio.low else math.inf)
