"""Let the model learn, from the original and unlabelled inputs, what other methods made it forget.

The original is the teacher, the model as the steps before have left it (narrower, shallower, sparse) the student. It
learns to give the same outputs on the calibration inputs and on what augmentation makes of them; neither labels nor a
training script are needed (Hinton, Vinyals and Dean, arXiv:1503.02531; Beyer et al., arXiv:2106.05237).

Cost: the time that it is given. More calibration inputs help more than anything else: a residual CNN of 93.05 % top-1
with 15 % of its multiply-accumulates left (`prune_channels`, `macs: 0.8`, 86.2 %) came to 90.3 % with 512 images (500
steps, 84 s of CPU time) and to 92.3 % with 60,000 (2,400 steps, 223 s of CPU time, all of them unlabelled), and lost
nothing more by `int8_static` afterwards (Fashion-MNIST, 4,000 test images; measured 2026-11 on one Zen 4 core).

Labels, where the calibration data have some, may take a share of the loss. They won nothing from a teacher that is good
on those data: 91.1 % top-1 without and with a share of 0.2 or 0.5 (the same CNN with 15 % of its work left, 300 steps,
60,000 labelled images; measured 2026-11). A teacher that is not wants `adapt` before it.

Fails when calibration inputs are few or not like those in use, and when too much was cut away: a network that has lost
its capacity gets no nearer. Alone, without a step before it, it has nothing to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import fx

from costopt.learning.students import made
from costopt.learning.teaching import Lesson, teach
from costopt.learning.training import Budget
from costopt.methods import Context, TorchMethod
from costopt.records import Value


@dataclass(frozen=True)
class Distill(TorchMethod):
    """Learn from the original for `seconds`, or for `steps` batches of `batch` samples, when they are given.

    With `steps` the result depends on the seed alone, not on the machine's speed. `learning_rate` is the peak; null
    chooses it, and `batch`, by the model. `temperature` softens scores of classes. `augment` is auto (by the kind of
    input), none, or some of flip, shift, mixup, noise (images) and replace (tokens), joined by +. `labels` is their
    share of the loss, where the calibration data have any. `student` is a network of the user's own to teach, as
    `module:factory`, in place of what the steps before have left; the factory takes no arguments.
    """

    automatic: ClassVar[tuple[Mapping[str, Value], ...]] = ({},)
    alone = False

    seconds: float = 120.0
    steps: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    temperature: float = 1.0
    augment: str = "auto"
    labels: float = 0.0
    student: str | None = None

    def __call__(self, module: fx.GraphModule, context: Context) -> fx.GraphModule:
        """The model after learning, never farther from the original on held-out calibration samples than before.

        Raises NotApplicable when it comes no nearer, CandidateError when it can't learn.
        """
        budget = Budget(self.seconds, self.steps)
        lesson = Lesson(budget, self.batch, self.learning_rate, self.temperature, self.augment, labels=self.labels)
        student = module if self.student is None else made(self.student, module, context)
        return teach(student, context, lesson, "distill")
