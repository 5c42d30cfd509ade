"""The exported file has the model's names and axes, computes what the model does, and says where it doesn't."""

import functools
import hashlib
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from costopt import export, graph, parity
from costopt.errors import CandidateError
from costopt.formats import Loaded, Modules, OnnxFile, Program
from costopt.loading.load import load
from costopt.records import InputSpec, ModelSource
from tests import models

Make = Callable[[], nn.Module]
KINDS = ("program", "modules", "torchscript")
EVERY = [
    pytest.param(make, kind, marks=pytest.mark.slow if kind == "torchscript" and make is models.small_encoder else ())
    for kind in KINDS
    for make in (models.small_cnn, models.small_encoder, models.two_in_two_out)
]
"""The encoder goes through three tracers as TorchScript, which takes several seconds."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


@functools.cache
def written(folder: Path, make: Make, kind: str) -> tuple[Loaded, Path]:
    """One of the small models, loaded as `kind` and exported; made once, so copy it before you change it."""
    model = make()
    names = tuple(spec.name for spec in models.inputs_for(model))
    target = folder / f"{make.__name__}-{kind}.onnx"
    inputs, example = models.inputs_for(model), models.arrays_for(model, samples=1)
    loaded: Loaded = Modules(model, names)
    if kind == "program":
        loaded, inputs, example = Program(models.exported(model)), (), {}
    elif kind == "torchscript":
        _, loaded = load(ModelSource(str(models.save_torchscript(model, folder / f"{make.__name__}.pt", trace=True))))
    export.export_original(loaded, inputs, example, target, 20)
    return loaded, target


def run(path: Path, arrays: models.Arrays) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, arrays), strict=True))


def failure(work: Callable[[], object], stage: str = "export") -> str:
    with pytest.raises(CandidateError) as caught:
        work()
    assert caught.value.stage == stage
    return caught.value.reason


# ---------------------------------------------------------------------------------------- names and axes


@pytest.mark.parametrize("kind", ["program", "modules", pytest.param("torchscript", marks=pytest.mark.slow)])
def test_inputs_are_called_as_the_arguments_of_forward_and_outputs_as_the_keys(kind: str, folder: Path) -> None:
    _, path = written(folder, models.small_encoder, kind)
    about = graph.describe(path)
    assert about.inputs == models.ENCODER_INPUTS
    assert about.outputs == (
        InputSpec("last_hidden", ("batch", "sequence", 32), "float32"),
        InputSpec("embedding", ("batch", 32), "float32"),
    )


def test_an_inner_value_steps_aside_for_an_output_of_its_name(folder: Path) -> None:
    _, path = written(folder, models.small_encoder, "program")
    model = onnx.load(str(path))
    makers = {name: node.op_type for node in model.graph.node for name in node.output}
    assert makers["embedding"] == "Div"
    assert makers["embedding_inner"] == "Gather"


@pytest.mark.slow
def test_torch_alone_writes_such_a_file_so_that_no_runtime_can_load_it(folder: Path) -> None:
    unmended = torch.onnx.export(
        models.exported(models.small_encoder()), dynamo=True, verbose=False, output_names=["last_hidden", "embedding"]
    )
    assert unmended is not None
    unmended.save(str(folder / "unmended.onnx"))
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.Fail, match="Duplicate definition of name"):
        onnxruntime.InferenceSession(str(folder / "unmended.onnx"))


def test_outputs_without_names_are_numbered(folder: Path) -> None:
    assert [one.name for one in graph.describe(written(folder, models.small_cnn, "modules")[1]).outputs] == ["output"]
    two = graph.describe(written(folder, models.two_in_two_out, "torchscript")[1])
    assert [one.name for one in two.outputs] == ["output_0", "output_1"]
    assert [one.shape for one in (*two.inputs, *two.outputs)] == [("batch", 4)] * 4


class Names(nn.Module):
    """An output called as an input, an input handed through, a value given twice, and nothing."""

    def forward(self, image: Tensor, other: list[Tensor]) -> dict[str, object]:
        twice = other[0] + 1
        return {"image": image * 2, "through": other[0], "pair": (twice, twice), "nothing": None}


def test_names_that_clash_are_mended_and_values_given_twice_are_given_twice(tmp_path: Path) -> None:
    program = torch.export.export(Names(), (torch.ones(2, 3), [torch.ones(2)]))
    export.export_original(Program(program), (), {}, tmp_path / "model.onnx", 20)
    outputs = run(tmp_path / "model.onnx", {"image": np.ones((2, 3), "f4"), "other_0": np.ones(2, "f4")})
    assert list(outputs) == ["image_output", "through", "pair_0", "pair_1"]
    assert outputs["image_output"].tolist() == [[2, 2, 2]] * 2
    assert outputs["through"].tolist() == [1, 1]
    assert outputs["pair_1"].tolist() == [2, 2]


@pytest.mark.parametrize(("make", "kind"), EVERY)
def test_batch_and_sequence_may_have_any_length(make: Make, kind: str, folder: Path) -> None:
    _, path = written(folder, make, kind)
    model = make()
    for samples, length in ((1, 1), (3, 5), (7, 12)):
        arrays = models.arrays_for(model, samples)
        if make is models.small_encoder:
            arrays = models.encoder_arrays(samples, length)
        with torch.no_grad():
            wanted = [tensor.numpy() for tensor in torch.utils._pytree.tree_leaves(model(*models.tensors(arrays)))]
        for found, expected in zip(run(path, arrays).values(), wanted, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_the_axes_of_a_program_are_described_as_they_will_be_named() -> None:
    assert export.input_specs(models.exported(models.small_encoder())) == models.ENCODER_INPUTS
    static = export.input_specs(models.exported(models.two_in_two_out(), static=True))
    assert static == (InputSpec("left", (2, 4), "float32"), InputSpec("right", (2, 4), "float32"))


def test_an_axis_bears_the_name_that_the_user_gave_it(tmp_path: Path) -> None:
    inputs = (InputSpec("left", ("rows", 4), "float32"), InputSpec("right", ("rows", "columns"), "float32"))

    class Any4(nn.Module):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:
            return left.sum(dim=1, keepdim=True) + right

    example = models.two_arrays(2)
    export.export_original(Modules(Any4(), ("left", "right")), inputs, example, tmp_path / "model.onnx", 20)
    about = graph.describe(tmp_path / "model.onnx")
    assert about.inputs == inputs
    assert about.outputs[0].shape == ("rows", "columns")


def test_an_axis_that_is_a_number_stays_fixed(tmp_path: Path) -> None:
    inputs = (InputSpec("left", (3, 4), "float32"), InputSpec("right", (3, 4), "float32"))
    loaded = Modules(models.two_in_two_out(), ("left", "right"))
    export.export_original(loaded, inputs, models.two_arrays(3), tmp_path / "model.onnx", 20)
    assert graph.describe(tmp_path / "model.onnx").inputs == inputs


class FixedBatch(nn.Module):
    """It was written for two samples."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left.reshape(2, 4) + right


