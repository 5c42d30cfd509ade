"""Student and teacher side by side: run on the same inputs, in the same way, with outputs that can be compared.

What each gives is a flat list of float tensors: the outputs first, then what the layers that both share gave inside,
then the last map of attention, if they have one alike.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from costopt.errors import CandidateError
from costopt.learning import acceleration, attention, hidden
from costopt.learning.acceleration import PLAIN, Acceleration
from costopt.learning.augmentation import Inputs
from costopt.methods import Arrays

TRIED_SAMPLES = 8
"""Samples on which ways of computing are tried: few, for a large model is slow in plain float32."""


class Pair:
    """A student and its teacher, both moved to where they run fastest. `release` must be called at the end.

    `outputs` is how many outputs they have, `maps` how many maps of attention are compared. `inputs` are a batch of
    samples, and `samples` the batch size that both take, when it is one only. Raises CandidateError when they can't be
    run, or their outputs don't fit.
    """

    def __init__(
        self,
        student: fx.GraphModule,
        teacher: fx.GraphModule,
        names: Sequence[str],
        inputs: Inputs,
        samples: int | None,
    ) -> None:
        self.student, self.teacher, self._names = student, teacher, names
        self._inside = (hidden.Caught(student, ()), hidden.Caught(teacher, ()))
        few = {name: one[: samples or TRIED_SAMPLES] for name, one in inputs.items()}
        self._way, self.maps = PLAIN, 0
        self._watched = (student, teacher)
        self._move(acceleration.fastest(lambda way: self._tried(way, few)))
        self.outputs = len(self.teacher_says(few))
        self._compare_inside(few)
        self._compare_maps(few)

    def release(self) -> None:
        """Bring the student back, as it was but for its weights."""
        for caught in self._inside:
            caught.release()
        PLAIN.moved(self.student)

    def student_says(self, inputs: Inputs, fast: bool = True) -> list[Tensor]:
        """With a gradient; `fast` is the way that was found, otherwise it is in full precision."""
        with self._way.autocast(fast):
            given, map_ = self._outputs(self._watched[0], inputs)
            given = [*given, *self._inside[0].taken(), *map_]
        return [one.float() for one in given]

    def teacher_says(self, inputs: Inputs, fast: bool = True) -> list[Tensor]:
        """Without a gradient."""
        self.teacher.eval()
        with torch.inference_mode(), self._way.autocast(fast):
            given, map_ = self._outputs(self._watched[1], inputs)
            given = [*given, *self._inside[1].taken(), *map_]
        return [one.float().clone() for one in given]  # made in inference mode, it could take part in no gradient

    def _outputs(self, model: fx.GraphModule, inputs: Inputs) -> tuple[list[Tensor], list[Tensor]]:
        """The outputs that can be compared, and the map where it is watched."""
        given = pytree.tree_leaves(model(*(self._way.tensor(inputs[name]) for name in self._names)))
        floats = [one for one in given if isinstance(one, Tensor) and one.is_floating_point()]
        count = len(floats) - self.maps
        return floats[:count], floats[count:]

    # ------------------------------------------------------------------------------------ before the first step

    def _move(self, way: Acceleration) -> None:
        self._way = way
        way.moved(self.student)
        way.moved(self.teacher)

    def _tried(self, way: Acceleration, inputs: Inputs) -> list[Tensor]:
        """What both give in one way of computing. Gradients are tried too: not every operator has one in every way."""
        self._move(way)
        self.student.eval()
        given, wanted = self.student_says(inputs), self.teacher_says(inputs)
        _refuse_misfit(given, wanted)
        with_gradient = [one.sum() for one in given if one.requires_grad]
        if with_gradient:
            torch.autograd.backward(with_gradient)
            self.student.zero_grad()
        return [one.detach() for one in (*given, *wanted)]

    def _compare_inside(self, inputs: Inputs) -> None:
        """From now on, also give what some layers gave that both have in the same width."""
        paths = hidden.candidates(self.student, self.teacher)
        self._watch(paths)
        with torch.no_grad():
            ours = self.student_says(inputs)[self.outputs :]
        theirs = self.teacher_says(inputs)[self.outputs :]
        alike = [path for path, one, other in zip(paths, ours, theirs, strict=True) if one.shape == other.shape]
        self._watch(hidden.spread(alike))

    def _compare_maps(self, inputs: Inputs) -> None:
        """From now on, also give the last map of attention, if both have one of the same shape."""
        student, teacher = attention.watched(self.student), attention.watched(self.teacher)
        if student is None or teacher is None:
            return
        before = self._watched
        self._watched, self.maps = (student, teacher), 1
        with torch.no_grad():
            ours, theirs = self.student_says(inputs)[-1], self.teacher_says(inputs)[-1]
        if ours.shape != theirs.shape or ours.shape[-1] > attention.MOST_PLACES:
            self._watched, self.maps = before, 0

    def _watch(self, paths: Sequence[str]) -> None:
        for caught in self._inside:
            caught.release()
        self._inside = (hidden.Caught(self.student, paths), hidden.Caught(self.teacher, paths))


def tensors(arrays: Arrays) -> Inputs:
    """Arrays as torch's tensors, without a copy where possible."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def visible(given: Sequence[Tensor], inputs: Inputs) -> list[Tensor]:
    """What is given for each token, without the padding: tensors (batch, tokens, ...) become (tokens seen, ...).

    Padding is where an input called a mask is 0: nothing reads what a model gives there, so nothing should learn it.
    """
    names = masks(inputs)
    return [_seen(one, [inputs[name] for name in names]) for one in given]


def masks(inputs: Inputs) -> list[str]:
    """The inputs that are called a mask, (batch, places)."""
    return [name for name, one in inputs.items() if "mask" in name.lower() and one.ndim == 2]


def _seen(given: Tensor, masks: Sequence[Tensor]) -> Tensor:
    for mask in masks:
        if given.ndim > 2 and given.shape[:2] == mask.shape:
            return given[(mask != 0).to(given.device)]
    return given


def _refuse_misfit(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> None:
    ours, theirs = ([tuple(one.shape) for one in outputs] for outputs in (student, teacher))
    if ours != theirs:
        raise CandidateError("compress", f"the student gives {ours} for a batch, and the original {theirs}")
    if not ours:
        raise CandidateError("compress", "the model has no floating-point output that a student could imitate")
