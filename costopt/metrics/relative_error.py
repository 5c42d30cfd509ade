"""Relative error of outputs to labels, or to the original's outputs when there are no labels.

||output - reference|| / ||reference||, Euclidean norms over the values of all samples together (the relative Frobenius
error of Higham, Accuracy and Stability of Numerical Algorithms, 2002, chapter 6). It is one ratio and no mean of
ratios, because a sample whose reference is near zero would outweigh all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from costopt.metrics import Array, Facts, Metric, flat_pairs


@dataclass(frozen=True)
class RelativeError(Metric):
    """Relative error, without unit: 0.01 is one percent. `output` names the output, the first when empty.

    Against a reference of zeros it is 0 for zeros and infinite for anything else.
    """

    output: str = ""

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = False
    interval: ClassVar[Literal["score", "mean", "bootstrap"]] = "bootstrap"

    def facts(self, outputs: Mapping[str, Array], targets: Mapping[str, Array]) -> Facts:
        """Two columns: the squared norm of the sample's error, and of its reference."""
        output, reference = flat_pairs(outputs, targets, self.output)
        return np.column_stack([np.square(output - reference).sum(axis=1), np.square(reference).sum(axis=1)])

    def value(self, facts: Facts) -> float:
        """The root of the one sum over the other."""
        error, reference = facts.sum(axis=0)
        if error == 0:
            return 0.0
        return float(np.sqrt(error / reference)) if reference > 0 else float("inf")
