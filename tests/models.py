"""Small real models, and how to save each in every kind of file: the patients that the tests share.

- `SmallCnn`: a residual convolutional network with BatchNorm. One float input, one output.
- `SmallEncoder`: a two-layer transformer encoder. Two integer inputs, dynamic batch and sequence, two outputs, one of
  them called `embedding` (torch's exporter gives an inner value that name too).
- `TwoInTwoOut`: two float inputs, two outputs, so small that every number can be followed by hand.

Weights depend on the seed alone: two calls of `small_cnn()` give equal models. BatchNorm's running statistics are
not those of a fresh layer, so that folding it wrongly is seen.
"""

import copy
import functools
import io
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional

from costopt.records import InputSpec

CNN_SIDE = 12
CNN_CLASSES = 10
ENCODER_VOCABULARY = 64
ENCODER_WIDTH = 32
POSITIONS = 128

CNN_INPUTS = (InputSpec("image", ("batch", 1, CNN_SIDE, CNN_SIDE), "float32"),)
ENCODER_INPUTS = (
    InputSpec("input_ids", ("batch", "sequence"), "int64"),
    InputSpec("attention_mask", ("batch", "sequence"), "int64"),
)
TWO_INPUTS = (InputSpec("left", ("batch", 4), "float32"), InputSpec("right", ("batch", 4), "float32"))

Arrays = dict[str, NDArray[np.generic]]


