"""Cosine similarity between outputs and labels, or the original's outputs when there are no labels.

The cosine of the angle between two vectors, a sample's values in one line: 1 for the same direction. Against the
original's outputs, the original itself has exactly 1, so a candidate's drop is 1 minus its value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from costopt.metrics import Array, Facts, Metric, flat_pairs


@dataclass(frozen=True)
class Cosine(Metric):
    """Mean cosine similarity, from -1 to 1. `output` names the output, the first when empty.

    A vector of zeros has no direction: it counts as 1 beside another one, and as 0 beside anything else.
    """

    output: str = ""

    needs_labels: ClassVar[bool] = False

    def facts(self, outputs: Mapping[str, Array], targets: Mapping[str, Array]) -> Facts:
        """One column: the cosine of each sample."""
        output, reference = (_scaled(each) for each in flat_pairs(outputs, targets, self.output))
        # One root of the product, so that equal vectors give exactly 1: sqrt(x * x) is x, sqrt(x) * sqrt(x) is not.
        length = np.sqrt(np.square(output).sum(axis=1) * np.square(reference).sum(axis=1))
        cosine = (output * reference).sum(axis=1) / np.where(length > 0, length, 1)
        both_zero = ~output.any(axis=1) & ~reference.any(axis=1)
        return np.where(both_zero, 1.0, np.clip(cosine, -1, 1))[:, None]


def _scaled(vectors: Facts) -> Facts:
    """Each vector over its largest element, so that no square overflows or vanishes; the angle stays."""
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    return vectors / np.where(largest > 0, largest, 1)
