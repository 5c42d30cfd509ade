"""The story of one candidate: build it, serve it, time it, score it; and what can end it early.

`evaluate` runs where the work is done (here, or on another machine), keeps no state, and gives an `Outcome`: a failure
that can be expected is a record, not an exception.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from costopt import bench, plugins, session
from costopt.build import Prepared, artifact_of, build, folder_of
from costopt.errors import CandidateError, CostoptError, DataError, NotApplicable
from costopt.journal import to_json
from costopt.providers import Provider
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
    Spec,
    Timing,
)
from costopt.worker import Child

log = logging.getLogger("costopt")

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
    logs = job.folder / "logs"
    samples = job.prepared.evaluation
    with Child("bench", logs / f"{candidate.id}.log") as own, Child("bench", logs / "baseline.log") as other:
        baseline = bench.serve(other, str(job.folder / job.prepared.original.path), job.baseline, samples)
        service = bench.serve(own, str(job.folder / artifact.path), candidate, samples)
        unproven = unplaced(candidate, service.nodes)
        if unproven is not None:
            return unproven
        timing = Timing(
            bench.rounds(service, baseline, int(candidate.id, 16) ^ job.plan.seed),
            candidate.batch,
            job.baseline.batch,
            job.machine,
        )
        memory = own.ask(session.peak_memory, {}, bench.SLACK_S)["bytes"]
        log.info("%s on %s, batch %d: scoring", candidate.label, candidate.provider, candidate.batch)
        score = _score(own, candidate, job)
    return Measured(candidate, artifact, timing, score, shares(service.nodes), memory, service.load_s)


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


def shares(nodes: Mapping[str, int]) -> dict[str, float]:
    """Each provider's share of the graph's nodes."""
    total = sum(nodes.values())
    return {name: count / total for name, count in sorted(nodes.items())} if total else {}


def unplaced(candidate: Candidate, nodes: Mapping[str, int]) -> Invalid | None:
    """The verdict on a candidate whose provider took no node: its numbers would be somebody else's."""
    wanted = plugins.make("providers", Spec(candidate.provider), Provider)
    if nodes.get(wanted.runtime_name, 0) > 0:
        return None
    others = ", ".join(sorted(nodes)) or "nobody that ONNX Runtime recorded"
    return Invalid(
        candidate,
        f"{wanted.runtime_name} took none of the {sum(nodes.values())} nodes; {others} did all the work",
        f"leave {candidate.provider} out of `providers`, or choose a recipe whose operators it knows",
    )
