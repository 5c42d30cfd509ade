"""What noise means for a number: nothing, a wider interval, or that the number would lie. Pure.

Candidate and baseline take turns in short rounds, so what slows both cancels in their ratio, and what comes and goes
shows in the spread of the rounds. Two things remain. Noise can slow one side more: four threads lose to a busy
neighbour what one thread does not. And the latencies beside the ratio are those of a disturbed machine. So a little
noise *widens* the interval by a factor, and a lot makes the figures *invalid*; the ordinary hum of a shared machine
does neither.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from costopt import units
from costopt.timings import Noise, Timing

OTHER_LOAD_WIDENS = 0.05
"""Share of CPU time. A judgement: an idle desktop or server spends 1-3 % on itself."""

OTHER_LOAD_LIES = 0.25
"""Share of CPU time. A judgement, with its reason: where others hold a quarter of the CPUs, work that wants them all
takes 1 / (1 - 1/4) = 1.33 times as long, while work on few threads may lose nothing: a ratio of the two is off by a
third, which no turns can cancel."""

STEAL_WIDENS = 0.03
"""Share of CPU time. A judgement: 1-2 % are ordinary on shared virtual machines, and come and go within a round."""

STEAL_LIES = 0.10
"""Share of CPU time. The administrators' rule for a virtual machine that runs slower than it should and should move:
D. Haynes, "Understanding CPU Steal Time - when should you be worried?", Scout APM, 2013 (there over 20 minutes)."""

PAGE_S = 1e-4
"""One page read back from swap: the order of a random read from a solid-state disk."""

SWAPPING_LIES = 0.01
"""Share of the time spent on pages from swap, at `PAGE_S` each: 100 pages a second. A judgement: one per cent is what a
careful comparison wants to resolve."""

DOUBT = 1.5
"""Factor on an interval's half-width under load, steal or swapping. A judgement: the rounds show most of what
disturbs; what disturbs one side more than the other they don't show."""

GOVERNOR_DOUBT = 1.25
"""The same for a governor that scales the clock. A judgement: the clock follows the load with a delay, and two
candidates that load the machine differently run at different clocks. Google Benchmark warns of it as noise
(docs/reducing_variance.md)."""

STEADY_GOVERNORS = frozenset({"performance", "userspace"})
"""Those that don't follow the load (kernel documentation, admin-guide/pm/cpufreq). "powersave" is not among them: under
intel_pstate and amd_pstate it scales."""

FAR = 3.5
"""Robust standard deviations at which a value is an outlier: Iglewicz & Hoaglin, "How to Detect and Handle Outliers",
ASQC 1993."""

NEAR = 0.05
"""The least standard deviation of log(median) that is assumed: medians within exp(3.5 * 0.05) = 1.19 times of each
other never count as far. A judgement: a shared machine's speed wanders by several per cent, and turns cancel that."""

_MAD_TO_DEVIATION = 1.4826
"""1 / (the normal's third quartile): what makes the median absolute deviation a standard deviation."""

