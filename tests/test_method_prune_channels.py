"""Channel pruning: how much goes, from where, and what least squares makes good."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, fx, nn

from costopt.cutting import surgery, width_times
from costopt.cutting.allotment import Curve, allotted, step_of
from costopt.cutting.any_width import Kind, layers
from costopt.cutting.importance import Importance, scores
from costopt.cutting.ties import Group, Places, Structure, shapes_of, structure_of
from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Arrays
from costopt.methods.prune_channels import PruneChannels
from costopt.units import percent
from tests.onnx_graphs import normal
from tests.torch_patients import PATIENTS, context_of, graph_of, relative_error


def pruned(name: str, method: PruneChannels, arrays: Arrays | None = None) -> fx.GraphModule:
    module = PATIENTS[name].graph()
    return method(module, context_of(module, arrays or PATIENTS[name].arrays(64)))


def work(module: fx.GraphModule, name: str) -> int:
    inputs = [torch.from_numpy(array) for array in PATIENTS[name].arrays(2).values()]
    return sum(surgery.macs(module, inputs).values())


@pytest.mark.parametrize("macs", [0.25, 0.6])
@pytest.mark.parametrize("name", ["cnn", "inverted", "dense", "autoencoder"])
def test_at_least_the_share_of_work_that_was_asked_for_goes(name: str, macs: float) -> None:
    left = work(pruned(name, PruneChannels(macs=macs)), name) / work(PATIENTS[name].graph(), name)
    assert 0 < left <= 1 - macs


@pytest.mark.parametrize("name", ["cnn", "inverted", "encoder", "recommender"])
def test_at_least_the_share_of_bytes_that_was_asked_for_goes(name: str) -> None:
    left = surgery.parameters(pruned(name, PruneChannels(size=0.2))) / surgery.parameters(PATIENTS[name].graph())
    assert 0 < left <= 0.8


def test_bytes_go_where_the_weights_are_and_work_where_the_pictures_are() -> None:
    """LeNet's convolutions do most of the work, and its perceptron holds most of the weights."""
    lighter, faster = (pruned("lenet", method) for method in (PruneChannels(size=0.5), PruneChannels(macs=0.5)))
    assert surgery.parameters(lighter) <= 0.5 * surgery.parameters(PATIENTS["lenet"].graph())
    assert work(faster, "lenet") <= 0.5 * work(PATIENTS["lenet"].graph(), "lenet") < work(lighter, "lenet")


class Wide(nn.Module):
    """Three convolutions, of 64 channels and of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(1, 64, 3), nn.Conv2d(64, 32, 3), nn.Linear(32, 10)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.first(image).relu()).relu().mean((2, 3)))
        return logits


@pytest.mark.parametrize("round_to", [4, 8])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.7])
def test_widths_land_where_time_falls(
    round_to: int, share: float, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Here on kernels that work on 16 channels at a time: 24 take as long as 32."""

    def kind_ms(kind: Kind) -> float:
        return math.ceil(kind.inputs / 16) * math.ceil(kind.outputs / 16) * math.prod(kind.shape[2:])

    def taken_ms(module: fx.GraphModule) -> float:
        inputs = [torch.from_numpy(arrays["image"][:1])]
        found = layers(module, structure_of(module, inputs), shapes_of(module, inputs))
        return sum(kind_ms(kind) for kind, _ in found)

    monkeypatch.setattr(width_times, "kind_ms", kind_ms)
    caplog.set_level(logging.INFO, "costopt")
    torch.manual_seed(0)
    arrays: Arrays = {"image": normal(16, 1, 12, 12)}
    module = graph_of(Wide(), arrays)
    before_ms = taken_ms(module)
    changed = PruneChannels(latency=share, round_to=round_to)(module, context_of(module, arrays))
    widths = [len(changed.get_parameter(f"{name}.weight")) for name in ("first", "second")]
    assert all(width % 16 == 0 for width in widths)
    assert taken_ms(changed) <= (1 - share) * before_ms
    assert f"{percent(1 - taken_ms(changed) / before_ms)} of the milliseconds" in caplog.text


def test_where_a_narrower_layer_takes_no_less_time_nothing_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(width_times, "kind_ms", lambda _: 1.0)
    with pytest.raises(NotApplicable, match="0 % of the milliseconds that the layers take sit in channels that can go"):
        pruned("cnn", PruneChannels(latency=0.1))


