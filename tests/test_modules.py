"""An exported graph becomes modules again: the same outputs to the last bit, and an ordinary module to work on."""

import copy
import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx, nn
from torch.export import Dim

from costopt.errors import CandidateError, NotApplicable
from costopt.formats import Modules, OnnxFile, Program
from costopt.loading.modules import modules_of
from costopt.methods.fold_batchnorm import FoldBatchnorm
from costopt.records import Graph
from tests import models
from tests.torch_patients import context_of, graph_of


@functools.cache
def program(make: Callable[[], nn.Module]) -> Program:
    """Exported once; its parameters are shared by all who bring it back into modules."""
    return Program(models.exported(make()))


def from_graph(make: Callable[[], nn.Module]) -> fx.GraphModule:
    rebuilt = modules_of(program(make)).module
    assert isinstance(rebuilt, fx.GraphModule)
    return rebuilt


def kinds(module: nn.Module) -> dict[str, str]:
    """The layers of a module by name."""
    return {name: type(part).__name__ for name, part in module.named_modules() if type(part).__module__ != "torch.nn"
            and type(part).__name__ not in ("Module", "GraphModule", "Sequential", "ModuleList")
            and type(part).__module__.startswith("torch.nn.modules")}  # fmt: skip


def flat(outputs: object) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(outputs) if isinstance(leaf, Tensor)]


@pytest.mark.parametrize("make", [models.small_cnn, models.small_encoder, models.two_in_two_out])
def test_modules_compute_what_the_graph_did_to_the_last_bit(make: Callable[[], nn.Module]) -> None:
    model, rebuilt = make(), from_graph(make)
    for samples in (1, 5):
        inputs = models.tensors(models.arrays_for(model, samples))
        assert all(map(torch.equal, flat(rebuilt(*inputs)), flat(model(*inputs))))


@pytest.mark.parametrize("make", [models.small_cnn, models.small_encoder])
def test_every_layer_is_back_under_its_own_name(make: Callable[[], nn.Module]) -> None:
    model, rebuilt = make(), from_graph(make)
    assert kinds(rebuilt) == kinds(model)
    assert {name for name, _ in rebuilt.named_parameters()} == {name for name, _ in model.named_parameters()}


def test_parameters_are_the_ones_of_the_program_and_not_copies() -> None:
    exported = program(models.small_cnn).program
    rebuilt = modules_of(Program(exported)).module
    assert rebuilt.get_parameter("stem.weight").data_ptr() == exported.state_dict["stem.weight"].data_ptr()


def test_modules_can_be_put_into_eval_and_training_mode_and_trained() -> None:
    rebuilt = copy.deepcopy(from_graph(models.small_cnn))
    assert not rebuilt.training
    rebuilt.train()
    before = rebuilt.get_parameter("stem.weight").detach().clone()
    rebuilt(*models.tensors(models.cnn_arrays(4))).sum().backward()
    torch.optim.SGD(rebuilt.parameters(), lr=0.1).step()
    assert not torch.equal(rebuilt.get_parameter("stem.weight"), before)
    rebuilt.eval()


def test_modules_can_be_exported_again_with_a_dynamic_batch_and_sequence() -> None:
    model = models.small_encoder()
    rebuilt = modules_of(program(models.small_encoder))
    assert rebuilt.input_names == ("input_ids", "attention_mask")
    arrays = models.encoder_arrays(2, length=9)
    named = dict(zip(arrays, models.tensors(arrays), strict=True))
    axes = {0: Dim("batch", min=1), 1: Dim("sequence", min=1)}
    again = torch.export.export(rebuilt.module, (), named, dynamic_shapes=dict.fromkeys(named, axes))
    other = models.tensors(models.encoder_arrays(5, length=4))
    outputs = again.module()(**dict(zip(arrays, other, strict=True)))
    assert all(map(torch.equal, flat(outputs), flat(model(*other))))


