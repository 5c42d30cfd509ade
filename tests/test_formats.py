"""Each kind of model file is recognised by its content and read; what can't be read gets an answer with a way on."""

import argparse
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from costopt import plugins
from costopt.errors import ModelFileError
from costopt.formats import Format, Loaded, Modules, OnnxFile, Program
from costopt.loading.load import load, recognise
from costopt.records import ModelSource
from tests import models

Save = Callable[[nn.Module, Path], Path]


def traced(model: nn.Module, path: Path) -> Path:
    return models.save_torchscript(model, path, trace=True)


SAVED: dict[str, list[Save]] = {
    "pt2": [models.save_pt2],
    "torchscript": [models.save_torchscript, traced],
    "state_dict": [models.save_state_dict],
    "safetensors": [models.save_safetensors],
    "pickled": [models.save_pickled],
    "onnx": [models.save_onnx],
}
EVERY_KIND = [(kind, save) for kind, saves in SAVED.items() for save in saves]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[Save, Path]:
    """The small CNN in every kind of file, each called model.pt."""
    model = models.small_cnn()
    return {save: save(model, tmp_path_factory.mktemp(kind) / "model.pt") for kind, save in EVERY_KIND}


def answer(path: Path, arch: str | None = None, trust_pickle: bool = False, width: int | None = None) -> str:
    """What the user is told."""
    arguments = {} if width is None else {"width": width}
    with pytest.raises(ModelFileError) as caught:
        load(ModelSource(str(path), arch, arguments, trust_pickle))
    return str(caught.value)


def test_every_format_is_tried_here() -> None:
    assert set(SAVED) == set(plugins.names("formats"))


@pytest.mark.parametrize(("kind", "save"), EVERY_KIND)
def test_a_file_is_recognised_by_its_content_whatever_its_name(kind: str, save: Save, files: dict[Save, Path]) -> None:
    assert recognise(files[save]) == kind


@pytest.mark.parametrize(("kind", "save"), EVERY_KIND)
def test_exactly_one_format_recognises_a_file(kind: str, save: Save, files: dict[Save, Path]) -> None:
    from costopt.formats import Head

    head = Head.of(files[save])
    formats = {name: plugins.find("formats", name, Format)() for name in plugins.names("formats")}
    assert [name for name, one in formats.items() if one.recognises(head)] == [kind]


@pytest.mark.parametrize(("kind", "save"), EVERY_KIND)
def test_what_is_loaded_computes_what_was_saved(kind: str, save: Save, files: dict[Save, Path]) -> None:
    arch = "tests.models:small_cnn" if kind in ("state_dict", "safetensors") else None
    name, loaded = load(ModelSource(str(files[save]), arch, trust_pickle=kind == "pickled"))
    assert name == kind
    (image,) = models.tensors(models.cnn_arrays(3))
    assert torch.equal(run(loaded, image), models.small_cnn()(image))


def run(loaded: Loaded, image: Tensor) -> Tensor:
    if isinstance(loaded, OnnxFile):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(loaded.path))
        wanted: Tensor = models.small_cnn()(image)
        torch.testing.assert_close(torch.from_numpy(session.run(None, {"image": image.numpy()})[0]), wanted)
        return wanted  # ONNX Runtime adds in another order: near is all that can be asked
    if isinstance(loaded, Modules):
        assert not loaded.module.training
        assert loaded.input_names == ("image",)
    module = loaded.program.module() if isinstance(loaded, Program) else loaded.module
    with torch.no_grad():
        outputs: Tensor = module(image)
    return outputs


