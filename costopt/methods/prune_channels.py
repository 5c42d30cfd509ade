"""Take channels out of layers, and solve for the weights that are left.

Channels of convolutions and neurons of perceptrons go, with everything that is tied to them (residual sums, BatchNorm,
depthwise convolutions, the columns that read them), so that the model gets smaller and faster on any machine, without
sparse kernels. Three questions, each with its own answer:

- Which channel of a layer? The one of least `importance`.
- From which layer? Where the outputs change least for the work saved: each layer is tried alone on calibration data.
- What about the damage? Each layer that reads a narrower one gets new weights by least squares, so that it gives what
  it gave before as nearly as can be (`reconstruct`). No labels and no gradient steps are needed.

Sources: Fang et al., DepGraph, https://arxiv.org/abs/2301.12900 (what goes together); Theis et al.,
https://arxiv.org/abs/1801.05787 (importance by Taylor's formula); He et al., https://arxiv.org/abs/1707.06168
(reconstruction).

Cost: some forward passes over calibration samples for each layer, and memory for what a layer gives on all
samples.

A residual CNN with 93.65 % top-1 keeps 92.8 % without half of its work, and 90.3 % without three quarters (the first
2,000 test images of Fashion-MNIST, 512 unlabelled training images, defaults with macs 0.5 and 0.7, measured 2026-11);
without reconstruction it keeps 38 % and 21 %. Large shares gain from `distill` afterwards.

It fails where widths can't change: a transformer's residual width (LayerNorm mixes its channels), recurrent layers,
layers that are called twice. It does badly where calibration is small against the width of a layer: 100 sentences for
1,536 neurons. Attention heads are the business of `prune_heads`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import fx

from costopt import surgery
from costopt.allotment import allotted, curves
from costopt.errors import CandidateError, NotApplicable
from costopt.importance import scores
from costopt.methods import Context, Knob, TorchMethod
from costopt.observed import Inputs, batches
from costopt.reconstruction import reconstruct
from costopt.records import Value
from costopt.ties import Structure, structure_of
from costopt.units import percent

BATCH = 32
TRIED_SAMPLES = 64
"""Samples on which every layer is tried at several widths."""


@dataclass(frozen=True)
class PruneChannels(TorchMethod):
    """Take channels out of layers, and solve for the weights that are left.

    `macs` is the share of multiply-accumulates that goes. `round_to` is what widths are multiples of (less in layers
    that are narrower already): kernels work on 16 channels at a time, and in 8 bits a convolution of 8 channels takes
    longer than one of 16 (28 and 200 billion multiply-accumulates a second; ONNX Runtime 1.31.1, 2-core x86 with VNNI,
    measured 2026-11). `samples` is how many calibration samples are read at most.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({"macs": 0.25}, {"macs": 0.5})
    knob = Knob("macs", low=0.1, high=0.9, first=0.5)

    macs: float = 0.5
    importance: Literal["group_norm", "activation", "taylor"] = "taylor"
    reconstruct: bool = True
    round_to: int = 16
    samples: int = 512

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The narrower model.

        Raises NotApplicable when no layer can lose channels, or all together hold less work than should go;
        CandidateError when an option is out of range or there are no calibration samples.
        """
        self._check()
        surgery.tidy(module)
        structure = structure_of(module, next(batches(module, context, 2, 2)))
        if not structure.groups:
            raise NotApplicable("no layer can lose channels: each width is fixed by an input, an output or a LayerNorm")
        teacher = surgery.copied(module)
        gone = self._chosen(module, structure, context)
        surgery.remove(module, structure, gone)
        if self.reconstruct:
            reconstruct(module, teacher, structure, gone, self._read(module, context), context.seed)
        return module

    def _chosen(self, module: fx.GraphModule, structure: Structure, context: Context) -> surgery.Gone:
        """The units that go."""
        found = scores(self.importance, module, structure, self._read(module, context), context.seed)
        tried = list(batches(module, context, BATCH, TRIED_SAMPLES))
        drawn = curves(module, structure, structure.groups, found, self.round_to, tried)
        gone, share = allotted(structure, structure.work, drawn, found, self.macs)
        if share < self.macs:
            raise NotApplicable(
                f"{percent(share)} of the multiply-accumulates sit in channels that can go, and {percent(self.macs)} "
                "should: ask for less with macs"
            )
        return gone

    def _check(self) -> None:
        if not 0 < self.macs < 1:
            raise CandidateError("compress", f"macs is the share of work that goes, between 0 and 1, not {self.macs}")
        if self.round_to < 1:
            raise CandidateError("compress", f"round_to must be at least 1, not {self.round_to}")

    def _read(self, module: fx.GraphModule, context: Context) -> Iterator[Inputs]:
        return batches(module, context, BATCH, self.samples)
