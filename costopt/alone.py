"""A model alone, measured here so that it can be planned with: a run of which the original is the only recipe.

    model ─▶ its inputs, made up or given ─▶ inputs.npz ─▶ `search.compress` with `recipes: []` ─▶ a run's folder

It is a run like any other: the same command goes on where it stopped, and `plan`, `explain` and `show` read it. Nothing
is said of accuracy: the original is held against itself only, and labels are not looked at.
"""

import logging
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from costopt import provenance
from costopt.benching import contenders
from costopt.benching.contenders import Model
from costopt.benching.measurements import BenchPlan
from costopt.disk import faults
from costopt.errors import CostoptError, UsageError
from costopt.journal import Journal
from costopt.measuring import noise_rules
from costopt.records import Data, Invalid, Measured, ModelSource, Plan, Spec, short_hash
from costopt.sampling import made_up
from costopt.sampling.arrays import Array
from costopt.sampling.samples import Samples, spread
from costopt.search import compress
from costopt.searching.heats import Watcher

log = logging.getLogger("costopt")

INPUTS = "inputs"
"""The folder beside the runs where the inputs of models measured alone lie: a run is known by what it was fed."""

TIME_LIMIT_S = 150.0
"""For all providers together, as in a bench: each takes some ten seconds unless its calls are slow."""


@dataclass(frozen=True, slots=True)
class Alone:
    """A model to measure at batch 1. `providers` is None for every provider found here.

    `inputs` is a data file or a `module:function`, None for inputs made up at random; then `dimensions` gives the
    lengths of axes that vary. `price` is what its machine costs.
    """

    model: str
    price: Spec
    providers: tuple[Spec, ...] | None = None
    inputs: str | None = None
    dimensions: Mapping[str, int] = field(default_factory=dict)
    time_limit_s: float = TIME_LIMIT_S
    seed: int = 0


def measure(asked: Alone, out: Path, watcher: Watcher | None = None) -> Journal:
    """Time the model on every provider, once more where the machine was disturbed; keep that as a run under `out`.

    Raises UsageError for what the user must mend, CostoptError when the model can't be measured.
    """
    plan = Plan(
        data=Data(str(_inputs(asked, out)), made_up=asked.inputs is None),
        metric=Spec("cosine"),
        price=asked.price,
        providers=asked.providers,
        recipes=(),
        time_limit_s=asked.time_limit_s,
        seed=asked.seed,
        race=False,
    )
    journal = _measured(asked, plan, out, watcher)
    disturbed = tuple(_disturbed(journal))
    if disturbed:
        log.info("measuring again what a disturbed machine spoilt")
        with journal.held():
            for one in disturbed:
                journal.append(one)
        journal = _measured(asked, plan, out, watcher)
    return journal


def _measured(asked: Alone, plan: Plan, out: Path, watcher: Watcher | None) -> Journal:
    try:
        _, journal = compress(ModelSource(asked.model), plan, out, watcher)
    except CostoptError as problem:
        if asked.inputs is not None or problem.exit_code != CostoptError.exit_code:
            raise
        words = "its inputs were random, and real ones may not break it: give some with --inputs"
        raise CostoptError(f"{asked.model}: {problem}; {words}") from problem
    return journal


def _disturbed(journal: Journal) -> Iterator[Invalid]:
    """What was timed on a machine so disturbed that the figures would lie. The original's own times stand in no ratio,
    so turns with another cancel nothing; and without a budget to judge there is no reason to keep them.
    """
    for one in journal.outcomes():
        noise = one.timing.noise if isinstance(one, Measured) else None
        fault = next((fault for fault in noise_rules.faults(noise) if fault.invalid), None) if noise else None
        if fault is not None:
            yield Invalid(one.candidate, fault.reason, fault.fix, again=True)


def _inputs(asked: Alone, out: Path) -> Path:
    """A file of inputs alone, at most `made_up.SAMPLES`; written once, since the run's name depends on it."""
    source = ModelSource(asked.model)
    (files,) = contenders.recognised((asked.model,), (source,))
    given = "random" if asked.inputs is None else provenance.digest_of_data(asked.inputs)
    told = [[provenance.sha256(file) for file in files], given, dict(asked.dimensions), asked.seed]
    folder = out.absolute() / INPUTS / short_hash(told)
    file = folder / "inputs.npz"
    if not file.is_file():
        scratch = folder / "scratch"
        (model,) = contenders.models(_as_bench(asked), (source,), scratch)
        _refuse_batches(model)
        _refuse_dimensions(model, asked)
        _write(model.samples, file)
        shutil.rmtree(scratch, ignore_errors=True)
    return file


def _as_bench(asked: Alone) -> BenchPlan:
    """The same as a bench, which knows how to export a model and to make inputs up."""
    return BenchPlan(
        (asked.model,), Spec("single_stream"), inputs=asked.inputs, dimensions=asked.dimensions, seed=asked.seed
    )


def _refuse_batches(model: Model) -> None:
    if model.batches and model.batches != {1}:
        only = ", ".join(map(str, sorted(model.batches)))
        raise UsageError(
            f"{model.name} takes batches of {only} only, and a plan takes one request a call: export it with a first "
            "axis that varies, or with 1"
        )


def _refuse_dimensions(model: Model, asked: Alone) -> None:
    """Lengths are for axes that vary, and for random inputs: real ones have theirs. Raises UsageError."""
    axes = {axis for one in model.graph.inputs for axis in one.shape[1:] if isinstance(axis, str)}
    for name, length in asked.dimensions.items():
        if asked.inputs is not None:
            raise UsageError(
                f"--dim {name}={length}: the inputs that were given have lengths of their own: leave it out"
            )
        if name not in axes:
            words = ", ".join(sorted(axes)) or "none"
            raise UsageError(f"--dim {name}={length}: {model.name} has no such axis; those that vary: {words}")


def _write(samples: Samples, file: Path) -> None:
    """Some samples as `np.savez` would, whatever their names: an input may be called `file`, which savez can't take."""
    rows = samples.at(spread(samples.samples, made_up.SAMPLES))
    torn = file.with_name("torn.npz")
    with faults(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(torn, "w") as archive:
            _fill(archive, rows)
        torn.replace(file)


def _fill(archive: zipfile.ZipFile, rows: Mapping[str, Array]) -> None:
    for name, array in rows.items():
        with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
