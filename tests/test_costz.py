"""`.costz`: the same files come back, byte for byte, or one clear line and nothing on disk."""

import zlib
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from costopt import graph
from costopt.errors import ModelFileError, UsageError
from costopt.packing import costz
from tests import onnx_graphs
from tests.onnx_graphs import normal

TYPES = [one for one in TensorProto.DataType.values() if one not in (TensorProto.UNDEFINED, TensorProto.STRING)]

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)


def model_of(tensors: Sequence[TensorProto]) -> onnx.ModelProto:
    """A model that holds these, half of them as initializers and half as constants of nodes."""
    half = len(tensors) // 2
    nodes = [helper.make_node("Constant", [], [f"c{number}"], value=one) for number, one in enumerate(tensors[half:])]
    return helper.make_model(helper.make_graph(nodes, "any", [], [], tensors[:half]))


@st.composite
def tensor(draw: st.DrawFn) -> TensorProto:
    """Any type, any bits, up to a few hundred elements; of few values or of many, in raw bytes or in typed fields."""
    kind = draw(st.sampled_from(TYPES))
    shape = draw(st.lists(st.integers(0, 12), max_size=3))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    if kind == TensorProto.FLOAT and draw(st.booleans()):
        return helper.make_tensor("floats", kind, shape, random.standard_normal(int(np.prod(shape))))
    size = numpy_helper.from_array(np.zeros(shape, helper.tensor_dtype_to_np_dtype(kind))).raw_data
    values = random.integers(0, draw(st.sampled_from([1, 2, 256])), len(size), dtype=np.uint8)
    return helper.make_tensor("raw", kind, shape, values.tobytes(), raw=True)


def there_and_back(source: Path, folder: Path) -> Path:
    packed, target = folder / "model.costz", folder / "back" / source.name
    costz.pack(source, packed)
    for file in costz.unpack(packed, target):
        assert file.is_file()
    return target


def same(one: Path, other: Path) -> bool:
    return graph.artifact(one, one.parent) == graph.artifact(other, other.parent)


# ---------------------------------------------------------------------------------------- there and back


@in_one_folder
@given(st.lists(tensor(), max_size=5))
def test_any_model_comes_back_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, held: list[TensorProto]) -> None:
    folder = tmp_path_factory.mktemp("any")
    onnx.save(model_of(held), folder / "model.onnx")
    assert same(folder / "model.onnx", there_and_back(folder / "model.onnx", folder))


@in_one_folder
@given(st.lists(st.sampled_from([0, 1, 5, 400]), min_size=1, max_size=4), st.booleans())
def test_external_data_come_back_in_their_own_files(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], in_one_file: bool
) -> None:
    folder = tmp_path_factory.mktemp("beside")
    held = [numpy_helper.from_array(normal(size, seed=seed), f"w{seed}") for seed, size in enumerate(sizes)]
    onnx.save(
        model_of([*held, *held]),
        folder / "model.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=in_one_file,
        location="weights.bin" if in_one_file else None,
        size_threshold=0,
    )
    back = there_and_back(folder / "model.onnx", folder)
    assert same(folder / "model.onnx", back)
    assert graph.files(back)[1:] == tuple(back.parent / file.name for file in graph.files(folder / "model.onnx")[1:])


def test_a_pruned_and_clustered_model_packs_into_a_fraction(tmp_path: Path) -> None:
    weights = np.linspace(-1, 1, 15, dtype=np.float32)[np.random.default_rng(0).integers(0, 15, (64, 512))]
    weights[np.random.default_rng(1).random((64, 512)) > 0.1] = 0
    source = onnx_graphs.written(
        tmp_path / "model.onnx", "(float[N,64] x) => (float[N,512] y) { y = MatMul(x, w) }", {"w": weights}
    )
    assert costz.pack(source, tmp_path / "model.costz") < source.stat().st_size / 30
    assert costz.likely_share(source) < 1 / 10


def test_weights_as_training_leaves_them_are_not_worth_packing(tmp_path: Path) -> None:
    assert costz.likely_share(onnx_graphs.save_mlp(tmp_path / "mlp.onnx")) > 0.8


def test_unpacking_needs_no_onnx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = onnx_graphs.save_trees(tmp_path / "trees.onnx")
    costz.pack(source, tmp_path / "trees.costz")
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    costz.unpack(tmp_path / "trees.costz", tmp_path / "back.onnx")
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()