class Residual(nn.Module):
    """Two convolutions and what went in, added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)

    def forward(self, image: Tensor) -> Tensor:
        inner = functional.relu(self.first_norm(self.first(image)))
        return functional.relu(image + self.second_norm(self.second(inner)))


class SmallCnn(nn.Module):
    """Images of shape (batch, 1, 12, 12) to logits of shape (batch, 10)."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.body = nn.Sequential(Residual(width), Residual(width))
        self.head = nn.Linear(width, CNN_CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        inner = self.body(functional.relu(self.stem_norm(self.stem(image))))
        logits: Tensor = self.head(inner.mean(dim=(2, 3)))
        return logits


class Attention(nn.Module):
    """Multi-head self-attention with a padding mask."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def split(self, projected: Tensor) -> Tensor:
        batch, length, width = projected.shape
        return projected.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)

    def forward(self, inner: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.split(self.query(inner)), self.split(self.key(inner)), self.split(self.value(inner))
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out: Tensor = self.output(mixed.transpose(1, 2).reshape(inner.shape))
        return out


class EncoderLayer(nn.Module):
    """Attention and a two-layer perceptron, each added to its input and normalised."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, inner: Tensor, mask: Tensor) -> Tensor:
        inner = self.attention_norm(inner + self.attention(inner, mask))
        out: Tensor = self.norm(inner + self.down(functional.gelu(self.up(inner))))
        return out


class SmallEncoder(nn.Module):
    """Token numbers (batch, sequence) and their mask to (last_hidden, embedding), the second of unit length."""

    def __init__(self, width: int = ENCODER_WIDTH, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ENCODER_VOCABULARY, width)
        self.positions = nn.Embedding(POSITIONS, width)
        self.layers = nn.ModuleList(EncoderLayer(width, heads=4) for _ in range(layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> dict[str, Tensor]:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        inner = self.embedding(input_ids) + self.positions(places)
        mask = attention_mask[:, None, None, :].to(torch.bool)
        for layer in self.layers:
            inner = layer(inner, mask)
        weights = attention_mask[:, :, None].to(inner.dtype)
        mean = (inner * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1.0)
        return {"last_hidden": inner, "embedding": functional.normalize(mean, dim=1)}


class TwoInTwoOut(nn.Module):
    """left, right of shape (batch, 4) to their weighted sum and product."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return left + self.scale * right, left * right


OUTPUT_NAMES = {SmallCnn: ("logits",), SmallEncoder: ("last_hidden", "embedding"), TwoInTwoOut: ("sum", "product")}

# ------------------------------------------------------------------------------------------- models, ready to use


def small_cnn(width: int = 8, seed: int = 0) -> SmallCnn:
    """In eval mode, with BatchNorm statistics of its own."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SmallCnn(width)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.uniform_(layer.weight, 0.5, 1.5)
                nn.init.uniform_(layer.bias, -0.5, 0.5)
                layer.running_mean = torch.randn(layer.num_features) * 0.1
                layer.running_var = torch.rand(layer.num_features) + 0.5
    return model.eval()


def small_encoder(seed: int = 0) -> SmallEncoder:
    """In eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SmallEncoder().eval()


def two_in_two_out() -> TwoInTwoOut:
    """In eval mode."""
    return TwoInTwoOut().eval()


# ------------------------------------------------------------------------------------------- inputs, by name


def cnn_arrays(samples: int = 16, seed: int = 0) -> Arrays:
    """{"image": float32 (samples, 1, 12, 12)}."""
    generator = np.random.default_rng(seed)
    return {"image": generator.standard_normal((samples, 1, CNN_SIDE, CNN_SIDE), dtype=np.float32)}


def encoder_arrays(samples: int = 16, length: int = 9, seed: int = 0) -> Arrays:
    """{"input_ids", "attention_mask"}: int64 (samples, length); some sequences are padded at their end."""
    generator = np.random.default_rng(seed)
    real = generator.integers(1, length + 1, size=(samples, 1))
    mask = (np.arange(length)[None, :] < real).astype(np.int64)
    numbers = generator.integers(1, ENCODER_VOCABULARY, size=(samples, length), dtype=np.int64)
    return {"input_ids": numbers * mask, "attention_mask": mask}


def two_arrays(samples: int = 16, seed: int = 0) -> Arrays:
    """{"left", "right"}: float32 (samples, 4)."""
    generator = np.random.default_rng(seed)
    return {name: generator.standard_normal((samples, 4), dtype=np.float32) for name in ("left", "right")}


def batches(arrays: Arrays, size: int) -> Iterator[Arrays]:
    """The arrays, cut into batches along the first axis."""
    samples = len(next(iter(arrays.values())))
    for start in range(0, samples, size):
        yield {name: array[start : start + size] for name, array in arrays.items()}


def arrays_for(model: nn.Module, samples: int = 16, seed: int = 0) -> Arrays:
    """Inputs that suit one of the three models."""
    if isinstance(model, SmallCnn):
        return cnn_arrays(samples, seed)
    if isinstance(model, SmallEncoder):
        return encoder_arrays(samples, seed=seed)
    return two_arrays(samples, seed)


def inputs_for(model: nn.Module) -> tuple[InputSpec, ...]:
    """The inputs of one of the three models, described."""
    if isinstance(model, SmallCnn):
        return CNN_INPUTS
    return ENCODER_INPUTS if isinstance(model, SmallEncoder) else TWO_INPUTS


def tensors(arrays: Arrays) -> tuple[Tensor, ...]:
    """The arrays as tensors of their own, in order."""
    return tuple(torch.from_numpy(np.array(array)) for array in arrays.values())


# ------------------------------------------------------------------------------------------- saved, in every kind


def exported(model: nn.Module, static: bool = False) -> ExportedProgram:
    """torch.export of one of the three models, every named dimension dynamic unless `static`."""
    example = tensors(arrays_for(model, samples=2))
    if static:
        return torch.export.export(model, example)
    limits = {"batch": Dim("batch", min=1, max=1024), "sequence": Dim("sequence", min=1, max=POSITIONS)}
    shapes = {name: {axis: limits[size] for axis, size in axes.items()} for name, axes in dynamic_axes(model).items()}
    return torch.export.export(model, example, dynamic_shapes=shapes)


def dynamic_axes(model: nn.Module) -> dict[str, dict[int, str]]:
    """Of each input, the axes that vary and their names."""
    return {
        spec.name: {axis: size for axis, size in enumerate(spec.shape) if isinstance(size, str)}
        for spec in inputs_for(model)
    }


def save_pt2(model: nn.Module, path: Path, static: bool = False) -> Path:
    """A torch.export archive."""
    buffer = io.BytesIO()  # a path that does not end in .pt2 would be warned about
    torch.export.save(exported(model, static), buffer)
    path.write_bytes(buffer.getvalue())
    return path


def save_torchscript(model: nn.Module, path: Path, trace: bool = False) -> Path:
    """TorchScript, scripted or traced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch has deprecated it; users' files have not gone away
        made = traced(model) if trace else scripted(model)
        torch.jit.save(made, str(path))
    return path


def traced(model: nn.Module) -> torch.jit.ScriptModule:
    """The model as TorchScript, by following one batch through it."""
    made: torch.jit.ScriptModule = torch.jit.trace(model, tensors(arrays_for(model, 2)), strict=False)  # type: ignore[no-untyped-call]
    return made


def scripted(model: nn.Module) -> torch.jit.ScriptModule:
    """The model as TorchScript, compiled from its source.

    torch 2.13 takes an attribute for an operator where the attribute lies at the address of an operator long
    gone (`torch/jit/_builtins.py` keeps addresses, not operators), which after thousands of tests happens. The
    attributes of a copy lie elsewhere.
    """
    try:
        made: torch.jit.ScriptModule = torch.jit.script(model)
    except RuntimeError as error:
        if "builtin cannot be used as a value" not in str(error):
            raise
        made = torch.jit.script(copy.deepcopy(model))
    return made


def save_state_dict(model: nn.Module, path: Path) -> Path:
    """What `torch.save(model.state_dict(), path)` writes."""
    torch.save(model.state_dict(), path)
    return path


def save_safetensors(model: nn.Module, path: Path) -> Path:
    """The state dict, as safetensors."""
    from safetensors.torch import save_file

    save_file(model.state_dict(), str(path))
    return path


def save_pickled(model: nn.Module, path: Path) -> Path:
    """What `torch.save(model, path)` writes: a pickle that names this module's classes."""
    torch.save(model, path)
    return path


def save_onnx(model: nn.Module, path: Path, static: bool = False, opset: int = 20) -> Path:
    """ONNX by torch's own exporter, with the names of `inputs_for` and `OUTPUT_NAMES`, weights inside the file.

    An inner value that has an output's name is renamed: torch's exporter lets them clash.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of axes with one name, and of the exporter's own deprecations
        made = torch.onnx.export(
            model,
            tensors(arrays_for(model, samples=2)),
            output_names=OUTPUT_NAMES[type(model)],
            dynamic_shapes=None if static else dynamic_axes(model),
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert made is not None
    for node in made.model.graph:
        for value in node.outputs:
            if value.name in OUTPUT_NAMES[type(model)] and not value.is_graph_output():
                value.name = f"{value.name}_inner"
    made.save(str(path))
    return path


def save_once(make: Callable[[], nn.Module], path: Path) -> Path:
    """What `save_onnx` writes for the model that `make` makes; exported once in a run of the tests."""
    path.write_bytes(_onnx_file(make))
    return path


@functools.cache
def _onnx_file(make: Callable[[], nn.Module]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return save_onnx(make(), Path(folder) / "model.onnx").read_bytes()
