"""Learn with every rounding to 8 bits in place that `int8_static` will do: quantization-aware training.

The original is the teacher, as for `distill`; the student computes with rounded weights and activations, and learns to
give the same outputs in spite of it. What comes out has float weights again, which lie where rounding does least harm:
put `int8_static` (or `nncf_int8`, `mixed_precision`) behind it, which writes the same Q/DQ as ever.

    distilled or original ─▶ rounded (`fake_quantization`) ─▶ learns from the original ─▶ float weights ─▶ int8_static

Sources: Jacob et al., arXiv:1712.05877, section 3; without labels: Polino et al., arXiv:1802.05668.

Cost: the time that it is given; a step takes about 1.3 times as long as one of `distill`. Pays where quantising is what
loses accuracy: few channels a layer, activations with outliers, one scale for channels of unlike size. A residual CNN
with 15 % of its work left, distilled for 250 steps, then `int8_static`: rounding moves its logits by 0.05 % (squared,
of their variance) more than pruning had, and by 0.11 % after 150 further steps of `distill`, 0.01 % after 150 of `qat`;
top-1 91.2 % both times, for pruning is what lost (93.3 % before; Fashion-MNIST, 10,000 images, measured 2026-11). Where
`int8_static` loses nothing there is nothing to win: 150 steps on a network of inverted residuals (91.45 % top-1, 91.34
% in 8 bits) and 60 on a text encoder (85.9 %, 85.8 %) brought neither nearer. A model that 8 bits really harm was not
at hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import fx

from costopt.cutting.observed import batches
from costopt.errors import NotApplicable
from costopt.learning.fake_quantization import Rounded, layers
from costopt.learning.teaching import Lesson, teach
from costopt.learning.training import Budget
from costopt.methods import Context, TorchMethod
from costopt.records import Value

OBSERVED_SAMPLES = 64
"""Calibration samples from which ranges begin; they follow the batches afterwards."""

OBSERVED_BATCH = 16

GENTLER = 0.1
"""The rate, as a share of what `distill` would take: the model is near its goal. Steps of rounding are no larger."""


@dataclass(frozen=True)
class Qat(TorchMethod):
    """Learn with rounding in place for `seconds`, or for `steps` batches of `batch` samples, when they are given.

    `learning_rate` is the peak; null chooses it, and `batch`, by the model. `temperature` and `augment` are those of
    `distill`.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)
    alone = False

    seconds: float = 60.0
    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    temperature: float = 1.0
    augment: str = "auto"

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The model after learning, with float weights; rounded it is nearer to the original than it was rounded.

        Raises NotApplicable when it holds nothing that is rounded or comes no nearer, CandidateError when it can't
        learn.
        """
        if not layers(module):
            raise NotApplicable("the model has no linear layer and no convolution whose values could be rounded")
        rounded = Rounded(module, batches(module, context, OBSERVED_BATCH, OBSERVED_SAMPLES))
        lesson = Lesson(
            Budget(self.seconds, self.steps), self.batch, self.learning_rate, self.temperature, self.augment, GENTLER
        )
        try:
            return teach(module, context, lesson, "qat")
        finally:
            rounded.release()
