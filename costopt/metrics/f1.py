"""F1: the harmonic mean of precision and recall, averaged over classes (macro) or over samples (micro).

For one class F1 = 2 TP / (2 TP + FP + FN) = 2 TP / (predicted + true), with TP the samples of that class that were
found (van Rijsbergen, Information Retrieval, 1979, chapter 7, with equal weights).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from costopt.classes import class_counts, one_each, predicted_and_true
from costopt.metrics import Array, Facts, Metric, class_labels, numbers


@dataclass(frozen=True)
class F1(Metric):
    """F1 of classes; with one class a sample, the micro average is the accuracy.

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
        """F1 between 0 and 1."""
        found, predicted, true = class_counts(facts, self.average)
        return float((2 * found / (predicted + true)).mean())
