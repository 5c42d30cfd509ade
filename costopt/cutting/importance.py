"""How much each unit matters to the outputs, from weights or from unlabelled calibration data.

- `group_norm`: the sum of squares of all weights that would go with the unit (DepGraph, Fang et al. 2023,
  https://arxiv.org/abs/2301.12900). Needs no data.
- `activation`: the mean square of the unit's values times the sum of squares of the weights that read them (Wanda's
  criterion for whole columns, Sun et al. 2023, https://arxiv.org/abs/2306.11695).
- `taylor`: how far the outputs move when the unit's values are zero, to first order:

      E[ (v . J a)^2 ] = |J a|^2,     v ~ N(0, 1) for each sample

  where a are the values, J the outputs' derivatives. This is half the second-order term of the squared distance between
  the outputs of teacher and student (Fisher pruning, Theis et al. 2018, https://arxiv.org/abs/1801.05787); the
  first-order term that other uses of Taylor's formula take is zero here, since the unpruned student equals its teacher.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from costopt.cutting.observed import Edges, Inputs, floats, values
from costopt.cutting.surgery import tensor_of
from costopt.cutting.ties import Reader, Structure
from costopt.errors import CandidateError

Importance = Literal["group_norm", "activation", "taylor"]
Scores = NDArray[np.float64]

SMALLEST = 1e-12
"""Outputs of a smaller norm are taken as they are: they are zero."""


def scores(
    kind: Importance, module: fx.GraphModule, structure: Structure, batches: Iterable[Inputs], seed: int
) -> Scores:
    """A number for each unit; larger ones matter more. They compare units of a group, not groups.

    Raises CandidateError when some are not finite.
    """
    match kind:
        case "group_norm":
            found = group_norm(module, structure)
        case "activation":
            found = activation(module, structure, batches)
        case "taylor":
            found = taylor(module, structure, batches, seed)
    if not np.isfinite(found).all():
        words = f"the importance of channels is not finite ({kind}): weights or calibration values are NaN or infinite"
        raise CandidateError("compress", words)
    return found


def group_norm(module: fx.GraphModule, structure: Structure) -> Scores:
    """Sum of squares of the weights of each unit."""
    found = np.zeros(structure.count)
    for name, axes in structure.parameters.items():
        if len(axes) > 1:
            for dim, axis in enumerate(axes):
                _add(found, structure.units(axis), _along(tensor_of(module, name).detach() ** 2, dim))
    return found


def activation(module: fx.GraphModule, structure: Structure, batches: Iterable[Inputs]) -> Scores:
    """Mean square of values, times the sum of squares of the weights that read them."""
    found, count = np.zeros(structure.count), 0
    read = {reader: _along(tensor_of(module, reader.weight).detach() ** 2, reader.axis) for reader in structure.readers}
    for inputs in batches:
        seen = values(module, {reader.source for reader in structure.readers}, inputs)
        for reader, weight in read.items():
            value = seen[reader.source] ** 2
            positions = value.numel() / (value.shape[reader.dim] * len(inputs[0]))
            _add(found, _units(structure, reader), _along(value, reader.dim) * weight / positions)
        count += len(inputs[0])
    return found / count


def taylor(module: fx.GraphModule, structure: Structure, batches: Iterable[Inputs], seed: int) -> Scores:
    """Mean square, over samples, of how far a random projection of the outputs moves without the unit."""
    found, count = np.zeros(structure.count), 0
    random = torch.Generator().manual_seed(seed)
    for inputs in batches:
        moved = np.zeros((len(inputs[0]), structure.count))
        for reader, move in _moves(module, structure, inputs, random):
            units = _units(structure, reader)
            rows = move if len(move) == len(moved) else move.sum(0, keepdim=True)
            for row, parts in zip(moved, rows.double().numpy(), strict=False):
                _add(row, units, parts)
        found += (moved**2).sum(0)
        count += len(moved)
    return found / count


def _moves(
    module: fx.GraphModule, structure: Structure, inputs: Inputs, random: torch.Generator
) -> list[tuple[Reader, Tensor]]:
    """For each reader, value times derivative, summed over all but the first axis and that of the channels."""
    edges = Edges(module, [(reader.node, reader.source) for reader in structure.readers])
    with torch.enable_grad():
        outputs = floats(edges.run(*inputs))
        parts = [
            (one / one.detach().norm().clamp_min(SMALLEST) * torch.randn(one.shape, generator=random)).sum()
            for one in outputs
            if one.requires_grad
        ]
        loss = torch.stack(parts).sum()
        read = [edges.seen[reader.node] for reader in structure.readers]
        derivatives = torch.autograd.grad(loss, read, allow_unused=True)
    moves = []
    for reader, value, derivative in zip(structure.readers, read, derivatives, strict=True):
        if derivative is not None:
            over = [at for at in range(1, value.ndim) if at != reader.dim]
            product = (value * derivative).detach()
            moves.append((reader, product.sum(over) if over else product))
    return moves


def _units(structure: Structure, reader: Reader) -> NDArray[np.int64]:
    return structure.units(structure.parameters[reader.weight][reader.axis])


def _along(tensor: Tensor, dim: int) -> Scores:
    """Sums over all axes but one."""
    over = [at for at in range(tensor.ndim) if at != dim]
    found: Scores = (tensor.sum(over) if over else tensor).double().numpy()
    return found


def _add(found: Scores, units: NDArray[np.int64], parts: Scores) -> None:
    """Add what each position brings to its unit."""
    held = units >= 0
    if held.any():
        np.add.at(found, units[held], parts[held])
