"""Learn from labelled data of the domain where the model will work: fine-tuning, before or after compression.

Calibration data that hold labels (`target`, as evaluation data have it) are what is learned from: the numbers of
classes, or values of the output's shape. Put first, everything after it learns from the adapted model, no longer from
the original; put last, before a quantiser, it tunes what is left. The verdict is still against the original, on the
evaluation data: it can be an accuracy that has risen.

Sources: Howard and Ruder, arXiv:1801.06146 (a gentle rate, warmed up and let down); the loop is that of `distill`.

Cost: the time that it is given. A residual CNN that knows clothes the right way up (93.3 % top-1) is right on 33.9 % of
them upside down, and on 86.4 % after 100 steps on 2,000 labelled images (45 s of CPU time; Fashion-MNIST, 10,000
images; of those the right way up it then knows 76.6 %; measured 2026-11). `recipes: auto` does not try it, for it
changes what the model knows, which only its owner can want. Fails when labels are few or wrong, and forgets what the
domain's data don't show.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import fx

from costopt.errors import CandidateError
from costopt.learning.teaching import Lesson, teach
from costopt.learning.training import Budget
from costopt.methods import Context, TorchMethod
from costopt.records import Value

GENTLER = 0.1
"""The rate, as a share of what `distill` would take: what the model knows is to be kept."""


@dataclass(frozen=True)
class Adapt(TorchMethod):
    """Learn from labels for `seconds`, or for `steps` batches of `batch` samples, when they are given.

    `learning_rate` is the peak; null chooses it, and `batch`, by the model. `augment` is that of `distill`, without
    mixtures, which have no label.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)
    alone = False
    teaches = True

    seconds: float = 120.0
    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    augment: str = "auto"

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The model after learning, never farther from the labels of held-out calibration samples than before.

        Raises NotApplicable when it comes no nearer, CandidateError when there are no labels or it can't learn.
        """
        if context.labels is None:
            words = (
                "the calibration data hold no labels: add an array called 'target' to the file under data.calibration"
            )
            raise CandidateError("compress", words)
        budget = Budget(self.seconds, self.steps)
        lesson = Lesson(budget, self.batch, self.learning_rate, augment=self.augment, gentler=GENTLER, labels=1.0)
        return teach(module, context, lesson, "adapt")
