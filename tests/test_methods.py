"""What every method on ONNX files keeps, whichever it is: a file in `costopt/methods/` is tried here by being there."""

import functools
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from costopt import graph, plugins, rewriting
from costopt.errors import NotApplicable
from costopt.methods import Arrays, Method, OnnxMethod, weights_elsewhere
from costopt.records import Graph, Spec
from tests import models, onnx_graphs
from tests.onnx_graphs import Held, normal

LARGEST_ERROR = {"fp16": 2e-3, "slim": 1e-6, "unfuse": 1e-6, "trim_padding": 1e-6, "int4_weights": 0.15}
"""Euclidean norm of the error over that of the outputs, on inputs that calibration saw."""
LARGEST_ERROR_OF_OTHERS = 0.05

STEADY = {"mixed_precision": {"by": "operations"}}
"""Options under which a method that measures time does the same in every run."""

SAME_SIZE = {"trim_padding", "unfuse"}
"""Methods that save time alone."""

PACKAGES = {"nncf_int8": "nncf"}
"""Methods that are tried only where a package is installed."""

CASES = [
    Spec(name, {**options, **STEADY.get(name, {})})
    for name in plugins.names("methods")
    if find_spec(PACKAGES.get(name, "costopt"))
    and issubclass(found := plugins.find("methods", name, Method), OnnxMethod)
    for options in found.automatic
]


@dataclass(frozen=True)
class Patient:
    """A model file, and inputs for any batch."""

    path: Path
    inputs: Callable[[int], Arrays]

    @property
    def calibration(self) -> Held:
        return Held(self.inputs(32))


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Patient]:
    folder = tmp_path_factory.mktemp("patients")
    return {
        "cnn": Patient(models.save_once(models.small_cnn, folder / "cnn.onnx"), models.cnn_arrays),
        "encoder": Patient(models.save_once(models.small_encoder, folder / "encoder.onnx"), models.encoder_arrays),
        "two": Patient(onnx_graphs.save_two(folder / "two.onnx"), models.two_arrays),
        "mlp": Patient(onnx_graphs.save_mlp(folder / "mlp.onnx"), lambda batch: {"x": normal(batch, 32)}),
        "padded": Patient(onnx_graphs.save_padded(folder / "padded.onnx"), onnx_graphs.sentences),
        "lstm": Patient(onnx_graphs.save_lstm(folder / "lstm.onnx"), lambda batch: {"x": normal(batch, 7, 24)}),
        "trees": Patient(onnx_graphs.save_trees(folder / "trees.onnx"), lambda batch: {"x": normal(batch, 4)}),
    }


@dataclass(frozen=True)
class Treated:
    """What a method made of a patient: a file, or the reason why there is none."""

    name: str
    patient: Patient
    path: Path
    reason: str | None


Treat = Callable[[Spec], tuple[Treated, ...]]


@pytest.fixture(scope="module")
def treat(patients: dict[str, Patient], tmp_path_factory: pytest.TempPathFactory) -> Treat:
    """Treat every patient once, for all tests that look at the results."""

    @functools.cache
    def once(label: str) -> tuple[Treated, ...]:
        spec = next(spec for spec in CASES if str(spec) == label)
        folder = tmp_path_factory.mktemp("treated")
        return tuple(
            _treated(method_of(spec), name, patient, folder / f"{name}.onnx") for name, patient in patients.items()
        )

    return lambda spec: once(str(spec))


def method_of(spec: Spec) -> OnnxMethod:
    return plugins.make("methods", spec, OnnxMethod)


def _treated(method: OnnxMethod, name: str, patient: Patient, target: Path) -> Treated:
    try:
        method(patient.path, target, patient.calibration)
    except NotApplicable as why:
        return Treated(name, patient, target, why.reason)
    return Treated(name, patient, target, None)


