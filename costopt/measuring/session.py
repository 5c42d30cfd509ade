"""One model being served: the child's side of measuring. Every function here runs in a `worker.Child`.

The child opens one session on one provider, times calls over real inputs, scores them, and says what memory it took
and who did the work. Parent and child meet in `bench.py`.
"""

import functools
import itertools
import os
import platform
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
from numpy.typing import NDArray

from costopt import plugins
from costopt.errors import CandidateError
from costopt.journal import from_json
from costopt.measuring import placement, session_options, throughput, warmup
from costopt.metrics import Metric
from costopt.providers import Provider, opened
from costopt.records import Setting, Spec
from costopt.sampling.samples import Samples
from costopt.worker import Answer, Request

Arrays = dict[str, NDArray[np.generic]]
Run = Callable[[Arrays], list[NDArray[np.generic]]]

FEED_BYTES = 64 << 20
"""Inputs rotate, so that caches hold what they would in service; but only as many as fit into this."""

REWARM_SHARE = 0.1
"""Of a turn, before it: after a pause, caches and thread pool are cold, which is not what is measured."""

LEAST_WARM_UP_CALLS = 8
"""Before calls count as still changing: the test needs four that last two seconds together, and some to compare."""

_LINUX = platform.system() == "Linux"


@dataclass
class Served:
    """The model that this process serves. `run` takes one feed of `batch` samples and gives the outputs in order."""

    run: Run
    outputs: tuple[str, ...]
    samples: Samples
    batch: int
    feeds: Iterator[Arrays]
    empty_bytes: int


_served: list[Served] = []


def served() -> Served:
    """The model that this process serves; `open_session` (or its like for another engine) comes first."""
    return _served[0]


def serve(one: Served) -> None:
    """Make a model the one that this process serves."""
    _served[:] = [one]


def open_session(request: Request) -> Answer:
    """Load a model on a provider. Request: path, setting and samples (JSON), cpus (to be bound to; empty: all).

    Answers load_s, first_call_s, and nodes: how many of the graph's nodes each provider took.
    """
    setting, samples = from_json(Setting, request["setting"]), Samples.from_json(request["samples"])
    pin(request["cpus"])
    feeds = itertools.cycle(feeds_of(samples, setting.batch))
    empty_bytes = forget_peak()
    begin = time.perf_counter()
    session = _open(request["path"], setting)
    load_s = time.perf_counter() - begin
    names = tuple(output.name for output in session.get_outputs())
    serve(Served(functools.partial(session.run, None), names, samples, setting.batch, feeds, empty_bytes))
    return {"load_s": load_s, "first_call_s": _first_call_s(), "nodes": placement.assigned(session)}


def pin(cpus: list[int]) -> None:
    """Bind this process, and the threads that it will start, to some CPUs; none leaves it as it is."""
    if cpus:
        os.sched_setaffinity(0, cpus)


def _open(path: str, setting: Setting) -> onnxruntime.InferenceSession:
    """A session on the provider asked for. Raises CandidateError when it refuses the model, or can't be had."""
    options = session_options.make(setting)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        return opened(path, options, plugins.make("providers", setting.provider, Provider))
    except CandidateError:
        raise
    except Exception as problem:  # third-party call: a provider may refuse a graph in any way it likes
        raise CandidateError("bench", f"{Path(path).name} does not load: {first_line(problem)}") from problem


def first_line(problem: Exception) -> str:
    """What a library said, without its stack and its boilerplate."""
    text = str(problem).strip().splitlines() or [type(problem).__name__]
    return text[0].removeprefix("[ONNXRuntimeError] : ")[:300]


def _first_call_s() -> float:
    """Seconds of the first inference: what a cold start pays on top of loading."""
    begin = time.perf_counter()
    _run(served(), next(served().feeds))
    return time.perf_counter() - begin


def feeds_of(samples: Samples, batch: int) -> list[Arrays]:
    """Real inputs in whole batches; a set smaller than a batch is repeated until it fills one."""
    feeds: list[Arrays] = []
    size = 0
    for one in samples.batches(batch):
        feeds.append({name: _filled(array, batch) for name, array in one.items()})
        size += sum(array.nbytes for array in feeds[-1].values())
        if size > FEED_BYTES:
            break
    return feeds


def _filled(array: NDArray[np.generic], batch: int) -> NDArray[np.generic]:
    return np.ascontiguousarray(array[np.arange(batch) % len(array)])


def _run(one: Served, feed: Arrays) -> list[NDArray[np.generic]]:
    try:
        return one.run(feed)
    except Exception as problem:  # third-party call: kernels fail in ways nobody can list
        raise CandidateError("bench", f"the model does not run: {first_line(problem)}") from problem


