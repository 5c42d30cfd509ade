"""init, list, schema and doctor: what they print, where, and how they end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from costopt import machine, plan, plugins
from costopt.commands import doctor as doctoring
from costopt.commands.doctor import Finding, doctor
from costopt.commands.init import init
from costopt.commands.list import list_
from costopt.commands.schema import schema
from costopt.errors import UsageError

GIB = 2**30

# ---------------------------------------------------------------------------------------- init


def test_init_writes_a_budget_that_can_be_read_and_prints_its_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init(tmp_path / "new" / "project")
    written = tmp_path / "new" / "project" / "budget.yaml"
    printed = capsys.readouterr()
    assert printed.out == f"{written}\n"
    assert f"costopt compress model.pt2 --config {written}" in printed.err
    assert plan.read(written, data_must_exist=False).budget.accuracy_drop == 0.01


def test_init_leaves_a_budget_that_is_there_alone(tmp_path: Path) -> None:
    (tmp_path / "budget.yaml").write_text("mine")
    with pytest.raises(UsageError, match="is there already and stays as it is"):
        init(tmp_path)
    assert (tmp_path / "budget.yaml").read_text() == "mine"


def test_init_says_when_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"can't be written \(.*\); name a folder of your own"):
        init(tmp_path / "file" / "below")


# ---------------------------------------------------------------------------------------- list


@pytest.mark.parametrize(
    "kind", ["methods", "metrics", "providers", "formats", "feeds", "prices", "reports", "runners"]
)
def test_list_names_every_plug_in_of_a_folder_with_its_first_line(
    kind: plugins.Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    list_(kind)
    heads = [line for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert heads == [f"{name}: {plugins.describe(kind, name)}" for name in plugins.names(kind)]


def test_list_shows_options_with_type_and_default(capsys: pytest.CaptureFixture[str]) -> None:
    list_("metrics")
    assert "    average: one of macro, micro (default 'macro')" in capsys.readouterr().out.splitlines()
    list_("prices")
    assert "    instance: a text (must be given)" in capsys.readouterr().out.splitlines()


def test_list_says_which_providers_are_here(capsys: pytest.CaptureFixture[str]) -> None:
    list_("providers")
    lines = capsys.readouterr().out.splitlines()
    below = {head.partition(":")[0]: lines[index + 1] for index, head in enumerate(lines) if not head.startswith(" ")}
    assert below["cpu"] == "    here"
    assert all(line == "    here" or line.startswith("    not here: ") for line in below.values())


def test_list_offers_the_nearest_for_an_unknown_kind() -> None:
    with pytest.raises(UsageError, match="there is no list of 'method'; did you mean 'methods'"):
        list_("method")


# ---------------------------------------------------------------------------------------- schema


def test_schema_prints_the_json_schema_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    schema()
    printed = capsys.readouterr()
    assert json.loads(printed.out) == plan.json_schema()
    assert printed.err == ""


# ---------------------------------------------------------------------------------------- doctor


def test_doctor_finds_this_machine_able_to_work(capsys: pytest.CaptureFixture[str]) -> None:
    doctor()
    printed = capsys.readouterr().out
    for topic in ("python", "torch", "onnxruntime", "cpu", "memory", "disk", "load", "energy", "provider"):
        assert f" {topic} " in printed
    assert "cpu: here" in printed


def test_doctor_exits_1_when_something_that_compress_needs_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctoring, "installed", lambda: {"costopt": "1", "torch": "2.13.0"})
    with pytest.raises(typer.Exit) as caught:
        doctor()
    assert caught.value.exit_code == 1
    assert "pip install onnx\n" in capsys.readouterr().out


def levels(*found: Finding) -> list[str]:
    return [one.level for one in found]


def test_onnxruntime_gpu_stands_for_onnxruntime() -> None:
    packages = dict.fromkeys(doctoring.REQUIRED, "1")
    del packages["onnxruntime"]
    assert "problem" in levels(*doctoring.of_packages(packages))
    assert "problem" not in levels(*doctoring.of_packages({**packages, "onnxruntime-gpu": "1"}))


def test_two_builds_of_onnxruntime_are_a_clash_with_the_command_that_mends_it() -> None:
    (found,) = doctoring.of_clash({"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"})
    assert found.remedy == "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    assert not list(doctoring.of_clash({"onnxruntime": "1.31.1"}))


def test_a_package_that_is_there_and_does_not_load_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torn_library.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    (found,) = doctoring.of_imports(["torn_library"])
    assert found.level == "problem"
    assert "libgomp.so.1" in found.words
    assert not list(doctoring.of_imports(["json"]))


@pytest.mark.parametrize(
    ("finding", "level"),
    [
        (doctoring.of_cpu("Example", 2, ("avx2", "avx512_vnni")), "ok"),
        (doctoring.of_cpu("Example", 2, ()), "ok"),
        (doctoring.of_cpu("Example", 2, ("avx2",)), "note"),
        (doctoring.of_memory(8 * GIB, 4 * GIB), "ok"),
        (doctoring.of_memory(8 * GIB, GIB // 2), "note"),
        (doctoring.of_disk(9 * GIB), "ok"),
        (doctoring.of_disk(GIB // 2), "note"),
        (doctoring.of_load(0.1, 2), "ok"),
        (doctoring.of_load(1.9, 2), "note"),
    ],
)
def test_what_costs_speed_or_certainty_is_a_note_with_a_remedy(finding: Finding, level: str) -> None:
    assert finding.level == level
    assert bool(finding.remedy) == (level != "ok")


def test_an_energy_counter_is_found_where_there_is_one(tmp_path: Path) -> None:
    assert "no energy counter" in doctoring.of_energy(tmp_path / "nowhere").words
    assert "no energy counter" in doctoring.of_energy(tmp_path).words
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.parent.mkdir()
    counter.write_text("12345\n")
    assert f"{counter} can be read" in doctoring.of_energy(tmp_path).words


def test_an_energy_counter_that_only_root_may_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.parent.mkdir()
    counter.touch()

    def refuse(self: Path, encoding: str) -> str:
        raise PermissionError(13, "Permission denied", f"{self} ({encoding})")

    monkeypatch.setattr(Path, "read_text", refuse)
    assert "only root may read it" in doctoring.of_energy(tmp_path).words


# ---------------------------------------------------------------------------------------- machine


def test_this_machine_is_the_same_every_time_it_is_asked() -> None:
    assert machine.here() == machine.here()
    assert machine.here().fingerprint == machine.here().fingerprint


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has affinity masks")
def test_cores_are_those_that_the_affinity_mask_allows() -> None:
    one = sorted(os.sched_getaffinity(0))[:1]
    script = f"import os; os.sched_setaffinity(0, {one}); from costopt import machine; print(machine.cores())"
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ended.stdout == "1\n"


@pytest.mark.parametrize(
    ("quota", "at_most"), [("100000 100000", 1), ("50000 100000", 1), ("150000 100000", 2), ("max 100000", 10**6)]
)
def test_a_containers_quota_bounds_the_cores(tmp_path: Path, quota: str, at_most: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert machine.cores(tmp_path) == min(at_most, machine.cores(tmp_path / "nowhere"))


@pytest.mark.parametrize("limit_bytes", [GIB, 2**60])
def test_a_containers_limit_bounds_the_memory(tmp_path: Path, limit_bytes: int) -> None:
    (tmp_path / "memory.max").write_text(f"{limit_bytes}\n")
    assert machine.memory_bytes(tmp_path) == min(limit_bytes, machine.memory_bytes(tmp_path / "nowhere"))


def test_a_container_without_a_limit_has_the_machines_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.memory_bytes(tmp_path) == machine.memory_bytes(tmp_path / "nowhere")
