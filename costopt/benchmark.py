"""`costopt bench`: the story. Models and settings in, one table out that settles who is faster, and by how much.

    models ─▶ contenders ─▶ scenario, one contender at a time ─▶ outcomes.jsonl ─▶ settle

As in `compress`, each outcome is on the disk before the next contender starts, the same command goes on where it was
ended, and a contender that fails or lies is a line of the table rather than the end of it.
"""

import datetime
import hashlib
import json
import logging
import os
import time
from dataclasses import replace
from pathlib import Path

from costopt import machine, plugins, provenance
from costopt.benching import contenders, settle
from costopt.benching.contenders import Model
from costopt.benching.measurements import Benched, BenchOutcome, BenchPlan, BenchReport, BenchRun, Contender, Unbenched
from costopt.deliver import leave_settings
from costopt.disk import write_atomically
from costopt.errors import CandidateError, CostoptError, Untrue, UsageError
from costopt.journal import BenchJournal, stored, to_json
from costopt.measuring import race, tuning
from costopt.records import Machine, ModelSource
from costopt.scenarios import Scenario, Stage
from costopt.searching.heats import Blind, Watcher
from costopt.searching.tries import Found, clash_note, first_provider, found_providers

log = logging.getLogger("costopt")

TUNING_SHARE = 0.4
"""Of the time, for the search of session options and the fresh measurement of what it finds."""

TUNED = "tuned.json"
"""The contender that tuning found, in the run's folder."""

LEAST_S = 1.0
"""However short the time limit, each contender gets this long: less would show nothing."""


def bench(plan: BenchPlan, out: Path, watcher: Watcher | None = None) -> tuple[BenchReport, BenchJournal]:
    """Measure every contender in the scenario that was asked for, and compare.

    Raises UsageError for what the user must mend, CostoptError when nothing can be measured.
    """
    began = time.monotonic()
    scenario = plugins.make("scenarios", plan.scenario, Scenario)
    sources = [ModelSource(path) for path in plan.models]
    files = contenders.recognised(plan.models, sources)
    providers, here = found_providers(plan.providers), machine.here()
    journal = BenchJournal(out / _run_id(plan, files, providers, here))
    with journal.held():
        journal.mend()
        found = contenders.models(plan, sources, journal.folder)
        run = _run(plan, found, providers, here, journal)
        work = _Bench(plan, run, scenario, found, journal, watcher or Blind())
        share = 1 - TUNING_SHARE if plan.tuned else 1.0
        deadline = began + share * plan.time_limit_s
        _measure_all(work, deadline)
        if time.monotonic() < deadline - LEAST_S and len(_known(work)) < len(work.run.contenders):
            log.info("measuring again what a disturbed machine spoilt")
            _measure_all(work, deadline)
        if plan.tuned:
            _tune(work, began + plan.time_limit_s)
        return settle.judge(journal.run(), journal.outcomes()), journal


def _run_id(plan: BenchPlan, files: tuple[tuple[Path, ...], ...], providers: Found, here: Machine) -> str:
    """`bench-<short hash>` of everything that was asked, the files, the machine and the versions."""
    asked = json.loads(to_json(replace(plan, models=contenders.names(plan.models), inputs=None)))
    facts = [
        asked,
        [[provenance.sha256(file) for file in one] for one in files],
        provenance.digest_of_data(plan.inputs) if plan.inputs else "",
        [[spec.name, dict(spec.options)] for spec, reason in providers if reason is None],
        here.fingerprint,
        provenance.versions(),
    ]
    return f"bench-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:8]}"


def _run(plan: BenchPlan, found: tuple[Model, ...], providers: Found, here: Machine, journal: BenchJournal) -> BenchRun:
    present = [spec for spec, reason in providers if reason is None]
    asked = contenders.contenders(plan, found, present, first_provider(providers), here.cores)
    run = BenchRun(
        id=journal.folder.name,
        scenario=plan.scenario,
        contenders=(*asked, *_tuned_before(journal)),
        feed=contenders.feed(plan, found),
        machine=here,
        versions=provenance.versions(),
        precision=plan.precision,
        confidence=plan.confidence,
        seed=plan.seed,
        pinned=plan.pinned,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        notes=_notes(providers, journal),
        base=_base(journal),
    )
    journal.write_run(run)
    return run


def _base(journal: BenchJournal) -> int:
    """Whom all are held against: whom an earlier go at the same bench chose, if anybody was measured beside it."""
    if not (journal.folder / "bench.json").is_file():
        return 0
    earlier = journal.run()
    beside = {one.beside for one in journal.outcomes() if isinstance(one, Benched)}
    return earlier.base if earlier.baseline.id in beside else 0


def _notes(providers: Found, journal: BenchJournal) -> tuple[str, ...]:
    """Providers that can't work here, and what an earlier go at the same bench had to say."""
    earlier = journal.run().notes if (journal.folder / "bench.json").is_file() else ()
    absent = (f"{spec.name} can't work here: {reason}" for spec, reason in providers if reason is not None)
    return tuple(dict.fromkeys((*clash_note(), *absent, *earlier)))


# ---------------------------------------------------------------------------------------- one after the other


