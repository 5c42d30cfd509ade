"""From the user's files to ONNX files: the child's side of loading, exporting and compressing.

`prepare` is done once a run: read the model and the data, export the original, and hold the export against it.
`build` is done once a recipe: torch-side methods work on the model as modules, then comes the export, then ONNX-side
methods work on files. Both run in a `worker.Child`; torch is imported there and only there.

    prepare ─▶ artifacts/<id of the empty recipe>/model.onnx, data/, and a `Prepared`
    build   ─▶ artifacts/<id of the recipe>/model.onnx
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from costopt import plugins
from costopt.arrays import ArrayFile
from costopt.errors import CandidateError, ModelFileError, NotApplicable
from costopt.graph import artifact, check, copy, describe
from costopt.journal import from_json, stored, to_json
from costopt.matching import target_apart
from costopt.methods import Method, OnnxMethod, TorchMethod
from costopt.metrics import Metric
from costopt.records import Artifact, Candidate, Graph, InputSpec, ModelSource, Parity, Plan, Recipe, Spec
from costopt.samples import Samples, match, open_source
from costopt.worker import Answer, Request

if TYPE_CHECKING:
    from costopt.formats import Loaded, Modules, Program

Arrays = Mapping[str, NDArray[np.generic]]

MODEL = "model.onnx"
"""Each recipe's file has a folder of its own, so that external data can lie beside it under its own name."""

PARITY_SAMPLES = 64
"""Real inputs on which the export is held against the original; the metric is held against it on all of them later."""

PARITY_BATCH = 8


@dataclass(frozen=True, slots=True)
class Prepared:
    """What every candidate starts from. `reference` holds the original's outputs where there are no labels."""

    format: str
    graph: Graph
    parity: Parity | None
    metric: Spec
    against: Literal["target", "original"]
    original: Artifact
    evaluation: Samples
    calibration: Samples
    reference: Samples | None
    notes: tuple[str, ...] = ()

    def is_there(self) -> bool:
        """Whether the data still lie where they were: a folder that was moved must be prepared again."""
        kinds = (self.evaluation, self.calibration, self.reference)
        inputs = [array for one in kinds if one is not None for given in one.inputs for array in given.parts]
        targets = [one.target for one in kinds if one is not None and one.target is not None]
        return all(Path(array.path).is_file() for array in (*inputs, *targets))


def folder_of(recipe: Recipe, run: Path) -> Path:
    """Where the file of a recipe lies."""
    return run / "artifacts" / Candidate(recipe, "", 0, 0).recipe_id


def artifact_of(recipe: Recipe, run: Path) -> Artifact | None:
    """The file that a recipe has made already."""
    record = folder_of(recipe, run) / "artifact.json"
    return stored(Artifact, record) if record.is_file() else None


# ---------------------------------------------------------------------------------------- once a run


def prepare(request: Request) -> Answer:
    """Read model and data, export the original, compare. Request: source, plan (JSON texts), run (folder).

    Answers prepared: a `Prepared` as JSON text. Raises UsageError for what the user must mend, and
    CandidateError(stage "export") when the export does not compute what the original does.
    """
    source, plan = from_json(ModelSource, request["source"]), from_json(Plan, request["plan"])
    run = Path(request["run"])
    from costopt import load

    name, loaded = load.load(source)
    arrays = open_source(plan.data.evaluation, run / "data" / "evaluation")
    with _published((), run) as scratch:
        file = scratch / MODEL
        export_to(loaded, arrays, plan.inputs, file, plan.opset)
        check(file)
        graph = describe(file)
        evaluation = match(arrays, graph.inputs, "evaluation")
        apart = _parity(loaded, file, evaluation, graph)
    original = artifact_of((), run)
    assert original is not None
    metric, against = effective_metric(plan.metric, evaluation, graph)
    prepared = Prepared(
        format=name,
        graph=graph,
        parity=apart,
        metric=metric,
        against=against,
        original=original,
        evaluation=evaluation,
        calibration=_calibration(plan, graph, evaluation, run),
        reference=_reference(loaded, evaluation, graph, run) if against == "original" else None,
        notes=_notes(loaded),
    )
    return {"prepared": to_json(prepared)}


def _notes(loaded: "Loaded") -> tuple[str, ...]:
    from costopt.formats import Modules

    return (loaded.note,) if isinstance(loaded, Modules) and loaded.note else ()


def export_to(
    loaded: "Loaded", arrays: tuple[ArrayFile, ...], told: tuple[InputSpec, ...], target: Path, opset: int
) -> None:
    """The original as ONNX. Modules carry no shapes of their own: the data, and what the user `told`, give them.

    Raises ModelFileError when they can't tell, CandidateError when the export fails.
    """
    from costopt.formats import Modules, OnnxFile

    if isinstance(loaded, OnnxFile):  # nothing to export, and no need to load torch
        copy(loaded.path, target)
        return
    from costopt import export

    if not isinstance(loaded, Modules):
        export.export_original(loaded, (), {}, target, opset)
        return
    inputs = inputs_of(loaded.input_names, arrays, told)
    samples = match(arrays, inputs, "evaluation")
    export.export_original(loaded, inputs, next(samples.batches(2)), target, opset)


