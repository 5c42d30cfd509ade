"""A student of the user's own: taught from its first weights, and refused in words where it does not fit."""

import sys
from pathlib import Path

import pytest
import torch

from costopt import export
from costopt.errors import CandidateError, UsageError
from costopt.formats import Modules
from costopt.learning.students import made
from costopt.methods.distill import Distill
from tests.torch_patients import PATIENTS, context_of, outputs, parameters, relative_error, specs_of

STUDENTS = """
import torch
from torch import nn

def narrow():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(3),
                         nn.Flatten(), nn.Linear(36, 10))

def wrong_outputs():
    return nn.Sequential(nn.Flatten(), nn.Linear(144, 7))

class Two(nn.Module):
    def forward(self, left, right):
        return left + right

def two_inputs():
    return Two()

def no_network():
    return 3

def broken():
    raise ValueError("no such width")
"""


@pytest.fixture
def students(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_students.py").write_text(STUDENTS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_students", raising=False)


@pytest.mark.usefixtures("students")
def test_a_student_learns_what_the_original_gives() -> None:
    module, arrays = PATIENTS["lenet"].graph(), PATIENTS["lenet"].arrays(160)
    seen, unseen = ({name: one[part] for name, one in arrays.items()} for part in (slice(128), slice(128, None)))
    context = context_of(module, seen)
    fresh = made("my_students:narrow", module, context)
    taught = Distill(steps=60, batch=32, student="my_students:narrow")(module, context)
    assert parameters(taught) == parameters(fresh) < parameters(context.original())
    assert relative_error(taught, context.original(), unseen) < relative_error(fresh, context.original(), unseen)
    assert [one.shape for one in outputs(taught, unseen)] == [(32, 10)]


@pytest.mark.usefixtures("students")
def test_it_takes_its_inputs_under_the_originals_names() -> None:
    module, arrays = PATIENTS["lenet"].graph(), PATIENTS["lenet"].arrays(16)
    student = made("my_students:narrow", module, context_of(module, arrays))
    program = export.program_of(Modules(student, tuple(arrays)), specs_of(arrays), arrays)
    assert export.input_names(program.program) == ("image",)


@pytest.mark.usefixtures("students")
def test_its_first_weights_follow_from_the_seed() -> None:
    module = PATIENTS["lenet"].graph()
    contexts = [context_of(module, PATIENTS["lenet"].arrays(20), seed) for seed in (0, 0, 1)]
    first, same, other = (made("my_students:narrow", module, one).state_dict() for one in contexts)
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("my_students:wrong_outputs", r"the student gives \[\(.*, 7\)\] for a batch, and the original \[\(.*, 10\)\]"),
        ("my_students:two_inputs", "takes left, right, and the original takes image"),
        ("my_students:no_network", "gave a int, not a torch.nn.Module"),
        ("my_students:broken", "raised ValueError: no such width"),
    ],
)
@pytest.mark.usefixtures("students")
def test_a_student_that_does_not_fit_is_refused_in_words(reference: str, reason: str) -> None:
    module = PATIENTS["lenet"].graph()
    with pytest.raises(CandidateError, match=reason):
        Distill(steps=2, batch=16, student=reference)(module, context_of(module, PATIENTS["lenet"].arrays(32)))


@pytest.mark.usefixtures("students")
def test_a_student_that_is_not_there_is_told_with_those_that_are() -> None:
    module = PATIENTS["lenet"].graph()
    with pytest.raises(UsageError, match=r"has no function 'wide'; it has .*narrow"):
        made("my_students:wide", module, context_of(module, PATIENTS["lenet"].arrays(20)))
