"""How fast is a candidate, against the baseline? The parent's side of measuring.

Candidate and baseline are served by two processes that take turns in rounds: first one, then the other, in an order
that chance decides. What slows the machine for a second then slows both, and cancels in their ratio. Whoever waits is
frozen, because an idle thread pool that spins would take time from whoever is measured (two live sessions that took
turns in one process: 59 ms instead of 29 ms a call, measured 2026-11 on a 2-core Xeon).
"""

import math
import random
from dataclasses import dataclass

from costopt import session, stats
from costopt.records import Candidate, Round
from costopt.samples import Samples
from costopt.worker import Child

ROUNDS = 16
"""Rounds per candidate: each gives one paired ratio, and the interval comes from their spread."""

ROUND_S = 0.1
"""How long one side is timed in a round, unless its calls are so slow that the percentiles need more."""

CEILING_S = 12.0
"""What one side may take over all rounds: past that, calls are fewer, and what percentiles they carry too."""

WARM_UP_S = 0.4
OPEN_LIMIT_S = 120.0
WARM_UP_LIMIT_S = 600.0
"""Four calls must fit into it, so a model whose calls take over two minutes counts as hung."""

SLACK_S = 60.0
"""A child that is this much later than its work should take has hung."""


@dataclass(frozen=True)
class Service:
    """A model that is served by a child, and how long one of its calls takes."""

    child: Child
    call_s: float
    load_s: float
    nodes: dict[str, int]


def serve(child: Child, path: str, candidate: Candidate, samples: Samples) -> Service:
    """Open a model in a child and warm it up; it is left frozen. Raises CandidateError."""
    opened = child.ask(
        session.open_session,
        {
            "path": path,
            "provider": candidate.provider,
            "threads": candidate.threads,
            "batch": candidate.batch,
            "samples": samples.to_json(),
        },
        OPEN_LIMIT_S,
    )
    warm = child.ask(session.warm_up, {"seconds": WARM_UP_S}, WARM_UP_LIMIT_S)
    child.pause()
    return Service(child, warm["call_s"], opened["load_s"], opened["nodes"])


def turn_s(call_s: float) -> float:
    """How long one turn of a round takes, for a candidate whose calls take `call_s`.

    Long enough that all rounds together carry a p99 where calls are fast, a p95 where they are slower; never over the
    ceiling.
    """
    most = CEILING_S / ROUNDS
    for percentile, share in ((0.99, 0.5), (0.95, 1.0)):
        wanted = math.ceil(stats.queries_needed(percentile) / ROUNDS) * call_s
        if wanted <= most * share:
            return max(ROUND_S, wanted)
    return most


def rounds(candidate: Service, baseline: Service, seed: int) -> tuple[Round, ...]:
    """Let the two take turns. Raises CandidateError when one crashes or hangs."""
    order = random.Random(seed)
    seconds = turn_s(candidate.call_s)
    return tuple(_round(candidate, baseline, seconds, order.random() < 0.5) for _ in range(ROUNDS))


def _round(candidate: Service, baseline: Service, seconds: float, candidate_first: bool) -> Round:
    if candidate_first:
        own = _turn(candidate, seconds)
        return Round(own, _turn(baseline, seconds))
    other = _turn(baseline, seconds)
    return Round(_turn(candidate, seconds), other)


def _turn(service: Service, seconds: float) -> tuple[float, ...]:
    limit_s = SLACK_S + 3 * (seconds + service.call_s)
    answer = service.child.ask(session.time_calls, {"seconds": seconds, "least": 1}, limit_s)
    service.child.pause()
    return tuple(answer["seconds"])