@given(
    widths=st.lists(st.integers(2, 70), min_size=1, max_size=4),
    steepness=st.lists(st.floats(0, 5), min_size=4, max_size=4),
    share=st.floats(0.01, 0.99),
    block=st.integers(1, 16),
)
def test_a_walk_ends_where_enough_is_saved_and_on_no_width_that_saves_nothing(
    widths: list[int], steepness: list[float], share: float, block: int
) -> None:
    """Groups side by side, each with a cost that falls by blocks, and an error that rises with what it loses."""
    structure, drawn = side_by_side(widths, steepness)
    costs = [Blocks((group.units,), block) for group in structure.groups]
    gone, saved = allotted(structure, costs, drawn, np.ones(sum(widths)), share, jumps=True)
    left = [int((~gone[group.units]).sum()) for group in structure.groups]
    assert saved == pytest.approx(1 - sum(costs[0].at([one]) for one in left) / sum(costs[0].at([w]) for w in widths))
    assert saved >= share - 1e-9 or all(costs[0].at([one]) == 1 for one in left)
    assert all(now % block == 0 or now == width for now, width in zip(left, widths, strict=True))


def test_a_width_that_saves_next_to_nothing_does_not_hide_the_one_beyond() -> None:
    """Of two layers one hardly matters, and gets faster by whole blocks, or by as little as noise may pretend."""
    structure, drawn = side_by_side([64, 64], [0.01, 1.0])
    stairs, slope = (group.units for group in structure.groups)
    costs = [Blocks((stairs,), 16, for_each=1e-6), Blocks((slope,), 1)]
    gone, _ = allotted(structure, costs, drawn, np.ones(128), share=0.02, jumps=True)  # of 4 + 64
    assert [int((~gone[one]).sum()) for one in (stairs, slope)] == [32, 64]


def side_by_side(widths: Sequence[int], steepness: Sequence[float]) -> tuple[Structure, list[Curve]]:
    """Groups that touch each other nowhere, with errors in proportion to what goes."""
    ends = np.cumsum(widths)
    units = [np.arange(end - width, end) for end, width in zip(ends, widths, strict=True)]
    groups = tuple(Group(str(one[0]), one, one) for one in units)
    tried = [np.array([0, len(one) - 1]) for one in units]
    drawn = [Curve(one, one.units, 1, at, slope * at) for one, at, slope in zip(groups, tried, steepness, strict=False)]
    return Structure(np.arange(ends[-1]), {}, {}, {}, (), (), groups, ()), drawn


@dataclass(frozen=True)
class Blocks:
    """A cost of one for each `block` places that are begun, and of `for_each` place."""

    axes: tuple[Places, ...]
    block: int
    for_each: float = 0.0

    def at(self, widths: Sequence[int]) -> float:
        return sum(math.ceil(one / self.block) + self.for_each * one for one in widths)