def test_an_axis_that_should_vary_and_does_not_is_told_and_not_retried(tmp_path: Path) -> None:
    loaded = Modules(FixedBatch(), ("left", "right"))
    reason = failure(
        lambda: export.export_original(loaded, models.TWO_INPUTS, models.two_arrays(2), tmp_path / "m.onnx", 20)
    )
    assert "axis 'batch' can't vary, its code fixes it to 2; write 2 in place of 'batch'" in reason
    assert not (tmp_path / "m.onnx").exists()


class Positions(nn.Module):
    """A text encoder in little: tokens, and a table that ends with position 15."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(32, 4), nn.Embedding(16, 4)
        self.numbers = nn.Buffer(torch.arange(16)[None])

    def forward(self, ids: Tensor) -> Tensor:
        made: Tensor = self.words(ids) + self.places(self.numbers[:, : ids.shape[1]])
        return made.mean(1)


def test_an_axis_varies_as_far_as_the_model_lets_it(tmp_path: Path) -> None:
    """torch.export refuses a sequence without end for a table that has one, and names the range that it would take."""
    inputs = (InputSpec("ids", ("batch", "sequence"), "int64"),)
    model, example = Modules(Positions().eval(), ("ids",)), {"ids": np.arange(18, dtype=np.int64).reshape(2, 9)}
    export.export_original(model, inputs, example, tmp_path / "m.onnx", 20)
    assert graph.describe(tmp_path / "m.onnx").inputs == inputs
    for batch, length in ((1, 1), (3, 16)):
        arrays = {"ids": np.full((batch, length), 5, np.int64)}
        assert parity.parity(model, tmp_path / "m.onnx", [arrays]).samples == batch


class DataDependent(nn.Module):
    """Its flow depends on its data."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return left if left.sum() > 0 else right


