"""The story of one candidate: build it, serve it, time it, score it; and what can end it early.

`evaluate` runs where the work is done (here, or on another machine), keeps no state, and gives an `Outcome`: a failure
that can be expected is a record, not an exception.

Candidates race: one that misses the accuracy limit for certain on a few hundred samples gets a rough timing and
no more samples, and one that is slower than the best so far for certain is not timed any further. Both verdicts are
right at a higher confidence than the plan's, and what was measured is recorded as it is: wider intervals, fewer
samples. A file that was scored in one batch on a provider is scored on those few hundred alone in the next, if they
come out the same.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from costopt import plugins, stats
from costopt.build import Prepared, artifact_of, build, folder_of
from costopt.errors import CandidateError, CostoptError, DataError, NotApplicable, Untrue
from costopt.journal import to_json
from costopt.measuring import bench, proof, session
from costopt.metrics import Metric
from costopt.records import (
    Artifact,
    Candidate,
    Entry,
    Failed,
    Invalid,
    Measured,
    ModelSource,
    Outcome,
    Plan,
    Recipe,
    Score,
    Skipped,
)
from costopt.sampling.samples import spread
from costopt.timings import Timing
from costopt.worker import Child

log = logging.getLogger("costopt")

ROUNDS_S = 8.0
"""What a candidate's rounds may take, both sides together, unless slow calls need more for their percentiles."""

RACE_S = 4.0
"""The same for a candidate in a race, where the search wants to know who is ahead, not by how many per cent."""

BASELINE_S = 3.0
"""The same for the original against itself: that its ratio is 1 need not be shown, only its percentiles are wanted."""

ALONE_SHARE = 0.25
"""Of the run's time, what the original's rounds may take on one provider where nothing else is measured: what is wanted
then is a p99, which needs hundreds of calls (`stats.queries_needed`), and four providers should still find time."""

EARLY_SAMPLES = 512
"""Scored before timing. A candidate that loses five points more than it may is seen by them; nearer ones need more."""

EARLY_CONFIDENCE = 0.999
"""Who is refused this early must miss the limit at this confidence: hundreds may be looked at in one run."""

LEAST_LIMIT_S = 300.0
"""However short the run's time limit, building or scoring one candidate may take this long before it counts as hung."""


@dataclass(frozen=True)
class Job:
    """What all candidates of a run share: small and picklable, so that it can travel to another machine."""

    run: str
    source: ModelSource
    plan: Plan
    prepared: Prepared
    baseline: Candidate
    machine: str

    @property
    def folder(self) -> Path:
        """The run's folder; on a cluster it lies on shared storage."""
        return Path(self.run)

    @property
    def limit_s(self) -> float:
        """What one stage of one candidate may take: no longer than the whole run was given."""
        return max(LEAST_LIMIT_S, self.plan.time_limit_s)


def evaluate(entry: Entry, job: Job) -> Outcome:
    """Build and measure one candidate on the machine that this runs on."""
    candidate = entry.candidate
    try:
        artifact = _built(candidate, job)
        return _measure(entry, artifact, job)
    except Untrue as lie:
        return Invalid(candidate, lie.reason, lie.fix, again=lie.again)
    except NotApplicable as nothing:
        return Skipped(candidate, nothing.reason)
    except CandidateError as problem:
        return Failed(candidate, problem.stage, problem.reason)


def _built(candidate: Candidate, job: Job) -> Artifact:
    """The recipe's file; made once, whatever the provider, the batch and the threads."""
    found = artifact_of(candidate.recipe, job.folder)
    if found is None:
        log.info("%s: building", candidate.label)
        with Child("compress", job.folder / "logs" / f"build-{candidate.recipe_id}.log") as child:
            child.ask(build, _build_request(candidate.recipe, job), job.limit_s)
        found = artifact_of(candidate.recipe, job.folder)
    if found is None:
        raise CostoptError(f"{folder_of(candidate.recipe, job.folder)} vanished while the run was using it")
    return found


def _build_request(recipe: Recipe, job: Job) -> dict[str, str]:
    return {
        "source": to_json(job.source),
        "plan": to_json(job.plan),
        "prepared": to_json(job.prepared),
        "recipe": to_json(recipe),
        "run": job.run,
    }


def _measure(entry: Entry, artifact: Artifact, job: Job) -> Outcome:
    candidate, scoring = entry.candidate, _Scoring(entry, job)
    log.info("%s on %s, batch %d: timing", candidate.label, candidate.provider, candidate.batch)
    timing, seen = bench.measure(_pair(entry, artifact, job), proof.refuse_absent, scoring.seen, scoring.hopeless)
    if candidate != job.baseline:  # without the original there is no run: its noise is a note of the report
        bench.refuse_disturbed(timing.noise)
    return Measured(
        candidate,
        artifact,
        timing,
        seen.score,
        shares(seen.service.nodes),
        seen.peak_memory_bytes,
        seen.service.load_s,
        time_share=shares(seen.shown.placement.seconds),
        first_call_s=seen.service.first_call_s,
        precision=seen.shown.precision,
        operator_share=shares(seen.shown.placement.operators),
    )


