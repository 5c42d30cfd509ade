"""`low_rank`: two thin layers in place of one that give what it gave, on the inputs that there are."""

import itertools
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from costopt.cutting import surgery
from costopt.cutting.factorised import ObservedLayer, splits
from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Arrays
from costopt.methods.low_rank import LowRank
from tests.onnx_graphs import normal
from tests.torch_patients import PATIENTS, Shared, context_of, graph_of, outputs, relative_error


def share_left(method: LowRank, model: nn.Module, arrays: Arrays) -> tuple[float, float]:
    """(multiply-accumulates, relative error) of what the method makes, beside the original."""
    torch.manual_seed(0)
    before, module = graph_of(model, arrays), graph_of(model, arrays)
    after = method(module, context_of(module, arrays))
    inputs = [torch.from_numpy(array) for array in arrays.values()]
    macs = [sum(surgery.macs(one, inputs).values()) for one in (after, before)]
    return macs[0] / macs[1], relative_error(after, before, arrays)


# ---------------------------------------------------------------------------------------- one layer


def seen(layer: nn.Linear | nn.Conv2d, given: Tensor) -> ObservedLayer:
    observed = ObservedLayer(layer, "layer")
    observed.see(given, layer(given), 10**9, torch.Generator())
    return observed


def lost(parts: tuple[nn.Module, nn.Module], layer: nn.Module, given: Tensor) -> float:
    """The share of the outputs' variance that two layers get wrong, with channels in the second axis."""
    wanted, got = layer(given), parts[1](parts[0](given))
    assert got.shape == wanted.shape
    dims = [dim for dim in range(wanted.ndim) if dim != 1]
    centred = wanted - wanted.mean(dims, keepdim=True)
    return float((got - wanted).double().square().sum() / centred.double().square().sum())


@settings(max_examples=15, deadline=None)
@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    padding=st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 2)), st.just("valid")),
    seed=st.integers(0, 9),
)
@torch.no_grad()
def test_a_split_convolution_loses_what_it_says_whatever_its_form_and_geometry(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int] | str,
    seed: int,
) -> None:
    torch.manual_seed(seed)
    layer = nn.Conv2d(16, 24, kernel, stride, padding, dilation)
    # 192 images: shrinking the covariance makes the forecast dark, the more the fewer places a kernel was seen at
    images = nn.Conv2d(4, 16, 3, padding=1)(torch.randn(192, 4, 12, 12)) + torch.randn(16, 1, 1)
    found = list(splits(seen(layer, images), least_saving=0.05))
    for split in found:
        share = lost(split.parts(), layer, images)
        assert 0.85 * split.loss - 0.01 < share < 1.01 * split.loss + 0.001
    for _, form in itertools.groupby(found, key=lambda one: one.form):
        losses = [one.loss for one in form]
        assert losses == sorted(losses, reverse=True)


@torch.no_grad()
def test_what_inputs_never_do_costs_no_rank() -> None:
    torch.manual_seed(0)
    layer, rows = nn.Linear(64, 64), torch.randn(2000, 8) @ torch.randn(8, 64) + torch.randn(64)
    split = min(splits(seen(layer, rows), least_saving=0.5), key=lambda one: one.macs)
    plain = torch.linalg.svd(layer.weight)
    by_weights = plain.U[:, :8] * plain.S[:8] @ plain.Vh[:8]
    error = (rows @ by_weights.T + layer.bias - layer(rows)).square().sum() / layer(rows).square().sum()
    assert len(split.inner) == 8
    assert lost(split.parts(), layer, rows) < 1e-4 < 0.1 < float(error)


@torch.no_grad()
def test_few_rows_are_not_believed_as_much_as_many() -> None:
    torch.manual_seed(0)
    layer, mixing = nn.Linear(48, 48), torch.randn(48, 48) * torch.logspace(0, -2, 48)
    rows = torch.randn(5000, 48) @ mixing.T
    true = rows.double().T.cov()

    def error(covariance: Tensor) -> float:
        return float((covariance - true).norm() / true.norm())

    few = rows[:12]
    assert error(seen(layer, few).moments[1]) < error(few.double().T.cov(correction=0))
    assert error(seen(layer, rows).moments[1]) < 0.02


# ---------------------------------------------------------------------------------------- which layers, which ranks


@pytest.mark.parametrize("macs", [0.1, 0.2, 0.3])
def test_the_share_of_operations_that_was_asked_for_goes_and_little_more(macs: float) -> None:
    left, _ = share_left(LowRank(macs=macs), PATIENTS["cnn"].make(), PATIENTS["cnn"].arrays(32))
    assert 1 - macs - 0.15 < left <= 1 - macs


def test_the_more_goes_the_more_is_lost() -> None:
    errors = [
        share_left(LowRank(macs=macs), PATIENTS["encoder"].make(), PATIENTS["encoder"].arrays(64))[1]
        for macs in (0.15, 0.3, 0.45)
    ]
    assert errors == sorted(errors)
    assert errors[0] < errors[2]


