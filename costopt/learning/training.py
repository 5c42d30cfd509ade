"""The one loop in which weights are learned: given a task that can tell its loss, within so many steps or seconds.

    weights ─▶ loss ─▶ AdamW ─▶ average ─▶ score on held-out samples ─▶ the best are kept

- The rate warms up and then falls along a cosine (Loshchilov and Hutter, arXiv:1608.03983). With a budget in seconds it
  follows the time that has passed, so that it ends at zero however fast the machine is.
- What is scored and kept is a running average of the weights (Polyak averaging; Izmailov et al., arXiv:1803.05407): at
  the end it is as good as the weights themselves (91.85 and 91.90 % top-1 on a residual CNN after 312 steps, measured
  2026-11), and on the way, while the rate is high, it is what makes a score mean something.
- Zeros stay zeros: a tensor with a noticeable share of them was pruned, and keeps its pattern.
- What is left in the model is never worse on the held-out samples than what was there before.
- Now and then the state is written to a folder, and a killed run goes on from there. With a budget in steps, and a task
  whose batches depend on the step alone, it ends where it would have ended anyway.
"""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from costopt.errors import CandidateError
from costopt.learning.resuming import Kept, State
from costopt.units import percent

log = logging.getLogger("costopt")

WARM_UP = 0.1
"""The share of the budget over which the rate rises. Chosen, not measured."""

AVERAGE_DECAY = 0.99
"""Weights a hundred steps ago count a third as much as today's."""

CLIPPED_NORM = 1.0
"""Gradients longer than this are shortened: the usual value for AdamW (as in GPT-3, arXiv:2005.14165)."""

PRUNED_SHARE = 0.1
"""Learned weights are hardly ever exactly zero; a tensor in which so many are was pruned."""

LOOKS = 10
"""How often held-out samples are scored in a run."""

LOOKING_SHARE = 0.1
"""Where scoring takes a larger share of a budget in seconds, it comes more rarely."""

NEWS_S = 10.0
"""Seconds between two lines in the log."""

SMALLER = 0.3
"""What the rate is multiplied by when the loss was no number."""

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to learn: `steps` if given, else `seconds`."""

    seconds: float
    steps: int | None = None

    def progress(self, step: float, elapsed_s: float) -> float:
        """How much is spent after `step` steps and `elapsed_s` seconds, from 0 to 1."""
        return min(1.0, elapsed_s / self.seconds if self.steps is None else step / self.steps)

    def in_words(self, step: int, elapsed_s: float) -> str:
        """Where a run is: "step 120 of 400", or "step 120, 31 of 60 s"."""
        if self.steps is not None:
            return f"step {step} of {self.steps}"
        return f"step {step}, {min(elapsed_s, self.seconds):.0f} of {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Score:
    """How weights do on held-out samples: the lowest `loss` is kept; `agreement`, from 0 to 1, is for people."""

    loss: float
    agreement: float


class Task(Protocol):
    """What is learned. Both functions work on the weights as they are then, and set the model's mode themselves."""

    def loss(self, step: int) -> Tensor:
        """The loss on the batch of step `step`, a scalar with a gradient."""

    def score(self) -> Score:
        """How the model does on samples that it does not learn from."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a run has brought. Nothing, when `after` is `before`."""

    before: Score
    after: Score
    steps: int


def schedule(progress: float) -> float:
    """The share of the peak rate at a share of the budget: a line up to 1 at `WARM_UP`, then half a cosine to 0."""
    if progress < WARM_UP:
        return progress / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def train(
    model: nn.Module,
    task: Task,
    budget: Budget,
    learning_rate: float,
    name: str = "training",
    folder: Path | None = None,
    started_s: float | None = None,
) -> Trained:
    """Learn in place; what scored best is left in the model, in eval mode.

    `name` opens the lines in the log. `folder` keeps the state of a run that may be killed. The budget's seconds began
    at `started_s` (`time.monotonic()`; None is now). Raises CandidateError when nothing can be learned, the budget is
    shorter than one step, or the loss is no number, twice.
    """
    _refuse(model, budget, learning_rate)
    run = _Run(model, task, budget, learning_rate, name, time.monotonic() if started_s is None else started_s)
    kept = Kept(folder / "training.pt", run.work) if folder is not None else None
    state = kept.read() if kept else None
    if state is None:
        run.begin()
    else:
        run.restore(state)
    while not run.is_over:
        run.step()
        run.look_if_due()
        if kept:
            kept.write_if_due(run.state)
    return run.finish()