def changed(everyone: tuple[Treated, ...]) -> list[Treated]:
    """Those of whom there is a file; at least one, or the method does nothing."""
    found = [one for one in everyone if one.reason is None]
    assert found
    return found


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


FIRST = {spec.name: spec for spec in reversed(CASES)}
"""Of each method the first options: the others are tried where time matters less."""

every_method = pytest.mark.parametrize(
    "spec",
    [pytest.param(spec, marks=() if spec is FIRST[spec.name] else pytest.mark.slow) for spec in CASES],
    ids=str,
)


def test_there_are_methods_to_try() -> None:
    names = {spec.name for spec in CASES}
    assert {"fp16", "int8_dynamic", "int8_static", "int8_weights", "int4_weights", "slim"} <= names


@every_method
def test_a_method_writes_a_valid_file_or_says_why_not(treat: Treat, spec: Spec) -> None:
    for one in treat(spec):
        if one.reason is None:
            graph.check(one.path)
        else:
            assert len(one.reason.split()) > 5, one
            assert not one.path.exists(), one


@every_method
def test_inputs_and_outputs_keep_their_names_types_and_dynamic_axes(treat: Treat, spec: Spec) -> None:
    for one in changed(treat(spec)):
        before, after = graph.describe(one.patient.path), graph.describe(one.path)
        assert (after.inputs, after.outputs) == (before.inputs, before.outputs), one.name


@every_method
@pytest.mark.parametrize("batch", [1, 3])
def test_outputs_stay_near_the_original_s_at_any_batch(treat: Treat, spec: Spec, batch: int) -> None:
    for one in changed(treat(spec)):
        inputs = {name: array[:batch] for name, array in one.patient.calibration.arrays.items()}
        assert all(np.isfinite(output).all() for output in onnx_graphs.run(one.path, inputs)), one.name
        error = onnx_graphs.relative_error(one.path, one.patient.path, inputs)
        assert error <= LARGEST_ERROR.get(spec.name, LARGEST_ERROR_OF_OTHERS), one.name


@every_method
def test_a_suitable_model_gets_smaller_but_for_names_and_shapes(treat: Treat, spec: Spec) -> None:
    names_and_shapes = 2048  # bytes; the smallest patients weigh 1 kB
    grown = [
        one.path.stat().st_size - one.patient.path.stat().st_size
        for one in changed(treat(spec))
        if method_of(spec).unsuitable(graph.describe(one.patient.path)) is None
    ]
    assert max(grown) < names_and_shapes
    assert min(grown) < 0 or spec.name in SAME_SIZE


