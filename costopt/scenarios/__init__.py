"""Scenarios, one a file: how queries arrive, and so what "fast" means. Names and rules are those of MLPerf LoadGen.

    single_stream   one query after the other            latency of one who waits
    multi_stream    a handful at once, then the next      latency of the handful
    offline         everything is there already           samples per second of the whole machine
    server          queries arrive when they like         how many a second, with p99 under a bound

Source: MLPerf inference rules, section "Scenarios and metrics"
(https://github.com/mlcommons/inference_policies/blob/master/inference_rules.adoc), read 2026-11.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from costopt.benching.measurements import Benched, Contender, Energy, Opened
from costopt.measuring import energy, proof, torch_session
from costopt.measuring.bench import OPEN_LIMIT_S, Pair, Service, Stop, Subject
from costopt.sampling.samples import Samples


@dataclass(frozen=True)
class Stage:
    """What a scenario is given: whom to measure, beside whom, with which inputs, and for how long.

    `seconds` is what this contender may take in all, `precision` the relative width of the interval at which it may
    end sooner. `onnx_path` is the contender's model as ONNX, which a reference in PyTorch is checked against. `cpus`
    are the CPUs that may be used, in order; `pinned` asks that processes be bound to them. `folder` is the run's;
    children write their logs under its `logs`.
    """

    contender: Contender
    baseline: Contender
    samples: Samples
    baseline_samples: Samples
    onnx_path: str
    folder: Path
    seconds: float
    precision: float
    confidence: float
    seed: int
    machine: str
    cpus: tuple[int, ...]
    pinned: bool = False

    def subject(self, contender: Contender, cpus: tuple[int, ...] = ()) -> Subject:
        """What a child is to serve for a contender; bound to `cpus`, or to all that may be used when pinned."""
        bound = cpus or (self.cpus if self.pinned else ())
        samples = self.samples if contender == self.contender else self.baseline_samples
        return Subject(contender.path, contender.setting, samples, bound, contender.engine)

    def pair(self, calls: int = 1, other_calls: int = 1) -> Pair:
        """Contender and baseline, to take turns. A query is so many calls in a row."""
        return Pair(
            own=self.subject(self.contender),
            other=self.subject(self.baseline),
            stop=Stop(self.precision, self.confidence, self.seconds),
            seed=int(self.contender.id, 16) ^ self.seed,
            machine=self.machine,
            own_log=self.log("own"),
            other_log=self.log("baseline"),
            calls=calls,
            other_calls=other_calls,
        )

    def opened(self, service: Service) -> Opened:
        """What a service showed beside its speed, and who did the work. Raises Untrue when it was somebody else."""
        memory = service.peak_memory_bytes()  # first: the proof opens a second session
        if service.subject.engine != "onnxruntime":  # a reference must compute what its ONNX file does
            service.child.ask(torch_session.held_against, {"path": self.onnx_path}, OPEN_LIMIT_S)
            service.child.pause()
        shown = proof.proved(service)
        return Opened(service.load_s, service.first_call_s, memory, shown.placement, shown.precision)

    def measured(self, service: Service) -> tuple[Opened, Energy | None]:
        """The same, and what an inference takes of energy where a counter tells."""
        opened, counter = self.opened(service), energy.rapl()
        if isinstance(counter, energy.Unmetered):
            return opened, None
        metered = energy.Meter(counter).measure(service.serve_for)
        return opened, None if isinstance(metered, energy.Unmetered) else metered.energy

    def log(self, who: str) -> Path:
        """The log of one of this contender's children."""
        return self.folder / "logs" / f"{self.contender.id}-{who}.log"


class Scenario(ABC):
    """One way in which queries arrive. A frozen dataclass whose fields are the scenario's options."""

    @abstractmethod
    def measure(self, stage: Stage) -> Benched:
        """Measure one contender.

        Raises CandidateError when it fails, Untrue when its figures would lie, UsageError when the scenario can't be
        run with these options on this model.
        """
