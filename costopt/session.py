"""One model being served: the child's side of measuring. Every function here runs in a `worker.Child`.

The child opens one session on one provider, times calls over real inputs, scores them, and says what memory it took
and who did the work. Parent and child meet in `bench.py`.
"""

import itertools
import platform
import resource
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import psutil
from numpy.typing import NDArray

from costopt import plugins
from costopt.errors import CandidateError
from costopt.metrics import Metric
from costopt.providers import Provider
from costopt.records import Spec
from costopt.samples import Samples
from costopt.worker import Answer, Request

Arrays = dict[str, NDArray[np.generic]]

FEED_BYTES = 64 << 20
"""Inputs rotate, so that caches hold what they would in service; but only as many as fit into this."""

_LINUX = platform.system() == "Linux"
_QUIET = 3  # onnxruntime's severity "error": its warnings about optimised-away nodes help nobody here


@dataclass
class Served:
    """The open session of this process."""

    session: onnxruntime.InferenceSession
    samples: Samples
    batch: int
    feeds: Iterator[Arrays]
    empty_bytes: int


_served: list[Served] = []


def open_session(request: Request) -> Answer:
    """Load a model on a provider. Request: path, provider, threads, batch, samples (JSON).

    Answers load_s, and nodes: how many of the graph's nodes each provider took.
    """
    samples = Samples.from_json(request["samples"])
    feeds = itertools.cycle(_feeds(samples, request["batch"]))
    options, providers = _options(request["provider"], request["threads"])
    empty_bytes = _forget_peak()
    begin = time.perf_counter()
    session = _load(request["path"], options, providers)
    load_s = time.perf_counter() - begin
    _served[:] = [Served(session, samples, request["batch"], feeds, empty_bytes)]
    return {"load_s": load_s, "nodes": _placement(session)}


def _options(provider: str, threads: int) -> tuple[onnxruntime.SessionOptions, list[str]]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _QUIET
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options, plugins.make("providers", Spec(provider), Provider).attach(options)


def _load(path: str, options: onnxruntime.SessionOptions, providers: list[str]) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers or None)
    except Exception as problem:  # third-party call: a provider may refuse a graph in any way it likes
        raise CandidateError("bench", f"{Path(path).name} does not load: {first_line(problem)}") from problem


def first_line(problem: Exception) -> str:
    """What a library said, without its stack and its boilerplate."""
    text = str(problem).strip().splitlines() or [type(problem).__name__]
    return text[0].removeprefix("[ONNXRuntimeError] : ")[:300]


def _placement(session: onnxruntime.InferenceSession) -> dict[str, int]:
    """Nodes of the graph by the provider that took them, from ONNX Runtime's own record."""
    taken: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        taken[subgraph.ep_name] += len(subgraph.get_nodes())
    return dict(taken)


def _feeds(samples: Samples, batch: int) -> list[Arrays]:
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


def _run(served: Served, feed: Arrays) -> list[NDArray[np.generic]]:
    try:
        outputs: list[NDArray[np.generic]] = served.session.run(None, feed)
    except Exception as problem:  # third-party call: kernels fail in ways nobody can list
        raise CandidateError("bench", f"the model does not run: {first_line(problem)}") from problem
    return outputs


def warm_up(request: Request) -> Answer:
    """Call the model for `seconds`; answers call_s, the median of the second half."""
    taken = _calls(request["seconds"], 3)
    return {"call_s": float(np.median(taken[len(taken) // 2 :]))}


def time_calls(request: Request) -> Answer:
    """Time one call after another for `seconds` and at least `least` calls; answers seconds, raw and in order."""
    _calls(request["seconds"] * 0.1, 1)  # after a pause, caches and thread pool are cold: not what is measured
    return {"seconds": _calls(request["seconds"], request["least"])}


def _calls(seconds: float, least: int) -> list[float]:
    served = _served[0]
    run = served.session.run
    clock = time.perf_counter
    _run(served, next(served.feeds))  # a model that can't run says so here, outside the loop
    taken: list[float] = []
    end = clock() + seconds
    while len(taken) < least or clock() < end:
        feed = next(served.feeds)
        begin = clock()
        run(None, feed)
        taken.append(clock() - begin)
    return [round(second, 9) for second in taken]


def peak_memory(request: Request) -> Answer:  # noqa: ARG001 - every task takes a request
    """Answers bytes: the process's peak since just before the model was loaded, above what it held then."""
    return {"bytes": max(0, _peak_bytes() - _served[0].empty_bytes)}


def _forget_peak() -> int:
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
    """Score all samples. Request: metric, options, reference (Samples as JSON, or None for labels).

    Answers facts: one row a sample. Calls have the batch that is being judged, because a model with dynamic
    quantization takes its ranges over the whole batch.
    """
    served = _served[0]
    metric = plugins.make("metrics", Spec(request["metric"], request["options"]), Metric)
    reference = Samples.from_json(request["reference"]) if request["reference"] else None
    names = [output.name for output in served.session.get_outputs()]
    rows: list[list[float]] = []
    start = 0
    for feed in served.samples.batches(served.batch):
        count = len(next(iter(feed.values())))
        outputs = _outputs(served, names, feed, count)
        targets = reference.rows(start, start + count) if reference else served.samples.targets(start, start + count)
        rows.extend(metric.facts(outputs, targets).tolist())
        start += count
    return {"facts": rows}


def _outputs(served: Served, names: list[str], feed: Arrays, count: int) -> Arrays:
    """Outputs of `count` samples, in the batch that is served; a short last batch is filled up and cut again."""
    whole = {name: _filled(array, served.batch) for name, array in feed.items()}
    outputs = {name: array[:count] for name, array in zip(names, _run(served, whole), strict=True)}
    for name, array in outputs.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CandidateError("score", f"output '{name}' holds NaN or infinity: the numbers broke on the way")
    return outputs
