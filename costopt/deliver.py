"""What a finished run leaves behind, ready to deploy.

    runs/<id>/chosen/model.onnx             the chosen file, with its external data beside it
                     model.costz            the same, packed, where that halves it: `costopt unpack` gives it back
                     session_options.json   how ONNX Runtime is to serve it: as it was measured
                     serve.py               the same as Python lines to paste
              report.json         the whole report, as `costopt show --format json` prints it
              manifest.json       sha256, recipe, versions, machine, seed: what it takes to trust the file, or repeat it

When nothing meets the budget there is no chosen file, and one that an earlier budget chose is taken away.
"""

import json
import logging
import shutil
from pathlib import Path

from costopt import plugins
from costopt.build import MODEL, artifact_of, folder_of
from costopt.disk import faults, write_atomically
from costopt.errors import CandidateError, UsageError
from costopt.graph import copy
from costopt.journal import Journal
from costopt.measuring import session_options
from costopt.packing import costz
from costopt.records import Artifact, Setting, Spec
from costopt.reports import Render
from costopt.verdict import Report, Row

log = logging.getLogger("costopt")

SETTINGS = "session_options.json"
SNIPPET = "serve.py"
PACKED = "model.costz"

WORTH_PACKING = 0.5
"""Float32 weights as training left them pack to four fifths, which is no reason to keep a second file."""


def deliver(report: Report, journal: Journal) -> None:
    """Write report, chosen file and manifest into the run's folder. Raises CostoptError when the disk is full."""
    render = plugins.make("reports", Spec("json"), Render)
    write_atomically(journal.folder / "report.json", render(report))
    row = report.row(report.winner) if report.winner else None
    artifact = artifact_of(row.candidate.recipe, journal.folder) if row else None
    if row is not None and artifact is None:
        log.warning("the chosen file is not in %s any more: nothing was laid ready", journal.artifacts)
        return
    with faults(journal.folder):
        shutil.rmtree(journal.folder / "chosen", ignore_errors=True)
        (journal.folder / "manifest.json").unlink(missing_ok=True)
    if row is None or artifact is None:
        return
    chosen = journal.folder / "chosen"
    _copy(folder_of(row.candidate.recipe, journal.folder), chosen)
    packed_bytes = _pack(chosen)
    leave_settings(row.candidate.setting, MODEL, chosen)
    manifest = _manifest(report, row, artifact) | {"packed_bytes": packed_bytes}
    write_atomically(journal.folder / "manifest.json", json.dumps(manifest, indent=2) + "\n")


def leave_settings(setting: Setting, model: str, folder: Path) -> None:
    """Write `session_options.json`, and `serve.py`, which opens the file called `model` just so, into a folder.

    Raises CostoptError when the disk is full. Where the provider is not here any more there is nothing to write.
    """
    try:
        texts = {SETTINGS: session_options.to_json(setting), SNIPPET: session_options.snippet(setting, model)}
    except CandidateError as problem:  # a run that is judged on another machine than the one that measured it
        log.warning("no %s was written: %s", SETTINGS, problem.reason)
        return
    for name, text in texts.items():
        write_atomically(folder / name, text)


def _copy(source: Path, target: Path) -> None:
    """Copy a recipe's files whole: a reader sees the folder complete or not at all."""
    scratch = target.with_name(f".{target.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    with faults(target):
        scratch.mkdir()
        copy(source / MODEL, scratch / MODEL)
        scratch.rename(target)


def _pack(chosen: Path) -> int | None:
    """Leave a `.costz` beside the chosen file where that is worth it; its bytes."""
    if costz.likely_share(chosen / MODEL) > WORTH_PACKING:
        return None
    try:
        return costz.pack(chosen / MODEL, chosen / PACKED)
    except UsageError as problem:  # nothing but zeros is left of it: of no use, but what was asked for
        log.warning("no %s was written: %s", PACKED, problem)
        return None


def _manifest(report: Report, row: Row, artifact: Artifact) -> dict[str, object]:
    run = report.run
    return {
        "file": "chosen/model.onnx",
        "sha256": artifact.sha256,
        "size_bytes": artifact.size_bytes,
        "candidate": row.candidate.id,
        "recipe": [{"name": spec.name, "options": dict(spec.options)} for spec in row.candidate.recipe],
        "provider": row.candidate.provider,
        "batch": row.candidate.batch,
        "threads": row.candidate.threads,
        "provider_options": dict(row.candidate.options),
        "session": dict(row.candidate.session),
        "run": run.id,
        "model": run.model,
        "inputs": dict(run.inputs),
        "versions": dict(run.versions),
        "machine": {"cpu": run.machine.cpu, "cores": run.machine.cores, "system": run.machine.system},
        "seed": run.seed,
        "created": run.created,
    }
