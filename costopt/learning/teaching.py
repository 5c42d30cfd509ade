"""A student learns to give what its teacher gives, on unlabelled inputs: distillation without a training script.

    calibration ─▶ Shuffled ─▶ augmented ─┬─▶ teacher (the original) ─┐
                                          └─▶ student ────────────────┴─▶ Imitation ─▶ training.train

What the teacher says is computed once for each sample if nothing is augmented and it fits into memory, else as it is
needed. Labels, where the user has some, may take a share of the loss, or all of it (`labels`).
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from costopt.errors import CandidateError, NotApplicable
from costopt.learning import padding
from costopt.learning.augmentation import Inputs, augmented, holds_numbers, parsed
from costopt.learning.imitation import Imitation, are_scores
from costopt.learning.labels import Labels
from costopt.learning.pairing import Pair, tensors, visible
from costopt.learning.shuffling import Batch, Shuffled
from costopt.learning.training import Budget, Score, train
from costopt.methods import Arrays, Context

REMEMBERED_BYTES = 2**30
"""The most memory for what the teacher said."""

ALIKE = 1e-6
"""A student whose loss is below this has nothing to learn: it is rounding."""

SMALL_BATCH = 8
"""Statistics of fewer samples mislead BatchNorm, which then keeps those that it has (Wu and He, arXiv:1803.08494)."""

RATES = {"attention": 2e-4, "batch_norm": 1e-2, "neither": 2e-3}
"""Peak learning rates by what a model is made of.

