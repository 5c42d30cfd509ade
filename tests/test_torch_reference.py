"""PyTorch as a reference: the same model and inputs, in a child of its own, and the same outputs as the ONNX file."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from torch import nn

from costopt.errors import CandidateError
from costopt.measuring import session, torch_session
from costopt.measuring.bench import Engine, Subject, opening, serve
from costopt.records import Setting, Spec
from costopt.worker import Answer, Child
from tests import models, stages

pytestmark = pytest.mark.alone

LIMIT_S = 300.0


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One for all tests, since importing torch takes seconds; each opens a model of its own in it."""
    with Child("bench", tmp_path_factory.mktemp("child") / "child.log") as one:
        yield one


def subject(model: nn.Module, path: Path, engine: Engine = "torch", batch: int = 4) -> Subject:
    samples = stages.samples_of(model, path.parent)
    return Subject(str(path), Setting(Spec("torch"), batch, threads=1), samples, engine=engine)


def opened(child: Child, asked: Subject) -> Answer:
    return child.ask(*opening(asked), LIMIT_S)


@pytest.mark.slow
@pytest.mark.parametrize("make", [models.small_cnn, models.small_encoder, models.two_in_two_out])
def test_eager_pytorch_is_served_like_a_session_and_computes_what_the_onnx_file_does(
    make: Callable[[], nn.Module], child: Child, tmp_path: Path
) -> None:
    onnx_file = tmp_path / "model.onnx"
    models.save_once(make, onnx_file)
    service = serve(child, subject(make(), models.save_pt2(make(), tmp_path / "model.pt2")))
    assert service.first_call_s > 0
    assert service.nodes == {}
    assert service.peak_memory_bytes() > 0
    assert len(child.ask(session.time_calls, {"seconds": 0.01, "least": 3}, LIMIT_S)["seconds"]) >= 3
    assert child.ask(torch_session.held_against, {"path": str(onnx_file)}, LIMIT_S)["relative_error"] < 1e-5


def test_torchscript_is_served_eagerly_and_torch_compile_refuses_it(child: Child, tmp_path: Path) -> None:
    model = models.small_cnn()
    asked = subject(model, models.save_torchscript(model, tmp_path / "model.pt"))
    assert opened(child, asked)["first_call_s"] > 0
    with pytest.raises(CandidateError, match=r"torch\.compile does not compile TorchScript"):
        opened(child, dataclasses.replace(asked, engine="torch.compile"))


@pytest.mark.slow
def test_torch_compile_compiles_the_model_and_leaves_nothing_that_it_compiled(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS", "0")  # 17 s less
    monkeypatch.setenv("TMPDIR", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    model = models.two_in_two_out()
    models.save_once(models.two_in_two_out, tmp_path / "model.onnx")
    asked = subject(model, models.save_pt2(model, tmp_path / "model.pt2"), "torch.compile")
    with Child("bench", tmp_path / "log") as compiling:
        eager_s = opened(child, dataclasses.replace(asked, engine="torch"))["first_call_s"]
        assert opened(compiling, asked)["first_call_s"] > 10 * eager_s  # seconds of compiling beside milliseconds
        against = {"path": str(tmp_path / "model.onnx")}
        assert compiling.ask(torch_session.held_against, against, LIMIT_S)["relative_error"] < 1e-5
    assert list((tmp_path / "scratch").rglob("*.so")) == []


@pytest.mark.slow
def test_without_a_cpp_compiler_torch_compile_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-such-compiler"))
    model = models.two_in_two_out()
    asked = subject(model, models.save_pt2(model, tmp_path / "model.pt2"), "torch.compile")
    with Child("bench", tmp_path / "log") as child, pytest.raises(CandidateError, match=r"needs a C\+\+ compiler"):
        opened(child, asked)


def test_another_model_under_the_same_name_is_found_out(child: Child, tmp_path: Path) -> None:
    other = models.save_onnx(models.small_cnn(seed=1), tmp_path / "other.onnx")
    opened(child, subject(models.small_cnn(), models.save_pt2(models.small_cnn(), tmp_path / "model.pt2")))
    with pytest.raises(CandidateError, match=r"outputs are off by .* of other\.onnx's, allowed 0\.001") as caught:
        child.ask(torch_session.held_against, {"path": str(other)}, LIMIT_S)
    assert caught.value.stage == "check"


def test_what_pytorch_cannot_run_is_said_with_what_to_do(child: Child, tmp_path: Path) -> None:
    model = models.two_in_two_out()
    onnx_file = tmp_path / "model.onnx"
    models.save_once(models.two_in_two_out, onnx_file)
    with pytest.raises(CandidateError, match=r"is an ONNX file, which PyTorch can't run; give the \.pt2 file"):
        opened(child, subject(model, onnx_file))
    with pytest.raises(CandidateError, match="the model takes 'image', and the inputs are left, right"):
        opened(child, subject(model, models.save_pt2(models.small_cnn(), tmp_path / "model.pt2")))
    with pytest.raises(CandidateError, match="--arch"):
        opened(child, subject(model, models.save_state_dict(model, tmp_path / "weights.pt")))
