"""Recall: the share of the samples of a class that were found, averaged over classes (macro) or samples (micro).

For one class it is TP / true; a class that was predicted and is never true counts as 0, as in scikit-learn's default.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from costopt.classes import class_counts, one_each, predicted_and_true
from costopt.metrics import Array, Facts, Metric, class_labels, numbers


@dataclass(frozen=True)
class Recall(Metric):
    """Recall of classes; with one class a sample, the micro average is the accuracy.

    The macro average is over the classes that were predicted or are true, as in scikit-learn.
    """

    output: str = ""
    threshold: float | None = None
    average: Literal["macro", "micro"] = "macro"

    interval: ClassVar[Literal["score", "mean", "bootstrap"]] = "bootstrap"

    def facts(self, outputs: Mapping[str, Array], targets: Mapping[str, Array]) -> Facts:
        """Two columns: the predicted class and the true class."""
        return one_each(*predicted_and_true(numbers(outputs, self.output), class_labels(targets), self.threshold))

    def value(self, facts: Facts) -> float:
        """Recall between 0 and 1."""
        found, _, true = class_counts(facts, self.average)
        return float((found / np.maximum(true, 1)).mean())