With BatchNorm (residual CNN, pruned to half the width, 80,000 images seen, squared error alone, top-1 on 4,000 test
images; measured 2026-11): 91.9 % at 1e-3 and 3e-3, 92.4 % at 1e-2; SGD with momentum 91.8 % at 0.05, 92.2 % at 0.2.
With attention (a text encoder of 22.7M parameters, two of six layers cut out, 30 steps of 16 sequences, mean cosine to
the original on 100 unseen ones, 0.696 before; measured 2026-11): 0.858 at 2e-4, 0.844 at 6e-4.
"""

BATCH, BATCH_OF_TOKENS = 128, 32
"""Samples in a batch. A sequence of tokens costs as much as many images, and a short budget needs many steps."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """How a student is taught.

    `batch` and `learning_rate`, when None, are chosen by the model, the rate `gentler` times as high as usual;
    `augment` as in `augmentation.parsed`. `labels` is their share of the loss, where there are any: 0 learns from the
    teacher alone, 1 from labels alone.
    """

    budget: Budget
    batch: int | None = None
    learning_rate: float | None = None
    temperature: float = 1.0
    augment: str = "auto"
    gentler: float = 1.0
    labels: float = 0.0


def teach(student: fx.GraphModule, context: Context, lesson: Lesson, name: str) -> fx.GraphModule:
    """The student, nearer to `context.original()` than it was, in eval mode and on the CPU; it is changed in place.

    `name` opens the lines in the log. Raises NotApplicable when it comes no nearer, CandidateError when it can't be
    taught.
    """
    started_s = time.monotonic()
    _refuse(lesson)
    data = Shuffled(context.calibration, _batch(student, context, lesson), context.seed)
    _refuse_part_batches(fixed_batch(student), data)
    example = tensors(next(data.batches()).inputs)
    pair = Pair(student, context.original(), context.input_names, example, fixed_batch(student))
    try:
        task = _Teaching(pair, data, lesson, example, context)
        if not task.labelled and task.score().loss < ALIKE:
            raise NotApplicable("the model gives what the original gives already: there is nothing to learn from it")
        rate = lesson.learning_rate if lesson.learning_rate is not None else lesson.gentler * usual_rate(student)
        trained = train(student, task, lesson.budget, rate, name, context.folder, started_s)
    finally:
        pair.release()
    if trained.after == trained.before:
        goal = "the labels" if lesson.labels == 1 else "the original"
        words = f"after {trained.steps} steps of learning the model was no nearer to {goal} than before"
        raise NotApplicable(f"{words} (loss {trained.before.loss:.3g} on held-out samples)")
    return student


def _refuse(lesson: Lesson) -> None:
    for name, value in (("batch", lesson.batch), ("temperature", lesson.temperature)):
        if value is not None and not value > 0:
            raise CandidateError("compress", f"{name} must be more than 0, not {value:g}")
    if not 0 <= lesson.labels <= 1:
        raise CandidateError("compress", f"labels is a share of the loss, from 0 to 1, not {lesson.labels:g}")


def _refuse_part_batches(fixed: int | None, data: Shuffled) -> None:
    if fixed is not None and data.batch < fixed:
        words = f"the model takes batches of {fixed} samples, and {data.samples} are there to learn from"
        raise CandidateError("compress", f"{words}; give more calibration data, or export it with a varying batch")


def usual_rate(module: fx.GraphModule) -> float:
    """The peak learning rate that suits what the model is made of."""
    if any("softmax" in str(node.target) or "dot_product_attention" in str(node.target) for node in module.graph.nodes):
        return RATES["attention"]
    norms = any(isinstance(part, nn.modules.batchnorm._BatchNorm) for part in module.modules())
    return RATES["batch_norm" if norms else "neither"]


def fixed_batch(module: fx.GraphModule) -> int | None:
    """The one batch size that the model takes; None when it takes any, or does not say."""
    for node in module.graph.nodes:
        if node.op == "placeholder" and isinstance(node.meta.get("val"), Tensor) and node.meta["val"].ndim:
            size = node.meta["val"].shape[0]
            return size if isinstance(size, int) else None
    return None


def _batch(student: fx.GraphModule, context: Context, lesson: Lesson) -> int:
    """The batch size: the only one that the model takes, the one asked for, or the usual one."""
    fixed = fixed_batch(student)
    if fixed is not None or lesson.batch is not None:
        return fixed or lesson.batch or BATCH
    first = tensors(next(context.calibration.batches(2)))
    return BATCH_OF_TOKENS if any(one.ndim > 1 and holds_numbers(one) for one in first.values()) else BATCH


class _Teaching:
    """The task: to give what the teacher gives, and where there are labels, what they say."""

    def __init__(self, pair: Pair, data: Shuffled, lesson: Lesson, example: Inputs, context: Context) -> None:
        self._pair, self._data, self._seed = pair, data, context.seed
        given = context.labels if lesson.labels > 0 else None
        by_place = given is not None and given.ndim > 1  # labels of each token stay as long as the padding
        self._padding = None if by_place else padding.found(pair, context.input_names, example)
        self._asked = [
            (inputs, places, pair.teacher_says(inputs, fast=False)[: pair.outputs])
            for inputs, places in self._held_out()
        ]
        self._wanted = _joined([visible(answer, inputs) for inputs, _, answer in self._asked])
        answers = self._asked[0][2]
        self._imitation = Imitation(tuple(map(are_scores, answers)), lesson.temperature, pair.maps)
        self._labels = Labels.of(given, answers[0]) if given is not None else None
        self._share = lesson.labels if self._labels is not None else 0.0
        augment = parsed(lesson.augment, example, data.samples)
        # a mixture of two samples has no label of its own
        self._augment = tuple(name for name in augment if name != "mixup" or self._labels is None)
        self._said = None if self._augment else _Said(data.samples)
        self._stream: Iterator[Batch] | None = None

    @property
    def labelled(self) -> bool:
        """Whether labels are part of the loss."""
        return self._labels is not None

    def loss(self, step: int) -> Tensor:
        """How far the student is from its goal on one augmented batch: in its outputs, and inside."""
        if self._stream is None:
            self._stream = self._data.batches(step, self._padding.grouped if self._padding else None)
        batch = next(self._stream)
        random = torch.Generator().manual_seed(hash((self._seed, step)) % 2**63)
        inputs = augmented(self._tensors(batch.inputs), self._augment, random)
        wanted = visible(self._answer(batch, inputs), inputs) if self._share < 1 else None
        self._pair.student.train(self._data.batch >= SMALL_BATCH)
        given = self._pair.student_says(inputs)
        apart = self._imitation.loss(visible(given, inputs), wanted) if wanted is not None else torch.zeros(())
        return self._mixed(apart, given[0], torch.from_numpy(batch.places))

    @torch.no_grad()
    def score(self) -> Score:
        """How far the student's outputs are from its goal on the held-out samples, in full precision."""
        self._pair.student.eval()
        answers = [self._pair.student_says(inputs, fast=False)[: self._pair.outputs] for inputs, _, _ in self._asked]
        given = _joined([visible(one, inputs) for one, (inputs, _, _) in zip(answers, self._asked, strict=True)])
        apart = self._imitation.loss(given, self._wanted)
        if self._labels is None:
            return Score(float(apart), self._imitation.agreement(given, self._wanted))
        places = torch.cat([places for _, places, _ in self._asked])
        first = torch.cat([one[0] for one in answers])
        loss = float(self._mixed(apart, first, places))
        if self._share == 1:
            return Score(loss, self._labels.right(first, places))
        return Score(loss, self._imitation.agreement(given, self._wanted))

    def _tensors(self, arrays: Arrays) -> Inputs:
        """A batch, without the padding that all of it has."""
        inputs = tensors(arrays)
        return self._padding.cut(inputs) if self._padding is not None else inputs

    def _held_out(self) -> Iterator[tuple[Inputs, Tensor]]:
        """The held-out samples in batches, with their places in the data.

        The last batch is filled up with the first samples, so that all are whole.
        """
        data = self._data
        rows = np.arange(len(data.held_out_places))
        if self._padding is not None:
            rows = np.argsort(self._padding.lengths(data.held_out), kind="stable")
        for start in range(0, len(rows), data.batch):
            chosen = np.take(rows, range(start, start + data.batch), mode="wrap")
            inputs = self._tensors({name: array[chosen] for name, array in data.held_out.items()})
            yield inputs, torch.from_numpy(data.held_out_places[chosen])

    def _mixed(self, apart: Tensor, output: Tensor, places: Tensor) -> Tensor:
        """The distance from the teacher and that from the labels, by the share of the latter."""
        if self._labels is None:
            return apart
        return (1 - self._share) * apart.to(output.device) + self._share * self._labels.loss(output, places)

    def _answer(self, batch: Batch, inputs: Inputs) -> list[Tensor]:
        """What the teacher says, as it is remembered if it is."""
        known = self._said.recall(batch.numbers) if self._said is not None else None
        if known is not None:
            return known
        answer = self._pair.teacher_says(inputs)
        if self._said is not None:
            self._said.note(batch.numbers, answer)
        return answer


