"""The nouns that flow through costopt: frozen, standard library only, the unit in the name.

    Plan ─▶ Candidate* ─▶ [ load, compress, export, check, bench, score ] ─▶ Outcome* ─▶ Report
                           one machine, one candidate at a time               pure, from stored facts

Two kinds of record, in this order below, and a third that follows from them, in `verdict.py`:

- *what was asked*: `Plan` and its parts, read from the budget file by `plan.py`;
- *what was found*: `Outcome` (`Measured | Failed | Invalid | Skipped`) and the `Run` around it. These are raw facts:
  samples, not percentiles; per-sample scores, not means. They are written once and never changed;
- *what follows*: `Report` and its parts, computed by `choose.py` from the first two and thrown away afterwards.

A candidate is a description (names and options), so it can be mailed to another machine, stored as JSON, and shown
next week by a command that never imports torch.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from costopt.timings import Energy as Energy
from costopt.timings import Noise as Noise
from costopt.timings import Round as Round
from costopt.timings import Timing as Timing
from costopt.timings import WarmUp as WarmUp

Value = bool | int | float | str | None
Objective = Literal["cost", "latency", "size", "energy"]
Status = Literal["measured", "failed", "invalid", "skipped"]

# ---------------------------------------------------------------------------------------- what was asked


@dataclass(frozen=True, slots=True)
class Spec:
    """A plug-in by name, with its options: `int8_static`, `{per_channel: true}`. What YAML says and JSON stores."""

    name: str
    options: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        chosen = ", ".join(f"{key}={value}" for key, value in sorted(self.options.items()))
        return f"{self.name}({chosen})" if chosen else self.name


Recipe = tuple[Spec, ...]


@dataclass(frozen=True, slots=True)
class Budget:
    """Every limit is optional; a candidate must meet all that are given."""

    accuracy_drop: float | None = None
    p95_ms: float | None = None
    usd_per_million: float | None = None
    size_mb: float | None = None
    memory_mb: float | None = None
    joules_per_inference: float | None = None
    co2_grams_per_million: float | None = None


@dataclass(frozen=True, slots=True)
class Electricity:
    """Where the machine's power comes from: g CO2e per kWh (None: not known), the building's power over the machine's,
    the same in words; and what the machine was seen to draw at the plug while it serves, in watts."""

    grams_co2e_per_kwh: float | None
    pue: float
    words: str
    watts: float | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """Mean arrival rate, and how far the busiest moment lies above it."""

    requests_per_second: float
    peak_to_mean: float = 1.0


@dataclass(frozen=True, slots=True)
class Currency:
    """Money that amounts are shown in beside US dollars: its code, what one of it is worth in USD, and when."""

    code: str
    usd: float
    as_of: str


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One model input. A dimension is a number, or a name when it varies: ("batch", 3, 224, 224)."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str


@dataclass(frozen=True, slots=True)
class Data:
    """Where the data lies: an absolute path, or `module:function`. Calibration falls back to evaluation's inputs.

    `made_up` inputs are random ones, for a model that is only timed.
    """

    evaluation: str
    calibration: str | None = None
    made_up: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What to try and what is allowed, as the budget file says it, with every default filled in.

    `recipes` is None for `auto`; `providers` is None for "every provider found here"; `price` names a price source
    (`prices/`) with its options, or None when the machine's price is not known. `precision` is the relative width of
    a speed-up's interval, (high - low) / speed-up, at which timing a candidate may end. `tune` asks for a search of
    session options for the winner. Without `race`, candidates that can't win any more are measured to the end as well.
    `student` is a network of the user's own, `module:factory`, that `auto` lets learn from the original. `currency` is
    only for show: prices and limits are in US dollars. `electricity` turns joules into grams of CO2e.
    """

    data: Data
    metric: Spec = Spec("top1")
    budget: Budget = Budget()
    confidence: float = 0.95
    objective: Objective = "cost"
    traffic: Traffic | None = None
    price: Spec | None = None
    providers: tuple[Spec, ...] | None = None
    batch: tuple[int, ...] = (1,)
    threads: tuple[int, ...] = ()
    recipes: tuple[Recipe, ...] | None = None
    time_limit_s: float = 600.0
    seed: int = 0
    inputs: tuple[InputSpec, ...] = ()
    opset: int = 20
    precision: float = 0.05
    tune: bool = False
    race: bool = True
    student: str | None = None
    currency: Currency | None = None
    electricity: Electricity | None = None


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The model file as the user named it, and what is needed to read it."""

    path: str
    arch: str | None = None
    arch_args: Mapping[str, Any] = field(default_factory=dict)
    trust_pickle: bool = False


# ---------------------------------------------------------------------------------------- what was found


def short_hash(facts: object) -> str:
    """Ten hexadecimal digits that change when plain facts (lists, dicts, texts, numbers) do."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Setting:
    """How a model is served: by which provider with which options, in which batch, on how many threads.

    `session` holds settings of ONNX Runtime's session that differ from costopt's defaults (`session_options`).
    """

    provider: Spec
    batch: int = 1
    threads: int = 1
    session: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing to measure. An empty recipe is the original model: a candidate like any other.

    `options` are the provider's, `session` those of ONNX Runtime's session that differ from the defaults.
    """

    recipe: Recipe
    provider: str
    batch: int
    threads: int
    options: Mapping[str, Value] = field(default_factory=dict)
    session: Mapping[str, Value] = field(default_factory=dict)

    @property
    def setting(self) -> Setting:
        """How it is served."""
        return Setting(Spec(self.provider, self.options), self.batch, self.threads, self.session)

    @property
    def id(self) -> str:
        """A short hash of the description: the same words have the same id on every machine."""
        more = [dict(self.options), dict(self.session)] if self.options or self.session else []
        return short_hash([self.recipe_id, self.provider, self.batch, self.threads, *more])

    @property
    def recipe_id(self) -> str:
        """A short hash of the recipe alone: the file that it makes serves every provider, batch and thread count."""
        return short_hash([[spec.name, dict(spec.options)] for spec in self.recipe])

    @property
    def label(self) -> str:
        """The recipe in words: `original`, `int8_static`, `slim + int8_static(per_channel=False)`."""
        return " + ".join(str(spec) for spec in self.recipe) or "original"


@dataclass(frozen=True, slots=True)
class Entry:
    """A candidate that enters the race, why it does, and what it is up against.

    `to_beat` is a speed-up that another one, which meets the budget, has for certain; `facts` are what the metric saw
    of the original, row by row. A candidate that can be seen to lose against either is measured roughly only. `known`
    is the score of the same file on the same provider in another batch or with other threads.
    """

    candidate: Candidate
    why: str = ""
    to_beat: float | None = None
    facts: tuple[tuple[float, ...], ...] | None = None
    known: "Score | None" = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """An ONNX file on disk. `size_bytes` and `sha256` cover its external data too; `path` is relative to the run."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Graph:
    """What an ONNX file holds, as far as methods ask before they start.

    `parameters_by_operator` counts the elements of constant tensors by the type of the node that reads them first.
    """

    inputs: tuple[InputSpec, ...]
    outputs: tuple[InputSpec, ...]
    operators: Mapping[str, int]
    parameters_by_operator: Mapping[str, int]
    opset: int
    size_bytes: int

    @property
    def parameters(self) -> int:
        """Elements of all constant tensors."""
        return sum(self.parameters_by_operator.values())


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a timing was taken. Timings of two machines are never compared."""

    cpu: str
    cores: int
    memory_bytes: int
    system: str
    features: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """A short hash that changes when the hardware or the operating system does."""
        return short_hash([self.cpu, self.cores, self.memory_bytes, self.system, list(self.features)])


@dataclass(frozen=True, slots=True)
class Score:
    """What a metric saw, sample by sample, so that two candidates can be compared in pairs.

    `values` has one row a sample; what the columns mean is the metric's own affair (`metrics/`). `against` says
    whether the samples were held against labels or against the original's outputs. Of a candidate that lost early
    only the samples at `places` were scored; none stands for all. `taken_from` is the id of the candidate that was
    scored, where it was another one: the same file on the same provider, in another batch or with other threads, which
    gave the same on all samples that were tried in both.
    """

    metric: Spec
    against: Literal["target", "original"]
    values: tuple[tuple[float, ...], ...]
    places: tuple[int, ...] = ()
    taken_from: str = ""

    @property
    def samples(self) -> int:
        """How many samples were scored."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate that was built, timed and scored.

    `placement` maps each provider's name to its share of the graph's nodes (they sum to 1), `time_share` to its share
    of the time in kernels (empty when there was one provider only). `peak_memory_bytes` is the serving process's peak
    above what it held before the model was loaded. `precision` is the format that the provider was seen to multiply
    in, "" when it was not probed. `operator_share` is each operator type's share of the time in kernels.
    """

    candidate: Candidate
    artifact: Artifact
    timing: Timing
    score: Score
    placement: Mapping[str, float]
    peak_memory_bytes: int
    load_s: float
    status: Literal["measured"] = "measured"
    time_share: Mapping[str, float] = field(default_factory=dict)
    first_call_s: float | None = None
    precision: str = ""
    operator_share: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure that was expected: a record, never a log line."""

    candidate: Candidate
    stage: str
    reason: str
    status: Literal["failed"] = "failed"


