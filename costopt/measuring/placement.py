"""Who did the work? A provider that was asked for may leave nodes, or all of them, to another, and nothing says so.

Two witnesses, both ONNX Runtime's own:

- the *record* of how the graph was dealt out (`assigned`): nodes by provider, known as soon as the session is open;
- the *profile* of real calls (`profile`): when each node's kernel was called, by which provider, and for how long.

A count of nodes flatters: one convolution left to the CPU can outweigh fifty nodes that were taken, and shape
arithmetic that ONNX Runtime keeps on the CPU on purpose costs nothing. So time decides where it is known (`unproven`).

A GPU's kernels are only queued by their nodes; what they take shows in the wait at the end of the call, after the last
node. That wait is counted for the provider that was asked for. Two queueing providers in one session (CUDA behind
TensorRT) can't be told apart so: then nodes decide. A node that copies a tensor to or from the device counts for the
device's provider.
"""

import itertools
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from costopt import plugins, units
from costopt.errors import CandidateError
from costopt.measuring import session_options
from costopt.providers import CPU, Provider, opened, recorded
from costopt.records import Setting
from costopt.timings import Placement

Arrays = dict[str, NDArray[np.generic]]
Event = Mapping[str, Any]
"""One event of ONNX Runtime's profile, in Chrome's trace format: cat, name, ts and dur in microseconds, args."""

PROVEN_SHARE = 0.9
"""The provider that was asked for must have done this share of the work."""

WARM_CALLS = 2
"""Calls before the ones that are read: the first compile kernels and fill caches."""

PROFILED_CALLS = 8
PROFILE_LIMIT_S = 10.0
"""Slow models are profiled over fewer calls, at least one."""

NAMED_NODES = 5
"""Nodes that a report names; the others it counts."""

_RECORD_IS_WHOLE = (1, 31)
"""Seen 2026-11-22: the record of 1.27.0 lacks nodes of WebGPU, which rewrites their layout; that of 1.31.1 has them."""

_CALL = "model_run"
_EXECUTION = "Executor::Execute"  # SequentialExecutor's or ParallelExecutor's; a subgraph's lies inside its graph's
_KERNEL = "_kernel_time"


def assigned(session: onnxruntime.InferenceSession) -> dict[str, int]:
    """Nodes of the graph by the provider that took them; empty where ONNX Runtime's record may lack some."""
    release = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    return recorded(session) if release >= _RECORD_IS_WHOLE else {}


# ---------------------------------------------------------------------------------------- by time


def profile(path: str, setting: Setting, feeds: Iterator[Arrays]) -> Placement:
    """Who did the work of real calls, by nodes and by time: in a second session, because profiling slows a model.

    Run it in a child process: the session stays until Python drops it. Nothing is left on the disk.
    Raises CandidateError when the model can't be opened or run.
    """
    provider = plugins.make("providers", setting.provider, Provider)
    with tempfile.TemporaryDirectory(prefix="costopt-profile-") as folder:
        options = session_options.make(setting)
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        nodes, trace = _profiled(path, options, provider, feeds)
        events = json.loads(Path(trace).read_text(encoding="utf-8"))
    return read(events, nodes, provider.runtime_name, provider.asynchronous)


def _profiled(
    path: str, options: onnxruntime.SessionOptions, provider: Provider, feeds: Iterator[Arrays]
) -> tuple[dict[str, int], str]:
    """The record of a session, and the file of its profile after some calls."""
    try:
        session = opened(path, options, provider)
        _call(session, feeds)
        return recorded(session), session.end_profiling()
    except CandidateError:
        raise
    except Exception as problem:  # third-party call: a provider may refuse a graph, or fail in it, in any way it likes
        said = (str(problem).strip() or type(problem).__name__).splitlines()[0][:300]
        raise CandidateError("bench", f"{Path(path).name} can't be profiled: {said}") from problem


def _call(session: onnxruntime.InferenceSession, feeds: Iterator[Arrays]) -> None:
    end = time.monotonic() + PROFILE_LIMIT_S
    for number, feed in enumerate(itertools.islice(feeds, WARM_CALLS + PROFILED_CALLS)):
        if number > WARM_CALLS and time.monotonic() > end:
            return
        session.run(None, feed)


@dataclass(frozen=True)
class _Kernel:
    """One call of one node's kernel. Times in microseconds; `own` leaves out the kernels of a subgraph inside it."""

    node: str
    operator: str
    provider: str
    own: float


def read(events: Iterable[Event], nodes: Mapping[str, int], asked: str, asynchronous: bool) -> Placement:
    """What a profile says, beside the record's `nodes`. `asked` is the runtime name of the provider asked for.

    The record counts each node that a provider fused, the profile only the whole; the profile has nodes that the
    record of some releases lacks. Neither counts too many, so the larger is taken.
    """
    session, kernels = _after_warm_up(list(events))
    distinct = Counter(provider for provider, _, _ in {(one.provider, one.node, one.operator) for one in kernels})
    counted = {name: max(nodes.get(name, 0), distinct[name]) for name in {*nodes, *distinct}}
    seconds = _seconds(session, kernels, asked, asynchronous)
    return Placement(counted, seconds, _fallen_back(kernels, asked, sum(seconds.values())), _by_operator(kernels))


