"""What to try, in which order, and when to stop.

    plan ─▶ candidates ─▶ runner ─▶ outcomes.jsonl        the original comes first: everyone is held against it

`compress` is the whole job. Each outcome is on disk before the next candidate starts; what is there already is not
measured again; when the time is up, what is left is reported as not measured.
"""

import datetime
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from costopt import choose, deliver, load, machine, plugins, provenance, race, tuning, units
from costopt.bench import Subject
from costopt.build import Prepared, artifact_of, prepare, split
from costopt.disk import write_atomically
from costopt.errors import CandidateError, CostoptError, UsageError
from costopt.graph import files as files_of
from costopt.journal import Journal, from_json, stored, to_json
from costopt.methods import Method
from costopt.pipeline import Job, evaluate
from costopt.providers import Provider, clash, installed_builds
from costopt.records import (
    Candidate,
    Failed,
    Graph,
    Invalid,
    Machine,
    Measured,
    ModelSource,
    Outcome,
    Plan,
    Recipe,
    Report,
    Run,
    Skipped,
    Spec,
)
from costopt.runners import Runner
from costopt.worker import Child

log = logging.getLogger("costopt")

PREPARE_LIMIT_S = 1800.0

TUNING_SHARE = 0.4
"""Of the time, for the search of session options and the measurement of what it finds."""

TUNED = "tuned.json"
"""The candidate that tuning found, in the run's folder."""


class Watcher(Protocol):
    """Somebody who looks on: the progress bar, or nobody."""

    def planned(self, total: int, done: int) -> None:
        """There are `total` candidates; `done` of them are known from before."""

    def arrived(self, who: str, fate: str, best: str) -> None:
        """One more is known: who it is, what became of it, and the best so far, in a few words each."""


@dataclass
class Blind:
    """Nobody looks on."""

    def planned(self, total: int, done: int) -> None:
        """Not looked at."""

    def arrived(self, who: str, fate: str, best: str) -> None:
        """Not looked at."""


def compress(source: ModelSource, plan: Plan, out: Path, watcher: Watcher | None = None) -> tuple[Report, Journal]:
    """Measure what the plan asks for, choose, and leave the chosen file ready to deploy.

    Raises UsageError for what the user must mend, CostoptError when the original itself can't be measured.
    """
    began = time.monotonic()
    refuse_early(plan)
    files = _files(source)
    providers, here = found_providers(plan.providers), machine.here()
    inputs, tools = provenance.digests(files, plan), provenance.versions()
    baseline = baseline_of(plan, providers, here)
    journal = Journal(out / provenance.run_id(source, plan, inputs, baseline.id, here, tools))
    with journal.held():
        journal.mend()
        prepared = _prepared(source, plan, journal)
        tries = what_to_try(plan, prepared.graph, providers, here)
        run = _run(source, plan, prepared, tries, here, inputs, tools, journal)
        journal.write_run(run)
        journal.write_plan(plan)
        job = Job(str(journal.folder), source, plan, prepared, tries.baseline, here.fingerprint)
        deadline = began + (1 - TUNING_SHARE if plan.tune else 1.0) * plan.time_limit_s
        _measure_all(job, tries, journal, deadline, watcher or Blind())
        if time.monotonic() < deadline and any(one.id not in _known(job, tries, journal) for one in tries.candidates):
            log.info("measuring again what a disturbed machine spoilt")
            _measure_all(job, tries, journal, deadline, watcher or Blind())
        if plan.tune:
            _tune(job, tries, journal, began + plan.time_limit_s, watcher or Blind())
        report = choose.judge(journal.run(), journal.outcomes(), plan, datetime.date.today())
        deliver.deliver(report, journal)
    return report, journal


def refuse_early(plan: Plan) -> None:
    """Say what can be known to be wrong now, not after minutes of work. Raises UsageError."""
    choose.quote_for(plan)
    for recipe in plan.recipes or ():
        try:
            split(recipe)
        except CandidateError as problem:
            raise UsageError(f"recipes: {problem.reason}") from problem


def _files(source: ModelSource) -> tuple[Path, ...]:
    """The files that the model lies in. Raises ModelFileError for what is no model file, before anything is written."""
    path = Path(source.path)
    if load.recognise(path) != "onnx":
        return (path,)
    load.load(
        source
    )  # a file that is damaged, or whose external data lies where it must not, is refused before it is read
    return files_of(path)


