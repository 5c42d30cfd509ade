"""What labels teach, where calibration data have any: a loss against them beside that against a teacher.

A label is the number of a class, for an output of scores (samples, classes), or values of an output's own shape.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from costopt.errors import CandidateError
from costopt.learning.imitation import relative_error


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels of all calibration samples, in their order: whole numbers (samples,), or floats of an output's shape.

    `of` makes them from what the data hold.
    """

    values: Tensor

    @classmethod
    def of(cls, array: NDArray[np.generic], output: Tensor) -> "Labels":
        """The labels for a model whose first output looks like `output`, (batch, ...).

        Raises CandidateError when they don't fit.
        """
        values = torch.from_numpy(np.ascontiguousarray(array))
        if values.ndim == 2 and values.shape[1] == 1 and not values.is_floating_point():
            values = values[:, 0]
        classes = not values.is_floating_point() and values.ndim == 1 and output.ndim == 2
        if classes and int(values.min()) >= 0 and int(values.max()) < output.shape[1]:
            return cls(values.long())
        if values.is_floating_point() and values.shape[1:] == output.shape[1:]:
            return cls(values.float())
        found = f"{array.dtype} of shape {tuple(array.shape)}, from {array.min()} to {array.max()}"
        wanted = f"an output of shape {('batch', *output.shape[1:])}"
        words = f"the labels of the calibration data ({found}) fit no class and no value of {wanted}"
        raise CandidateError("compress", f"{words}; mend 'target', or leave it out")

    def loss(self, output: Tensor, places: Tensor) -> Tensor:
        """How far the output for the samples at `places` is from their labels: a scalar with a gradient.

        Cross-entropy in nats for classes, the squared error over the labels' variance for values.
        """
        wanted = self.values[places].to(output.device)
        if wanted.is_floating_point():
            return relative_error(output, wanted)
        return functional.cross_entropy(output, wanted)

    def right(self, output: Tensor, places: Tensor) -> float:
        """The share of samples of the right class; for values 1 - |output - label| / |label|. From 0 to 1."""
        wanted = self.values[places].to(output.device)
        if wanted.is_floating_point():
            return max(0.0, 1 - float((output - wanted).norm() / wanted.norm().clamp(min=1e-12)))
        return float((output.argmax(1) == wanted).float().mean())
