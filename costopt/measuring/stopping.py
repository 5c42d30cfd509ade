"""When have we measured enough? From the interval that the rounds so far give, and from nothing else.

Who looks at an interval after every round, and stops when it is narrow, stops when the first few happen to lie close
together, and the interval is then too narrow too often. So we look first after `LEAST_ROUNDS`, and then only each time
that a quarter as many have come in again; `tests/bench_statistics.py` shows what is left of the effect.
"""

import math

from costopt import stats
from costopt.timings import Timing
from costopt.verdict import Interval

LEAST_ROUNDS = 24
"""Before this we don't look. Where the noise of rounds is very skewed (an exponential's), a first look after 8 leaves
90 of 100 intervals right, after 24 93 (simulated: `tests/bench_statistics.py`, 2026-11)."""

GROWTH = 1.25
"""From one look to the next. Looking more often than this wins few rounds; looking less often wastes some."""

MOST_LOOKS = 12
"""Looks at one measurement: from 24 rounds on, each 1.25 times as many, the twelfth comes after 280 rounds (14 s)."""

PROCESS_SHARE = 0.85
"""What the spread between processes may take of the half-width that is asked for. Half-widths add in squares, so 53 %
of it are left for the rounds: a judgement between starting more processes and taking more rounds."""

MOST_GENERATIONS = 16
"""Pairs of processes, at most: they carry 0.7 % at 95 % confidence. Beyond, all time would go into starting them."""

DAY_S = 86_400.0


def next_check(rounds: int) -> int:
    """After how many rounds to look next, when `rounds` have been taken."""
    return max(LEAST_ROUNDS, math.ceil(GROWTH * rounds))


def enough(timing: Timing, precision: float, confidence: float, generations: int = 1) -> bool:
    """Whether the speed-up's interval is at most `precision` wide, relatively: (high - low) / value.

    `generations` is how many pairs of processes there will be in the end: it is asked whether it would be narrow enough
    if those to come gave as many rounds as those so far, for both kinds of spread fall with their number. Never before
    `LEAST_ROUNDS`. Raises ValueError for a timing without a round.
    """
    if len(timing.rounds) < LEAST_ROUNDS:
        return False
    found = stats.speedup(timing, confidence)
    half = math.log(found.high / found.value) * math.sqrt(timing.generations / generations)
    return half <= _log_half(precision)


def called_enough(timing: Timing, least_calls: int, generations: int = 1) -> bool:
    """Whether the candidate will be called so often, if the generations to come give as many calls as those so far."""
    return len(timing.seconds) * generations >= least_calls * timing.generations


def _log_half(precision: float) -> float:
    """The half-width on the logarithmic scale: (high - low) / value = exp(half) - exp(-half) = 2 sinh(half)."""
    return math.asinh(precision / 2)


def beaten(timing: Timing, to_beat: float, confidence: float) -> bool:
    """Whether the speed-up lies under `to_beat` for certain, so that the rest of the rounds can be saved.

    It is asked at each look, up to `MOST_LOOKS` times, so each may be wrong only that much less often (Bonferroni).
    Never before `LEAST_ROUNDS`. Raises ValueError for a timing without a round.
    """
    if len(timing.rounds) < LEAST_ROUNDS:
        return False
    return stats.speedup(timing, 1 - (1 - confidence) / MOST_LOOKS).high < to_beat


def generations_needed(precision: float, confidence: float) -> int:
    """Pairs of processes so that their spread takes at most `PROCESS_SHARE` of the half-width, or `MOST_GENERATIONS`.

    2 % at 95 % confidence needs two, 5 % one. `precision` is a relative width over 0.
    """
    one = stats.process_half_width(confidence)
    return min(MOST_GENERATIONS, math.ceil((one / (PROCESS_SHARE * _log_half(precision))) ** 2))


def seconds_to_tell(ratio: Interval, spent_s: float) -> float | None:
    """How many seconds more would tell the ratio from 1, if its value stayed and the machine were as noisy as so far.

    `spent_s` is what both sides took to get `ratio`. Going on means more pairs of processes, as long as those so far:
    then both kinds of spread fall, and the half-width (on the logarithmic scale) falls with the square root of the
    time. None when the ratio is told from 1 already, and when it would take over a day.
    """
    away = abs(math.log(ratio.value))
    if not stats.indistinguishable(ratio) or not away or math.isinf(ratio.high):
        return None
    more_s = spent_s * ((math.log(ratio.high / ratio.value) / away) ** 2 - 1)
    return more_s if more_s <= DAY_S else None
