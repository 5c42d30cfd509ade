"""init, list, schema, doctor, pack and unpack: what they print, where, and how they end."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from costopt import machine, plan, plugins, providers
from costopt.commands import doctor as doctoring
from costopt.commands.doctor import Finding, Form, doctor
from costopt.commands.init import init
from costopt.commands.list import list_
from costopt.commands.pack import pack
from costopt.commands.schema import schema
from costopt.commands.unpack import unpack
from costopt.errors import UsageError
from costopt.timings import Noise
from tests import onnx_graphs

pytestmark = pytest.mark.alone

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
    assert below["cpu"].startswith("    here (seen at work: ")
    assert all(line.startswith(("    here (", "    not here: ")) for line in below.values())
    assert all("seen at work" in line for line in below.values())


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


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Doctor watches the machine for a second; here a moment is enough."""
    watched = functools.partial(doctoring.of_quiet, 0.02)
    monkeypatch.setattr(doctoring, "of_quiet", watched)


@pytest.mark.usefixtures("at_once")
def test_doctor_finds_this_machine_able_to_work(capsys: pytest.CaptureFixture[str]) -> None:
    doctor()
    printed = capsys.readouterr().out
    for topic in ("python", "torch", "onnxruntime", "cpu", "memory", "swap", "disk", "gpu", "energy", "frequency"):
        assert f" {topic} " in printed
    for topic in ("heat", "noise", "wake-ups", "provider"):
        assert f" {topic} " in printed
    assert "cpu: here" in printed


@pytest.mark.usefixtures("at_once")
def test_doctor_tells_machines_the_same_as_people(capsys: pytest.CaptureFixture[str]) -> None:
    doctor(Form.json)
    told = json.loads(capsys.readouterr().out)
    assert all(set(one) == {"level", "topic", "words", "remedy"} for one in told)
    assert {"level": "ok", "topic": "provider", "words": "cpu: here", "remedy": ""} in told
    assert all(one["remedy"] for one in told if one["level"] != "ok")


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("form", list(Form))
def test_doctor_exits_1_when_something_that_compress_needs_is_missing(
    form: Form, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctoring, "installed", lambda _builds: {"costopt": "1", "torch": "2.13.0"})
    with pytest.raises(typer.Exit) as caught:
        doctor(form)
    assert caught.value.exit_code == 1
    assert "pip install onnxscript" in capsys.readouterr().out


def levels(*found: Finding) -> list[str]:
    return [one.level for one in found]


def test_any_build_stands_for_onnxruntime() -> None:
    packages = dict.fromkeys(doctoring.REQUIRED, "1")
    del packages["onnxruntime"]
    assert "problem" in levels(*doctoring.of_packages(packages, ()))
    assert "problem" not in levels(*doctoring.of_packages(packages, ("onnxruntime-gpu",)))


def test_this_environment_has_one_build_of_onnxruntime_beside_its_plug_ins() -> None:
    builds = providers.installed_builds()
    assert len(builds) == 1
    assert "onnxruntime-ep-openvino" in doctoring.installed(builds)


