"""How long a graph takes on this machine: served just as candidates are, in a process of its own.

Graphs are timed one after the other in one process, all of them once and then all of them again, and of the two medians
the lower counts: what disturbs a machine for seconds only ever adds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from costopt.errors import CandidateError, UsageError
from costopt.measuring import session
from costopt.measuring.bench import OPEN_LIMIT_S, SLACK_S, WARM_UP_LIMIT_S, Subject, opening
from costopt.records import Setting, Spec
from costopt.sampling.samples import Samples
from costopt.worker import Child

PASSES = 2
WARM_UP_LEAST_S = 0.02
WARM_UP_MOST_S = 0.3
MEASURED_S = 0.06
LEAST_CALLS = 7

Feed = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Trial:
    """A graph's file, and what goes into one call."""

    name: str
    path: Path
    feed: Feed


def timed(
    trials: Sequence[Trial], provider: Spec, threads: int, folder: Path, tell: Callable[[str], None]
) -> dict[str, float]:
    """Seconds of a call by the trial's name; a graph that the provider can't run is left out.

    `folder` is for logs and inputs. Raises UsageError when none can be run: the provider is not what was meant.
    """
    subjects = {one.name: _subject(one, provider, threads, folder) for one in trials}
    seconds: dict[str, float] = {}
    refused: list[str] = []
    with Child("bench", folder / "trials.log") as child:
        for number in range(PASSES):
            for place, (name, subject) in enumerate(subjects.items()):
                tell(f"{name} ({place + 1 + number * len(subjects)} of {PASSES * len(subjects)})")
                try:
                    taken = _seconds(child, subject)
                except CandidateError as problem:
                    refused.append(f"{name}: {problem}")
                    continue
                seconds[name] = min(taken, seconds.get(name, taken))
    if not seconds:
        raise UsageError(f"nothing runs on {provider.name}: {refused[0]}")
    return seconds


def _subject(trial: Trial, provider: Spec, threads: int, folder: Path) -> Subject:
    """Its inputs as samples on the disk: the first axis of what goes into one call is the batch."""
    samples = Samples.written([trial.feed], folder / f"inputs {trial.path.stem}")
    batch = len(next(iter(trial.feed.values())))
    return Subject(str(trial.path), Setting(provider, batch, threads), samples)


def _seconds(child: Child, subject: Subject) -> float:
    """The median call."""
    child.ask(*opening(subject), OPEN_LIMIT_S)
    warm = {"least_s": WARM_UP_LEAST_S, "most_s": WARM_UP_MOST_S}
    child.ask(session.warm_up, warm, WARM_UP_LIMIT_S)
    answer = child.ask(session.time_calls, {"seconds": MEASURED_S, "least": LEAST_CALLS}, SLACK_S)
    return float(np.median(answer["seconds"]))
