"""From the user's files to ONNX files: the child's side of loading, exporting and compressing.

`prepare` is done once a run: read the model and the data, export the original, and hold the export against it.
`build` is done once a recipe: torch-side methods work on the model as modules, then comes the export, then ONNX-side
methods work on files. Both run in a `worker.Child`; torch is imported there and only there.

    prepare ─▶ artifacts/<id of the empty recipe>/model.onnx, data/, and a `Prepared`
    build   ─▶ artifacts/<id of the recipe>/model.onnx, and modules.pt2 after the torch side

Work is never done twice: a recipe starts from the longest beginning of it that has a folder already, so that what took
minutes to distil is there for every way of quantising it.
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
from costopt.errors import CandidateError, ModelFileError, NotApplicable
from costopt.graph import artifact, check, copy, describe
from costopt.journal import from_json, stored, to_json
from costopt.methods import Context, Method, Offer, OnnxMethod, TorchMethod
from costopt.metrics import Metric
from costopt.records import Artifact, Candidate, Graph, InputSpec, ModelSource, Parity, Plan, Recipe, Spec
from costopt.sampling.arrays import ArrayFile
from costopt.sampling.matching import TARGET, target_apart
from costopt.sampling.samples import Samples, match, open_source
from costopt.worker import Answer, Request

if TYPE_CHECKING:
    import torch

    from costopt.formats import Loaded, Modules

Arrays = Mapping[str, NDArray[np.generic]]

MODEL = "model.onnx"
"""Each recipe's file has a folder of its own, so that external data can lie beside it under its own name."""

MODULES = "modules.pt2"
"""What the torch side of a recipe gave, beside its ONNX file: longer recipes start from it."""

NO_MODULES = "it works on PyTorch modules, and the model file is ONNX already"

PARITY_SAMPLES = 64
"""Real inputs on which the export is held against the original; the metric is held against it on all of them later."""

PARITY_BATCH = 8


@dataclass(frozen=True, slots=True)
class Prepared:
    """What every candidate starts from. `reference` holds the original's outputs where there are no labels.

    `offers` are what the methods can do for the graph, which only they know: some import torch to say so.
    """

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
    offers: tuple[Offer, ...] = ()

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
    from costopt.loading import load

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
        offers=tuple(_offers(graph, loaded)),
    )
    return {"prepared": to_json(prepared)}


def _notes(loaded: "Loaded") -> tuple[str, ...]:
    from costopt.formats import Modules

    return (loaded.note,) if isinstance(loaded, Modules) and loaded.note else ()


def _offers(graph: Graph, loaded: "Loaded") -> Iterator[Offer]:
    """What each method can do for the model."""
    from costopt.formats import OnnxFile

    for name in plugins.names("methods"):
        method = plugins.find("methods", name, Method)
        why = plugins.make("methods", Spec(name), Method).unsuitable(graph)
        on_modules = issubclass(method, TorchMethod)
        if on_modules and isinstance(loaded, OnnxFile):
            why = NO_MODULES
        alone = method.alone and method.knob is None
        yield Offer(name, method.automatic, method.knob, alone, method.exact, on_modules, why)


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

    return parity(loaded, file, _parity_batches(evaluation, graph))


def _parity_batches(evaluation: Samples, graph: Graph) -> Iterator[Arrays]:
    return (batch for batch, _ in _whole_batches(evaluation, graph, PARITY_SAMPLES))


def inputs_of(
    names: tuple[str, ...], arrays: tuple[ArrayFile, ...], told: tuple[InputSpec, ...]
) -> tuple[InputSpec, ...]:
    """The inputs of a model that describes only their names: as the budget file tells, else as the data look.

    An input is matched by name, else by position. What only the budget file can know (that a second axis varies) is
    taken as fixed. Raises ModelFileError with the YAML to add when the data can't tell.
    """
    by_name = {one.name: one for one in told}
    names = (*names, *(name for name in by_name if name not in names))  # an argument with a default, asked for by name
    if not arrays and not set(names) <= set(by_name):
        raise ModelFileError(
            f"the model takes {', '.join(names)}, and its file does not say of which shape and type: give real inputs "
            "with --inputs evaluation.npz"
        )
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
    recipe = from_json(Recipe, request["recipe"])
    order = _Order(source, plan, from_json(Prepared, request["prepared"]), Path(request["run"]))
    torch_side, onnx_side = split(recipe)
    for steps, method in enumerate(torch_side, start=1):
        needed = steps == len(torch_side) or method.teaches  # later steps learn from what it gave, as it is stored
        if needed and artifact_of(recipe[:steps], order.run) is None:
            _torch_side(recipe[:steps], order)
    if onnx_side:
        _onnx_side(recipe, len(torch_side), order)
    return {}


@dataclass(frozen=True, slots=True)
class _Order:
    """What all recipes of a run are made from, and where."""

    source: ModelSource
    plan: Plan
    prepared: Prepared
    run: Path

    @property
    def example(self) -> Arrays:
        """One small real batch, for tracing."""
        return next(self.prepared.evaluation.batches(_batch(self.prepared.graph, 2)))


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


