"""Fold each BatchNorm into the convolution before it.

In eval mode BatchNorm is a line in each channel, and so is the convolution's own scale and bias (Jacob et al. 2018,
https://arxiv.org/abs/1712.05877, section 3.2):

    s = gamma / sqrt(variance + epsilon)        weight' = weight * s        bias' = (bias - mean) * s + beta

Outputs change by rounding alone. torch's ONNX exporter folds most pairs itself; methods on modules that come after
this one (quantisation, pruning by weight) see the weights that will really be used.
"""

from collections import Counter
from dataclasses import dataclass

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from costopt.errors import NotApplicable
from costopt.methods import Context, TorchMethod
from costopt.records import Graph

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class FoldBatchnorm(TorchMethod):
    """Pairs of a convolution and the BatchNorm that alone reads it; both must be called in one place only."""

    def unsuitable(self, graph: Graph) -> str | None:
        """When the exporter has left no BatchNorm."""
        if "BatchNormalization" in graph.operators:
            return None
        return "there is no BatchNorm in the exported graph: the model has none, or torch's exporter has folded it"

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:  # noqa: ARG002 - weights say it all
        """The model without the folded BatchNorms; convolutions are replaced, not changed."""
        pairs = _pairs(module)
        if not pairs:
            raise NotApplicable("no BatchNorm follows a convolution directly")
        for convolution, norm in pairs:
            conv, bn = module.get_submodule(str(convolution.target)), module.get_submodule(str(norm.target))
            assert isinstance(conv, CONVOLUTIONS)
            assert isinstance(bn, BATCH_NORMS)
            module.set_submodule(str(convolution.target), fuse_conv_bn_eval(conv, bn))
            norm.replace_all_uses_with(convolution)
            module.graph.erase_node(norm)
        module.delete_all_unused_submodules()
        module.recompile()
        return module


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
