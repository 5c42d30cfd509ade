"""What every method on modules keeps, whichever it is: a file in `costopt/methods/` is tried here by being there."""

import functools
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import fx

from costopt import export, plugins
from costopt.errors import NotApplicable
from costopt.formats import Modules
from costopt.methods import Method, TorchMethod
from costopt.parity import parity
from costopt.records import Spec, Value
from tests.torch_patients import PATIENTS, context_of, outputs, specs_of

QUICK: Mapping[str, Mapping[str, Value]] = {
    "distill": {"steps": 6, "batch": 16},
    "cluster_weights": {"steps": 4},
    "qat": {"steps": 6, "batch": 16},
    "adapt": {"steps": 6, "batch": 16, "learning_rate": 1e-3},
}
"""Options under which a method that learns does little, and does it soon."""

MENDING = {"adapt", "distill"}
"""What mends the damage that other methods did, and gets patients with some damage."""

CALIBRATION = 32

CASES = [
    Spec(name, {**options, **QUICK.get(name, {})})
    for name in plugins.names("methods")
    if issubclass(found := plugins.find("methods", name, Method), TorchMethod)
    for options in found.automatic
]

FIRST = {spec.name: spec for spec in reversed(CASES)}
"""Of each method the first options: the others are tried where time matters less."""

every_method = pytest.mark.parametrize(
    "spec",
    [pytest.param(spec, marks=() if spec is FIRST[spec.name] else pytest.mark.slow) for spec in CASES],
    ids=str,
)
every_patient = pytest.mark.parametrize("name", PATIENTS)


@dataclass(frozen=True)
class Treated:
    """What a method made of a patient: modules, or the patient as it was and the reason why."""

    module: fx.GraphModule
    reason: str | None


Treat = Callable[[Spec, str], Treated]


def treated(spec: Spec, name: str) -> Treated:
    patient = PATIENTS[name]
    module = patient.graph()
    arrays = patient.arrays(CALIBRATION)
    context = replace(context_of(module, arrays), labels=outputs(module, arrays)[0].numpy())
    try:
        changed = plugins.make("methods", spec, TorchMethod)(
            damaged(module) if spec.name in MENDING else module, context
        )
    except NotApplicable as why:
        return Treated(patient.graph(), why.reason)
    return Treated(changed, None)


def damaged(module: fx.GraphModule) -> fx.GraphModule:
    """Every matrix of weights loses a third of its size."""
    with torch.no_grad():
        for weight in module.parameters():
            weight.mul_(2 / 3 if weight.ndim > 1 else 1)
    return module


@pytest.fixture(scope="module")
def treat() -> Treat:
    """Treat every patient once by every method, for all tests that look at the results."""
    once = functools.cache(lambda label, name: treated(next(spec for spec in CASES if str(spec) == label), name))
    return lambda spec, name: once(str(spec), name)


@every_method
def test_some_patient_is_changed(treat: Treat, spec: Spec) -> None:
    assert any(treat(spec, name).reason is None for name in PATIENTS)


@every_method
@every_patient
def test_a_patient_is_treated_or_the_reason_why_not_is_a_sentence(treat: Treat, spec: Spec, name: str) -> None:
    reason = treat(spec, name).reason
    assert reason is None or len(reason.split()) > 4


@every_method
@every_patient
def test_outputs_keep_their_number_shape_and_type_at_any_batch(treat: Treat, spec: Spec, name: str) -> None:
    patient = PATIENTS[name]
    for batch in (1, 3):
        before, after = (outputs(one, patient.arrays(batch)) for one in (patient.graph(), treat(spec, name).module))
        assert [(one.shape, one.dtype) for one in after] == [(one.shape, one.dtype) for one in before]
        assert all(torch.isfinite(one).all() for one in after if one.is_floating_point())


@every_patient
def test_a_patient_itself_is_exported_with_parity(name: str, tmp_path: Path) -> None:
    export_with_parity(PATIENTS[name].graph(), name, tmp_path)


@every_method
@every_patient
def test_what_comes_out_is_exported_with_parity(treat: Treat, spec: Spec, name: str, tmp_path: Path) -> None:
    treated = treat(spec, name)
    if treated.reason is None:  # else it is the patient itself, whose turn was above
        export_with_parity(treated.module, name, tmp_path)


def export_with_parity(module: fx.GraphModule, name: str, tmp_path: Path) -> None:
    arrays = PATIENTS[name].arrays(3)
    assert not any(part.training for part in module.modules())
    changed, target = Modules(module, tuple(arrays)), tmp_path / "model.onnx"
    export.export_original(changed, specs_of(arrays), arrays, target, 20)
    assert parity(changed, target, [arrays]).samples == 3


@every_method
def test_the_same_seed_gives_the_same_weights(treat: Treat, spec: Spec) -> None:
    name = next(name for name in PATIENTS if treat(spec, name).reason is None)
    first, second = treat(spec, name).module.state_dict(), treated(spec, name).module.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first.keys() | second.keys())


@every_method
def test_a_method_is_silent_and_leaves_no_file(
    spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    capfd.readouterr()
    treated(spec, "cnn")
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())
