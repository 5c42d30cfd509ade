"""`drop_layers`: residual layers are found in the graph, and the one that is missed least goes."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from torch import Tensor, fx, nn

from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Arrays
from costopt.methods.drop_layers import DropLayers
from tests import models
from tests.onnx_graphs import normal
from tests.torch_patients import PATIENTS, context_of, graph_of, outputs, parameters

Importance = Literal["output", "similarity"]
each_importance = pytest.mark.parametrize("importance", ["output", "similarity"])


class PreNorm(nn.Module):
    """A transformer that normalises what its branches read; names tell nothing, and dropout is there."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.start = nn.Linear(12, 16)
        self.parts = nn.ModuleList(nn.LayerNorm(16) for _ in range(2 * layers + 1))
        self.mixers = nn.ModuleList(models.Attention(16, heads=2) for _ in range(layers))
        self.up = nn.ModuleList(nn.Linear(16, 32) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(32, 16) for _ in range(layers))
        self.dropout, self.head = nn.Dropout(0.1), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        inner, mask = self.dropout(self.start(x)), torch.ones(1, 1, dtype=torch.bool)
        for at, (mixer, up, down) in enumerate(zip(self.mixers, self.up, self.down, strict=True)):
            inner = inner + self.dropout(mixer(self.parts[2 * at](inner), mask))
            inner = self.dropout(down(up(self.parts[2 * at + 1](inner)).relu())) + inner
        out: Tensor = self.head(self.parts[-1](inner).mean(1))
        return out

    def silence(self, layer: int) -> None:
        """Make a layer add nothing."""
        for last in (self.mixers[layer].get_submodule("output"), self.down[layer]):
            for parameter in last.parameters():
                parameter.data.zero_()


class InPlace(nn.Module):
    """Residual blocks that add and rectify in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.convs = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))

    def forward(self, image: Tensor) -> Tensor:
        inner = self.stem(image).relu_()
        for conv in self.convs:
            inner = conv(inner).add_(inner).relu_()
        out: Tensor = inner.mean((2, 3))
        return out


SEQUENCES: Arrays = {"x": normal(16, 7, 12)}
IMAGES: Arrays = {"image": normal(16, 1, 12, 12)}


def dropped(method: DropLayers, model: nn.Module, arrays: Arrays) -> fx.GraphModule:
    module = graph_of(model, arrays)
    return method(module, context_of(module, arrays))


def norms(module: nn.Module) -> int:
    return sum(isinstance(part, nn.LayerNorm) for part in module.modules())


@each_importance
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_a_layer_that_adds_nothing_goes_and_nothing_changes(importance: Importance, layer: int) -> None:
    torch.manual_seed(0)
    model = PreNorm(4)
    model.silence(layer)
    after = dropped(DropLayers(layers=1, importance=importance), model, SEQUENCES)
    assert torch.equal(outputs(after, SEQUENCES)[0], outputs(model, SEQUENCES)[0])
    assert parameters(model) - parameters(after) == sum(
        parameters(part) for part in (model.mixers[0], model.up[0], model.down[0], model.parts[0], model.parts[1])
    )


def test_attention_and_perceptron_go_together_when_the_sum_is_normalised_too() -> None:
    torch.manual_seed(0)
    model, arrays = models.SmallEncoder(layers=4), models.encoder_arrays(16)
    after = dropped(DropLayers(share=0.5), model, arrays)
    assert norms(after) == 4
    left = sorted({name.split(".")[1] for name, _ in after.named_parameters() if name.startswith("layers.")})
    model.layers = nn.ModuleList(model.layers[int(number)] for number in left)
    for got, wanted in zip(outputs(after, arrays), outputs(graph_of(model, arrays), arrays), strict=True):
        torch.testing.assert_close(got, wanted)


def test_blocks_that_work_in_place_are_left_out_whole() -> None:
    torch.manual_seed(0)
    model = InPlace()
    after = dropped(DropLayers(layers=2), model, IMAGES)
    (left,) = {int(name.split(".")[1]) for name, _ in after.named_parameters() if name.startswith("convs")}
    model.convs = nn.ModuleList([model.convs[left]])
    torch.testing.assert_close(outputs(after, IMAGES)[0], outputs(model, IMAGES)[0])


def test_a_single_layer_may_go_and_the_model_is_left() -> None:
    after = dropped(DropLayers(), PreNorm(1), SEQUENCES)
    assert parameters(after) < parameters(PreNorm(1))
    assert torch.isfinite(outputs(after, SEQUENCES)[0]).all()


@pytest.mark.parametrize("name", ["lenet", "dense", "autoencoder", "recurrent", "recommender"])
def test_models_without_residual_layers_are_told_so(name: str) -> None:
    module = PATIENTS[name].graph()
    with pytest.raises(NotApplicable, match="no residual layer"):
        DropLayers()(module, context_of(module, PATIENTS[name].arrays(4)))


class Leaking(nn.Module):
    """What a residual branch computes is read by the head too."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(8, 8), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.inner(x)
        out: Tensor = self.head(torch.cat([x + branch, branch], dim=1))
        return out