class Untranslatable(nn.Module):
    """It uses an operator that ONNX has no word for."""

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        real: Tensor = torch.linalg.eigvals(left.reshape(-1, 2, 2)).real
        return real + right.sum()


@pytest.mark.parametrize(("model", "words"), [(DataDependent(), "can't trace"), (Untranslatable(), "can't translate")])
def test_what_cannot_be_exported_is_told_in_a_line(model: nn.Module, words: str, tmp_path: Path) -> None:
    example = models.two_arrays(2)
    reason = failure(
        lambda: export.export_original(
            Modules(model, ("left", "right")), models.TWO_INPUTS, example, tmp_path / "m.onnx", 20
        )
    )
    assert words in reason
    assert len(reason) < 400
    assert "\n" not in reason


def test_nothing_is_printed_and_no_path_of_the_author_is_left_in_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    program = models.exported(models.two_in_two_out())
    capfd.readouterr()
    export.export_original(Program(program), (), {}, tmp_path / "model.onnx", 18)
    assert capfd.readouterr().out == ""
    assert b"models.py" not in (tmp_path / "model.onnx").read_bytes()
    assert graph.describe(tmp_path / "model.onnx").opset == 18


# ---------------------------------------------------------------------------------------- ONNX already


@pytest.fixture
def external(folder: Path, tmp_path: Path) -> Path:
    """The small CNN in ONNX, its larger weights in a file of a folder beside it; plain.onnx holds them itself."""
    _, path = written(folder, models.small_cnn, "program")
    shutil.copy(path, tmp_path / "plain.onnx")
    (tmp_path / "weights").mkdir()
    target = tmp_path / "model.onnx"
    weights = "weights/data.bin"
    onnx.save(onnx.load(str(path)), str(target), save_as_external_data=True, location=weights, size_threshold=256)
    return target


def test_an_onnx_file_is_copied_with_its_external_data(external: Path, tmp_path: Path) -> None:
    target = tmp_path / "copy" / "model.onnx"
    target.parent.mkdir()
    export.export_original(OnnxFile(external), (), {}, target, 20)
    assert target.read_bytes() == external.read_bytes()
    copied = target.parent / "weights" / "data.bin"
    assert copied.read_bytes() == (tmp_path / "weights" / "data.bin").read_bytes()
    assert copied.stat().st_ino != (tmp_path / "weights" / "data.bin").stat().st_ino
    graph.check(target)


# ---------------------------------------------------------------------------------------- what a file holds


def test_a_file_is_described(folder: Path) -> None:
    _, path = written(folder, models.small_cnn, "program")
    about = graph.describe(path)
    assert about.opset == 20
    assert about.size_bytes == path.stat().st_size
    assert about.operators["Conv"] == 5
    assert about.parameters_by_operator["Conv"] == 8 * 9 + 4 * 8 * 8 * 9 + 5 * 8
    assert about.parameters_by_operator["Gemm"] == 8 * 10 + 10


def test_external_data_are_weighed_and_not_read(external: Path, tmp_path: Path) -> None:
    size = external.stat().st_size
    with (tmp_path / "weights/data.bin").open("r+b") as data:
        data.truncate(40 * 2**30)  # a hole: it takes no space, and would never fit into memory
    about = graph.describe(external)
    assert about.size_bytes == size + 40 * 2**30
    assert about.parameters == graph.describe(tmp_path / "plain.onnx").parameters


