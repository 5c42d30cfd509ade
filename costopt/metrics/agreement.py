"""Share of samples for which the original model chooses the same class; needs no labels.

For outputs with a class at each position (a segmentation map, tagged tokens) a sample counts with its share of
positions that agree. The rows are then no longer 0 or 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from costopt.classes import predicted_classes
from costopt.errors import DataError
from costopt.metrics import Array, Facts, Metric, numbers


@dataclass(frozen=True)
class Agreement(Metric):
    """Top-1 agreement with the original. `output` names the output with the scores, the first when empty.

    It is no accuracy: a candidate that corrects the original's mistakes agrees less. `threshold` is for outputs of one
    score a sample.
    """

    output: str = ""
    threshold: float | None = None

    needs_labels: ClassVar[bool] = False
    of_the_original: ClassVar[bool] = True
    interval: ClassVar[Literal["score", "mean", "bootstrap"]] = "score"

    def facts(self, outputs: Mapping[str, Array], targets: Mapping[str, Array]) -> Facts:
        """One column: 1 for the same class and 0 for another, or the share of positions that agree."""
        if "target" in targets and "target" not in outputs:
            raise DataError(
                "agreement: it is with the original's outputs, and the data has labels; use top1, or leave out `target`"
            )
        output, original = numbers(outputs, self.output), numbers(targets, self.output)
        if output.shape != original.shape:
            raise DataError(f"agreement: the output has shape {output.shape}, the original's {original.shape}")
        same = predicted_classes(output, self.threshold) == predicted_classes(original, self.threshold)
        return np.asarray(same.reshape(len(same), -1).mean(axis=1), dtype=np.float64)[:, None]
