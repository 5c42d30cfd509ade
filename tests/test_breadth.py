"""Every architecture goes through every method on modules with parity, or gets a reason in one line; none crashes."""

import functools
from pathlib import Path

import pytest
import torch
from torch import fx

from costopt import export, plugins
from costopt.errors import CandidateError, NotApplicable
from costopt.formats import Modules
from costopt.methods import Method, TorchMethod
from costopt.parity import parity
from costopt.records import Spec
from costopt.surgery import copied
from tests.architectures import ARCHITECTURES, lively
from tests.torch_patients import context_of, graph_of, specs_of

METHODS = [
    name
    for name in plugins.names("methods")
    if issubclass(plugins.find("methods", name, Method), TorchMethod) and name not in ("distill", "cluster_weights")
]
"""Those that learn take longer, and `tests/test_torch_methods.py` has them."""

SAMPLES = 24

pytestmark = pytest.mark.slow


@functools.cache
def exported(name: str) -> fx.GraphModule:
    torch.manual_seed(0)
    architecture = ARCHITECTURES[name]
    return graph_of(lively(architecture.make()), architecture.arrays(2))


def fresh(name: str) -> fx.GraphModule:
    """A copy of one's own: methods change what they are given."""
    return copied(exported(name))


def treated(method: str, name: str) -> fx.GraphModule | str:
    """What a method makes of an architecture, or the reason why it makes nothing."""
    module = fresh(name)
    context = context_of(module, ARCHITECTURES[name].arrays(SAMPLES))
    try:
        return plugins.make("methods", Spec(method), TorchMethod)(module, context)
    except (NotApplicable, CandidateError) as refused:
        return refused.reason


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_treated_with_parity_or_refused_in_a_line(name: str, method: str, tmp_path: Path) -> None:
    found = treated(method, name)
    if isinstance(found, str):
        assert len(found.split()) > 4
        assert "\n" not in found
        return
    arrays, changed = ARCHITECTURES[name].arrays(3), Modules(found, ("given",))
    export.export_original(changed, specs_of(arrays), arrays, tmp_path / "model.onnx", 20)
    assert parity(changed, tmp_path / "model.onnx", [arrays]).samples == 3
