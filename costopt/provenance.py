"""What a reader needs to repeat a run, and what tells one run from another.

The id of a run hashes everything that can change a measurement: the model, the data, the seed, the machine and the
versions of what computes. It leaves out the budget and the prices, which only judge.
"""

import hashlib
import json
import platform
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from costopt.records import Machine, ModelSource, Plan

PACKAGES = (
    "costopt",
    "torch",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-ep-openvino",
    "onnxscript",
    "numpy",
)
"""Packages whose version can change a file that is made or a time that is measured."""

_CHUNK_BYTES = 1 << 22


def versions() -> dict[str, str]:
    """Python and the packages that are installed, by name."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def sha256(path: Path) -> str:
    """Digest of a file, or of every file in a folder with its name. Raises OSError."""
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file()):
        if file is not path:
            digest.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def digests(model: Sequence[Path], plan: Plan) -> dict[str, str]:
    """Digests of what goes in: the model's files, its external data among them, and the data.

    A `module:function` has no digest: its words stand for it. Raises OSError when a file can't be read.
    """
    found = {"model_sha256": _together([sha256(file) for file in model])}
    for name, data in (("evaluation", plan.data.evaluation), ("calibration", plan.data.calibration)):
        if data is not None:
            found[f"{name}_sha256" if Path(data).exists() else name] = (
                sha256(Path(data)) if Path(data).exists() else data
            )
    return found


def _together(digests: Sequence[str]) -> str:
    """One file's digest is its own, so that a reader can check it with any tool."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def run_id(source: ModelSource, plan: Plan, inputs: dict[str, str], machine: Machine, tools: dict[str, str]) -> str:
    """`<name of the model file>-<short hash>`."""
    facts = [
        inputs,
        [source.arch, dict(source.arch_args)],
        [plan.metric.name, dict(plan.metric.options)],
        [[one.name, list(one.shape), one.dtype] for one in plan.inputs],
        [plan.seed, plan.opset],
        machine.fingerprint,
        tools,
    ]
    text = json.dumps(facts, sort_keys=True)
    return f"{_plain(Path(source.path).stem)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _plain(name: Iterable[str]) -> str:
    """A name that is safe as a folder's on every system."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)[:40] or "model"
