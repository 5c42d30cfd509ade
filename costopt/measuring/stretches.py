"""Which rounds were taken while the machine ran at its own speed? The baseline, always the same work, tells.

A machine that is shared has spells of seconds in which it is slower, and nothing that it shows of itself says so: on a
2-core virtual machine a float32 network took 0.38 ms a call, then 0.47 ms or 0.66 ms for up to half a minute, with no
load, no steal, and both CPUs busy with it alone (measured 2026-11-22; most likely other machines on the same cores).
Turns cancel what slows both sides alike. But spells don't: the same network in 8 bits was 2.2 times as fast as in 32
in the machine's own time, 1.55 times in the first kind of spell and 2.5 times in the second.

So rounds in slow spells are kept, counted and shown, but the ratio is made of the others. A round's own figures have no
say in that, only its neighbours', or rounds in which the baseline happened to be quick would be preferred.
"""

import statistics
from collections.abc import Sequence
from dataclasses import replace

from costopt.timings import Round, Timing

SLOWER = 1.15
"""A spell is slow when the baseline takes so many times what it takes in its fast ones. A judgement: three standard
deviations of a median of four quiet rounds (4 % each, measured as above), so that quiet rounds stay."""

NEIGHBOURS = 2
"""Rounds to each side that speak for a round: 0.1 s of turns either way, where spells last seconds."""

FAST_SHARE = 0.1
"""The baseline's own speed is the one that it reaches or beats around this share of the rounds."""

FEWEST = 8
"""With fewer rounds there are no spells to tell apart."""


def at_own_speed(timing: Timing) -> Timing:
    """The same timing with the rounds of slow spells left out: what ratios are made of."""
    return replace(timing, rounds=own_speed(timing.rounds))


def own_speed(rounds: Sequence[Round]) -> tuple[Round, ...]:
    """The rounds that were not taken in a slow spell, in their order; all of them when they are few.

    At least `FAST_SHARE` of the rounds stay. Rounds without calls of the baseline say nothing and are left out.
    """
    told = [one for one in rounds if one.seconds and one.baseline_seconds]
    if len(told) < FEWEST:
        return tuple(told)
    medians = [statistics.median(one.baseline_seconds) for one in told]
    around = [_around(medians, place) for place in range(len(medians))]
    fast = sorted(around)[int(FAST_SHARE * len(around))]
    return tuple(one for one, spell in zip(told, around, strict=True) if spell <= SLOWER * fast)


def _around(medians: Sequence[float], place: int) -> float:
    """The median of a round's neighbours, without its own."""
    before, after = medians[max(0, place - NEIGHBOURS) : place], medians[place + 1 : place + 1 + NEIGHBOURS]
    return statistics.median([*before, *after])
