"""What operators without weights do to places: keep them, move them, mix them."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import fx

from costopt.cutting.ties.structure import Axes, Axis, Shape
from costopt.cutting.ties.walk import Arguments, Rule, Walk, unknown

aten = torch.ops.aten


def pointwise(walk: Walk, node: fx.Node, _: Arguments) -> Sequence[Axes]:
    """Each position of the result is made from that position alone: all sources are tied."""
    sources = [source for source in node.all_input_nodes if walk.values.get(source)]
    return [walk.joined(node, sources, slice(None))]


def _alike(walk: Walk, node: fx.Node, _: Arguments) -> Sequence[Axes]:
    return [walk.read(node.all_input_nodes[0])]


def _reduced(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    """Sums and the like over some axes, which stay as they are."""
    source = node.all_input_nodes[0]
    axes, rank = walk.read(source), len(walk.shapes[source][0])
    dims = given.get("dim", None)
    several = dims if isinstance(dims, list | tuple) else [dims]
    over = set(range(rank)) if dims is None or len(several) == 0 else {int(dim) % max(rank, 1) for dim in several}
    walk.fix(*(axes[dim] for dim in over))
    if given.get("keepdim"):
        return [tuple(None if dim in over else axis for dim, axis in enumerate(axes))]
    return [tuple(axis for dim, axis in enumerate(axes) if dim not in over)] * len(walk.shapes[node])


def _along(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    """Softmax and the like: of the same shape, and each position depends on all along one axis."""
    axes = walk.read(node.all_input_nodes[0])
    dim = given["dim"] % len(axes)
    walk.fix(axes[dim])
    return [tuple(None if at == dim else axis for at, axis in enumerate(axes))]


def _spatial(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    """Pooling, padding and resizing, where they leave the first two axes alone; the others stay."""
    source = node.all_input_nodes[0]
    axes, before, after = walk.read(source), walk.shapes[source][0], walk.shapes[node][0]
    if len(before) < 3 or before[:2] != after[:2]:
        return unknown(walk, node, given)
    walk.fix(*axes[2:])
    return [(*axes[:2], *(None,) * (len(axes) - 2))]


def _size(walk: Walk, _: fx.Node, given: Arguments) -> Sequence[Axes]:
    """The length of one axis, as a number for other nodes: that axis stays."""
    walk.fix(walk.read(given["self"])[given["dim"]])
    return []


def _permuted(walk: Walk, _: fx.Node, given: Arguments) -> Sequence[Axes]:
    axes = walk.read(given["self"])
    return [tuple(axes[dim] for dim in given["dims"])]


def _transposed(walk: Walk, _: fx.Node, given: Arguments) -> Sequence[Axes]:
    axes = list(walk.read(given["self"]))
    one, other = given.get("dim0", 0), given.get("dim1", 1)
    if len(axes) > 1:
        axes[one], axes[other] = axes[other], axes[one]
    return [tuple(axes)]


def _reshaped(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    source = node.all_input_nodes[0]
    axes, before, after = walk.read(source), walk.shapes[source][0], walk.shapes[node][0]
    result: list[Axis] = []
    for taken, given_back in _blocks(before, after):
        result += _refolded(
            walk, [axes[at] for at in taken], [before[at] for at in taken], [after[at] for at in given_back]
        )
    _fix_computed(walk, result, given.get("size", given.get("shape", ())))
    return [tuple(result)]


def _fix_computed(walk: Walk, axes: Sequence[Axis], sizes: Any) -> None:
    """A size that the graph computes can't be made to follow."""
    for axis, size in zip(axes, sizes if isinstance(sizes, list | tuple) else (), strict=False):
        if isinstance(size, fx.Node):
            walk.fix(axis)


