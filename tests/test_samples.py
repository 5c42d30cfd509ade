"""Samples: arrays find their inputs, what does not fit is said with the remedy, and batches are what was saved."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx.parser
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from costopt.errors import DataError
from costopt.methods import Calibration
from costopt.records import InputSpec
from costopt.sampling.arrays import ArrayFile
from costopt.sampling.matching import Purpose
from costopt.sampling.samples import Samples, match, open_source, sha256, spread

Array = NDArray[np.generic]

IMAGE_INPUT = (InputSpec("image", ("batch", 1, 4, 4), "float32"),)
TEXT_INPUTS = (
    InputSpec("input_ids", ("batch", "sequence"), "int64"),
    InputSpec("attention_mask", ("batch", "sequence"), "int64"),
)
TABLE_INPUT = (InputSpec("features", ("batch", 3), "float32"),)

IMAGES = np.random.default_rng(0).standard_normal((10, 1, 4, 4)).astype(np.float32)
LABELS = np.arange(10) % 4
IDS = np.arange(50).reshape(10, 5)
MASK = np.ones((10, 5), np.int64)


def saved(folder: Path, arrays: Mapping[str, Array]) -> tuple[ArrayFile, ...]:
    path = folder / "data.npz"
    np.savez(path, allow_pickle=False, **arrays)
    return open_source(str(path), folder / "scratch")


def refusal(arrays: tuple[ArrayFile, ...], inputs: tuple[InputSpec, ...], purpose: Purpose = "evaluation") -> str:
    """The refusal in words: one line or two."""
    with pytest.raises(DataError) as caught:
        match(arrays, inputs, purpose)
    words = str(caught.value)
    assert words.startswith(f"{purpose} data: ")
    assert words.count("\n") <= 1
    return words


# ----------------------------------------------------------------------------------------- who feeds what


def test_arrays_find_inputs_by_name_in_any_order(tmp_path: Path) -> None:
    arrays = saved(tmp_path, {"target": LABELS, "attention_mask": MASK, "extra": IDS, "input_ids": IDS})
    samples = match(arrays, TEXT_INPUTS, "evaluation")
    rows = samples.rows(0, 10)
    assert list(rows) == ["input_ids", "attention_mask"]
    np.testing.assert_array_equal(rows["input_ids"], IDS)
    np.testing.assert_array_equal(rows["attention_mask"], MASK)
    np.testing.assert_array_equal(samples.targets(0, 10)["target"], LABELS)


def test_an_array_of_another_name_finds_the_only_input(tmp_path: Path) -> None:
    samples = match(saved(tmp_path, {"x": IMAGES, "target": LABELS}), IMAGE_INPUT, "evaluation")
    np.testing.assert_array_equal(samples.rows(0, 10)["image"], IMAGES)


def test_arrays_without_names_find_inputs_by_position(tmp_path: Path) -> None:
    samples = match(saved(tmp_path, {"arr_0": IDS, "arr_1": MASK}), TEXT_INPUTS, "evaluation")
    np.testing.assert_array_equal(samples.rows(0, 10)["attention_mask"], MASK)
    assert samples.targets(0, 10) == {}


def test_one_array_more_than_inputs_without_names_is_the_target(tmp_path: Path) -> None:
    torch.save((torch.from_numpy(IMAGES), torch.from_numpy(LABELS)), tmp_path / "data.pt")
    arrays = open_source(str(tmp_path / "data.pt"), tmp_path / "scratch")
    np.testing.assert_array_equal(match(arrays, IMAGE_INPUT, "evaluation").targets(0, 10)["target"], LABELS)
    assert match(arrays, IMAGE_INPUT, "input").target is None


def test_arrays_of_other_names_are_not_guessed_when_a_swap_would_go_unnoticed(tmp_path: Path) -> None:
    words = refusal(saved(tmp_path, {"a": IDS, "b": MASK}), TEXT_INPUTS)
    assert words.endswith("name the arrays after the model's inputs 'input_ids' and 'attention_mask'")


def test_arrays_of_other_names_are_taken_by_position_when_a_swap_would_be_seen(tmp_path: Path) -> None:
    inputs = (*IMAGE_INPUT, InputSpec("question", ("batch", "sequence"), "int64"))
    samples = match(saved(tmp_path, {"picture": IMAGES, "words": IDS}), inputs, "evaluation")
    np.testing.assert_array_equal(samples.rows(0, 10)["question"], IDS)


def test_calibration_needs_no_labels_and_keeps_those_that_are_called_target(tmp_path: Path) -> None:
    unlabelled = saved(tmp_path, {"image": IMAGES, "label": LABELS})
    assert match(unlabelled, IMAGE_INPUT, "calibration").target is None
    labelled = match(saved(tmp_path, {"image": IMAGES, "target": LABELS}), IMAGE_INPUT, "calibration")
    np.testing.assert_array_equal(labelled.targets(0, 10)["target"], LABELS)


def test_a_missing_input_is_explained_with_both_sides(tmp_path: Path) -> None:
    words = refusal(saved(tmp_path, {"input_ids": IDS, "mask": MASK}), TEXT_INPUTS)
    assert words == (
        "evaluation data: nothing for 'attention_mask': the model takes input_ids int64 (batch, sequence), "
        "attention_mask int64 (batch, sequence); the data have input_ids int64 (10, 5), mask int64 (10, 5).\n"
        "Name the arrays after the inputs: np.savez(path, input_ids=..., attention_mask=..., target=...)"
    )


def test_labels_under_another_name_are_not_passed_over(tmp_path: Path) -> None:
    words = refusal(saved(tmp_path, {"image": IMAGES, "label": LABELS}), IMAGE_INPUT)
    assert "'label' is no input of the model, and there is no 'target'; call it 'target'" in words


def test_a_long_list_is_shortened(tmp_path: Path) -> None:
    words = refusal(saved(tmp_path, {f"array_{number}": IDS for number in range(40)}), TEXT_INPUTS)
    assert "and 34 more" in words
    assert len(words) < 700


def test_a_model_without_inputs_is_said_in_words() -> None:
    with pytest.raises(DataError, match="the model has no inputs"):
        match((), (), "evaluation")


# ------------------------------------------------------------------------------------------------ tables


@pytest.fixture
def table(tmp_path: Path) -> tuple[ArrayFile, ...]:
    (tmp_path / "table.csv").write_text("age,income,member,target\n" + "31,1.5,true,0\n42,2.5,false,1\n" * 5)
    return open_source(str(tmp_path / "table.csv"), tmp_path / "scratch")


def test_the_columns_of_a_table_become_one_float_input(table: tuple[ArrayFile, ...]) -> None:
    samples = match(table, TABLE_INPUT, "evaluation")
    features = samples.rows(0, 3)["features"]
    assert features.dtype == np.float32
    assert features.flags.c_contiguous
    assert features.tolist() == [[31, 1.5, 1], [42, 2.5, 0], [31, 1.5, 1]]
    assert samples.targets(0, 3)["target"].tolist() == [0, 1, 0]


def test_columns_find_inputs_of_their_own_as_scikit_learn_exports_them(table: tuple[ArrayFile, ...]) -> None:
    inputs = (InputSpec("income", ("batch", 1), "float32"), InputSpec("age", (1,), "int64"))
    rows = match(table, inputs, "evaluation").rows(0, 2)
    assert rows["income"].tolist() == [[1.5], [2.5]]
    assert rows["income"].dtype == np.float32
    assert rows["age"].tolist() == [31, 42]


def test_a_column_too_many_is_explained(table: tuple[ArrayFile, ...]) -> None:
    words = refusal(table, (InputSpec("features", ("batch", 2), "float32"),))
    assert "has 2 columns, and the data have 3 (age, income, member)" in words
    assert "call the labels 'target'" in words


def test_a_column_that_would_lose_its_fraction_is_refused(table: tuple[ArrayFile, ...]) -> None:
    words = refusal(table, (InputSpec("income", ("batch", 1), "int64"),))
    assert "is int64, and column 'income' is float64; income = income.astype('int64')" in words


# --------------------------------------------------------------------------------------------- does it fit


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (IMAGES.astype(np.float64), "the array float64 (10, 1, 4, 4); image = image.astype('float32')"),
        ((IMAGES * 9).astype(np.uint8), "image = image.astype('float32'), scaled as in training"),
        (IMAGES.astype(">f4"), "the array >f4 (10, 1, 4, 4); image = image.astype('float32')"),
        (IMAGES[:, 0], "image = image[:, None]"),
        (IMAGES.transpose(0, 2, 3, 1), "image = image.transpose(0, 3, 1, 2)"),
        (IMAGES[:, :, :3], "is float32 (batch, 1, 4, 4), and the array float32 (10, 1, 3, 4); bring it into"),
        (np.ones((), np.float32), "the array float32 (); bring it into"),
        (np.array(["cat"] * 10), "the array <U3 (10); bring it into"),
    ],
)
def test_an_array_that_does_not_fit_is_answered_with_the_line_that_mends_it(
    array: Array, words: str, tmp_path: Path
) -> None:
    assert words in refusal(
        saved(tmp_path, {"image": np.ascontiguousarray(array) if array.ndim else array}), IMAGE_INPUT
    )


@pytest.mark.parametrize("fix", ["image = image.transpose(0, 3, 1, 2)", "image = image[:, None]"])
def test_the_line_that_mends_a_shape_does(fix: str, tmp_path: Path) -> None:
    names = {"image": IMAGES[:, 0] if "None" in fix else np.ascontiguousarray(IMAGES.transpose(0, 2, 3, 1))}
    assert fix in refusal(saved(tmp_path, names), IMAGE_INPUT)
    exec(fix, {}, names)
    match(saved(tmp_path, {"image": np.ascontiguousarray(names["image"])}), IMAGE_INPUT, "evaluation")


def test_an_axis_of_one_name_has_one_length(tmp_path: Path) -> None:
    words = refusal(saved(tmp_path, {"input_ids": IDS, "attention_mask": MASK[:, :4]}), TEXT_INPUTS)
    assert "axis 'sequence' is 5 long in 'input_ids' and 4 in 'attention_mask'; pad or cut" in words


@pytest.mark.parametrize("short", ["attention_mask", "target"])
def test_all_arrays_have_the_same_samples(short: str, tmp_path: Path) -> None:
    arrays = {"input_ids": IDS, "attention_mask": MASK, "target": LABELS}
    arrays[short] = arrays[short][:9]
    words = refusal(saved(tmp_path, arrays), TEXT_INPUTS)
    assert "the first axis is the sample, and it must be the same" in words
    assert f"{short} int64 (9" in words


@pytest.mark.parametrize(
    ("purpose", "count", "enough"),
    [
        ("evaluation", 0, False),
        ("evaluation", 1, False),
        ("evaluation", 2, True),
        ("calibration", 0, False),
        ("calibration", 1, True),
    ],
)
def test_evaluation_needs_two_samples_and_calibration_one(
    purpose: Purpose, count: int, enough: bool, tmp_path: Path
) -> None:
    arrays = saved(tmp_path, {"image": IMAGES[:count], "target": LABELS[:count]})
    if enough:
        assert match(arrays, IMAGE_INPUT, purpose).samples == count
    else:
        assert f"{count} samples are too few" in refusal(arrays, IMAGE_INPUT, purpose)


def test_a_nan_in_the_first_samples_is_found(tmp_path: Path) -> None:
    broken = IMAGES.copy()
    broken[3, 0, 2, 1] = np.nan
    assert "'image' has a NaN in sample 3" in refusal(saved(tmp_path, {"image": broken}), IMAGE_INPUT)


def test_an_input_without_a_batch_axis_is_refused(tmp_path: Path) -> None:
    inputs = (*IMAGE_INPUT, InputSpec("scale", (), "float32"))
    words = refusal(saved(tmp_path, {"image": IMAGES, "scale": np.ones((), np.float32)}), inputs)
    assert "'scale' has no axis for samples" in words


def test_a_model_with_a_fixed_batch_takes_any_number_of_samples(tmp_path: Path) -> None:
    fixed = (InputSpec("image", (8, 1, 4, 4), "float32"),)
    assert match(saved(tmp_path, {"image": IMAGES}), fixed, "evaluation").samples == 10


# --------------------------------------------------------------------------------------------- in batches


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    arrays = saved(tmp_path_factory.mktemp("text"), {"input_ids": IDS, "attention_mask": MASK, "target": LABELS})
    return match(arrays, TEXT_INPUTS, "evaluation")


@given(size=st.integers(1, 12), limit=st.none() | st.integers(1, 12))
def test_batches_in_a_row_are_what_was_saved(text: Samples, size: int, limit: int | None) -> None:
    batches = list(text.batches(size, limit))
    wanted = IDS[: 10 if limit is None else limit]
    np.testing.assert_array_equal(np.concatenate([batch["input_ids"] for batch in batches]), wanted)
    assert all(len(batch["input_ids"]) == size for batch in batches[:-1])
    assert 0 < len(batches[-1]["input_ids"]) <= size


def test_a_batch_is_aligned_writable_memory_of_its_own(text: Samples) -> None:
    first = next(text.batches(3))["input_ids"]
    assert first.flags.c_contiguous
    assert first.flags.aligned
    first[:] = 0
    assert next(text.batches(3))["input_ids"].sum() > 0


def test_samples_are_what_methods_call_calibration(text: Samples) -> None:
    calibration: Calibration = text
    assert calibration.samples == 10


def test_samples_cross_to_another_process_as_json(text: Samples, tmp_path: Path) -> None:
    facts = json.dumps(text.to_json())
    assert Samples.from_json(json.loads(facts)) == text
    script = (
        "import json, sys; from costopt.sampling.samples import Samples\n"
        "samples = Samples.from_json(json.loads(sys.argv[1]))\n"
        "print(samples.rows(2, 3)['input_ids'].tolist(), samples.targets(2, 3)['target'].tolist())"
    )
    command = [sys.executable, "-c", script, facts]
    paths = {"PYTHONPATH": str(Path(__file__).parent.parent)}
    ended = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, env=paths)
    assert ended.stdout.strip() == "[[10, 11, 12, 13, 14]] [2]"


def test_a_relative_path_holds_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "data.npz", image=IMAGES)
    monkeypatch.chdir(tmp_path)
    samples = match(open_source("data.npz", Path("scratch")), IMAGE_INPUT, "evaluation")
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(samples.rows(0, 10)["image"], IMAGES)


def test_outputs_are_written_batch_by_batch_and_read_by_name(tmp_path: Path) -> None:
    batches: list[dict[str, Array]] = [
        {"logits": IMAGES[at : at + 4], "label": LABELS[at : at + 4]} for at in (0, 4, 8)
    ]
    samples = Samples.written(batches, tmp_path / "reference")
    assert samples.samples == 10
    rows = samples.rows(3, 9)
    np.testing.assert_array_equal(rows["logits"], IMAGES[3:9])
    np.testing.assert_array_equal(rows["label"], LABELS[3:9])


def test_a_real_model_runs_on_the_batches(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """
        <ir_version: 8, opset_import: ["" : 17]>
        masked_sum (int64[batch, sequence] input_ids, int64[batch, sequence] attention_mask) => (int64[batch, 1] total)
        {
            kept = Mul(input_ids, attention_mask)
            axis = Constant<value_ints = [1]>()
            total = ReduceSum(kept, axis)
        }
        """
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    samples = match(saved(tmp_path, {"input_ids": IDS, "attention_mask": MASK}), TEXT_INPUTS, "evaluation")
    parts = [session.run(["total"], batch)[0] for batch in samples.batches(4)]
    np.testing.assert_array_equal(np.concatenate(parts), IDS.sum(axis=1, keepdims=True))


# ----------------------------------------------------------------------------------------------- digest


def digest_of(folder: Path, arrays: Mapping[str, Array]) -> str:
    folder.mkdir()
    return sha256(match(saved(folder, arrays), IMAGE_INPUT, "evaluation"))


def test_the_digest_tells_data_apart_and_not_where_they_lie(tmp_path: Path) -> None:
    changed, relabelled = IMAGES.copy(), LABELS.copy()
    changed[9, 0, 3, 3] += 1e-6
    relabelled[0] += 1
    same = [digest_of(tmp_path / name, {"image": IMAGES, "target": LABELS}) for name in ("a", "b")]
    others = [
        digest_of(tmp_path / "c", {"image": changed, "target": LABELS}),
        digest_of(tmp_path / "d", {"image": IMAGES, "target": relabelled}),
        digest_of(tmp_path / "e", {"image": IMAGES}),
        digest_of(tmp_path / "f", {"image": IMAGES[:9], "target": LABELS[:9]}),
    ]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 5


def test_the_digest_does_not_depend_on_the_chunk(text: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sha256(text)
    monkeypatch.setattr("costopt.sampling.samples.CHUNK_BYTES", 50)
    assert sha256(text) == whole


def test_samples_at_some_places_are_those_of_the_whole(tmp_path: Path) -> None:
    samples = match(saved(tmp_path, {"image": IMAGES, "target": LABELS}), IMAGE_INPUT, "evaluation")
    for places in ((0, 3, 9), range(2, 7), (1,)):
        np.testing.assert_array_equal(samples.at(places)["image"], IMAGES[list(places)])
        np.testing.assert_array_equal(samples.targets_at(places)["target"], LABELS[list(places)])


@given(samples=st.integers(1, 10_000), most=st.integers(1, 1000))
def test_places_are_each_there_once_in_order_and_the_same_every_time(samples: int, most: int) -> None:
    places = spread(samples, most)
    assert len(places) == min(samples, most)
    assert list(places) == sorted(set(places))
    assert 0 <= places[0] <= places[-1] < samples
    assert places == spread(samples, most)


@pytest.mark.parametrize("period", [2, 10, 14, 20, 34])
def test_places_show_data_that_are_sorted_and_data_whose_classes_take_turns(period: int) -> None:
    places = np.array(spread(10_000, 512))
    for classes in (places % period, places * period // 10_000):
        assert np.bincount(classes, minlength=period).min() > 0.3 * 512 / period
