"""`costopt sensitivity`: one layer at a time, on a real model, and what follows from it."""

import csv
import io
import json
from pathlib import Path

import pytest

from costopt import layer_costs
from costopt.benching.measurements import LayerFacts, LayersMeasured
from costopt.records import Spec
from tests import factories, user_folder
from tests.user_folder import UserFolder

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> UserFolder:
    made = user_folder.make(tmp_path_factory.mktemp("user"))
    made.budget()
    return made


def layer(name: str, float32_ms: float, right: int, of: int = 100) -> LayerFacts:
    facts = tuple((1.0 if sample < right else 0.0,) for sample in range(of))
    return LayerFacts(name, "Conv", 4000, 1e6, float32_ms, float32_ms / 3, 0.01, facts)


def test_layers_come_by_their_time_with_shares_that_sum_to_one_and_a_paired_drop() -> None:
    original = tuple((1.0 if sample < 90 else 0.0,) for sample in range(100))
    measured = LayersMeasured((layer("first", 1.0, 90), layer("second", 3.0, 85)), original)
    report = layer_costs.report(measured, "m.onnx", factories.MACHINE, Spec("top1"), "target", factories.plan())
    assert [one.name for one in report.layers] == ["second", "first"]
    assert [one.time_share for one in report.layers] == [0.75, 0.25]
    assert sum(one.size_share for one in report.layers) == 1
    assert report.value == pytest.approx(0.9)
    assert report.layers[0].drop.value == pytest.approx(0.05)
    assert report.layers[1].drop.low < 0 < report.layers[1].drop.high, "100 samples can't tell no change from a little"


@pytest.mark.slow
def test_every_layer_with_weights_is_told_in_every_format(place: UserFolder) -> None:
    asked = ("sensitivity", "model.onnx", "--config", "budget.yaml", "--samples", "60")
    told = place.run(*asked, "--format", "json")
    assert told.returncode == 0, told.stderr
    layers = json.loads(told.stdout)["layers"]
    assert len(layers) == 6, "five convolutions and the head"
    assert all(one["float32_ms"] >= 0 and 0 < one["output_error"] < 0.2 for one in layers)
    rows = list(csv.DictReader(io.StringIO(place.run(*asked, "--format", "csv").stdout)))
    assert {row["layer"] for row in rows} == {one["layer"] for one in layers}
    table = place.run(*asked)
    assert "loses most when rounded to 8 bits" in table.stdout.replace("\n", " ")
    assert "loses most" in place.run(*asked, "--format", "markdown").stdout


@pytest.mark.slow
def test_a_model_without_layers_to_round_is_told_in_a_line(place: UserFolder) -> None:
    from tests.onnx_graphs import written

    written(
        Path(place.folder, "plain.onnx"), "(float[N,1,12,12] image) => (float[N,1,12,12] y) { y = Relu(image) }", {}
    )
    place.budget({"metric": "cosine"}, "plain.yaml")
    ended = place.run("sensitivity", "plain.onnx", "--config", "plain.yaml")
    assert ended.returncode in (1, 2)
    assert "no Conv" in ended.stderr
    assert "Traceback" not in ended.stderr