_QUIET = "stop other programs, or choose a quieter machine, and measure again"
_COOL = (
    "cool the machine or turn its turbo off (echo 1 | sudo tee /sys/devices/system/cpu/intel_pstate/no_turbo), and "
    "measure again"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """What was wrong while a number was taken, and what to do. Either `invalid`, or the interval widens by `widen`.

    `widen` multiplies the half-width of a ratio's interval on the logarithmic scale.
    """

    reason: str
    fix: str
    invalid: bool = False
    widen: float = 1.0


def faults(noise: Noise) -> tuple[Fault, ...]:
    """Everything in the noise that touches the numbers; empty when nothing does. What is not known is no fault."""
    return tuple(fault for rule in _RULES if (fault := rule(noise)))


def slackest(governors: Iterable[str]) -> str | None:
    """Of several frequency governors the one to worry about: one that is not "performance", if there is one."""
    return min(governors, key=lambda name: (name == "performance", name), default=None)


def together(stretches: Sequence[Noise]) -> Noise | None:
    """The noise of a measurement that was taken in several stretches; None without any.

    Events add up; shares are means over the time of those stretches that were long enough to tell them.
    """
    if not stretches:
        return None
    return Noise(
        seconds=sum(one.seconds for one in stretches),
        cpus=max(one.cpus for one in stretches),
        other_load=_mean([(one.other_load, one.seconds) for one in stretches]),
        steal=_mean([(one.steal, one.seconds) for one in stretches]),
        swapped_pages=_sum([one.swapped_pages for one in stretches]),
        throttled=_sum([one.throttled for one in stretches]),
        governor=slackest(one.governor for one in stretches if one.governor is not None),
    )


def _mean(weighted: Iterable[tuple[float | None, float]]) -> float | None:
    known = [(value, weight) for value, weight in weighted if value is not None]
    return sum(value * weight for value, weight in known) / sum(weight for _, weight in known) if known else None


def _sum(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def widening(found: Iterable[Fault]) -> float:
    """The factor of several faults together: each is a doubt of its own, so they multiply."""
    return math.prod(fault.widen for fault in found)


def doubt(timing: Timing) -> float:
    """How much wider the interval of a timing's ratio is for what disturbed the machine meanwhile."""
    return 1.0 if timing.noise is None else widening(faults(timing.noise))


def _other_load(noise: Noise) -> Fault | None:
    if noise.other_load is None:
        return None
    sure = noise.other_load - _sampling_error(noise)
    reason = f"other programs used {units.percent(noise.other_load)} of the CPU time meanwhile"
    return _by_share(sure, OTHER_LOAD_WIDENS, OTHER_LOAD_LIES, reason, _QUIET)


def _sampling_error(noise: Noise) -> float:
    """Two standard errors of a share of CPU time, at most: each of its ticks (10 ms) is a sample, and n samples of a
    yes or no are good to 0.5 / sqrt(n). 10 % for one CPU in a second, 1.3 % for two in half a minute."""
    ticks = max(1.0, 100 * noise.seconds * noise.cpus)
    return 2 * 0.5 / math.sqrt(ticks)


def _steal(noise: Noise) -> Fault | None:
    if noise.steal is None:
        return None
    reason = f"the hypervisor gave {units.percent(noise.steal)} of the CPU time to other machines meanwhile"
    fix = "measure at another time, or on a machine with CPUs of its own (a dedicated or larger instance)"
    return _by_share(noise.steal, STEAL_WIDENS, STEAL_LIES, reason, fix)


def _by_share(share: float, widens: float, lies: float, reason: str, fix: str) -> Fault | None:
    if share <= widens:
        return None
    return Fault(reason, fix, invalid=True) if share > lies else Fault(reason, fix, widen=DOUBT)


def _swapping(noise: Noise) -> Fault | None:
    if not noise.swapped_pages:
        return None
    reason = f"memory was short: {units.count(noise.swapped_pages)} pages came back from swap meanwhile"
    fix = "close other programs, or choose a machine with more memory, and measure again"
    lies = noise.swapped_pages * PAGE_S > SWAPPING_LIES * noise.seconds
    return Fault(reason, fix, invalid=True) if lies else Fault(reason, fix, widen=DOUBT)


def _throttling(noise: Noise) -> Fault | None:
    """Invalid however seldom: how long a slow-down lasted is not told, and latencies in it are of another machine."""
    if not noise.throttled:
        return None
    times = "once" if noise.throttled == 1 else f"{units.count(noise.throttled)} times"
    reason = f"the CPU slowed itself down for its heat {times} meanwhile: no absolute figure can be trusted"
    return Fault(reason, _COOL, invalid=True)


def _scaling(noise: Noise) -> Fault | None:
    if noise.governor is None or noise.governor in STEADY_GOVERNORS:
        return None
    reason = f"the frequency governor '{noise.governor}' scales the CPU's clock with its load"
    return Fault(reason, "sudo cpupower frequency-set --governor performance", widen=GOVERNOR_DOUBT)


_RULES: tuple[Callable[[Noise], Fault | None], ...] = (_other_load, _steal, _swapping, _throttling, _scaling)


def far_from_neighbours(medians_s: Sequence[float]) -> tuple[Fault | None, ...]:
    """Which stretches of a long measurement took place on another machine, as it were: a fault for each, or None.

    `medians_s` are the baseline's median seconds per call, positive, one for each contender that it took turns with,
    in order. One is far when its logarithm lies `FAR` robust standard deviations from the median of all (1.4826 times
    the median absolute deviation, at least `NEAR`). Never more than half are, and so none of two: it takes three to
    say who is right.
    """
    logs = [math.log(median) for median in medians_s]
    if not logs:
        return ()
    middle = statistics.median(logs)
    spread = _MAD_TO_DEVIATION * statistics.median(abs(value - middle) for value in logs)
    limit = FAR * max(spread, NEAR)
    return tuple(_far(value - middle) if abs(value - middle) > limit else None for value in logs)


def _far(log_ratio: float) -> Fault:
    how = "slower" if log_ratio > 0 else "faster"
    reason = f"the baseline ran {units.ratio(math.exp(abs(log_ratio)))} {how} beside it than beside the others"
    return Fault(reason, "measure again when nothing else runs", invalid=True)
