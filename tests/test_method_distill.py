"""Distillation: a damaged model learns from the original, and what can't be learned from is refused."""

import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx

from costopt.errors import CandidateError, NotApplicable
from costopt.learning import acceleration, resuming, teaching
from costopt.learning.acceleration import Acceleration
from costopt.methods import Arrays, Context
from costopt.methods.distill import Distill
from tests.onnx_graphs import Held
from tests.torch_patients import PATIENTS, context_of, relative_error

SAMPLES = 96

LEARNING = Distill(steps=30, batch=16)


def damaged(module: fx.GraphModule) -> fx.GraphModule:
    """Kernels and matrices lose a fifth of their size."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(0.8 if weight.ndim > 1 else 1)
    return module


def case(name: str, folder: Path | None = None) -> tuple[fx.GraphModule, Context, Arrays]:
    """A damaged patient, its teacher, and inputs that neither has seen."""
    module, arrays = PATIENTS[name].graph(), PATIENTS[name].arrays(SAMPLES + 8)
    seen = {key: array[:SAMPLES] for key, array in arrays.items()}
    context = context_of(module, seen, folder=folder)
    return damaged(module), context, {key: array[SAMPLES:] for key, array in arrays.items()}


@pytest.mark.parametrize("name", ["cnn", "encoder", "recurrent", "recommender"])
def test_on_unseen_inputs_the_model_is_nearer_to_the_original(name: str) -> None:
    module, context, unseen = case(name)
    before = relative_error(module, context.original(), unseen)
    after = relative_error(Distill(steps=40, batch=16)(module, context), context.original(), unseen)
    assert after < 0.8 * before


def test_what_is_the_original_already_has_nothing_to_learn() -> None:
    _, context, _ = case("cnn")
    with pytest.raises(NotApplicable, match="gives what the original gives already"):
        Distill(steps=2, batch=16)(context.original(), context)


def test_what_came_no_nearer_is_no_result() -> None:
    module, context, _ = case("lenet")
    with pytest.raises(NotApplicable, match="after 3 steps of learning the model was no nearer to the original"):
        Distill(steps=3, batch=16, learning_rate=1e3)(module, context)


def test_zeros_stay_zeros() -> None:
    module, context, _ = case("lenet")
    with torch.no_grad():
        weight = module.get_submodule("hidden").get_parameter("weight")
        weight[:, ::2] = 0
    after = Distill(steps=5, batch=16)(module, context).get_submodule("hidden").get_parameter("weight")
    assert not after[:, ::2].any()
    assert after[:, 1::2].all()


def test_padding_changes_nothing() -> None:
    """What stands in padded places of token inputs is never learned from."""
    learned = []
    for filler in (0, 5):
        module, context, _ = case("encoder")
        arrays = {name: array.copy() for name, array in PATIENTS["encoder"].arrays(SAMPLES).items()}
        arrays["attention_mask"][:, -2:] = 0
        arrays["input_ids"][:, -2:] = filler
        Distill(steps=3, batch=16)(module, Context(Held(arrays), context.input_names, context.original))
        learned.append(module.state_dict())
    first, second = learned
    differing = {name for name in first if not torch.allclose(first[name], second[name], atol=1e-5)}
    assert differing == set()


def test_news_say_where_it_is(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costopt.learning.training.NEWS_S", 0.0)
    module, context, _ = case("cnn")
    with caplog.at_level(logging.INFO, "costopt"):
        LEARNING(module, context)
    assert "distill: step 30 of 30, agreement " in caplog.text


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, context, _ = case("cnn")
    LEARNING(whole, context)
    monkeypatch.setattr(resuming, "EVERY_S", 0.0)
    monkeypatch.setattr(resuming, "SHARE", 1e9)
    told = teaching._Teaching.loss

    def killed(task: teaching._Teaching, step: int) -> torch.Tensor:
        if step == 20:
            raise KeyboardInterrupt
        return told(task, step)

    first, context, _ = case("cnn", tmp_path / "kept")
    with monkeypatch.context() as patched:
        patched.setattr(teaching._Teaching, "loss", killed)
        with pytest.raises(KeyboardInterrupt):
            LEARNING(first, context)
    second, context, _ = case("cnn", tmp_path / "kept")
    LEARNING(second, context)
    for name, tensor in whole.named_parameters():
        assert torch.allclose(second.get_parameter(name), tensor, atol=1e-6), name


KILLED = """
import sys
from pathlib import Path
from costopt.learning import resuming
from tests.test_method_distill import LEARNING, case
resuming.EVERY_S, resuming.SHARE = 0.0, 1e9
module, context, _ = case("lenet", Path(sys.argv[1]))
LEARNING(module, context)
"""


@pytest.mark.slow
def test_a_process_that_is_killed_hard_leaves_a_state_to_go_on_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)])
    while not (tmp_path / "training.pt").exists():
        assert process.poll() is None
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    (whole, context, _), (second, kept, _) = case("lenet"), case("lenet", tmp_path)
    LEARNING(whole, context)
    with caplog.at_level(logging.INFO, "costopt"):
        LEARNING(second, kept)
    assert "distill: going on from step " in caplog.text
    for name, tensor in whole.named_parameters():
        assert torch.allclose(second.get_parameter(name), tensor, atol=1e-6), name


# ---------------------------------------------------------------------------------------- what is refused


def test_a_student_that_does_not_fit_the_teacher_is_refused() -> None:
    _, context, _ = case("cnn")
    student = PATIENTS["autoencoder"].graph()
    with pytest.raises(CandidateError, match=r"the student gives \[\(8, 1, 12, 12\)\] for a batch, and the original"):
        Distill(steps=2, batch=16)(student, context)


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Distill(steps=2, batch=0), "batch must be more than 0, not 0"),
        (Distill(steps=2, temperature=0.0), "temperature must be more than 0, not 0"),
        (Distill(seconds=0), "seconds must be more than 0, not 0"),
        (Distill(seconds=1e-6), "was over after one step"),
        (Distill(steps=2, augment="crop"), "augment: no 'crop'"),
    ],
)
def test_options_out_of_range_are_refused(method: Distill, words: str) -> None:
    module, context, _ = case("cnn")
    with pytest.raises(CandidateError, match=words):
        method(module, context)


def test_infinite_inputs_are_refused() -> None:
    module, context, _ = case("cnn")
    arrays = PATIENTS["cnn"].arrays(32)
    arrays["image"][20] = np.inf
    with pytest.raises(CandidateError, match="NaN or infinite values on calibration inputs"):
        Distill(steps=2)(module, Context(Held(arrays), context.input_names, context.original))


def test_token_numbers_beyond_the_vocabulary_are_refused() -> None:
    module, context, _ = case("encoder")
    arrays = PATIENTS["encoder"].arrays(32)
    arrays["input_ids"] = arrays["input_ids"] + 1000
    with pytest.raises(CandidateError, match="can't be run on a batch of calibration inputs: index out of range"):
        Distill(steps=2)(module, Context(Held(arrays), context.input_names, context.original))


# ---------------------------------------------------------------------------------------- the way of computing


def test_a_way_that_fails_or_strays_is_not_taken() -> None:
    def attempt(way: Acceleration) -> list[torch.Tensor]:
        if way.channels_last:
            raise RuntimeError("view size is not compatible")
        return [torch.full((2, 3), 2.0 if way.bfloat16 else 1.0)]

    way = acceleration.fastest(attempt)
    assert (way.bfloat16, way.channels_last) == (False, False)


def test_a_model_that_runs_in_no_way_is_refused() -> None:
    def attempt(way: Acceleration) -> list[torch.Tensor]:
        raise RuntimeError(f"no kernel for {way.device}\nand a long trace")

    with pytest.raises(CandidateError, match=r"can't be run on a batch of calibration inputs: no kernel for \w+$"):
        acceleration.fastest(attempt)


def test_a_graph_that_names_a_device_is_moved_whole() -> None:
    module = PATIENTS["encoder"].graph()
    named = [node for node in module.graph.nodes if "device" in node.kwargs]
    assert named
    Acceleration(torch.device("meta")).moved(module)
    assert {str(node.kwargs["device"]) for node in named} == {"meta"}
    given = module(*(torch.from_numpy(array).to("meta") for array in PATIENTS["encoder"].arrays(2).values()))
    assert {one.device.type for one in given.values()} == {"meta"}


def test_what_the_teacher_said_is_remembered() -> None:
    said = teaching._Said(4)
    assert said.recall(np.array([1, 2])) is None
    said.note(np.array([2, 1]), [torch.tensor([[20.0], [10.0]])])
    known = said.recall(np.array([1, 2]))
    assert known is not None
    assert torch.equal(known[0], torch.tensor([[10.0], [20.0]]))
    assert said.recall(np.array([1, 3])) is None


def test_the_rate_follows_what_the_model_is_made_of() -> None:
    rates = {name: teaching.usual_rate(PATIENTS[name].graph()) for name in ("encoder", "cnn", "lenet")}
    assert rates["encoder"] < rates["lenet"] < rates["cnn"]


def fixed(batch: int) -> tuple[fx.GraphModule, Context]:
    """A damaged patient that says that it takes one batch size only."""
    module, context, _ = case("lenet")
    image = next(node for node in module.graph.nodes if node.op == "placeholder")
    assert teaching.fixed_batch(module) is None
    image.meta["val"] = torch.empty((batch, 1, 12, 12), device="meta")
    return module, context


def test_a_model_with_a_fixed_batch_sees_no_other() -> None:
    module, context = fixed(7)
    sizes = set()
    module.get_submodule("head").register_forward_hook(lambda *given: sizes.add(len(given[2])))
    Distill(steps=3, batch=16)(module, context)
    assert sizes == {7}


def test_fewer_samples_than_a_fixed_batch_are_refused() -> None:
    module, context = fixed(100)
    with pytest.raises(CandidateError, match="the model takes batches of 100 samples, and 86 are there to learn from"):
        Distill(steps=3)(module, context)