class _Said:
    """What the teacher said of each sample, as far as it was asked; nothing when that would take too much memory."""

    def __init__(self, samples: int) -> None:
        self._known = torch.zeros(samples, dtype=torch.bool)
        self._held: list[Tensor] = []

    def recall(self, numbers: NDArray[np.intp]) -> list[Tensor] | None:
        """The answers for these samples, if all are known."""
        chosen = torch.from_numpy(numbers)
        if not bool(self._known[chosen].all()):
            return None
        return [one[chosen.to(one.device)] for one in self._held]

    def note(self, numbers: NDArray[np.intp], answer: Sequence[Tensor]) -> None:
        """Remember, if there is room for all samples and if each of them has a row of its own in the answer."""
        samples = len(self._known)
        if any(len(one) != len(numbers) for one in answer) or sum(map(_row_bytes, answer)) * samples > REMEMBERED_BYTES:
            return
        self._held = self._held or [one.new_empty((samples, *one.shape[1:])) for one in answer]
        if any(held.shape[1:] != one.shape[1:] for held, one in zip(self._held, answer, strict=True)):
            return
        chosen = torch.from_numpy(numbers)
        for held, one in zip(self._held, answer, strict=True):
            held[chosen.to(held.device)] = one
        self._known[chosen] = True


def _row_bytes(answer: Tensor) -> int:
    return answer[:1].numel() * answer.element_size()


def _joined(parts: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """One tensor an output, of all batches."""
    return [torch.cat(list(output)) for output in zip(*parts, strict=True)]
