"""Fewer tokens in the later layers of a transformer: from one layer on, two, three or four neighbours go on as one.

The first layers let each token see all others; what follows says much the same in every place, above all where one
answer is given for a whole text. So after some layer each group of neighbours is replaced by its mean, without
padding where an input is called a mask, and all that comes later works on shorter sequences: linear layers in
proportion, attention with the square. What later layers read from before the cut (masks, positions) gives the first of
each group.

Idea: Funnel-Transformer (Dai et al. 2020, https://arxiv.org/abs/2006.03236). The groups are the same for every text:
nothing is sorted at run time, as PoWER-BERT does (Goyal et al. 2020, https://arxiv.org/abs/2001.08950), and padding
stays at the end, so that `trim_padding` may follow.

Cost: two runs of the model. `distill` must follow. A text encoder with three of its six layers, taught for 600 steps,
agreed with its original on 95.3 % of 6,000 texts when all tokens went on (the mean of three earlier runs), on 94.6 %
when pairs were one in the last layer, on 93.7 % in the last two (one run each). When the second of each pair was left
out in place of taking the mean it was 91.1 % (measured 2026-11).

When it fails: it needs sequences whose length varies in the file, and one answer for each of them, not one for each
token. A model that looks a token up by its number (the last one of a text) finds another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import fx

from costopt.cutting import surgery
from costopt.cutting.observed import Inputs, batches, floats
from costopt.cutting.residual import Block, erase_dropouts, layers_of
from costopt.cutting.sequences import extents, varying_inputs
from costopt.cutting.shortening import Cut, behind
from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Context, Knob, TorchMethod
from costopt.records import Graph, Value

SAMPLES = 2
"""Enough to run the model; what the tokens say does not matter."""

EVERY = (2, 3, 4)
"""So many neighbours go on as one. `export.LEAST_PLACES` is enough for these."""


@dataclass(frozen=True)
class PruneTokens(TorchMethod):
    """Let two, three or four neighbours go on as one after some layer, so that about `macs` of the work goes.

    `macs` is a share of the multiply-accumulates. `after` so many layers, `every` so many neighbours: where both are
    given, they say it directly.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)
    knob = Knob("macs", low=0.1, high=0.7, first=0.3)

    macs: float = 0.3
    after: int | None = None
    every: int | None = None

    def unsuitable(self, graph: Graph) -> str | None:
        """That the length of sequences is fixed, or that outputs have a value for each place."""
        lengths = {size for one in graph.inputs for size in one.shape[1:] if not isinstance(size, int)}
        if not lengths:
            return "the model takes no sequences whose length varies"
        output = next((one for one in graph.outputs if lengths & set(one.shape)), None)
        return None if output is None else f"'{output.name}' has a value for each place of a sequence"

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The model whose later layers see fewer places.

        Raises NotApplicable when no length varies, there is nowhere to cut, or the outputs have a value for each place;
        CandidateError for options out of range.
        """
        self._refuse_misfits()
        inputs = next(batches(module, context, SAMPLES, SAMPLES))
        varying_inputs(module)
        surgery.tidy(module)
        erase_dropouts(module.graph)
        ends = _ends(layers_of(module, inputs))
        after, every = self._chosen(module, ends, inputs)
        cut = Cut(module, ends[after - 1], every, extents(module, inputs))
        wanted = _shapes(module, inputs)
        cut.make()
        module.recompile()
        if _shapes(module, inputs) != wanted:
            raise NotApplicable("an output has a value for each place of a sequence, so that all of them are needed")
        return module

    def _refuse_misfits(self) -> None:
        if not 0 < self.macs < 1:
            raise CandidateError("compress", f"prune_tokens: macs must lie between 0 and 1, not {self.macs}")
        if (self.after is None) != (self.every is None):
            raise CandidateError("compress", "prune_tokens: give both 'after' and 'every', or neither")
        if self.after is not None and self.after < 1:
            raise CandidateError("compress", f"prune_tokens: after must be at least 1, not {self.after}")
        if self.every is not None and self.every not in EVERY:
            raise CandidateError("compress", f"prune_tokens: every must be 2, 3 or 4, not {self.every}")

    def _chosen(self, module: fx.GraphModule, ends: list[fx.Node], inputs: Inputs) -> tuple[int, int]:
        """After how many layers, and one place in how many: what was asked for, or what comes nearest to `macs`."""
        if not ends:
            raise NotApplicable("there is nowhere to cut: it takes two layers that each add to what they get")
        if self.after is not None and self.every is not None:
            if self.after > len(ends):
                words = (
                    f"prune_tokens: after: {self.after}, and there are {len(ends)} layers with another one after them"
                )
                raise CandidateError("compress", words)
            return self.after, self.every
        work = surgery.macs(module, inputs)
        later = [sum(work.get(node.name, 0) for node in behind(end)) / sum(work.values()) for end in ends]
        ways = [(after, every) for every in EVERY for after in range(1, len(ends) + 1)]
        return min(ways, key=lambda way: abs(later[way[0] - 1] * (1 - 1 / way[1]) - self.macs))


def _ends(layers: list[Block]) -> list[fx.Node]:
    """Where each residual layer ends, but for the last one."""
    return [layer.end for layer in layers[:-1]]


def _shapes(module: fx.GraphModule, inputs: Inputs) -> list[torch.Size]:
    with torch.no_grad():
        return [one.shape for one in floats(module(*inputs))]
