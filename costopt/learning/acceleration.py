"""Where and in which number format a model learns fastest, as far as it gives the same results there.

A GPU, where torch finds one. Matrix products in bfloat16 where the processor has instructions for them: half the time
of float32 for a small residual CNN on a Zen 4 core (measured 2026-11, torch 2.13). Images with the channels last, which
is the order that oneDNN's and cuDNN's kernels want. Some graphs refuse one or the other (a `view` of what lies in
another order), or lose too much in bfloat16: so each way is tried on one batch, and held against plain float32.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from costopt.errors import CandidateError

BFLOAT16_INSTRUCTIONS = ("avx512_bf16", "amx_bf16")
"""As torch spells them. Without them bfloat16 is emulated, and slow."""

ALLOWED_ERROR = 0.05
"""bfloat16 keeps 8 bits: each layer rounds by up to 0.4 %, and a deep network adds up to a few per cent."""


@dataclass(frozen=True, slots=True)
class Acceleration:
    """A way of computing."""

    device: torch.device
    bfloat16: bool = False
    channels_last: bool = False

    def autocast(self, fast: bool = True) -> torch.autocast:
        """The context in which a forward pass is run; in full precision unless `fast`."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16 and fast)

    def moved(self, module: fx.GraphModule) -> fx.GraphModule:
        """Bring a model to the device, and its weights into the order, in place."""
        _to_device(module, self.device)
        order = torch.channels_last if self.channels_last else torch.contiguous_format
        for weight in module.parameters():
            if weight.ndim == 4:
                weight.data = weight.data.contiguous(memory_format=order)
        return module

    def tensor(self, array: Tensor) -> Tensor:
        """Bring an input to the device, and into the order."""
        there = array.to(self.device, non_blocking=True)
        return there.contiguous(memory_format=torch.channels_last) if self.channels_last and there.ndim == 4 else there


PLAIN = Acceleration(torch.device("cpu"))


def fastest(attempt: Callable[[Acceleration], Sequence[Tensor]]) -> Acceleration:
    """The first way, from fast to plain, in which `attempt` runs and gives what plain float32 gives.

    Raises CandidateError when not even the plain way runs.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plain = Acceleration(device)
    try:
        wanted = attempt(plain)
    except (RuntimeError, IndexError, ValueError) as problem:  # an embedding says so when a number is beyond its rows
        words = str(problem).strip().splitlines()[0]
        raise CandidateError(
            "compress", f"the model can't be run on a batch of calibration inputs: {words}"
        ) from problem
    fast = device.type == "cuda" or any(torch.cpu.get_capabilities().get(one) for one in BFLOAT16_INSTRUCTIONS)
    for way in (Acceleration(device, fast, True), Acceleration(device, fast, False), Acceleration(device, False, True)):
        try:
            given = attempt(way)
        except RuntimeError:  # this graph can't be run in this way
            continue
        if all(_close(one, other) for one, other in zip(given, wanted, strict=True)):
            return way
    return plain


def _close(given: Tensor, wanted: Tensor) -> bool:
    return bool((given.float() - wanted.float()).norm() <= ALLOWED_ERROR * wanted.float().norm())


def _to_device(module: fx.GraphModule, device: torch.device) -> None:
    """Also where the graph itself names a device, as `aten.arange` and `aten.full` do."""
    module.to(device)
    named = [node for node in module.graph.nodes if isinstance(node.kwargs.get("device"), torch.device)]
    for node in named:
        node.kwargs = {**node.kwargs, "device": device}
    if named:
        module.recompile()