class Shared(nn.Module):
    """One layer called twice, one weight tied to a layer of another kind, one parameter of nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(6, 4)
        self.twice = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, numbers: Tensor) -> Tensor:
        inner = self.twice(torch.relu(self.twice(self.table(numbers) * self.scale)))
        return nn.functional.linear(inner, self.table.weight)


def test_shared_layers_stay_one_layer_and_tied_weights_stay_tied() -> None:
    model, numbers = Shared().eval(), torch.tensor([[1, 2, 5]])
    rebuilt = modules_of(Program(torch.export.export(model, (numbers,)))).module
    assert isinstance(rebuilt, fx.GraphModule)
    assert kinds(rebuilt) == {"table": "Embedding", "twice": "Linear"}
    assert [node.target for node in rebuilt.graph.nodes].count("twice") == 2
    assert len(list(rebuilt.parameters())) == len(list(model.parameters()))
    assert torch.equal(rebuilt(numbers), model(numbers))
    with torch.no_grad():
        rebuilt.get_parameter("table.weight").zero_()
    assert not rebuilt(numbers).any()


class Odd(nn.Module):
    """Convolutions of every sort, and calls that are no layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Conv1d(2, 4, 3, stride=2, padding="valid", groups=2)
        self.same = nn.Conv2d(1, 4, (3, 5), padding="same", dilation=(1, 2), bias=False)
        self.volume = nn.Conv3d(1, 2, 2, stride=(1, 2, 1))
        self.norm = nn.BatchNorm1d(4, affine=False)
        self.layers = nn.LayerNorm(4, bias=False)
        self.own = nn.Module()
        self.own.register_parameter("weight", nn.Parameter(torch.randn(4, 4)))
        self.own.register_parameter("other", nn.Parameter(torch.randn(4)))

    def forward(self, line: Tensor, plane: Tensor, volume: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = self.norm(self.line(line)).mean(dim=2)
        second = nn.functional.linear(
            self.layers(first), self.own.get_parameter("weight"), self.own.get_parameter("other")
        )
        return second, self.same(plane), self.volume(volume)


def test_layers_keep_their_settings_and_what_is_no_layer_stays_a_call() -> None:
    model = Odd().eval()
    inputs = (torch.randn(2, 2, 9), torch.randn(2, 1, 7, 9), torch.randn(2, 1, 3, 4, 5))
    rebuilt = modules_of(Program(torch.export.export(model, inputs))).module
    assert kinds(rebuilt) == {"line": "Conv1d", "same": "Conv2d", "volume": "Conv3d", "layers": "LayerNorm"}
    assert all(map(torch.equal, flat(rebuilt(*inputs)), flat(model(*inputs))))


class Nested(nn.Module):
    """Inputs in a nest and a setting among them; outputs in a nest, one of them missing."""

    def forward(self, pair: list[Tensor], twice: bool, more: dict[str, Tensor]) -> dict[str, tuple[Tensor, None]]:
        return {"sum": (pair[0] + pair[1] * more["scale"] * (2 if twice else 1), None)}


def test_inputs_leave_their_nest_and_outputs_stay_in_theirs() -> None:
    first, second, scale = torch.full((2, 3), 1.0), torch.full((2, 3), 2.0), torch.full((2, 3), 3.0)
    rebuilt = modules_of(Program(torch.export.export(Nested(), ([first, second], True), {"more": {"scale": scale}})))
    assert rebuilt.input_names == ("pair_0", "pair_1", "more_scale")
    outputs = rebuilt.module(pair_0=first, more_scale=scale, pair_1=second)
    assert torch.equal(outputs["sum"][0], torch.full((2, 3), 13.0))


def test_what_has_no_modules_is_told(tmp_path: Path) -> None:
    with pytest.raises(CandidateError, match="ONNX"):
        modules_of(OnnxFile(tmp_path / "model.onnx"))
    scripted = torch.jit.script(models.two_in_two_out())
    with pytest.raises(CandidateError, match="TorchScript"):
        modules_of(Modules(scripted, ("left", "right")))


def test_modules_are_given_as_they_are() -> None:
    given = Modules(models.small_cnn(), ("image",))
    assert modules_of(given) is given


# ---------------------------------------------------------------------------------------- fold_batchnorm


def batch_norms(module: nn.Module) -> list[str]:
    return [name for name, kind in kinds(module).items() if kind.startswith("BatchNorm")]


def test_folding_takes_every_batchnorm_away_and_changes_nothing_else() -> None:
    model, start = models.small_cnn(), from_graph(models.small_cnn)
    assert len(batch_norms(start)) == 5
    folded = FoldBatchnorm()(start, context_of(start, {}))
    assert batch_norms(folded) == []
    inputs = models.tensors(models.cnn_arrays(8))
    torch.testing.assert_close(folded(*inputs), model(*inputs), rtol=1e-5, atol=1e-5)
    again = torch.export.export(folded, inputs, dynamic_shapes={"image": {0: Dim("batch", min=1)}})
    three = models.tensors(models.cnn_arrays(3))
    torch.testing.assert_close(again.module()(*three), model(*three), rtol=1e-5, atol=1e-5)


class Unfoldable(nn.Module):
    """A convolution that two read, a convolution that is used twice, and a norm that comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.read_twice, self.used_twice = nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(2) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        first = self.read_twice(self.norms[0](x))
        second = self.used_twice(first + self.norms[1](first))
        out: Tensor = self.norms[2](second) + self.norms[3](self.used_twice(x))
        return out


def test_a_convolution_that_somebody_else_reads_is_not_folded() -> None:
    model, x = Unfoldable().eval(), torch.randn(2, 2, 3, 3)
    rebuilt = graph_of(model, {"x": x.numpy()})
    with pytest.raises(NotApplicable, match="no BatchNorm follows"):
        FoldBatchnorm()(rebuilt, context_of(rebuilt, {}))


def test_a_model_without_batchnorm_is_not_applicable() -> None:
    start = from_graph(models.small_encoder)
    with pytest.raises(NotApplicable):
        FoldBatchnorm()(start, context_of(start, {}))


def test_a_graph_without_batchnorm_is_left_out_before_any_work() -> None:
    def graph(operator: str) -> Graph:
        return Graph((), (), {operator: 1}, {}, 20, 1)

    assert FoldBatchnorm().unsuitable(graph("BatchNormalization")) is None
    assert "no BatchNorm" in str(FoldBatchnorm().unsuitable(graph("Conv")))
