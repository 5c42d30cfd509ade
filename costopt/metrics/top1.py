"""Share of samples whose highest score is the right class.

For outputs with a class at each position (a segmentation map, tagged tokens) a sample counts with its share of right
positions; those labelled -100 are left out. The rows are then no longer 0 or 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from costopt.classes import IGNORED, predicted_and_true
from costopt.errors import DataError
from costopt.metrics import Array, Facts, Metric, class_labels, numbers


@dataclass(frozen=True)
class Top1(Metric):
    """Top-1 accuracy. `output` names the output with the scores; `threshold` is for outputs of one score a sample.

    The score interval suits rows of 0 and 1 only: look at them before using it.
    """

    output: str = ""
    threshold: float | None = None

    interval: ClassVar[Literal["score", "mean", "bootstrap"]] = "score"

    def facts(self, outputs: Mapping[str, Array], targets: Mapping[str, Array]) -> Facts:
        """One column: 1 for right and 0 for wrong, or the share of right positions."""
        predicted, true = predicted_and_true(numbers(outputs, self.output), class_labels(targets), self.threshold)
        counted = true != IGNORED
        empty = np.flatnonzero(~counted.any(axis=1))
        if empty.size:
            raise DataError(f"top1: sample {empty[0]} has no label but {IGNORED}, which means ignore; leave it out")
        right = (predicted == true) & counted
        return np.asarray(right.sum(axis=1, keepdims=True) / counted.sum(axis=1, keepdims=True), dtype=np.float64)
