"""The child process: what it answers, and that its end, however it comes, is one line for the parent."""

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from costopt.errors import CandidateError, CostoptError, DataError, NotApplicable
from costopt.worker import Answer, Child, Request
from tests import child_tasks

pytestmark = pytest.mark.alone

LIMIT_S = 30.0


def wait_until(holds: Callable[[], bool], limit_s: float = 10.0) -> bool:
    """Signals arrive a moment after they are sent."""
    deadline = time.monotonic() + limit_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


@pytest.fixture(autouse=True)
def findable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children don't look for modules in the current folder, so they are told where these tests lie."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))


@pytest.fixture
def child(tmp_path: Path) -> Iterator[Child]:
    with Child("bench", tmp_path / "child.log") as one:
        yield one


def test_a_child_calls_the_function_and_answers(child: Child) -> None:
    assert child.ask(child_tasks.double, {"value": 21}, LIMIT_S) == {"value": 42}


def test_a_child_keeps_its_memory_between_requests(child: Child) -> None:
    child.ask(child_tasks.remember, {"value": 1}, LIMIT_S)
    assert child.ask(child_tasks.remember, {"value": 2}, LIMIT_S) == {"seen": [1, 2]}


def test_what_libraries_print_goes_to_the_log_and_not_into_the_conversation(child: Child) -> None:
    assert child.ask(child_tasks.print_a_lot, {}, LIMIT_S) == {"value": "clean"}
    assert "raw chatter on descriptor 1" in child.log.read_text()


def test_an_answer_of_many_megabytes_arrives_whole(child: Child) -> None:
    assert len(child.ask(child_tasks.answer_at_length, {"length": 20_000_000}, LIMIT_S)["value"]) == 20_000_000


def test_an_error_of_ours_comes_back_as_it_was(child: Child) -> None:
    with pytest.raises(CandidateError, match="no way with 7") as caught:
        child.ask(child_tasks.refuse, {"value": 7}, LIMIT_S)
    assert caught.value.stage == "export"
    with pytest.raises(NotApplicable, match="nothing to do"):
        child.ask(child_tasks.find_nothing_to_do, {}, LIMIT_S)
    with pytest.raises(DataError, match="3 rows"):
        child.ask(child_tasks.blame_the_data, {}, LIMIT_S)


def test_a_full_disk_in_a_child_is_no_fault_of_the_candidate(child: Child) -> None:
    with pytest.raises(CostoptError, match="the disk is full") as caught:
        child.ask(child_tasks.fill_the_disk, {}, LIMIT_S)
    assert not isinstance(caught.value, CandidateError)


def test_a_child_that_refused_goes_on_answering(child: Child) -> None:
    with pytest.raises(CandidateError):
        child.ask(child_tasks.refuse, {"value": 7}, LIMIT_S)
    assert child.ask(child_tasks.double, {"value": 1}, LIMIT_S) == {"value": 2}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (child_tasks.break_down, "ZeroDivisionError: a bug"),
        (child_tasks.segfault, "crashed with SIGSEGV"),
        (child_tasks.run_out_of_memory, "ran out of memory"),
    ],
)
def test_a_child_that_dies_is_a_candidate_error_with_the_reason(
    child: Child, task: Callable[[Request], Answer], words: str
) -> None:
    with pytest.raises(CandidateError, match=words) as caught:
        child.ask(task, {}, LIMIT_S)
    assert caught.value.stage == "bench"


def test_a_child_that_is_gone_says_so_again(child: Child) -> None:
    for _ in range(2):
        with pytest.raises(CandidateError, match="SIGSEGV"):
            child.ask(child_tasks.segfault, {}, LIMIT_S)


def test_a_child_that_hangs_is_ended_when_its_time_is_up(child: Child) -> None:
    with pytest.raises(CandidateError, match="no answer within 1 s"):
        child.ask(child_tasks.hang, {}, 1.0)


def test_a_paused_child_does_nothing_until_it_is_asked(child: Child) -> None:
    process = psutil.Process(child.ask(child_tasks.own_id, {}, LIMIT_S)["pid"])
    child.pause()
    assert wait_until(lambda: process.status() == psutil.STATUS_STOPPED)
    assert child.ask(child_tasks.double, {"value": 1}, LIMIT_S) == {"value": 2}


def test_no_child_outlives_its_block_even_when_it_is_paused(tmp_path: Path) -> None:
    with Child("bench", tmp_path / "child.log") as one:
        number = one.ask(child_tasks.own_id, {}, LIMIT_S)["pid"]
        one.pause()
    assert not psutil.pid_exists(number)


def test_a_child_imports_nothing_from_the_folder_that_the_user_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    for name in ("numpy", "psutil", "json", "costopt"):
        (tmp_path / f"{name}.py").write_text(f"open({str(canary)!r}, 'w').close()")
    monkeypatch.chdir(tmp_path)
    with Child("bench", tmp_path / "child.log") as one:
        assert one.ask(child_tasks.double, {"value": 2}, LIMIT_S) == {"value": 4}
    assert not canary.exists()


@pytest.mark.parametrize(
    ("stage", "users", "policy"),
    [("compress", None, "PASSIVE"), ("compress", "ACTIVE", "ACTIVE"), ("bench", None, None)],
)
def test_idle_threads_sleep_where_nothing_is_measured_unless_the_user_said_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, users: str | None, policy: str | None
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if users is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", users)
    with Child(stage, tmp_path / "child.log") as one:
        assert one.ask(child_tasks.threads_wait, {}, LIMIT_S) == {"policy": policy}


PARENT = """
import sys, time
from pathlib import Path
from costopt.worker import Child
from tests import child_tasks
child = Child("bench", Path(sys.argv[1]))
print(child.ask(child_tasks.own_id, {}, 30)["pid"], flush=True)
child.pause()
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can tie a child's life to its parent's")
def test_kill_nine_of_the_parent_ends_even_a_paused_child(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")], stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
    )
    assert parent.stdout is not None
    number = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert wait_until(lambda: not psutil.pid_exists(number))


def test_news_of_long_work_reaches_the_parents_logger_before_the_answer(
    child: Child, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "costopt")
    assert child.ask(child_tasks.report_progress, {"steps": 3}, LIMIT_S) == {"done": True}
    assert [record.getMessage() for record in caplog.records] == ["step 1 of 3", "step 2 of 3", "step 3 of 3"]
    assert child.ask(child_tasks.double, {"value": 4}, LIMIT_S) == {"value": 8}
