"""costopt's own speed claims, as ratios in one run: `python -m tests.bench` (`make bench`). Nothing passes or fails.

- `costopt --help` against a bare Typer program with as many commands' worth of options;
- `costopt choose` on a run of 20 candidates x 4,000 samples, beside bare Python's start;
- the harness's p50 against a bare `session.run` loop over the same feed, for models from 50 us to 100 ms a call;
  (onnxruntime_perf_test, ONNX Runtime's own stopwatch, is built from its sources only: no package carries it);
- the same model under two names: how often costopt tells them apart (a 95 % interval may, one time in twenty);
- intervals on simulated samples of known ratio: how often they hold it (`bench_statistics`);
- the server scenario against queueing theory, in virtual time (`bench_queueing`);
- how well a calibration foretells models that it never saw (`bench_projection`);
- how small two LeNets can be stored, and what that costs in accuracy (`bench_storage`);
- how long a fleet of many models takes to pack, and how far off the least cost it may be (`bench_fleet`).
"""

import argparse
import datetime
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from costopt import stats
from costopt.journal import Journal
from costopt.measuring import bench, session
from costopt.records import InputSpec, Setting, Spec, Timing
from costopt.sampling.samples import Samples, match, open_source
from costopt.worker import Child
from tests import (
    bench_compression,
    bench_fleet,
    bench_projection,
    bench_queueing,
    bench_statistics,
    bench_storage,
    factories,
)

EXAMPLE = Path(__file__).parent.parent / "configs" / "fashion-mnist"

BARE_TYPER = """
import typer
app = typer.Typer(add_completion=False)
for name in "abcdefg":
    @app.command(name)
    def command(model: str, config: str = typer.Option("", help="A file."), quiet: bool = False) -> None: ...
app()
"""

BARE_LOOP = """
import json, sys, time
import numpy, onnxruntime
model, inputs, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
whole = dict(numpy.load(inputs))
feeds = [{name: array[i:i + 1] for name, array in whole.items()} for i in range(len(next(iter(whole.values()))))]
for line in sys.stdin:
    taken, number = [], 0
    session.run(None, feeds[0])
    end = time.perf_counter() + float(line)
    while not taken or time.perf_counter() < end:
        feed = feeds[number % len(feeds)]
        number += 1
        begin = time.perf_counter()
        session.run(None, feed)
        taken.append(time.perf_counter() - begin)
    print(json.dumps(sorted(taken)[len(taken) // 2]), flush=True)
"""


def wall_s(command: Sequence[str]) -> float:
    """Seconds that a whole process takes."""
    begin = time.perf_counter()
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def in_turns(first: Callable[[], float], second: Callable[[], float], pairs: int) -> tuple[float, float, list[float]]:
    """Medians of both, and the ratio first / second pair by pair, after one warm-up of each."""
    first(), second()
    taken = [(first(), second()) for _ in range(pairs)]
    ratios = sorted(one / other for one, other in taken)
    return statistics.median(one for one, _ in taken), statistics.median(other for _, other in taken), ratios


def ratio_line(what: str, first: float, second: float, ratios: list[float], unit: str = "s") -> str:
    """One result: medians, the median ratio and its range."""
    return (
        f"{what}: {first:.4g} {unit} against {second:.4g} {unit}, ratio {statistics.median(ratios):.3f} "
        f"(range {ratios[0]:.3f} to {ratios[-1]:.3f}, {len(ratios)} pairs)"
    )


def help_against_bare_typer(pairs: int) -> str:
    """The start of the command line."""
    ours = [sys.executable, "-m", "costopt", "--help"]
    bare = [sys.executable, "-c", BARE_TYPER, "--help"]
    return ratio_line(
        "costopt --help / bare Typer --help", *in_turns(lambda: wall_s(ours), lambda: wall_s(bare), pairs)
    )