@dataclass(frozen=True, slots=True)
class Invalid:
    """Measured, but the number would lie; with the reason and the fix. `again`: it may come out well another time."""

    candidate: Candidate
    reason: str
    fix: str
    status: Literal["invalid"] = "invalid"
    again: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """Never measured: the method does not apply, or the time was up."""

    candidate: Candidate
    reason: str
    status: Literal["skipped"] = "skipped"


Outcome = Measured | Failed | Invalid | Skipped


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the exported original is from the model that was loaded, over `samples` real inputs."""

    max_abs_error: float
    relative_error: float
    samples: int


@dataclass(frozen=True, slots=True)
class Run:
    """What all candidates of a run share: written once, before the first is measured.

    `versions` and `inputs` (sha256 of model and data) are what a reader needs to repeat it. `candidates` stand in the
    order in which they were tried; `reasons` tell why, by id, where a search chose them, and `ended` how it ended.
    `seconds` is how long it took, all goes at it together, up to the last outcome; None where that was not counted.
    """

    id: str
    model: str
    format: str
    baseline: str
    metric: Spec
    against: Literal["target", "original"]
    machine: Machine
    graph: Graph
    parity: Parity | None
    versions: Mapping[str, str]
    inputs: Mapping[str, str]
    seed: int
    created: str
    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    ended: str = ""
    seconds: float | None = None
