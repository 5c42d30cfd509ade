"""Feeds: every kind of data file gives back what was saved, says what is wrong with it, and runs nothing."""

import io
import os
import pickle
import resource
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest
import safetensors.numpy
import torch
from numpy.typing import NDArray

from costopt import plugins
from costopt.errors import CostoptError, DataError
from costopt.feeds import Feed
from costopt.records import Spec
from costopt.sampling.arrays import ArrayFile, ArrayWriter
from costopt.sampling.samples import open_source

Array = NDArray[np.generic]

IMAGE = np.arange(5 * 1 * 2 * 3, dtype=np.float32).reshape(5, 1, 2, 3) / 7
TARGET = np.array([3, 1, 4, 1, 5])
TABLE = {"height": np.linspace(1, 2, 5), "floors": np.arange(5), "lift": np.arange(5) > 2, "target": TARGET}


def save_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, image=IMAGE, target=TARGET)


def save_compressed_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, image=IMAGE, target=TARGET)


def save_fortran_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, image=np.asfortranarray(IMAGE), target=TARGET)


def save_compressed_fortran_npz(path: Path) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, image=np.asfortranarray(IMAGE), target=TARGET)


def save_pt(path: Path) -> None:
    torch.save({"image": torch.from_numpy(IMAGE), "target": torch.from_numpy(TARGET)}, path)


def save_old_pt(path: Path) -> None:
    tensors = {"image": torch.from_numpy(IMAGE), "target": torch.from_numpy(TARGET)}
    torch.save(tensors, path, _use_new_zipfile_serialization=False)


def save_views_pt(path: Path) -> None:
    image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(IMAGE, 1, 3))).permute(0, 3, 1, 2).requires_grad_()
    torch.save({"image": image, "target": torch.from_numpy(np.repeat(TARGET, 2))[::2]}, path)


def save_safetensors(path: Path) -> None:
    safetensors.numpy.save_file({"image": IMAGE, "target": TARGET}, path, metadata={"origin": "test"})


NAMED: dict[str, Callable[[Path], None]] = {
    "npz": save_npz,
    "compressed npz": save_compressed_npz,
    "npz in Fortran order": save_fortran_npz,
    "compressed npz in Fortran order": save_compressed_fortran_npz,
    "pt": save_pt,
    "pt before 1.6": save_old_pt,
    "pt of views": save_views_pt,
    "safetensors": save_safetensors,
}


def write_table(path: Path, kind: str, table: Mapping[str, Array] = TABLE) -> None:
    arrow = pyarrow.table({name: pyarrow.array(column) for name, column in table.items()})
    if kind == "parquet":
        pyarrow.parquet.write_table(arrow, path)
    else:
        delimiter = {"csv": ",", "semicolons": ";", "tabs": "\t"}[kind]
        pyarrow.csv.write_csv(arrow, path, pyarrow.csv.WriteOptions(delimiter=delimiter))


def opened(path: Path) -> dict[str, Array]:
    """Every array of a source, read whole."""
    return {one.name: one.read(0, one.shape[0]) for one in arrays_of(path)}


def arrays_of(path: Path | str) -> tuple[ArrayFile, ...]:
    return open_source(str(path), Path(str(path) + ".scratch").absolute())


def assert_same(found: dict[str, Array], expected: dict[str, Array]) -> None:
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array)


# --------------------------------------------------------------------------------------- what was saved