def _parity(loaded: "Loaded", file: Path, evaluation: Samples, graph: Graph) -> Parity | None:
    """How far the export is from the model. A file that was ONNX already was not exported: it is the model."""
    from costopt.formats import OnnxFile

    if isinstance(loaded, OnnxFile):
        return None
    from costopt.parity import parity

    batches = _whole_batches(evaluation, graph, PARITY_SAMPLES)
    return parity(loaded, file, (batch for batch, _ in batches))


def inputs_of(
    names: tuple[str, ...], arrays: tuple[ArrayFile, ...], told: tuple[InputSpec, ...]
) -> tuple[InputSpec, ...]:
    """The inputs of a model that describes only their names: as the budget file tells, else as the data look.

    An input is matched by name, else by position. What only the budget file can know (that a second axis varies) is
    taken as fixed. Raises ModelFileError with the YAML to add when the data can't tell.
    """
    by_name = {one.name: one for one in told}
    names = (*names, *(name for name in by_name if name not in names))  # an argument with a default, asked for by name
    _, inputs = target_apart(arrays, len(names))
    named = {array.name: array for array in inputs}
    if not set(names) <= set(named) | set(by_name) and len(inputs) != len(names):
        raise ModelFileError(
            f"the model takes {', '.join(names)}, and the evaluation data hold {', '.join(named) or 'one array'}: "
            "name the arrays after the inputs, or describe the inputs in the budget file:\n" + _yaml(names, inputs)
        )
    positions = dict(zip(names, inputs, strict=False))
    return tuple(by_name.get(name) or _input_like(name, named.get(name) or positions[name]) for name in names)


def _input_like(name: str, array: ArrayFile) -> InputSpec:
    return InputSpec(name, ("batch", *array.shape[1:]), array.dtype)


def _yaml(names: tuple[str, ...], inputs: list[ArrayFile]) -> str:
    """The `inputs:` block to add, filled in as far as the data tell."""
    shapes = [", ".join(("batch", *map(str, array.shape[1:]))) for array in inputs]
    dtypes = [array.dtype for array in inputs]
    lines = ["inputs:"]
    for position, name in enumerate(names):
        known = position < len(inputs)
        shape, dtype = (shapes[position], dtypes[position]) if known else ("batch, ...", "float32")
        lines.append(f"  {name}: {{shape: [{shape}], dtype: {dtype}}}")
    return "\n".join(lines)


def _batch(graph: Graph, wanted: int) -> int:
    """`wanted`, unless the graph takes batches of one size only."""
    first = graph.inputs[0].shape[0] if graph.inputs and graph.inputs[0].shape else wanted
    return first if isinstance(first, int) else wanted


def _whole_batches(samples: Samples, graph: Graph, limit: int | None = None) -> Iterator[tuple[Arrays, int]]:
    """Batches that the graph takes, each with how many of its rows are samples.

    Where the graph takes batches of one size only, a short last one is filled up with its own rows.
    """
    size = _batch(graph, PARITY_BATCH)
    fixed = _batch(graph, 0) != 0
    for batch in samples.batches(size, limit):
        count = len(next(iter(batch.values())))
        rows = np.arange(size if fixed else count) % count
        yield {name: array[rows] for name, array in batch.items()}, count


def _calibration(plan: Plan, graph: Graph, evaluation: Samples, run: Path) -> Samples:
    """Calibration inputs; where none are given, the evaluation's inputs, which need no labels either."""
    if plan.data.calibration is None:
        return evaluation
    return match(open_source(plan.data.calibration, run / "data" / "calibration"), graph.inputs, "calibration")


def _reference(loaded: "Loaded", evaluation: Samples, graph: Graph, run: Path) -> Samples:
    """The original's outputs on every evaluation sample, written batch by batch."""
    from costopt.parity import reference_outputs

    names = tuple(output.name for output in graph.outputs)
    counts = []

    def inputs() -> Iterator[Arrays]:
        for batch, count in _whole_batches(evaluation, graph):
            counts.append(count)
            yield batch

    outputs = reference_outputs(loaded, inputs(), names)
    cut = ({name: array[: counts[-1]] for name, array in one.items()} for one in outputs)
    return Samples.written(cut, run / "data" / "reference")


