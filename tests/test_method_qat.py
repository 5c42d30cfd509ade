"""A model that has learned with its rounding in place is nearer to the original when it is rounded."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, fx, nn

from costopt import export
from costopt.errors import CandidateError, NotApplicable
from costopt.formats import Modules
from costopt.methods import Arrays, Context
from costopt.methods.int8_static import Int8Static
from costopt.methods.qat import Qat
from tests import onnx_graphs
from tests.onnx_graphs import Held
from tests.torch_patients import PATIENTS, context_of, graph_of, specs_of

SAMPLES = 96

LARGE = 60.0


def uneven(module: fx.GraphModule) -> fx.GraphModule:
    """The first channels of LeNet's first layer are large, and its second layer takes that back: outputs stay the same.

    One scale for all channels leaves few levels to the others.
    """
    first, second = (module.get_submodule(name) for name in ("first", "second"))
    with torch.no_grad():
        first.get_parameter("weight")[:2] *= LARGE
        first.get_parameter("bias")[:2] *= LARGE
        second.get_parameter("weight")[:, :2] /= LARGE
    return module


def case() -> tuple[fx.GraphModule, Context, Arrays, Arrays]:
    """A patient that rounding harms, its context, what it has seen, and what it has not."""
    module, arrays = uneven(PATIENTS["lenet"].graph()), PATIENTS["lenet"].arrays(SAMPLES + 32)
    seen = {key: array[:SAMPLES] for key, array in arrays.items()}
    return module, context_of(module, seen), seen, {key: array[SAMPLES:] for key, array in arrays.items()}


def written(module: fx.GraphModule, arrays: Arrays, path: Path) -> Path:
    example = {name: array[:2] for name, array in arrays.items()}
    export.export_original(Modules(module, tuple(arrays)), specs_of(arrays), example, path, 20)
    return path


def error_when_rounded(module: fx.GraphModule, seen: Arrays, unseen: Arrays, folder: Path) -> float:
    """How far `int8_static` of the module is from the patient as it was, `original.onnx`."""
    Int8Static()(written(module, seen, folder / "float.onnx"), folder / "int8.onnx", Held(seen))
    return onnx_graphs.relative_error(folder / "int8.onnx", folder / "original.onnx", unseen)


def test_what_is_rounded_after_learning_is_nearer_to_the_original(tmp_path: Path) -> None:
    module, context, seen, unseen = case()
    written(module, seen, tmp_path / "original.onnx")
    before = error_when_rounded(context.original(), seen, unseen, tmp_path)
    names = {name for name, _ in module.named_parameters()}
    learned = Qat(steps=60, batch=16)(module, context)
    assert error_when_rounded(learned, seen, unseen, tmp_path) < 0.95 * before
    assert {name for name, _ in learned.named_parameters()} == names, "its weights are float again"
    assert "rounded" not in learned.code


def test_a_model_is_left_as_it_was_when_learning_is_refused() -> None:
    module, context, _, _ = case()
    code = module.code
    with pytest.raises(CandidateError, match="steps must be more than 0"):
        Qat(steps=0)(module, context)
    assert module.code == code


def test_weights_that_are_not_finite_are_refused_by_their_own_name() -> None:
    module, context, _, _ = case()
    module.get_parameter("first.weight").data[0] = torch.nan
    with pytest.raises(CandidateError, match=r"^'first\.weight' holds NaN"):
        Qat(steps=5, batch=16)(module, context)


class Scale(nn.Module):
    """A number for each feature, and no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


def test_a_model_without_layers_that_are_rounded_has_nothing_to_learn() -> None:
    arrays: Arrays = {"x": onnx_graphs.normal(8, 4)}
    module = graph_of(Scale(), arrays)
    with pytest.raises(NotApplicable, match="no linear layer and no convolution"):
        Qat(steps=1)(module, context_of(module, arrays))