# ---------------------------------------------------------------------------------------- what is refused


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A small model, packed; the ONNX file is gone."""
    nodes = "(float[N,8] x) => (float[N,16] y) { y = MatMul(x, w) }"
    source = onnx_graphs.written(tmp_path / "model.onnx", nodes, {"w": np.round(normal(8, 16))})
    costz.pack(source, tmp_path / "model.costz")
    source.unlink()
    return tmp_path / "model.costz"


def refused(packed: Path, match: str) -> None:
    """Unpacking says this in one line, and leaves nothing."""
    before = sorted(packed.parent.rglob("*"))
    with pytest.raises(ModelFileError, match=match) as raised:
        costz.unpack(packed, packed.with_name("out.onnx"))
    assert "\n" not in str(raised.value)
    assert sorted(packed.parent.rglob("*")) == before


def sealed(rest: bytes) -> bytes:
    """A file whose checksum is right."""
    return b"COSTZ\x01" + zlib.crc32(rest).to_bytes(4, "little") + rest


def with_head(packed: Path, old: str, new: str) -> None:
    """Change what the head says, and seal it again."""
    data = packed.read_bytes()
    length = int.from_bytes(data[10:14], "little")
    text = zlib.decompress(data[14 : 14 + length]).decode()
    assert old in text
    head = zlib.compress(text.replace(old, new, 1).encode())
    packed.write_bytes(sealed(len(head).to_bytes(4, "little") + head + data[14 + length :]))


@in_one_folder
@given(st.data())
def test_a_file_that_is_cut_or_changed_is_damaged(packed: Path, data: st.DataObject) -> None:
    whole = packed.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    changed = bytes([whole[place] ^ data.draw(st.integers(1, 255))])
    broken = data.draw(st.sampled_from([whole[:place], whole[:place] + changed + whole[place + 1 :]]))
    copy = packed.with_name("broken.costz")
    copy.write_bytes(broken)
    refused(copy, "damaged|no .costz file|has version")


@in_one_folder
@given(st.data())
def test_a_change_under_a_right_checksum_is_found_or_changes_nothing(packed: Path, data: st.DataObject) -> None:
    """Some bits say nothing: the last ones of a compressed stream, for instance. Without them the same bytes come."""
    changed = bytearray(packed.read_bytes())
    place = data.draw(st.integers(10, len(changed) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))
    with TemporaryDirectory(dir=packed.parent) as folder:
        copy, target, right = (Path(folder) / name for name in ("broken.costz", "out.onnx", "right.onnx"))
        copy.write_bytes(sealed(bytes(changed[10:])))
        why = refusal(copy, target)
        if why is not None:
            assert "damaged" in why or "refused" in why
            assert not target.exists()
        else:
            costz.unpack(packed, right)
            assert target.read_bytes() == right.read_bytes()


def refusal(packed: Path, target: Path) -> str | None:
    """What unpacking says, when it does not unpack."""
    try:
        costz.unpack(packed, target)
    except ModelFileError as found:
        return str(found)
    return None


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/model.onnx", "a/../../b", "C:\\\\b", "c:b", ".bashrc", "a//b"])
def test_a_name_that_leads_elsewhere_is_refused(packed: Path, name: str) -> None:
    with_head(packed, "model.onnx", name)
    refused(packed, "refused: it would write to")


def test_a_bomb_is_refused_before_it_takes_memory(packed: Path) -> None:
    with_head(packed, '"size_bytes":', '"size_bytes":9000000')
    refused(packed, r"refused: its \d+ bytes unpack to \d+, which is made to fill the disk")


def test_a_bomb_that_hides_behind_a_negative_size_is_damage(packed: Path) -> None:
    with_head(packed, '"parts":[', '"parts":[{"name":"big","size_bytes":-9000000000,"text_bytes":0,"holes":[]},')
    refused(packed, "its head makes no sense")


@pytest.mark.parametrize(
    ("old", "new"),
    [('"parts":[', '"parts":[],"more":['), ('"sha256":"', '"sha256":"0'), ('"text_bytes":', '"text_bytes":-')],
    ids=["no file", "another sha256", "a negative size"],
)
def test_a_head_that_contradicts_what_follows_is_damage(packed: Path, old: str, new: str) -> None:
    with_head(packed, old, new)
    refused(packed, "the file is damaged")


def test_a_later_version_is_named(packed: Path) -> None:
    packed.write_bytes(b"COSTZ\x02" + packed.read_bytes()[6:])
    refused(packed, "has version 2, this costopt reads 1: update costopt")


def test_what_is_there_already_stays(packed: Path) -> None:
    (packed.parent / "model.onnx").write_text("mine")
    with pytest.raises(UsageError, match="is there already and stays as it is; name another place with --out"):
        costz.unpack(packed, packed.parent / "model.onnx")
    assert (packed.parent / "model.onnx").read_text() == "mine"


def test_a_model_may_not_take_the_place_of_its_own_data(tmp_path: Path) -> None:
    held = [numpy_helper.from_array(normal(400), "w")] * 2
    onnx.save(model_of(held), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    costz.pack(tmp_path / "m.onnx", tmp_path / "m.costz")
    with pytest.raises(UsageError, match=r"is the name of the model's external data"):
        costz.unpack(tmp_path / "m.costz", tmp_path / "back" / "w.bin")


def test_a_path_that_is_no_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"can't be read \(No such file"):
        costz.unpack(tmp_path / "none.costz", tmp_path / "out.onnx")
    with pytest.raises(ModelFileError, match="no ONNX file, or a damaged one"):
        costz.pack(tmp_path / "none.onnx", tmp_path / "out.costz")


def test_external_data_that_are_missing_are_named(tmp_path: Path) -> None:
    held = [numpy_helper.from_array(normal(400), "w")] * 2
    onnx.save(model_of(held), tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ModelFileError, match=r"external data w.bin is not beside it"):
        costz.pack(tmp_path / "m.onnx", tmp_path / "m.costz")


def test_a_model_of_zeros_is_not_packed_into_what_would_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costz, "FREE_BYTES", 0)
    onnx.save(model_of([numpy_helper.from_array(np.zeros(100_000, np.float32))] * 2), tmp_path / "zeros.onnx")
    with pytest.raises(UsageError, match="next to nothing but zeros"):
        costz.pack(tmp_path / "zeros.onnx", tmp_path / "zeros.costz")
    assert not (tmp_path / "zeros.costz").exists()
