"""The run's folder: nothing that was written is lost, and nothing torn is read."""

import subprocess
from pathlib import Path

import pytest

from costopt.disk import write_atomically
from costopt.errors import CostoptError, UsageError
from costopt.journal import Journal, from_json, to_json
from costopt.records import Candidate, Data, Failed, Invalid, Outcome, Plan, Skipped, Spec
from tests import factories

ONE = Candidate((Spec("slim", {"level": "basic"}),), "cpu", 1, 2)
TWO = Candidate((Spec("int8_static", {"per_channel": True}),), "cpu", 8, 2)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    one = Journal(tmp_path / "run")
    one.artifacts.mkdir(parents=True)
    return one


def outcomes() -> tuple[Outcome, ...]:
    return (
        factories.measured(TWO.recipe),
        Failed(ONE, "export", "no way"),
        Invalid(Candidate((), "openvino", 1, 2), "took no node", "leave it out"),
        Skipped(Candidate((Spec("fp16"),), "cpu", 1, 2), "nothing to do"),
    )


def test_every_kind_of_outcome_is_read_back_as_it_was(journal: Journal) -> None:
    for outcome in outcomes():
        journal.append(outcome)
    assert journal.outcomes() == outcomes()


def test_a_later_outcome_of_a_candidate_replaces_the_earlier_one(journal: Journal) -> None:
    journal.append(Failed(ONE, "bench", "first"))
    journal.append(Failed(ONE, "bench", "second"))
    assert journal.outcomes() == (Failed(ONE, "bench", "second"),)


def test_a_line_that_was_torn_by_a_crash_is_left_out_and_cut_off(journal: Journal) -> None:
    for outcome in outcomes()[:2]:
        journal.append(outcome)
    lines = journal.folder / "outcomes.jsonl"
    lines.write_bytes(lines.read_bytes()[:-7])
    assert journal.outcomes() == outcomes()[:1]
    journal.mend()
    journal.append(outcomes()[2])
    assert journal.outcomes() == (outcomes()[0], outcomes()[2])


def test_a_plan_is_read_back_as_it_was(journal: Journal) -> None:
    plan = Plan(Data("evaluation.npz"), recipes=((), (Spec("slim"),)), providers=(Spec("cpu"),), price=Spec("fixed"))
    journal.write_plan(plan)
    assert journal.plan() == plan


def test_a_damaged_record_is_refused_in_words(journal: Journal) -> None:
    (journal.folder / "plan.json").write_text('{"data": 3}')
    with pytest.raises(UsageError, match="damaged or of another version"):
        journal.plan()


def test_a_damaged_line_in_the_middle_is_named_with_the_way_out(journal: Journal) -> None:
    for outcome in outcomes()[:2]:
        journal.append(outcome)
    lines = journal.folder / "outcomes.jsonl"
    lines.write_bytes(b'{"nonsense": 1}\n' + lines.read_bytes())
    with pytest.raises(UsageError, match="line 1 is damaged"):
        journal.outcomes()


@pytest.mark.parametrize("name", ["/nowhere/at/all", "**", "", "../x"])
def test_what_names_no_run_is_told_whatever_it_looks_like(name: str, tmp_path: Path) -> None:
    (tmp_path / "model-aa11").mkdir()
    (tmp_path / "model-aa11" / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="is no run"):
        Journal.find(name, tmp_path)


def test_a_second_run_in_the_same_folder_is_told(journal: Journal) -> None:
    with (
        journal.held(),
        pytest.raises(UsageError, match="another run is writing into"),
        Journal(journal.folder).held(),
    ):
        pass


def test_the_folder_is_free_again_after_a_run(journal: Journal) -> None:
    for _ in range(2):
        with journal.held():
            pass


def test_an_output_folder_that_is_a_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(UsageError, match="give another folder with --out"), Journal(tmp_path / "runs" / "x").held():
        pass


def test_a_run_is_found_by_folder_by_id_and_by_the_start_of_its_id(tmp_path: Path) -> None:
    for name in ("model-aa11", "model-bb22", "other-cc33"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text("{}")
    assert Journal.find(str(tmp_path / "model-aa11"), tmp_path).folder.name == "model-aa11"
    assert Journal.find("model-bb22", tmp_path).folder.name == "model-bb22"
    assert Journal.find("oth", tmp_path).folder.name == "other-cc33"
    with pytest.raises(UsageError, match="names more than one run"):
        Journal.find("model", tmp_path)
    with pytest.raises(UsageError, match="holds: model-aa11, model-bb22, other-cc33"):
        Journal.find("nothing", tmp_path)


def test_a_record_survives_json() -> None:
    for outcome in outcomes():
        assert from_json(type(outcome), to_json(outcome)) == outcome


@pytest.fixture
def full_disk(tmp_path: Path) -> Path:
    """A real file system of 64 kB, for machines where the tests may mount one."""
    folder = tmp_path / "full"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no right to mount a small file system: {mounted.stderr.decode().strip()}")
    return folder


def test_a_full_disk_is_named_and_what_was_there_stays(full_disk: Path) -> None:
    try:
        journal = Journal(full_disk)
        journal.append(Failed(ONE, "bench", "kept"))
        with pytest.raises(CostoptError, match="the disk is full"):
            journal.append(Failed(TWO, "bench", "x" * 200_000))
        with pytest.raises(CostoptError, match="the disk is full"):
            write_atomically(full_disk / "run.json", "x" * 200_000)
        assert not (full_disk / "run.json").exists()
        assert journal.outcomes() == (Failed(ONE, "bench", "kept"),)
    finally:
        subprocess.run(["umount", str(full_disk)], check=True)


def test_the_time_of_all_goes_at_a_run_is_counted_up_to_the_last_outcome(tmp_path: Path) -> None:
    first = Journal(tmp_path)
    first.write_run(factories.run((factories.measured(),)))
    first.count()
    first.append(factories.measured())
    after_one = first.run().seconds
    again = Journal(tmp_path)
    again.count()
    again.append(factories.measured())
    after_two = again.run().seconds
    assert after_one is not None
    assert after_two is not None
    assert 0 < after_one < after_two


def test_a_run_that_was_begun_without_a_count_stays_without(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write_run(factories.run((factories.measured(),)))
    journal.append(factories.measured())
    journal.count()
    journal.append(factories.measured())
    assert journal.run().seconds is None
