"""What a reader needs to repeat a run, and what tells one run from another.

The id of a run hashes everything that can change a measurement: the model, the data, the seed, the machine and the
versions of what computes. It leaves out the budget and the prices, which only judge.
"""

import hashlib
import importlib.machinery
import json
import platform
import sys
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path

from costopt.errors import DataError
from costopt.records import Machine, ModelSource, Plan
from costopt.user_code import is_reference

PACKAGES = (
    "costopt",
    "torch",
    "onnx",
    "onnxruntime",
    "onnxruntime-directml",
    "onnxruntime-gpu",
    "onnxruntime-migraphx",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
    "onnxruntime-webgpu",
    "onnxruntime-ep-nv-tensorrt-rtx",
    "onnxruntime-ep-openvino",
    "onnxruntime-ep-webgpu",
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

    For a `module:function` it is the digest of the module's source. Raises DataError for data that can't be read.
    """
    found = {"model_sha256": _together([sha256(file) for file in model])}
    for name, data in (("evaluation", plan.data.evaluation), ("calibration", plan.data.calibration)):
        if data is not None:
            found[f"{name}_sha256"] = digest_of_data(data)
    return found


def digest_of_data(data: str) -> str:
    """Digest of a data file, or of the module that a `module:function` names. Raises DataError."""
    return _of_code(data) if is_reference(data) else _of_data(Path(data))


def _of_data(path: Path) -> str:
    if path.is_dir():
        raise DataError(f"{path} is a folder; name a file in it")
    try:
        return sha256(path)
    except OSError as fault:
        raise DataError(f"{path}: can't be read ({fault.strerror})") from fault


def _of_code(reference: str) -> str:
    """Digest of the module (or of the whole package) that a `module:function` names; its words when it is not found."""
    top = reference.partition(":")[0].partition(".")[0]
    spec = importlib.machinery.PathFinder.find_spec(top, [str(Path.cwd()), *sys.path])
    if spec is None or spec.origin is None:
        return reference
    origin = Path(spec.origin)
    files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
    return _together([sha256(file) for file in files])


def _together(digests: Sequence[str]) -> str:
    """One file's digest is its own, so that a reader can check it with any tool."""
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def run_id(
    source: ModelSource, plan: Plan, inputs: dict[str, str], baseline: str, machine: Machine, tools: dict[str, str]
) -> str:
    """`<name of the model file>-<short hash>`. `baseline` is the id of what all others are timed beside."""
    facts = [
        inputs,
        [source.arch, dict(source.arch_args), _of_code(source.arch) if source.arch else ""],
        [plan.metric.name, dict(plan.metric.options), _of_code(str(plan.metric.options.get("function", "")))],
        [[one.name, list(one.shape), one.dtype] for one in plan.inputs],
        [plan.seed, plan.opset, baseline],
        machine.fingerprint,
        tools,
        *(_of_code(one) for one in _students(plan)),
    ]
    text = json.dumps(facts, sort_keys=True)
    return f"{_plain(Path(source.path).stem)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _students(plan: Plan) -> list[str]:
    """The networks of the user's own that may learn: another one under the same name is another run."""
    options = [spec.options.get("student") for recipe in plan.recipes or () for spec in recipe]
    return sorted({str(one) for one in (plan.student, *options) if one is not None})


def _plain(name: Iterable[str]) -> str:
    """A name that is safe as a folder's on every system."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name)[:40] or "model"
