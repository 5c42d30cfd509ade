"""Mean squared error between outputs and labels, or the original's outputs when there are no labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from costopt.metrics import Array, Facts, Metric, flat_pairs


@dataclass(frozen=True)
class Mse(Metric):
    """Mean squared error, in the output's own unit squared. `output` names the output, the first when empty."""

    output: str = ""

    needs_labels: ClassVar[bool] = False
    higher_is_better: ClassVar[bool] = False

    def facts(self, outputs: Mapping[str, Array], targets: Mapping[str, Array]) -> Facts:
        """One column: the mean squared error of the sample's values."""
        output, reference = flat_pairs(outputs, targets, self.output)
        errors: Facts = np.square(output - reference).mean(axis=1, keepdims=True)
        return errors
