"""The whole job: read the model, try what there is to try, choose, and leave the chosen file ready to deploy.

    plan ─▶ tries ─▶ heats ─▶ outcomes.jsonl ─▶ choose        the original comes first: everyone is held against it

All that is found lies in the run's folder (`journal`), so that the same command goes on where it stopped.
"""

import datetime
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from costopt import deliver, layer_costs, machine, provenance
from costopt.benching.measurements import LayersMeasured, SensitivityReport
from costopt.build import Prepared, artifact_of, prepare, split
from costopt.disk import write_atomically
from costopt.errors import CandidateError, CostoptError, NotApplicable, UsageError
from costopt.graph import files as files_of
from costopt.journal import Journal, from_json, stored, to_json
from costopt.judging import choose
from costopt.loading import load
from costopt.measuring import race, tuning
from costopt.measuring.bench import Subject
from costopt.pipeline import Job
from costopt.records import Candidate, Machine, ModelSource, Plan, Run
from costopt.sampling import made_up
from costopt.searching.heats import Blind, Heats, Watcher
from costopt.searching.tries import Found, Tries, baseline_of, clash_note, found_providers, what_to_try
from costopt.user_code import function_named
from costopt.verdict import Report
from costopt.worker import Child

log = logging.getLogger("costopt")

PREPARE_LIMIT_S = 1800.0

TUNING_SHARE = 0.4
"""Of the time, for the search of session options and the measurement of what it finds."""

TUNED = "tuned.json"
"""The candidate that tuning found, in the run's folder."""


def compress(source: ModelSource, plan: Plan, out: Path, watcher: Watcher | None = None) -> tuple[Report, Journal]:
    """Measure what the plan asks for, choose, and leave the chosen file ready to deploy.

    Raises UsageError for what the user must mend, CostoptError when the original itself can't be measured.
    """
    began = time.monotonic()
    refuse_early(source, plan)
    here = _Here.found(source, plan)
    journal = here.journal(out)
    with journal.held():
        journal.mend()
        journal.count()
        prepared = _prepared(source, plan, journal)
        tries = what_to_try(plan, prepared.graph, prepared.offers, here.providers, here.machine)
        journal.write_run(_run(here, prepared, tries, journal))
        journal.write_plan(plan)
        journal.write_quote(plan, choose.quote_for(plan))
        job = Job(str(journal.folder), source, plan, prepared, tries.baseline, here.machine.fingerprint)
        heats = Heats(job, tries, journal, watcher or Blind())
        heats.measure(began + (1 - TUNING_SHARE if plan.tune else 1.0) * plan.time_limit_s)
        if plan.tune:
            _tune(job, heats, journal, began + plan.time_limit_s)
        report = heats.report()
        deliver.deliver(report, journal)
    return report, journal


def sensitivity(source: ModelSource, plan: Plan, out: Path, samples: int) -> SensitivityReport:
    """Look at the original's layers one by one, on `samples` of the evaluation data; the run's folder is `compress`'s.

    Raises UsageError for what the user must mend, CostoptError when the original can't be looked at.
    """
    from costopt.sensitivity import measure

    here = _Here.found(source, plan)
    journal = here.journal(out)
    with journal.held():
        prepared = _prepared(source, plan, journal)
        request = {"prepared": to_json(prepared), "run": str(journal.folder), "samples": samples}
        try:
            with Child("sensitivity", journal.folder / "logs" / "sensitivity.log") as child:
                answer = child.ask(measure, request, PREPARE_LIMIT_S)
        except (CandidateError, NotApplicable) as problem:
            raise CostoptError(f"{Path(source.path).name}: {problem.reason}") from problem
    measured = from_json(LayersMeasured, answer["layers"])
    return layer_costs.report(measured, Path(source.path).name, here.machine, prepared.metric, prepared.against, plan)


@dataclass(frozen=True)
class _Here:
    """A model and a plan on this machine: what a run's name is made of."""

    source: ModelSource
    plan: Plan
    providers: Found
    machine: Machine
    inputs: dict[str, str]
    tools: dict[str, str]

    @classmethod
    def found(cls, source: ModelSource, plan: Plan) -> "_Here":
        """Raises UsageError for a model or data that can't be read, and when no provider can work here."""
        files, providers = _files(source), found_providers(plan.providers)
        return cls(source, plan, providers, machine.here(), provenance.digests(files, plan), provenance.versions())

    def journal(self, out: Path) -> Journal:
        """The run's folder under `out`."""
        baseline = baseline_of(self.plan, self.providers, self.machine)
        run = provenance.run_id(self.source, self.plan, self.inputs, baseline.id, self.machine, self.tools)
        return Journal(out / run)


def refuse_early(source: ModelSource, plan: Plan) -> None:
    """Say what can be known to be wrong now, not after minutes of work. Raises UsageError, ModelFileError."""
    choose.quote_for(plan)
    if plan.student is not None:
        function_named(plan.student)
        if load.recognise(Path(source.path)) == "onnx":
            words = (
                f"{source.path} is an ONNX file, which can't teach; give the PyTorch model, or leave the student out"
            )
            raise UsageError(f"student {plan.student}: {words}")
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


# ---------------------------------------------------------------------------------------- the run's record


def _run(here: _Here, prepared: Prepared, tries: Tries, journal: Journal) -> Run:
    """What all candidates share; of a search that was interrupted, also what it tried so far and why."""
    earlier = journal.run() if tries.space and journal.has_run() else None
    listed = (*tries.candidates, *(one.candidate for one in tries.settled), *(earlier.candidates if earlier else ()))
    return Run(
        id=journal.folder.name,
        model=Path(here.source.path).name,
        format=prepared.format,
        baseline=tries.baseline.id,
        metric=prepared.metric,
        against=prepared.against,
        machine=here.machine,
        graph=prepared.graph,
        parity=prepared.parity,
        versions=here.tools,
        inputs=here.inputs,
        seed=here.plan.seed,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        candidates=tuple({one.id: one for one in listed}.values()),
        notes=_notes(here.plan, prepared, journal),
        reasons=earlier.reasons if earlier else {},
    )


def _notes(plan: Plan, prepared: Prepared, journal: Journal) -> tuple[str, ...]:
    """What a reader must know about how the run was set up, and what an earlier go at it had to say."""
    notes = [*clash_note(), *prepared.notes]
    if prepared.metric != plan.metric:
        notes.append(
            f"the evaluation data hold no labels, so '{plan.metric.name}' can't be measured: "
            f"'{prepared.metric.name}' compares every candidate with the original instead"
        )
    if plan.data.made_up:
        notes.append(made_up.NOTE)
    if plan.data.calibration is None and plan.recipes != ():
        notes.append("no calibration data were given: calibration used the evaluation inputs, which flatters the score")
    if (journal.folder / TUNED).is_file():
        notes.extend(journal.run().notes)
    return tuple(dict.fromkeys(notes))


# ---------------------------------------------------------------------------------------- session options


def _tune(job: Job, heats: Heats, journal: Journal, deadline: float) -> None:
    """Search session options for the winner; what is found is one more candidate, measured and scored like the rest."""
    report, record = heats.report(), journal.folder / TUNED
    if not record.is_file():
        if report.winner is None:
            log.info("nothing meets the budget, so there is nothing to tune")
            return
        write_atomically(record, to_json(_tuned(report.row(report.winner).candidate, job, journal, deadline)))
    found, run = stored(Candidate, record), journal.run()
    if found not in run.candidates:
        journal.write_run(replace(run, candidates=(*run.candidates, found)))
    heats.measure(deadline)


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
