"""Do the statistics keep what they promise? Simulated stopwatches, known truths: `python -m tests.bench_statistics`.

- a 95 % interval of the speed-up holds the true ratio in 95 of 100, whatever the noise and however many rounds;
- it still does when the stop rule chose the number of rounds;
- two equal things are told apart in at most 5 of 100;
- the warm-up test goes on while calls change, and ends when they don't.

No clock and no model: all times here are drawn from a random generator. The tests ask the same with fewer repetitions.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from costopt import stats
from costopt.measuring import stopping, warmup
from costopt.timings import Round, Timing

Floats = NDArray[np.float64]
Noise = Callable[[Generator, int], Floats]

TRUTH = 1.3
CONFIDENCE = 0.95
LOUD = 0.2
"""Standard deviation of a round's log ratio beside which the spread between processes is nothing..."""
USUAL = 0.02
"""... and one where both count."""

# ---------------------------------------------------------------------------------------- rounds


def _autocorrelated(rng: Generator, rounds: int, correlation: float) -> Floats:
    steps = rng.normal(size=rounds)
    steps[1:] *= math.sqrt(1 - correlation**2)
    for place in range(1, rounds):
        steps[place] += correlation * steps[place - 1]
    return steps


NOISES: dict[str, Noise] = {
    "normal": lambda rng, rounds: rng.normal(size=rounds),
    "heavy tails: Student's t, 3 degrees": lambda rng, rounds: rng.standard_t(3, size=rounds) / math.sqrt(3),
    "skewed: gamma, shape 4": lambda rng, rounds: (rng.gamma(4, size=rounds) - 4) / 2,
    "neighbours correlate by 0.2": lambda rng, rounds: _autocorrelated(rng, rounds, 0.2),
}
HARDER: dict[str, Noise] = {
    "very skewed: exponential": lambda rng, rounds: rng.exponential(size=rounds) - 1,
    "neighbours correlate by 0.4": lambda rng, rounds: _autocorrelated(rng, rounds, 0.4),
}
"""What the intervals are not promised to stand; shown all the same."""


def generation(rng: Generator, noise: Noise, spread: float, rounds: int, number: int = 0) -> tuple[Round, ...]:
    """Rounds of one pair of processes, with single calls: off by `PROCESS_SPREAD` together, by `spread` each."""
    off = rng.normal(0, stats.PROCESS_SPREAD) + spread * noise(rng, rounds)
    return tuple(Round((1.0,), (second,), number) for second in (TRUTH * np.exp(off)).tolist())


def timing(rounds: tuple[Round, ...]) -> Timing:
    """A timing whose true speed-up is `TRUTH`."""
    return Timing(rounds, 1, 1, "simulated")


def holds(taken: Timing) -> bool:
    """Whether the interval holds the truth."""
    found = stats.speedup(taken, CONFIDENCE)
    return found.low <= TRUTH <= found.high


def coverage(noise: Noise, spread: float, rounds: int, times: int) -> float:
    """The share of intervals from a fixed number of rounds that hold the truth."""
    rng = np.random.default_rng(1)
    return float(np.mean([holds(timing(generation(rng, noise, spread, rounds))) for _ in range(times)]))


def told_apart(noise: Noise, rounds: int, times: int) -> float:
    """How often two equal things, each beside its own processes of the baseline, are called different."""
    rng = np.random.default_rng(2)

    def one() -> Timing:
        return timing(generation(rng, noise, USUAL, rounds))

    return float(np.mean([not stats.indistinguishable(stats.between(one(), one(), CONFIDENCE)) for _ in range(times)]))


# ---------------------------------------------------------------------------------------- the stop rule


def until_enough(rng: Generator, noise: Noise, spread: float, precision: float, most: int) -> Timing:
    """Rounds as `bench` takes them: over as many generations as the precision needs, at most `most` in each."""
    generations = stopping.generations_needed(precision, CONFIDENCE)
    taken: tuple[Round, ...] = ()
    for number in range(generations):
        fresh = generation(rng, noise, spread, most, number)
        count = stopping.next_check(0)
        while count < most:
            if stopping.enough(timing(taken + fresh[:count]), precision, CONFIDENCE, generations):
                break
            count = min(most, stopping.next_check(count))
        taken += fresh[:count]
    return timing(taken)


@dataclass(frozen=True)
class Stopped:
    """What became of measurements that ended themselves: the share of intervals that hold the truth, and rounds."""

    coverage: float
    rounds: float