def _by_operator(kernels: Iterable[_Kernel]) -> dict[str, float]:
    micros: defaultdict[str, float] = defaultdict(float)
    for one in kernels:
        micros[one.operator] += one.own
    return {name: 1e-6 * value for name, value in micros.items()}


def _after_warm_up(events: Sequence[Event]) -> tuple[list[Event], list[_Kernel]]:
    """The session's own events and the kernels of the calls that count."""
    session = [event for event in events if event["cat"] == "Session"]
    starts = sorted(event["ts"] for event in session if event["name"] == _CALL)
    begin = starts[min(WARM_CALLS, len(starts) - 1)] if starts else 0
    nodes = [event for event in events if event["cat"] == "Node" and event["name"].endswith(_KERNEL)]
    kept = (event for event in nodes if event["ts"] >= begin)
    return [event for event in session if event["ts"] >= begin], list(_kernels(kept))


def _kernels(events: Iterable[Event]) -> Iterator[_Kernel]:
    """Kernels with the time that was their own: a Loop's event spans those of its body, on the same thread."""
    inside: defaultdict[int, float] = defaultdict(float)
    ordered = sorted(events, key=_outer_first)
    for number, outer in enumerate(_surroundings(ordered)):
        if outer is not None:
            inside[outer] += ordered[number]["dur"]
    for number, event in enumerate(ordered):
        words, own = event["args"], max(0.0, event["dur"] - inside[number])
        yield _Kernel(event["name"].removesuffix(_KERNEL), words["op_name"], words["provider"], own)


def _outer_first(event: Event) -> tuple[int, int, int]:
    return event["tid"], event["ts"], -event["dur"]


def _surroundings(ordered: Sequence[Event]) -> Iterator[int | None]:
    """For each event the number of the one that it lies in, on the same thread; None for the outermost."""
    around: list[int] = []
    for number, event in enumerate(ordered):
        while around and not _holds(ordered[around[-1]], event):
            around.pop()
        yield around[-1] if around else None
        around.append(number)


def _holds(outer: Event, inner: Event) -> bool:
    outer_end, inner_end = outer["ts"] + outer["dur"], inner["ts"] + inner["dur"]
    return bool(outer["tid"] == inner["tid"] and outer["ts"] <= inner["ts"] and inner_end <= outer_end)


def _seconds(session: Iterable[Event], kernels: Iterable[_Kernel], asked: str, asynchronous: bool) -> dict[str, float]:
    """Time by provider; empty when it can't be told, or when it was too short to be seen."""
    micros: defaultdict[str, float] = defaultdict(float)
    for one in kernels:
        micros[one.provider] += one.own
    if asynchronous and asked in micros:
        if set(micros) - {asked, CPU}:
            return {}
        micros[asked] += _waiting(session)
    return {name: 1e-6 * value for name, value in micros.items()} if any(micros.values()) else {}


def _waiting(session: Iterable[Event]) -> float:
    """Microseconds of calls that lie outside the execution of their nodes: waiting for the device."""
    ordered = sorted(session, key=_outer_first)
    calls = [event["dur"] for event in ordered if event["name"] == _CALL]
    executions = [event for event in ordered if event["name"].endswith(_EXECUTION)]
    outermost = [one["dur"] for one, outer in zip(executions, _surroundings(executions), strict=True) if outer is None]
    return float(max(0, sum(calls) - sum(outermost)))


def _fallen_back(kernels: Iterable[_Kernel], asked: str, total_s: float) -> tuple[str, ...]:
    """Names of nodes that others took, the slowest first, with their share of the time where that is known."""
    own: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    for one in kernels:
        if one.provider != asked:
            own[one.operator, one.node, one.provider] += one.own
    slowest_first = sorted(own.items(), key=lambda item: -item[1])
    named = [
        f"{operator} {node} ({provider}{f', {units.percent(1e-6 * micros / total_s)} of the time' if total_s else ''})"
        for (operator, node, provider), micros in slowest_first[:NAMED_NODES]
    ]
    return (*named, f"and {len(own) - len(named)} more") if len(own) > len(named) else tuple(named)


# ---------------------------------------------------------------------------------------- the verdict


def unproven(placement: Placement, runtime_name: str) -> tuple[str, str] | None:
    """Why a figure would be somebody else's, and what to do; None when the provider did the work that it was asked for.

    By time where it is known, else by nodes. Nothing is said of a session whose record is empty.
    """
    by_time = any(placement.seconds.values())
    work = placement.seconds if by_time else placement.nodes
    if not any(work.values()):
        return None
    share = work.get(runtime_name, 0) / sum(work.values())
    if share >= PROVEN_SHARE:
        return None
    did = f"only {units.percent(share)}" if share else "none"
    others = "; ".join(placement.fallen_back) or ", ".join(name for name in sorted(work) if name != runtime_name)
    return (
        f"{runtime_name} did {did} of the work, by {'time' if by_time else 'nodes'}; others did: {others}",
        "leave this provider out, or give it a model whose operators and shapes it takes (some take fixed shapes only)",
    )
