"""Which candidate is explained: by its id, the start of its id, or its label as a report shows it."""

from collections.abc import Sequence

from costopt import plugins
from costopt.errors import UsageError
from costopt.records import Candidate


def named(name: str, candidates: Sequence[Candidate]) -> Candidate:
    """The candidate that a user names: `3f2a...`, `int8_static`, `int8_static on openvino`; the first of equal labels.

    Raises UsageError for a name that none has (it tells the nearest), and for the start of several ids.
    """
    of_label = [one for one in candidates if name in (one.label, in_words(one))]
    of_id = [one for one in candidates if name and one.id.startswith(name)]
    if of_label:
        return of_label[0]
    if len(of_id) == 1:
        return of_id[0]
    if of_id:
        raise UsageError(f"--candidate {name}: begins several ids: {', '.join(one.id for one in of_id)}; write more")
    known = dict.fromkeys(one.label for one in candidates)
    raise UsageError(f"--candidate {name}: the run has no such candidate{plugins.nearest(name, known)}")


def in_words(candidate: Candidate) -> str:
    """`int8_static on openvino`, `the original on cpu`, with its batch where it is not one request a call."""
    label = candidate.label if candidate.recipe else "the original"
    batch = f" in batches of {candidate.batch}" if candidate.batch > 1 else ""
    return f"{label} on {candidate.provider}{batch}"