def after_stopping(noise: Noise, spread: float, precision: float, times: int, most: int = 600) -> Stopped:
    """Coverage, and the mean number of rounds, when the rule chooses when to stop."""
    rng = np.random.default_rng(3)
    found = [until_enough(rng, noise, spread, precision, most) for _ in range(times)]
    return Stopped(float(np.mean([holds(one) for one in found])), float(np.mean([len(one.rounds) for one in found])))


def eager(noise: Noise, spread: float, precision: float, first: int, growth: float, times: int) -> Stopped:
    """The same under another rule: first look after `first` rounds, and again when there are `growth` times as many."""
    rng = np.random.default_rng(3)
    found = [_eager(generation(rng, noise, spread, 600), precision, first, growth) for _ in range(times)]
    return Stopped(float(np.mean([holds(one) for one in found])), float(np.mean([len(one.rounds) for one in found])))


def _eager(rounds: tuple[Round, ...], precision: float, first: int, growth: float) -> Timing:
    count = first
    while count < len(rounds):
        found = stats.speedup(timing(rounds[:count]), CONFIDENCE)
        if (found.high - found.low) / found.value <= precision:
            break
        count = math.ceil(count * growth)
    return timing(rounds[:count])


# ---------------------------------------------------------------------------------------- warm-up

FLOOR_S = 0.5
LIMIT_S = 5.0


@dataclass(frozen=True)
class Calls:
    """Calls of a simulated model: seconds each when warm, by what share they scatter, and the warm-up.

    `cold(t)` is how much slower than when warm, as a share, a call is `t` seconds after the first began.
    """

    warm_s: float
    cold: Callable[[Floats], Floats]
    factor: Callable[[Generator, int], Floats]

    def draw(self, rng: Generator, seconds: float) -> Floats:
        """Durations of the calls that fill `seconds`."""
        count = math.ceil(2 * seconds / self.warm_s)
        warm = self.warm_s * self.factor(rng, count)
        calls = warm * (1 + self.cold(np.cumsum(warm)))
        return calls[: int(np.searchsorted(np.cumsum(calls), seconds)) + 1]


def never(times: Floats) -> Floats:
    """Warm from the first call."""
    return np.zeros_like(times)


def scatter(rng: Generator, count: int) -> Floats:
    """Calls 5 % around their median."""
    return np.asarray(np.exp(rng.normal(0, 0.05, count)))


def spikes(rng: Generator, count: int) -> Floats:
    """One call in a hundred takes twenty times as long."""
    return scatter(rng, count) * np.where(rng.random(count) < 0.01, 20, 1)


def two_modes(rng: Generator, count: int) -> Floats:
    """Four calls in ten take half as long again."""
    return scatter(rng, count) * np.where(rng.random(count) < 0.4, 1.5, 1)


def fading(share: float, seconds: float) -> Callable[[Floats], Floats]:
    """An exponential warm-up: `share` slower at first."""
    return lambda times: share * np.exp(-times / seconds)


def step(share: float, seconds: float) -> Callable[[Floats], Floats]:
    """Slower by `share` until something is ready: an engine, a compiled function."""
    return lambda times: np.where(times < seconds, share, 0.0)


def slowing(share_per_s: float) -> Callable[[Floats], Floats]:
    """Slower by the second, without an end: a machine that grows hot."""
    return lambda times: share_per_s * times


WARM: dict[str, Calls] = {
    "50 us, warm at once": Calls(50e-6, never, scatter),
    "1 ms, warm at once": Calls(1e-3, never, scatter),
    "1 ms, spikes": Calls(1e-3, never, spikes),
    "1 ms, two modes": Calls(1e-3, never, two_modes),
    "20 ms, two modes": Calls(20e-3, never, two_modes),
    "150 ms, warm at once": Calls(0.15, never, scatter),
    "600 ms, warm at once": Calls(0.6, never, scatter),
}
COLD: dict[str, Calls] = {
    "1 ms, fading: 50 %, 0.3 s": Calls(1e-3, fading(0.5, 0.3), scatter),
    "10 ms, fading: 50 %, 0.3 s": Calls(10e-3, fading(0.5, 0.3), scatter),
    "1 ms, step of 30 % at 0.3 s": Calls(1e-3, step(0.3, 0.3), scatter),
    "10 ms, step of 30 % at 0.3 s": Calls(10e-3, step(0.3, 0.3), spikes),
    "150 ms, fading: 100 %, 1 s": Calls(0.15, fading(1.0, 1.0), scatter),
}
ENDLESS: dict[str, Calls] = {"1 ms, slower by 10 % a second": Calls(1e-3, slowing(0.1), scatter)}


