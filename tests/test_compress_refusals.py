"""Files and data that `costopt compress` refuses, in a line or two, before anything is measured."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import user_folder
from tests.user_folder import UserFolder


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return user_folder.make(tmp_path_factory.mktemp("refusals") / "template").folder


@pytest.fixture
def place(template: Path, tmp_path: Path) -> UserFolder:
    """A fresh folder with a model and data, and no run in it."""
    one = UserFolder(shutil.copytree(template, tmp_path / "place"))
    one.budget({"recipes": []})
    return one


def make_a_folder_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "random bytes": lambda path: path.write_bytes(np.random.default_rng(0).bytes(3000)),
    "html": lambda path: path.write_text("<!DOCTYPE html><html><body>404</body></html>"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "missing": lambda path: path.unlink(),
    "a folder": make_a_folder_of,
}


@pytest.mark.parametrize(
    ("name", "what"),
    [
        (name, what)
        for name in ("model.onnx", "evaluation.npz", "budget.yaml")
        for what in BAD_FILES
        if (name, what) != ("budget.yaml", "truncated")  # half of a YAML file may well be a good YAML file
    ],
)
def test_a_bad_file_ends_in_a_line_or_two_and_exit_code_two(place: UserFolder, name: str, what: str) -> None:
    BAD_FILES[what](place.folder / name)
    ended = place.compress()
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""
    complaint = [line for line in ended.stderr.splitlines() if line.startswith("costopt: ")]
    assert len(complaint) == 1
    assert name in complaint[0]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": np.zeros((8, 1, 12, 12))}, "float64"),
        ({"image": np.zeros((8, 3, 12, 12), np.float32)}, "image"),
        ({"picture": np.zeros((8, 4), np.float32), "other": np.zeros((8, 4), np.float32)}, "image"),
        ({"image": np.zeros((1, 1, 12, 12), np.float32), "target": np.zeros(1, np.int64)}, "1 samples are too few"),
        ({"image": np.zeros((0, 1, 12, 12), np.float32), "target": np.zeros(0, np.int64)}, "evaluation"),
        ({"image": np.zeros((8, 1, 12, 12), np.float32), "target": np.full(8, 99)}, "99"),
        ({"image": np.zeros((8, 1, 12, 12), np.float32), "target": np.zeros(5, np.int64)}, "5"),
        ({"image": np.full((8, 1, 12, 12), np.nan, np.float32), "target": np.zeros(8, np.int64)}, "NaN"),
    ],
    ids=["dtype", "shape", "names", "one sample", "no sample", "label out of range", "too few labels", "NaN"],
)
def test_data_that_do_not_fit_are_explained(place: UserFolder, arrays: dict[str, Any], words: str) -> None:
    np.savez(place.folder / "evaluation.npz", **arrays)
    ended = place.compress()
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    assert words in ended.stderr
