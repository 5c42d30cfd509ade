"""The main job from end to end, in real processes on real models: what a user types, and what comes back."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import psutil
import pytest
from onnx import TensorProto, helper

import costopt
from costopt import plugins
from costopt.build import Prepared
from costopt.errors import CostoptError, DataError
from costopt.journal import Journal, from_json
from costopt.measuring import bench, session
from costopt.pipeline import Job, evaluate, shares
from costopt.provenance import sha256
from costopt.providers import Provider
from costopt.records import Candidate, Entry, Failed, ModelSource, Spec
from costopt.worker import Child
from tests import models, user_folder
from tests.user_folder import UserFolder

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> UserFolder:
    """A run that is over; tests read it and leave it as it is."""
    place = user_folder.make(tmp_path_factory.mktemp("compress") / "place")
    place.budget({"batch": [1, 4]})
    ended = place.compress("--format", "json")
    assert ended.returncode == 0, ended.stderr
    (place.folder / "stdout.json").write_text(ended.stdout)
    (place.folder / "stderr.txt").write_text(ended.stderr)
    return place


@pytest.fixture
def place(tmp_path: Path, finished: UserFolder) -> UserFolder:
    """A fresh folder with the same model and data, and no run in it."""
    for name in ("model.onnx", "evaluation.npz", "calibration.npz"):
        shutil.copy(finished.folder / name, tmp_path / name)
    one = UserFolder(tmp_path)
    one.budget({"recipes": []})
    return one


def report(place: UserFolder) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((place.folder / "stdout.json").read_text())
    return loaded


def test_every_candidate_is_measured_and_the_baseline_comes_first(finished: UserFolder) -> None:
    rows = report(finished)["candidates"]
    assert [row["status"] for row in rows] == ["measured"] * 4
    assert rows[0]["id"] == report(finished)["baseline"]
    assert rows[0]["recipe"] == []
    assert {row["batch"] for row in rows} == {1, 4}


def test_latency_metric_and_placement_are_there_for_each(finished: UserFolder) -> None:
    for row in report(finished)["candidates"]:
        assert row["latency_ms"]["p50"] <= row["latency_ms"]["p95"]
        assert row["latency_ms"]["samples"] >= 130
        assert row["metric"]["samples"] == user_folder.SAMPLES
        assert row["placement"] == {"CPUExecutionProvider": 1.0}
        assert row["size_bytes"] > 0
        assert row["peak_memory_bytes"] >= 0


def test_the_original_scores_what_it_was_labelled_with(finished: UserFolder) -> None:
    assert report(finished)["candidates"][0]["metric"]["value"] == 1.0


def test_stdout_holds_the_report_alone_and_progress_goes_to_stderr(finished: UserFolder) -> None:
    assert "[4/4]" in (finished.folder / "stderr.txt").read_text()


def test_the_chosen_file_runs_and_its_manifest_tells_the_truth(finished: UserFolder) -> None:
    run = finished.runs()[0]
    manifest = json.loads((run / "manifest.json").read_text())
    chosen = run / manifest["file"]
    assert manifest["candidate"] == report(finished)["winner"]
    assert chosen.stat().st_size == manifest["size_bytes"]
    assert sha256(chosen) == manifest["sha256"]
    with np.load(finished.folder / "evaluation.npz") as data:
        session = onnxruntime.InferenceSession(str(chosen), providers=["CPUExecutionProvider"])
        assert session.run(None, {"image": data["image"][:3]})[0].shape == (3, models.CNN_CLASSES)
    assert json.loads((run / "report.json").read_text()) == report(finished)


def test_show_prints_the_same_report_again(finished: UserFolder) -> None:
    shown = finished.run("show", finished.runs()[0].name, "--format", "json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout) == report(finished)


@pytest.mark.parametrize("form", ["table", "csv", "markdown"])
def test_show_prints_every_format(finished: UserFolder, form: str) -> None:
    shown = finished.run("show", finished.runs()[0].name, "--format", form)
    assert shown.returncode == 0, shown.stderr
    assert "original" in shown.stdout


def test_choose_judges_again_by_another_budget_without_measuring(finished: UserFolder, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "copy")
    copy = UserFolder(tmp_path / "copy")
    before = (copy.runs()[0] / "outcomes.jsonl").read_bytes()
    copy.budget({"budget": {"p95_ms": 1e-6}, "batch": [1, 4]}, "tighter.yaml")
    chosen = copy.run("choose", copy.runs()[0].name, "--config", "tighter.yaml", "--format", "json")
    assert chosen.returncode == 3, chosen.stderr
    answer = json.loads(chosen.stdout)
    assert answer["verdict"] == "not_met"
    assert answer["winner"] is None
    assert len(answer["nearest"]) == 3
    assert {refusal["limit"] for row in answer["candidates"] for refusal in row["refusals"]} == {"p95_ms"}
    assert not (copy.runs()[0] / "chosen").exists()
    assert (copy.runs()[0] / "outcomes.jsonl").read_bytes() == before


def test_choose_with_another_metric_says_what_to_run(finished: UserFolder) -> None:
    finished.budget({"metric": "f1"}, "f1.yaml")
    ended = finished.run("choose", finished.runs()[0].name, "--config", "f1.yaml")
    assert ended.returncode == 2
    assert "metric" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_a_pt2_file_gives_the_same_as_its_onnx(place: UserFolder) -> None:
    models.save_pt2(models.small_cnn(), place.folder / "model.pt2")
    ended = place.run("compress", "model.pt2", "--config", "budget.yaml", "--format", "json")
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert answer["keep_original"] is True
    assert answer["candidates"][0]["metric"]["value"] == 1.0


@pytest.mark.slow
def test_without_labels_the_metric_is_agreement_and_the_report_says_so(place: UserFolder) -> None:
    with np.load(place.folder / "evaluation.npz") as data:
        np.savez(place.folder / "evaluation.npz", image=data["image"])
    place.budget({"recipes": [["int8_static"]]})
    ended = place.compress("--format", "json")
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    assert {row["metric"]["name"] for row in answer["candidates"]} == {"agreement"}
    assert answer["candidates"][0]["metric"]["value"] == 1.0
    assert any("labels" in note for note in answer["notes"])


@pytest.mark.slow
def test_two_inputs_with_a_dynamic_sequence_work(tmp_path: Path) -> None:
    encoder = models.small_encoder()
    models.save_onnx(encoder, tmp_path / "model.onnx")
    arrays = models.arrays_for(encoder, 40)
    np.savez(tmp_path / "evaluation.npz", **{name: np.asarray(array) for name, array in arrays.items()})  # type: ignore[arg-type]
    place = UserFolder(tmp_path)
    data = {"evaluation": "evaluation.npz"}
    place.budget({"data": data, "metric": "cosine", "batch": [1, 3], "recipes": [["int8_dynamic"]]})
    ended = place.compress("--format", "json")
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(ended.stdout)["candidates"]
    assert [row["status"] for row in rows] == ["measured"] * 4
    assert all(row["metric"]["value"] > 0.9 for row in rows)


@pytest.mark.slow
def test_recipes_auto_tries_what_applies_and_says_why_the_rest_does_not(place: UserFolder) -> None:
    place.budget({"recipes": "auto"})
    ended = place.compress("--format", "json")
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(ended.stdout)["candidates"]
    tried = {row["recipe"][0]["name"] for row in rows if row["recipe"]}
    assert tried == set(plugins.names("methods"))
    assert all(row["reason"] for row in rows if row["status"] != "measured")
    assert not [row for row in rows if row["status"] == "failed"], "no method may fail on a small CNN"


@pytest.mark.slow
def test_from_python_it_is_one_call(place: UserFolder) -> None:
    found = costopt.compress(
        place.folder / "model.onnx", costopt.read_plan(place.folder / "budget.yaml"), place.folder / "runs"
    )
    assert found.verdict == "met"
    assert found.keep_original


@pytest.mark.slow
def test_a_budget_that_nothing_meets_ends_with_exit_code_three_and_still_reports(place: UserFolder) -> None:
    place.budget({"recipes": [], "budget": {"size_mb": 1e-6}})
    ended = place.compress()
    assert ended.returncode == 3
    assert "size" in ended.stdout


@pytest.mark.slow
def test_a_provider_that_is_not_here_is_invalid_with_the_fix_and_the_others_go_on(place: UserFolder) -> None:
    absent = next(
        (name for name in plugins.names("providers") if plugins.make("providers", Spec(name), Provider).missing()), None
    )
    if absent is None:
        pytest.skip("every provider that costopt knows is here")
    place.budget({"recipes": [], "providers": ["cpu", absent]})
    ended = place.compress("--format", "json")
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(ended.stdout)["candidates"]
    assert [(row["provider"], row["status"]) for row in rows] == [("cpu", "measured"), (absent, "invalid")]
    assert rows[1]["fix"]


def test_shares_of_nodes_sum_to_one() -> None:
    assert shares({"A": 3, "B": 1}) == {"A": 0.75, "B": 0.25}
    assert shares({}) == {}


@pytest.mark.slow
def test_a_model_whose_numbers_break_is_refused_before_anything_is_measured(place: UserFolder) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 12, 12])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1, 12, 12])
    zero = helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0])
    nodes = [
        helper.make_node("Mul", ["image", "zero"], ["nothing"], name="nothing"),
        helper.make_node("Div", ["nothing", "nothing"], ["logits"], name="nan"),
    ]
    graph = helper.make_graph(nodes, "nan", [image], [logits], [zero])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), place.folder / "model.onnx"
    )
    ended = place.compress()
    assert ended.returncode in (1, 2)
    assert "NaN" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture
def job(finished: UserFolder, tmp_path: Path) -> Job:
    """A prepared run, so that one candidate can be evaluated in this process."""
    shutil.copytree(finished.runs()[0], tmp_path / "run")
    journal = Journal(tmp_path / "run")
    prepared = from_json(Prepared, (journal.folder / "prepared.json").read_bytes())
    source = ModelSource(str(finished.folder / "model.onnx"))
    return Job(str(journal.folder), source, journal.plan(), prepared, journal.run().candidates[0], "here")


def killing_the_second_child(monkeypatch: pytest.MonkeyPatch) -> None:
    serve = bench.serve

    def serve_and_kill(child: Child, subject: bench.Subject) -> bench.Service:
        service = serve(child, subject)
        if child.log.name != "baseline.log":
            psutil.Process(child.pid).kill()
        return service

    monkeypatch.setattr(bench, "serve", serve_and_kill)


@pytest.mark.slow
def test_a_metric_that_fails_on_one_candidate_fails_that_one_alone(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(child: Child, *rest: Any) -> Any:
        if rest[0] is session.score:
            raise DataError("no number for sample 3")
        return ask(child, *rest)

    ask = Child.ask
    monkeypatch.setattr(Child, "ask", refuse)
    outcome = evaluate(Entry(Candidate((Spec("int8_static"),), "cpu", 1, 2)), job)
    assert isinstance(outcome, Failed)
    assert (outcome.stage, outcome.reason) == ("score", "no number for sample 3")
    with pytest.raises(DataError):
        evaluate(Entry(job.baseline), job)


@pytest.mark.slow
def test_an_original_that_failed_is_tried_again(place: UserFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = costopt.read_plan(place.folder / "budget.yaml")
    with monkeypatch.context() as patched:
        patched.setattr(bench, "OPEN_LIMIT_S", 0.01)
        with pytest.raises(CostoptError, match="the original itself failed"):
            costopt.compress(place.folder / "model.onnx", plan, place.folder / "runs")
    assert costopt.compress(place.folder / "model.onnx", plan, place.folder / "runs").verdict == "met"


@pytest.mark.slow
def test_another_baseline_is_another_run(place: UserFolder) -> None:
    for batch in ([1, 4], [4, 1]):
        place.budget({"recipes": [], "batch": batch})
        ended = place.compress("--format", "json")
        assert ended.returncode == 0, ended.stderr
        rows = {row["batch"]: row for row in json.loads(ended.stdout)["candidates"]}
        assert rows[batch[0]]["speedup"]["ratio"] == 1
    assert len(place.runs()) == 2


@pytest.mark.slow
def test_the_original_is_measured_however_short_the_time_limit(place: UserFolder) -> None:
    place.budget({"recipes": [["fp16"]], "time_limit": "0.01s"})
    ended = place.compress("--format", "json")
    assert ended.returncode == 0, ended.stderr
    assert [row["status"] for row in json.loads(ended.stdout)["candidates"]] == ["measured", "skipped"]


@pytest.mark.slow
def test_a_fixed_batch_that_does_not_divide_the_samples_works(tmp_path: Path) -> None:
    models.save_onnx(models.small_cnn(), tmp_path / "dynamic.onnx")
    model = onnx.load(tmp_path / "dynamic.onnx")
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(model, tmp_path / "model.onnx")
    np.savez(tmp_path / "evaluation.npz", image=models.cnn_arrays(20)["image"])
    place = UserFolder(tmp_path)
    place.budget({"data": {"evaluation": "evaluation.npz"}, "recipes": [], "batch": [3]})
    ended = place.compress("--format", "json")
    assert ended.returncode == 0, ended.stderr
    (row,) = json.loads(ended.stdout)["candidates"]
    assert (row["metric"]["samples"], row["metric"]["value"]) == (20, 1.0)


@pytest.mark.slow
def test_a_folder_that_was_moved_is_prepared_again(place: UserFolder, tmp_path: Path) -> None:
    assert place.compress().returncode == 0
    moved = UserFolder(place.folder.rename(tmp_path.parent / f"{tmp_path.name}-moved"))
    moved.budget({"recipes": [["int8_static"]]})
    ended = moved.compress()
    assert ended.returncode == 0, ended.stderr


def test_choose_names_what_the_run_never_tried(finished: UserFolder) -> None:
    finished.budget({"batch": [1, 64], "providers": ["cpu"]}, "untried.yaml")
    ended = finished.run("choose", finished.runs()[0].name, "--config", "untried.yaml")
    assert ended.returncode == 2
    assert "never tried batch 64" in ended.stderr


def test_a_reader_who_has_had_enough_is_no_error(finished: UserFolder) -> None:
    command = f"{sys.executable} -m costopt show {finished.runs()[0].name} | true; exit ${{PIPESTATUS[0]}}"
    ended = subprocess.run(["bash", "-c", command], cwd=finished.folder, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_child_that_is_killed_while_it_is_timed_fails_alone(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    killing_the_second_child(monkeypatch)
    outcome = evaluate(Entry(Candidate((Spec("int8_static"),), "cpu", 1, 2)), job)
    assert isinstance(outcome, Failed)
    assert outcome.stage == "bench"
    assert "memory" in outcome.reason


def test_a_child_that_hangs_fails_alone(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "OPEN_LIMIT_S", 0.01)
    outcome = evaluate(Entry(Candidate((), "cpu", 4, 2)), job)
    assert isinstance(outcome, Failed)
    assert "no answer within" in outcome.reason


def test_an_original_that_cannot_be_measured_ends_the_run_in_words(
    place: UserFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "OPEN_LIMIT_S", 0.01)
    plan = costopt.read_plan(place.folder / "budget.yaml")
    with pytest.raises(CostoptError, match="the original itself failed at stage 'bench'"):
        costopt.compress(place.folder / "model.onnx", plan, place.folder / "runs")


@pytest.mark.slow
def test_tuning_adds_a_candidate_and_the_settings_lie_beside_the_chosen_file(place: UserFolder) -> None:
    place.budget({"recipes": [], "tune": True, "time_limit": "20s"})
    ended = place.compress("--format", "json")
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert any("session options: " in note for note in report["notes"])
    chosen = place.runs()[-1] / "chosen"
    winner = next(one for one in report["candidates"] if one["id"] == report["winner"])
    settings = json.loads((chosen / "session_options.json").read_text())
    assert settings["intra_op_num_threads"] == winner["threads"]
    assert settings["setting"]["session"] == winner["session"]
    script = (chosen / "serve.py").read_text() + "print(session.get_inputs()[0].name)"
    served = subprocess.run([sys.executable, "-c", script], cwd=chosen, capture_output=True, text=True, check=True)
    assert served.stdout.strip() == "image"
    again = place.compress("--format", "json")
    assert json.loads(again.stdout)["notes"] == report["notes"], "the same command goes on, and finds nothing to do"
