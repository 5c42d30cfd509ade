"""Layers that keep their weight as (inputs, outputs), in the form of all others.

transformers' `Conv1D`, of which GPT-2 is made, is exported as a product with its leading axes flattened and restored.
What knows `nn.Linear` would pass it by, so it becomes the call that `nn.Linear` is exported as:

    view(x, [-1, 32]) ─▶ addmm(bias, ·, weight) ─▶ view(·, [batch, 12, 96])      ->      linear(x, weight', bias)

The weight is a transposed copy, and sums are taken in another order: outputs stay the same within float rounding.
"""

from collections import Counter, defaultdict

import torch
from torch import fx, nn

aten = torch.ops.aten


def transpose(exported: fx.GraphModule) -> None:
    """Replace such products in place, but for those whose weight is read by anything else, under any name."""
    readers: dict[str, list[fx.Node]] = defaultdict(list)
    for node in exported.graph.nodes:
        if node.op == "get_attr":
            readers[str(node.target)] += node.users
    names = Counter(id(parameter) for _, parameter in exported.named_parameters(remove_duplicate=False))
    for name, parameter in list(exported.named_parameters()):
        products = readers[name]
        if products and names[id(parameter)] == 1 and all(_is_product_with(name, node) for node in products):
            path, _, role = name.rpartition(".")
            turned = nn.Parameter(parameter.detach().t().contiguous(), parameter.requires_grad)
            exported.get_submodule(path).register_parameter(role, turned)
            for node in products:
                _as_linear(exported.graph, node)


def _is_product_with(weight: str, node: fx.Node) -> bool:
    """Whether it is data times that weight, plus a bias for each column."""
    if node.target is not aten.addmm.default or node.kwargs:  # there are factors
        return False
    bias, data, right = node.all_input_nodes if len(node.all_input_nodes) == 3 else (node, node, node)
    return right.target == weight != data.target and bias.op == "get_attr" and bias.meta["val"].ndim == 1


def _as_linear(graph: fx.Graph, product: fx.Node) -> None:
    bias, flat, weight = product.all_input_nodes
    data, last = flat, product
    for restored in list(product.users) if flat.target is aten.view.default else []:
        before = flat.all_input_nodes[0]
        if len(product.users) == 1 and restored.target is aten.view.default and _leading(restored) == _leading(before):
            data, last = before, restored
    with graph.inserting_before(product):
        linear = graph.call_function(aten.linear.default, (data, weight, bias))
    linear.meta = dict(last.meta)
    last.replace_all_uses_with(linear)
    for node in dict.fromkeys((last, product, flat)):
        if not node.users:
            graph.erase_node(node)


def _leading(node: fx.Node) -> list[str]:
    """All sizes but the last; a free one by its symbol, for comparing it would bind it."""
    return [str(size) for size in node.meta["val"].shape[:-1]]
