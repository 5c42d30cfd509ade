"""The nouns of `costopt bench`: who was measured, what was seen, what follows.

    Contender* ─▶ [ open, prove, warm up, measure ] ─▶ Benched | Unbenched ─▶ BenchReport
                    one machine, one at a time            raw, stored            computed when shown (`settle`)

A scenario says how queries arrive; its names and rules are those of MLPerf LoadGen (`scenarios/`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from costopt.records import Machine, Setting, Spec, short_hash
from costopt.timings import Energy as Energy
from costopt.timings import Noise, Timing, WarmUp
from costopt.timings import Opened as Opened
from costopt.timings import Placement as Placement
from costopt.verdict import Interval, Latency

BENCH_SCHEMA = 1
SENSITIVITY_SCHEMA = 1

# ---------------------------------------------------------------------------------------- what was asked


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What a bench is asked to do. `providers` is None for every provider found here, `threads` empty for all cores.

    `inputs` is a data file or a `module:function`, None for made-up inputs; then `dimensions` gives the lengths of axes
    that vary. `precision` is the relative width of an interval, (high - low) / value, at which measuring ends.
    """

    models: tuple[str, ...]
    scenario: Spec
    providers: tuple[Spec, ...] | None = None
    batch: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = ()
    inputs: str | None = None
    dimensions: Mapping[str, int] = field(default_factory=dict)
    precision: float = 0.02
    confidence: float = 0.95
    time_limit_s: float = 150.0
    seed: int = 0
    pinned: bool = False
    references: bool = False
    tuned: bool = False


@dataclass(frozen=True, slots=True)
class Contender:
    """One model in one setting. `model` is the name that reports show; `sha256` covers external data too.

    `engine` is ONNX Runtime, or PyTorch as a reference: eager, or compiled (`torch.compile`).
    """

    model: str
    path: str
    sha256: str
    size_bytes: int
    setting: Setting
    engine: Literal["onnxruntime", "torch", "torch.compile"] = "onnxruntime"

    @property
    def id(self) -> str:
        """A short hash of the description; where the file lies is no part of it."""
        setting = self.setting
        facts = [self.model, self.sha256, self.engine, setting.provider.name, dict(setting.provider.options)]
        return short_hash([*facts, setting.batch, setting.threads, dict(setting.session)])


@dataclass(frozen=True, slots=True)
class Feed:
    """Where the inputs come from: the words for the report, and whether they are real or made up."""

    words: str
    random: bool


@dataclass(frozen=True, slots=True)
class BenchRun:
    """What all contenders of a bench share: written before the first is measured.

    `scenario` carries its options; `precision` is the relative width of the interval at which measuring ends;
    `base` is the index of the contender that all others are held against.
    """

    id: str
    scenario: Spec
    contenders: tuple[Contender, ...]
    feed: Feed
    machine: Machine
    versions: Mapping[str, str]
    precision: float
    confidence: float
    seed: int
    pinned: bool
    created: str
    notes: tuple[str, ...] = ()
    base: int = 0

    @property
    def baseline(self) -> Contender:
        """The first that can be measured: all others are held against it."""
        return self.contenders[self.base]


# ---------------------------------------------------------------------------------------- what was found


@dataclass(frozen=True, slots=True)
class Try:
    """One way to use the whole machine: so many processes, each with so many threads, and calls of so many samples.

    `samples_per_s` has one figure a window, all processes together.
    """

    instances: int
    threads: int
    batch: int
    samples_per_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Every way that was tried to use the whole machine, in the order of the tries.

    The first try of a way is short and only chooses; ways that seemed best have a second one (`throughput.whole`).
    `left_out` says in words which ways were not tried, or failed, and why.
    """

    tries: tuple[Try, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batching:
    """How a server gathers requests: calls of at most `max_batch`, for which the first waits at most `max_wait_ms`."""

    max_batch: int = 1
    max_wait_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One stretch of requests at one rate. `latencies_s` counts from the intended arrival, in order of arrival.

    `busy_periods` holds the number of requests between two moments at which the server had nothing to do: requests of
    different busy periods are independent, those of one are not. `seconds` is first arrival to last answer, and
    `busy_s` the time in calls (of all instances together). When an attempt was given up, requests that had waited
    longer than the bound already count with the time that they had waited, and later ones are left out.
    """

    rate_per_s: float
    batching: Batching
    instances: int
    latencies_s: tuple[float, ...]
    busy_periods: tuple[int, ...]
    seconds: float
    busy_s: float
    calls: int


@dataclass(frozen=True, slots=True)
class Served:
    """All attempts of a server scenario, in order. `bound_ms` is the p99 that was promised."""

    bound_ms: float
    attempts: tuple[Attempt, ...]