@pytest.mark.parametrize("save", NAMED.values(), ids=NAMED)
def test_a_file_of_named_arrays_gives_them_back(save: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "data.npz"  # the name tells nothing: content does
    save(path)
    assert_same(opened(path), {"image": IMAGE, "target": TARGET})


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float64", "float16", "uint8", "bool", "int32"])
def test_a_npy_file_gives_its_array_back_without_a_name(dtype: str, order: str, tmp_path: Path) -> None:
    array = np.array(IMAGE * 3, dtype=dtype, order="F" if order == "F" else "C")
    np.save(tmp_path / "data.npy", array)
    assert_same(opened(tmp_path / "data.npy"), {"": array})


def test_a_large_fortran_array_is_turned_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costopt.sampling.arrays.CHUNK_BYTES", 100)
    np.save(tmp_path / "data.npy", np.asfortranarray(IMAGE))
    assert_same(opened(tmp_path / "data.npy"), {"": IMAGE})


def test_arrays_that_numpy_named_itself_have_no_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", IMAGE, TARGET)
    arrays = arrays_of(tmp_path / "data.npz")
    assert [(one.name, one.shape) for one in arrays] == [("", (5, 1, 2, 3)), ("", (5,))]


@pytest.mark.parametrize("loose", [torch.from_numpy(IMAGE), [torch.from_numpy(IMAGE)], (torch.from_numpy(IMAGE),)])
def test_bare_tensors_have_no_name(loose: object, tmp_path: Path) -> None:
    torch.save(loose, tmp_path / "data.pt")
    assert_same(opened(tmp_path / "data.pt"), {"": IMAGE})


@pytest.mark.parametrize("kind", ["parquet", "csv", "semicolons", "tabs"])
def test_the_columns_of_a_table_are_arrays(kind: str, tmp_path: Path) -> None:
    write_table(tmp_path / "table", kind)
    assert_same(opened(tmp_path / "table"), TABLE)


def test_a_table_of_many_batches_is_one_array_a_column(tmp_path: Path) -> None:
    column = np.arange(300_000)
    write_table(tmp_path / "table.csv", "csv", {"a": column, "b": column * 0.5})
    write_table(tmp_path / "table.parquet", "parquet", {"a": column, "b": column * 0.5})
    for name in ("table.csv", "table.parquet"):
        assert_same(opened(tmp_path / name), {"a": column, "b": column * 0.5})


def test_a_table_of_thousands_of_columns_is_recognised(tmp_path: Path) -> None:
    wide = {f"feature_{number}": np.arange(2) for number in range(3000)}
    write_table(tmp_path / "wide.csv", "csv", wide)
    assert len(arrays_of(tmp_path / "wide.csv")) == 3000


def test_a_stored_npz_and_a_safetensors_file_are_read_where_they_lie(tmp_path: Path) -> None:
    for name, save in {"a.npz": save_npz, "a.safetensors": save_safetensors}.items():
        save(tmp_path / name)
        assert {one.path for one in arrays_of(tmp_path / name)} == {str(tmp_path / name)}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "a.safetensors"]


def test_an_array_of_eight_gigabytes_is_read_in_the_parts_that_are_asked_for(tmp_path: Path) -> None:
    path, shape = tmp_path / "big.npy", (2_000_000, 1024)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        start = file.tell()
        file.truncate(start + shape[0] * shape[1] * 4)  # a hole, save for the one row
        file.seek(start + 1_999_998 * 4096)
        file.write(np.full(1024, 7, "<f4").tobytes())
    tracemalloc.start()
    (array,) = arrays_of(path)
    parts = [array.read(at, at + 10) for at in (0, 1_000_000, 1_999_995)]
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert array.shape == shape
    assert [part.shape for part in parts] == [(10, 1024), (10, 1024), (5, 1024)]
    assert parts[2][3].sum() == 7 * 1024
    assert peak_bytes < 2_000_000


# ---------------------------------------------------------------------------------------- module:function


@pytest.fixture
def my_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's, in the current directory."""
    name = f"data_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        """
import numpy as np, torch
from torch.utils.data import DataLoader, TensorDataset
image = np.arange(30, dtype=np.float32).reshape(5, 1, 2, 3) / 7
target = np.array([3, 1, 4, 1, 5])
def dicts():
    for cut in (slice(0, 2), slice(2, 5)):
        yield {"image": image[cut], "target": target[cut]}
