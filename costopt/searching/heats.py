"""The candidates of a run, on their way through the runner: what is still to do, in which order, until when.

Each outcome is on disk before the next candidate starts; what is there already is not measured again; when the time is
up, what is left is reported as not measured. Under `recipes: auto` the next candidate is named by what is known so far
(`explore`), so the order and the reasons are written down as they arise.
"""

import datetime
import logging
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from costopt import plugins, units
from costopt.errors import CostoptError
from costopt.journal import Journal
from costopt.judging import choose
from costopt.pipeline import Job, evaluate
from costopt.records import Candidate, Entry, Failed, Invalid, Measured, Outcome, Score, Skipped, Spec
from costopt.runners import Runner
from costopt.searching.explore import Step, next_step
from costopt.searching.tries import Tries
from costopt.verdict import Report, Row

log = logging.getLogger("costopt")


class Watcher(Protocol):
    """Somebody who looks on: the progress bar, or nobody."""

    def planned(self, total: int | None, done: int) -> None:
        """There are `total` candidates (None: nobody knows yet); `done` of them are known from before."""

    def arrived(self, who: str, fate: str, best: str) -> None:
        """One more is known: who it is, what became of it, and the best so far, in a few words each."""


@dataclass
class Blind:
    """Nobody looks on."""

    def planned(self, total: int | None, done: int) -> None:
        """Not looked at."""

    def arrived(self, who: str, fate: str, best: str) -> None:
        """Not looked at."""


# ---------------------------------------------------------------------------------------- measuring


