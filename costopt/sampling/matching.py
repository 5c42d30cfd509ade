"""Arrays matched to a model's inputs: by name, by column, by position; what does not fit is refused in words.

A wrong array is found here, once and before work starts, with both sides named and the line of numpy that mends it.
Inside a kernel it would be a message about a node, or worse: a number that looks right.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from costopt.errors import DataError
from costopt.records import InputSpec
from costopt.sampling.arrays import Array, ArrayFile

TARGET = "target"

Purpose = Literal["evaluation", "calibration", "input"]
Parts = tuple[ArrayFile, ...]

LEAST_SAMPLES: Mapping[Purpose, int] = {"evaluation": 2, "calibration": 1, "input": 1}
"""A drop is shown with an interval, and an interval needs two samples at least."""

SHOWN = 6
"""Arrays or inputs that a message lists."""


@dataclass(frozen=True, slots=True)
class Input:
    """What feeds one model input: an array, or columns of a table that are put side by side.

    A sample has the shape `row` and the type `dtype`, whatever the parts have.
    """

    name: str
    dtype: str
    row: tuple[int, ...]
    parts: tuple[ArrayFile, ...]

    @property
    def sample_bytes(self) -> int:
        """Size of one sample as it is stored."""
        return sum(part.sample_bytes for part in self.parts)

    @property
    def samples(self) -> int:
        """Length of the first axis."""
        return self.parts[0].shape[0]

    def read(self, start: int, stop: int) -> Array:
        """Samples `start` to `stop`, in C order."""
        stacked = np.stack([part.read(start, stop) for part in self.parts], axis=1)
        return stacked.astype(self.dtype, copy=False).reshape(len(stacked), *self.row)


def matched(
    arrays: Sequence[ArrayFile], inputs: Sequence[InputSpec], purpose: Purpose
) -> tuple[tuple[Input, ...], ArrayFile | None]:
    """What feeds each input, in the inputs' order, and the labels. Raises DataError when it does not fit.

    `target` holds the labels. So does the last of several arrays without names when there is one more than inputs,
    which is what a DataLoader yields. For inputs that are only timed labels are left out; but for evaluation, so are
    arrays that no input is named after.
    """
    if not inputs:
        raise DataError("the model has no inputs, so there is nothing to feed; look at how it was exported")
    target, given = target_apart(arrays, len(inputs))
    found = _by_name(given, inputs) or _by_column(given, inputs) or _by_position(given, inputs, purpose)
    if found is None:
        raise DataError(f"{purpose} data: {_mismatch(given, inputs)}")
    if purpose == "input":
        target = None
    if purpose == "evaluation" and target is None:
        _check_extra(given, found)
    fed = tuple(_input(spec, parts, purpose) for spec, parts in zip(inputs, found, strict=True))
    _check_lengths(fed, target, purpose)
    _check_named_axes(fed, inputs, purpose)
    return fed, target


# ------------------------------------------------------------------------------------------- who feeds what


def target_apart(arrays: Sequence[ArrayFile], inputs: int) -> tuple[ArrayFile | None, list[ArrayFile]]:
    """The labels and the rest, for a model of so many inputs: by name, or the one array that is over."""
    given = [array for array in arrays if array.name != TARGET]
    labels = [array for array in arrays if array.name == TARGET]
    if not labels and len(given) == inputs + 1 and not any(array.name for array in given):
        return given[-1], given[:-1]
    return (labels[0] if labels else None), given


def _by_name(given: list[ArrayFile], inputs: Sequence[InputSpec]) -> list[Parts] | None:
    named = {array.name: array for array in given}
    if any(spec.name not in named for spec in inputs):
        return None
    return [(named[spec.name],) for spec in inputs]


def _by_column(given: list[ArrayFile], inputs: Sequence[InputSpec]) -> list[Parts] | None:
    """All columns of a table, for a model whose only input is a table of floats."""
    if len(inputs) != 1 or len(inputs[0].shape) != 2 or not inputs[0].dtype.startswith("float"):
        return None
    if not given or any(len(array.shape) != 1 or not array.name for array in given):
        return None
    return [tuple(given)]


def _by_position(given: list[ArrayFile], inputs: Sequence[InputSpec], purpose: Purpose) -> list[Parts] | None:
    """In order, when no name fits and the counts agree. Raises DataError when nobody would notice a wrong order."""
    if len(given) != len(inputs) or {array.name for array in given} & {spec.name for spec in inputs}:
        return None
    for one, other in combinations(given, 2):
        if one.name and (one.shape, one.dtype) == (other.shape, other.dtype):
            names = " and ".join(f"'{spec.name}'" for spec in inputs[:SHOWN])
            raise DataError(
                f"{purpose} data: '{one.name}' and '{other.name}' look alike, and a swap would go unnoticed; "
                f"name the arrays after the model's inputs {names}"
            )
    return [(array,) for array in given]


def _shape_fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    """The first axis is the sample's and any length will do: a fixed batch is the model's affair."""
    if not shape or len(shape) != len(wanted):
        return False
    return all(isinstance(size, str) or size == length for length, size in zip(shape[1:], wanted[1:], strict=True))


def _mismatch(given: list[ArrayFile], inputs: Sequence[InputSpec]) -> str:
    names = {array.name for array in given}
    lacking = ", ".join(f"'{spec.name}'" for spec in inputs if spec.name not in names)
    call = ", ".join(f"{spec.name}=..." for spec in inputs[:SHOWN])
    return (
        f"nothing for {lacking}: the model takes {_listed(inputs)}; the data have {_listed(given) or 'no inputs'}.\n"
        f"Name the arrays after the inputs: np.savez(path, {call}, target=...)"
    )


def _listed(items: Sequence[InputSpec | ArrayFile]) -> str:
    shown = [f"{item.name or 'unnamed'} {item.dtype} {_in_words(item.shape)}" for item in items[:SHOWN]]
    more = len(items) - SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _in_words(shape: Sequence[int | str]) -> str:
    """`(batch, 3, 224, 224)`."""
    return f"({', '.join(str(size) for size in shape)})"


# ------------------------------------------------------------------------------------------- does it fit


def _input(spec: InputSpec, parts: Parts, purpose: Purpose) -> Input:
    """One model input with what feeds it.

    A column (one number a sample) takes on the input's type, because tables don't say which float they mean. Any other
    array must have it already: a wrong type there is most often a forgotten step of preprocessing.
    """
    what = f"{purpose} data: input '{spec.name}'"
    if not spec.shape:
        raise DataError(f"{what} has no axis for samples; export the model with a batch axis on every input")
    column = len(spec.shape) <= 2 and all(len(part.shape) == 1 for part in parts)
    if column:
        row = (len(parts),) * (len(spec.shape) - 1)
        _check_columns(what, spec, parts)
    else:
        row = parts[0].shape[1:]
        _check_array(what, spec, parts[0])
    return Input(spec.name, spec.dtype, row, parts)


def _check_columns(what: str, spec: InputSpec, parts: Parts) -> None:
    if not _shape_fits((1, len(parts)), spec.shape) and len(spec.shape) == 2:
        names = ", ".join(part.name or "unnamed" for part in parts[:SHOWN]) + (", ..." if len(parts) > SHOWN else "")
        raise DataError(
            f"{what} has {spec.shape[1]} columns, and the data have {len(parts)} ({names}); "
            "leave out what is no feature, and call the labels 'target'"
        )
    for part in parts:
        if not _converts(np.dtype(part.dtype), np.dtype(spec.dtype)):
            raise DataError(
                f"{what} is {spec.dtype}, and column '{part.name}' is {part.dtype}; {_dtype_fix(part, spec)}"
            )


def _converts(source: np.dtype[np.generic], wanted: np.dtype[np.generic]) -> bool:
    """Numbers to floats, and to any type that holds them all."""
    return source.kind in "biuf" and (wanted.kind == "f" or np.can_cast(source, wanted, "safe"))


def _check_array(what: str, spec: InputSpec, array: ArrayFile) -> None:
    wanted, there = f"{spec.dtype} {_in_words(spec.shape)}", f"{array.dtype} {_in_words(array.shape)}"
    sides = f"{what} is {wanted}, and the array {there}"
    if not _shape_fits(array.shape, spec.shape):
        raise DataError(f"{sides}; {_shape_fix(array, spec)}")
    if array.dtype != spec.dtype:
        raise DataError(f"{sides}; {_dtype_fix(array, spec)}")


def _dtype_fix(array: ArrayFile, spec: InputSpec) -> str:
    name = array.name or spec.name
    scaled = spec.dtype.startswith("float") and np.dtype(array.dtype).kind in "biu"
    return f"{name} = {name}.astype('{spec.dtype}')" + (", scaled as in training" if scaled else "")


def _shape_fix(array: ArrayFile, spec: InputSpec) -> str:
    """The line of numpy that mends the shape, where there is a likely one."""
    name, shape = array.name or spec.name, array.shape
    if shape and len(spec.shape) == len(shape) + 1 and _shape_fits((shape[0], 1, *shape[1:]), spec.shape):
        return f"{name} = {name}[:, None]"
    for order in ((0, 3, 1, 2), (0, 2, 3, 1)):
        if len(shape) == 4 and _shape_fits(tuple(shape[axis] for axis in order), spec.shape):
            return f"{name} = {name}.transpose{order}"
    return "bring it into the model's shape as in training; the first axis is the sample"


def _check_extra(given: list[ArrayFile], matched: list[Parts]) -> None:
    """Without `target`, an array that feeds nothing is most likely the labels under another name."""
    used = {part for parts in matched for part in parts}
    for array in given:
        if array not in used:
            raise DataError(
                f"evaluation data: '{array.name}' is no input of the model, and there is no 'target'; "
                "call it 'target' if it holds the labels, else leave it out"
            )


def _check_lengths(fed: tuple[Input, ...], target: ArrayFile | None, purpose: Purpose) -> None:
    arrays = [part for one in fed for part in one.parts] + ([] if target is None else [target])
    if len({array.shape[:1] for array in arrays}) > 1:
        raise DataError(f"{purpose} data: the first axis is the sample, and it must be the same: {_listed(arrays)}")
    if fed[0].samples < LEAST_SAMPLES[purpose]:
        why = " (an interval needs two, and a verdict hundreds)" if purpose == "evaluation" else ""
        raise DataError(f"{purpose} data: {fed[0].samples} samples are too few{why}; give more")


def _check_named_axes(fed: tuple[Input, ...], inputs: Sequence[InputSpec], purpose: Purpose) -> None:
    """Axes of one name have one length, in all inputs."""
    known: dict[str, tuple[int, str]] = {}
    for spec, one in zip(inputs, fed, strict=True):
        for axis, length in zip(spec.shape[1:], one.row, strict=True):
            if not isinstance(axis, str):
                continue
            before, other = known.setdefault(axis, (length, spec.name))
            if before != length:
                raise DataError(
                    f"{purpose} data: axis '{axis}' is {before} long in '{other}' and {length} in '{spec.name}'; "
                    "pad or cut them to the same length"
                )