def test_a_layer_whose_inner_values_are_read_elsewhere_stays() -> None:
    with pytest.raises(NotApplicable, match="no residual layer"):
        dropped(DropLayers(), Leaking(), {"x": normal(4, 8)})


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("method", "samples", "words"),
    [
        (DropLayers(share=0.0), 4, "share must lie between 0 and 1, not 0.0"),
        (DropLayers(share=1.0), 4, "share must lie between 0 and 1, not 1.0"),
        (DropLayers(layers=0), 4, "layers must be at least 1, not 0"),
        (DropLayers(layers=3), 4, "layers: 3, and the model has 2 of them"),
        (DropLayers(samples=0), 4, "0 of 4 calibration samples"),
        (DropLayers(), 0, "64 of 0 calibration samples"),
    ],
)
def test_options_out_of_range_are_refused(method: DropLayers, samples: int, words: str) -> None:
    module = graph_of(PreNorm(2), SEQUENCES)
    with pytest.raises(CandidateError, match=words):
        method(module, context_of(module, {"x": SEQUENCES["x"][:samples]}))


def test_a_model_that_gives_no_numbers_is_refused() -> None:
    model = PreNorm(2)
    model.head.weight.data[0, 0] = float("nan")
    with pytest.raises(CandidateError, match="values that are not finite"):
        dropped(DropLayers(), model, SEQUENCES)


def test_calibration_that_does_not_vary_is_refused() -> None:
    alike: Arrays = {name: array[:1].repeat(8, axis=0) for name, array in SEQUENCES.items()}
    with pytest.raises(CandidateError, match="calibration does not vary, all samples are alike"):
        dropped(DropLayers(), PreNorm(2), alike)


# ---------------------------------------------------------------------------------------- well-known architectures


def _vit() -> tuple[nn.Module, Arrays]:
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8
    )
    return Only(ViTModel(config)), {"x": normal(4, 3, 16, 16)}


def _bert() -> tuple[nn.Module, Arrays]:
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, vocab_size=50)
    return Only(BertModel(config)), {"x": normal(4, 6).astype("int64") % 50}


def _gpt() -> tuple[nn.Module, Arrays]:
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(n_embd=16, n_layer=3, n_head=2, vocab_size=50, use_cache=False)
    return Only(GPT2Model(config)), {"x": normal(4, 6).astype("int64") % 50}


class Only(nn.Module):
    """A model of transformers, and of what it gives, the hidden states."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        hidden: Tensor = self.model(x).last_hidden_state
        return hidden


@pytest.mark.slow
@pytest.mark.parametrize("make", [_vit, _bert, _gpt], ids=["vit", "bert", "gpt2"])
def test_transformers_of_transformers_have_as_many_layers_as_they_say(
    make: Callable[[], tuple[nn.Module, Arrays]],
) -> None:
    model, arrays = make()
    after = dropped(DropLayers(layers=2), model, arrays)
    assert torch.isfinite(outputs(after, arrays)[0]).all()
    with pytest.raises(CandidateError, match="the model has 3 of them"):
        dropped(DropLayers(layers=4), model, arrays)
