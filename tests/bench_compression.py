"""How much cheaper does a search make the shipped CNN? `python -m tests.bench --only compression`, some twenty minutes.

Whole runs of `costopt compress` with 60,000 unlabelled training images to learn from and all 10,000 test images to
judge by, five minutes each, for batches of 1 and of 32; every figure is one that a run itself has certified. Beside
them, what the race saves: on the ONNX file, where nothing can be cut, a search against every recipe that it tried,
measured to the end at every batch and thread count.
"""

import gzip
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

EXAMPLE = Path(__file__).parent.parent / "configs" / "fashion-mnist"
IMAGES = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package dataset-fashion-mnist puts them (Xiao et al., arXiv:1708.07747)."""

LIMIT = "5m"
IMAGE_HEADER_BYTES, LABEL_HEADER_BYTES = 16, 8

Json = dict[str, Any]


def read(name: str, header_bytes: int) -> NDArray[np.uint8]:
    """The bytes of a gzipped IDX file."""
    return np.frombuffer(gzip.decompress((IMAGES / name).read_bytes())[header_bytes:], np.uint8)


def images(prefix: str) -> NDArray[np.float32]:
    """Pixels in [0, 1], shape (samples, 1, 28, 28)."""
    pixels = read(f"{prefix}-images-idx3-ubyte.gz", IMAGE_HEADER_BYTES)
    return np.divide(pixels.reshape(-1, 1, 28, 28), 255, dtype=np.float32)


def prepare(folder: Path) -> None:
    """Write the data, and a budget of one point."""
    np.savez(folder / "calibration.npz", image=images("train"))
    labels = read("t10k-labels-idx1-ubyte.gz", LABEL_HEADER_BYTES).astype(np.int64)
    np.savez(folder / "evaluation.npz", image=images("t10k"), target=labels)
    budget = {
        "data": {"calibration": "calibration.npz", "evaluation": "evaluation.npz"},
        "budget": {"accuracy_drop": 0.01},
        "machine": {"instance": "aws/c7i.large"},
        "providers": ["cpu"],
        "time_limit": LIMIT,
    }
    (folder / "budget.yaml").write_text(yaml.safe_dump(budget))


def run(folder: Path, model: Path, *changes: str) -> tuple[Json, float, float | None]:
    """A run: its report, its seconds, and the seconds until the first certified improvement."""
    command = [sys.executable, "-m", "costopt", "compress", str(model), "--config", "budget.yaml", "--format", "json"]
    began, first = time.monotonic(), None
    process = subprocess.Popen(
        [*command, "--out", f"runs-{time.time_ns()}", *(part for change in changes for part in ("--set", change))],
        cwd=folder,
        stdout=(folder / "report.json").open("w"),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if first is None and "; best: " in line and "best: original" not in line:
            first = time.monotonic() - began
    if process.wait() not in (0, 3):
        raise RuntimeError(f"costopt ended with {process.returncode}")
    return json.loads((folder / "report.json").read_text()), time.monotonic() - began, first


def in_words(report: Json) -> str:
    """The winner: its recipe, its speed-up over the original as it is served at the same batch, its drop."""
    won = next(one for one in report["candidates"] if one["id"] == report["winner"])
    drop, faster = won["metric"], won["speedup"]
    return (
        f"{won['label']}: {faster['ratio']:.2f}x [{faster['low']:.2f}, {faster['high']:.2f}], top-1 "
        f"{-100 * drop['drop']:+.2f} points [{-100 * drop['high']:+.2f}, {-100 * drop['low']:+.2f}]"
    )


def lines(folder: Path) -> Iterator[str]:
    """The figures, one a line."""
    prepare(folder)
    for batch in (1, 32):
        report, took_s, first_s = run(folder, EXAMPLE / "model.pt2", f"batch=[{batch}]")
        first = "none" if first_s is None else f"after {first_s:.0f} s"
        yield f"CNN, batch {batch}, {LIMIT}: {in_words(report)}; {took_s:.0f} s, first certified improvement {first}"
    asked, model = ("batch=[1,8,32]", "threads=[1,2]", "time_limit=30m"), only_onnx(folder)
    raced, raced_s, _ = run(folder, model, *asked)
    whole, whole_s, _ = run(folder, model, *asked, f"recipes={json.dumps(recipes(raced))}")
    same = f"{in_words(raced)} and {in_words(whole)}: {how_alike(raced, whole)}"
    counts = f"{measured(raced)} against {measured(whole)} candidates"
    yield f"race against everything everywhere: {raced_s / whole_s:.0%} of the time ({raced_s:.0f} s; {counts}), {same}"


def how_alike(raced: Json, whole: Json) -> str:
    """Whether both chose the same, or what can't be told apart where both were measured to the end."""
    if raced["winner"] == whole["winner"]:
        return "the same winner"
    rows = {one["id"]: one["speedup"] for one in whole["candidates"]}
    alike = rows[raced["winner"]]["high"] >= rows[whole["winner"]]["low"]
    return "two that can't be told apart" if alike else "another winner"


def recipes(report: Json) -> list[list[Json]]:
    """Each recipe that was measured, as a budget file lists them."""
    tried = [one["recipe"] for one in report["candidates"] if one["status"] == "measured" and one["recipe"]]
    listed = [[{step["name"]: step["options"]} for step in recipe] for recipe in tried]
    return [recipe for place, recipe in enumerate(listed) if recipe not in listed[:place]]


def measured(report: Json) -> int:
    """How many candidates have figures."""
    return sum(one["status"] == "measured" for one in report["candidates"])


def only_onnx(folder: Path) -> Path:
    """The shipped model as an ONNX file: nothing to cut, so that there is an end to what can be tried."""
    import torch

    target = folder / "model.onnx"
    if not target.is_file():
        program = torch.onnx.export(torch.export.load(EXAMPLE / "model.pt2"), dynamo=True, verbose=False)
        assert program is not None
        program.save(str(target))
    return target


def main() -> None:
    """Print the figures, or why there are none."""
    if not IMAGES.is_dir():
        print(f"compression: skipped, there is no {IMAGES} (sudo apt install dataset-fashion-mnist)")
        return
    with tempfile.TemporaryDirectory() as name:
        for line in lines(Path(name)):
            print(line, flush=True)
