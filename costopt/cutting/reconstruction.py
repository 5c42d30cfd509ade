"""Weights that make up for what was taken away, found by least squares, without a gradient step.

After surgery each layer reads fewer and changed values x'. Its weights are solved for anew, layer by layer in the order
of the graph, so that what it gives is as near as can be to what the same layer gave in the original (He et al. 2017,
https://arxiv.org/abs/1707.06168, section 3.2; ThiNet, Luo et al. 2017):

    min |W' x' + b' - y|^2 + lambda |W' - W|^2

The ridge pulls towards the weights that are left; its weight is the one that does best on samples that were held out,
so that few samples do no harm. Where the layer's result is added to
another branch, the sum is what should be right: y is the original's sum less what the other branch gives now, and the
layer mends that branch's error too. A BatchNorm between is a line in each channel and is undone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn

from costopt.cutting.observed import Frontier, Inputs
from costopt.cutting.surgery import Gone
from costopt.cutting.ties import Reader, Structure

aten = torch.ops.aten

ROWS = 4096
"""Positions of one batch that are looked at; pictures have many that say the same."""

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Weights of the pull towards the old weights that are tried, in units of the mean square of an input."""

SMALLEST = 1e-12
"""The ridge where all inputs are zero."""

HELD_OUT = 5
"""Every fifth sample chooses among them (and the old weights), and takes part in the sums only then."""

PASSING = (aten.dropout.default, aten.contiguous.default, aten.clone.default)

Solvable = nn.Linear | nn.Conv1d | nn.Conv2d


def reconstruct(
    module: fx.GraphModule,
    teacher: fx.GraphModule,
    structure: Structure,
    gone: Gone,
    batches: Iterable[Inputs],
    seed: int,
) -> int:
    """Solve anew for the weights of every layer that reads changed values, in place; answers how many there were.

    `module` is what `surgery.remove` made of the graph that `structure` describes; `teacher` is a copy from before.
    Layers that share weights, grouped ones, and plain aten calls keep their weights.
    """
    twin = dict(zip(module.graph.nodes, teacher.graph.nodes, strict=True))
    pairs = [(Frontier(module, inputs), Frontier(teacher, inputs)) for inputs in batches]
    changed = _changed(module, structure, gone)
    solved = 0
    for reader in structure.readers:
        layer = _solvable(module, structure, reader)
        if layer is not None and reader.source in changed:
            for now, then in pairs:
                now.advance(reader.node)
                then.advance(twin[reader.node])
            _solve(layer, _goal(module, structure, reader, twin), _kept_outputs(structure, reader, gone), pairs, seed)
            solved += 1
    return solved


def _changed(module: fx.GraphModule, structure: Structure, gone: Gone) -> set[fx.Node]:
    """Nodes whose values are not the original's: what loses places, and all that comes after."""
    changed: set[fx.Node] = set()
    for node in module.graph.nodes:
        axes = [axis for one in structure.values.get(node, ()) for axis in one if axis is not None]
        loses = any(not structure.kept(axis, gone).all() for axis in axes)
        if loses or not changed.isdisjoint(node.all_input_nodes):
            changed.add(node)
    return changed


def _solvable(module: fx.GraphModule, structure: Structure, reader: Reader) -> Solvable | None:
    """The layer of a reader, when its weights are used here and nowhere else."""
    if reader.node.op != "call_module" or sum(one.weight == reader.weight for one in structure.readers) > 1:
        return None
    path = str(reader.node.target)
    if any(node.op == "get_attr" and str(node.target).startswith(f"{path}.") for node in module.graph.nodes):
        return None
    layer = module.get_submodule(path)
    plain = isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.groups == 1)
    if not plain or (isinstance(layer, nn.Conv1d | nn.Conv2d) and layer.padding_mode != "zeros"):
        return None
    assert isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d)
    return None if isinstance(layer.padding if not isinstance(layer, nn.Linear) else 0, str) else layer


@dataclass(frozen=True)
class _Goal:
    """What a layer should give: the original's value at `landing`, less `other`, with the BatchNorm between undone."""

    reader: Reader
    landing: fx.Node
    norm: nn.Module | None
    other: fx.Node | None
    twin: dict[fx.Node, fx.Node]


def _goal(module: fx.GraphModule, structure: Structure, reader: Reader, twin: dict[fx.Node, fx.Node]) -> _Goal:
    """Follow what a layer gives to the sum that it is added in, if that is where it goes."""
    node, norm = reader.node, None
    while len(node.users) == 1:
        (user,) = node.users
        if norm is None and _is_batch_norm(module, user):
            norm = module.get_submodule(str(user.target))
        elif user.target is aten.add.Tensor:
            other = _other_branch(user, node)
            if other is None or structure.shapes[user] != structure.shapes[reader.node]:
                break
            return _Goal(reader, user, norm, other, twin)
        elif user.target not in PASSING:
            break
        node = user
    return _Goal(reader, reader.node, None, None, twin)


def _is_batch_norm(module: fx.GraphModule, node: fx.Node) -> bool:
    layer = module.get_submodule(str(node.target)) if node.op == "call_module" else None
    return isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)


def _other_branch(total: fx.Node, node: fx.Node) -> fx.Node | None:
    """What is added to `node`; None when it is a number, scaled, or the same."""
    others = [one for one in total.args if one is not node]
    return others[0] if len(others) == 1 and isinstance(others[0], fx.Node) and not total.kwargs else None


