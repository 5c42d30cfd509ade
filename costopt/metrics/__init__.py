"""Metrics, one a file: what accuracy means.

A metric works in two steps, so that two candidates can be compared sample by sample, later, without the model:

- `facts` reads outputs and targets and keeps, for each sample, the few numbers that the metric needs: one row a
  sample. A top-1 metric keeps 1 or 0; F1 keeps the predicted and the true class; perplexity keeps a sum of negative
  log likelihoods and a count of tokens.
- `value` turns those rows into the metric. Most are the mean of the first column.

`interval` names the interval that suits the drop: "score" for rows of 0 and 1, "mean" for means of other numbers,
"bootstrap" for everything else. Targets are labels, or the original's outputs when `needs_labels` is False and there
are none.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from costopt.classes import without_ones
from costopt.errors import DataError

Array = NDArray[np.generic]
Facts = NDArray[np.float64]


class Metric(ABC):
    """How good outputs are."""

    needs_labels: ClassVar[bool] = True
    of_the_original: ClassVar[bool] = False
    """Whether it compares with the original's outputs even where there are labels."""
    higher_is_better: ClassVar[bool] = True
    interval: ClassVar[Literal["score", "mean", "bootstrap"]] = "mean"

    @abstractmethod
    def facts(self, outputs: Mapping[str, Array], targets: Mapping[str, Array]) -> Facts:
        """One row a sample, shape (samples, columns).

        `outputs` maps the model's output names to arrays whose first axis is the sample; `targets` holds
        {"target": labels}, or the original's outputs under their own names.
        Raises DataError when the target does not fit the outputs, saying which shape or value is wrong.
        """

    def value(self, facts: Facts) -> float:
        """The metric over all rows."""
        return float(facts[:, 0].mean())

    def drop(self, reference: float, value: float) -> float:
        """The drop from `reference` to `value`: positive is worse, whatever the metric's sense."""
        return reference - value if self.higher_is_better else value - reference


def chosen(arrays: Mapping[str, Array], name: str) -> Array:
    """The array called `name`, or the first when `name` is empty.

    Raises DataError when there is none of that name.
    """
    if not name:
        return next(iter(arrays.values()))
    if name not in arrays:
        raise DataError(f"metric: the model has no output '{name}'; it has {', '.join(arrays)}")
    return arrays[name]


# ------------------------------------------------------------------------- what several metrics ask of their arrays


def numbers(arrays: Mapping[str, Array], name: str) -> Array:
    """The array called `name` (the first when empty), known to hold numbers and no NaN.

    Raises DataError when it holds text, or a NaN (naming the first sample that has one).
    """
    array, called = chosen(arrays, name), name or next(iter(arrays))
    if array.dtype.kind not in "biuf":
        raise DataError(
            f"metric: '{called}' holds {array.dtype}, not numbers; "
            f"name an output of numbers with `output:` (the model has {', '.join(arrays)})"
        )
    if array.dtype.kind == "f" and np.isnan(array).any():
        first = np.argwhere(np.isnan(array))[0][0]
        raise DataError(f"metric: '{called}' is NaN (not a number) for sample {first} of these {len(array)}")
    return array


def class_labels(targets: Mapping[str, Array]) -> NDArray[np.int64]:
    """The array `target` as whole numbers. Raises DataError when there is none or it holds something else."""
    if "target" not in targets:
        raise DataError("metric: there are no labels; add an array called 'target', or use the metric agreement")
    labels = targets["target"]
    if labels.dtype.kind not in "biu":
        raise DataError(
            f"metric: target is {labels.dtype} {labels.shape}, but classes are whole numbers: "
            "save target.astype('int64'), or target.argmax(1) if it is one-hot"
        )
    return labels.astype(np.int64)


def flat_pairs(
    outputs: Mapping[str, Array], targets: Mapping[str, Array], name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The output and what it is held against, as two float64 arrays of shape (samples, values a sample).

    Axes of length 1 don't count: (samples,) fits (samples, 1). Raises DataError when the shapes differ, and for values
    that are not finite.
    """
    output = numbers(outputs, name)
    reference = numbers(targets, "target" if "target" in targets else name)
    if without_ones(output.shape) != without_ones(reference.shape):
        raise DataError(
            f"metric: the output has shape {output.shape} and what it is held against {reference.shape}; "
            "give `target` the output's shape"
        )
    samples = len(output)
    pair = output.reshape(samples, -1).astype(np.float64), reference.reshape(samples, -1).astype(np.float64)
    if not all(np.isfinite(one).all() for one in pair):
        raise DataError("metric: an infinite value has no distance to another; find the samples that overflow")
    return pair