class Heats:
    """A run being measured."""

    def __init__(self, job: Job, tries: Tries, journal: Journal, watcher: Watcher) -> None:
        self._job = job
        self._tries = tries
        self._journal = journal
        self._watcher = watcher
        self._known: set[str] = set()
        self._broken: dict[str, Outcome] = {}
        self._stays_disturbed = False

    def measure(self, deadline: float) -> None:
        """Measure what is not known yet, until `deadline` (of time.monotonic); once more what a disturbed machine
        spoilt.

        Raises CostoptError when the original can't be measured: without it there is nothing to hold a candidate
        against.
        """
        self._settle()
        listed = {one.id for one in self._journal.run().candidates} - {one.candidate.id for one in self._tries.settled}
        self._watcher.planned(None if self._tries.space else len(listed), len(listed & self._trustworthy()))
        self._go_through(deadline)
        if time.monotonic() < deadline and not self._all_known():
            log.info("measuring again what a disturbed machine spoilt")
            self._go_through(deadline)

    def report(self) -> Report:
        """What follows from what is known so far."""
        journal, plan = self._journal, self._job.plan
        return choose.judge(journal.run(), journal.outcomes(), plan, datetime.date.today(), journal.quote(plan))

    def _settle(self) -> None:
        known = {one.candidate.id for one in self._journal.outcomes()}
        for outcome in self._tries.settled:
            if outcome.candidate.id not in known:
                self._journal.append(outcome)

    def _all_known(self) -> bool:
        return {one.id for one in self._journal.run().candidates} <= self._trustworthy()

    def _go_through(self, deadline: float) -> None:
        self._known = self._trustworthy()
        runner = plugins.make("runners", Spec("here"), Runner)
        for outcome in runner(partial(evaluate, job=self._job), self._entries(deadline)):
            self._arrived(outcome)
            if outcome.candidate == self._tries.baseline:
                _need(outcome)

    def _entries(self, deadline: float) -> Iterator[Entry]:
        """What is to be measured, the original first: what was listed, then what the search names."""
        run = self._journal.run()
        for candidate in run.candidates:
            if candidate.id in self._known:
                continue
            broken = self._broken.get(candidate.recipe_id)
            if broken is not None:  # a file that can't be made can't be made for another provider either
                self._arrived(replace(broken, candidate=candidate))
            elif candidate == self._tries.baseline or time.monotonic() < deadline:
                yield self._entry(candidate, run.reasons.get(candidate.id, ""))
            else:
                log.info("the time limit was reached; the same command goes on")
        yield from self._searched(deadline)

    def _searched(self, deadline: float) -> Iterator[Entry]:
        """One step of the search after the other; each is in the run's record before it is measured."""
        while self._tries.space is not None:
            step = next_step(self._tries.space, self._job.plan, self.report(), deadline - time.monotonic())
            run = self._journal.run()
            if step is None or time.monotonic() > deadline:
                more = next_step(self._tries.space, self._job.plan, self.report(), math.inf)
                self._journal.write_run(replace(run, ended=_ending(step or more)))
                return
            reasons = {**run.reasons, step.candidate.id: step.why}
            self._journal.write_run(replace(run, candidates=(*run.candidates, step.candidate), reasons=reasons))
            entry = Entry(step.candidate, step.why) if step.whole else self._entry(step.candidate, step.why)
            yield entry
            yield from self._once_more(entry, deadline)

    def _once_more(self, entry: Entry, deadline: float) -> Iterator[Entry]:
        """A step that a disturbed machine spoilt, at once, for the next one follows from it.

        As long as that did not help, nothing else is tried twice: the machine may stay disturbed.
        """
        spoilt = self._spoilt(entry.candidate)
        if spoilt and not self._stays_disturbed and time.monotonic() < deadline:
            yield entry
            spoilt = self._spoilt(entry.candidate)
        self._stays_disturbed = spoilt

    def _spoilt(self, candidate: Candidate) -> bool:
        latest = next((one for one in reversed(self._journal.outcomes()) if one.candidate == candidate), None)
        return isinstance(latest, Invalid) and latest.again

    def _entry(self, candidate: Candidate, why: str) -> Entry:
        """Under `recipes: auto` a candidate may be dropped as soon as it can't win; listed ones are all measured."""
        if self._tries.space is None or not self._job.plan.race or candidate == self._tries.baseline:
            return Entry(candidate, why)
        report = self.report()
        winner = report.row(report.winner) if report.winner else None
        to_beat = winner.speedup.low if winner and winner.speedup and self._job.plan.objective == "cost" else None
        outcomes = {one.candidate.id: one for one in self._journal.outcomes()}
        original = outcomes[self._tries.baseline.id]
        facts = original.score.values if isinstance(original, Measured) else None
        return Entry(candidate, why, to_beat, facts, _scored_elsewhere(candidate, outcomes.values()))

    def _arrived(self, outcome: Outcome) -> None:
        self._journal.append(outcome)
        self._known.add(outcome.candidate.id)
        if never_built(outcome):
            self._broken[outcome.candidate.recipe_id] = outcome
        candidate = outcome.candidate
        who = f"{candidate.label} on {candidate.provider}, batch {candidate.batch}"
        self._watcher.arrived(who, _fate(outcome), _best(self.report()))

    def _trustworthy(self) -> set[str]:
        """What need not be measured again.

        All but those whom a disturbed machine spoilt, those measured roughly who may win after all (the budget was
        another one then), and an original that failed: that may have been the machine's fault too, and without it there
        is no run.
        """
        report = self.report()
        return {
            one.candidate.id
            for one in self._journal.outcomes()
            if not (isinstance(one, Invalid) and one.again)
            and (one.candidate != self._tries.baseline or isinstance(one, Measured))
            and not (isinstance(one, Measured) and self._needs_more(one, report))
        }

    def _needs_more(self, outcome: Measured, report: Report) -> bool:
        row = report.row(outcome.candidate.id)
        if row.status == "invalid":
            return True
        rough = outcome.timing.stopped == "beaten"
        return rough and (not self._job.plan.race or _may_win(row, report))


def _scored_elsewhere(candidate: Candidate, outcomes: Iterable[Outcome]) -> Score | None:
    """All samples of the same file on the same provider, in another batch or with other threads."""
    for one in outcomes:
        like = replace(one.candidate, batch=candidate.batch, threads=candidate.threads)
        if like == candidate and isinstance(one, Measured) and not (one.score.places or one.score.taken_from):
            return replace(one.score, taken_from=one.candidate.id)
    return None


def _may_win(row: Row, report: Report) -> bool:
    """Whether a candidate can't be ruled out: it misses no limit for certain, and none that meets all is faster for
    certain."""
    winner = report.row(report.winner) if report.winner else None
    if row.meets is False or winner is None or winner.speedup is None or row.speedup is None:
        return row.meets is not False
    return row.speedup.high >= winner.speedup.low


def _ending(step: Step | None) -> str:
    """How the search ended, and what more time might bring."""
    if step is None:
        return "the search tried all that it knows to be worth its time"
    return f"the time limit ended the search; with more time would have come {step.candidate.label}: {step.why}"


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


def _best(report: Report) -> str:
    """The best so far, in a few words for the progress bar."""
    if report.winner is None:
        return "none meets the budget yet"
    row = report.row(report.winner)
    ratio = "" if row.speedup is None else f" {units.ratio(row.speedup.value)}"
    return f"{row.candidate.label} on {row.candidate.provider}{ratio}"
