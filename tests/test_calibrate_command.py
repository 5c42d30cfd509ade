"""`costopt calibrate`: what it refuses before it times anything, and the file that it leaves."""

import subprocess
import sys
from pathlib import Path

import pytest

from costopt.projecting import calibration, trials
from costopt.projecting.calibrating import written
from costopt.records import Spec


def command(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    whole = [sys.executable, "-m", "costopt", "calibrate", *arguments]
    return subprocess.run(whole, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--machine", "aws/c7g.larg"),
            "--machine: the price book has no 'aws/c7g.larg'; did you mean 'aws/c7g.large'?",
        ),
        (("--provider", "cpo"), "--provider: no provider 'cpo'; did you mean 'cpu'?"),
        (("--out", "nowhere/c.json"), "nowhere is no folder"),
        (("--threads", "0"), "Invalid value for '--threads'"),
    ],
)
def test_bad_input_ends_with_2_before_anything_is_timed(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    ended = command(tmp_path, *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_reference_graphs_are_timed_as_candidates_are(tmp_path: Path) -> None:
    few = [one for place, one in enumerate(written(tmp_path)) if place in (0, 1, 150)]
    seconds = trials.timed(few, Spec("cpu"), 1, tmp_path, lambda _: None)
    assert seconds.keys() == {one.name for one in few}
    assert all(1e-6 < taken < 1 for taken in seconds.values())


@pytest.mark.slow
def test_the_file_comes_home_with_every_rate(tmp_path: Path) -> None:
    ended = command(tmp_path, "--machine", "aws/c7a.large", "--threads", "1", "--quiet")
    assert (ended.returncode, ended.stderr) == (0, "")
    found = calibration.read(tmp_path / "calibration.json")
    assert (found.instance, found.provider, found.threads) == ("aws/c7a.large", "cpu", 1)
    assert len(found.errors) > 150
    assert "reference graphs: median error" in ended.stdout
