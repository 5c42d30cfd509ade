"""Which session settings serve a model fastest? What to try next, and when to believe it; nothing here measures.

A coordinate search: from the setting at hand, every setting that differs in one thing is a variant. Variants race
against the best so far: after a few paired rounds those that are surely slower leave, the others are measured on. At
the end of the race the best of those that are *told apart* as faster becomes the new best, and the next race starts
from there. The search ends at a setting that no single change is told to improve, or when its time is up.

A tie keeps what was there: settings that nobody needs are settings that somebody must explain.
"""

import dataclasses
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from costopt.measuring import session_options
from costopt.records import Setting, Value, short_hash
from costopt.verdict import Interval

LOOKS = (6, 12, 24)
"""Rounds after which a race is looked at. Six is where a t-interval (2.6 standard errors at 95 %) has lost most of
what it pays for few rounds; each look doubles what the one before it cost. A judgement."""

End = Literal["kept", "beaten", "slower", "tied", "failed", "time"]
"""How a variant ended: kept as the new best; faster, but another was faster still; surely slower; not told apart from
the best; it did not run; the time was up before it could be told."""


_LEAVES: tuple[End, ...] = ("slower", "failed", "time")
"""Ends that take a variant out of the race at once."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A variant that did not run, with the reason: an expected failure, so a value."""

    reason: str


class Judge(Protocol):
    """Measures a variant against the best so far, in rounds in which the two take turns."""

    def __call__(self, variant: Setting, best: Setting, rounds: int, confidence: float) -> Interval | Broken:
        """How many times faster the variant is, at `confidence`, from the first `rounds` rounds.

        It is asked of the same pair again with more rounds, and may go on from those that it has.
        """


@dataclass(frozen=True, slots=True)
class Variant:
    """A setting one change away, and the change in words."""

    change: str
    setting: Setting


@dataclass(frozen=True, slots=True)
class Tried:
    """One variant in one race. `ratio` is its speed over that of `against`, the best at that time, after `rounds`."""

    change: str
    setting: Setting
    against: Setting
    end: End
    ratio: Interval | None
    rounds: int
    reason: str


@dataclass(frozen=True, slots=True)
class Tuned:
    """The best setting that was found, and all that was tried, in order.

    The ratios of the trail were looked at to choose, so the best of them flatters: whoever reports a speed-up measures
    `best` against the first setting afresh.
    """

    best: Setting
    trail: tuple[Tried, ...]
    stopped: Literal["settled", "time"]


# ---------------------------------------------------------------------------------------- what to try