def test_an_artifact_is_hashed_with_its_external_data(external: Path, tmp_path: Path) -> None:
    plain = graph.artifact(tmp_path / "plain.onnx", tmp_path)
    assert plain.sha256 == hashlib.sha256((tmp_path / "plain.onnx").read_bytes()).hexdigest()
    before = graph.artifact(external, tmp_path)
    assert before.path == "model.onnx"
    assert before.size_bytes == external.stat().st_size + (tmp_path / "weights/data.bin").stat().st_size
    data = bytearray((tmp_path / "weights/data.bin").read_bytes())
    data[5] ^= 1
    (tmp_path / "weights/data.bin").write_bytes(data)
    assert graph.artifact(external, tmp_path).sha256 != before.sha256


def test_axes_without_a_size_or_a_name_get_one(tmp_path: Path) -> None:
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 0, 3])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 2, 3])
    made = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out])
    onnx.save(onnx.helper.make_model(made), str(tmp_path / "model.onnx"))
    about = graph.describe(tmp_path / "model.onnx")
    assert about.inputs[0].shape == ("batch", "x_1", 3)
    assert about.outputs[0].shape == ("n", 2, 3)


def test_a_file_that_no_runtime_can_run_fails_its_check(tmp_path: Path) -> None:
    node = onnx.helper.make_node("MatMul", ["x", "x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 3]) for name in ("x", "y")]
    made = onnx.helper.make_graph([node], "g", values[:1], values[1:])
    for version, words in ((10, "MatMul"), (99, "version")):
        model = onnx.helper.make_model(made, ir_version=version, opset_imports=[onnx.helper.make_opsetid("", 20)])
        (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
        reason = failure(lambda: graph.check(tmp_path / "model.onnx"), "check")
        assert words in reason
        assert "\n" not in reason
        assert ".cc:" not in reason


# ---------------------------------------------------------------------------------------- parity


@pytest.mark.parametrize(("make", "kind"), EVERY)
def test_an_export_is_at_parity_with_its_model(make: Make, kind: str, folder: Path) -> None:
    loaded, path = written(folder, make, kind)
    found = parity.parity(loaded, path, models.batches(models.arrays_for(make(), 10), 4))
    assert found.samples == 10
    assert found.max_abs_error < 1e-5
    assert found.relative_error < 1e-5


def broken(path: Path, weight: str, target: Path) -> str:
    """The file with one number of one weight changed, and the name of the node that reads it."""
    model = onnx.load(str(path))
    tensor = next(one for one in model.graph.initializer if one.name == weight)
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.flat[array.size // 2] += 1.0
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, weight))
    onnx.save(model, str(target))
    return str(next(node.name for node in model.graph.node if weight in node.input))


@pytest.mark.parametrize(
    ("make", "kind", "weight"),
    [
        (models.small_cnn, "program", "body.1.first.weight"),
        (models.small_encoder, "modules", "layers.1.down.bias"),
        pytest.param(models.small_cnn, "torchscript", "body.0.second.weight", marks=pytest.mark.slow),
        pytest.param(models.small_encoder, "program", "embedding.weight", marks=pytest.mark.slow),
    ],
)
def test_a_changed_weight_is_found_at_the_node_that_reads_it(
    make: Make, kind: str, weight: str, folder: Path, tmp_path: Path
) -> None:
    loaded, path = written(folder, make, kind)
    node = broken(path, weight, tmp_path / "broken.onnx")
    arrays = models.arrays_for(make(), 8)
    if "input_ids" in arrays:  # read the row of the embedding that was changed
        arrays["input_ids"][:] = models.ENCODER_VOCABULARY // 2
    reason = failure(lambda: parity.parity(loaded, tmp_path / "broken.onnx", models.batches(arrays, 8)))
    assert f"values first part at node {node} (" in reason
    assert weight in reason
    assert "relative" in reason


@pytest.mark.slow
def test_a_weight_that_the_exporter_renamed_is_found_by_its_layer(folder: Path, tmp_path: Path) -> None:
    """A linear layer's weight is stored transposed, under a name of the exporter's own."""
    loaded, path = written(folder, models.small_encoder, "modules")
    nodes = onnx.load(str(path)).graph.node
    add = next(node for node in nodes if "layers.0.up.bias" in node.input)
    product = next(node for node in nodes if set(node.output) & set(add.input))
    broken(path, product.input[1], tmp_path / "broken.onnx")
    reason = failure(lambda: parity.parity(loaded, tmp_path / "broken.onnx", [models.encoder_arrays(4)]))
    assert "(Add of layers.0.up.bias)" in reason


def test_a_changed_weight_of_an_onnx_file_is_found_too(folder: Path, tmp_path: Path) -> None:
    _, source = written(folder, models.small_cnn, "program")
    node = broken(source, "body.1.second.weight", tmp_path / "broken.onnx")
    arrays = models.batches(models.cnn_arrays(4), 2)
    assert parity.parity(OnnxFile(source), source, models.batches(models.cnn_arrays(4), 2)).max_abs_error == 0
    assert node in failure(lambda: parity.parity(OnnxFile(source), tmp_path / "broken.onnx", arrays))


def test_a_changed_number_in_external_data_is_found_too(folder: Path, external: Path) -> None:
    loaded, _ = written(folder, models.small_cnn, "program")
    arrays = list(models.batches(models.cnn_arrays(4), 2))
    parity.parity(loaded, external, arrays)
    data = external.parent / "weights/data.bin"
    values = np.fromfile(data, np.float32)
    values[-1] += 1.0  # of the tensor that lies last in the file
    values.tofile(data)
    last = max(
        (
            tensor
            for tensor in onnx.load(str(external), load_external_data=False).graph.initializer
            if tensor.external_data
        ),
        key=lambda tensor: next(int(entry.value) for entry in tensor.external_data if entry.key == "offset"),
    )
    assert last.name in failure(lambda: parity.parity(loaded, external, arrays))


def test_nan_of_the_original_is_told_with_the_sample(folder: Path) -> None:
    loaded, path = written(folder, models.two_in_two_out, "modules")
    arrays = {name: array.copy() for name, array in models.two_arrays(6).items()}
    arrays["left"][4, 1] = np.nan
    reason = failure(lambda: parity.parity(loaded, path, models.batches(arrays, 2)))
    assert reason == "the original gives NaN in output 'output_0' for sample 4 of the evaluation data"


def test_nan_of_the_export_alone_is_told(folder: Path, tmp_path: Path) -> None:
    loaded, path = written(folder, models.two_in_two_out, "modules")
    model = onnx.load(str(path))
    model.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(np.full(4, np.nan, "f4"), model.graph.initializer[0].name)
    )
    onnx.save(model, str(tmp_path / "nan.onnx"))
    reason = failure(lambda: parity.parity(loaded, tmp_path / "nan.onnx", [models.two_arrays(2)]))
    assert reason.startswith("the exported file gives NaN in output 'output_0'")


def test_inputs_that_the_original_does_not_take_are_told_with_their_shapes(folder: Path) -> None:
    loaded, _ = written(folder, models.small_cnn, "modules")
    wrong = {"image": np.zeros((2, 3, 12, 12), "f4")}
    reason = failure(lambda: next(parity.reference_outputs(loaded, [wrong], ("output",))))
    assert "can't be run on image float32[2, 3, 12, 12]" in reason


@pytest.mark.parametrize("kind", KINDS)
def test_reference_outputs_bear_the_names_of_the_file(kind: str, folder: Path) -> None:
    loaded, path = written(folder, models.two_in_two_out, kind)
    arrays = models.two_arrays(5)
    for source in (loaded, OnnxFile(path)):
        found = list(parity.reference_outputs(source, models.batches(arrays, 2), ("output_0", "output_1")))
        assert [len(batch["output_1"]) for batch in found] == [2, 2, 1]
        product = torch.mul(*models.tensors(arrays)).numpy()
        np.testing.assert_allclose(np.concatenate([batch["output_1"] for batch in found]), product)


def test_files_that_compute_in_half_precision_are_allowed_more(tmp_path: Path, folder: Path) -> None:
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in ("x", "y")]
    nodes = [
        onnx.helper.make_node("Cast", ["x"], ["h"], to=onnx.TensorProto.FLOAT16),
        onnx.helper.make_node("Cast", ["h"], ["y"], to=onnx.TensorProto.FLOAT),
    ]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", values[:1], values[1:])), tmp_path / "m.onnx")
    assert parity.tolerance(tmp_path / "m.onnx") == parity.TOLERANCE_HALF
    assert parity.tolerance(written(folder, models.two_in_two_out, "modules")[1]) == parity.TOLERANCE


