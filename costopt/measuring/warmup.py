"""When is a model warm? When its calls take as long as they did before, and not after so many of them.

A fixed number of warm-up calls is too few for one model and too many for the next. Barrett et al. ("Virtual machine
warmup blows hot and cold", OOPSLA 2017) saw fewer than half of all pairs of virtual machine and benchmark reach a
steady peak every time, and Traini et al. ("Towards effective assessment of steady state performance in Java software:
are we there yet?", Empirical Software Engineering 2023) found the numbers that developers had fixed to be often far
off. Both look for change points instead, and so do we:

    calls ──▶ medians of blocks ──▶ Pettitt's test ──▶ a change? forget what lies before it, and look again
                                                  └──▶ none? the calls since then are warm, if they are half of all

Medians of blocks, because single spikes say nothing of warmth, and ranks, because how calls are distributed (in two
modes, with a long tail) is anybody's guess. A pure function of the calls so far: ask again when there are more. It
runs in the serving process, whose memory is measured, so it makes do with numpy.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

BLOCKS = 40
"""Their medians are tested. More find short warm-ups, fewer see through the noise of calls: a judgement."""

SIGNIFICANCE = 0.05
"""How often the first test may see a change where chance alone rules. That only prolongs the warm-up."""

SUSPICION = 0.3
"""The same for the tests after a change was found: who warmed up so far goes on with it more likely than not, and what
is left of it is small, so that a stern test would let it pass."""

MATTERS = 0.01
"""A change of the median by less than this share is no warm-up: on long series the test sees the least of changes."""

LEAST_SLOW_CALLS = 4
LEAST_SLOW_S = 2.0
"""Calls too slow for `BLOCKS` of them must last so long, and be so many: who calls a model once a second waits."""

Floats = NDArray[np.float64]


def settled(seconds: Sequence[float]) -> int | None:
    """The index of the first call after the warm-up, or None while calls still change or are too few to tell.

    `seconds` are the durations of all calls so far, in order. Calls that are warm must be at least half of all: a
    stretch that is short beside what went before could be one more step of the warm-up.
    """
    calls = np.asarray(seconds, dtype=np.float64)
    start, significance = 0, SIGNIFICANCE
    while _will_do(calls[start:]):
        change = change_point(calls[start:], significance)
        if change is None:
            return start if 2 * start <= len(calls) else None
        start, significance = start + change, SUSPICION
    return None


def _will_do(calls: Floats) -> bool:
    return len(calls) >= BLOCKS or (len(calls) >= LEAST_SLOW_CALLS and float(calls.sum()) >= LEAST_SLOW_S)


def change_point(calls: Floats, significance: float) -> int | None:
    """Where the durations of calls, shape (calls,), change for faster or slower: the first call after it, or None.

    Pettitt's rank test on the medians of up to `BLOCKS` equal blocks. Fewer than eleven calls can't differ
    significantly at 5 %; then it is a change when one half of them is slower, call by call, than the other.
    Source: Pettitt 1979, "A non-parametric approach to the change-point problem", Applied Statistics 28:126-135.
    """
    length = math.ceil(len(calls) / BLOCKS)
    # What does not fill a block is left out at the start: the newest calls say most.
    left_out = len(calls) % length
    medians = np.median(calls[left_out:].reshape(-1, length), axis=1)
    block = _most_likely_change(medians, significance)
    if block is None or not _matters(medians[:block], medians[block:]):
        return None
    return left_out + block * length


def _most_likely_change(values: Floats, significance: float) -> int | None:
    """The index after which Pettitt's U is furthest from zero, if it is significantly so."""
    count = len(values)
    # U(t): pairs across t that fall, less those that rise. Pairs on one side of t cancel, so it is a running sum.
    across = np.cumsum(np.sign(values[:, None] - values).sum(axis=1))[:-1]
    most = int(np.argmax(np.abs(across)))
    statistic = float(abs(across[most]))
    by_chance = 2 * math.exp(-6 * statistic**2 / (count**3 + count**2))
    apart = statistic >= count**2 // 4  # the highest there is: the halves don't overlap
    return most + 1 if by_chance < significance or apart else None


def _matters(before: Floats, after: Floats) -> bool:
    early, late = float(np.median(before)), float(np.median(after))
    return abs(late - early) > MATTERS * min(early, late)
