"""What becomes of a promise when the load balancer deals requests out by weight instead of keeping one queue.

A balancer that sends each request to a machine at random, by its weight, splits a Poisson stream into independent ones:
each machine then has a queue of its own before its own replicas (M/G/n), and a request may wait on one machine while
another is idle. That is never better than one queue, and often far worse: by how much is simulated here.
"""

from collections.abc import Iterable

import numpy as np

from costopt.planning.simulation import CALLS, simulated
from costopt.scheduling.fleet_file import ModelAsked
from costopt.scheduling.forms import Form
from costopt.scheduling.layout import Layout, replicas

REQUESTS = 20_000
"""Simulated for each number of replicas on a machine: p99 leaves out 180, known to 8 % where they are independent."""


def response_by_weights_ms(form: Form, model: ModelAsked, groups: Layout) -> float | None:
    """The promised percentile of all requests at the busiest time, dealt out by weight; None without a promise."""
    if model.promise is None:
        return None
    rate_per_s = model.demand.peak_per_s / replicas(groups, form.model)
    calls_s = form.way.calls_s * (1 + form.band)
    shares: dict[int, int] = {}
    for group in groups:
        if held := group.of(form.model):
            shares[held] = shares.get(held, 0) + group.count * held
    batching = form.way.batching
    requests = REQUESTS if batching.size == 1 else max(REQUESTS, CALLS * batching.size)
    parts = (
        (simulated(calls_s, rate_per_s * held, held, requests, batching=batching).seconds, share)
        for held, share in shares.items()
    )
    return 1e3 * _quantile(parts, model.promise.share)


def _quantile(parts: Iterable[tuple[np.typing.NDArray[np.float64], float]], share: float) -> float:
    """The percentile of a mixture: each part's values count by the part's share of all requests."""
    values, weights = [], []
    for seconds, part in parts:
        values.append(seconds)
        weights.append(np.full(len(seconds), part / len(seconds)))
    together, weight = np.concatenate(values), np.concatenate(weights)
    order = np.argsort(together)
    reached = np.cumsum(weight[order]) >= share * weight.sum()
    return float(together[order][int(np.argmax(reached))])
