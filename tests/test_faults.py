"""What can go wrong in the middle of a run, with real processes and real signals: nothing that was written is lost."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from costopt.journal import Journal
from tests import user_folder
from tests.user_folder import UserFolder

pytestmark = pytest.mark.alone

RECIPES = [
    [],
    ["int8_static"],
    [{"int8_static": {"per_channel": False}}],
    [{"int8_static": {"calibration": "percentile"}}],
]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return user_folder.make(tmp_path_factory.mktemp("faults") / "template").folder


@pytest.fixture
def place(template: Path, tmp_path: Path) -> UserFolder:
    shutil.copytree(template, tmp_path / "place")
    one = UserFolder(tmp_path / "place")
    one.budget({"recipes": RECIPES})
    return one


def start(place: UserFolder) -> "subprocess.Popen[str]":
    return place.start("compress", "model.onnx", "--config", "budget.yaml")


def until(holds: Callable[[], bool], limit_s: float = 90.0) -> None:
    deadline = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def outcomes(place: UserFolder) -> int:
    return sum(len(Journal(folder).outcomes()) for folder in place.runs())


def interrupted_after(place: UserFolder, count: int, number: int) -> tuple[int, str]:
    process = start(place)
    until(lambda: outcomes(place) >= count)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "a child outlived the run"
    return process.returncode, err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_keeps_what_it_has_and_says_how_to_go_on(place: UserFolder, number: int, code: int) -> None:
    returncode, err = interrupted_after(place, 1, number)
    assert returncode == code
    assert "Traceback" not in err
    assert "run the same command again to go on" in err
    assert outcomes(place) >= 1


@pytest.mark.slow
def test_after_kill_nine_the_same_command_goes_on_where_it_stopped(place: UserFolder) -> None:
    interrupted_after(place, 2, signal.SIGKILL)
    lines = place.runs()[0] / "outcomes.jsonl"
    whole = lines.read_bytes().rpartition(b"\n")[0]
    ended = place.compress("--format", "json")
    assert ended.returncode == 0, ended.stderr
    assert "candidates are known already" in ended.stderr
    assert lines.read_bytes().startswith(whole), "what was found stays"
    assert len(Journal(place.runs()[0]).outcomes()) == len(RECIPES)
    assert all(row["status"] == "measured" for row in json.loads(ended.stdout)["candidates"])


@pytest.mark.slow
def test_an_interrupted_run_can_be_shown(place: UserFolder) -> None:
    interrupted_after(place, 1, signal.SIGINT)
    shown = place.run("show", place.runs()[0].name)
    assert shown.returncode == 0, shown.stderr
    assert "not measured yet" in shown.stdout


@pytest.mark.slow
def test_a_second_run_in_the_same_folder_is_told(place: UserFolder) -> None:
    first = start(place)
    until(lambda: bool(place.runs()))
    second = place.compress()
    assert second.returncode == 2
    assert "another run is writing into" in second.stderr
    assert "Traceback" not in second.stderr
    first.terminate()
    first.communicate(timeout=30)


@pytest.mark.slow
def test_a_finished_run_is_not_measured_again(place: UserFolder) -> None:
    place.budget()
    assert place.compress().returncode == 0
    lines = (place.runs()[0] / "outcomes.jsonl").read_bytes()
    assert place.compress().returncode == 0
    assert (place.runs()[0] / "outcomes.jsonl").read_bytes() == lines


def test_an_output_folder_that_cannot_be_written_is_found_before_work_starts(place: UserFolder) -> None:
    (place.folder / "taken").write_text("a file where the folder should be")
    ended = place.compress("--out", "taken")
    assert ended.returncode == 2
    assert "give another folder with --out" in ended.stderr
    assert "Traceback" not in ended.stderr