@dataclass
class _Sums:
    """Normal equations: sums of x x^T and x y^T over rows, the constant 1 being the last of x."""

    gram: Tensor
    product: Tensor

    @classmethod
    def none(cls, width: int, outputs: int) -> "_Sums":
        zeros = torch.zeros
        return cls(zeros(width, width, dtype=torch.float64), zeros(width, outputs, dtype=torch.float64))

    def add(self, rows: Tensor, targets: Tensor) -> None:
        self.gram += rows.T @ rows
        self.product += rows.T @ targets

    def error(self, weights: Tensor) -> float:
        """The sum of squared errors, less what does not depend on the weights."""
        return float((weights * (self.gram @ weights - 2 * self.product)).sum())


def _solve(layer: Solvable, goal: _Goal, kept: Tensor, pairs: Sequence[tuple[Frontier, Frontier]], seed: int) -> None:
    """Sum up the normal equations over batches, and put their solution into the layer."""
    random = torch.Generator().manual_seed(seed)
    sums = [_Sums.none(layer.weight[0].numel() + 1, len(layer.weight)) for _ in range(2)]  # learned from, held out
    for now, then in pairs:
        read = now.value(goal.reader.source)
        rows, targets = _rows(layer, read), _channels_last(layer, _wanted(goal, kept, now, then))
        chosen = torch.randperm(len(rows), generator=random)[:ROWS]
        rows = torch.cat([rows[chosen], torch.ones(len(chosen), 1)], dim=1).double()
        held_out = chosen // (len(targets) // len(read)) % HELD_OUT == HELD_OUT - 1
        for part, which in zip(sums, (~held_out, held_out), strict=True):
            part.add(rows[which], targets[chosen[which]].double())
    _put(layer, *sums)


def _kept_outputs(structure: Structure, reader: Reader, gone: Gone) -> Tensor:
    axes = structure.parameters[reader.weight]
    return torch.from_numpy(np.flatnonzero(structure.kept(axes[1 - reader.axis], gone)))


def _wanted(goal: _Goal, kept: Tensor, now: Frontier, then: Frontier) -> Tensor:
    """What the layer should give."""
    wanted = then.value(goal.twin[goal.landing]).index_select(goal.reader.dim, kept)
    if goal.other is not None:
        wanted = wanted - now.value(goal.other)
    if isinstance(goal.norm, nn.BatchNorm1d | nn.BatchNorm2d):
        wanted = _undone(goal.norm, wanted)
    return wanted


def _undone(norm: nn.BatchNorm1d | nn.BatchNorm2d, given: Tensor) -> Tensor:
    """What went into a BatchNorm; where its scale is zero, its mean."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    shape = [1, -1, *[1] * (given.ndim - 2)]
    scale = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    inverse = torch.where(scale.abs() > 1e-6, 1 / scale, 0)
    return (given - norm.bias.detach().reshape(shape)) * inverse.reshape(shape) + norm.running_mean.reshape(shape)


def _rows(layer: Solvable, read: Tensor) -> Tensor:
    """Each position's inputs in a row: what a kernel covers, laid out like its weights."""
    if isinstance(layer, nn.Linear):
        return read.reshape(-1, read.shape[-1])
    flat = isinstance(layer, nn.Conv1d)
    sizes = [(1, *one) if flat else one for one in (layer.kernel_size, layer.dilation, layer.stride)]
    assert not isinstance(layer.padding, str)
    padding = (0, *layer.padding) if flat else layer.padding
    picture = read.unsqueeze(-2) if flat else read
    rows = nn.functional.unfold(picture, sizes[0], sizes[1], padding, sizes[2])  # (batch, inputs, positions)
    return rows.transpose(1, 2).reshape(-1, rows.shape[1])


def _channels_last(layer: Solvable, given: Tensor) -> Tensor:
    if isinstance(layer, nn.Linear):
        return given.reshape(-1, given.shape[-1])
    return given.flatten(2).transpose(1, 2).reshape(-1, given.shape[1])


def _put(layer: Solvable, learned: _Sums, held_out: _Sums) -> None:
    """Choose the ridge on what was held out, solve with all, and give the layer its new weights and bias."""
    old = layer.weight.detach().double().flatten(1)
    bias = layer.bias.detach().double() if layer.bias is not None else torch.zeros(len(old), dtype=torch.float64)
    before = torch.cat([old, bias[:, None]], dim=1).T
    errors = {ridge: held_out.error(_solution(learned, before, ridge)) for ridge in RIDGES}
    best = min(RIDGES, key=errors.__getitem__) if held_out.gram.any() else RIDGES[-1]
    after = _solution(_Sums(learned.gram + held_out.gram, learned.product + held_out.product), before, best)
    if errors[best] <= held_out.error(before) and after.isfinite().all():
        weights = after.T.float()
        layer.weight = nn.Parameter(
            weights[:, :-1].reshape(layer.weight.shape).contiguous(), layer.weight.requires_grad
        )
        layer.bias = nn.Parameter(weights[:, -1].contiguous(), layer.weight.requires_grad)


def _solution(sums: _Sums, before: Tensor, ridge: float) -> Tensor:
    """Weights and bias that solve the normal equations; those from before where float64 finds none."""
    pull = max(ridge * float(sums.gram.diagonal()[:-1].mean()), SMALLEST)
    pulled = torch.full((len(before),), pull, dtype=torch.float64)
    pulled[-1] = 0  # the constant is free: means must be right
    factor, failed = torch.linalg.cholesky_ex(sums.gram + pulled.diag())
    change = torch.cholesky_solve(sums.product - sums.gram @ before, factor)
    return before if failed else before + change
