"""Fold each BatchNorm into the convolution before it.

How is told in `folding`. Outputs change by rounding alone. torch's ONNX exporter folds most pairs itself; methods on
modules that come after this one (quantisation, pruning by weight) see the weights that will really be used.
"""

from dataclasses import dataclass

from torch import fx

from costopt.cutting.folding import fold
from costopt.errors import NotApplicable
from costopt.methods import Context, TorchMethod
from costopt.records import Graph


@dataclass(frozen=True)
class FoldBatchnorm(TorchMethod):
    """Pairs of a convolution and the BatchNorm that alone reads it; both must be called in one place only."""

    exact = True

    def unsuitable(self, graph: Graph) -> str | None:
        """When the exporter has left no BatchNorm."""
        if "BatchNormalization" in graph.operators:
            return None
        return "there is no BatchNorm in the exported graph: the model has none, or torch's exporter has folded it"

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:  # noqa: ARG002 - weights say it all
        """The model without the folded BatchNorms; convolutions are replaced, not changed."""
        if not fold(module):
            raise NotApplicable("no BatchNorm follows a convolution directly")
        return module
