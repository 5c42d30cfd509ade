"""The loop that learns: schedule, budget, what is kept, what stays zero, and going on after a kill."""

import logging
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from costopt.errors import CandidateError
from costopt.learning import resuming, training
from costopt.learning.resuming import Kept
from costopt.learning.training import Budget, Score, Task, Trained, schedule, train

WANTED = torch.linspace(-1, 1, 12).reshape(3, 4)


class Regression:
    """To become the linear map `WANTED`. The batch depends on the step alone; `broken` steps have no loss."""

    def __init__(self, model: nn.Linear, broken: frozenset[int] = frozenset()) -> None:
        self.model, self.broken = model, broken
        self.steps: list[int] = []

    def loss(self, step: int) -> Tensor:
        self.steps.append(step)
        inputs = torch.randn((16, 4), generator=torch.Generator().manual_seed(step))
        apart: Tensor = (self.model(inputs) - inputs @ WANTED.T).square().mean()
        return apart * (float("nan") if step in self.broken else 1)

    def score(self) -> Score:
        apart = float((self.model.weight.detach() - WANTED).square().mean())
        return Score(apart, max(0.0, 1 - apart))


class Killed(Exception):
    """The process ends here."""


class Ending(Regression):
    """A regression whose process ends at step `last`."""

    def __init__(self, model: nn.Linear, last: int) -> None:
        super().__init__(model)
        self.last = last

    def loss(self, step: int) -> Tensor:
        if step == self.last:
            raise Killed
        return super().loss(step)


