"""Fleets of growing size, from the fleet's records to its answer: `python -m tests.bench_fleet`.

Nothing passes or fails: how long it takes on one thread, how far the bill may lie above the least (the bound), and what
sharing machines saves. Models are made up: each was measured on three families, by 700 calls of lognormal length.
"""

import datetime
import time

import numpy as np

from costopt.planning.demand import constant
from costopt.planning.traffic_file import Promise
from costopt.pricing.book import Book
from costopt.pricing.offers import Offer
from costopt.scheduling.fleet_answer import packed
from costopt.scheduling.fleet_file import CallsSource, FleetAsked, ModelAsked

SIZES = (("large", 2), ("xlarge", 4), ("2xlarge", 8), ("4xlarge", 16))

TODAY = datetime.date(2026, 8, 1)


def book_of(families: int, seed: int = 0) -> Book:
    """Four sizes of each family, two GiB a vCPU, prices that grow with vCPUs."""
    chance = np.random.default_rng(seed)
    offers = [
        Offer(f"aws/c{family}i.{size}", "us-east-1", vcpus, 2.0 * vcpus, "", 0, price * vcpus, None, None,
              TODAY.isoformat(), "", "made up")
        for family, price in enumerate(chance.uniform(0.04, 0.06, families).tolist())
        for size, vcpus in SIZES
    ]  # fmt: skip
    return Book({one.key: one for one in offers})


def fleet_of(models: int, families: int, spare: int, seed: int = 0, limit_s: float = 20.0) -> FleetAsked:
    """Models of all speeds, sizes and traffics; in steps of a factor, so that some need one replica and some dozens."""
    chance = np.random.default_rng(seed)
    machines = tuple(sorted({instance for instance, _ in book_of(families).offers}))
    asked = tuple(_model(number, families, chance) for number in range(models))
    return FleetAsked(asked, machines, spare=spare, time_limit_s=limit_s)


def _model(number: int, families: int, chance: np.random.Generator) -> ModelAsked:
    mean_ms, cores = 10 ** chance.uniform(0, 2), int(chance.choice([1, 2, 4]))
    memory_bytes, load = int(10 ** chance.uniform(8, 9.5)), 10 ** chance.uniform(-1, 1.3)
    sources = tuple(
        CallsSource(
            tuple((mean_ms * chance.uniform(0.7, 1.4) * chance.lognormal(0, 0.1, 700)).tolist()),
            cores, memory_bytes, f"aws/c{family}i.xlarge", f"model {number}",
        )
        for family in sorted(chance.choice(families, min(3, families), replace=False).tolist())
    )  # fmt: skip
    rate = load / (mean_ms / 1e3)
    return ModelAsked(f"model{number:02}", sources, constant(rate / 2, 2.0), Promise(0.99, 5 * mean_ms))


def line(models: int, families: int, spare: int) -> str:
    """One size of fleet, in words."""
    began_s, worked_s = time.monotonic(), time.process_time()
    found = packed(fleet_of(models, families, spare), book_of(families), TODAY)
    took_s, cpu_s = time.monotonic() - began_s, time.process_time() - worked_s
    gap = 1 - found.bound_usd / found.usd if found.usd else 0.0
    return (
        f"fleet, {models} models x {4 * families} machine types, spare {spare}: {took_s:.1f} s ({cpu_s:.1f} s of one "
        f"core), {sum(group.count for group in found.groups)} machines, at most {gap:.1%} above the least cost, "
        f"{1 - found.usd / found.alone_usd:.0%} less than each alone{'' if found.in_time else ', stopped'}"
    )


def main() -> None:
    """Print a line for each size."""
    for models, families in ((5, 2), (20, 10), (50, 25)):
        for spare in (0, 1):
            print(line(models, families, spare), flush=True)


if __name__ == "__main__":
    main()
