"""Folding BatchNorm into the convolution before it, wherever a method needs the weights that will really be used.

In eval mode BatchNorm is a line in each channel, and so is the convolution's own scale and bias (Jacob et al. 2018,
https://arxiv.org/abs/1712.05877, section 3.2):

    s = gamma / sqrt(variance + epsilon)        weight' = weight * s        bias' = (bias - mean) * s + beta

Outputs change by rounding alone. torch's ONNX exporter folds most pairs anyway, after all methods on modules.
"""

from collections import Counter

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold(module: fx.GraphModule) -> int:
    """Fold, in place, each BatchNorm that alone reads a convolution, both being called once; how many there were."""
    pairs = _pairs(module)
    for convolution, norm in pairs:
        conv, bn = module.get_submodule(str(convolution.target)), module.get_submodule(str(norm.target))
        assert isinstance(conv, CONVOLUTIONS)
        assert isinstance(bn, BATCH_NORMS)
        module.set_submodule(str(convolution.target), fuse_conv_bn_eval(conv, bn))
        norm.replace_all_uses_with(convolution)
        module.graph.erase_node(norm)
    if pairs:
        module.delete_all_unused_submodules()
        module.recompile()
    return len(pairs)


def _pairs(module: fx.GraphModule) -> list[tuple[fx.Node, fx.Node]]:
    """(convolution, BatchNorm) nodes that can be folded."""
    calls = Counter(str(node.target) for node in module.graph.nodes if node.op == "call_module")
    kinds = {node: _kind(module, node) for node in module.graph.nodes}
    return [
        (convolution, norm)
        for norm in module.graph.nodes
        if issubclass(kinds[norm], BATCH_NORMS) and _reads_statistics(module, norm)
        for convolution in norm.args[:1]
        if isinstance(convolution, fx.Node)
        and issubclass(kinds[convolution], CONVOLUTIONS)
        and len(convolution.users) == 1
        and calls[str(norm.target)] == calls[str(convolution.target)] == 1
    ]


def _kind(module: fx.GraphModule, node: fx.Node) -> type:
    return type(module.get_submodule(str(node.target))) if node.op == "call_module" else type(None)


def _reads_statistics(module: fx.GraphModule, norm: fx.Node) -> bool:
    """Whether it uses the statistics of training, and not those of the batch."""
    layer = module.get_submodule(str(norm.target))
    return isinstance(layer, BATCH_NORMS) and isinstance(layer.running_var, torch.Tensor) and not layer.training
