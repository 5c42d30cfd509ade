"""Layers with their weight the other way round become `nn.Linear`, and compute what they did."""

import torch
from torch import Tensor, fx, nn

from tests.onnx_graphs import normal
from tests.test_modules import kinds
from tests.torch_patients import graph_of, outputs, relative_error


class Turned(nn.Module):
    """A layer as transformers' `Conv1D` writes it: the weight is (inputs, outputs)."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(inputs, width)), nn.Parameter(torch.randn(width))

    def forward(self, x: Tensor) -> Tensor:
        flat = torch.addmm(self.bias, x.view(-1, x.size(-1)), self.weight)
        return flat.view(*x.shape[:-1], self.weight.shape[1])


class Several(nn.Module):
    """One called twice, one on flat data, one whose weight is read elsewhere, one whose weight has two names."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.flat = Turned(6, 6), Turned(6, 5)
        self.read, self.one, self.other = Turned(5, 5), Turned(5, 5), Turned(5, 5)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        inner = self.twice(self.twice(x).relu()).relu().mean(1)
        inner = torch.addmm(self.flat.bias, inner, self.flat.weight)
        inner = self.read(inner) * self.read.weight.mean()
        return self.other(self.one(inner).relu())  # type: ignore[no-any-return]  # a module's call is Any


def rebuilt() -> tuple[Several, fx.GraphModule]:
    torch.manual_seed(0)
    model = Several().eval()
    return model, graph_of(model, {"x": normal(2, 4, 6)})


def test_a_weight_of_one_layer_is_turned_and_one_that_others_read_is_not() -> None:
    _, graph = rebuilt()
    assert kinds(graph) == {"twice": "Linear", "flat": "Linear"}
    assert graph.get_parameter("flat.weight").shape == (5, 6)
    assert graph.get_parameter("read.weight").shape == (5, 5)
    assert [node.target for node in graph.graph.nodes].count("twice") == 2


def test_the_views_around_it_are_gone() -> None:
    _, graph = rebuilt()
    calls = [str(node.target) for node in graph.graph.nodes]
    assert calls.count("aten.addmm.default") == 3
    before_and_after = 2
    assert calls.count("aten.view.default") == 3 * before_and_after


def test_outputs_stay_within_float_rounding_at_any_batch_and_the_model_is_left_alone() -> None:
    model, graph = rebuilt()
    before = model.flat.weight.detach().clone()
    for batch in (1, 5):
        assert relative_error(graph, model, {"x": normal(batch, 4, 6)}) < 1e-6
    with torch.no_grad():
        graph.get_parameter("flat.weight").zero_()
    assert torch.equal(model.flat.weight, before)
    assert outputs(model, {"x": normal(2, 4, 6)})[0].any()


def test_factors_of_the_product_keep_it_a_call() -> None:
    class Scaled(Turned):
        def forward(self, x: Tensor) -> Tensor:
            return torch.addmm(self.bias, x, self.weight, alpha=2)

    assert kinds(graph_of(Scaled(3, 4), {"x": normal(2, 3)})) == {}
