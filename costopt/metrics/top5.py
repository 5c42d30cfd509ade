"""Share of samples whose right class is among the five highest scores.

Equal scores are ranked by class, the lower first, which is what makes top-1 an argmax: a model that gives every class
the same score must not be right every time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from costopt.classes import Classes, check_range, classes_last
from costopt.errors import DataError
from costopt.metrics import Array, Facts, Metric, class_labels, numbers

PLACES = 5


@dataclass(frozen=True)
class Top5(Metric):
    """Top-5 accuracy, of outputs with one class a sample. `output` names the output with the scores."""

    output: str = ""

    interval: ClassVar[Literal["score", "mean", "bootstrap"]] = "score"

    def facts(self, outputs: Mapping[str, Array], targets: Mapping[str, Array]) -> Facts:
        """One column: 1 when the right class is among the first five, else 0."""
        scores, labels = numbers(outputs, self.output), class_labels(targets)
        if scores.dtype.kind == "f":
            scores = classes_last(scores, labels)
        if scores.dtype.kind != "f" or scores.ndim != 2 or scores.shape[1] <= PLACES:
            raise DataError(
                f"top5: the output is {scores.dtype} {scores.shape}, and it wants scores (samples, classes) "
                f"with more than {PLACES} classes; use top1"
            )
        check_range(labels, scores.shape[1], ignored=False)
        return np.asarray(_rank(scores.astype(np.float64), labels.reshape(-1, 1)) < PLACES, dtype=np.float64)


def _rank(scores: Facts, labels: Classes) -> Classes:
    """How many classes come before the right one, shape (samples, 1)."""
    own = np.take_along_axis(scores, labels, axis=1)
    lower = np.arange(scores.shape[1]) < labels
    before = (scores > own) | ((scores == own) & lower)
    return np.asarray(before.sum(axis=1, keepdims=True), dtype=np.int64)