class _Bench:
    """A bench at work."""

    def __init__(
        self,
        plan: BenchPlan,
        run: BenchRun,
        scenario: Scenario,
        found: tuple[Model, ...],
        journal: BenchJournal,
        watcher: Watcher,
    ) -> None:
        self.plan, self.run, self.scenario = plan, run, scenario
        self.models = {model.name: model for model in found}
        self.journal, self.watcher = journal, watcher

    def outcome(self, contender: Contender, seconds: float) -> BenchOutcome:
        """What became of one contender."""
        log.info("%s", settle.who(contender))
        try:
            return replace(self.scenario.measure(self.stage(contender, seconds)), beside=self.run.baseline.id)
        except Untrue as lie:
            return Unbenched(contender, "invalid", lie.reason, fix=lie.fix, again=lie.again)
        except CandidateError as problem:
            return Unbenched(contender, "failed", problem.reason, stage=problem.stage)

    def stage(self, contender: Contender, seconds: float) -> Stage:
        """What the scenario is given."""
        return Stage(
            contender=contender,
            baseline=self.run.baseline,
            samples=self.models[contender.model].samples,
            baseline_samples=self.models[self.run.baseline.model].samples,
            onnx_path=str(self.models[contender.model].path),
            folder=self.journal.folder,
            seconds=seconds,
            precision=self.run.precision,
            confidence=self.run.confidence,
            seed=self.run.seed,
            machine=self.run.machine.fingerprint,
            cpus=_cpus(self.run.machine.cores),
            pinned=self.run.pinned,
        )

    def arrive(self, outcome: BenchOutcome) -> None:
        """Write an outcome down before anything else happens."""
        self.journal.append(outcome)
        fate = "measured" if isinstance(outcome, Benched) else f"{outcome.status}: {outcome.reason}"
        self.watcher.arrived(settle.who(outcome.contender), fate, "")

    def note(self, words: str) -> None:
        """Add what a reader must know."""
        self.run = replace(self.run, notes=(*self.run.notes, words))
        self.journal.write_run(self.run)

    def also(self, contender: Contender) -> None:
        """Add a contender, unless it is among them."""
        if contender.id not in {one.id for one in self.run.contenders}:
            self.run = replace(self.run, contenders=(*self.run.contenders, contender))
            self.journal.write_run(self.run)

    def hold_against(self, base: int) -> None:
        """Make another contender the one that all others are held against."""
        self.run = replace(self.run, base=base)
        self.journal.write_run(self.run)


def _cpus(cores: int) -> tuple[int, ...]:
    """The CPUs that this process may use, as many as count; empty where the system has no affinity."""
    try:
        return tuple(sorted(os.sched_getaffinity(0)))[:cores]
    except AttributeError:  # macOS and Windows
        return ()


def _measure_all(bench: _Bench, deadline: float) -> None:
    """Measure what is not known yet, the time that is left dealt out evenly among those who are left."""
    known = _known(bench)
    everyone = bench.run.contenders
    bench.watcher.planned(len(everyone), sum(one.id in known for one in everyone))
    overhead_s = 0.0
    for position, contender in enumerate(everyone):
        outcome = known.get(contender.id)
        if outcome is None:
            left = sum(one.id not in known for one in everyone[position:])
            begin = time.monotonic()
            seconds = max(LEAST_S, (deadline - begin) / left - overhead_s)
            outcome = bench.outcome(contender, seconds)
            overhead_s = max(0.0, min(time.monotonic() - begin - seconds, overhead_s + 5.0))
            bench.arrive(outcome)
        if position == bench.run.base and not isinstance(outcome, Benched):
            _need_another(bench, position, outcome)


def _known(bench: _Bench) -> dict[str, BenchOutcome]:
    """What need not be measured again: all but those whom a disturbed machine spoilt, or who took turns with another.

    Ratios against different contenders never mix.
    """
    outcomes = bench.journal.outcomes()
    spoilt = {row.contender.id for row in settle.judge(bench.run, outcomes).rows if row.status == "invalid"}
    return {
        one.contender.id: one
        for one in outcomes
        if not (isinstance(one, Benched) and (one.contender.id in spoilt or one.beside != bench.run.baseline.id))
        and not (isinstance(one, Unbenched) and one.again)
    }


def _need_another(bench: _Bench, position: int, outcome: Unbenched) -> None:
    """The one that all are held against can't be measured: the next takes its place."""
    if position + 1 == len(bench.run.contenders):
        more = "" if position == 0 else " (nor can the others)"
        fix = f"; {outcome.fix}" if outcome.fix else ""
        raise CostoptError(f"{settle.who(outcome.contender)} can't be measured{more}: {outcome.reason}{fix}")
    bench.hold_against(position + 1)


# ---------------------------------------------------------------------------------------- session options


def _tuned_before(journal: BenchJournal) -> tuple[Contender, ...]:
    """The contender that an earlier go at the same bench found by tuning, if it came so far."""
    record = journal.folder / TUNED
    return (stored(Contender, record),) if record.is_file() else ()


def _tune(bench: _Bench, deadline: float) -> None:
    """Search session options for the fastest contender; what is found is one more contender, measured afresh."""
    best = settle.fastest(bench.run, bench.journal.outcomes())
    if best is None:
        raise UsageError("--tune needs a contender on ONNX Runtime in the single_stream scenario")
    record = bench.journal.folder / TUNED
    if not record.is_file():
        seconds = (deadline - time.monotonic()) / 2
        subject = bench.stage(best, seconds).subject(best)
        graph, cores = bench.models[best.model].graph, bench.run.machine.cores
        found = race.tuned(subject, graph, cores, seconds, bench.run.seed, bench.journal.folder / "logs")
        write_atomically(bench.journal.folder / "tuning.json", to_json(found))
        bench.note(f"{settle.who(best)}: {tuning.in_words(found, best.setting)}; tuning.json has the trail")
        write_atomically(record, to_json(replace(best, setting=found.best)))
    winner = stored(Contender, record)
    bench.also(winner)
    _measure_all(bench, deadline)
    leave_settings(winner.setting, Path(winner.path).name, bench.journal.folder)