def linear(seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(4, 3, bias=False)


def learned(model: nn.Linear, steps: int = 200, rate: float = 0.1, task: Task | None = None) -> Trained:
    return train(model, task or Regression(model), Budget(0, steps), rate)


# ---------------------------------------------------------------------------------------- schedule and budget


@given(progress=st.floats(0, 1))
def test_the_rate_is_a_share_of_its_peak(progress: float) -> None:
    assert 0 <= schedule(progress) <= 1


def test_the_rate_rises_to_its_peak_and_falls_to_nothing() -> None:
    assert schedule(0) == 0
    assert schedule(training.WARM_UP) == 1
    assert schedule(1) == pytest.approx(0)
    falling = [schedule(training.WARM_UP + share * (1 - training.WARM_UP)) for share in (0, 0.25, 0.5, 0.75, 1)]
    assert falling == sorted(falling, reverse=True)


def test_a_budget_in_seconds_follows_the_time_and_one_in_steps_the_steps() -> None:
    assert Budget(60).progress(step=1000, elapsed_s=15) == 0.25
    assert Budget(60, steps=400).progress(step=100, elapsed_s=1000) == 0.25
    assert Budget(60).progress(step=1, elapsed_s=100) == 1


def test_a_budget_in_steps_takes_so_many() -> None:
    model = linear()
    task = Regression(model)
    assert learned(model, steps=7, task=task).steps == 7
    assert task.steps == list(range(7))


def test_a_budget_in_seconds_ends() -> None:
    model = linear()
    trained = train(model, Regression(model), Budget(0.2), 0.1)
    assert trained.steps > 1
    assert trained.after.loss < trained.before.loss


# ---------------------------------------------------------------------------------------- what is kept


def test_what_can_be_learned_is_learned() -> None:
    model = linear()
    trained = learned(model)
    assert trained.after.loss < 1e-3 * trained.before.loss
    assert torch.allclose(model.weight, WANTED, atol=0.05)


@pytest.mark.parametrize("rate", [1e-3, 0.1, 100.0])
def test_what_is_left_in_the_model_is_what_was_scored_and_never_worse_than_before(rate: float) -> None:
    model = linear()
    task = Regression(model)
    before = task.score()
    trained = learned(model, steps=20, rate=rate, task=task)
    assert task.score() == trained.after
    assert trained.after.loss <= before.loss
    assert not model.training


def test_a_model_that_is_right_already_is_left_as_it_is() -> None:
    model = linear()
    with torch.no_grad():
        model.weight.copy_(WANTED)
    trained = learned(model, steps=20)
    assert trained.after == trained.before
    assert torch.equal(model.weight, WANTED)


def test_zeros_stay_zeros() -> None:
    model = linear()
    with torch.no_grad():
        model.weight[:, 1] = 0
    learned(model)
    assert torch.equal(model.weight[:, 1], torch.zeros(3))
    assert torch.allclose(model.weight[:, 2], WANTED[:, 2], atol=0.05)


def test_one_zero_among_many_is_learned_like_the_rest() -> None:
    model = linear()
    with torch.no_grad():
        model.weight[0, 0] = 0
    learned(model)
    assert float(model.weight.detach()[0, 0]) == pytest.approx(-1, abs=0.05)


def test_weights_that_want_no_gradient_stay_unless_none_does() -> None:
    model = nn.Sequential(linear(), nn.Linear(3, 3))
    model[0].weight.requires_grad_(False)
    assert set(training._learned(model)) == {"1.weight", "1.bias"}
    model.requires_grad_(False)
    assert set(training._learned(model)) == {"0.weight", "1.weight", "1.bias"}


# ---------------------------------------------------------------------------------------- a loss that is no number


def test_a_loss_that_is_no_number_once_lowers_the_rate(caplog: pytest.LogCaptureFixture) -> None:
    model = linear()
    with caplog.at_level(logging.INFO, "costopt"):
        trained = learned(model, task=Regression(model, broken=frozenset({50})))
    assert "going on at a lower rate" in caplog.text
    assert trained.after.loss < 1e-2 * trained.before.loss


def test_a_loss_that_is_no_number_twice_is_refused() -> None:
    model = linear()
    with pytest.raises(
        CandidateError, match=r"no number at step 61, also at a rate of 0\.03; set a lower learning_rate"
    ):
        learned(model, task=Regression(model, broken=frozenset({50, 60})))


# ---------------------------------------------------------------------------------------- what no run can start from


@pytest.mark.parametrize(
    ("budget", "rate", "words"),
    [
        (Budget(0), 0.1, "seconds must be more than 0, not 0"),
        (Budget(10, steps=0), 0.1, "steps must be more than 0, not 0"),
        (Budget(10), -1.0, "learning_rate must be more than 0, not -1"),
        (Budget(1e-9), 0.1, r"the budget of 1e-09 s was over after one step of .* s; give it more seconds"),
    ],
)
def test_options_out_of_range_are_refused(budget: Budget, rate: float, words: str) -> None:
    model = linear()
    with pytest.raises(CandidateError, match=words):
        train(model, Regression(model), budget, rate)


def test_weights_with_nan_are_refused_by_name() -> None:
    model = linear()
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    with pytest.raises(CandidateError, match="'weight' holds NaN"):
        learned(model)


def test_weights_in_half_precision_are_refused() -> None:
    with pytest.raises(CandidateError, match=r"'weight' is torch.float16: .* load the model in float32"):
        learned(linear().half())


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(CandidateError, match="no weights that could be learned"):
        train(nn.ReLU(), Regression(linear()), Budget(1), 0.1)


# ---------------------------------------------------------------------------------------- killed, and going on


@pytest.mark.parametrize("last", [1, 33, 59])
def test_a_killed_run_ends_where_it_would_have_ended(
    last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "EVERY_S", 0.0)
    monkeypatch.setattr(resuming, "SHARE", 1e9)
    whole = linear()
    unbroken = learned(whole, steps=60)
    with pytest.raises(Killed):
        train(first := linear(), Ending(first, last), Budget(0, 60), 0.1, folder=tmp_path)
    second = linear(seed=1)
    task = Regression(second)
    assert train(second, task, Budget(0, 60), 0.1, folder=tmp_path) == unbroken
    assert task.steps == list(range(last, 60))
    assert torch.equal(second.weight, whole.weight)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off", b"\x80\x02."])
def test_a_damaged_checkpoint_is_as_good_as_none(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "training.pt").write_bytes(damage)
    assert Kept(tmp_path / "training.pt", "work").read() is None


def test_a_checkpoint_of_other_work_is_not_taken(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "folder" / "state.pt", "this", every_s=0)
    kept.write_if_due(lambda: {"step": 3, "weights": {"a": torch.ones(2)}})
    assert Kept(tmp_path / "folder" / "state.pt", "that").read() is None
    state = Kept(tmp_path / "folder" / "state.pt", "this").read()
    assert state is not None
    assert state["step"] == 3
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["state.pt"]


def test_nothing_is_written_before_it_is_due(tmp_path: Path) -> None:
    Kept(tmp_path / "state.pt", "work").write_if_due(dict)
    assert not list(tmp_path.iterdir())
