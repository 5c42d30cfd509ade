"""What layers give inside a model, caught while it runs: more to learn from than its outputs alone.

Where a student still has a layer of its teacher's, under the same name and with as many channels, the two are compared
as they are, without a projection (Romero et al., FitNets, arXiv:1412.6550; Sun et al., Patient knowledge distillation,
arXiv:1908.09355). That is so after layers were dropped or factored, and hardly ever after channels were pruned.
"""

from collections import Counter
from collections.abc import Sequence

from torch import Tensor, fx, nn

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.LayerNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)

MOST = 8
"""Layers that are compared: each costs memory and a pass over its outputs."""


def candidates(student: fx.GraphModule, teacher: fx.GraphModule) -> tuple[str, ...]:
    """Layers that both have under one name and call once, in the student's order; normalisations alone if there are.

    A normalisation stands where a block ends, and its outputs are of one size throughout the network.
    """
    known = set(_called_once(teacher))
    both = [path for path in _called_once(student) if path in known]
    norms = tuple(path for path in both if isinstance(student.get_submodule(path), NORMS))
    return norms or tuple(path for path in both if isinstance(student.get_submodule(path), LAYERS))


def _called_once(module: fx.GraphModule) -> list[str]:
    calls = Counter(str(node.target) for node in module.graph.nodes if node.op == "call_module")
    return [path for path, times in calls.items() if times == 1]


def spread(paths: Sequence[str]) -> tuple[str, ...]:
    """At most `MOST` of them, evenly spread, the last one among them."""
    step = max(1, -(-len(paths) // MOST))
    return tuple(reversed(paths[::-1][::step]))


class Caught:
    """The latest outputs of some layers of a model, until `release`."""

    def __init__(self, module: nn.Module, paths: Sequence[str]) -> None:
        self._latest: dict[nn.Module, Tensor] = {}
        self._layers = [module.get_submodule(path) for path in paths]
        self._hooks = [layer.register_forward_hook(self._note) for layer in self._layers]

    def _note(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:  # noqa: ARG002 - torch's form
        self._latest[layer] = output

    def taken(self) -> list[Tensor]:
        """What the layers gave when the model ran last; it is forgotten by this."""
        taken = [self._latest[layer] for layer in self._layers]
        self._latest.clear()
        return taken

    def release(self) -> None:
        """Leave the model as it was."""
        for hook in self._hooks:
            hook.remove()
