"""What a recipe's steps learn from, and what they never see."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from costopt import build
from costopt.errors import CandidateError
from costopt.journal import from_json, to_json
from costopt.records import Data, ModelSource, Plan, Recipe, Spec
from tests import models

ADAPT = Spec("adapt", {"steps": 3, "batch": 8, "learning_rate": 1e-3})
PRUNE = Spec("prune_weights")


def made(folder: Path, recipe: Recipe, plan: Plan) -> build._Order:
    """Prepare a run of the small network in `folder`, and build one recipe."""
    source = ModelSource(str(models.save_pt2(models.small_cnn(), folder / "model.pt2")))
    request = {"source": to_json(source), "plan": to_json(plan), "run": str(folder)}
    request |= {key: str(value) for key, value in build.prepare(request).items()}
    build.build({**request, "recipe": to_json(recipe)})
    return build._Order(source, plan, from_json(build.Prepared, request["prepared"]), folder)


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Calibration and evaluation data with labels that the network does not know."""
    for name, samples in (("calibration", 48), ("evaluation", 16)):
        labels = np.arange(samples) % models.CNN_CLASSES
        np.savez(tmp_path / f"{name}.npz", target=labels, **models.cnn_arrays(samples))  # type: ignore[arg-type]
    return Plan(Data(str(tmp_path / "evaluation.npz"), str(tmp_path / "calibration.npz")))


@pytest.mark.slow
def test_what_comes_after_adapting_learns_from_the_adapted_model(tmp_path: Path, plan: Plan) -> None:
    order = made(tmp_path, (ADAPT, PRUNE), plan)
    assert build.artifact_of((ADAPT,), tmp_path) is not None, "it is there for all that comes after it"
    original, adapted = build._teacher((), order), build._teacher((ADAPT, PRUNE), order)
    weights = {name: one for name, one in adapted.module.named_parameters()}
    before = dict(original.module.named_parameters())
    assert weights.keys() == before.keys()
    assert not all(torch.equal(weights[name], before[name]) for name in weights)


@pytest.mark.slow
def test_the_labels_of_the_evaluation_data_are_never_learned_from(tmp_path: Path, plan: Plan) -> None:
    """Where no calibration data are given, the inputs for evaluation serve; their labels are the judge's."""
    with pytest.raises(CandidateError, match="hold no labels"):
        made(tmp_path, (ADAPT,), replace(plan, data=Data(plan.data.evaluation)))
