"""The model file that the user has, whatever its kind: recognised by content, then read by its format's plug-in.

Users type `costopt compress model.pt`, and a `.pt` can be almost anything. So what can't be read as it is gets an
answer that says what the file is and ends in what to do next.
"""

from pathlib import Path

from costopt import plugins
from costopt.errors import ModelFileError
from costopt.formats import Format, Head, Loaded
from costopt.loading import archive
from costopt.records import ModelSource


def load(source: ModelSource) -> tuple[str, Loaded]:
    """The format's name and the model. Raises ModelFileError."""
    name = recognise(Path(source.path))
    return name, _format(name).load(source)


def recognise(path: Path) -> str:
    """The name of the format (a plug-in in `formats/`) that the file's content tells.

    Raises ModelFileError for what is no model file, saying what it is and what to do.
    """
    if not path.exists():
        raise ModelFileError(f"there is no file {path}{_similar(path)}")
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder; {_in_folder(path)}")
    try:
        head = Head.of(path)
    except PermissionError as error:
        raise ModelFileError(f"{path} can't be read ({error.strerror}); check its permissions") from error
    except archive.DAMAGE as error:
        raise ModelFileError(f"{path} is damaged ({error}); copy or download it again") from error
    for name in plugins.names("formats"):
        if _format(name).recognises(head):
            return name
    raise ModelFileError(f"{path} {_what_else(head)}")


def _format(name: str) -> Format:
    return plugins.find("formats", name, Format)()


def _similar(path: Path) -> str:
    if not path.parent.is_dir():
        return f", nor a folder {path.parent}"
    return plugins.nearest(path.name, (one.name for one in path.parent.iterdir() if one.is_file()))


def _in_folder(folder: Path) -> str:
    if (folder / "saved_model.pb").exists():
        return (
            f"convert the TensorFlow model in it: python -m tf2onnx.convert --saved-model {folder} --output model.onnx"
        )
    found = sorted(one for one in folder.iterdir() if one.suffix in (".onnx", ".pt2", ".safetensors", ".pt", ".pth"))
    return f"name the file in it: costopt compress {found[0] if found else folder / 'model.onnx'} --config budget.yaml"


BEGINNINGS = (
    (b"version https://git-lfs", "is a pointer of Git LFS and not the file itself; fetch it: git lfs pull"),
    (b"\x89HDF", "is a Keras or HDF5 file; convert it: python -m tf2onnx.convert --keras {path} --output model.onnx"),
    (b"GGUF", "is a GGUF file of llama.cpp, which carries no graph; start from the model that it was made from"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it first: gunzip --keep {path}"),
    (b"7z\xbc\xaf", "is a 7-zip archive; unpack it first"),
    (b"PK\x03\x04", "is a damaged zip archive, most likely cut off; copy or download it again"),
)
"""What a file may be that is no model file of ours: how it begins, and what to say. {path} is the file."""


def _what_else(head: Head) -> str:
    """What a file is that no format recognises, and what to do."""
    if not head.first:
        return "is empty; copy or download it again"
    if head.first.lstrip()[:14].lower().startswith((b"<!doctype html", b"<html")):
        return (
            "is an HTML page, saved by a browser or a failed download (perhaps a log-in page); "
            "download it again with the link to the raw file"
        )
    if head.first[4:8] == b"TFL3":
        return (
            f"is a TensorFlow Lite file; convert it: python -m tf2onnx.convert --tflite {head.path} --output model.onnx"
        )
    if {"model.weights.h5", "config.json"} <= set(head.entries):
        return (
            f"is a Keras 3 file; in Python: keras.models.load_model('{head.path}').export('saved'); "
            "then: python -m tf2onnx.convert --saved-model saved --output model.onnx"
        )
    for beginning, words in BEGINNINGS:
        if head.first.startswith(beginning) and not head.entries:
            return words.format(path=head.path)
    return (
        f"is no model file that costopt knows (it begins with {head.first[:8]!r}); known are .pt2, TorchScript, ONNX, "
        "state dicts and safetensors.\nSave the model as .pt2: "
        "torch.export.save(torch.export.export(model.eval(), (example_input,)), 'model.pt2')"
    )