def variants(best: Setting, cores: int, branches: int) -> tuple[Variant, ...]:
    """Every setting that differs from `best` in one thing worth trying on a CPU with `cores` hardware threads.

    `branches` is how many nodes of the graph may run at once; 1 is a chain, which parallel execution can't help.
    Settings that change results (`denormal_as_zero`) are never tried.
    """
    threads = sorted({1, max(1, cores // 2), cores} - {best.threads})
    changed = [Variant(f"threads={count}", dataclasses.replace(best, threads=count)) for count in threads]
    return (*changed, *(_with(best, change) for change in _session_changes(best, cores, branches)))


def _session_changes(best: Setting, cores: int, branches: int) -> list[dict[str, Value]]:
    now = session_options.settings_of(best.session)
    changes: list[dict[str, Value]] = [{"cpu_arena": not now.cpu_arena}, {"mem_pattern": not now.mem_pattern}]
    levels = ("all", "extended", "basic")
    changes += [{"graph_optimization_level": one} for one in levels if one != now.graph_optimization_level]
    if best.threads > 1:  # a single thread has no pool that could wait or share out work
        changes.append({"intra_op_spinning": not now.intra_op_spinning})
        changes.append({"dynamic_block_base": 0 if now.dynamic_block_base else 4})
    if now.execution_mode == "parallel":
        changes.append({"execution_mode": "sequential", "inter_op_threads": 0, "inter_op_spinning": True})
        changes.append({"inter_op_spinning": not now.inter_op_spinning})
    elif min(branches, cores) > 1:
        changes.append({"execution_mode": "parallel", "inter_op_threads": min(branches, cores)})
    return changes


def _with(best: Setting, change: Mapping[str, Value]) -> Variant:
    setting = dataclasses.replace(best, session=session_options.normal({**best.session, **change}))
    return Variant(", ".join(f"{name}={_word(value)}" for name, value in change.items()), setting)


def _word(value: Value) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# ---------------------------------------------------------------------------------------- the search


def search(
    start: Setting,
    propose: Callable[[Setting], tuple[Variant, ...]],
    judge: Judge,
    *,
    seed: int,
    time_is_up: Callable[[], bool],
    confidence: float = 0.95,
) -> Tuned:
    """From `start`, change one thing after another for as long as a change is told to help.

    When nothing helps, the whole first race changes the setting by mistake in at most (1 - confidence) / 2 of all
    searches: a change is kept on an interval whose error is shared out over the race's variants (Bonferroni), at the
    last look only. Leaving early takes `confidence` alone, for there a mistake costs a chance and no more. The seed
    decides in which order variants are measured. Raises UsageError for a session setting that does not exist.
    """
    order = random.Random(seed)
    best, trail, seen = start, list[Tried](), {_key(start)}
    while True:
        fresh = [variant for variant in propose(best) if _key(variant.setting) not in seen]
        order.shuffle(fresh)
        seen.update(_key(variant.setting) for variant in fresh)
        race = _Race(best, tuple(fresh), judge, time_is_up, confidence)
        winner, tried = race.run()
        trail += tried
        if winner is None:
            stopped: Literal["settled", "time"] = "time" if any(one.end == "time" for one in tried) else "settled"
            return Tuned(best, tuple(trail), stopped)
        best = winner


def _key(setting: Setting) -> str:
    session = session_options.normal(setting.session)
    return short_hash([setting.provider.name, dict(setting.provider.options), setting.batch, setting.threads, session])


@dataclass(frozen=True, slots=True)
class _Race:
    best: Setting
    variants: tuple[Variant, ...]
    judge: Judge
    time_is_up: Callable[[], bool]
    confidence: float

    def run(self) -> tuple[Setting | None, list[Tried]]:
        """The new best, if there is one, and how each variant ended, those that left early first."""
        running, ended = self.variants, list[Tried]()
        for rounds in LOOKS[:-1]:
            looked = [(variant, self._look(variant, rounds, self.confidence)) for variant in running]
            ended += [one for _, one in looked if one.end in _LEAVES]
            running = tuple(variant for variant, one in looked if one.end not in _LEAVES)
        strict = 1 - (1 - self.confidence) / max(1, len(self.variants))
        return self._judged([self._look(variant, LOOKS[-1], strict) for variant in running], ended)

    def _judged(self, last: list[Tried], ended: list[Tried]) -> tuple[Setting | None, list[Tried]]:
        """The one that is surely fastest, by the lower end of its interval, among those told apart as faster."""
        faster = [one for one in last if one.end == "kept"]
        winner = max(faster, key=_surely, default=None)
        beaten = [
            dataclasses.replace(one, end="beaten", reason="faster, but another change came out ahead")
            if one.end == "kept" and one is not winner
            else one
            for one in last
        ]
        return (winner.setting if winner else None), ended + beaten

    def _look(self, variant: Variant, rounds: int, confidence: float) -> Tried:
        if self.time_is_up():
            return self._tried(variant, "time", None, 0, "the time was up")
        ratio = self.judge(variant.setting, self.best, rounds, confidence)
        if isinstance(ratio, Broken):
            return self._tried(variant, "failed", None, rounds, ratio.reason)
        end, reason = _verdict(ratio)
        return self._tried(variant, end, ratio, rounds, reason)

    def _tried(self, variant: Variant, end: End, ratio: Interval | None, rounds: int, reason: str) -> Tried:
        return Tried(variant.change, variant.setting, self.best, end, ratio, rounds, reason)


def _verdict(ratio: Interval) -> tuple[End, str]:
    if ratio.high < 1:
        return "slower", "surely slower"
    if ratio.low > 1:
        return "kept", "told apart as faster"
    return "tied", "not told apart: what was there stays"


def _surely(one: Tried) -> float:
    return one.ratio.low if one.ratio else 0.0


def in_words(found: Tuned, start: Setting) -> str:
    """What the search came to, in a sentence for the report."""
    ends = [one.end for one in found.trail]
    slower = ends.count("slower") + ends.count("beaten")
    counts = ((slower, "slower"), (ends.count("tied"), "no faster"), (ends.count("failed"), "failed"))
    tried = ", ".join(f"{count} {word}" for count, word in (*counts, (ends.count("time"), "without time")) if count)
    changes = ", ".join(one.change for one in found.trail if one.end == "kept")
    result = f"{changes} came out faster" if found.best != start else "the defaults stay"
    return f"session options: {result}" + (f" (others: {tried})" if tried else "")