@pytest.mark.parametrize(
    ("builds", "remedy"),
    [
        (("onnxruntime",), None),
        (
            ("onnxruntime", "onnxruntime-gpu"),
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu",
        ),
        (
            ("onnxruntime-gpu", "onnxruntime-openvino"),
            "pip uninstall -y onnxruntime-gpu onnxruntime-openvino && pip install onnxruntime-gpu "
            "(or instead: onnxruntime-openvino)",
        ),
    ],
)
def test_two_builds_of_onnxruntime_are_a_clash_with_the_command_that_mends_it(
    builds: tuple[str, ...], remedy: str | None
) -> None:
    found = list(doctoring.of_clash(builds))
    assert [one.remedy for one in found] == ([remedy] if remedy else [])


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
        (doctoring.of_swap(0, 0, GIB), "ok"),
        (doctoring.of_swap(GIB, 4 * GIB, 2 * GIB), "ok"),
        (doctoring.of_swap(3 * GIB, 4 * GIB, 2 * GIB), "note"),
        (doctoring.of_disk(9 * GIB), "ok"),
        (doctoring.of_disk(GIB // 2), "note"),
        (doctoring.of_frequency((), None), "ok"),
        (doctoring.of_frequency(("performance",), True), "ok"),
        (doctoring.of_frequency(("performance", "schedutil"), False), "note"),
        (doctoring.of_heat(()), "ok"),
        (doctoring.of_heat((0, 0)), "ok"),
        (doctoring.of_heat((0, 3)), "note"),
        (doctoring.of_noise(Noise(1.1, 2)), "ok"),
        (doctoring.of_noise(Noise(1.1, 2, other_load=0.02, steal=0.01, governor="powersave")), "ok"),
        (doctoring.of_noise(Noise(1.1, 2, other_load=0.5)), "note"),
        (doctoring.of_noise(Noise(1.1, 2, steal=0.05)), "note"),
        (doctoring.of_wake_ups([1e-4] * 99 + [5e-3]), "ok"),
        (doctoring.of_wake_ups([1e-4] * 9 + [5e-3] * 2), "note"),
        (doctoring.of_render_node(Path("/dev/dri/renderD128"), True), "ok"),
        (doctoring.of_render_node(Path("/dev/dri/renderD128"), False), "note"),
    ],
)
def test_what_costs_speed_or_certainty_is_a_note_with_a_remedy(finding: Finding, level: str) -> None:
    assert finding.level == level
    assert bool(finding.remedy) == (level != "ok")


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ((8, 8, 8), []),
        ((8, 2, 2), ["2 of the machine's 8, by this process's affinity mask"]),
        ((8, 8, 2), ["2 at once of 8, by the container's quota: beyond it all threads are stopped together"]),
    ],
)
def test_cores_that_this_process_may_not_use_are_told(counts: tuple[int, int, int], found: list[str]) -> None:
    assert [one.words for one in doctoring.of_share(*counts)] == found


def test_noise_that_the_system_does_not_show_is_not_called_none() -> None:
    assert doctoring.of_noise(Noise(1.1, 2)).words == "other load not shown, steal not shown, over 1.1 s"
    disturbed = Noise(1.1, 2, other_load=0.5, steal=0.0, swapped_pages=2000, throttled=1)
    assert doctoring.of_noise(disturbed).words == (
        "other load 50 %, steal 0 %, pages from swap 2,000, slow-downs for heat 1, over 1.1 s"
    )


@pytest.mark.parametrize(
    ("said", "found"),
    [
        (
            (0, "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)\nGPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)\n"),
            [("ok", "GPU 0: NVIDIA H100 80GB HBM3"), ("ok", "GPU 1: NVIDIA H100 80GB HBM3")],
        ),
        ((0, "No devices found.\n"), [("note", "nvidia-smi is here and lists none: No devices found.")]),
        ((9, "NVIDIA-SMI has failed\n"), [("note", "nvidia-smi is here and lists none: NVIDIA-SMI has failed")]),
        ((124, ""), [("note", "nvidia-smi is here and lists none: it says nothing")]),
    ],
)
def test_gpus_are_those_that_nvidias_tool_lists(said: tuple[int, str], found: list[tuple[str, str]]) -> None:
    assert [(one.level, one.words) for one in doctoring.of_nvidia(said)] == found


def test_gpus_without_nvidias_tool_are_those_that_the_drivers_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [one.words for one in doctoring.of_gpus(tmp_path / "no", tmp_path / "no")] == ["none found"]
    (tmp_path / "nvidia" / "0000:01:00.0").mkdir(parents=True)
    (tmp_path / "dri").mkdir()
    (tmp_path / "dri" / "renderD128").touch()
    words = [one.words for one in doctoring.of_gpus(tmp_path / "nvidia", tmp_path / "dri")]
    assert words[0] == "1 behind NVIDIA's driver, and no nvidia-smi"
    assert words[1].endswith(f", at {tmp_path}/dri/renderD128")