def _pair(entry: Entry, artifact: Artifact, job: Job) -> bench.Pair:
    candidate, samples, logs = entry.candidate, job.prepared.evaluation, job.folder / "logs"
    return bench.Pair(
        own=bench.Subject(str(job.folder / artifact.path), candidate.setting, samples),
        other=bench.Subject(str(job.folder / job.prepared.original.path), job.baseline.setting, samples),
        stop=_stop(entry, job),
        seed=int(candidate.id, 16) ^ job.plan.seed,
        machine=job.machine,
        own_log=logs / f"{candidate.id}.log",
        other_log=logs / "baseline.log",
    )


def _stop(entry: Entry, job: Job) -> bench.Stop:
    plan, raced = job.plan, entry.facts is not None
    if plan.recipes == ():
        seconds = max(ROUNDS_S, ALONE_SHARE * plan.time_limit_s)
        return bench.Stop(plan.precision, plan.confidence, seconds, least_calls=stats.queries_needed(0.99))
    seconds = BASELINE_S if entry.candidate == job.baseline else RACE_S if raced else ROUNDS_S
    return bench.Stop(plan.precision, plan.confidence, seconds, stretch=True, to_beat=entry.to_beat)


@dataclass(frozen=True)
class _Seen:
    """What the serving process showed after the last round."""

    service: bench.Service
    shown: proof.Shown
    peak_memory_bytes: int
    score: Score


class _Scoring:
    """Scores a candidate: a few hundred samples before it is timed, all of them after it, if it may still win."""

    def __init__(self, entry: Entry, job: Job) -> None:
        self._entry = entry
        self._job = job
        self._early: Score | None = None
        self._memory_bytes = 0

    def hopeless(self, service: bench.Service) -> bool:
        """Whether samples from all parts of the data show for certain that the candidate misses the accuracy limit."""
        self._memory_bytes = service.peak_memory_bytes()  # now: scoring and proving take memory of their own
        limit, facts = self._job.plan.budget.accuracy_drop, self._entry.facts
        if limit is None or facts is None or len(facts) <= EARLY_SAMPLES:
            return False
        places = spread(len(facts), EARLY_SAMPLES)
        score = self._score(service.child, places)
        before, after = (np.array(rows, np.float64) for rows in ([facts[place] for place in places], score.values))
        metric = plugins.make("metrics", self._job.prepared.metric, Metric)
        lost = stats.drop_interval(metric, before, after, EARLY_CONFIDENCE).low > limit
        self._early = score
        service.child.pause()
        return lost

    def seen(self, service: bench.Service, timing: Timing) -> _Seen:
        """What the service shows after its last round, with every sample scored unless the candidate was beaten."""
        score = self._early
        if score is None or timing.stopped != "beaten":
            score = self._the_same_elsewhere() or self._whole(service)
        return _Seen(service, proof.proved(service), self._memory_bytes, score)

    def _the_same_elsewhere(self) -> Score | None:
        """All samples as they were scored in another setting, if those that were scored in this one came out alike."""
        early, known = self._early, self._entry.known
        if early is None or known is None:
            return None
        alike = all(known.values[place] == row for place, row in zip(early.places, early.values, strict=True))
        return known if alike else None

    def _whole(self, service: bench.Service) -> Score:
        candidate = self._entry.candidate
        log.info("%s on %s, batch %d: scoring", candidate.label, candidate.provider, candidate.batch)
        return self._score(service.child, ())

    def _score(self, child: Child, places: tuple[int, ...]) -> Score:
        """Score the samples at some places, or all. What the metric says against the original is the user's to mend:
        it ends the run.
        """
        prepared = self._job.prepared
        request = {
            "metric": prepared.metric.name,
            "options": dict(prepared.metric.options),
            "reference": prepared.reference.to_json() if prepared.reference else None,
            "places": list(places) or None,
        }
        try:
            facts = child.ask(session.score, request, self._job.limit_s)["facts"]
        except DataError as problem:
            if self._entry.candidate == self._job.baseline:
                raise
            raise CandidateError("score", str(problem)) from problem
        return Score(prepared.metric, prepared.against, tuple(tuple(row) for row in facts), places)


def shares(parts: Mapping[str, float]) -> dict[str, float]:
    """Each provider's share of the graph's nodes, or of the time."""
    total = sum(parts.values())
    return {name: count / total for name, count in sorted(parts.items())} if total else {}
