"""How fast a way to hold a model answers, at a batch: time to first token (TTFT), time per output token (TPOT), rate.

Prompts and answers take turns on the same chips (continuous batching; Yu et al. 2022, "Orca"). With b requests in work
a request stays for b prompts and for as many steps as its answer has tokens, so by Little's law

    seconds of the chips per request    s = prefill + answer * step(b) / b
    requests per second                 1 / s
    time per output token               step(b) + (b - 1) * prefill / answer

where the last term is what other requests' prompts take out of an answer. A pipeline of p stages works on p batches at
once, each as slow as a pass through all stages.
"""

from dataclasses import dataclass, replace

from costopt.distributing.decoders import Workload
from costopt.distributing.deployments import Way, precision_of
from costopt.distributing.parallel import Passed, passed


@dataclass(frozen=True, slots=True)
class Pace:
    """One batch on one way. `prefill_s` and `step_s` are seconds on the chips, with what they exchange."""

    batch: int
    prefill: Passed
    step: Passed
    prompt_tokens: int
    answer_tokens: int
    stages: int

    @property
    def prefill_s(self) -> float:
        """The prompt of one request."""
        return self.prefill.seconds

    @property
    def step_s(self) -> float:
        """One more token for each request of the batch."""
        return self.step.seconds

    @property
    def seconds_per_request(self) -> float:
        """What a request takes of the chips' time in a full batch; of one of the `stages` batches in a pipeline."""
        return self.prefill_s + self.answer_tokens * self.step_s / self.batch

    @property
    def tpot_s(self) -> float:
        """Mean time per token of an answer, in a full batch; 0 where there is no answer after the first pass."""
        if not self.answer_tokens:
            return 0.0
        return self.step_s + (self.batch - 1) * self.prefill_s / self.answer_tokens

    @property
    def requests_per_s(self) -> float:
        """What one copy serves when it never idles."""
        return self.stages / self.seconds_per_request

    @property
    def stay_s(self) -> float:
        """How long a request is in work, in a full batch."""
        return self.batch * self.seconds_per_request

    @property
    def communication_share(self) -> float:
        """The share of a request's time in which chips exchange what they know."""
        exchanged = self.prefill.exchange_s + self.answer_tokens * self.step.exchange_s / self.batch
        return exchanged / self.seconds_per_request

    def times(self, factor: float) -> "Pace":
        """The same on chips that are so many times slower."""
        return replace(self, prefill=_times(self.prefill, factor), step=_times(self.step, factor))


def pace(workload: Workload, way: Way, batch: int) -> Pace:
    """A batch on a way, projected."""
    precision = precision_of(workload)
    prefill = passed(workload.prefill(), way.spread, precision, workload.heads)
    step = passed(workload.step(batch), way.spread, precision, workload.heads) if workload.answer_tokens else Passed(0)
    return Pace(batch, prefill, step, workload.prompt_tokens, workload.answer_tokens, way.spread.stages)


def _times(one: Passed, factor: float) -> Passed:
    return Passed(factor * one.compute_s, factor * one.exchange_s, factor * one.launch_s)
