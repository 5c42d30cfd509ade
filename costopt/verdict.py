"""What follows from the facts: each candidate judged, and the answer, computed by `choose.py`, never stored as truth.

Another budget or price list gives another `Report` of the same run, without a model being touched (`records.py`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from costopt.records import Candidate, Energy, Run, Spec, Status

LimitName = Literal[
    "accuracy_drop",
    "p95_ms",
    "usd_per_million",
    "size_mb",
    "memory_mb",
    "joules_per_inference",
    "co2_grams_per_million",
]

REPORT_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and the interval that holds it at the plan's confidence."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Quote:
    """What an hour of a machine costs, who says so and when. `note` is what a reader must know to trust it."""

    usd_per_hour: float
    instance: str
    source: str
    as_of: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Priced:
    """The quote that a price source gave when a run was judged, kept so that a newer price list changes no old run."""

    price: Spec
    quote: Quote


@dataclass(frozen=True, slots=True)
class Percentile:
    """A latency percentile: what was seen, and the value that it stays under at 99 % confidence.

    `seen_ms` and `upper_ms` are None when there are fewer than `needs` samples (`stats.queries_needed`).
    """

    percentile: float
    seen_ms: float | None
    upper_ms: float | None
    needs: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds per call."""

    p50: Percentile
    p95: Percentile
    p99: Percentile
    samples: int
    p90: Percentile | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """A metric's value, and how far it lies under the original's: positive is worse, whatever the metric's sense.

    `certified` is True when the whole interval lies inside the limit, False when the whole interval lies outside,
    None when it straddles it (then `samples_to_decide` says how many would do) or no limit was set. `scored_as` is the
    id of the candidate on which all samples were scored, where it was this file in another setting
    (`Score.taken_from`).
    """

    metric: str
    against: Literal["target", "original"]
    value: float
    drop: Interval
    samples: int
    certified: bool | None
    samples_to_decide: int | None = None
    scored_as: str = ""


@dataclass(frozen=True, slots=True)
class Usd:
    """USD per million inferences: on a machine that never idles, and at the user's traffic on whole instances.

    `relative` is the saturated cost over the baseline's, known without any price.
    """

    relative: Interval
    saturated: float | None = None
    at_traffic: float | None = None
    instances: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A limit that a candidate does not meet, the value it had and the bound, in the limit's own unit.

    `undecided` is True when the measurements could not tell (too few samples); `words` is the sentence for people.
    """

    limit: LimitName
    value: float | None
    bound: float
    undecided: bool
    words: str


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate, judged. Fields are None for what was not measured. `lost` says why it was not chosen."""

    candidate: Candidate
    status: Status
    reason: str | None = None
    stage: str | None = None
    fix: str | None = None
    latency: Latency | None = None
    throughput_per_s: float | None = None
    speedup: Interval | None = None
    drop: Drop | None = None
    size_bytes: int | None = None
    peak_memory_bytes: int | None = None
    load_s: float | None = None
    usd: Usd | None = None
    placement: Mapping[str, float] = field(default_factory=dict)
    meets: bool | None = None
    refusals: tuple[Refusal, ...] = ()
    lost: str | None = None
    time_share: Mapping[str, float] = field(default_factory=dict)
    first_call_s: float | None = None
    precision: str = ""
    energy: Energy | None = None
    operator_share: Mapping[str, float] = field(default_factory=dict)
    co2_grams_per_million: Interval | None = None


@dataclass(frozen=True, slots=True)
class Bought:
    """What one step of the winner's recipe changed, in the winner's setting, against the recipe before that step.

    `relative_cost` is the cost after it over that before it, under 1 where it saves; `usd_per_million` the change on a
    machine that never idles, None without a price; `drop` how much of the metric it lost, negative where it won some.
    `certain` is whether the measurements can tell the costs apart.
    """

    step: Spec
    relative_cost: float
    certain: bool
    drop: float
    usd_per_million: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The answer. `headline` is one sentence in plain words; `notes` are what a reader must know to trust it.

    `winner` is a candidate's id, or None when nothing meets the budget (then `nearest` names up to three). `bought`
    tells the winner's steps apart, as far as the recipes without them were measured. `finished` is False when
    candidates are still to be measured. `about_energy` is True where the answer rests on joules or CO2.
    """

    run: Run
    verdict: Literal["met", "not_met"]
    winner: str | None
    keep_original: bool
    rows: tuple[Row, ...]
    quote: Quote | None
    confidence: float
    headline: str
    nearest: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    finished: bool = True
    bought: tuple[Bought, ...] = ()
    about_energy: bool = False

    def row(self, candidate_id: str) -> Row:
        """The row of one candidate. Raises KeyError when there is none."""
        for row in self.rows:
            if row.candidate.id == candidate_id:
                return row
        raise KeyError(candidate_id)
