"""What a run leaves to deploy: a packed file beside the chosen one, where that is worth it."""

import datetime
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from costopt.build import folder_of
from costopt.deliver import deliver
from costopt.graph import artifact
from costopt.journal import Journal, to_json
from costopt.judging.choose import judge
from costopt.packing import costz
from costopt.records import Recipe
from tests import factories
from tests.onnx_graphs import normal, written

NODES = "(float[N,64] x) => (float[N,64] y) { y = MatMul(x, w) }"
PRUNED = np.where(np.abs(normal(64, 64)) > 1.5, np.float32(0.5), np.float32(0))


def delivered(weights: NDArray[np.float32], run: Path) -> Path:
    """The folder of a run whose winner is a model with these weights."""
    journal = Journal(run)
    recipe: Recipe = factories.recipe("prune_weights")
    folder = folder_of(recipe, run)
    folder.mkdir(parents=True)
    file = written(folder / "model.onnx", NODES, {"w": weights})
    (folder / "artifact.json").write_text(to_json(artifact(file, run)))
    outcomes = (factories.measured(), factories.measured(recipe, ms=0.5))
    deliver(
        judge(factories.run(outcomes), outcomes, factories.plan(usd_per_hour=0.1), datetime.date(2026, 11, 1)), journal
    )
    return run


def test_a_pruned_model_lies_packed_beside_the_chosen_file_and_comes_back_as_it_was_measured(tmp_path: Path) -> None:
    run = delivered(PRUNED, tmp_path / "run")
    packed, manifest = run / "chosen" / "model.costz", json.loads((run / "manifest.json").read_text())
    assert manifest["packed_bytes"] == packed.stat().st_size < manifest["size_bytes"] / 2
    (back,) = costz.unpack(packed, tmp_path / "back.onnx")
    assert artifact(back, tmp_path).sha256 == manifest["sha256"]


def test_weights_as_training_leaves_them_are_not_kept_twice(tmp_path: Path) -> None:
    run = delivered(normal(64, 64), tmp_path / "run")
    assert not (run / "chosen" / "model.costz").exists()
    assert json.loads((run / "manifest.json").read_text())["packed_bytes"] is None


def test_a_model_of_which_nothing_is_left_is_delivered_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costz, "MOST_UNPACKED", 1)
    monkeypatch.setattr(costz, "FREE_BYTES", 0)
    run = delivered(np.zeros((64, 64), np.float32), tmp_path / "run")
    assert (run / "chosen" / "model.onnx").is_file()
    assert not (run / "chosen" / "model.costz").exists()