def effective_metric(wanted: Spec, data: Samples, graph: Graph) -> tuple[Spec, Literal["target", "original"]]:
    """The metric that the data allow: without labels, agreement with the original takes the place of accuracy.

    Class scores are compared by the class that wins, everything else by cosine.
    """
    metric = plugins.make("metrics", wanted, Metric)
    if metric.of_the_original:
        return wanted, "original"
    if data.target is not None:
        return wanted, "target"
    if not metric.needs_labels:
        return wanted, "original"
    shape = graph.outputs[0].shape
    scores = len(shape) == 2 and shape[1] != 1 and graph.outputs[0].dtype.startswith("float")
    return Spec("agreement" if scores else "cosine"), "original"


# ---------------------------------------------------------------------------------------- once a recipe


def build(request: Request) -> Answer:
    """Make the file of a recipe. Request: source, plan, prepared, recipe (JSON texts), run (folder).

    Raises NotApplicable when the recipe changes nothing, CandidateError when it does not suit the model.
    """
    source, plan = from_json(ModelSource, request["source"]), from_json(Plan, request["plan"])
    prepared, run = from_json(Prepared, request["prepared"]), Path(request["run"])
    recipe = from_json(Recipe, request["recipe"])
    with _published(recipe, run) as scratch:
        original = run / prepared.original.path
        torch_side, onnx_side = split(recipe)
        start = _torch_side(torch_side, source, plan, prepared, scratch) if torch_side else original
        _onnx_side(onnx_side, start, prepared.calibration, scratch)
        check(scratch / MODEL)
        if artifact(scratch / MODEL, scratch).sha256 == prepared.original.sha256:
            raise NotApplicable("the file is the original's, byte for byte: there was nothing to change")
    return {}


def split(recipe: Recipe) -> tuple[tuple[TorchMethod, ...], tuple[OnnxMethod, ...]]:
    """The methods of a recipe, those that work on modules first.

    Raises CandidateError when a torch-side method comes after an ONNX-side one: no way leads back.
    """
    methods = [plugins.make("methods", spec, Method) for spec in recipe]
    torch_side = tuple(method for method in methods if isinstance(method, TorchMethod))
    onnx_side = tuple(method for method in methods if isinstance(method, OnnxMethod))
    if list(methods) != [*torch_side, *onnx_side]:
        names = " + ".join(spec.name for spec in recipe)
        raise CandidateError("compress", f"{names}: methods on PyTorch modules must come before those on ONNX files")
    return torch_side, onnx_side


def _torch_side(
    methods: tuple[TorchMethod, ...], source: ModelSource, plan: Plan, prepared: Prepared, scratch: Path
) -> Path:
    from costopt import export, load
    from costopt.formats import Modules, OnnxFile
    from costopt.modules import modules_of
    from costopt.parity import parity

    _, loaded = load.load(source)
    if isinstance(loaded, OnnxFile):
        raise NotApplicable("it works on PyTorch modules, and the model file is ONNX already")
    example = next(prepared.evaluation.batches(_batch(prepared.graph, 2)))
    modules = modules_of(_traced(loaded, prepared, example))
    module = modules.module
    for method in methods:
        module = method(module, prepared.calibration)
    target = scratch / "exported" / MODEL
    target.parent.mkdir()
    changed = Modules(module, modules.input_names)
    export.export_original(changed, prepared.graph.inputs, example, target, plan.opset)
    check(target)
    batches = _whole_batches(prepared.evaluation, prepared.graph, PARITY_SAMPLES)
    parity(changed, target, (batch for batch, _ in batches))
    return target


def _traced(loaded: "Program | Modules", prepared: Prepared, example: Arrays) -> "Program | Modules":
    """TorchScript shows its layers only once it is traced; everything else shows them as it is."""
    import torch

    from costopt.export import program_of
    from costopt.formats import Modules

    if isinstance(loaded, Modules) and isinstance(loaded.module, torch.jit.ScriptModule):
        return program_of(loaded, prepared.graph.inputs, example)
    return loaded


def _onnx_side(methods: tuple[OnnxMethod, ...], source: Path, calibration: Samples, scratch: Path) -> None:
    """One method after the other, each into a folder of its own; the last one's files stay."""
    for step, method in enumerate(methods):
        target = scratch / f"step{step}" / MODEL
        target.parent.mkdir()
        method(source, target, calibration)
        source = target
    for file in source.parent.iterdir():
        file.replace(scratch / file.name)


@contextmanager
def _published(recipe: Recipe, run: Path) -> Iterator[Path]:
    """A scratch folder that becomes the recipe's folder at the end, in one step, or vanishes."""
    folder = folder_of(recipe, run)
    scratch = folder.with_name(f".{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        for part in scratch.iterdir():
            if part.is_dir():
                shutil.rmtree(part)
        made = artifact(scratch / MODEL, scratch)
        stored = Artifact(str((folder / MODEL).relative_to(run)), made.size_bytes, made.sha256)
        (scratch / "artifact.json").write_text(to_json(stored), encoding="utf-8")
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
