"""costopt's own speed claims, as ratios in one run: `python -m tests.bench` (`make bench`). Nothing passes or fails.

- `costopt --help` against a bare Typer program with as many commands' worth of options;
- `costopt choose` on a run of 20 candidates x 4,000 samples, beside bare Python's start;
- the harness's p50 against a bare `session.run` loop over the same feed;
- the same model under two names: how often costopt tells them apart (a 95 % interval may, one time in twenty).
"""

import argparse
import datetime
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from costopt import bench, session, stats
from costopt.journal import Journal
from costopt.records import Candidate, InputSpec, Timing
from costopt.samples import Samples, match, open_source
from costopt.worker import Child
from tests import factories

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
model, inputs, threads, count = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
whole = dict(numpy.load(inputs))
feeds = [{name: array[i:i + 1] for name, array in whole.items()} for i in range(len(next(iter(whole.values()))))]
for line in sys.stdin:
    taken = []
    for i in range(count):
        begin = time.perf_counter()
        session.run(None, feeds[i % len(feeds)])
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
        np.savez(folder / "inputs.npz", image=whole["image"][:256])
    arrays = open_source(str(folder / "inputs.npz"), folder / "scratch")
    return model, match(arrays, (InputSpec("image", ("batch", 1, 28, 28), "float32"),), "evaluation")


def harness_against_bare_loop(model: Path, samples: Samples, folder: Path, pairs: int) -> str:
    """What the harness adds to a call."""
    count = 500
    bare = subprocess.Popen(
        [sys.executable, "-c", BARE_LOOP, str(model), str(folder / "inputs.npz"), "2", str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert bare.stdin is not None
    assert bare.stdout is not None
    source, sink = bare.stdout, bare.stdin

    def bare_p50() -> float:
        sink.write("go\n")
        sink.flush()
        return float(json.loads(source.readline())) * 1e3

    with Child("bench", folder / "harness.log") as child:
        service = bench.serve(child, str(model), Candidate((), "cpu", 1, 2), samples)

        def harness_p50() -> float:
            answer = child.ask(session.time_calls, {"seconds": 0, "least": count}, 60)
            child.pause()
            return float(statistics.median(answer["seconds"])) * 1e3

        assert service.call_s > 0
        line = ratio_line("harness p50 / bare session.run p50", *in_turns(harness_p50, bare_p50, pairs), unit="ms")
    sink.close()
    bare.wait()
    return line


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
    same = Candidate((), "cpu", 1, 2)
    with Child("bench", folder / "own.log") as own, Child("bench", folder / "other.log") as other:
        baseline = bench.serve(other, str(model), same, samples)
        service = bench.serve(own, str(model), same, samples)
        return Timing(bench.rounds(service, baseline, seed), 1, 1, "here")


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--only", choices=("help", "choose", "harness", "same"), default=None)
    asked = parser.parse_args()
    print(f"costopt bench, {datetime.date.today()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.only in (None, "help"):
            print(help_against_bare_typer(asked.pairs), flush=True)
        if asked.only in (None, "choose"):
            print(choose_on_twenty(folder, asked.pairs), flush=True)
        if asked.only in (None, "harness", "same"):
            model, samples = prepared(folder)
        if asked.only in (None, "harness"):
            print(harness_against_bare_loop(model, samples, folder, asked.pairs), flush=True)
        if asked.only in (None, "same"):
            print(same_model_twice(model, samples, folder, asked.times), flush=True)


if __name__ == "__main__":
    main()
