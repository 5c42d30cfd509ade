"""What a stopwatch saw, raw: calls in rounds, how the machine was meanwhile, who did the work.

Every statistic is a function of these (`stats`); none is stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Stopped = Literal["precision", "time", "rounds", "beaten"]
"""Why measuring ended: the interval was narrow enough, the time was up, a fixed number of rounds was done, or it could
not win any more: another was faster for certain, or it missed a limit for certain."""


@dataclass(frozen=True, slots=True)
class Round:
    """Calls of a candidate and of the baseline in one short stretch of time: seconds per call, raw, in order.

    The two took turns inside the round, so that a machine that slows down slows both. `generation` counts the pairs of
    processes: where a process's memory comes to lie stays with it for life, so a long measurement starts it anew.
    """

    seconds: tuple[float, ...]
    baseline_seconds: tuple[float, ...]
    generation: int = 0


@dataclass(frozen=True, slots=True)
class WarmUp:
    """How the calls before the first round went. `settled` is False when they were still changing at the limit."""

    calls: int
    seconds: float
    settled: bool


@dataclass(frozen=True, slots=True)
class Noise:
    """What the machine did while we measured, as far as the system shows it.

    Shares are of the CPU time of all CPUs that this process may use. A figure that the system does not show is None.
    """

    seconds: float
    cpus: int
    other_load: float | None = None
    """Share that programs of others used."""
    steal: float | None = None
    """Share that the hypervisor gave to other machines."""
    swapped_pages: int | None = None
    """Pages brought back from swap."""
    throttled: int | None = None
    """Times that a core was slowed down for its heat."""
    governor: str | None = None
    """The frequency governor: "performance" keeps the clock up."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Raw samples of one candidate beside those of the baseline.

    One call serves `batch` inferences; a call of the baseline serves `baseline_batch`. The baseline's own timing
    holds rounds of the baseline against itself.
    """

    rounds: tuple[Round, ...]
    batch: int
    baseline_batch: int
    machine: str
    noise: Noise | None = None
    warm_up: WarmUp | None = None
    stopped: Stopped = "rounds"

    @property
    def seconds(self) -> tuple[float, ...]:
        """All calls of the candidate, in order."""
        return tuple(second for one in self.rounds for second in one.seconds)

    @property
    def generations(self) -> int:
        """How many pairs of processes took part."""
        return len({one.generation for one in self.rounds})


@dataclass(frozen=True, slots=True)
class Placement:
    """Who did the work, from ONNX Runtime's own records, by the provider's runtime name.

    `nodes` counts the graph's nodes, `seconds` the time in kernels over the profiled calls (empty when it was not
    profiled). `fallen_back` names nodes that another provider took than the one asked for, slowest first. `operators`
    is the time in kernels by the type of operator, as far as the profile tells them apart.
    """

    nodes: Mapping[str, int]
    seconds: Mapping[str, float] = field(default_factory=dict)
    fallen_back: tuple[str, ...] = ()
    operators: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Opened:
    """What a serving process showed beside its speed.

    `precision` is the floating-point format that the provider was seen to multiply in ("float32", "bfloat16" ...), ""
    when it was not probed. `peak_memory_bytes` is above what the process held before the model was loaded.
    """

    load_s: float
    first_call_s: float
    peak_memory_bytes: int
    placement: Placement
    precision: str = ""


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules per inference. `modelled` comes from a device's data sheet and is never mixed with `measured`.

    `low` and `high` are the ends that a modelled figure may truly have; None for the figure itself.
    """

    joules_per_inference: float
    label: Literal["measured", "modelled"]
    source: str
    low: float | None = None
    high: float | None = None

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the most that it may be, in joules."""
        joules = self.joules_per_inference
        return joules if self.low is None else self.low, joules if self.high is None else self.high