def warm_up(request: Request) -> Answer:
    """Call the model until its calls take as long as they did before. Request: least_s and most_s.

    Answers call_s (the median since it settled), calls, seconds, and settled: False when most_s came first, which where
    calls are slow is the time of `LEAST_WARM_UP_CALLS`.
    """
    taken: list[float] = []
    begin, step_s = time.perf_counter(), request["least_s"]
    while True:
        taken.extend(_calls(step_s, 1))
        start = warmup.settled(taken)
        spent = time.perf_counter() - begin
        if start is not None or spent > max(request["most_s"], LEAST_WARM_UP_CALLS * float(np.median(taken))):
            break
        step_s = spent / 4  # a look at the calls costs little, but not nothing
    since = len(taken) // 2 if start is None else start
    return {
        "call_s": float(np.median(taken[since:])),
        "calls": len(taken),
        "seconds": spent,
        "settled": start is not None,
    }


def time_calls(request: Request) -> Answer:
    """Time one query after another. Request: seconds, least (queries), and calls in a query (1 if left out).

    Answers seconds, raw and in order, and warm: how many calls before that brought caches and thread pool back.
    """
    warm = _calls(request["seconds"] * REWARM_SHARE, 1)
    return {"seconds": _calls(request["seconds"], request["least"], request.get("calls", 1)), "warm": len(warm)}


def _calls(seconds: float, least: int, calls: int = 1) -> list[float]:
    """Seconds of each query for `seconds`, at least `least` of them; a query is `calls` calls in a row."""
    one = served()
    run, feeds, clock = one.run, one.feeds, time.perf_counter
    taken: list[float] = []
    end = clock() + seconds
    try:
        while len(taken) < least or clock() < end:
            query = [next(feeds) for _ in range(calls)]
            begin = clock()
            for feed in query:
                run(feed)
            taken.append(clock() - begin)
    except Exception as problem:  # third-party calls: kernels fail in ways nobody can list
        raise CandidateError("bench", f"the model does not run: {first_line(problem)}") from problem
    return [round(second, 9) for second in taken]


def change_batch(request: Request) -> Answer:
    """Serve calls of another batch from now on, and make the first. Request: batch. Answers first_call_s."""
    one, batch = served(), request["batch"]
    one.batch, one.feeds = batch, itertools.cycle(feeds_of(one.samples, batch))
    return {"first_call_s": _first_call_s()}


def count_samples(request: Request) -> Answer:
    """Call without a pause until the last of some windows in a row is over. Request: start_s, window_s, windows.

    `start_s` is a moment of `time.monotonic`, the one clock that all processes of a machine share. Answers samples: how
    many were finished in each window; and late: whether the first call began after the start.
    """
    one, clock = served(), time.monotonic
    start_s, window_s, windows = request["start_s"], request["window_s"], request["windows"]
    stop_s = start_s + window_s * windows
    ends_s = [clock()]
    while ends_s[-1] < stop_s:
        _run(one, next(one.feeds))
        ends_s.append(clock())
    samples = throughput.in_windows(ends_s, one.batch, start_s, window_s, windows)
    return {"samples": samples, "late": ends_s[0] > start_s}


def peak_memory(request: Request) -> Answer:  # noqa: ARG001 - every task takes a request
    """Answers bytes: the process's peak since just before the model was loaded, above what it held then.

    And process_bytes: the peak itself.
    """
    peak = _peak_bytes()
    return {"bytes": max(0, peak - served().empty_bytes), "process_bytes": peak}


def forget_peak() -> int:
    """Start the record of peak memory afresh where the system can; the memory held now, in bytes."""
    if _LINUX:
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
    return int(psutil.Process().memory_info().rss)


def _peak_bytes() -> int:
    if _LINUX:
        # Not getrusage: its ru_maxrss is inherited through fork and exec, so it would be the parent's.
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def score(request: Request) -> Answer:
    """Score samples. Request: metric, options, reference (Samples as JSON, or None for labels), places.

    Answers facts: one row for each sample at `places` (None: for all). Calls have the batch that is being judged,
    because a model with dynamic quantization takes its ranges over the whole batch.
    """
    one = served()
    metric = plugins.make("metrics", Spec(request["metric"], request["options"]), Metric)
    reference = Samples.from_json(request["reference"]) if request["reference"] else None
    rows: list[list[float]] = []
    places = range(one.samples.samples) if request["places"] is None else request["places"]
    for start in range(0, len(places), one.batch):
        chosen = places[start : start + one.batch]
        outputs = _outputs(one, one.samples.at(chosen), len(chosen))
        targets = reference.at(chosen) if reference else one.samples.targets_at(chosen)
        rows.extend(metric.facts(outputs, targets).tolist())
    return {"facts": rows}


def _outputs(one: Served, feed: Arrays, count: int) -> Arrays:
    """Outputs of `count` samples, in the batch that is served; a short last batch is filled up and cut again."""
    whole = {name: _filled(array, one.batch) for name, array in feed.items()}
    outputs = {name: array[:count] for name, array in zip(one.outputs, _run(one, whole), strict=True)}
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CandidateError("score", f"output '{name}' holds NaN or infinity: the numbers broke on the way")
    return outputs
