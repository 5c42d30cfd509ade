"""A student learns to give what its teacher gives, on unlabelled inputs: distillation without a training script.

    calibration ─▶ Shuffled ─▶ augmented ─┬─▶ teacher (the original) ─┐
                                          └─▶ student ────────────────┴─▶ Imitation ─▶ training.train

What the teacher says is computed once for each sample if nothing is augmented and it fits into memory, else as it is
needed.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from costopt import acceleration, augmentation
from costopt.acceleration import PLAIN, Acceleration
from costopt.errors import CandidateError, NotApplicable
from costopt.imitation import Imitation, are_scores
from costopt.methods import Arrays, Context
from costopt.shuffling import Batch, Shuffled
from costopt.training import Budget, Score, train

REMEMBERED_BYTES = 2**30
"""The most memory for what the teacher said."""

ALIKE = 1e-6
"""A student whose loss is below this has nothing to learn: it is rounding."""

SMALL_BATCH = 8
"""Statistics of fewer samples mislead BatchNorm, which then keeps those that it has (Wu and He, arXiv:1803.08494)."""

RATES: Mapping[type[nn.Module], float] = {nn.LayerNorm: 5e-4, nn.BatchNorm2d: 1e-2}
"""Peak rates for models with such a layer, the first that is there."""

USUAL_RATE = 2e-3
"""The peak rate for models without a normalisation."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """How a student is taught. `learning_rate` None is chosen by the model, `augment` as in `augmentation.parsed`."""

    budget: Budget
    batch: int = 128
    learning_rate: float | None = None
    temperature: float = 1.0
    augment: str = "auto"


def teach(student: fx.GraphModule, context: Context, lesson: Lesson, name: str) -> fx.GraphModule:
    """The student, nearer to `context.original()` than it was, in eval mode and on the CPU; it is changed in place.

    `name` opens the lines in the log. Raises NotApplicable when it comes no nearer, CandidateError when it can't be
    taught.
    """
    started_s = time.monotonic()
    if lesson.batch < 1 or not lesson.temperature > 0:
        raise CandidateError(
            "compress", f"batch ({lesson.batch}) and temperature ({lesson.temperature:g}) start above 0"
        )
    data = Shuffled(context.calibration, fixed_batch(student) or lesson.batch, context.seed)
    teaching = _Teaching(student, context, data, lesson)
    rate = lesson.learning_rate if lesson.learning_rate is not None else usual_rate(student)
    trained = train(student, teaching, lesson.budget, rate, name, context.folder, started_s)
    PLAIN.moved(student)
    if trained.before.loss < ALIKE:
        raise NotApplicable("the model gives what the original gives already: there is nothing to learn from it")
    if trained.after == trained.before:
        words = f"after {trained.steps} steps of learning the model was no nearer to the original than before"
        raise NotApplicable(f"{words} (loss {trained.before.loss:.3g} on held-out samples)")
    return student


def usual_rate(model: nn.Module) -> float:
    """The peak learning rate that suits the model's layers."""
    kinds = {type(part) for part in model.modules()}
    return next((rate for kind, rate in RATES.items() if kind in kinds), USUAL_RATE)


def fixed_batch(module: fx.GraphModule) -> int | None:
    """The one batch size that the model takes; None when it takes any, or does not say."""
    for node in module.graph.nodes:
        if node.op == "placeholder" and isinstance(node.meta.get("val"), Tensor) and node.meta["val"].ndim:
            size = node.meta["val"].shape[0]
            return size if isinstance(size, int) else None
    return None