Found = Timing | Throughput | Served


@dataclass(frozen=True, slots=True)
class Benched:
    """A contender that was measured: raw, whatever the scenario. `beside` is the id of whom it took turns with."""

    contender: Contender
    opened: Opened
    found: Found
    noise: Noise | None = None
    energy: Energy | None = None
    status: Literal["measured"] = "measured"
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Unbenched:
    """A contender without figures: it failed at a stage, or its figures would lie; then with the fix.

    `again`: the machine was to blame, so it may come out well another time.
    """

    contender: Contender
    status: Literal["failed", "invalid"]
    reason: str
    stage: str = ""
    fix: str = ""
    again: bool = False


BenchOutcome = Benched | Unbenched

# ---------------------------------------------------------------------------------------- what follows


@dataclass(frozen=True, slots=True)
class Outliers:
    """Calls far above the rest: they are counted and they count. `slowest_ms` is the slowest call of all."""

    count: int
    calls: int
    slowest_ms: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many times faster than the baseline, per inference, and whether that can be told from 1.

    `seconds_to_tell` estimates how long measuring would have to go on to tell, None when it can be told already or
    never could in a day. `wide_because` are the reasons why the interval was widened. `slow_rounds` of the rounds fell
    into slow spells of the machine, and don't count for the ratio (`stretches`).
    """

    ratio: Interval
    told_apart: bool
    rounds: int
    stopped: str
    seconds_to_tell: float | None = None
    wide_because: tuple[str, ...] = ()
    slow_rounds: int = 0


@dataclass(frozen=True, slots=True)
class Rate:
    """What a server scenario found for one rate: p99 as seen and its upper bound, and whether the promise holds.

    `holds` is None when the requests were too few to tell. Goodput counts answers within the bound.
    """

    rate_per_s: float
    batching: Batching
    p50_ms: float
    p99_ms: float
    p99_upper_ms: float | None
    late_share: Interval
    holds: bool | None
    throughput_per_s: float
    goodput_per_s: float
    utilisation: float
    requests: int


@dataclass(frozen=True, slots=True)
class ServerAnswer:
    """The highest rate that was shown to hold, the lowest that was shown not to, and every rate in order."""

    bound_ms: float
    rates: tuple[Rate, ...]
    holds: Rate | None
    fails: Rate | None


@dataclass(frozen=True, slots=True)
class Whole:
    """The best way to use the whole machine, and the figures of all ways that were tried."""

    best: Try
    samples_per_s: Interval
    tries: tuple[tuple[Try, Interval], ...]


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One contender, judged. Fields are None for what the scenario does not measure, or was not measured."""

    contender: Contender
    status: Literal["measured", "failed", "invalid", "not yet"]
    reason: str = ""
    stage: str = ""
    fix: str = ""
    latency: Latency | None = None
    comparison: Comparison | None = None
    outliers: Outliers | None = None
    whole: Whole | None = None
    server: ServerAnswer | None = None
    opened: Opened | None = None
    warm_up: WarmUp | None = None
    energy: Energy | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The answer: one sentence in plain words, a row a contender, and what a reader must know to trust them."""

    run: BenchRun
    rows: tuple[BenchRow, ...]
    headline: str
    holds: bool | None
    """Whether the promise of a server scenario holds for every contender; None in other scenarios, or undecided."""
    notes: tuple[str, ...] = ()
    finished: bool = True


# ---------------------------------------------------------------------------------------- one layer at a time


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """One layer with weights, by itself. Times are of its kernel alone on one thread, for the first calibration batch.

    `operations` are multiplications for the same batch. `output_error` is what rounding this layer alone to 8 bits does
    to the outputs: Euclidean norm of the error over that of the outputs; `facts` is what the metric saw then.
    """

    name: str
    operator: str
    size_bytes: int
    operations: float
    float32_ms: float
    int8_ms: float
    output_error: float
    facts: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class LayersMeasured:
    """All layers of a model, in its order, and what the metric saw of it as it is."""

    layers: tuple[LayerFacts, ...]
    original: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class LayerCost:
    """What follows for one layer. Shares are of all layers with weights; `drop` is under the original, as in
    reports."""

    name: str
    operator: str
    size_bytes: int
    size_share: float
    operations_share: float
    float32_ms: float
    time_share: float
    int8_ms: float
    output_error: float
    drop: Interval


@dataclass(frozen=True, slots=True)
class SensitivityReport:
    """Which layer costs what, the most expensive in time first."""

    model: str
    machine: Machine
    metric: str
    against: Literal["target", "original"]
    value: float
    samples: int
    confidence: float
    layers: tuple[LayerCost, ...]