floats = hnp.arrays(np.float32, (2, 3), elements=st.floats(-1e6, 1e6, width=32))


@given(floats)
def test_nothing_differs_from_itself(array: np.ndarray) -> None:
    assert parity.difference(array, array.copy()) == (0.0, 0.0)


@given(floats, floats)
def test_the_relative_error_is_the_absolute_one_over_the_scale_of_the_original(a: np.ndarray, b: np.ndarray) -> None:
    absolute, relative = parity.difference(a, b)
    wide = np.abs(a.astype(np.float64) - b.astype(np.float64)).max()
    assert absolute == wide
    assert math.isclose(relative * max(float(np.abs(a).max()), parity.SMALLEST_SCALE), absolute, rel_tol=1e-9)


@given(floats, st.floats(1.0, 1e6))
def test_the_relative_error_does_not_depend_on_the_unit(a: np.ndarray, unit: float) -> None:
    near = a + np.float32(1.0)
    wide, scaled = a.astype(np.float64), a.astype(np.float64) * unit
    if np.abs(a).max() > 1e-3:
        one = parity.difference(wide, near.astype(np.float64))[1]
        assert math.isclose(parity.difference(scaled, near.astype(np.float64) * unit)[1], one, rel_tol=1e-9)


def test_infinities_shapes_and_whole_numbers_are_compared_as_what_they_are() -> None:
    mask = np.array([-np.inf, 1.0], "f4")
    assert parity.difference(mask, mask.copy()) == (0.0, 0.0)
    assert parity.difference(mask, np.array([1.0, 1.0], "f4"))[0] == np.inf
    assert parity.difference(mask, mask[:1])[1] == np.inf
    assert parity.difference(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])) == (0.25, 0.25)
    assert parity.difference(np.zeros(0, "f4"), np.zeros(0, "f4")) == (0.0, 0.0)