class Perceptron(nn.Module):
    """Two linear layers, the first of rank 8."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 64)
        with torch.no_grad():
            self.first.weight.copy_(torch.randn(64, 8) @ torch.randn(8, 64) / 8)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.first(x).relu())
        return out


@pytest.mark.parametrize("method", [LowRank(energy=0.9999), LowRank(macs=0.3), LowRank(ratio=0.75)], ids=str)
def test_a_layer_that_has_a_low_rank_is_the_one_that_is_split(method: LowRank) -> None:
    torch.manual_seed(0)
    arrays: Arrays = {"x": normal(512, 64)}
    module = graph_of(Perceptron(), arrays)
    before = outputs(module, arrays)[0]
    after = method(module, context_of(module, arrays))
    first = cast(nn.Linear, after.get_submodule("first.first"))
    assert (first.in_features, first.out_features) == (64, 8)
    if method.ratio is None:
        assert isinstance(after.get_submodule("second"), nn.Linear)
        torch.testing.assert_close(outputs(after, arrays)[0], before, atol=1e-4, rtol=1e-4)


def test_a_layer_that_saves_too_little_stays_whole() -> None:
    arrays: Arrays = {"x": normal(64, 64)}
    module = graph_of(Perceptron(), arrays)
    with pytest.raises(NotApplicable, match="no layer of rank 8 or more saves 90 % of its operations"):
        LowRank(least_saving=0.9)(module, context_of(module, arrays))


def test_a_budget_out_of_reach_is_told() -> None:
    module, arrays = PATIENTS["lenet"].graph(), PATIENTS["lenet"].arrays(32)
    with pytest.raises(NotApplicable, match=r"low rank saves at most .* less than the 90 % asked for"):
        LowRank(macs=0.9)(module, context_of(module, arrays))


def test_a_layer_used_twice_is_split_once_and_shared_weights_stay() -> None:
    arrays: Arrays = {"x": normal(64, 32)}
    model = Shared()
    for name in ("twice", "first", "second"):
        model.set_submodule(name, nn.Linear(32, 32))
    model.second.weight = model.first.weight
    model.head = nn.Linear(32, 4)
    module = graph_of(model, arrays)
    after = LowRank(ratio=0.3)(module, context_of(module, arrays))
    called = [str(node.target) for node in after.graph.nodes if node.op == "call_module"]
    assert called[:4] == ["twice.first", "twice.second"] * 2
    assert not any(name.startswith(("first.", "second.")) for name in called)


class Grouped(nn.Module):
    """A convolution in two groups, and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 64, 3)
        self.grouped, self.plain = nn.Conv2d(64, 64, 3, groups=2), nn.Conv2d(64, 64, 3)

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.plain(self.grouped(self.stem(image).relu()).relu())
        return out


def test_grouped_convolutions_are_left_alone() -> None:
    torch.manual_seed(0)
    arrays: Arrays = {"image": normal(16, 1, 12, 12)}
    module = graph_of(Grouped(), arrays)
    after = LowRank(ratio=0.3)(module, context_of(module, arrays))
    assert isinstance(after.get_submodule("grouped"), nn.Conv2d)
    assert isinstance(after.get_submodule("plain.second"), nn.Conv2d)


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (LowRank(macs=0.0), "macs must lie between 0 and 1, not 0.0"),
        (LowRank(ratio=1.0), "ratio must lie between 0 and 1, not 1.0"),
        (LowRank(energy=-1.0), "energy must lie between 0 and 1"),
        (LowRank(least_saving=1.0), "least_saving must lie between 0 and 1"),
        (LowRank(macs=0.3, energy=0.9), "takes one of macs, ratio and energy, not macs and energy"),
        (LowRank(samples=1), "1 of 32 calibration samples"),
    ],
)
def test_options_out_of_range_are_refused(method: LowRank, words: str) -> None:
    module = PATIENTS["lenet"].graph()
    with pytest.raises(CandidateError, match=words):
        method(module, context_of(module, PATIENTS["lenet"].arrays(32)))


def test_weights_that_are_no_numbers_are_refused_and_the_layer_is_named() -> None:
    module, arrays = PATIENTS["lenet"].graph(), PATIENTS["lenet"].arrays(8)
    cast(nn.Linear, module.get_submodule("hidden")).weight.data[0, 0] = float("nan")
    with pytest.raises(CandidateError, match="the weights of 'hidden' are not all finite"):
        LowRank()(module, context_of(module, arrays))


def test_infinite_inputs_are_refused_and_the_layer_is_named() -> None:
    module, arrays = PATIENTS["lenet"].graph(), PATIENTS["lenet"].arrays(8)
    arrays["image"][3, 0, 5, 5] = np.inf
    with pytest.raises(CandidateError, match="values that are not finite to 'first'"):
        LowRank()(module, context_of(module, arrays))


def test_calibration_that_does_not_vary_is_refused() -> None:
    arrays: Arrays = {"x": np.ones((16, 64), np.float32)}
    module = graph_of(Perceptron(), arrays)
    with pytest.raises(CandidateError, match="calibration does not vary"):
        LowRank()(module, context_of(module, arrays))


def test_layers_of_zeros_stay() -> None:
    torch.manual_seed(0)
    arrays: Arrays = {"x": normal(64, 64)}
    module = graph_of(Perceptron(), arrays)
    cast(nn.Linear, module.get_submodule("second")).weight.data.zero_()
    after = LowRank(energy=0.9)(module, context_of(module, arrays))
    assert isinstance(after.get_submodule("second"), nn.Linear)