def _prepared(source: ModelSource, plan: Plan, journal: Journal) -> Prepared:
    """The original, exported and compared; kept in the run's folder, so that resuming needs no torch."""
    record = journal.folder / "prepared.json"
    if record.is_file() and artifact_of((), journal.folder) is not None:
        prepared = stored(Prepared, record)
        if prepared.is_there():
            return prepared
    log.info("reading the model and exporting it")
    request = {"source": to_json(source), "plan": to_json(plan), "run": str(journal.folder)}
    try:
        with Child("load", journal.folder / "logs" / "prepare.log") as child:
            answer = child.ask(prepare, request, PREPARE_LIMIT_S)
    except UsageError:
        if not journal.outcomes():
            journal.discard()
        raise
    except CandidateError as problem:
        raise CostoptError(f"the original failed at stage '{problem.stage}': {problem.reason}") from problem
    write_atomically(record, answer["prepared"])
    return from_json(Prepared, answer["prepared"])


# ---------------------------------------------------------------------------------------- what to try


@dataclass(frozen=True)
class Tries:
    """The baseline, what else to measure in order, and what need not be measured, with the reason."""

    baseline: Candidate
    candidates: tuple[Candidate, ...]
    settled: tuple[Outcome, ...] = ()


@dataclass
class _Collected:
    candidates: list[Candidate] = field(default_factory=list)
    settled: list[Outcome] = field(default_factory=list)


Found = tuple[tuple[Spec, str | None], ...]
"""Providers, each with the reason why it can't work here (None when it can)."""


def found_providers(asked: tuple[Spec, ...] | None) -> Found:
    """The providers to use; when none was asked for, every one that can work here.

    Raises UsageError when none of those asked for can.
    """
    specs = asked or tuple(Spec(name) for name in plugins.names("providers"))
    found = tuple((spec, plugins.make("providers", spec, Provider).missing()) for spec in specs)
    if asked is None:
        return tuple((spec, reason) for spec, reason in found if reason is None)
    if all(reason is not None for _, reason in found):
        reasons = "; ".join(f"{spec.name}: {reason}" for spec, reason in found)
        raise UsageError(f"none of the providers can work here ({reasons}). Add cpu, which is always there.")
    return found


def clash_note() -> tuple[str, ...]:
    """That several packages overwrite each other's ONNX Runtime, if they do: providers may be missing for it."""
    found = clash(installed_builds())
    return () if found is None else (f"{found[0]}; {found[1]}",)


def first_provider(providers: Found) -> Spec:
    """The CPU provider, or the first that is here: the baseline's."""
    present = [spec for spec, reason in providers if reason is None]
    return next((spec for spec in present if spec.name == "cpu"), present[0])


def baseline_of(plan: Plan, providers: Found, here: Machine) -> Candidate:
    """The original on the CPU provider (or the first that is here), at the first batch and thread count."""
    return _candidate((), first_provider(providers), plan.batch[0], (plan.threads or (here.cores,))[0])


def _candidate(recipe: Recipe, provider: Spec, batch: int, threads: int) -> Candidate:
    return Candidate(recipe, provider.name, batch, threads, provider.options)


def what_to_try(plan: Plan, graph: Graph, providers: Found, here: Machine) -> Tries:
    """Every recipe on every provider at every batch and thread count, the baseline first.

    The baseline is the original on the CPU provider (or the first one asked for) at the first batch.
    Raises UsageError for a batch that the model does not take.
    """
    present = [spec for spec, reason in providers if reason is None]
    threads = plan.threads or (here.cores,)
    batches = _batches(plan, graph)
    baseline = baseline_of(plan, providers, here)
    found = _Collected([baseline])
    for recipe, reason in _recipes(plan, graph):
        if reason is not None:
            found.settled.append(Skipped(Candidate(recipe, baseline.provider, batches[0], threads[0]), reason))
            continue
        everywhere = [_candidate(recipe, one, size, count) for size in batches for one in present for count in threads]
        found.candidates.extend(one for one in everywhere if one != baseline)
    for spec, reason in providers:
        if reason is not None:
            absent = _candidate((), spec, batches[0], threads[0])
            found.settled.append(Invalid(absent, f"{spec.name} can't work here", reason))
    return Tries(baseline, tuple(found.candidates), tuple(found.settled))


