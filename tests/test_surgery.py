"""What is tied together in a graph, and what is left when some of it is taken out."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch_pruning
from torch import Tensor, fx, nn
from torch.nn import functional

from costopt.cutting import surgery
from costopt.cutting.ties import Structure, structure_of
from costopt.errors import CandidateError
from costopt.methods import Arrays
from tests.onnx_graphs import normal
from tests.torch_patients import PATIENTS, graph_of, outputs, relative_error

every_patient = pytest.mark.parametrize("name", PATIENTS)


def structured(module: fx.GraphModule, arrays: Arrays) -> Structure:
    return structure_of(module, [torch.from_numpy(array) for array in arrays.values()])


def widths(structure: Structure) -> dict[str, int]:
    return {group.name: len(group.units) for group in (*structure.groups, *structure.heads)}


def some_of(structure: Structure, seed: int) -> surgery.Gone:
    """A third of the units of each group, at random."""
    random, gone = np.random.default_rng(seed), np.zeros(structure.count, dtype=bool)
    for group in (*structure.groups, *structure.heads):
        gone[random.choice(group.units, max(1, len(group.units) // 3), replace=False)] = True
    return gone


@pytest.mark.parametrize("seed", range(3))
@every_patient
def test_what_is_left_computes_what_the_model_does_without_reading_the_rest(name: str, seed: int) -> None:
    patient = PATIENTS[name]
    module, whole = patient.graph(), patient.graph()
    structure, of_whole = structured(module, patient.arrays(2)), structured(whole, patient.arrays(2))
    gone = some_of(structure, seed)
    surgery.remove(module, structure, gone)
    assert gone.any() == (surgery.parameters(module) < surgery.parameters(whole))
    with surgery.masked(whole, of_whole, gone):
        assert relative_error(module, whole, patient.arrays(5)) < 1e-5


def test_a_mask_leaves_no_trace() -> None:
    patient = PATIENTS["inverted"]
    module = patient.graph()
    structure = structured(module, patient.arrays(2))
    with surgery.masked(module, structure, some_of(structure, 0)):
        assert relative_error(module, patient.graph(), patient.arrays(3)) > 1e-3
    assert relative_error(module, patient.graph(), patient.arrays(3)) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cnn", {"stem": 8, "body.0.first": 8, "body.1.first": 8}),
        ("lenet", {"first": 6, "second": 12, "hidden": 32}),
        ("inverted", {"stem": 8, "expand": 24, "squeeze": 4}),
        ("dense", {"steps.0": 6, "steps.1": 6, "steps.2": 6}),
        ("autoencoder", {"first": 8, "down": 16, "up": 8}),
        ("encoder", {f"layers.{n}.{part}" for n in (0, 1) for part in ("up", "attention.query")}),
        ("shared", {}),
        ("recurrent", {}),
    ],
)
def test_groups_are_what_a_reader_of_the_model_would_name(name: str, expected: dict[str, int] | set[str]) -> None:
    patient = PATIENTS[name]
    found = widths(structured(patient.graph(), patient.arrays(2)))
    assert (found if isinstance(expected, dict) else set(found)) == expected


@pytest.mark.parametrize("name", ["cnn", "lenet", "inverted"])
def test_torch_pruning_finds_the_same_layers_tied(name: str) -> None:
    patient = PATIENTS[name]
    module = patient.graph().requires_grad_(True)
    ours = structured(module, patient.arrays(2))
    inputs = tuple(torch.from_numpy(array) for array in patient.arrays(2).values())
    theirs = torch_pruning.DependencyGraph().build_dependency(module, inputs, verbose=False)
    names = {layer: path for path, layer in module.named_modules()}
    for group in ours.groups:
        layer = module.get_submodule(group.name)
        prune = theirs.get_pruner_of_module(layer).prune_out_channels
        tied = {
            names[dep.target.module]
            for dep, _ in theirs.get_pruning_group(layer, prune, [0])
            if dep.target.module in names
        }
        assert {
            name.rpartition(".")[0] for name, axes in ours.parameters.items() if _holds(ours, axes, group.units[0])
        } == tied


def _holds(structure: Structure, axes: tuple[np.ndarray | None, ...], unit: int) -> bool:
    return any((structure.units(axis) == unit).any() for axis in axes)


# ---------------------------------------------------------------------------------------- one operator at a time


class Between(nn.Module):
    """Two layers of width 12, and something between them."""

    def __init__(self, between: Callable[[Tensor], Tensor], width: int = 12) -> None:
        super().__init__()
        self.first, self.last, self.between = nn.Linear(5, 12), nn.Linear(width, 3), between

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.between(self.first(x)))
        return out


def halves(x: Tensor) -> Tensor:
    one, other = x.chunk(2, dim=-1)
    return one * other.sigmoid()


def attention(x: Tensor) -> Tensor:
    """Query, key and value in one, as vision transformers have them: 2 heads of width 2."""
    query, key, value = x.view(-1, 6, 3, 2, 2).permute(2, 0, 3, 1, 4).unbind(0)
    mixed = functional.scaled_dot_product_attention(query, key, value)
    return mixed.transpose(1, 2).reshape(-1, 6, 4)


@pytest.mark.parametrize(
    ("between", "width", "units"),
    [
        (torch.relu, 12, 12),
        (halves, 6, 6),
        (attention, 4, 2),
        (lambda x: x[..., 2:8], 6, 12),
        (lambda x: torch.cat([x[..., 6:], x[..., :6]], -1), 12, 12),
        (lambda x: x.view(-1, 6, 4, 3).transpose(2, 3).reshape(-1, 6, 12), 12, 4),
        (lambda x: torch.cat(x.split([4, 8], -1), -1), 12, 12),
        (lambda x: x.softmax(-1), 12, 0),
        (lambda x: x / x.norm(dim=-1, keepdim=True), 12, 0),
        (lambda x: x.flip(-1), 12, 0),
        (lambda x: x @ x.transpose(1, 2) @ x, 12, 0),
        (lambda x: x.cumsum(1), 12, 12),
        (lambda x: x * x.mean(1, keepdim=True), 12, 12),
        (lambda x: functional.pad(x, (0, 0, 1, 1))[:, 1:-1], 12, 0),
    ],
)
def test_places_go_through_an_operator_or_are_fixed_by_it(
    between: Callable[[Tensor], Tensor], width: int, units: int
) -> None:
    torch.manual_seed(0)
    arrays: Arrays = {"x": normal(4, 6, 5)}
    module, whole = (graph_of(model, arrays) for model in [Between(between, width)] * 2)
    structure = structured(module, arrays)
    assert sum(widths(structure).values()) == units
    gone = some_of(structure, 0)
    with surgery.masked(whole, structured(whole, arrays), gone):
        expected = outputs(whole, arrays)
    surgery.remove(module, structure, gone)
    torch.testing.assert_close(outputs(module, arrays), expected)


def test_a_grouped_convolution_loses_whole_groups() -> None:
    torch.manual_seed(0)
    arrays: Arrays = {"x": normal(2, 3, 8, 8)}
    model = nn.Sequential(nn.Conv2d(3, 12, 1), nn.Conv2d(12, 24, 3, groups=4), nn.ReLU(), nn.Conv2d(24, 2, 1))
    module = graph_of(model, {"input": arrays["x"]})
    structure = structured(module, arrays)
    assert widths(structure) == {"0": 4}
    gone = np.array([False, True, False, False])
    surgery.remove(module, structure, gone)
    layer = module.get_submodule("1")
    assert isinstance(layer, nn.Conv2d)
    assert (layer.groups, layer.in_channels, layer.out_channels, tuple(layer.weight.shape)) == (3, 9, 18, (18, 3, 3, 3))
    assert outputs(module, arrays)[0].shape == (2, 2, 6, 6)


def test_a_layer_without_channels_is_refused() -> None:
    patient = PATIENTS["lenet"]
    module = patient.graph()
    structure = structured(module, patient.arrays(2))
    gone = np.zeros(structure.count, dtype=bool)
    gone[structure.groups[0].units] = True
    with pytest.raises(CandidateError, match="left without channels"):
        surgery.remove(module, structure, gone)


# ---------------------------------------------------------------------------------------- counting


def test_multiply_accumulates_are_counted_by_hand() -> None:
    patient = PATIENTS["lenet"]
    module = patient.graph()
    inputs = [torch.from_numpy(array) for array in patient.arrays(3).values()]
    expected = {"first": 144 * 6 * 9, "second": 36 * 12 * 6 * 9, "hidden": 108 * 32, "head": 320}
    assert surgery.macs(module, inputs) == expected


@pytest.mark.parametrize("name", ["cnn", "inverted", "encoder", "autoencoder"])
def test_the_forecast_of_work_is_what_is_counted_after_surgery(name: str) -> None:
    patient = PATIENTS[name]
    module = patient.graph()
    inputs = [torch.from_numpy(array) for array in patient.arrays(2).values()]
    structure = structure_of(module, inputs)
    gone = some_of(structure, 1)
    forecast = structure.cost(gone, structure.work) / 2
    surgery.remove(module, structure, gone)
    assert sum(surgery.macs(module, inputs).values()) == pytest.approx(forecast)


@pytest.mark.parametrize("name", ["cnn", "inverted", "encoder", "autoencoder", "recommender"])
def test_the_forecast_of_bytes_is_what_the_parameters_hold_after_surgery(name: str) -> None:
    patient = PATIENTS[name]
    module = patient.graph()
    structure = structured(module, patient.arrays(2))
    gone = some_of(structure, 1)
    held = surgery.parameter_bytes(module, structure)
    assert sum(one.full for one in held) == 4 * surgery.parameters(module)
    surgery.remove(module, structure, gone)
    assert structure.cost(gone, held) == pytest.approx(4 * surgery.parameters(module))
