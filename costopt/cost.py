"""What does an inference cost? Money from time, with nothing measured and nothing rounded.

    seconds per inference ─▶ saturated: a machine that never idles
                          └▶ at traffic: whole machines, enough for the busiest moment, paid all the time

A candidate's time per inference is the original's own mean time divided by the speed-up. Both halves of the speed-up
were measured in turn, so a machine that was slow while this candidate had its turn does not make the candidate dear.
Means and not medians go into money: a machine is busy during its stray pauses too.
"""

import math

from costopt.records import Interval, Quote, Timing, Traffic, Usd

SECONDS_PER_HOUR = 3600
MILLION = 1_000_000


def seconds_per_inference(baseline: Timing, speedup: float) -> float:
    """Seconds per inference of a candidate that is `speedup` times faster than the baseline with this timing.

    Raises ValueError for a timing without calls.
    """
    if not baseline.seconds:
        raise ValueError("the original has no timed calls, so no cost can be told")
    return sum(baseline.seconds) / len(baseline.seconds) / baseline.batch / speedup


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


def usd(baseline: Timing, speedup: Interval, quote: Quote | None, traffic: Traffic | None) -> Usd:
    """What a candidate costs. Without a quote only `relative` is known, and with traffic the number of instances.

    `speedup` is per inference against `baseline`. Raises ValueError for a timing without calls.
    """
    seconds = seconds_per_inference(baseline, speedup.value)
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