def _batches(plan: Plan, graph: Graph) -> tuple[int, ...]:
    """The batches to measure. Raises UsageError when the model's batch is fixed and another one is asked for."""
    fixed = {one.shape[0] for one in graph.inputs if one.shape and isinstance(one.shape[0], int)}
    if not fixed or set(plan.batch) <= fixed:
        return plan.batch
    only = ", ".join(str(size) for size in sorted(fixed, key=str))
    raise UsageError(
        f"batch: the model takes batches of {only} only, and the budget file asks for "
        f"{', '.join(map(str, plan.batch))}. Write `batch: [{only}]`, or export the model with a dynamic first axis "
        "(torch.export.export(..., dynamic_shapes={name: {0: torch.export.Dim.DYNAMIC}}))."
    )


def _recipes(plan: Plan, graph: Graph) -> Iterator[tuple[Recipe, str | None]]:
    """Recipes to try, each with the reason why it need not be (None when it should); the original comes first."""
    yield (), None
    if plan.recipes is not None:
        yield from ((recipe, None) for recipe in plan.recipes if recipe)
        return
    for name in plugins.names("methods"):
        method = plugins.find("methods", name, Method)
        for options in method.automatic:
            spec = Spec(name, options)
            reason = plugins.make("methods", spec, Method).unsuitable(graph)
            yield (spec,), reason


def _run(
    source: ModelSource,
    plan: Plan,
    prepared: Prepared,
    tries: Tries,
    here: Machine,
    inputs: dict[str, str],
    tools: dict[str, str],
    journal: Journal,
) -> Run:
    return Run(
        id=journal.folder.name,
        model=Path(source.path).name,
        format=prepared.format,
        baseline=tries.baseline.id,
        metric=prepared.metric,
        against=prepared.against,
        machine=here,
        graph=prepared.graph,
        parity=prepared.parity,
        versions=tools,
        inputs=inputs,
        seed=plan.seed,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        candidates=(*tries.candidates, *(one.candidate for one in tries.settled)),
        notes=_notes(plan, prepared, journal),
    )


def _notes(plan: Plan, prepared: Prepared, journal: Journal) -> tuple[str, ...]:
    """What a reader must know about how the run was set up, and what an earlier go at it had to say."""
    notes = [*clash_note(), *prepared.notes]
    if prepared.metric != plan.metric:
        notes.append(
            f"the evaluation data hold no labels, so '{plan.metric.name}' can't be measured: "
            f"'{prepared.metric.name}' compares every candidate with the original instead"
        )
    if plan.data.calibration is None:
        notes.append("no calibration data were given: calibration used the evaluation inputs, which flatters the score")
    if (journal.folder / TUNED).is_file():
        notes.extend(journal.run().notes)
    return tuple(dict.fromkeys(notes))


# ---------------------------------------------------------------------------------------- measuring


def _measure_all(job: Job, tries: Tries, journal: Journal, deadline: float, watcher: Watcher) -> None:
    """Measure what is not known yet; each outcome is on disk before the next candidate starts."""
    known = _known(job, tries, journal)
    for outcome in tries.settled:
        if outcome.candidate.id not in known:
            journal.append(outcome)
    watcher.planned(len(tries.candidates), sum(one.id in known for one in tries.candidates))
    runner = plugins.make("runners", Spec("here"), Runner)
    broken: dict[str, Outcome] = {}

    def arrive(outcome: Outcome) -> None:
        journal.append(outcome)
        candidate = outcome.candidate
        who = f"{candidate.label} on {candidate.provider}, batch {candidate.batch}"
        watcher.arrived(who, _fate(outcome), _best(job, journal))

    def still_to_do() -> Iterator[Candidate]:
        for candidate in tries.candidates:
            if candidate.id in known:
                continue
            if candidate.recipe_id in broken:  # a file that can't be made can't be made for another provider either
                arrive(replace(broken[candidate.recipe_id], candidate=candidate))
            elif candidate == tries.baseline or time.monotonic() < deadline:
                yield candidate
            else:
                log.info("the time limit was reached; the same command goes on")

    for outcome in runner(partial(evaluate, job=job), still_to_do()):
        arrive(outcome)
        if outcome.candidate == tries.baseline:
            _need(outcome)
        if never_built(outcome):
            broken[outcome.candidate.recipe_id] = outcome