def test_a_gpu_has_its_makers_name(tmp_path: Path) -> None:
    (tmp_path / "renderD128" / "device").mkdir(parents=True)
    (tmp_path / "renderD128" / "device" / "vendor").write_text("0x1002\n")
    assert doctoring.of_render_node(Path("/dev/dri/renderD128"), True, tmp_path).words.startswith("AMD, at ")


@pytest.mark.parametrize(
    ("file", "text", "on"),
    [("intel_pstate/no_turbo", "0", True), ("intel_pstate/no_turbo", "1", False), ("cpufreq/boost", "1", True)],
)
def test_turbo_is_read_from_either_driver(tmp_path: Path, file: str, text: str, on: bool) -> None:
    assert doctoring.turbo(tmp_path) is None
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(text + "\n")
    assert doctoring.turbo(tmp_path) is on


def test_an_energy_counter_is_found_where_there_is_one(tmp_path: Path) -> None:
    assert "no energy counter" in doctoring.of_energy(tmp_path / "nowhere").words
    assert "no energy counter" in doctoring.of_energy(tmp_path).words
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.parent.mkdir()
    counter.write_text("12345\n")
    assert f"{counter} can be read" in doctoring.of_energy(tmp_path).words


def test_an_energy_counter_that_only_root_may_read_comes_with_the_commands_that_open_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = tmp_path / "intel-rapl:0" / "energy_uj"
    counter.parent.mkdir()
    counter.touch()

    def refuse(self: Path, encoding: str) -> str:
        raise PermissionError(13, "Permission denied", f"{self} ({encoding})")

    monkeypatch.setattr(Path, "read_text", refuse)
    found = doctoring.of_energy(tmp_path)
    assert "only root may read it" in found.words
    assert f"sudo chmod a+r {tmp_path}/*rapl*/energy_uj" in found.remedy
    assert "sudo setcap cap_dac_read_search=ep /" in found.remedy


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


def test_onnx_runtime_sends_no_telemetry_once_costopt_is_imported(tmp_path: Path) -> None:
    """Where it is on, importing it leaves a session file in the temporary folder, before anything is sent."""
    script = "import costopt, onnxruntime, os, time; assert os.environ['ORT_DISABLE_TELEMETRY'] == '1'; time.sleep(0.5)"
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "TMPDIR": str(tmp_path)}, check=True)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------- pack and unpack


def test_pack_prints_the_file_and_what_it_saved_and_unpack_gives_the_model_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = onnx_graphs.save_mlp(tmp_path / "model.onnx")
    pack(source)
    printed = capsys.readouterr()
    assert printed.out == f"{tmp_path / 'model.costz'}\n"
    assert printed.err == "301 kB in 252 kB: 1.20x\n"
    unpack(tmp_path / "model.costz", tmp_path / "back.onnx")
    assert capsys.readouterr().out == f"{tmp_path / 'back.onnx'}\n"
    assert (tmp_path / "back.onnx").read_bytes() == source.read_bytes()


def test_unpack_leaves_a_model_that_is_there_alone(tmp_path: Path) -> None:
    source = onnx_graphs.save_trees(tmp_path / "model.onnx")
    pack(source)
    with pytest.raises(UsageError, match="is there already and stays as it is"):
        unpack(tmp_path / "model.costz")


def test_a_damaged_file_ends_in_one_line_and_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "model.costz").write_bytes(b"COSTZ\x01 and then something else")
    command = [sys.executable, "-m", "costopt", "unpack", str(tmp_path / "model.costz")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    words = "the file is damaged (its checksum differs); copy or download it again"
    assert ended.stderr == f"costopt: {tmp_path / 'model.costz'}: {words}\n"
    assert ended.stdout == ""
