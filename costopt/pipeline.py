"""The story of one candidate: build it, serve it, time it, score it; and what can end it early.

`evaluate` runs where the work is done (here, or on another machine), keeps no state, and gives an `Outcome`: a failure
that can be expected is a record, not an exception.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from costopt import bench, proof, session
from costopt.build import Prepared, artifact_of, build, folder_of
from costopt.errors import CandidateError, CostoptError, DataError, NotApplicable, Untrue
from costopt.journal import to_json
from costopt.records import (
    Artifact,
    Candidate,
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
from costopt.worker import Child

log = logging.getLogger("costopt")

ROUNDS_S = 8.0
"""What a candidate's rounds may take, both sides together, unless slow calls need more for their percentiles."""

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


def evaluate(candidate: Candidate, job: Job) -> Outcome:
    """Build and measure one candidate on the machine that this runs on."""
    try:
        artifact = _built(candidate, job)
        return _measure(candidate, artifact, job)
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


def _measure(candidate: Candidate, artifact: Artifact, job: Job) -> Outcome:
    log.info("%s on %s, batch %d: timing", candidate.label, candidate.provider, candidate.batch)
    timing, seen = bench.measure(_pair(candidate, artifact, job), proof.refuse_absent, partial(_seen, candidate, job))
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
    )


def _pair(candidate: Candidate, artifact: Artifact, job: Job) -> bench.Pair:
    samples, logs = job.prepared.evaluation, job.folder / "logs"
    return bench.Pair(
        own=bench.Subject(str(job.folder / artifact.path), candidate.setting, samples),
        other=bench.Subject(str(job.folder / job.prepared.original.path), job.baseline.setting, samples),
        stop=bench.Stop(job.plan.precision, job.plan.confidence, ROUNDS_S, stretch=True),
        seed=int(candidate.id, 16) ^ job.plan.seed,
        machine=job.machine,
        own_log=logs / f"{candidate.id}.log",
        other_log=logs / "baseline.log",
    )


@dataclass(frozen=True)
class _Seen:
    """What the serving process showed after the last round."""

    service: bench.Service
    shown: proof.Shown
    peak_memory_bytes: int
    score: Score


def _seen(candidate: Candidate, job: Job, service: bench.Service) -> _Seen:
    memory = service.peak_memory_bytes()  # first: scoring and proving take memory of their own
    log.info("%s on %s, batch %d: scoring", candidate.label, candidate.provider, candidate.batch)
    score = _score(service.child, candidate, job)
    return _Seen(service, proof.proved(service), memory, score)


def _score(child: Child, candidate: Candidate, job: Job) -> Score:
    """Score a candidate. What the metric says against the original is the user's to mend, so it ends the run."""
    prepared = job.prepared
    reference = prepared.reference.to_json() if prepared.reference else None
    request = {"metric": prepared.metric.name, "options": dict(prepared.metric.options), "reference": reference}
    try:
        answer = child.ask(session.score, request, job.limit_s)
    except DataError as problem:
        if candidate == job.baseline:
            raise
        raise CandidateError("score", str(problem)) from problem
    return Score(prepared.metric, prepared.against, tuple(tuple(row) for row in answer["facts"]))


def shares(parts: Mapping[str, float]) -> dict[str, float]:
    """Each provider's share of the graph's nodes, or of the time."""
    total = sum(parts.values())
    return {name: count / total for name, count in sorted(parts.items())} if total else {}