@every_method
def test_a_method_is_silent_and_touches_nothing_but_its_target(
    treat: Treat,
    patients: dict[str, Patient],
    spec: Spec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    source, target, scratch = tmp_path / "in" / "model.onnx", tmp_path / "out" / "model.onnx", tmp_path / "scratch"
    for folder in (source.parent, target.parent, scratch):
        folder.mkdir()
    patient = patients[suited(treat(spec)).name]
    source.write_bytes(patient.path.read_bytes())
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = sha256(source)
    capfd.readouterr()
    method_of(spec)(source, target, patient.calibration)
    assert capfd.readouterr() == ("", "")
    assert sha256(source) == before
    assert [path for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [source, target]


def suited(everyone: tuple[Treated, ...]) -> Treated:
    """The encoder, where the method has something to do there; else the first patient where it has."""
    return min(changed(everyone), key=lambda one: one.name != "encoder")


@every_method
def test_external_data_is_read_and_one_file_written(
    treat: Treat, patients: dict[str, Patient], spec: Spec, tmp_path: Path
) -> None:
    source, target = tmp_path / "in" / "model.onnx", tmp_path / "out" / "model.onnx"
    source.parent.mkdir()
    target.parent.mkdir()
    treated = suited(treat(spec))
    patient = patients[treated.name]
    onnx.save(onnx.load(patient.path), source, save_as_external_data=True, location="weights", size_threshold=0)
    method_of(spec)(source, target, patient.calibration)
    assert onnx_graphs.relative_error(target, treated.path, patient.inputs(3)) == 0
    assert list(target.parent.iterdir()) == [target]


@every_method
def test_a_model_too_large_for_one_file_is_treated_alike(
    treat: Treat, patients: dict[str, Patient], spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "SINGLE_FILE_BYTES", 1000)
    usual = suited(treat(spec))
    one = _treated(method_of(spec), usual.name, patients[usual.name], tmp_path / "model.onnx")
    if one.reason is None:
        graph.check(one.path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
        # ONNX Runtime can't optimise such a model first, so that it is rounded in other places
        assert onnx_graphs.relative_error(one.path, usual.path, one.patient.inputs(3)) < 0.05
    else:
        assert spec.name == "slim"  # which leaves the work to ONNX Runtime where torch's exporter has done its own


SCRIPT = """
import sys
from pathlib import Path
from tests.test_methods import CASES, method_of
from tests import models
from tests.onnx_graphs import Held
for number in map(int, sys.argv[3:]):
    method_of(CASES[number])(Path(sys.argv[1]), Path(sys.argv[2]) / f"{number}.onnx", Held(models.encoder_arrays(32)))
"""


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes_in_another_process(
    treat: Treat, patients: dict[str, Patient], tmp_path: Path
) -> None:
    root = Path(__file__).parent.parent
    here = {number: suited(treat(spec)) for number, spec in enumerate(CASES)}
    tried = {str(number): one.path for number, one in here.items() if one.name == "encoder"}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(patients["encoder"].path), str(tmp_path), *tried],
        env={**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": str(root)},
        cwd=root,
        check=True,
    )
    for number, path in tried.items():
        assert sha256(tmp_path / f"{number}.onnx") == sha256(path), CASES[int(number)]


# ------------------------------------------------------------------------------- why a method does not suit a graph


def graph_of(parameters: dict[str, int], operators: tuple[str, ...] = ()) -> Graph:
    counts = dict.fromkeys((*parameters, *operators), 1)
    return Graph((), (), counts, parameters, opset=20, size_bytes=4 * sum(parameters.values()))


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"Conv": 97, "Gemm": 3}, "97 % of the weights sit in Conv, which can't"),
        ({"Conv": 50, "Mul": 45, "Gemm": 5}, "50 % of the weights sit in Conv, which can't"),
        ({"Conv": 90, "Gemm": 10}, None),
        ({}, "the graph holds no weights"),
    ],
)
def test_a_graph_whose_weights_sit_elsewhere_is_refused_in_words(
    parameters: dict[str, int], reason: str | None
) -> None:
    assert weights_elsewhere(graph_of(parameters), ("Gemm", "MatMul"), "can't") == reason


def test_weights_that_are_only_moved_may_belong_to_any_operator_that_is_there() -> None:
    moved = {"Slice": 95, "Mul": 5}
    assert weights_elsewhere(graph_of(moved, ("LSTM",)), ("LSTM",), "can't") is None
    assert weights_elsewhere(graph_of(moved), ("LSTM",), "can't") == "95 % of the weights sit in Slice, which can't"


def test_each_method_knows_the_models_that_it_suits(patients: dict[str, Patient]) -> None:
    suits = {
        "int8_dynamic": {"encoder", "mlp", "lstm", "padded"},
        "mixed_precision": {"cnn", "encoder", "mlp", "lstm", "padded"},
        "int8_static": {"cnn", "encoder", "mlp", "lstm", "padded"},
        "int8_weights": {"encoder", "mlp", "lstm", "padded"},
        "int4_weights": {"encoder", "mlp", "lstm", "padded"},
    }
    for method, expected in suits.items():
        unsuitable = method_of(Spec(method)).unsuitable
        found = {name for name, patient in patients.items() if unsuitable(graph.describe(patient.path)) is None}
        assert found == expected, method
