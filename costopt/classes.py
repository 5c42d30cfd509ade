"""From scores to classes, for every metric that asks which class a model chose.

What makes it more than an argmax: classes lie on axis 1 or on the last one, a binary classifier may have one score a
sample, scikit-learn's models give the class itself, and labels can be wrong in several ways that would otherwise end
in a plausible number. `outputs` and `labels` below have the sample on their first axis.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from costopt.errors import DataError

Array = NDArray[np.generic]
Classes = NDArray[np.int64]
Counts = NDArray[np.float64]

IGNORED = -100
"""The label of positions that don't count: the default `ignore_index` of torch.nn.CrossEntropyLoss."""

OVERSHOOT = 0.01
"""How far a probability may lie outside [0, 1]: an 8-bit output is off by up to a step, about 1/255."""


def predicted_and_true(output: Array, labels: Classes, threshold: float | None = None) -> tuple[Classes, Classes]:
    """The class that the model chose and the right one, two arrays of shape (samples, positions).

    Ordinary classifiers have one position a sample. Labels equal to IGNORED stay as they are. Raises DataError when
    the labels don't fit the output's shape or are out of range.
    """
    if output.dtype.kind != "f" or is_column(output.shape):
        predicted = predicted_classes(output, threshold)
        classes = 2 if output.dtype.kind == "f" else None
    else:
        scores = classes_last(output, labels)
        predicted, classes = scores.argmax(axis=-1), scores.shape[-1]
    if without_ones(predicted.shape) != without_ones(labels.shape):
        raise _misfit(output, labels)
    if classes is not None:
        check_range(labels, classes)
    samples = len(labels)
    return predicted.reshape(samples, -1), labels.reshape(samples, -1)


def predicted_classes(output: Array, threshold: float | None = None) -> Classes:
    """The class that has the highest score, the lower one of equals; the shape is the output's without its classes.

    Whole numbers are classes already (scikit-learn's `label`). One score a sample is class 1 when it is over
    `threshold`. Otherwise classes lie on axis 1, but on the last axis of (samples, positions, classes).

    Raises DataError when no threshold is given and scores are no probabilities: whether logits or probabilities were
    meant can't be seen from a single batch, so it is not guessed.
    """
    if output.dtype.kind != "f":
        return output.astype(np.int64)
    if is_column(output.shape):
        return _over(output.astype(np.float64), threshold)
    scores = _compact(output)
    return np.asarray(scores.argmax(axis=-1 if scores.ndim == 3 else 1), dtype=np.int64)


def _over(scores: NDArray[np.float64], threshold: float | None) -> Classes:
    if threshold is None and np.any((scores < -OVERSHOOT) | (scores > 1 + OVERSHOOT)):
        raise DataError(
            f"metric: there is one score a sample, from {scores.min():.4g} to {scores.max():.4g}, so no probability;\n"
            "write `threshold: 0` under the metric if it is a logit; for a quantity, use mae, mse or relative_error"
        )
    return np.asarray(scores > (0.5 if threshold is None else threshold), dtype=np.int64)


def without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the axes of length 1, save the first, which is the sample."""
    return shape[:1] + tuple(length for length in shape[1:] if length != 1)


def is_column(shape: tuple[int, ...]) -> bool:
    """Whether there is one number a sample: (samples,) or (samples, 1)."""
    return len(without_ones(shape)) == 1


def classes_last(output: Array, labels: Classes) -> Array:
    """Scores with their classes on the last axis: the labels' shape and one axis more.

    PyTorch keeps classes on axis 1 (images), Transformers on the last axis (tokens); the labels' shape tells which.
    Raises DataError when neither fits, or both do.
    """
    shape, output = labels.shape, _compact(output)
    if output.ndim == 2:
        shape = without_ones(shape)
    axes = {axis for axis in (1, output.ndim - 1) if output.shape[:axis] + output.shape[axis + 1 :] == shape}
    if not axes:
        raise _misfit(output, labels)
    if len(axes) == 2:
        raise DataError(
            f"metric: in an output of shape {output.shape} the classes may lie on axis 1 or on the last one; "
            "pad or cut the samples to another length"
        )
    return np.moveaxis(output, axes.pop(), -1)


def check_range(labels: Classes, classes: int, ignored: bool = True) -> None:
    """Raise DataError for a label outside 0 .. classes - 1, naming it and its sample; IGNORED passes if `ignored`."""
    wrong = (labels < 0) | (labels >= classes)
    if ignored:
        wrong &= labels != IGNORED
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise DataError(
            f"metric: target {labels[place]} (sample {place[0]}) is out of range: "
            f"the output has {classes} classes, so labels go from 0 to {classes - 1}"
        )


def one_each(predicted: Classes, true: Classes) -> Counts:
    """Rows (predicted class, true class). Raises DataError for samples with several labels, or with an ignored one."""
    if predicted.shape[1] != 1:
        raise DataError(
            f"metric: each sample has {predicted.shape[1]} labels, and precision, recall and f1 want one: use top1, "
            "or your own (`metric: your_module:your_function`)"
        )
    ignored = np.flatnonzero(true[:, 0] == IGNORED)
    if ignored.size:
        raise DataError(f"metric: sample {ignored[0]} is labelled {IGNORED}, which means ignore; leave it out")
    return np.column_stack([predicted[:, 0], true[:, 0]]).astype(np.float64)


def class_counts(rows: Counts, average: Literal["macro", "micro"]) -> tuple[Counts, Counts, Counts]:
    """How often each class was found, was predicted, and is true: three arrays of shape (classes,).

    `rows` are those of `one_each`. Only classes that were predicted or are true take part; "micro" adds them up
    into one. Memory grows with the classes, not with their square: no confusion matrix is built.
    """
    classes = rows.astype(np.int64)
    predicted, true = (classes - classes.min()).T
    length = int(max(predicted.max(), true.max())) + 1
    counts = np.stack([np.bincount(each, minlength=length) for each in (true[predicted == true], predicted, true)])
    kept = counts.sum(axis=1, keepdims=True) if average == "micro" else counts[:, counts.any(axis=0)]
    found, predicted_count, true_count = kept.astype(np.float64)
    return found, predicted_count, true_count


def _compact(output: Array) -> Array:
    """(samples, classes) for an output that is so but for axes of length 1, such as (samples, classes, 1, 1)."""
    shape = without_ones(output.shape)
    return output.reshape(shape) if len(shape) == 2 else output


def _misfit(output: Array, labels: Classes) -> DataError:
    return DataError(
        f"metric: target has shape {labels.shape} and the output {output.shape}; "
        "there must be one label for each sample (or each position): the output's shape without its classes"
    )
