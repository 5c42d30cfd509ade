"""Every architecture goes through every method with parity, or gets a reason in one line; none crashes.

What each method on modules makes is run as modules. Exports take longest, so there is one for each architecture: of
what all these methods made of it, one after the other, held against the modules. Methods on ONNX files work on that.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx

from costopt import export, graph, plugins
from costopt.cutting.surgery import copied
from costopt.errors import CandidateError, NotApplicable
from costopt.formats import Modules
from costopt.methods import Method, OnnxMethod, TorchMethod
from costopt.parity import parity
from costopt.records import Spec, Value
from tests import onnx_graphs
from tests.architectures import ARCHITECTURES, lively
from tests.onnx_graphs import Held
from tests.torch_patients import context_of, graph_of, outputs

SLOW = {"nncf_int8"}
"""What takes as long as all others together; `tests/test_methods.py` has it."""

METHODS = {name: plugins.find("methods", name, Method) for name in plugins.names("methods") if name not in SLOW}
ON_MODULES = [name for name, found in METHODS.items() if issubclass(found, TorchMethod)]
ON_FILES = [name for name, found in METHODS.items() if issubclass(found, OnnxMethod)]

RECIPE = (
    "fold_batchnorm",
    "remove_dead",
    "trim_vocabulary",
    "drop_layers",
    "prune_tokens",
    "prune_heads",
    "prune_channels",
    "low_rank",
)
"""What changes the graph, in the order of a recipe; the other methods on modules change numbers alone."""

OPTIONS: Mapping[str, Mapping[str, Value]] = {
    "distill": {"steps": 2, "batch": 8},
    "qat": {"steps": 2, "batch": 8},
    "cluster_weights": {"steps": 2},
    "prune_channels": {"macs": 0.2},
    "mixed_precision": {"by": "operations"},
}
"""Where the defaults take long, or cut too much of a model of this size."""

SAMPLES = 24

every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)
pytestmark = pytest.mark.slow


@functools.cache
def exported(name: str) -> fx.GraphModule:
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    return graph_of(lively(architecture.make()), architecture.arrays(2), architecture.specs())


def treated(method: str, name: str, module: fx.GraphModule) -> fx.GraphModule | str:
    """What a method makes of an architecture, or the reason why it makes nothing. `module` may be changed."""
    context = context_of(exported(name), ARCHITECTURES[name].arrays(SAMPLES))
    try:
        return plugins.make("methods", Spec(method, OPTIONS.get(method, {})), TorchMethod)(module, context)
    except (NotApplicable, CandidateError) as refused:
        return refused.reason


def is_a_line(reason: str) -> bool:
    return len(reason.split()) > 4 and "\n" not in reason


@pytest.mark.parametrize("method", ON_MODULES)
@every_architecture
def test_an_architecture_is_treated_for_any_batch_or_refused_in_a_line(name: str, method: str) -> None:
    found = treated(method, name, copied(exported(name)))
    if isinstance(found, str):
        assert is_a_line(found)
        return
    for batch in (1, 3):
        arrays = ARCHITECTURES[name].arrays(batch)
        before, after = outputs(exported(name), arrays), outputs(found, arrays)
        assert [one.shape for one in after] == [one.shape for one in before]
        assert all(torch.isfinite(one).all() for one in after)


def by_recipe(name: str) -> fx.GraphModule:
    """What the methods of `RECIPE` make of an architecture, each of what those before it left; at least one does."""
    module, taken = copied(exported(name)), 0
    for method in RECIPE:
        found = treated(method, name, copied(module))
        if not isinstance(found, str):
            module, taken = found, taken + 1
    assert taken > 0
    return module


Made = Callable[[str], tuple[fx.GraphModule, Path]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The modules and the exported file of an architecture after the recipe, by its name."""
    folder = tmp_path_factory.mktemp("exports")

    @functools.cache
    def once(name: str) -> tuple[fx.GraphModule, Path]:
        module, architecture, target = by_recipe(name), ARCHITECTURES[name], folder / f"{name}.onnx"
        arrays = architecture.arrays(2)
        export.export_original(Modules(module, tuple(arrays)), architecture.specs(), arrays, target, 20)
        return module, target

    return once


@every_architecture
def test_what_the_methods_on_modules_make_of_it_together_is_exported_with_parity(made: Made, name: str) -> None:
    module, path = made(name)
    one, three = (ARCHITECTURES[name].arrays(batch) for batch in (1, 3))
    assert parity(Modules(module, tuple(one)), path, [one, three]).samples == 1 + 3


def written(method: str, source: Path, target: Path, calibration: Held) -> str | None:
    """The reason why a method on ONNX files writes nothing; None when it writes."""
    try:
        plugins.make("methods", Spec(method, OPTIONS.get(method, {})), OnnxMethod)(source, target, calibration)
    except (NotApplicable, CandidateError) as refused:
        return refused.reason
    return None


@pytest.mark.parametrize("method", ON_FILES)
@every_architecture
def test_its_file_is_treated_for_any_batch_or_refused_in_a_line(
    made: Made, name: str, method: str, tmp_path: Path
) -> None:
    target, arrays = tmp_path / "model.onnx", ARCHITECTURES[name].arrays
    reason = written(method, made(name)[1], target, Held(arrays(SAMPLES)))
    if reason is not None:
        assert is_a_line(reason)
        return
    graph.check(target)
    for batch in (1, 3):
        assert all(np.isfinite(one).all() for one in onnx_graphs.run(target, arrays(batch)))