def _refuse(model: nn.Module, budget: Budget, learning_rate: float) -> None:
    """Raises CandidateError for what no run can start from."""
    spent = ("seconds", budget.seconds) if budget.steps is None else ("steps", budget.steps)
    for name, value in (spent, ("learning_rate", learning_rate)):
        if not value > 0:
            raise CandidateError("compress", f"{name} must be more than 0, not {value:g}")
    for name, tensor in _tensors(model).items():
        if not torch.isfinite(tensor).all():
            words = f"'{_public(name)}' holds NaN or infinite values: nothing can be learned from them"
            raise CandidateError("compress", words)
        if isinstance(tensor, nn.Parameter) and tensor.dtype not in (torch.float32, torch.float64):
            words = f"'{name}' is {tensor.dtype}: steps of learning are too small for it; load the model in float32"
            raise CandidateError("compress", words)


def _public(name: str) -> str:
    """A weight's own name: torch files one under rounding as `stem.parametrizations.weight.original`."""
    return name.replace(".parametrizations.", ".").removesuffix(".original")


class _Run:
    """A run of training: the model, the optimiser, and all that a checkpoint must hold."""

    def __init__(
        self, model: nn.Module, task: Task, budget: Budget, learning_rate: float, name: str, started_s: float
    ) -> None:
        self._model, self._task, self._budget, self._rate, self._name = model, task, budget, learning_rate, name
        self._started_s, self._told_s = started_s, time.monotonic()
        self._live = _tensors(model)
        self._learned = _learned(model)
        self._masks = {name: one != 0 for name, one in self._learned.items() if _was_pruned(one)}
        self._optimiser = self._fresh_optimiser()
        self._done, self._looks, self._smaller, self._looked_s = 0, 0, 1.0, 0.0
        self.work = repr((name, astuple(budget), learning_rate, {key: one.shape for key, one in self._live.items()}))

    def _fresh_optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self._learned.values(), lr=self._rate, weight_decay=0.0, fused=True)

    # ------------------------------------------------------------------------------------ begin, go on, end

    def begin(self) -> None:
        """Score what is there. Raises CandidateError when that is no number."""
        self._average, self._best = _copied(self._live), _copied(self._live)
        self._before = self._best_score = self._scored()
        if not math.isfinite(self._before.loss):
            raise CandidateError("compress", "the model gives NaN or infinite values on calibration inputs")

    def state(self) -> State:
        """All that a run goes on from."""
        return {
            "live": _copied(self._live),
            "average": self._average,
            "best": self._best,
            "optimiser": self._optimiser.state_dict(),
            "before": astuple(self._before),
            "best_score": astuple(self._best_score),
            "numbers": (self._done, self._looks, self._smaller, self._elapsed_s),
        }

    def restore(self, state: State) -> None:
        """Go on from what `state` gave."""
        self._average, self._best = _copied(self._live), _copied(self._live)
        for here, name in ((self._live, "live"), (self._average, "average"), (self._best, "best")):
            _put(state[name], here)
        self._optimiser.load_state_dict(state["optimiser"])
        self._before, self._best_score = Score(*state["before"]), Score(*state["best_score"])
        self._done, self._looks, self._smaller, elapsed_s = state["numbers"]
        self._started_s = time.monotonic() - elapsed_s
        log.info("%s: going on from %s", self._name, self._budget.in_words(self._done, elapsed_s))

    def finish(self) -> Trained:
        """Leave the best in the model."""
        _put(self._best, self._live)
        self._model.eval()
        return Trained(self._before, self._best_score, self._done)

    @property
    def _elapsed_s(self) -> float:
        return time.monotonic() - self._started_s

    @property
    def _progress(self) -> float:
        return self._budget.progress(self._done, self._elapsed_s)

    @property
    def is_over(self) -> bool:
        """Whether the last look has been taken."""
        return self._looks >= LOOKS

    # ------------------------------------------------------------------------------------ learn

    def step(self) -> None:
        """One step on one batch."""
        began_s = time.monotonic()
        rate = self._rate * self._smaller * schedule(self._budget.progress(self._done + 0.5, self._elapsed_s))
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.zero_grad()
        loss = self._task.loss(self._done)
        self._done += 1
        if not torch.isfinite(loss):
            self._start_lower()
            return
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._follow_gradients()
        self._refuse_too_short(time.monotonic() - began_s)

    def _follow_gradients(self) -> None:
        for name, mask in self._masks.items():
            gradient = self._learned[name].grad
            if gradient is not None:
                gradient.mul_(mask)
        nn.utils.clip_grad_norm_(self._learned.values(), CLIPPED_NORM)
        self._optimiser.step()
        # the start is forgotten within a few steps, though the average is slow later on
        decay = min(AVERAGE_DECAY, self._done / (10 + self._done))
        with torch.no_grad():
            for name, tensor in self._live.items():
                self._average[name].lerp_(tensor.detach(), 1 - decay)

    def _start_lower(self) -> None:
        """Go back to the best, and on at a lower rate. Raises CandidateError the second time."""
        if self._smaller < 1:
            words = f"the loss was no number at step {self._done}, also at a rate of {self._rate * self._smaller:g}"
            raise CandidateError("compress", f"{words}; set a lower learning_rate")
        log.info("%s: the loss was no number at step %d; going on at a lower rate", self._name, self._done)
        self._smaller = SMALLER
        _put(self._best, self._live)
        _put(self._best, self._average)
        self._optimiser = self._fresh_optimiser()

    def _refuse_too_short(self, step_s: float) -> None:
        if self._done == 1 and self._budget.steps is None and self._elapsed_s > self._budget.seconds:
            words = f"the budget of {self._budget.seconds:g} s was over after one step of {step_s:.2g} s"
            raise CandidateError("compress", f"{words}; give it more seconds, or a smaller batch")

    # ------------------------------------------------------------------------------------ look

    def look_if_due(self) -> None:
        """Score the average, and keep it if it is the best, `LOOKS` times in a run; tell the log where the run is."""
        progress = self._progress
        hurried = self._budget.steps is None and self._looked_s > LOOKING_SHARE * self._elapsed_s
        if progress >= 1 or (progress * LOOKS >= self._looks + 1 and not hurried):
            self._looks = int(progress * LOOKS)
            self._look()
        if time.monotonic() - self._told_s > NEWS_S:
            self._told_s = time.monotonic()
            where = self._budget.in_words(self._done, self._elapsed_s)
            log.info("%s: %s, agreement %s", self._name, where, percent(self._best_score.agreement))

    def _look(self) -> None:
        began_s, live = time.monotonic(), _copied(self._live)
        _put(self._average, self._live)
        score = self._scored()
        if score.loss < self._best_score.loss:
            self._best_score = score
            _put(self._average, self._best)
        _put(live, self._live)
        self._looked_s += time.monotonic() - began_s

    def _scored(self) -> Score:
        with torch.no_grad():
            return self._task.score()


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """All that may change while a model learns: weights, and BatchNorm's statistics."""
    named = (*model.named_parameters(), *model.named_buffers())
    return {name: tensor for name, tensor in named if tensor.is_floating_point()}


def _learned(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that want a gradient; all of them if none does, as in a model that was frozen to be exported."""
    weights = {name: one for name, one in model.named_parameters() if one.is_floating_point()}
    wanting = {name: one for name, one in weights.items() if one.requires_grad}
    if not weights:
        raise CandidateError("compress", "the model has no weights that could be learned")
    for one in weights.values():
        one.requires_grad_(not wanting or one.requires_grad)
    return wanting or weights


def _was_pruned(weight: Tensor) -> bool:
    return weight.ndim > 1 and float((weight == 0).float().mean()) >= PRUNED_SHARE


def _copied(tensors: Tensors) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _put(source: Tensors, target: Tensors) -> None:
    with torch.no_grad():
        for name, tensor in source.items():
            target[name].copy_(tensor)
