"""Who is to be measured: every model in every setting that was asked for, the one that all are held against first.

A model that is not ONNX yet is exported into the run's folder, in a child; one that is, is measured where it lies.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from costopt.benching.measurements import BenchPlan, Contender, Feed
from costopt.build import MODEL, export_to
from costopt.errors import CandidateError, CostoptError, UsageError
from costopt.graph import artifact, check, describe
from costopt.graph import files as files_of
from costopt.journal import from_json, to_json
from costopt.loading import load
from costopt.records import Graph, ModelSource, Setting, Spec
from costopt.sampling import made_up
from costopt.sampling.samples import Samples, match, open_source
from costopt.worker import Answer, Child, Request

EXPORT_LIMIT_S = 1800.0

OPSET = 20
"""What models that are not ONNX yet are exported to: the default of a budget file too."""


@dataclass(frozen=True)
class Model:
    """One model of a bench, as ONNX, with the inputs that it is fed. `source` is the file that the user named."""

    name: str
    source: ModelSource
    path: Path
    sha256: str
    size_bytes: int
    graph: Graph
    samples: Samples

    @property
    def batches(self) -> frozenset[int]:
        """The batch sizes that the graph takes; empty when it takes any."""
        return frozenset(one.shape[0] for one in self.graph.inputs if one.shape and isinstance(one.shape[0], int))


def recognised(paths: Sequence[str], sources: Sequence[ModelSource]) -> tuple[tuple[Path, ...], ...]:
    """The files of each model. Raises ModelFileError for what is no model file, before anything is written."""
    return tuple(_files(Path(path), source) for path, source in zip(paths, sources, strict=True))


def _files(path: Path, source: ModelSource) -> tuple[Path, ...]:
    if load.recognise(path) != "onnx":
        return (path,)
    load.load(source)  # a damaged file, or one whose external data lies where it must not, is refused before it is read
    return files_of(path)


def names(paths: Sequence[str]) -> tuple[str, ...]:
    """What reports call the models: the file's name, with as many folders before it as tell it from the others.

    Raises UsageError when a file is named twice.
    """
    parts = [Path(path).absolute().parts for path in paths]
    for position, one in enumerate(parts):
        if one in parts[:position]:
            raise UsageError(f"{paths[position]} is named twice; name each model once")
    for depth in range(1, max(map(len, parts)) + 1):
        short = tuple("/".join(one[-depth:]) for one in parts)
        if len(set(short)) == len(short):
            return short
    raise CostoptError(f"can't tell the models apart: {', '.join(paths)}")


def models(plan: BenchPlan, sources: Sequence[ModelSource], folder: Path) -> tuple[Model, ...]:
    """Every model as ONNX, with its inputs. Raises UsageError for what the user must mend."""
    found = []
    for name, source in zip(names(plan.models), sources, strict=True):
        path = _as_onnx(source, plan, folder)
        graph, made = describe(path), artifact(path, path.parent)
        samples = _samples(plan, graph, folder / "data" / made.sha256[:8])
        found.append(Model(name, source, path.absolute(), made.sha256, made.size_bytes, graph, samples))
    return tuple(found)


def _as_onnx(source: ModelSource, plan: BenchPlan, folder: Path) -> Path:
    if load.recognise(Path(source.path)) == "onnx":
        return Path(source.path)
    target = folder / "artifacts" / names(plan.models)[plan.models.index(source.path)].replace("/", "-") / MODEL
    if not target.is_file():
        request = {"source": to_json(source), "inputs": plan.inputs, "target": str(target), "folder": str(folder)}
        try:
            with Child("export", folder / "logs" / "export.log") as child:
                child.ask(export, request, EXPORT_LIMIT_S)
        except CandidateError as problem:
            raise CostoptError(f"{source.path} can't be exported to ONNX: {problem.reason}") from problem
    return target


def export(request: Request) -> Answer:
    """The child's side. Request: source (JSON), inputs (a data file or None), target, folder."""
    source, target, folder = from_json(ModelSource, request["source"]), Path(request["target"]), Path(request["folder"])
    arrays = open_source(request["inputs"], folder / "data" / "export") if request["inputs"] else ()
    _, loaded = load.load(source)
    scratch = target.with_name(f".{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    export_to(loaded, arrays, (), scratch, OPSET)
    check(scratch)
    scratch.rename(target)
    return {}


def _samples(plan: BenchPlan, graph: Graph, scratch: Path) -> Samples:
    if plan.inputs is None:
        return made_up.samples(graph.inputs, plan.dimensions, max(plan.batch), plan.seed, scratch)
    return match(open_source(plan.inputs, scratch), graph.inputs, "input")


def feed(plan: BenchPlan, found: Sequence[Model]) -> Feed:
    """What the inputs are, in words."""
    if plan.inputs is None:
        return Feed(f"{found[0].samples.samples} random inputs", random=True)
    return Feed(f"{found[0].samples.samples} inputs of {Path(plan.inputs).name}", random=False)


# ---------------------------------------------------------------------------------------- in which settings


def contenders(
    plan: BenchPlan, found: Sequence[Model], providers: Sequence[Spec], first: Spec, cores: int
) -> tuple[Contender, ...]:
    """Every model on every provider at every batch and thread count; the first model on `first` comes first.

    Raises UsageError when a model takes none of the batches.
    """
    threads = _threads(plan, cores)
    settings = [
        (model, Setting(provider, batch, count))
        for model in found
        for batch in _batches(model, plan)
        for provider in sorted(providers, key=lambda one: one != first)
        for count in threads
    ]
    return (
        *(_contender(model, setting) for model, setting in settings),
        *(_references(found, plan, threads) if plan.references else ()),
    )


def _threads(plan: BenchPlan, cores: int) -> tuple[int, ...]:
    """The thread counts; offline finds its own, so one contender stands for all of them."""
    return (cores,) if plan.scenario.name == "offline" else plan.threads or (cores,)


def _contender(model: Model, setting: Setting) -> Contender:
    return Contender(model.name, str(model.path), model.sha256, model.size_bytes, setting)


def _batches(model: Model, plan: BenchPlan) -> tuple[int, ...]:
    if not model.batches:  # a server finds its own, so one contender stands for all of them
        return plan.batch[:1] if plan.scenario.name == "server" else plan.batch
    taken = tuple(size for size in plan.batch if {size} == model.batches)
    if taken:
        return taken
    only, asked = ", ".join(map(str, sorted(model.batches))), ", ".join(map(str, plan.batch))
    raise UsageError(f"{model.name} takes batches of {only} only, and --batch asks for {asked}; write --batch {only}")


def _references(found: Sequence[Model], plan: BenchPlan, threads: Sequence[int]) -> Iterator[Contender]:
    """The same models in PyTorch itself. Raises UsageError for a model that is ONNX already."""
    for model in found:
        if load.recognise(Path(model.source.path)) == "onnx":
            raise UsageError(
                f"--reference torch: {model.name} is an ONNX file, which PyTorch can't run; give the .pt2 file"
            )
        for batch in _batches(model, plan):
            for count in threads:
                for engine in ("torch", "torch.compile"):
                    setting = Setting(Spec("torch"), batch, count)
                    yield Contender(model.name, model.source.path, model.sha256, model.size_bytes, setting, engine)
