"""`costopt bench` from the command line: real processes and models; whoever fails or lies is one line of the table."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from costopt.benching.measurements import Benched
from costopt.journal import BenchJournal
from tests import user_folder
from tests.user_folder import UserFolder

pytestmark = pytest.mark.alone

QUICK = ("--provider", "cpu", "--threads", "1", "--precision", "40%", "--time-limit", "6s")
REAL = ("--inputs", "evaluation.npz")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> UserFolder:
    place = user_folder.make(tmp_path_factory.mktemp("bench"))
    shutil.copy(place.folder / "model.onnx", place.folder / "twin.onnx")
    crashing(place.folder / "crashing.onnx")
    return place


def crashing(path: Path) -> None:
    """A model that loads, and fails in every call: it wants (batch, 144) reshaped to three numbers."""
    shape = helper.make_tensor("shape", TensorProto.INT64, (1,), [3])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ("batch", 1, 12, 12))
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, (None,))
    graph = helper.make_graph([helper.make_node("Reshape", ["image", "shape"], ["out"])], "g", [image], [out], [shape])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)


def run(place: UserFolder, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`costopt bench`."""
    return place.patiently("bench", *arguments)


def as_json(place: UserFolder, *arguments: str) -> Any:
    ended = run(place, *arguments, "--format", "json", "--quiet")
    assert ended.returncode in (0, 3), ended.stderr
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def settled(place: UserFolder) -> "subprocess.CompletedProcess[str]":
    """A bench of two models that is over."""
    return run(place, "model.onnx", "twin.onnx", *REAL, *QUICK)


def test_two_models_are_settled_in_one_table_with_raw_samples_on_the_disk(
    place: UserFolder, settled: "subprocess.CompletedProcess[str]"
) -> None:
    assert settled.returncode == 0, settled.stderr
    assert "model.onnx" in settled.stdout
    assert "twin.onnx" in settled.stdout
    assert "RANDOM" not in settled.stdout
    folder = place.folder / settled.stderr.rpartition("run: ")[2].strip()
    outcomes = BenchJournal(folder).outcomes()
    assert len(outcomes) == 2
    for one in outcomes:
        assert isinstance(one, Benched)
        assert len(one.found.seconds) > 24  # type: ignore[union-attr]
        assert one.opened.placement.nodes["CPUExecutionProvider"] > 0
        assert one.opened.precision == "float32"


def test_the_same_command_again_measures_nothing_and_show_prints_it_too(
    place: UserFolder, settled: "subprocess.CompletedProcess[str]"
) -> None:
    again = run(place, "model.onnx", "twin.onnx", *REAL, *QUICK)
    assert again.stdout == settled.stdout
    assert "2 of 2 candidates are known" in again.stderr
    shown = place.run("show", settled.stderr.rpartition("run: ")[2].strip())
    assert shown.stdout == settled.stdout


def test_a_model_that_fails_is_a_line_and_the_others_go_on(place: UserFolder) -> None:
    report = as_json(place, "crashing.onnx", "model.onnx", *REAL, *QUICK)
    assert [row["status"] for row in report["rows"]] == ["failed", "measured"]
    assert "does not run" in report["rows"][0]["reason"]


def test_a_bench_of_nothing_but_failures_says_why(place: UserFolder) -> None:
    ended = place.run("bench", "crashing.onnx", *REAL, *QUICK)
    assert ended.returncode == 1
    assert "crashing.onnx" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_random_inputs_are_labelled(place: UserFolder) -> None:
    report = as_json(place, "model.onnx", *QUICK)
    assert report["feed"]["random"] is True


@pytest.mark.slow
def test_whole_machine_and_server_run_through_the_same_command(place: UserFolder) -> None:
    offline = as_json(place, "model.onnx", *REAL, "--scenario", "offline", "--max-batch", "2", *QUICK)
    assert offline["rows"][0]["status"] == "measured"
    asked = ("-s", "server", "--rate", "400", "--p99-ms", "200", "--max-batch", "1", "--time-limit", "20s")
    held = run(place, "model.onnx", *REAL, *asked, *QUICK[:4])
    assert held.returncode == 0, held.stderr
    assert "holds 400 requests/s with p99 within 200 ms" in held.stdout


def test_a_promise_that_cannot_be_kept_ends_with_three(place: UserFolder) -> None:
    ended = run(place, "model.onnx", *REAL, "-s", "server", "--rate", "50", "--p99-ms", "0.001", *QUICK)
    assert ended.returncode == 3, ended.stderr


@pytest.mark.slow
def test_tuning_leaves_the_settings_and_the_lines_to_paste_beside_the_run(place: UserFolder) -> None:
    ended = run(place, "model.onnx", *REAL, "--tune", *QUICK[:4], "--precision", "20%", "--time-limit", "15s")
    assert ended.returncode == 0, ended.stderr
    folder = place.folder / ended.stderr.rpartition("run: ")[2].strip()
    settings = json.loads((folder / "session_options.json").read_text())
    assert settings["provider"] == "CPUExecutionProvider"
    shutil.copy(place.folder / "model.onnx", folder)
    script = (folder / "serve.py").read_text() + "print(session.get_inputs()[0].name)"
    served = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    assert served.stdout.strip() == "image"


def outcomes_bytes(place: UserFolder) -> int:
    return sum(path.stat().st_size for path in (place.folder / "runs").glob("bench-*/outcomes.jsonl"))


@pytest.mark.slow
def test_kill_nine_loses_at_most_the_contender_in_flight(place: UserFolder) -> None:
    arguments = ("model.onnx", "twin.onnx", *REAL, "--seed", "7", *QUICK)
    process = place.start("bench", *arguments)
    before = outcomes_bytes(place)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and outcomes_bytes(place) == before:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    again = run(place, *arguments)
    assert again.returncode == 0, again.stderr
    assert "of 2 candidates are known already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.onnx",), "nowhere.onnx"),
        (("model.onnx", "model.onnx"), "named twice"),
        (("model.onnx", "--provider", "gpu"), "no 'gpu'"),
        (("model.onnx", "--provider", "directml"), "Windows"),
        (("model.onnx", "--inputs", "wrong.npz"), "wrong.npz"),
        (("model.onnx", "--inputs", "narrow.npz"), "image"),
        (("model.onnx", "--reference", "torch"), "is an ONNX file"),
        (("model.onnx", "-s", "server", "--rate", "0", "--p99-ms", "5"), "more than zero"),
        (("text.onnx",), "text.onnx"),
    ],
)
def test_bad_input_is_answered_in_words_with_exit_two_and_nothing_half_written(
    tmp_path: Path, place: UserFolder, arguments: tuple[str, ...], words: str
) -> None:
    shutil.copy(place.folder / "model.onnx", tmp_path)
    np.savez(tmp_path / "narrow.npz", image=np.zeros((4, 1, 5, 5), np.float32))
    (tmp_path / "text.onnx").write_text("not a model")
    ended = UserFolder(tmp_path).run("bench", *arguments)
    assert ended.returncode == 2, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert len(ended.stderr.strip().splitlines()) <= 2
    assert not list(tmp_path.glob("runs/*/outcomes.jsonl"))
