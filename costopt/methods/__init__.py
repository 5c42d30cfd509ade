"""Compression methods, one a file; a recipe lists them in the order in which they work.

There are two kinds, and the export to ONNX lies between them:

- a `TorchMethod` gets the model as an `fx.GraphModule` that calls modules (`nn.Conv2d`, `nn.Linear` ...), whatever kind
  of file was loaded, and gives one back; it may change what it was given;
- an `OnnxMethod` gets the path of an ONNX file and writes another one.

The fields of the frozen dataclass are the options in the budget file. A method that would change nothing raises
`NotApplicable` with the reason.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from costopt.records import Graph, Value
from costopt.units import percent

if TYPE_CHECKING:
    from torch import fx

Arrays = dict[str, NDArray[np.generic]]


class Calibration(Protocol):
    """Unlabelled inputs by name, read in batches so that they need not fit into memory."""

    @property
    def samples(self) -> int:
        """How many samples there are."""

    def batches(self, size: int, limit: int | None = None) -> Iterator[Arrays]:
        """Batches of at most `size` samples in order, `limit` samples in all."""


@dataclass(frozen=True, slots=True)
class Knob:
    """The option by which the search sets how hard a method cuts: a share between `low` and `high`, 0 cuts nothing.

    `first` is tried first: what often can be mended by learning.
    """

    option: str
    low: float
    high: float
    first: float


class Method(ABC):  # noqa: B024 - what is abstract differs between the two kinds below
    """What both kinds of method share: how `recipes: auto` tries them.

    A method with a `knob` takes parts of the model away, which must be mended by learning: the search looks for the
    strength that the budget allows. Any other is tried with each of its `automatic` option sets.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)
    knob: ClassVar[Knob | None] = None
    alone: ClassVar[bool] = True
    """Whether it is worth trying by itself: what mends a cut is not, and neither is a cut that nothing mends."""
    exact: ClassVar[bool] = False
    """Whether outputs change by rounding alone, so that where it gains, other methods may follow it."""

    def unsuitable(self, graph: Graph) -> str | None:  # noqa: ARG002 - most methods suit every graph
        """Why this method can do nothing for such a graph, in words; None when it can."""
        return None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a method can do for a graph, told without importing it: see `Method`. `unsuitable` is None when it suits.

    `on_modules` is whether it works on modules, before the export.
    """

    name: str
    automatic: tuple[Mapping[str, Value], ...]
    knob: Knob | None
    alone: bool
    exact: bool
    on_modules: bool
    unsuitable: str | None


class OnnxMethod(Method):
    """From one ONNX file to another."""

    @abstractmethod
    def __call__(self, source: Path, target: Path, calibration: Calibration) -> None:
        """Read `source`, write `target`.

        Raises NotApplicable when nothing would change, CandidateError when the model can't be treated.
        """


@dataclass(frozen=True, slots=True)
class Context:
    """What a method on modules works with, besides the modules.

    `original` gives a fresh copy of the model as it was before any method: the teacher of those that learn.
    `input_names` are the arguments of the modules, in order. `seed` starts every random choice. `folder` is where a
    long method may keep what it has reached, so that a killed run goes on from there: it is the step's own, need not be
    there yet, and goes when the recipe's file is made. None keeps nothing. `labels` are those of the calibration
    samples, in their order (samples, ...), where the user gave some.
    """

    calibration: Calibration
    input_names: tuple[str, ...]
    original: Callable[[], "fx.GraphModule"]
    seed: int = 0
    folder: Path | None = None
    labels: NDArray[np.generic] | None = None


class TorchMethod(Method):
    """From modules to modules.

    What comes after a method that `teaches` learns from what that gave, no longer from the original.
    """

    teaches: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, module: "fx.GraphModule", context: Context) -> "fx.GraphModule":
        """The compressed model, in eval mode; `module` may be changed in place.

        Raises NotApplicable when nothing would change, CandidateError when the model can't be treated.
        """


SMALLEST_SHARE = 0.1
"""A method that treats a smaller share of the parameters saves less than a tenth of the file."""


MOVING = frozenset({"Concat", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"})
"""What only moves values. Weights that pass through it first (torch's exporter reorders those of an LSTM so) belong to
an operator that is known when constants have been folded, not before."""


def weights_elsewhere(graph: Graph, operators: Collection[str], lack: str) -> str | None:
    """Why it is not worth it to treat `operators` alone: "97 % of the weights sit in Conv, which has no int4 kernel".

    `lack` ends that sentence. None when `operators` hold, or may hold, at least `SMALLEST_SHARE` of the parameters.
    """
    if graph.parameters == 0:
        return "the graph holds no weights"
    treated = {*operators, *MOVING} if not graph.operators.keys().isdisjoint(operators) else {*operators}
    held = graph.parameters_by_operator
    if sum(held.get(operator, 0) for operator in treated) >= SMALLEST_SHARE * graph.parameters:
        return None
    most, count = max(((name, held[name]) for name in held if name not in treated), key=lambda pair: pair[1])
    return f"{percent(count / graph.parameters)} of the weights sit in {most}, which {lack}"
