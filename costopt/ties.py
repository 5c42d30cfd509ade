"""Which places of which axes of a graph must go together when a layer gets narrower.

A *place* is one position on one axis of one tensor: output 5 of a convolution, column 5 of the weight that reads it.
Walking the graph once, each operator says what it does to places:

    relu(x), x + y      the same places on both sides: they are tied
    linear(x, w)        the places of x are tied to the columns of w; those of the result are the rows of w
    cat, reshape, ...   places move to other positions and axes
    LayerNorm, softmax  the result of every place depends on all others: these places are fixed
    anything unknown    fixed too

Parameters have places as well, one set for each tensor however often it is used, so that shared weights and layers that
are called twice need no rule. What is connected by ties is one *unit*: it can be removed as a whole, and the rest of
the model computes what it would compute if the unit's values were zero wherever a weight multiplies them. A unit with a
fixed place stays; so does all that reaches an output. Operators without a rule thus cost a chance, never a model.

Units are numbered; a *group* is the units that one weight makes (the channels of one convolution, with all that is tied
to them). Heads of attention are units like others: a group of which products of activations know.

The idea of groups of coupled layers is DepGraph's (Fang et al. 2023, https://arxiv.org/abs/2301.12900); its library,
torch-pruning, reads the tape of autograd, where parameters of plain aten calls, concatenated inputs and literal shapes
of exported graphs are not seen. (2026-11, version 1.6.1: of 9 kinds of exported model, pruning broke 4.)
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor, fx, nn
from torch._ops import OpOverload

aten = torch.ops.aten

Places = NDArray[np.int64]
Axis = Places | None
"""The places along an axis; None when nothing there can go (a batch, a picture's height)."""
Axes = tuple[Axis, ...]
Shape = tuple[int, ...]

_NONE: Places = np.empty(0, np.int64)


@dataclass(frozen=True)
class Reader:
    """A weight that multiplies values: its axis `axis` meets axis `dim` of what `node` reads from `source`."""

    node: fx.Node
    source: fx.Node
    dim: int
    weight: str
    axis: int


@dataclass(frozen=True)
class Work:
    """Multiply-accumulates of one node for the batch that was run, and the axes that they are proportional to."""

    node: fx.Node
    macs: int
    axes: tuple[Places, ...]


@dataclass(frozen=True)
class Group:
    """Units that are made by one weight, named after it, and may replace each other."""

    name: str
    units: Places


@dataclass(frozen=True)
class Structure:
    """What a walk found. `unit` maps each place to its unit, -1 where it is fixed."""

    unit: Places
    parameters: Mapping[str, Axes]
    values: Mapping[fx.Node, Sequence[Axes]]
    shapes: Mapping[fx.Node, Sequence[Shape]]
    readers: tuple[Reader, ...]
    work: tuple[Work, ...]
    groups: tuple[Group, ...]
    heads: tuple[Group, ...]

    @property
    def count(self) -> int:
        """How many units there are."""
        return int(self.unit.max(initial=-1)) + 1

    def units(self, axis: Axis) -> Places:
        """The unit at each position of an axis, -1 where it is fixed."""
        return _NONE if axis is None else self.unit[axis]

    def kept(self, axis: Axis, gone: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which positions of an axis stay when the units that `gone` marks go."""
        units = self.units(axis)
        return ~gone[units] | (units < 0)

    def macs(self, gone: NDArray[np.bool_], work: Sequence[Work] | None = None) -> float:
        """Multiply-accumulates of the batch that was run, or of some of its `work`, after the units in `gone` went."""
        counted = self.work if work is None else work
        return float(sum(one.macs * np.prod([self.kept(axis, gone).mean() for axis in one.axes]) for one in counted))


def structure_of(module: fx.GraphModule, inputs: Sequence[Tensor]) -> Structure:
    """Walk the graph; `inputs` are one small batch, run once for the sizes of all values."""
    sizes = _Sizes(module)
    with torch.no_grad():
        sizes.run(*inputs)
    walk = Walk(module, sizes.shapes)
    for node in module.graph.nodes:
        walk.values[node] = walk.visit(node)
    return walk.structure()


class _Sizes(fx.Interpreter):
    """Runs the graph and remembers the sizes of every tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, list[Shape]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        several = result if isinstance(result, list | tuple) else [result]
        self.shapes[n] = [tuple(one.shape) for one in several if isinstance(one, Tensor)]
        return result


# ---------------------------------------------------------------------------------------- the walk


@dataclass
class Walk:
    """Places as they are handed out, and what was found about them so far."""

    module: fx.GraphModule
    shapes: Mapping[fx.Node, Sequence[Shape]]
    values: dict[fx.Node, Sequence[Axes]] = field(default_factory=dict)
    count: int = 0
    tied: list[tuple[Places, Places]] = field(default_factory=list)
    fixed: list[Places] = field(default_factory=list)
    products: list[Places] = field(default_factory=list)
    readers: list[Reader] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    made: dict[str, Axes] = field(default_factory=dict)
    roots: list[tuple[str, Places]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Find the first name of each tensor: shared ones have several."""
        tensors = [*self.module.named_parameters(remove_duplicate=False), *self.module.named_buffers()]
        first: dict[int, str] = {}
        self.tensors = dict(tensors)
        self.names = {name: first.setdefault(id(tensor), name) for name, tensor in tensors}

    def places(self, number: int) -> Places:
        """New places, tied to nothing."""
        self.count += number
        return np.arange(self.count - number, self.count)

    def tie(self, one: Axis, other: Axis) -> None:
        """Both go together, position by position; what has no places fixes the other."""
        if one is None or other is None or len(one) != len(other):
            self.fix(one, other)
        else:
            self.tied.append((one, other))

    def fix(self, *axes: Axis) -> None:
        """None of these may go."""
        self.fixed += [axis for axis in axes if axis is not None]

    def parameter(self, name: str) -> Axes:
        """The axes of a parameter or buffer, the same ones each time."""
        name = self.names[name]
        if name not in self.made:
            self.made[name] = tuple(self.places(size) for size in self.tensors[name].shape)
        return self.made[name]

    def read(self, node: object, index: int = 0) -> Axes:
        """The axes of a value; none for what is no tensor."""
        found = self.values.get(node, ()) if isinstance(node, fx.Node) else ()
        return found[index] if index < len(found) else ()

    def visit(self, node: fx.Node) -> Sequence[Axes]:
        """The axes of each tensor that a node gives."""
        if node.op == "placeholder":
            return [(None,) * len(shape) for shape in self.shapes[node]]
        if node.op == "get_attr":
            known = str(node.target) in self.names
            return [self.parameter(str(node.target))] if known else [(None,) * len(one) for one in self.shapes[node]]
        if node.op == "call_module":
            rule = _MODULES.get(type(self.module.get_submodule(str(node.target))), _unknown_module)
            return rule(self, node)
        if node.op == "call_function" and isinstance(node.target, OpOverload):
            return self._called(node, node.target)
        if node.op == "call_function" and node.target in _PLAIN:
            return _PLAIN[node.target](self, node, {})
        return _unknown(self, node, {})

    def _called(self, node: fx.Node, target: OpOverload) -> Sequence[Axes]:
        rule = _CALLS.get(target.overloadpacket)
        if rule is None:
            rule = _pointwise if torch.Tag.pointwise in target.tags else _unknown
        return rule(self, node, arguments_of(node))

    def structure(self) -> Structure:
        """Number the units: what is connected, but for what is fixed."""
        one, other = (
            np.concatenate([_NONE, *side]) for side in (zip(*self.tied, strict=True) if self.tied else ((), ()))
        )
        edges = coo_array((np.ones(len(one)), (one, other)), shape=(self.count, self.count))
        component = connected_components(edges, directed=False)[1] if self.count else np.empty(0, np.int64)
        stays = np.zeros(self.count + 1, dtype=bool)
        stays[component[np.concatenate([_NONE, *self.fixed])]] = True
        free = np.unique(component[~stays[component]])
        number = np.full(self.count + 1, -1)
        number[free] = np.arange(len(free))
        unit = number[component].astype(np.int64)
        groups = list(_groups(unit, self.roots))
        in_products = np.unique(unit[np.concatenate([_NONE, *self.products])])
        heads = tuple(one for one in groups if np.isin(one.units, in_products).any())
        channels = tuple(one for one in groups if not np.isin(one.units, in_products).any())
        values, made = self.values, self.made
        return Structure(unit, made, values, self.shapes, tuple(self.readers), tuple(self.work), channels, heads)


def _groups(unit: Places, roots: Sequence[tuple[str, Places]]) -> Sequence[Group]:
    """The free units by the weight that makes them first."""
    taken = np.zeros(int(unit.max(initial=-1)) + 1, dtype=bool)
    groups = []
    for name, places in roots:
        units = np.unique(unit[places])
        units = units[units >= 0]
        units = units[~taken[units]]
        taken[units] = True
        if len(units) > 1:
            groups.append(Group(name, units))
    return groups


Arguments = Mapping[str, Any]


def arguments_of(node: fx.Node) -> dict[str, Any]:
    """The arguments of an aten call by name, defaults included."""
    assert isinstance(node.target, OpOverload)
    schema = node.target._schema.arguments
    defaults = {one.name: one.default_value for one in schema if one.has_default_value()}
    return defaults | {one.name: value for one, value in zip(schema, node.args, strict=False)} | node.kwargs


# ---------------------------------------------------------------------------------------- layers


def _unknown(walk: Walk, node: fx.Node, _: Arguments) -> Sequence[Axes]:
    """Nothing is known: all that it reads stays as it is."""
    for source in node.all_input_nodes:
        for axes in walk.values.get(source, ()):
            walk.fix(*axes)
    return [(None,) * len(shape) for shape in walk.shapes[node]]


def _unknown_module(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    layer = walk.module.get_submodule(str(node.target))
    for name, _ in (*layer.named_parameters(), *layer.named_buffers()):
        walk.fix(*walk.parameter(f"{node.target}.{name}"))
    return _unknown(walk, node, {})


def _own(walk: Walk, node: fx.Node, role: str) -> str | None:
    """The name of a tensor of the module that a node calls."""
    name = f"{node.target}.{role}"
    return walk.names.get(name)


def _weight_name(walk: Walk, node: object) -> str | None:
    """The parameter that a node reads, if that is what it does."""
    return walk.names.get(str(node.target)) if isinstance(node, fx.Node) and node.op == "get_attr" else None


def _linear_module(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    return _product(walk, node, node.args[0], _own(walk, node, "weight"), _own(walk, node, "bias"), (0, 1))


def _linear(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    weight, bias = _weight_name(walk, given["weight"]), _weight_name(walk, given["bias"])
    if weight is None or (given["bias"] is not None and bias is None):
        return _unknown(walk, node, given)
    return _product(walk, node, given["input"], weight, bias, (0, 1))


def _product(
    walk: Walk, node: fx.Node, source: Any, weight: str | None, bias: str | None, order: tuple[int, int]
) -> Sequence[Axes]:
    """A matrix of weights, its (outputs, inputs) at the axes `order`, on the last axis of `source`."""
    assert weight is not None
    axes, matrix = walk.read(source), walk.parameter(weight)
    outputs, inputs = matrix[order[0]], matrix[order[1]]
    walk.tie(axes[-1], inputs)
    if bias is not None:
        walk.tie(walk.parameter(bias)[0], outputs)
    _reads(walk, node, source, len(axes) - 1, weight, order)
    _counts(walk, node, int(np.prod(walk.shapes[node][0])) * walk.tensors[weight].shape[order[1]], outputs, inputs)
    return [(*axes[:-1], outputs)]


def _reads(walk: Walk, node: fx.Node, source: Any, dim: int, weight: str, order: tuple[int, int]) -> None:
    walk.readers.append(Reader(node, source, dim, weight, order[1]))
    outputs = walk.parameter(weight)[order[0]]
    assert outputs is not None
    walk.roots.append((weight.removesuffix(".weight"), outputs))


def _counts(walk: Walk, node: fx.Node, macs: int, *axes: Axis) -> None:
    walk.work.append(Work(node, macs, tuple(axis for axis in axes if axis is not None)))


def _convolution_module(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    layer: Any = walk.module.get_submodule(str(node.target))  # one of the three convolutions
    transposed = isinstance(layer, nn.modules.conv._ConvTransposeNd)
    weight, bias = _own(walk, node, "weight"), _own(walk, node, "bias")
    assert weight is not None
    return _convolved(walk, node, node.args[0], weight, bias, layer.groups, transposed)


def _convolution(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    weight, bias = _weight_name(walk, given["weight"]), _weight_name(walk, given["bias"])
    if weight is None or (given["bias"] is not None and bias is None) or given["groups"] != 1:
        return _unknown(walk, node, given)
    transposed = "output_padding" in given and given.get("transposed", True)
    return _convolved(walk, node, given["input"], weight, bias, 1, transposed)


def _convolved(
    walk: Walk, node: fx.Node, source: Any, weight: str, bias: str | None, groups: int, transposed: bool
) -> Sequence[Axes]:
    axes, kernel, shape = walk.read(source), walk.parameter(weight), walk.shapes[node][0]
    walk.fix(*kernel[2:])
    channel = len(shape) - len(kernel) + 1
    rest = (None,) * (len(kernel) - 2)
    positions = int(np.prod(walk.shapes[source][0] if transposed else shape)) // walk.tensors[weight].shape[0]
    macs = positions * walk.tensors[weight].numel()
    if groups > 1:
        outputs = _whole_groups(walk, axes[channel], kernel, groups, transposed)
        _counts(walk, node, macs, kernel[0])
    else:
        order = (1, 0) if transposed else (0, 1)
        outputs = kernel[order[0]]
        walk.tie(axes[channel], kernel[order[1]])
        _reads(walk, node, source, channel, weight, order)
        _counts(walk, node, macs, *kernel[:2])
    if bias is not None:
        walk.tie(walk.parameter(bias)[0], outputs)
    return [(*axes[:channel], outputs, *rest)]


def _whole_groups(walk: Walk, inputs: Axis, kernel: Axes, groups: int, transposed: bool) -> Axis:
    """A grouped convolution loses whole groups: the inputs and outputs of each are tied. Depthwise is groups of one."""
    walk.fix(kernel[1])
    if inputs is None or kernel[0] is None or transposed:
        walk.fix(inputs, kernel[0])
        return None if transposed else kernel[0]
    first = inputs.reshape(groups, -1)[:, :1]
    for one in (inputs, kernel[0]):
        rows = one.reshape(groups, -1)
        walk.tie(np.broadcast_to(first, rows.shape).ravel(), one)
    return kernel[0]


def _batch_norm_module(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    axes = walk.read(node.args[0])
    for role in ("weight", "bias", "running_mean", "running_var"):
        name = _own(walk, node, role)
        if name is not None:
            walk.tie(walk.parameter(name)[0], axes[1])
    return [axes]


def _batch_norm(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    axes = walk.read(given["input"])
    if given["training"]:
        return _unknown(walk, node, given)
    for role in ("weight", "bias", "running_mean", "running_var"):
        if given[role] is not None:
            walk.tie(walk.read(given[role])[0], axes[1])
    return [axes]


def _embedding_module(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    weight = _own(walk, node, "weight")
    assert weight is not None
    rows, columns = walk.parameter(weight)
    walk.fix(rows)
    assert columns is not None
    walk.roots.append((weight.removesuffix(".weight"), columns))
    return [(*walk.read(node.args[0]), columns)]


def _alike_module(walk: Walk, node: fx.Node) -> Sequence[Axes]:
    return [walk.read(node.args[0])]


# ---------------------------------------------------------------------------------------- products of values


def _matmul(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    """The product of two values; a parameter on the right is a layer's weight."""
    left, right = given["self"], given.get("other", given.get("mat2"))
    weight = _weight_name(walk, right)
    if weight is not None and len(walk.parameter(weight)) == 2:
        return _product(walk, node, left, weight, None, (1, 0))
    one, other = walk.read(left), walk.read(right)
    if min(len(one), len(other)) < 2 or len(one) != len(other):
        return _unknown(walk, node, given)
    walk.tie(one[-1], other[-2])
    batch = _joined(walk, node, (left, right), slice(None, -2))
    size = walk.shapes[left][0][-1]
    heads = [axis for axis in batch if axis is not None]
    walk.products += heads
    _counts(walk, node, int(np.prod(walk.shapes[node][0])) * size, *heads, one[-2], one[-1], other[-1])
    return [(*batch, one[-2], other[-1])]


def _addmm(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    weight, bias = _weight_name(walk, given["mat2"]), _weight_name(walk, given["self"])
    if weight is None or bias is None or len(walk.parameter(bias)) != 1:
        return _unknown(walk, node, given)
    return _product(walk, node, given["mat1"], weight, bias, (1, 0))


def _attention(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    """Heads are the last of the leading axes. The width of a head is in the scale, and stays."""
    query, key, value = (walk.read(given[role]) for role in ("query", "key", "value"))
    if given["enable_gqa"]:
        return _unknown(walk, node, given)
    walk.fix(query[-1], key[-1], value[-1])
    mask = [given["attn_mask"]] if given["attn_mask"] is not None else []
    batch = _joined(walk, node, (given["query"], given["key"], given["value"], *mask), slice(None, -2))
    heads = [axis for axis in batch if axis is not None]
    walk.products += heads
    queries, keys = walk.shapes[given["query"]][0], walk.shapes[given["key"]][0]
    _counts(walk, node, 2 * int(np.prod(queries)) * keys[-2], *heads)
    return [(*batch, query[-2], None)]


def _joined(walk: Walk, node: fx.Node, sources: Sequence[Any], which: slice) -> Axes:
    """The axes of values that are combined position by position, those of size one stretched; all tied."""
    rank = len(walk.shapes[node][0])
    read = [(walk.read(source), walk.shapes[source][0]) for source in sources if walk.values.get(source)]
    joined = []
    for axis in range(rank)[which]:
        held = [(axes[axis - rank], shape[axis - rank]) for axes, shape in read if len(axes) >= rank - axis]
        joined.append(_stretched(walk, held, walk.shapes[node][0][axis]))
    return tuple(joined)


def _stretched(walk: Walk, held: Sequence[tuple[Axis, int]], size: int) -> Axis:
    """One axis of several values, tied; what is stretched from one position to many stays."""
    full = [axis for axis, length in held if length == size]
    if size > 1:
        walk.fix(*(axis for axis, length in held if length == 1))
    for other in full[1:]:
        walk.tie(full[0], other)
    return full[0] if full and all(axis is not None for axis in full) else None


# ---------------------------------------------------------------------------------------- what moves or keeps places


def _pointwise(walk: Walk, node: fx.Node, _: Arguments) -> Sequence[Axes]:
    sources = [source for source in node.all_input_nodes if walk.values.get(source)]
    return [_joined(walk, node, sources, slice(None))]


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


def _spatial(walk: Walk, node: fx.Node, _: Arguments) -> Sequence[Axes]:
    """Pooling, padding and resizing: axes that keep their size are taken to pass, and the last ones never do."""
    source = node.all_input_nodes[0]
    axes, before, after = walk.read(source), walk.shapes[source][0], walk.shapes[node][0]
    if len(before) < 3 or len(before) != len(after):
        return _unknown(walk, node, {})
    passing = 2 if len(before) > 3 else 1 + (len(axes) == 3)
    walk.fix(*axes[passing:])
    if before[:passing] != after[:passing]:
        return _unknown(walk, node, {})
    return [(*axes[:passing], *(None,) * (len(axes) - passing))] * len(walk.shapes[node])


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

    A leading 3 before two more is query, key and value in one, (3, heads, width): none of the three can go.
    """
    if len(sizes) == 3 and sizes[0] == 3:
        return 1
    return next((at for at, size in enumerate(sizes) if size > 1), 0)


def _expanded(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    axes = _joined(walk, node, [node.all_input_nodes[0]], slice(None))
    _fix_computed(walk, axes, given.get("size", ()))
    return [axes]


def _expanded_as(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    return [_joined(walk, node, [given["self"], given["other"]], slice(None))]


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
    return [found] if len(found) == len((walk.shapes[node] or [()])[0]) else _unknown(walk, node, {})


def _concatenated(walk: Walk, node: fx.Node, given: Arguments) -> Sequence[Axes]:
    sources, shape = given["tensors"], walk.shapes[node][0]
    dim = given["dim"] % len(shape)
    axes: list[Axis] = []
    for at in range(len(shape)):
        parts = [walk.read(source)[at] for source in sources]
        if at != dim:
            axes.append(_stretched(walk, [(part, shape[at]) for part in parts], shape[at]))
            continue
        if all(part is None for part in parts):
            axes.append(None)
            continue
        lengths = [walk.shapes[source][0][at] for source in sources]
        whole = [walk.places(size) if part is None else part for part, size in zip(parts, lengths, strict=True)]
        walk.fix(*(made for made, part in zip(whole, parts, strict=True) if part is None))
        axes.append(np.concatenate(whole))
    return [tuple(axes)]


Rule = Callable[[Walk, fx.Node, Arguments], Sequence[Axes]]
_MODULES: Mapping[type, Callable[[Walk, fx.Node], Sequence[Axes]]] = {
    nn.Linear: _linear_module,
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution_module),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _convolution_module),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), _batch_norm_module),
    nn.Embedding: _embedding_module,
    **dict.fromkeys((nn.ReLU, nn.GELU, nn.SiLU, nn.Dropout, nn.Identity), _alike_module),
}
_CALLS: Mapping[object, Rule] = {
    aten.linear: _linear,
    **dict.fromkeys((aten.conv1d, aten.conv2d, aten.conv3d, aten.convolution), _convolution),
    **dict.fromkeys((aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d), _convolution),
    aten.batch_norm: _batch_norm,
    **dict.fromkeys((aten.matmul, aten.bmm, aten.mm), _matmul),
    aten.addmm: _addmm,
    aten.scaled_dot_product_attention: _attention,
    **dict.fromkeys(
        (aten.dropout, aten.contiguous, aten.clone, aten.to, aten.alias, aten.detach, aten._to_copy), _alike
    ),
    **dict.fromkeys((aten.type_as, aten.lift_fresh_copy, aten.relu6, aten.feature_dropout), _alike),
    **dict.fromkeys((aten.mean, aten.sum, aten.amax, aten.amin, aten.linalg_vector_norm, aten.var, aten.std), _reduced),
    **dict.fromkeys((aten.softmax, aten._softmax, aten.log_softmax, aten.cumsum), _along),
    **dict.fromkeys((aten.max_pool1d, aten.max_pool2d, aten.avg_pool1d, aten.avg_pool2d), _spatial),
    **dict.fromkeys((aten.adaptive_avg_pool1d, aten.adaptive_avg_pool2d, aten.adaptive_max_pool2d), _spatial),
    **dict.fromkeys((aten.upsample_nearest2d, aten.upsample_bilinear2d, aten.constant_pad_nd, aten.pad), _spatial),
    **dict.fromkeys(
        (aten.hardswish, aten.hardswish_, aten.__and__, aten.__or__), _pointwise
    ),  # torch gives them no tag
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
}
_PLAIN: Mapping[object, Rule] = {operator.getitem: _item}