def test_recognising_loads_no_torch(files: dict[Save, Path]) -> None:
    paths = [str(path) for path in files.values()]
    script = (
        "import sys, pathlib; from costopt.loading.load import recognise\n"
        f"for path in {paths!r}: recognise(pathlib.Path(path))\n"
        "print({'torch', 'onnx', 'onnxruntime', 'safetensors'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "set()"


# ---------------------------------------------------------------------------------------- weights without a model


@pytest.mark.parametrize("save", [models.save_state_dict, models.save_safetensors])
def test_weights_without_a_model_are_answered_with_the_command_to_run(save: Save, files: dict[Save, Path]) -> None:
    said = answer(files[save])
    assert "32 in all" in said
    assert f"costopt compress {files[save]} --config budget.yaml --arch your_package.your_module:YourModel" in said
    assert len(said.splitlines()) == 2


@pytest.mark.parametrize("entry", ["state_dict", "model", "net"])
def test_a_state_dict_is_found_inside_a_checkpoint(entry: str, tmp_path: Path) -> None:
    weights = models.two_in_two_out().state_dict()
    optimizer = {"state": {0: {"momentum": torch.zeros(4)}}, "moments": torch.zeros(4)}
    torch.save({"epoch": 3, entry: weights, "optimizer_states": optimizer}, tmp_path / "model.pt")
    source = ModelSource(str(tmp_path / "model.pt"), "tests.models:TwoInTwoOut")
    _, loaded = load(source)
    assert isinstance(loaded, Modules)
    assert f"weights taken from its entry '{entry}'" in loaded.note


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model."])
def test_the_prefix_of_a_wrapper_is_taken_off(prefix: str, tmp_path: Path) -> None:
    weights = {f"{prefix}{name}": tensor for name, tensor in models.small_cnn().state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "model.pt")
    _, loaded = load(ModelSource(str(tmp_path / "model.pt"), "tests.models:SmallCnn"))
    assert isinstance(loaded, Modules)
    assert f"without the prefix '{prefix}'" in loaded.note
    assert torch.equal(loaded.module.state_dict()["head.weight"], models.small_cnn().head.weight)


def test_the_factory_is_called_with_its_arguments(tmp_path: Path) -> None:
    path = models.save_state_dict(models.small_cnn(width=4), tmp_path / "model.pt")
    _, loaded = load(ModelSource(str(path), "tests.models:SmallCnn", {"width": 4}))
    assert isinstance(loaded, Modules)
    said = answer(path, "tests.models:SmallCnn", width=6)
    assert "stem.weight ([4, 1, 3, 3] in the file, [6, 1, 3, 3] in the model)" in said
    assert "and 22 more" in said
    assert "--arch-args" in said.splitlines()[-1]


def test_the_factory_is_looked_for_in_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = models.save_state_dict(models.two_in_two_out(), tmp_path / "model.pt")
    shutil.copy(models.__file__, tmp_path / "models_of_mine.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    assert load(ModelSource(str(path), "models_of_mine:TwoInTwoOut"))[0] == "state_dict"


def test_missing_and_unexpected_names_are_listed_with_the_nearest(tmp_path: Path) -> None:
    weights = models.small_cnn().state_dict()
    weights["head.wieght"] = weights.pop("head.weight")
    weights["teacher"] = torch.zeros(1)
    torch.save(weights, tmp_path / "model.pt")
    said = answer(tmp_path / "model.pt", "tests.models:SmallCnn").splitlines()
    assert said[1] == "  the file lacks 1: head.weight (there is head.wieght)"
    assert said[2] == "  the model lacks 2: head.wieght (there is head.weight), teacher"
    assert "--arch" in said[3]


@pytest.mark.parametrize(
    ("arch", "words"),
    [
        ("tests.models:SmallCnm", "did you mean|has no function 'SmallCnm'"),
        ("tests.no_such_module:Model", "no module"),
        ("tests.models", "write module:function"),
        ("tests.models:cnn_arrays", "gave a dict"),
        ("tests.models:inputs_for", "called with no arguments raised TypeError"),
    ],
)
def test_an_architecture_that_is_none_is_answered(arch: str, words: str, files: dict[Save, Path]) -> None:
    import re

    assert re.search(words, answer(files[models.save_state_dict], arch))


# ---------------------------------------------------------------------------------------- pickles


def test_a_pickled_model_is_answered_with_both_ways_on(files: dict[Save, Path]) -> None:
    path = files[models.save_pickled]
    said = answer(path).splitlines()
    assert "tests.models.SmallCnn" in said[0]
    assert said[1].endswith(f"costopt compress {path} --config budget.yaml --trust-pickle")
    assert [line.strip().partition("(")[0] for line in said[3:]] == [
        "model = torch.load",
        "program = torch.export.export",
        "torch.export.save",
    ]


def test_the_three_lines_of_that_answer_work(
    files: dict[Save, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(files[models.save_pickled], tmp_path / "model.pt")
    lines = "\n".join(line.strip() for line in answer(tmp_path / "model.pt").splitlines()[3:])
    monkeypatch.chdir(tmp_path)
    exec(lines, {"torch": torch, "example_input": torch.zeros(2, 1, 12, 12)})
    assert recognise(tmp_path / "model.pt2") == "pt2"


def test_a_checkpoint_with_more_than_tensors_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"state_dict": models.small_cnn().state_dict(), "options": argparse.Namespace(width=8)}, path)
    assert "argparse.Namespace" in answer(path)
    assert "--trust-pickle --arch" in answer(path)
    name, loaded = load(ModelSource(str(path), "tests.models:SmallCnn", trust_pickle=True))
    assert name == "pickled"
    assert isinstance(loaded, Modules)
    assert "from its entry 'state_dict'" in loaded.note


def test_a_pickle_that_torch_did_not_write_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(argparse.Namespace(a=1)))
    assert "torch did not write" in answer(path)
    path.write_bytes(pickle.dumps(argparse.Namespace(a=1)).replace(b"argparse", b"sklearn."))
    assert "skl2onnx" in answer(path, trust_pickle=True)


def test_files_of_before_torch_1_6_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(models.two_in_two_out().state_dict(), path, _use_new_zipfile_serialization=False)
    assert load(ModelSource(str(path), "tests.models:TwoInTwoOut"))[0] == "state_dict"
    torch.save(models.two_in_two_out(), path, _use_new_zipfile_serialization=False)
    assert recognise(path) == "pickled"


# ---------------------------------------------------------------------------------------- what is no model file

NO_MODEL: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty"),
    "random": (bytes(range(97, 161)), "no model file that costopt knows"),
    "html": (
        b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
        "HTML page, saved by a browser or a failed download",
    ),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n", "git lfs pull"),
    "keras": (b"\x89HDF\r\n\x1a\n" + bytes(64), "python -m tf2onnx.convert --keras"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(64), "python -m tf2onnx.convert --tflite"),
    "gguf": (b"GGUF" + bytes(64), "llama.cpp"),
    "gzip": (b"\x1f\x8b\x08" + bytes(64), "gunzip"),
    "cut zip": (b"PK\x03\x04" + bytes(64), "cut off"),
    "text": (b"import torch\nmodel = 1\n", "torch.export.save"),
}