def choose_on_twenty(folder: Path, pairs: int) -> str:
    """Judging stored facts again."""
    journal = Journal(folder / "twenty")
    journal.artifacts.mkdir(parents=True)
    outcomes = factories.twenty()
    journal.write_run(factories.run(outcomes))
    budget = folder / "budget.yaml"
    budget.write_text(
        "data: {evaluation: evaluation.npz}\nbudget: {accuracy_drop: 0.01}\nmachine: {usd_per_hour: 0.09}\n"
    )
    np.savez(folder / "evaluation.npz", image=np.zeros((2, 1), np.float32))
    from costopt.plan import read

    journal.write_plan(read(budget))
    for outcome in outcomes:
        journal.append(outcome)
    ours = [sys.executable, "-m", "costopt", "choose", str(journal.folder), "--config", str(budget)]
    bare = [sys.executable, "-c", "pass"]
    return ratio_line(
        "costopt choose (20 candidates) / bare Python", *in_turns(lambda: wall_s(ours), lambda: wall_s(bare), pairs)
    )


def prepared(folder: Path) -> tuple[Path, Samples]:
    """The shipped example's model as ONNX, and some of its inputs."""
    import torch

    model = folder / "model.onnx"
    torch.onnx.export(torch.export.load(EXAMPLE / "model.pt2"), dynamo=True, verbose=False).save(str(model))  # type: ignore[union-attr]
    with np.load(EXAMPLE / "evaluation.npz") as whole:
        np.savez(folder / "model.npz", image=whole["image"][:256])
    arrays = open_source(str(folder / "model.npz"), folder / "scratch")
    return model, match(arrays, (InputSpec("image", ("batch", 1, 28, 28), "float32"),), "evaluation")


def product_chain(width: int, folder: Path) -> tuple[Path, Samples]:
    """A model of eight matrix products of `width` x `width` on 64 rows: a knob for the length of a call."""
    weights = [
        helper.make_tensor(f"w{i}", TensorProto.FLOAT, (width, width), _weights(width, i), raw=True) for i in range(8)
    ]
    nodes = [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"x{i + 1}"]) for i in range(8)]
    shape = ("batch", 64, width)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x0", "x8")]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights)
    model = folder / f"chain{width}.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), model)
    inputs = np.random.default_rng(0).standard_normal((8, 64, width)).astype(np.float32)
    np.savez(model.with_suffix(".npz"), x0=inputs)
    arrays = open_source(str(model.with_suffix(".npz")), folder / "scratch")
    return model, match(arrays, (InputSpec("x0", shape, "float32"),), "input")


def _weights(width: int, seed: int) -> bytes:
    values = np.random.default_rng(seed).standard_normal((width, width)) / math.sqrt(width)
    return values.astype(np.float32).tobytes()


def harness_against_bare_loop(
    what: str, model: Path, samples: Samples, folder: Path, processes: int, seconds: float
) -> str:
    """What the harness adds to a call: several pairs of processes, for a process keeps part of its speed for life."""
    taken = [_harness_and_bare(model, samples, folder, seconds) for _ in range(processes)]
    logs = [math.log(ours / bare) for ours, bare in taken]
    mean, error = statistics.mean(logs), statistics.stdev(logs) / math.sqrt(processes)
    return (
        f"harness p50 / bare session.run p50, {what}: {1e3 * statistics.median(one for one, _ in taken):.4g} ms, ratio "
        f"{math.exp(mean):.4f} (standard error {error:.4f}, {processes} pairs of processes)"
    )