def _blocks(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """The shortest runs of axes that hold the same number of positions: (2, 32) to (2, 4, 8) is 2, 32 = 4 * 8."""
    blocks: list[tuple[list[int], list[int]]] = []
    left, right = 0, 0
    while left < len(before) or right < len(after):
        taken, given_back = [*range(left, min(left + 1, len(before)))], [*range(right, min(right + 1, len(after)))]
        left, right = left + len(taken), right + len(given_back)
        while (one := np.prod([before[at] for at in taken])) != (other := np.prod([after[at] for at in given_back])):
            if (one < other and left < len(before)) or right == len(after):
                taken.append(left)
                left += 1
            else:
                given_back.append(right)
                right += 1
        blocks.append((taken, given_back))
    return blocks


def _refolded(walk: Walk, axes: list[Axis], before: list[int], after: list[int]) -> list[Axis]:
    """A run of axes laid out as another one."""
    holding = [at for at, axis in enumerate(axes) if axis is not None and before[at] > 1]
    if len(holding) != 1:
        walk.fix(*axes)
        return [None] * len(after)
    walk.fix(*(axis for at, axis in enumerate(axes) if at not in holding))
    if not after:
        return []
    held = axes[holding[0]]
    assert held is not None
    along = [-1 if at == holding[0] else 1 for at in range(len(before))]
    flat = np.broadcast_to(held.reshape(along), before).ravel()
    at = _carrier(after)
    rows = np.moveaxis(flat.reshape(after), at, 0).reshape(after[at], -1)
    walk.tie(np.repeat(rows[:, 0], rows.shape[1]), rows.ravel())
    return [rows[:, 0] if axis == at else None for axis in range(len(after))]


def _carrier(sizes: Sequence[int]) -> int:
    """The axis that goes on holding places: the first, as in (heads, width) and (channels, height, width).

    A leading 3 or 2 before two more is query, key and value in one, (3, heads, width): none of the three can go.
    """
    if len(sizes) == 3 and sizes[0] <= 3:
        return 1
    return next((at for at, size in enumerate(sizes) if size > 1), 0)


def _expanded(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    axes = walk.joined(node, [node.all_input_nodes[0]], slice(None))
    _fix_computed(walk, axes, given.get("size", ()))
    return [axes]


def _expanded_as(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    return [walk.joined(node, [given["self"], given["other"]], slice(None))]


def _unsqueezed(walk: Walk, _: fx.Node, given: Arguments) -> Sequence[Axes]:
    axes = list(walk.read(given["self"]))
    axes.insert(given["dim"] % (len(axes) + 1), None)
    return [tuple(axes)]


def _squeezed(walk: Walk, _: fx.Node, given: Arguments) -> Sequence[Axes]:
    axes, shape = walk.read(given["self"]), walk.shapes[given["self"]][0]
    dims = given.get("dim", range(len(axes)))
    several = {dim % len(axes) for dim in (dims if isinstance(dims, list | tuple | range) else [dims])}
    gone = {dim for dim in several if shape[dim] == 1}
    walk.fix(*(axes[dim] for dim in gone))
    return [tuple(axis for dim, axis in enumerate(axes) if dim not in gone)]


def _selected(walk: Walk, _: fx.Node, given: Arguments) -> Sequence[Axes]:
    axes = walk.read(given["self"])
    dim = given["dim"] % len(axes)
    walk.fix(axes[dim])
    return [(*axes[:dim], *axes[dim + 1 :])]


def _unbound(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    return [*_selected(walk, node, given)] * len(walk.shapes[node])


def _sliced(walk: Walk, _: fx.Node, given: Arguments) -> Sequence[Axes]:
    axes = list(walk.read(given["self"]))
    dim = given["dim"] % len(axes)
    ends = (given["start"], given["end"])
    held = axes[dim]
    if held is not None and given["step"] == 1 and not any(isinstance(end, fx.Node) for end in ends):
        axes[dim] = held[ends[0] : ends[1]]
    else:
        walk.fix(held)
        axes[dim] = None
    return [tuple(axes)]


def _divided(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    """Split and chunk: each part takes its run of places."""
    axes = walk.read(node.all_input_nodes[0])
    dim = given["dim"] % len(axes)
    held, parts, start = axes[dim], [], 0
    for shape in walk.shapes[node]:
        part = None if held is None else held[start : start + shape[dim]]
        parts.append((*axes[:dim], part, *axes[dim + 1 :]))
        start += shape[dim]
    return parts


def _item(walk: Walk, node: fx.Node, _: Arguments) -> Sequence[Axes]:
    source, index = node.args
    found = walk.read(source, index) if isinstance(index, int) else ()
    return [found] if len(found) == len((walk.shapes[node] or [()])[0]) else unknown(walk, node, {})


def _concatenated(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    sources, shape = given["tensors"], walk.shapes[node][0]
    dim = given["dim"] % len(shape)
    axes: list[Axis] = []
    for at in range(len(shape)):
        parts = [walk.read(source)[at] for source in sources]
        if at != dim:
            axes.append(walk.stretched([(part, shape[at]) for part in parts], shape[at]))
            continue
        if all(part is None for part in parts):
            axes.append(None)
            continue
        lengths = [walk.shapes[source][0][at] for source in sources]
        whole = [walk.places(size) if part is None else part for part, size in zip(parts, lengths, strict=True)]
        walk.fix(*(made for made, part in zip(whole, parts, strict=True) if part is None))
        axes.append(np.concatenate(whole))
    return [tuple(axes)]


MOVES: Mapping[object, Rule] = {
    **dict.fromkeys((aten.dropout, aten.feature_dropout, aten.contiguous, aten.clone, aten.alias, aten.detach), _alike),
    **dict.fromkeys((aten.to, aten._to_copy, aten.type_as, aten.lift_fresh_copy), _alike),
    # pointwise too, though torch does not say so
    **dict.fromkeys((aten.hardswish, aten.hardswish_, aten.relu6, aten.__and__, aten.__or__), pointwise),
    **dict.fromkeys((aten.mean, aten.sum, aten.amax, aten.amin, aten.linalg_vector_norm, aten.var, aten.std), _reduced),
    **dict.fromkeys((aten.softmax, aten._softmax, aten.log_softmax, aten.cumsum), _along),
    **dict.fromkeys((aten.max_pool1d, aten.max_pool2d, aten.avg_pool1d, aten.avg_pool2d), _spatial),
    **dict.fromkeys((aten.adaptive_avg_pool1d, aten.adaptive_avg_pool2d, aten.adaptive_max_pool2d), _spatial),
    **dict.fromkeys((aten.upsample_nearest2d, aten.upsample_bilinear2d, aten.constant_pad_nd, aten.pad), _spatial),
    aten.sym_size: _size,
    aten.permute: _permuted,
    **dict.fromkeys((aten.transpose, aten.t, aten.numpy_T), _transposed),
    **dict.fromkeys((aten.view, aten.reshape, aten._unsafe_view, aten.flatten, aten.unflatten), _reshaped),
    aten.expand: _expanded,
    aten.expand_as: _expanded_as,
    aten.unsqueeze: _unsqueezed,
    aten.squeeze: _squeezed,
    aten.select: _selected,
    aten.unbind: _unbound,
    aten.slice: _sliced,
    **dict.fromkeys((aten.split, aten.split_with_sizes, aten.chunk), _divided),
    aten.cat: _concatenated,
    operator.getitem: _item,
}
