"""A stage for scenarios: one of the small real models of `models` as ONNX, beside itself as the baseline."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import nn

from costopt.benching.measurements import Contender
from costopt.measuring.noise import Watch
from costopt.records import Setting, Spec
from costopt.sampling.samples import Samples
from costopt.scenarios import Stage
from costopt.timings import Noise
from tests import models


def stage(
    make: Callable[[], nn.Module], folder: Path, *, batch: int = 1, baseline_batch: int = 1, seconds: float = 2.0
) -> Stage:
    """With two threads, 16 samples, and every CPU that may be used."""
    path = folder / "model.onnx"
    models.save_once(make, path)
    samples = samples_of(make(), folder)
    return Stage(
        contender=contender(path, batch),
        baseline=contender(path, baseline_batch),
        samples=samples,
        baseline_samples=samples,
        onnx_path=str(path),
        folder=folder,
        seconds=seconds,
        precision=0.02,
        confidence=0.95,
        seed=0,
        machine="example",
        cpus=tuple(sorted(os.sched_getaffinity(0))),
    )


def samples_of(model: nn.Module, folder: Path) -> Samples:
    """16 inputs of a model, written to files under a folder."""
    return Samples.written([models.arrays_for(model)], folder / "samples")


def contender(path: Path, batch: int) -> Contender:
    """The file on the CPU provider."""
    return Contender(path.name, str(path), "0" * 64, path.stat().st_size, Setting(Spec("cpu"), batch, threads=2))


def look_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no noise be seen: a test of what is measured must pass on a machine that is busy with other tests."""
    monkeypatch.setattr(Watch, "noise", lambda _: Noise(seconds=1.0, cpus=2))
