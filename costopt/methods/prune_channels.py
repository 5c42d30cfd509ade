"""Take channels out of layers, and solve for the weights that are left.

Channels of convolutions and neurons of perceptrons go, with everything that is tied to them (residual sums, BatchNorm,
depthwise convolutions, the columns that read them), so that the model gets smaller and faster on any machine, without
sparse kernels. Three questions, each with its own answer:

- Which channel of a layer? The one of least `importance`.
- From which layer? Where the outputs change least for what is saved: each layer is tried alone on calibration data.
- What about the damage? Each layer that reads a narrower one gets new weights by least squares, so that it gives what
  it gave before as nearly as can be (`reconstruct`). No labels and no gradient steps are needed.

What is to be saved is told by one of

    macs     the share of the multiply-accumulates that goes
    size     the share of the parameters' bytes that goes
    latency  the share of the time that goes which the layers take, one input at a time on one thread of this machine,
             by a table of each layer's times at the widths that it could have (`width_times`); widths that are no
             faster are passed over

Sources: Fang et al., DepGraph, https://arxiv.org/abs/2301.12900 (what goes together); Theis et al.,
https://arxiv.org/abs/1801.05787 (importance by Taylor's formula); He et al., https://arxiv.org/abs/1707.06168
(reconstruction); Yang et al., NetAdapt, https://arxiv.org/abs/1804.03230 (tables of times).

Cost: some forward passes over calibration samples for each layer, and memory for what a layer gives on all
samples; of `latency` some seconds more (6 for the 54 layers of a ResNet-50, 128 x 128 pixels).

A residual CNN of 37 million multiply-accumulates, 1.23 MB, 0.650 ms in its layers and 93.65 % top-1:

    asked for      multiply-accumulates left   bytes left   ms left   top-1    without reconstruction
    macs 0.5       45 %                        40 %         48 %      92.0 %   36 %
    size 0.5       70 %                        47 %         72 %      92.7 %   53 %
    latency 0.5    42 %                        34 %         45 %      91.7 %
    macs 0.7       29 %                        30 %         32 %      91.2 %   11 %
    latency 0.7    25 %                        25 %         29 %      90.3 %

(The first 2,000 test images of Fashion-MNIST, 512 unlabelled training images, other options at their defaults; times
are the least of 120 calls, of float32 layers alone on one thread; ONNX Runtime 1.31.1, shared 2-core x86 with AVX-512,
measured 2026-11.) Large shares gain from `distill` afterwards.

At multiples of 16 channels time follows work there, and `latency` finds much the same widths as `macs`. Where widths
may be finer it keeps to the fast ones: with `round_to: 4` it leaves multiples of 16, 0.310 ms and 92.0 %, where `macs:
0.5` goes to 20 and 24 channels, 0.465 ms and 92.5 %. What it finds may differ from run to run where two choices are
near. ONNX Runtime tells times in whole microseconds: layers of a few may seem to have nothing to save.

It fails where widths can't change: a transformer's residual width (LayerNorm mixes its channels), recurrent layers,
layers that are called twice. It does badly where calibration is small against the width of a layer: 100 sentences for
1,536 neurons. Attention heads are the business of `prune_heads`.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import fx

from costopt.cutting import surgery
from costopt.cutting.allotment import Curve, allotted, curves
from costopt.cutting.importance import scores
from costopt.cutting.observed import Inputs, batches
from costopt.cutting.reconstruction import reconstruct
from costopt.cutting.ties import Cost, Structure, shapes_of, structure_of
from costopt.cutting.width_times import width_times
from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Context, Knob, TorchMethod
from costopt.records import Value
from costopt.units import percent

BATCH = 32
TRIED_SAMPLES = 64
"""Samples on which every layer is tried at several widths."""

DEFAULT_MACS = 0.5

Target = Literal["macs", "size", "latency"]

COUNTED: Mapping[Target, str] = {
    "macs": "multiply-accumulates",
    "size": "parameters' bytes",
    "latency": "milliseconds that the layers take",
}

log = logging.getLogger("costopt")


@dataclass(frozen=True)
class PruneChannels(TorchMethod):
    """Take channels out of layers, and solve for the weights that are left.

    Give one of `macs` (0.5 if none is given), `size` and `latency`, each between 0 and 1 (see above). `round_to` is
    what widths are multiples of (less in layers that are narrower already): kernels work on 16 channels at a time, and
    in 8 bits a convolution of 8 channels takes longer than one of 16 (28 and 200 billion multiply-accumulates a second;
    ONNX Runtime 1.31.1, 2-core x86 with VNNI, measured 2026-11). `samples` is how many calibration samples are read at
    most.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({"macs": 0.25}, {"macs": 0.5})
    knob = Knob("macs", low=0.1, high=0.9, first=0.5)

    macs: float | None = None
    size: float | None = None
    latency: float | None = None
    importance: Literal["group_norm", "activation", "taylor"] = "taylor"
    reconstruct: bool = True
    round_to: int = 16
    samples: int = 512

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The narrower model.

        Raises NotApplicable when no layer can lose channels, or all together hold less than should go; CandidateError
        when an option is out of range, when two targets are given, when there are no calibration samples, and when a
        layer whose time is wanted can't be run.
        """
        target, share = self._asked()
        surgery.tidy(module)
        structure = structure_of(module, next(batches(module, context, 2, 2)))
        if not structure.groups:
            raise NotApplicable("no layer can lose channels: each width is fixed by an input, an output or a LayerNorm")
        teacher = surgery.copied(module)
        gone = self._chosen(module, structure, context, target, share)
        surgery.remove(module, structure, gone)
        if self.reconstruct:
            reconstruct(module, teacher, structure, gone, self._read(module, context), context.seed)
        return module

    def _chosen(
        self, module: fx.GraphModule, structure: Structure, context: Context, target: Target, asked: float
    ) -> surgery.Gone:
        """The units that go."""
        found = scores(self.importance, module, structure, self._read(module, context), context.seed)
        tried = list(batches(module, context, BATCH, TRIED_SAMPLES))
        drawn: Sequence[Curve] = curves(module, structure, structure.groups, found, self.round_to, tried)
        costs, drawn = _costs(module, structure, drawn, context, target)
        gone, share = allotted(structure, costs, drawn, found, asked, jumps=target == "latency")
        if share < asked:
            raise NotApplicable(
                f"{percent(share)} of the {COUNTED[target]} sit in channels that can go, and {percent(asked)} should: "
                f"ask for less with {target}"
            )
        log.info("prune_channels: %s of the %s go", percent(share), COUNTED[target])
        return gone

    def _asked(self) -> tuple[Target, float]:
        """What is to get less, and the share of it that goes."""
        shares: dict[Target, float | None] = {"macs": self.macs, "size": self.size, "latency": self.latency}
        given = {target: share for target, share in shares.items() if share is not None} or {"macs": DEFAULT_MACS}
        if len(given) > 1:
            words = f"prune_channels takes one of macs, size and latency, not {' and '.join(given)}"
            raise CandidateError("compress", words)
        ((target, share),) = given.items()
        if not 0 < share < 1:
            words = f"{target} is the share of the {COUNTED[target]} that go, between 0 and 1, not {share}"
            raise CandidateError("compress", words)
        if self.round_to < 1:
            raise CandidateError("compress", f"round_to must be at least 1, not {self.round_to}")
        return target, share

    def _read(self, module: fx.GraphModule, context: Context) -> Iterator[Inputs]:
        return batches(module, context, BATCH, self.samples)


def _costs(
    module: fx.GraphModule, structure: Structure, drawn: Sequence[Curve], context: Context, target: Target
) -> tuple[Sequence[Cost], Sequence[Curve]]:
    """What each part of the model costs, counted in what is to get less; and curves by widths where that is known."""
    match target:
        case "macs":
            return structure.work, drawn
        case "size":
            return surgery.parameter_bytes(module, structure), drawn
        case "latency":
            shapes = shapes_of(module, next(batches(module, context, 1, 1)))
            return width_times(module, structure, shapes, drawn)