@dataclass(frozen=True)
class WarmedUp:
    """How one warm-up ended: after which looks, at which second, and by what share calls were still slower then."""

    looks: int
    seconds: float
    settled: bool
    still_cold: float


def warm_up(calls: Calls, rng: Generator) -> WarmedUp:
    """Call until `warmup.settled`, looking as often as the serving process does: each time a quarter has come in."""
    drawn = calls.draw(rng, 2 * LIMIT_S)
    ends = np.cumsum(drawn)
    look_s, looks = FLOOR_S, 0
    while True:
        count, looks = int(np.searchsorted(ends, look_s)) + 1, looks + 1
        spent = float(ends[count - 1])
        start = warmup.settled(drawn[:count].tolist())
        if start is not None or spent > LIMIT_S:
            return WarmedUp(looks, spent, start is not None, float(calls.cold(ends[count - 1 : count])[0]))
        look_s = 1.25 * spent


def warm_ups(calls: Calls, times: int) -> list[WarmedUp]:
    """Many of them."""
    rng = np.random.default_rng(4)
    return [warm_up(calls, rng) for _ in range(times)]


# ---------------------------------------------------------------------------------------- tables


def _coverage_table(times: int) -> Iterator[str]:
    counts = (8, 12, 24, 100, 400)
    yield f"Of 100 intervals at 95 %, how many hold the true ratio ({times} simulated measurements a figure)"
    yield _row("rounds", [str(count) for count in counts])
    for name, noise in (NOISES | HARDER).items():
        yield _row(name, [f"{100 * coverage(noise, LOUD, count, times):.1f}" for count in counts])


def _stopping_table(times: int) -> Iterator[str]:
    asked = ((USUAL, 0.02), (USUAL, 0.05), (LOUD, 0.2), (LOUD, 0.1))
    yield f"The same where the stop rule chose the number of rounds, and the mean of that number ({times} each)"
    yield _row("spread of a round, precision", [f"{spread:.0%}, {precision:.0%}" for spread, precision in asked])
    for name, noise in (NOISES | HARDER).items():
        found = [after_stopping(noise, spread, precision, times) for spread, precision in asked]
        yield _row(name, [f"{100 * one.coverage:.1f} {one.rounds:6.0f}" for one in found])


def _rules_table(times: int) -> Iterator[str]:
    yield f"Why not look sooner or more often: very skewed rounds, spread 20 %, precision 10 % ({times} each)"
    for first, growth in ((8, stopping.GROWTH), (stopping.LEAST_ROUNDS, 1.1), (stopping.LEAST_ROUNDS, stopping.GROWTH)):
        found = eager(HARDER["very skewed: exponential"], LOUD, 0.1, first, growth, times)
        yield _row(f"first after {first}, then x {growth}", [f"{100 * found.coverage:.1f} {found.rounds:6.0f}"])


def _equals_table(times: int) -> Iterator[str]:
    yield f"Of 100 pairs of equal things, how many are told apart (round spread 2 %, {times} each)"
    yield _row("rounds", ["8", "24", "150"])
    for name, noise in NOISES.items():
        yield _row(name, [f"{100 * told_apart(noise, rounds, times):.1f}" for rounds in (8, 24, 150)])


def _warm_up_table(times: int) -> Iterator[str]:
    yield f"Warm-ups: first look after {FLOOR_S} s, limit {LIMIT_S} s ({times} each)"
    yield _row("", ["at first look", "settled", "mean time", "still slower"])
    for name, calls in (WARM | COLD | ENDLESS).items():
        found = warm_ups(calls, times)
        at_once = sum(one.settled and one.looks == 1 for one in found) / times
        settled = sum(one.settled for one in found) / times
        seconds = float(np.mean([one.seconds for one in found]))
        left = float(np.median([one.still_cold for one in found]))
        yield _row(name, [f"{at_once:.0%}", f"{settled:.0%}", f"{seconds:.2f} s", f"{left:.1%}"])


def _row(name: str, cells: list[str]) -> str:
    return f"  {name:36}" + "".join(f"{cell:>14}" for cell in cells)


def main() -> None:
    """Print every table."""
    for table in (
        _coverage_table(500),
        _stopping_table(250),
        _rules_table(400),
        _equals_table(400),
        _warm_up_table(100),
    ):
        print(*table, sep="\n", end="\n\n", flush=True)


if __name__ == "__main__":
    main()