class _Teaching:
    """The task: to give what the teacher gives."""

    def __init__(self, student: fx.GraphModule, context: Context, data: Shuffled, lesson: Lesson) -> None:
        self._student, self._teacher = student, context.original()
        self._names, self._seed, self._data = context.input_names, context.seed, data
        self._way = PLAIN
        example = _tensors(next(data.batches()).inputs)
        self._augment = augmentation.parsed(lesson.augment, example)
        self._way = acceleration.fastest(lambda way: self._tried(way, example))
        self._move(self._way)
        self._asked = list(self._judged(self._teacher))
        self._imitation = Imitation(tuple(map(are_scores, _joined(self._asked))), lesson.temperature)
        self._frozen = data.batch < SMALL_BATCH
        self._stream: Iterator[Batch] | None = None
        self._said = _Said(data.samples, self._asked[0]) if not self._augment else None

    # ------------------------------------------------------------------------------------ the task

    def loss(self, step: int) -> Tensor:
        """How far the student is from the teacher on one augmented batch."""
        if self._stream is None:
            self._stream = self._data.batches(skip=step)
        batch = next(self._stream)
        random = torch.Generator().manual_seed(hash((self._seed, step)) % 2**63)
        inputs = augmentation.augmented(_tensors(batch.inputs), self._augment, random)
        wanted = self._answer(batch, inputs)
        self._student.train(not self._frozen)
        with self._way.autocast():
            given = self._outputs(self._student, inputs)
        return self._imitation.loss([one.float() for one in given], wanted)

    def score(self) -> Score:
        """How far the student is from the teacher on the held-out samples, in full precision."""
        given, wanted = _joined(list(self._judged(self._student))), _joined(self._asked)
        return Score(float(self._imitation.loss(given, wanted)), self._imitation.agreement(given, wanted))

    # ------------------------------------------------------------------------------------ both models

    def _outputs(self, model: fx.GraphModule, inputs: augmentation.Inputs) -> list[Tensor]:
        """The float outputs for a batch, flat."""
        given = pytree.tree_leaves(model(*(self._way.tensor(inputs[name]) for name in self._names)))
        return [one for one in given if isinstance(one, Tensor) and one.is_floating_point()]

    def _answer(self, batch: Batch, inputs: augmentation.Inputs) -> list[Tensor]:
        """What the teacher gives, as it was remembered if it was."""
        known = self._said.recall(batch.numbers) if self._said is not None else None
        if known is not None:
            return known
        self._teacher.eval()
        with torch.inference_mode(), self._way.autocast():
            given = self._outputs(self._teacher, inputs)
        answer = [one.float().clone() for one in given]  # made out here, they may be part of a gradient's computation
        if self._said is not None:
            self._said.note(batch.numbers, answer)
        return answer

    def _judged(self, model: fx.GraphModule) -> Iterator[list[Tensor]]:
        """A model's outputs on the held-out samples, batch by batch; with the last one filled up, so all are whole."""
        model.eval()
        count = len(next(iter(self._data.held_out.values())))
        for start in range(0, count, self._data.batch):
            rows = np.arange(start, start + self._data.batch) % count
            part = {name: array[rows] for name, array in self._data.held_out.items()}
            with torch.no_grad():
                given = [one.float() for one in self._outputs(model, _tensors(part))]
            yield given

    # ------------------------------------------------------------------------------------ before the first step

    def _move(self, way: Acceleration) -> None:
        self._way = way
        way.moved(self._student)
        way.moved(self._teacher)

    def _tried(self, way: Acceleration, inputs: augmentation.Inputs) -> list[Tensor]:
        """Both models' outputs on a batch, computed in one way; the student's gradients too, which may not exist."""
        self._move(way)
        self._student.eval()
        self._teacher.eval()
        with way.autocast():
            given = self._outputs(self._student, inputs)
            with torch.no_grad():
                wanted = self._outputs(self._teacher, inputs)
        _refuse_misfit(given, wanted)
        if any(one.requires_grad for one in given):
            torch.autograd.backward([one.float().sum() for one in given if one.requires_grad])
            self._student.zero_grad()
        return [one.detach() for one in (*given, *wanted)]


class _Said:
    """What the teacher said of each sample, as far as it was asked; nothing when that would take too much memory."""

    def __init__(self, samples: int, example: Sequence[Tensor]) -> None:
        size = sum(one[0].numel() * 4 for one in example) * samples
        rows = samples if size <= REMEMBERED_BYTES else 0
        self._known = torch.zeros(rows, dtype=torch.bool)
        self._held = [torch.empty((rows, *one.shape[1:]), device=one.device) for one in example]

    def recall(self, numbers: NDArray[np.intp]) -> list[Tensor] | None:
        """The answers for these samples, if all are known."""
        chosen = torch.from_numpy(numbers)
        if not len(self._known) or not bool(self._known[chosen].all()):
            return None
        return [one[chosen.to(one.device)] for one in self._held]

    def note(self, numbers: NDArray[np.intp], answer: Sequence[Tensor]) -> None:
        """Remember."""
        if len(self._known):
            chosen = torch.from_numpy(numbers)
            self._known[chosen] = True
            for held, one in zip(self._held, answer, strict=True):
                held[chosen.to(held.device)] = one


def _refuse_misfit(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    ours, theirs = ([tuple(one.shape) for one in outputs] for outputs in (student, teacher))
    if ours != theirs:
        raise CandidateError("compress", f"the student gives {ours} for a batch, and the original {theirs}")
    if not ours:
        raise CandidateError("compress", "the model has no floating-point output that a student could imitate")


def _tensors(arrays: Arrays) -> augmentation.Inputs:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def _joined(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """One tensor an output, of all batches."""
    return [torch.cat(list(output)) for output in zip(*parts, strict=True)]
