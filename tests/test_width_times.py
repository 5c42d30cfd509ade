"""Layers alone, at any width: the graphs of one node are the layers', and times between those measured lie between."""

import math

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from costopt.cutting import any_width, surgery, width_times
from costopt.cutting.allotment import Curve
from costopt.cutting.any_width import Kind
from costopt.cutting.surgery import Gone
from costopt.cutting.ties import Structure, shapes_of, structure_of
from costopt.cutting.width_times import WidthTimes
from tests.onnx_graphs import normal
from tests.torch_patients import PATIENTS, graph_of

pytestmark = pytest.mark.alone


class Unusual(nn.Module):
    """Convolutions with all their settings, as modules and as calls: images (batch, 3, 9, 9) to the like."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Conv2d(3, 8, (4, 3), padding="same", dilation=(1, 2))
        self.whole, self.grouped = (
            nn.Conv2d(8, 8, 1, padding="valid"),
            nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=4),
        )
        self.weight = nn.Parameter(torch.randn(12, 6, 3, 3))
        self.last = nn.Conv2d(6, 3, 1)

    def forward(self, image: Tensor) -> Tensor:
        small = self.grouped(self.whole(self.same(image)).relu()).relu()
        wide = nn.functional.conv_transpose2d(small, self.weight, stride=2, padding=1, output_padding=1)
        out: Tensor = self.last(wide.relu())
        return out


def graph_named(name: str) -> fx.GraphModule:
    torch.manual_seed(0)
    return graph_of(Unusual(), {"image": normal(2, 3, 9, 9)}) if name == "unusual" else PATIENTS[name].graph()


def inputs_of(name: str, batch: int) -> list[Tensor]:
    arrays = {"image": normal(batch, 3, 9, 9)} if name == "unusual" else PATIENTS[name].arrays(batch)
    return [torch.from_numpy(array) for array in arrays.values()]


def some_of(structure: Structure) -> Gone:
    """A third of each group."""
    gone = np.zeros(structure.count, dtype=bool)
    for group in structure.groups:
        gone[group.units[: math.ceil(len(group.units) / 3)]] = True
    return gone


every_graph = pytest.mark.parametrize("name", [*PATIENTS, "unusual"])


@every_graph
def test_a_layer_alone_gives_what_has_the_shape_of_its_output(name: str) -> None:
    module = graph_named(name)
    shapes = shapes_of(module, inputs_of(name, 1))
    structure = structure_of(module, inputs_of(name, 2))
    session_of = onnxruntime.InferenceSession
    alone = [
        session_of(kind.model().SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": kind.input()})
        for kind, _ in any_width.layers(module, structure, shapes)
    ]
    readers = {reader.node for reader in structure.readers}
    real = [shapes[node][0] for node in module.graph.nodes if node in readers or is_convolution(module, node)]
    assert [given[0].shape for given in alone] == real


def is_convolution(module: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(module.get_submodule(str(node.target)), nn.Conv2d)


@every_graph
def test_a_layer_given_other_widths_is_the_layer_that_surgery_leaves(name: str) -> None:
    module, inputs = graph_named(name), inputs_of(name, 2)
    structure = structure_of(module, inputs)
    gone = some_of(structure)
    forecast = [
        kind.of_widths([int(structure.kept(axis, gone).sum()) for axis in axes])
        for kind, axes in any_width.layers(module, structure, shapes_of(module, inputs))
    ]
    surgery.remove(module, structure, gone)
    after = any_width.layers(module, structure_of(module, inputs), shapes_of(module, inputs))
    assert forecast == [kind for kind, _ in after]


@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose", "Gemm", "MatMul"])
def test_a_layer_takes_time(operator: str) -> None:
    kernel = (3, 3) if operator.startswith("Conv") else ()
    kind = Kind(operator, (64, 64, 6, 6) if kernel else (64, 512), 1, 64, kernel)
    assert 0 < width_times.kind_ms(kind) < math.inf


# ---------------------------------------------------------------------------------------- tables


@st.composite
def tables(draw: st.DrawFn) -> WidthTimes:
    """Times that rise with both widths."""
    sizes = draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    widths = tuple(np.cumsum(draw(st.lists(st.integers(1, 40), min_size=one, max_size=one))) for one in sizes)
    steps = draw(st.lists(st.floats(0, 1), min_size=math.prod(sizes), max_size=math.prod(sizes)))
    times_ms = np.cumsum(np.cumsum(np.reshape(steps, sizes), axis=0), axis=1)
    return WidthTimes(tuple(np.arange(one[-1]) for one in widths), widths, times_ms)


@settings(max_examples=50)
@given(table=tables(), data=st.data())
def test_where_times_rise_with_the_widths_so_do_those_between_and_they_lie_between(
    table: WidthTimes, data: st.DataObject
) -> None:
    one, other = ([data.draw(st.integers(int(known[0]), int(known[-1]))) for known in table.widths] for _ in range(2))
    low, high = (
        [min(pair) for pair in zip(one, other, strict=True)],
        [max(pair) for pair in zip(one, other, strict=True)],
    )
    assert table.times_ms.min() - 1e-9 <= table.at(low) <= table.at(high) + 1e-9 <= table.times_ms.max() + 2e-9


@settings(max_examples=50)
@given(table=tables())
def test_at_a_width_that_was_measured_the_time_is_the_measured_one(table: WidthTimes) -> None:
    for row, inputs in enumerate(table.widths[0]):
        for column, outputs in enumerate(table.widths[1]):
            assert table.at([int(inputs), int(outputs)]) == pytest.approx(table.times_ms[row, column])


def measured(monkeypatch: pytest.MonkeyPatch, step: int) -> tuple[list[Kind], list[WidthTimes], list[int]]:
    """What of the small residual CNN is timed, in order, when each layer takes as many ms as it has channels; the
    tables; and the steps between the widths."""
    timed: list[Kind] = []

    def kind_ms(kind: Kind) -> float:
        timed.append(kind)
        return kind.inputs + kind.outputs

    monkeypatch.setattr(width_times, "kind_ms", kind_ms)
    module, inputs = PATIENTS["cnn"].graph(), inputs_of("cnn", 2)
    structure = structure_of(module, inputs)
    drawn = [Curve(one, one.units, step, np.array([0, 1]), np.array([0.0, 1.0])) for one in structure.groups]
    tables, drawn_for = width_times.width_times(module, structure, shapes_of(module, inputs), drawn)
    return timed, tables, [one.step for one in drawn_for]


def test_layers_that_are_alike_are_measured_once_in_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    timed, tables, steps = measured(monkeypatch, 3)
    assert set(steps) == {3}
    assert len(timed) == width_times.ROUNDS * len(set(timed))
    alike = [table for table in tables if table.times_ms.shape == (3, 3)]
    assert len(alike) == 4  # four convolutions of 8 by 8 channels
    assert len(set(timed)) == 9 + 3 + 3  # one grid for them, one row for the first layer, one for the last
    assert alike[0].times_ms[0].tolist() == [3 + 3, 3 + 6, 3 + 8]


def test_of_too_many_widths_every_other_one_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(width_times, "MOST_TIMED", 30)
    timed, tables, steps = measured(monkeypatch, 1)
    assert set(steps) == {2}
    assert len(set(timed)) == 16 + 4 + 4
    assert {tuple(widths.tolist()) for table in tables for widths in table.widths[:1]} == {(1,), (2, 4, 6, 8)}


def test_few_widths_are_all_measured_however_many_layers_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(width_times, "MOST_TIMED", 1)
    timed, _, steps = measured(monkeypatch, 2)
    assert set(steps) == {2}
    assert len(set(timed)) == 16 + 4 + 4
