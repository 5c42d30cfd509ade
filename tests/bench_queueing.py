"""The server scenario against queueing theory, in virtual time: `python -m tests.bench_queueing`.

Nothing passes or fails:

- waiting times of the serving loop beside Pollaczek and Khinchine's (M/D/1) and Erlang's (M/M/k);
- the highest rate that the search finds, beside the true one;
- how often a rate just on its limit is called one that holds, or one that does not, with all the looks of a search.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from costopt.benching.measurements import Attempt, Batching, Served
from costopt.measuring.queueing import schedule, simulate
from costopt.measuring.rates import answer, decide, judge, search
from tests import queueing_theory as theory

REQUESTS = 150_000
RUNS = 60


def waiting_times() -> Iterator[str]:
    """The loop itself, one call a request."""
    for load in (0.3, 0.6, 0.8, 0.9):
        attempt = simulate(load, schedule(load, REQUESTS, 2), Batching(), math.inf, lambda _: 1.0)
        yield _waits(f"M/D/1, load {load}", attempt, theory.mean_wait(load, 0.0))
    for load, servers in ((0.6, 1), (0.8, 1), (0.7, 3)):
        call_s, rate = _exponential_calls(), load * servers
        attempt = simulate(rate, schedule(rate, REQUESTS, 1), Batching(), math.inf, call_s, servers)
        yield _waits(f"M/M/{servers}, load {load}", attempt, theory.mean_wait_of_many(load, servers))


def _exponential_calls() -> Callable[[int], float]:
    calls_s = iter(np.random.default_rng(5).standard_exponential(REQUESTS).tolist())
    return lambda _: next(calls_s)


def _waits(what: str, attempt: Attempt, expected: float) -> str:
    seen = (sum(attempt.latencies_s) - attempt.busy_s) / len(attempt.latencies_s)
    return f"mean wait, {what}: theory {expected:.4f}, loop {seen:.4f} service times ({seen / expected - 1:+.1%})"


def highest_rates() -> Iterator[str]:
    """The search, on servers computed by Lindley's recursion."""
    for what, calls, p99, bound in (
        ("M/D/1", theory.always_one, theory.p99_md1, 6.0),
        ("M/D/1", theory.always_one, theory.p99_md1, 10.0),
        ("M/M/1", theory.exponential, theory.p99_mm1, 20.0),
    ):
        truth = theory.highest_load(p99, bound)
        found = answer(Served(1e3 * bound, _searched(calls, 1.3 * truth, bound)))
        assert found.holds is not None
        assert found.fails is not None
        holds, fails = found.holds.rate_per_s, found.fails.rate_per_s
        yield (
            f"highest rate, {what}, p99 within {bound:g} service times: theory {truth:.4f}; "
            f"holds {holds:.4f} ({holds / truth - 1:+.1%}), does not hold {fails:.4f} ({fails / truth - 1:+.1%})"
        )


def _searched(calls: theory.CallTimes, guess: float, bound: float) -> tuple[Attempt, ...]:
    left_s = 3e6

    def attempt_at(rate_per_s: float, requests: int, stretch: int) -> Attempt:
        nonlocal left_s
        left_s -= requests / rate_per_s
        return theory.served(rate_per_s, calls, requests, stretch)

    return search(attempt_at, guess, 1e3 * bound, lambda: left_s)


def verdicts_on_the_limit() -> Iterator[str]:
    """Where every verdict but "undecided" is wrong one way or the other."""
    for what, calls, p99, load in (
        ("M/D/1", theory.always_one, theory.p99_md1, 0.3),
        ("M/D/1", theory.always_one, theory.p99_md1, 0.8),
        ("M/M/1", theory.exponential, theory.p99_mm1, 0.3),
        ("M/M/1", theory.exponential, theory.p99_mm1, 0.8),
    ):
        verdicts = [_verdict(calls, p99, load, run) for run in range(RUNS)]
        yield (
            f"on the limit, {what}, load {load}: holds {verdicts.count(True)}, does not hold {verdicts.count(False)}, "
            f"undecided {verdicts.count(None)} of {RUNS}"
        )


def _verdict(calls: theory.CallTimes, p99: Callable[[float], float], load: float, run: int) -> bool | None:
    bound_ms = 1e3 * p99(load)
    stretches = decide(
        lambda rate, requests, stretch: theory.served(rate, calls, requests, 10 * run + stretch),
        load,
        bound_ms,
        lambda: 6e4,
    )
    return judge(stretches, bound_ms).holds


def main() -> None:
    """Print the three tables."""
    for table in (waiting_times, highest_rates, verdicts_on_the_limit):
        for line in table():
            print(line, flush=True)


if __name__ == "__main__":
    main()