def _harness_and_bare(model: Path, samples: Samples, folder: Path, seconds: float) -> tuple[float, float]:
    """Medians of p50 per turn, of both, over turns in random order."""
    bare = subprocess.Popen(
        [sys.executable, "-c", BARE_LOOP, str(model), str(model.with_suffix(".npz")), "2"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert bare.stdin is not None
    assert bare.stdout is not None
    source, sink = bare.stdout, bare.stdin

    def bare_p50(turn_s: float) -> float:
        os.kill(bare.pid, signal.SIGCONT)
        sink.write(f"{turn_s}\n")
        sink.flush()
        p50 = float(json.loads(source.readline()))
        os.kill(bare.pid, signal.SIGSTOP)
        return p50

    with Child("bench", folder / "harness.log") as child:
        service = bench.serve(child, bench.Subject(str(model), Setting(Spec("cpu"), 1, 2), samples))

        def harness_p50(turn_s: float) -> float:
            answer = child.ask(session.time_calls, {"seconds": turn_s, "least": 1}, 60)
            child.pause()
            return float(statistics.median(answer["seconds"]))

        turn_s = bench.turn_s(service.call_s)
        bare_p50(0.5)
        pairs = list[tuple[float, float]]()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            first, second = (harness_p50, bare_p50) if len(pairs) % 2 else (bare_p50, harness_p50)
            one, other = first(turn_s), second(turn_s)
            pairs.append((one, other) if len(pairs) % 2 else (other, one))
    bare.kill()
    bare.wait()
    return statistics.median(one for one, _ in pairs), statistics.median(other for _, other in pairs)


def same_model_twice(model: Path, samples: Samples, folder: Path, times: int) -> str:
    """Two names for one file, `times` times, each against its own process of the original as in a run."""
    told_apart, ratios = 0, []
    for number in range(times):
        first, second = (timing_of(model, samples, folder, 2 * number + one) for one in (0, 1))
        between = stats.between(first, second, 0.95)
        ratios.append(math.log(between.value))
        told_apart += not stats.indistinguishable(between)
    return (
        f"the same model under two names: indistinguishable in {times - told_apart} of {times}; "
        f"spread of the log ratio {statistics.stdev(ratios):.4f}, median width of one side "
        f"{statistics.median(abs(one) for one in ratios):.4f}"
    )


def timing_of(model: Path, samples: Samples, folder: Path, seed: int) -> Timing:
    """One candidate's timing, as `pipeline` takes it."""
    same = bench.Subject(str(model), Setting(Spec("cpu"), 1, 2), samples)
    stop = bench.Stop(0.05, 0.95, 8.0)
    logs = folder / "own.log", folder / "other.log"
    timing, _ = bench.measure(bench.Pair(same, same, stop, seed, "here", *logs), lambda _: None, lambda *_: None)
    return timing


def harness_lines(folder: Path, processes: int) -> Iterator[str]:
    """The harness beside a bare loop, for calls of four lengths."""
    model, samples = prepared(folder)
    models = {"shipped CNN": (model, samples)}
    models |= {f"8 products of {width}": product_chain(width, folder) for width in (32, 256, 2048)}
    for what, (path, inputs) in models.items():
        yield harness_against_bare_loop(what, path, inputs, folder, processes, seconds=6.0)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--times", type=int, default=20)
    parts = (
        "help", "choose", "harness", "same", "statistics", "queueing", "projection", "storage", "compression", "fleet",
    )  # fmt: skip
    parser.add_argument("--only", choices=parts, default=None)
    asked = parser.parse_args()
    print(f"costopt bench, {datetime.date.today()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.only in (None, "help"):
            print(help_against_bare_typer(asked.pairs), flush=True)
        if asked.only in (None, "choose"):
            print(choose_on_twenty(folder, asked.pairs), flush=True)
        if asked.only in (None, "harness"):
            for line in harness_lines(folder, asked.pairs):
                print(line, flush=True)
        if asked.only in (None, "same"):
            print(same_model_twice(*prepared(folder), folder, asked.times), flush=True)
    if asked.only in (None, "statistics"):
        bench_statistics.main()
    if asked.only in (None, "queueing"):
        bench_queueing.main()
    if asked.only in (None, "projection"):
        with tempfile.TemporaryDirectory() as name:
            bench_projection.main(Path(name))
    if asked.only in (None, "storage"):
        bench_storage.main()
    if asked.only in (None, "compression"):
        bench_compression.main()
    if asked.only in (None, "fleet"):
        bench_fleet.main()


if __name__ == "__main__":
    main()