def tuples(): return [(image[:4], target[:4]), (image[4:], target[4:])]
def loader(): return DataLoader(TensorDataset(torch.from_numpy(image), torch.from_numpy(target)), batch_size=2)
def single(): yield from (image[:3], image[3:])
def nothing(): return None
def empty(): return []
def ragged(): yield {"x": np.ones((2, 3))}; yield {"x": np.ones((2, 4))}
def renamed(): yield {"x": np.ones(2)}; yield {"y": np.ones(2)}
def retyped(): yield np.ones(2); yield np.ones(2, np.float32)
def uneven(): yield np.ones(2), np.ones(3)
def texts(): yield {"x": ["cat", "dog"]}
def crooked(): yield {"x": [[1, 2], [3]]}
def number(): yield 3.0
def late(): yield image; raise RuntimeError("the disk fell off")
def early(): raise KeyError("path")
"""
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path.parent))  # restores sys.path afterwards, whatever was added meanwhile
    return name


def test_batches_of_dicts_are_joined_by_name(my_data: str) -> None:
    assert_same(opened(Path(f"{my_data}:dicts")), {"image": IMAGE, "target": TARGET})


@pytest.mark.parametrize("function", ["tuples", "loader"])
def test_batches_of_tuples_have_no_names(my_data: str, function: str) -> None:
    image, target = arrays_of(f"{my_data}:{function}")
    assert (image.name, target.name) == ("", "")
    np.testing.assert_array_equal(image.read(0, 5), IMAGE)
    np.testing.assert_array_equal(target.read(0, 5), TARGET)


def test_batches_of_single_arrays_are_joined(my_data: str) -> None:
    assert_same(opened(Path(f"{my_data}:single")), {"": IMAGE})


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nothing", "gave a NoneType; it must yield batches"),
        ("empty", "there are no samples in it"),
        ("ragged", r"'x' has a batch of float64 \(2, 4\), and before it samples of float64 \(3,\); .*pad"),
        ("renamed", "a batch holds y, those before it x"),
        ("retyped", r"'0' has a batch of float32 \(2,\), and before it samples of float64"),
        ("uneven", r"shapes \(2,\), \(3,\)"),
        ("texts", "'x' is <U3 .* must hold numbers"),
        ("crooked", "what numpy can't read"),
        ("number", r"float64 \(\); it must hold numbers, and its first axis the samples"),
        ("late", "raised RuntimeError: the disk fell off"),
        ("early", "raised KeyError: 'path'"),
    ],
)
def test_what_is_wrong_with_the_batches_is_said_in_words(my_data: str, function: str, words: str) -> None:
    with pytest.raises(DataError, match=rf"{my_data}:{function}: .*{words}"):
        arrays_of(f"{my_data}:{function}")


# -------------------------------------------------------------------------------------- what is damaged


def refusal(source: Path | str) -> str:
    """The refusal of a source: one or two lines that begin with its name."""
    with pytest.raises(DataError) as caught:
        arrays_of(source)
    words = str(caught.value)
    assert words.startswith(str(source))
    assert words.count("\n") <= 1
    assert max(map(len, words.splitlines())) < 420
    return words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"  <html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (bytes(range(256)) * 8, "no known kind"),
        (b"just a note to self", "no known kind"),
        (b'{"image": [1, 2, 3], "target": [1]}', "no known kind"),
        (b"PK\x03\x04 and then nothing", "cut off"),
        (b"\x93NUMPY\x01\x00", "header"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "header"),
    ],
)
def test_a_file_that_is_no_data_is_refused_with_what_it_is(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    path.write_bytes(content)
    assert words in refusal(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "nowhere.npz")
    assert "this is a folder" in refusal(tmp_path)


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_npz(tmp_path / "data.npz")

    def denied(path: Path, mode: str) -> None:  # chmod would not stop root, as whom CI often runs
        raise PermissionError(13, "Permission denied", f"{path} {mode}")

    monkeypatch.setattr(Path, "open", denied)
    assert "can't be read (Permission denied); check its permissions" in refusal(tmp_path / "data.npz")


def save_npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, IMAGE)


CUTTABLE: Mapping[str, Callable[[Path], None]] = {
    **NAMED,
    "npy": save_npy,
    "parquet": lambda path: write_table(path, "parquet"),
}


@pytest.mark.parametrize("save", CUTTABLE.values(), ids=CUTTABLE)
def test_a_file_that_is_cut_off_anywhere_is_refused(save: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "data"
    save(path)
    whole = path.read_bytes()
    for length in [*range(1, len(whole), max(1, len(whole) // 40)), len(whole) - 1]:
        path.write_bytes(whole[:length])
        refusal(path)


@pytest.mark.parametrize("save", CUTTABLE.values(), ids=CUTTABLE)
def test_a_file_with_a_wrong_byte_is_read_or_refused_but_never_ends_in_a_traceback(
    save: Callable[[Path], None], tmp_path: Path
) -> None:
    path, generator = tmp_path / "data", np.random.default_rng(0)
    save(path)
    whole = path.read_bytes()
    outcomes = {"read": 0, "refused": 0}
    for position in generator.integers(0, len(whole), 60):
        broken = bytearray(whole)
        broken[position] ^= int(generator.integers(1, 256))
        path.write_bytes(broken)
        try:
            opened(path)
            outcomes["read"] += 1
        except DataError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 0


def test_a_corrupt_compressed_member_is_seen_by_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, image=np.random.default_rng(0).standard_normal(500))
    with zipfile.ZipFile(path) as archive:
        middle = archive.infolist()[0].header_offset + 2000
    content = bytearray(path.read_bytes())
    content[middle] ^= 0xFF
    path.write_bytes(content)
    assert "can't be unpacked" in refusal(path)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000,), }",
            "4,000,000,000 bytes are missing|cut off",
        ),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "impossible shape"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", "header"),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (0,), }", "record array"),
        ("__import__('os').system('true')", "header"),
        ("(" * 500, "header"),
    ],
)
def test_a_npy_header_that_lies_is_refused(header: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "data.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(DataError, match=words):
        arrays_of(path)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('{"dtype":"F32","shape":[2],"data_offsets":[0,4]}', "cut off, or its offsets are wrong"),
        ('{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}', "cut off, or its offsets are wrong"),
        ('{"dtype":"F32","shape":[100],"data_offsets":[0,400]}', "cut off, or its offsets are wrong"),
        ('{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}', "BF16, which numpy does not know"),
        ('{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}', "malformed"),
        ('{"dtype":"F32"}', "malformed"),
        ("[]", "malformed"),
    ],
)
def test_a_safetensors_header_that_lies_is_refused(entry: str, words: str, tmp_path: Path) -> None:
    path, header = tmp_path / "data", f'{{"x":{entry}}}'.encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert words in refusal(path)


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        ({"image": torch.zeros(2), "epoch": 3}, "it holds a dict with a int in it"),
        ({}, "it holds a dict;"),
        ("text", "it holds a str"),
        ({"image": torch.zeros(2, dtype=torch.bfloat16)}, "bfloat16, which numpy does not know"),
        ({"image": torch.zeros(2, 2).to_sparse()}, "sparse"),
        (torch.tensor(1.0), "save dense samples"),
        (torch.nn.Linear(1, 1), "does not read it as bare tensors"),
    ],
)
def test_a_pt_file_of_something_else_is_refused(saved: object, words: str, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "data.pt")
    assert words in refusal(tmp_path / "data.pt")


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_a_torchscript_model_given_as_data_is_refused(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), str(tmp_path / "data.pt"))
    assert "is a TorchScript model" in refusal(tmp_path / "data.pt")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b\n1,2\n3,\n", "column 'b' is empty in row 1"),
        ("a,city\n1,Rome\n", "column 'city' holds string, not numbers"),
        ("a,day\n1,2026-01-01\n", "column 'day' holds date32"),
        ("1.5,2\n3,4\n", "put a line with the columns' names before it"),
        ("a,a\n1,2\n", "2 columns are called 'a'"),
        ("a,b\n", "there are no rows in it"),
        ("a,b\n1,2\n3,4,5\n", "not a whole table"),
    ],
)
def test_a_table_that_is_not_all_numbers_is_refused_with_the_column(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(text)
    assert words in refusal(path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    save_npz(path)
    content = path.read_bytes()
    index = content.index(b"PK\x01\x02")
    path.write_bytes(content[: index + 8] + b"\x01" + content[index + 9 :])  # the flag in the archive's index
    assert "encrypted" in refusal(path)


# ------------------------------------------------------------------------------------ what would run code


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.canary),)


def plant_npy(path: Path, payload: Payload) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([payload], dtype=object), allow_pickle=True)


def plant_npz(path: Path, payload: Payload) -> None:
    with path.open("wb") as file:
        np.savez(file, image=np.array([payload], dtype=object))


def plant_compressed_npz(path: Path, payload: Payload) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, image=IMAGE, target=np.array([payload], dtype=object))


def plant_pt(path: Path, payload: Payload) -> None:
    torch.save({"image": payload}, path)


def plant_old_pt(path: Path, payload: Payload) -> None:
    torch.save({"image": payload}, path, _use_new_zipfile_serialization=False)


def plant_pickle(path: Path, payload: Payload) -> None:
    path.write_bytes(pickle.dumps({"image": payload}))


def load_pickled_npy(path: Path) -> None:
    np.load(path, allow_pickle=True)


def load_pickled_npz(path: Path) -> None:
    archive = np.load(path, allow_pickle=True)
    for name in archive:
        archive[name]


def load_pickled_pt(path: Path) -> None:
    torch.load(path, weights_only=False)


def load_pickle(path: Path) -> None:
    pickle.loads(path.read_bytes())


@pytest.mark.parametrize(
    ("plant", "load_without_guard"),
    [
        (plant_npy, load_pickled_npy),
        (plant_npz, load_pickled_npz),
        (plant_compressed_npz, load_pickled_npz),
        (plant_pt, load_pickled_pt),
        (plant_old_pt, load_pickled_pt),
        (plant_pickle, load_pickle),
    ],
)
def test_a_planted_pickle_does_not_run(
    plant: Callable[[Path, Payload], None], load_without_guard: Callable[[Path], None], tmp_path: Path
) -> None:
    path, canary = tmp_path / "data", tmp_path / "canary"
    plant(path, Payload(canary))
    words = refusal(path)
    assert not canary.exists()
    assert "could run code" in words
    load_without_guard(path)
    assert canary.exists(), "the payload was not live, so the test would prove nothing"


def test_a_bare_pickle_is_not_even_handed_to_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_bytes(pickle.dumps(IMAGE))
    monkeypatch.setattr(torch, "load", None)
    assert "is a pickle, which could run code" in refusal(tmp_path / "data")


def test_a_name_in_an_archive_can_not_leave_the_scratch_folder(tmp_path: Path) -> None:
    path, outside = tmp_path / "data.npz", tmp_path / "outside.npy"
    buffer = io.BytesIO()
    np.save(buffer, np.asfortranarray(IMAGE))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../outside.npy", buffer.getvalue())
    (array,) = arrays_of(path)
    assert not outside.exists()
    assert Path(array.path).is_relative_to(Path(f"{path}.scratch"))


# ----------------------------------------------------------------------------------------------- on disk


@contextmanager
def files_no_larger_than(size_bytes: int) -> Iterator[None]:
    """What a full disk does to a write, without a full disk (the error is EFBIG, handled like ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("save", [save_pt, save_compressed_npz], ids=["pt", "compressed npz"])
def test_a_full_disk_is_said_in_one_line(save: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "data"
    save(path)
    said = r"(?i)could not write .*free some space"
    with files_no_larger_than(150), pytest.raises(CostoptError, match=said) as caught:
        arrays_of(path)
    assert not isinstance(caught.value, DataError)


def test_a_scratch_folder_that_can_not_be_made_is_said_in_one_line(tmp_path: Path) -> None:
    save_pt(tmp_path / "data")
    (tmp_path / "data.scratch").write_text("in the way")
    with pytest.raises(CostoptError, match=r"could not write .*check the folder"):
        arrays_of(tmp_path / "data")


def test_writing_again_leaves_what_is_being_read(tmp_path: Path) -> None:
    for value in (1.0, 2.0):
        writer = ArrayWriter(tmp_path, "test")
        writer.append(["x"], [np.full(3, value)])
        (array,) = writer.finish()
        if value == 1.0:
            held = np.load(array.path, mmap_mode="r")
    assert held.tolist() == [1.0] * 3
    assert np.load(array.path).tolist() == [2.0] * 3


def test_a_file_that_shrinks_during_a_run_is_noticed(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", IMAGE)
    (array,) = arrays_of(tmp_path / "data.npy")
    with (tmp_path / "data.npy").open("r+b") as file:
        file.truncate(150)
    with pytest.raises(DataError, match="changed or went away"):
        array.read(0, 5)


@pytest.mark.parametrize("name", plugins.names("feeds"))
def test_a_feed_recognises_its_own_kind_only(name: str, tmp_path: Path) -> None:
    kinds: Mapping[str, Callable[[Path], None]] = {
        "npz": save_npz,
        "pt": save_pt,
        "safetensors": save_safetensors,
        "npy": save_npy,
        "tabular": lambda path: write_table(path, "csv"),
    }
    for kind, save in kinds.items():
        save(tmp_path / kind)
        recognised = plugins.make("feeds", Spec(name), Feed).recognises(str(tmp_path / kind))
        assert recognised == (kind == name), kind