def _known(job: Job, tries: Tries, journal: Journal) -> dict[str, Outcome]:
    """What need not be measured again: all but those whom a disturbed machine spoilt, and an original that failed.

    The failure may have been the machine's too, and without the original there is no run.
    """
    outcomes = journal.outcomes()
    rows = choose.judge(journal.run(), outcomes, job.plan, datetime.date.today()).rows
    spoilt = {row.candidate.id for row in rows if row.status == "invalid"}
    return {
        outcome.candidate.id: outcome
        for outcome in outcomes
        if (outcome.candidate != tries.baseline or isinstance(outcome, Measured))
        and not (isinstance(outcome, Measured) and outcome.candidate.id in spoilt)
        and not (isinstance(outcome, Invalid) and outcome.again)
    }


def never_built(outcome: Outcome) -> bool:
    """Whether an outcome says that the recipe's file can't be made, so for no provider, batch or thread count."""
    return isinstance(outcome, Skipped) or (
        isinstance(outcome, Failed) and outcome.stage in ("load", "compress", "export", "check")
    )


def _need(baseline: Outcome) -> None:
    """Without the original there is nothing to hold a candidate against."""
    if isinstance(baseline, Failed):
        raise CostoptError(f"the original itself failed at stage '{baseline.stage}': {baseline.reason}")
    if isinstance(baseline, Invalid):
        raise CostoptError(f"the original itself can't be measured: {baseline.reason}. {baseline.fix}")


def _fate(outcome: Outcome) -> str:
    """What became of a candidate, for the progress bar."""
    if isinstance(outcome, Failed):
        return f"failed at stage '{outcome.stage}': {outcome.reason}"
    if isinstance(outcome, Invalid | Skipped):
        return f"{outcome.status}: {outcome.reason}"
    return "measured"


def _best(job: Job, journal: Journal) -> str:
    """The best so far, in a few words for the progress bar."""
    report = choose.judge(journal.run(), journal.outcomes(), job.plan, datetime.date.today())
    if report.winner is None:
        return "none meets the budget yet"
    row = report.row(report.winner)
    ratio = "" if row.speedup is None else f" {units.ratio(row.speedup.value)}"
    return f"{row.candidate.label} on {row.candidate.provider}{ratio}"


# ---------------------------------------------------------------------------------------- session options


def _tune(job: Job, tries: Tries, journal: Journal, deadline: float, watcher: Watcher) -> None:
    """Search session options for the winner; what is found is one more candidate, measured and scored like the rest."""
    report = choose.judge(journal.run(), journal.outcomes(), job.plan, datetime.date.today())
    record = journal.folder / TUNED
    if not record.is_file():
        if report.winner is None:
            log.info("nothing meets the budget, so there is nothing to tune")
            return
        write_atomically(record, to_json(_tuned(report.row(report.winner).candidate, job, journal, deadline)))
    found = stored(Candidate, record)
    if found.id not in {one.id for one in journal.run().candidates}:
        journal.write_run(replace(journal.run(), candidates=(*journal.run().candidates, found)))
    _measure_all(job, replace(tries, candidates=(*tries.candidates, found)), journal, deadline, watcher)


def _tuned(winner: Candidate, job: Job, journal: Journal, deadline: float) -> Candidate:
    """The winner with the settings that were found; the trail, and a note in the run's record."""
    artifact = artifact_of(winner.recipe, job.folder)
    assert artifact is not None
    subject = Subject(str(job.folder / artifact.path), winner.setting, job.prepared.evaluation)
    seconds = (deadline - time.monotonic()) / 2
    found = race.tuned(subject, job.prepared.graph, machine.cores(), seconds, job.plan.seed, job.folder / "logs")
    write_atomically(job.folder / "tuning.json", to_json(found))
    words = f"{winner.label} on {winner.provider}: {tuning.in_words(found, winner.setting)}; tuning.json has the trail"
    journal.write_run(replace(journal.run(), notes=(*journal.run().notes, words)))
    return replace(winner, threads=found.best.threads, session=found.best.session)