@pytest.mark.parametrize("what", NO_MODEL)
def test_what_is_no_model_file_is_called_by_its_name(what: str, tmp_path: Path) -> None:
    content, words = NO_MODEL[what]
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    said = answer(path)
    assert words in said
    assert str(path) in said
    assert len(said.splitlines()) <= 2


def test_a_missing_file_is_answered_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").touch()
    assert answer(tmp_path / "modle.pt2").endswith("did you mean 'model.pt2'?")
    assert "nor a folder" in answer(tmp_path / "nowhere" / "model.pt2")


def test_a_folder_is_answered_with_the_file_in_it(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").touch()
    assert f"costopt compress {tmp_path / 'net.onnx'} --config" in answer(tmp_path)
    (tmp_path / "saved_model.pb").touch()
    assert f"--saved-model {tmp_path}" in answer(tmp_path)


def test_a_zip_archive_of_something_else_is_answered(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "no model file that costopt knows" in answer(tmp_path / "model.pt")
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "")
    assert "keras.models.load_model" in answer(tmp_path / "model.keras")


# ---------------------------------------------------------------------------------------- programs


class Plain(nn.Module):
    """Inputs and values with the names that the format's own fields have."""

    def forward(self, target: Tensor, name: Tensor, metadata: dict[str, Tensor]) -> dict[str, list[Tensor]]:
        return {"fqn": [target + name, metadata["device"] * 2]}


def test_a_program_may_use_the_names_of_the_format_itself(tmp_path: Path) -> None:
    ones = torch.ones(2, 3)
    torch.export.save(torch.export.export(Plain(), (ones, ones, {"device": ones})), tmp_path / "model.pt2")
    _, loaded = load(ModelSource(str(tmp_path / "model.pt2")))
    assert isinstance(loaded, Program)
    outputs = loaded.program.module()(ones, ones, {"device": ones})
    assert torch.equal(outputs["fqn"][1], ones * 2)


class Control(nn.Module):
    """A loop and a branch on data, a size that is computed, and a parameter used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cond(x.sum() > 0, lambda inner: inner * 2, lambda inner: inner - 1, (x,))
        x = torch.cat([x, nn.functional.linear(x, self.layer.weight)], dim=0)
        half: Tensor = self.layer(x)[: x.shape[0] // 2 + 1]
        return half.reshape(-1, 2)


def test_a_program_with_branches_and_computed_sizes_is_read(tmp_path: Path) -> None:
    program = torch.export.export(Control(), (torch.ones(6, 4),), dynamic_shapes={"x": {0: torch.export.Dim.DYNAMIC}})
    torch.export.save(program, tmp_path / "model.pt2")
    _, loaded = load(ModelSource(str(tmp_path / "model.pt2")))
    assert isinstance(loaded, Program)
    for rows in (2, 7):
        x = torch.randn(rows, 4)
        assert torch.equal(loaded.program.module()(x), program.module()(x))


def test_a_program_of_another_device_is_read_on_the_cpu(tmp_path: Path, files: dict[Save, Path]) -> None:
    """Devices are names in the file: a program that was exported on a GPU differs in them alone."""
    path = tmp_path / "model.pt2"
    with zipfile.ZipFile(files[models.save_pt2]) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b'"type": "cpu", "index": null', b'"type": "cuda", "index": 0'))
    assert b'"cuda"' in path.read_bytes()
    _, loaded = load(ModelSource(str(path)))
    (image,) = models.tensors(models.cnn_arrays(2))
    assert torch.equal(run(loaded, image), models.small_cnn()(image))


def test_programs_of_before_torch_2_8_are_answered(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt2", "w") as archive:
        archive.writestr("version", "8.8")
        archive.writestr("serialized_exported_program.json", "{}")
    said = answer(tmp_path / "model.pt2")
    assert "torch 2.7 or older" in said
    assert "torch.export.save(torch.export.load('old.pt2'), 'new.pt2')" in said
