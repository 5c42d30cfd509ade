"""The server scenario's child: requests arrive by the clock, and this process answers them as it can.

Arrivals, queue and loop are `queueing`'s; here they get a real clock and a real model. Instances are threads that share
one session: ONNX Runtime lets go of Python's lock while it computes, and several runs of a session may go on at once.
"""

import gc
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from costopt.benching.measurements import Batching
from costopt.errors import CandidateError
from costopt.journal import from_json, to_json
from costopt.measuring.queueing import Line, schedule, work
from costopt.measuring.session import FEED_BYTES, Arrays, Served, first_line, served
from costopt.sampling.samples import Samples
from costopt.worker import Answer, Request

SPIN_S = 0.2e-3
"""The last stretch of a wait is spent looking at the clock: sleep alone wakes up 50 to 100 us late on Linux
(timer slack, prctl(2) PR_SET_TIMERSLACK, and the scheduler)."""

HEAD_START_S = 0.01
"""Between the start of the clock and time 0, so that no thread starts late."""

CALLS = 20
"""Of each batch size, at most, when call times are taken."""


class RealClock:
    """Seconds since `HEAD_START_S` after this was made."""

    def __init__(self) -> None:
        self._zero = time.perf_counter() + HEAD_START_S

    def now(self) -> float:
        """Seconds since the beginning."""
        return time.perf_counter() - self._zero

    def wait_until(self, moment_s: float) -> None:
        """Sleep, then look at the clock until the moment has come."""
        nap_s = moment_s - self.now() - SPIN_S
        if nap_s > 0:
            time.sleep(nap_s)
        while self.now() < moment_s:
            time.sleep(0)  # lets another instance have Python's lock


class Feeder:
    """Inputs of any run of samples, cut without copying.

    The samples lie in one block that ends with its own beginning, so that a batch that runs over the end is whole.
    A model of fixed batch always gets that many.
    """

    def __init__(self, samples: Samples, most: int, fixed: int | None) -> None:
        self._fixed = fixed
        self._samples = _fitting(samples)
        rows = np.arange(self._samples + (fixed or most)) % self._samples
        self._block = {name: array[rows] for name, array in samples.rows(0, self._samples).items()}

    def feed(self, first: int, size: int) -> Arrays:
        """The inputs of requests `first` to `first + size`: request n is about sample n, round and round."""
        start = first % self._samples
        return {name: array[start : start + (self._fixed or size)] for name, array in self._block.items()}


def _fitting(samples: Samples) -> int:
    """How many samples fit into `FEED_BYTES`: at least one."""
    sample_bytes = sum(array.nbytes for array in samples.rows(0, 1).values())
    return max(1, min(samples.samples, FEED_BYTES // max(1, sample_bytes)))


def call_times(request: Request) -> Answer:
    """Take call times by batch size. Request: most (requests in a batch), bound_s, seconds (to spend on a size).

    Sizes double from 1 up to `most`, which is the last, and end early at one whose calls take longer than the bound.
    Answers times (pairs of size and seconds, raw), and fixed: the batch of a model that takes no other, or None.
    """
    one = served()
    fixed = None if all(_takes(one, size) for size in (1, 2)) else one.batch
    most = fixed or request["most"]
    feeder = Feeder(one.samples, most, fixed)
    times: list[tuple[int, list[float]]] = []
    for size in [fixed] if fixed else doubling(most):
        times.append((size, _times(one, feeder, size, request["seconds"])))
        if min(times[-1][1]) > request["bound_s"]:
            break
    return {"times": times, "fixed": fixed}


def _takes(one: Served, size: int) -> bool:
    try:
        _call(one, Feeder(one.samples, size, None), 0, size)
    except CandidateError:
        return False
    return True


def doubling(most: int) -> list[int]:
    """1, 2, 4 ... and `most`."""
    return [*(2**power for power in range(most.bit_length()) if 2**power < most), most]


def _times(one: Served, feeder: Feeder, size: int, seconds: float) -> list[float]:
    """Seconds of calls, after one that does not count: memory for a size is taken at its first call."""
    _call(one, feeder, 0, size)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while not taken or (len(taken) < CALLS and time.perf_counter() < end):
        begin = time.perf_counter()
        _call(one, feeder, len(taken) * size, size)
        taken.append(round(time.perf_counter() - begin, 9))
    return taken


def _call(one: Served, feeder: Feeder, first: int, size: int) -> None:
    try:
        one.run(feeder.feed(first, size))
    except Exception as problem:  # third-party call: kernels fail in ways nobody can list
        raise CandidateError("bench", f"the model does not run at batch {size}: {first_line(problem)}") from problem


def attempt(request: Request) -> Answer:
    """Serve one stretch of requests. Request: rate_per_s, requests, seed, bound_s, batching (JSON), instances, fixed.

    Answers attempt (JSON), and overslept_s: how late the loop woke up, at the 99th percentile of its waits. That is
    part of the latencies, but not the model's fault. Python's garbage collector rests meanwhile: its pauses are the
    harness's own.
    """
    batching = from_json(Batching, request["batching"])
    one, feeder = served(), Feeder(served().samples, batching.max_batch, request["fixed"])
    for size in doubling(batching.max_batch):
        _call(one, feeder, 0, size)  # caches and memory are warm, as in a server that has been up for a while
    arrivals_s = schedule(request["rate_per_s"], request["requests"], request["seed"])
    with _no_garbage_collection():
        line = Line(arrivals_s, batching, request["bound_s"], RealClock())
        _serve(line, lambda first, size: _call(one, feeder, first, size), request["instances"])
    overslept_s = float(np.quantile(line.overslept_s, 0.99)) if line.overslept_s else 0.0
    return {
        "attempt": to_json(line.attempt(request["rate_per_s"], request["instances"])),
        "overslept_s": overslept_s,
    }


def _serve(line: Line, call: Callable[[int, int], None], instances: int) -> None:
    """All instances until the line is done. When one fails, the others stop after their call."""

    def instance() -> None:
        try:
            work(line, call)
        except CandidateError:
            line.close()
            raise

    if instances == 1:
        return instance()
    with ThreadPoolExecutor(instances) as pool:
        for done in [pool.submit(instance) for _ in range(instances)]:
            done.result()


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
