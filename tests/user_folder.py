"""A user's folder, as the tests of the whole command need it: a model file, data, a budget, and a way to run costopt.

The model is small and comes as ONNX, so that a run spends its seconds on costopt and not on torch's exporter.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from tests import models

SAMPLES = 120

BUDGET: Mapping[str, object] = {
    "data": {"evaluation": "evaluation.npz", "calibration": "calibration.npz"},
    "metric": "top1",
    "budget": {"accuracy_drop": 0.1},
    "machine": {"usd_per_hour": 0.09},
    "providers": ["cpu"],
    "recipes": [[], ["int8_static"]],
    "threads": [1],
    "precision": 0.4,  # these tests ask what becomes of a candidate, not how fast it is to the last per cent
}


@dataclass(frozen=True)
class UserFolder:
    """A folder with `model.onnx`, `evaluation.npz`, `calibration.npz` and `budget.yaml` in it."""

    folder: Path

    def budget(self, changes: Mapping[str, object] | None = None, name: str = "budget.yaml") -> Path:
        """Write a budget file: the usual one with some keys changed (None takes a key away)."""
        keys = {**BUDGET, **(changes or {})}
        path = self.folder / name
        path.write_text(yaml.safe_dump({key: value for key, value in keys.items() if value is not None}))
        return path

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start costopt in the folder, in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "costopt", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": f"{Path(__file__).parent.parent}", "NO_COLOR": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, limit_s: float = 120.0) -> "subprocess.CompletedProcess[str]":
        """Run costopt in the folder to its end."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=limit_s)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def compress(self, *more: str) -> "subprocess.CompletedProcess[str]":
        """`costopt compress model.onnx --config budget.yaml`, again when a busy machine spoilt a candidate."""
        return self.patiently("compress", "model.onnx", "--config", "budget.yaml", *more)

    def patiently(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run costopt, and again when the machine was disturbed: the same command measures again what that spoilt."""
        for _ in range(4):
            ended = self.run(*arguments, limit_s=180)
            if "measure again" not in ended.stdout + ended.stderr:
                break
        return ended

    def runs(self) -> Sequence[Path]:
        """The folders of the runs."""
        return sorted(path.parent for path in (self.folder / "runs").glob("*/run.json"))


def make(folder: Path, samples: int = SAMPLES) -> UserFolder:
    """A folder with a small residual network, its data labelled by the network itself, and a budget."""
    folder.mkdir(parents=True, exist_ok=True)
    model = models.small_cnn()
    models.save_once(models.small_cnn, folder / "model.onnx")
    image = models.cnn_arrays(samples)["image"]
    target = model(*models.tensors({"image": image})).argmax(dim=1).numpy()
    np.savez(folder / "evaluation.npz", image=image, target=target)
    np.savez(folder / "calibration.npz", image=models.cnn_arrays(32, seed=1)["image"])
    place = UserFolder(folder)
    place.budget()
    return place