@pytest.mark.parametrize("importance", ["group_norm", "activation", "taylor"])
@pytest.mark.parametrize("name", ["cnn", "lenet", "inverted", "encoder"])
def test_least_squares_brings_the_outputs_back_towards_the_original_s(name: str, importance: Importance) -> None:
    original, fresh = PATIENTS[name].graph(), PATIENTS[name].arrays(96)
    held_out = {key: array[64:] for key, array in fresh.items()}
    seen = {key: array[:64] for key, array in fresh.items()}
    errors = [
        relative_error(
            pruned(name, PruneChannels(macs=0.2, importance=importance, reconstruct=reconstruct), seen),
            original,
            held_out,
        )
        for reconstruct in (True, False)
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("importance", ["group_norm", "activation", "taylor"])
def test_a_channel_without_weights_is_the_least_important(importance: Importance) -> None:
    patient = PATIENTS["lenet"]
    module = patient.graph()
    for parameter in (module.get_parameter("second.weight"), module.get_parameter("hidden.weight")):
        parameter.data[7 if parameter.ndim == 4 else slice(None), *([slice(63, 72)] if parameter.ndim == 2 else [])] = 0
    inputs = [torch.from_numpy(array) for array in patient.arrays(8).values()]
    structure = structure_of(module, inputs)
    found = scores(importance, module, structure, [tuple(inputs)], seed=0)
    second = next(group for group in structure.groups if group.name == "second")
    assert np.argmin(found[second.units]) == 7


def test_taylor_sees_that_nothing_reads_a_channel_where_the_norm_does_not() -> None:
    patient = PATIENTS["lenet"]
    module = patient.graph()
    module.get_parameter("hidden.weight").data[3] *= 100  # a large neuron ...
    module.get_parameter("head.weight").data[:, 3] = 0  # ... that nothing reads
    inputs = [torch.from_numpy(array) for array in patient.arrays(8).values()]
    structure = structure_of(module, inputs)
    hidden = next(group for group in structure.groups if group.name == "hidden").units
    assert scores("taylor", module, structure, [tuple(inputs)], 0)[hidden[3]] == 0
    assert np.argmax(scores("group_norm", module, structure, [tuple(inputs)], 0)[hidden]) == 3


@pytest.mark.parametrize(
    ("width", "round_to", "step"), [(6, 8, 1), (16, 8, 8), (16, 16, 16), (24, 16, 16), (128, 16, 16), (4096, 8, 128)]
)
def test_widths_are_rounded_to_what_fits_the_layer(width: int, round_to: int, step: int) -> None:
    assert step_of(width, round_to) == step


def test_a_group_gets_narrower_in_steps_and_never_vanishes() -> None:
    units = np.arange(30)
    curve = Curve(Group("layer", units, units), units, 8, np.array([0]), np.array([0.0]))
    lost = [0]
    while (further := curve.next(lost[-1])) is not None:
        lost.append(further)
    assert [30 - one for one in lost] == [30, 24, 16, 8]


def test_what_goes_beyond_the_narrowest_width_that_was_tried_is_not_free() -> None:
    units = np.arange(64)
    curve = Curve(Group("layer", units, units), units, 4, np.array([0, 32, 56]), np.array([0.0, 0.1, 0.4]))
    assert [curve.error(lost) for lost in (16, 32, 56, 60)] == pytest.approx([0.05, 0.1, 0.4, 0.45])


def test_layers_share_the_loss_unevenly() -> None:
    module = PATIENTS["cnn"].graph()
    module.get_parameter("body.1.second.weight").data.zero_()  # so that nothing depends on body.1.first
    changed = PruneChannels(macs=0.2)(module, context_of(module, PATIENTS["cnn"].arrays(32)))
    assert len(changed.get_parameter("body.1.first.weight")) < len(changed.get_parameter("body.0.first.weight"))


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (PruneChannels(macs=0.0), "macs is the share of the multiply-accumulates that go, between 0 and 1, not 0.0"),
        (PruneChannels(macs=1.0), "not 1.0"),
        (PruneChannels(size=-0.1), "size is the share of the parameters' bytes that go, between 0 and 1, not -0.1"),
        (PruneChannels(latency=float("nan")), "latency is the share of .* between 0 and 1, not nan"),
        (PruneChannels(macs=0.5, size=0.5), "takes one of macs, size and latency, not macs and size"),
        (PruneChannels(round_to=0), "round_to must be at least 1, not 0"),
        (PruneChannels(samples=0), "0 of 64 calibration samples: one is needed at least"),
    ],
)
def test_an_option_out_of_range_is_refused(method: PruneChannels, words: str) -> None:
    with pytest.raises(CandidateError, match=words):
        pruned("cnn", method)


def test_more_than_can_go_is_refused_with_what_can() -> None:
    with pytest.raises(NotApplicable, match=r"\d+ % of the multiply-accumulates sit in channels that can go, and 90 %"):
        pruned("encoder", PruneChannels(macs=0.9))


def test_a_model_of_fixed_widths_is_none_for_it() -> None:
    with pytest.raises(NotApplicable, match="no layer can lose channels"):
        pruned("recurrent", PruneChannels())


@pytest.mark.parametrize("importance", ["group_norm", "activation", "taylor"])
def test_weights_that_are_not_numbers_are_refused(importance: Importance) -> None:
    module = PATIENTS["cnn"].graph()
    module.get_parameter("stem.weight").data[0] = float("nan")
    with pytest.raises(CandidateError, match="NaN or infinite"):
        PruneChannels(importance=importance)(module, context_of(module, PATIENTS["cnn"].arrays(8)))


@pytest.mark.parametrize("samples", [1, 8])
def test_calibration_that_says_nothing_does_no_harm(samples: int) -> None:
    constant: Arrays = {"image": np.zeros((samples, 1, 12, 12), np.float32)}
    changed = pruned("cnn", PruneChannels(), constant)
    assert all(parameter.isfinite().all() for parameter in changed.parameters())
    assert relative_error(changed, PATIENTS["cnn"].graph(), PATIENTS["cnn"].arrays(8)) < 1
