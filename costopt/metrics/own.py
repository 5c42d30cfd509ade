"""A metric of your own: a Python function that gives one number for each sample; the metric is their mean.

    metric: my_metrics:exact_match           # or {own: {function: my_metrics:distance, lower_is_better: true}}

`exact_match(outputs, target)` gets the model's outputs, a dict from name to array with the sample on the first axis,
and the labels; without labels, the original's outputs as a dict. The module is found in the current directory or
among what is installed. It is the one metric that runs code of yours, and it runs only because your budget names it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from costopt.errors import DataError
from costopt.metrics import Array, Facts, Metric
from costopt.user_code import function_named


@dataclass(frozen=True)
class Own(Metric):
    """The mean of `function` ("module:function") over the samples. Higher is better unless `lower_is_better`."""

    function: str
    lower_is_better: bool = False

    needs_labels: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Turn the option into what every metric has; the class is frozen, so round its guard."""
        object.__setattr__(self, "higher_is_better", not self.lower_is_better)

    def facts(self, outputs: Mapping[str, Array], targets: Mapping[str, Array]) -> Facts:
        """One column: the function's number for each sample. Raises DataError when it gives anything else."""
        function = function_named(self.function)
        target = targets["target"] if "target" in targets else dict(targets)
        try:
            numbers = np.asarray(function(dict(outputs), target), dtype=np.float64)
        except Exception as problem:  # third-party call: the user's code may raise anything
            raise DataError(f"metric {self.function}: it raised {type(problem).__name__}: {problem}") from problem
        samples = len(next(iter(outputs.values())))
        if numbers.shape != (samples,):
            raise DataError(
                f"metric {self.function}: it gave an array of shape {numbers.shape}; "
                f"there are {samples} samples, so it must be ({samples},): one number for each"
            )
        if not np.isfinite(numbers).all():
            first = np.flatnonzero(~np.isfinite(numbers))[0]
            raise DataError(f"metric {self.function}: it gave {numbers[first]} for sample {first}; it must be finite")
        return numbers[:, None]
