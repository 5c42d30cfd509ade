"""`costopt plan --model --measure`: a model without a run is measured here, kept as a run, and planned with."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper, save

from costopt.build import inputs_of
from costopt.commands.plan import plan
from costopt.errors import ModelFileError, UsageError
from costopt.journal import Journal
from costopt.records import Measured, Noise
from tests import user_folder
from tests.user_folder import UserFolder

TRAFFIC = "requests_per_second: 5\npeak_to_mean: 2\np50_ms: 100\n"
QUICK = ("--measure", "--provider", "cpu", "--config", "traffic.yaml", "--machine", "aws/c7i.large")


def one_operator(path: Path, operator: str, first_axis: int | str, second_axis: int | str = 64) -> None:
    """A model whose input has a name that `np.savez` can't take."""
    given = helper.make_tensor_value_info("file", TensorProto.FLOAT, (first_axis, second_axis))
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, (first_axis, second_axis))
    graph = helper.make_graph([helper.make_node(operator, ["file"], ["out"])], "g", [given], [out])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> UserFolder:
    place = user_folder.make(tmp_path_factory.mktemp("alone"))
    (place.folder / "traffic.yaml").write_text(TRAFFIC)
    one_operator(place.folder / "sine.onnx", "Sin", "batch")
    one_operator(place.folder / "eights.onnx", "Sin", 8)
    one_operator(place.folder / "lengths.onnx", "Sin", "batch", "length")
    return place


def measured(place: UserFolder, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return place.patiently("plan", *arguments, *QUICK)


def run_of(place: UserFolder, ended: "subprocess.CompletedProcess[str]") -> Journal:
    return Journal(place.folder / ended.stderr.rpartition("run: ")[2].strip())


@pytest.mark.alone
def test_a_model_alone_is_measured_kept_as_a_run_and_planned_with(place: UserFolder) -> None:
    first = measured(place, "--model", "sine.onnx")
    assert first.returncode == 0, first.stderr
    assert "the original on cpu, served by 1 aws/c7i.large, costs $65.15 a month" in first.stdout
    assert "inputs were made up at random" in first.stdout
    assert "only the original was measured" in first.stdout
    journal = run_of(place, first)
    told = json.loads(place.run("plan", journal.folder.name, "--config", "traffic.yaml", "--format", "json").stdout)
    assert told["compressing"] is None
    assert {row["candidate"] for row in told["rows"]} == {journal.run().baseline}
    assert any(note.startswith("inputs were made up at random") for note in told["notes"])

    other = place.run("plan", journal.folder.name, "--config", "traffic.yaml", "--machine", "aws/m7i.large")
    assert "served by 1 aws/m7i.large, costs $73.58 a month" in other.stdout


def kept(journal: Journal, noise: Noise | None) -> None:
    """Write the outcome down again as if the machine had been so noisy."""
    (outcome,) = journal.outcomes()
    assert isinstance(outcome, Measured)
    journal.append(replace(outcome, timing=replace(outcome.timing, noise=noise)))


def fates(journal: Journal) -> list[str]:
    return [json.loads(line)["status"] for line in (journal.folder / "outcomes.jsonl").read_text().splitlines()]


@pytest.mark.alone
@pytest.mark.slow
def test_the_same_command_measures_again_only_what_a_disturbed_machine_spoilt(place: UserFolder) -> None:
    journal = run_of(place, measured(place, "--model", "sine.onnx"))
    kept(journal, None)
    before = fates(journal)
    assert place.run("plan", "--model", "sine.onnx", *QUICK).returncode == 0
    assert fates(journal) == before

    kept(journal, Noise(seconds=3.0, cpus=2, other_load=0.7))
    told = place.run("plan", journal.folder.name, "--config", "traffic.yaml").stdout
    assert "while the original was timed: other programs used 70 % of the CPU time" in told
    assert place.run("plan", "--model", "sine.onnx", *QUICK).returncode == 0
    assert fates(journal)[len(before) :][:3] == ["measured", "invalid", "measured"]


@pytest.mark.alone
@pytest.mark.slow
def test_inputs_may_be_given_and_their_labels_are_not_looked_at(place: UserFolder) -> None:
    ended = measured(place, "--model", "model.onnx", "--inputs", "evaluation.npz")
    assert ended.returncode == 0, ended.stderr
    assert "made up" not in ended.stdout
    run = run_of(place, ended).run()
    assert (run.against, run.metric.name) == ("original", "cosine")
    assert not any("calibration" in note or "labels" in note for note in run.notes)


@pytest.mark.alone
@pytest.mark.slow
def test_a_model_that_random_inputs_break_says_so(place: UserFolder) -> None:
    one_operator(place.folder / "log.onnx", "Log", "batch")
    ended = measured(place, "--model", "log.onnx")
    assert ended.returncode == 1
    assert "its inputs were random, and real ones may not break it: give some with --inputs" in ended.stderr


def test_a_file_that_does_not_describe_its_inputs_asks_for_some() -> None:
    with pytest.raises(
        ModelFileError, match=r"the model takes x, y, and its file does not say .*: give real inputs with"
    ):
        inputs_of(("x", "y"), (), ())


def words(place: UserFolder, model: str = "", **more: Any) -> str:
    """What `plan` says no with, called as the command line would."""
    named = place.folder / model if model else None
    with pytest.raises(UsageError) as refused:
        plan(config=place.folder / "traffic.yaml", model=named, out=place.folder / "refused", **more)
    assert not list((place.folder / "refused").glob("*/run.json"))
    return str(refused.value)


HERE: Mapping[str, Any] = {"measure": True, "machine": "aws/c7i.large", "provider": ["cpu"], "quiet": True}


@pytest.mark.parametrize(
    ("model", "more", "said"),
    [
        ("model.onnx", {}, "how fast it is was never measured; add --measure"),
        ("model.onnx", {"measure": True}, "what its machine costs is not said: add --machine aws/c7i.large"),
        ("model.onnx", {"run": "a-run"}, "both a run ('a-run') and --model "),
        ("", {"run": "a-run", "measure": True}, "--measure is for --model: the run 'a-run' was measured already"),
        ("", {"run": "a-run", "dim": ["length=3"]}, "--provider, --inputs, --dim and --time-limit say how --measure"),
        ("", {}, "nothing to plan with: give a run, --model model.onnx --measure, or --arch"),
        ("model.onnx", {**HERE, "machine": "aws/c7i.larg"}, "'aws/c7i.larg' is not in the price book; near: aws/c7i"),
        ("absent.onnx", HERE, "there is no file "),
        ("eights.onnx", HERE, "takes batches of 8 only, and a plan takes one request a call"),
        ("lengths.onnx", HERE, "or --dim length=128"),
        ("sine.onnx", {**HERE, "dim": ["n=3"]}, "--dim n=3: sine.onnx has no such axis; those that vary: none"),
        (
            "model.onnx",
            {**HERE, "inputs": "{folder}/evaluation.npz", "dim": ["a=3"]},
            "--dim a=3: the inputs that were given have",
        ),
        ("model.onnx", {**HERE, "inputs": "absent.npz"}, "--inputs: no such file: absent.npz"),
    ],
)
def test_what_cannot_be_planned_with_is_refused_before_anything_is_measured(
    place: UserFolder, model: str, more: Mapping[str, Any], said: str
) -> None:
    inside = {key: one.format(folder=place.folder) if isinstance(one, str) else one for key, one in more.items()}
    assert said in words(place, model, **inside)