def _torch_side(recipe: Recipe, order: _Order) -> None:
    """Publish the file of a recipe of torch-side methods, and the modules beside it for recipes that begin alike."""
    import torch

    from costopt import export
    from costopt.formats import Modules
    from costopt.parity import parity

    done, modules = _furthest(recipe, order)
    graph, prepared, kept = modules.module, order.prepared, order.run / "checkpoints"
    assert isinstance(graph, torch.fx.GraphModule)
    for step in range(done, len(recipe)):
        method = plugins.make("methods", recipe[step], TorchMethod)
        graph = method(graph, _context(recipe[: step + 1], modules.input_names, order))
    with _published(recipe, order.run) as scratch:
        changed = Modules(graph, modules.input_names)
        program = export.program_of(changed, prepared.graph.inputs, order.example)
        export.export_original(program, prepared.graph.inputs, order.example, scratch / MODEL, order.plan.opset)
        check(scratch / MODEL)
        parity(changed, scratch / MODEL, _parity_batches(prepared.evaluation, prepared.graph))
        _refuse_unchanged(scratch, prepared)
        torch.export.save(program.program, scratch / MODULES)
    shutil.rmtree(kept, ignore_errors=True)


def _furthest(recipe: Recipe, order: _Order) -> tuple[int, "Modules"]:
    """How many steps of the recipe need not be taken again, and what they gave; the original when all must be."""
    for steps in range(len(recipe) - 1, 0, -1):
        stored = _stored(recipe[:steps], order)
        if stored is not None:
            return steps, stored
    return 0, _original(order)


def _stored(recipe: Recipe, order: _Order) -> "Modules | None":
    """What the torch side of a recipe gave, if it was made already."""
    from costopt.formats import Program
    from costopt.loading import load
    from costopt.loading.modules import modules_of

    file = folder_of(recipe, order.run) / MODULES
    if not file.is_file():
        return None
    _, loaded = load.load(ModelSource(str(file)))
    assert isinstance(loaded, Program)
    return modules_of(loaded)


def _original(order: _Order) -> "Modules":
    """The model as it was loaded, as an `fx.GraphModule`: the one form that all methods know."""
    from costopt import export
    from costopt.formats import OnnxFile
    from costopt.loading import load
    from costopt.loading.modules import modules_of

    _, loaded = load.load(order.source)
    if isinstance(loaded, OnnxFile):
        raise NotApplicable(NO_MODULES)
    return modules_of(export.program_of(loaded, order.prepared.graph.inputs, order.example))


def _context(steps: Recipe, input_names: tuple[str, ...], order: _Order) -> Context:
    import torch

    def original() -> "torch.fx.GraphModule":
        module = _teacher(steps[:-1], order).module
        assert isinstance(module, torch.fx.GraphModule)
        return module

    folder = order.run / "checkpoints" / Candidate(steps, "", 0, 0).recipe_id
    return Context(order.prepared.calibration, input_names, original, order.plan.seed, folder, _labels(order))


def _teacher(before: Recipe, order: _Order) -> "Modules":
    """What a step learns from: what the last step before it that teaches gave, or the original."""
    for steps in range(len(before), 0, -1):
        if plugins.make("methods", before[steps - 1], TorchMethod).teaches:
            stored = _stored(before[:steps], order)
            assert stored is not None
            return stored
    return _original(order)


def _labels(order: _Order) -> NDArray[np.generic] | None:
    """The labels of the calibration data. Those of the evaluation data are never learned from: they are the judge."""
    calibration = order.prepared.calibration
    if order.plan.data.calibration is None or calibration.target is None:
        return None
    return calibration.targets(0, calibration.samples)[TARGET]


def _onnx_side(recipe: Recipe, torch_steps: int, order: _Order) -> None:
    """Publish the file of a recipe that ends in ONNX-side methods, from the longest beginning that is there."""
    done = next(
        steps
        for steps in range(len(recipe) - 1, torch_steps - 1, -1)
        if steps == torch_steps or artifact_of(recipe[:steps], order.run) is not None
    )
    there = artifact_of(recipe[:done], order.run)
    assert there is not None
    source = order.run / there.path
    with _published(recipe, order.run) as scratch:
        for step, spec in enumerate(recipe[done:]):
            target = scratch / f"step{step}" / MODEL
            target.parent.mkdir()
            plugins.make("methods", spec, OnnxMethod)(source, target, order.prepared.calibration)
            source = target
        for file in source.parent.iterdir():
            file.replace(scratch / file.name)
        check(scratch / MODEL)
        _refuse_unchanged(scratch, order.prepared)


def _refuse_unchanged(scratch: Path, prepared: Prepared) -> None:
    if artifact(scratch / MODEL, scratch).sha256 == prepared.original.sha256:
        raise NotApplicable("the file is the original's, byte for byte: there was nothing to change")


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