# ---------------------------------------------------------------------------------------- large


class Large(nn.Module):
    """2.2 GB of zeros, more than a protobuf file can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(550_000, 1000), requires_grad=False)

    def forward(self, row: Tensor) -> Tensor:
        return self.weight[row]


@pytest.mark.slow
def test_a_model_over_two_gigabytes_keeps_its_weights_beside_the_file(tmp_path: Path) -> None:
    inputs, example = (InputSpec("row", ("batch",), "int64"),), {"row": np.array([1, 2])}
    loaded = Modules(Large(), ("row",))
    export.export_original(loaded, inputs, example, tmp_path / "model.onnx", 20)
    assert (tmp_path / "model.onnx").stat().st_size < 1_000_000
    assert graph.describe(tmp_path / "model.onnx").size_bytes > 2_200_000_000
    assert parity.parity(loaded, tmp_path / "model.onnx", [example]).max_abs_error == 0
    _, copied = load(ModelSource(str(tmp_path / "model.onnx")))
    (tmp_path / "copy").mkdir()
    export.export_original(copied, (), {}, tmp_path / "copy" / "model.onnx", 20)
    assert graph.describe(tmp_path / "copy" / "model.onnx").size_bytes > 2_200_000_000
    graph.check(tmp_path / "copy" / "model.onnx")
