"""A setting means the same to ONNX Runtime, in the file and in the lines to paste."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt import plugins
from costopt.errors import UsageError
from costopt.measuring import session_options
from costopt.providers import Build, Provider, Wish
from costopt.records import Setting, Spec, Value
from tests import onnx_graphs

CPU = Spec("cpu")
UNUSUAL: dict[str, Value] = {
    "graph_optimization_level": "extended",
    "execution_mode": "parallel",
    "inter_op_threads": 2,
    "intra_op_spinning": False,
    "inter_op_spinning": False,
    "dynamic_block_base": 4,
    "cpu_arena": False,
    "mem_pattern": False,
    "prepacking": False,
    "denormal_as_zero": True,
}

sessions = st.fixed_dictionaries(
    {},
    optional={
        "graph_optimization_level": st.sampled_from(["disable", "basic", "extended", "layout", "all"]),
        "intra_op_spinning": st.booleans(),
        "dynamic_block_base": st.integers(0, 8),
        "cpu_arena": st.booleans(),
        "mem_pattern": st.booleans(),
        "prepacking": st.booleans(),
        "denormal_as_zero": st.booleans(),
    },
) | st.fixed_dictionaries(
    {"execution_mode": st.just("parallel")},
    optional={"inter_op_threads": st.integers(0, 4), "inter_op_spinning": st.booleans()},
)
settings = st.builds(Setting, st.just(CPU), st.integers(1, 64), st.integers(1, 8), sessions)


def facts(options: onnxruntime.SessionOptions) -> dict[str, Any]:
    """What session options say: every attribute and config entry that a setting may decide."""
    keys = session_options.config_entries(Setting(CPU, session=UNUSUAL))
    return {
        "intra": options.intra_op_num_threads,
        "inter": options.inter_op_num_threads,
        "mode": options.execution_mode.name,
        "level": options.graph_optimization_level.name,
        "arena": options.enable_cpu_mem_arena,
        "pattern": options.enable_mem_pattern,
        "entries": {key: entry(options, key) for key in keys},
    }


def entry(options: onnxruntime.SessionOptions, key: str) -> str | None:
    try:
        text: str = options.get_session_config_entry(key)
    except RuntimeError:  # it was never set
        return None
    return text


def test_the_defaults_are_those_of_onnx_runtime() -> None:
    assert facts(session_options.make(Setting(CPU, threads=0))) == facts(onnxruntime.SessionOptions())


def test_every_key_is_known_to_the_installed_onnx_runtime() -> None:
    # It accepts any key, so the library itself is asked: a key that it reads stands in its text.
    library = b"".join(path.read_bytes() for path in Path(onnxruntime.__file__).parent.glob("capi/*state*"))
    keys = [*session_options.config_entries(Setting(CPU, session=UNUSUAL)), "session.intra_op_thread_affinities"]
    assert len(keys) == 6
    assert [key for key in keys if key.encode() + b"\0" not in library] == []


def test_every_unusual_setting_says_its_word_to_onnx_runtime() -> None:
    assert session_options.config_entries(Setting(CPU, session=UNUSUAL)) == {
        "session.intra_op.allow_spinning": "0",
        "session.inter_op.allow_spinning": "0",
        "session.dynamic_block_base": "4",
        "session.disable_prepacking": "1",
        "session.set_denormal_as_zero": "1",
    }
    assert session_options.attributes(Setting(CPU, threads=3, session=UNUSUAL)) == {
        "intra_op_num_threads": 3,
        "inter_op_num_threads": 2,
        "execution_mode": "ORT_PARALLEL",
        "graph_optimization_level": "ORT_ENABLE_EXTENDED",
        "enable_cpu_mem_arena": False,
        "enable_mem_pattern": False,
    }


@given(setting=settings)
def test_lines_to_paste_make_the_same_options_as_costopt_does(setting: Setting) -> None:
    lines = session_options.snippet(setting, "model.onnx").splitlines()
    names: dict[str, Any] = {}
    exec("\n".join(line for line in lines if not line.startswith("session =")), names)
    assert facts(names["options"]) == facts(session_options.make(setting))


@given(setting=settings)
def test_the_file_gives_back_the_setting_without_its_defaults(setting: Setting) -> None:
    back = session_options.from_json(session_options.to_json(setting))
    assert back == Setting(CPU, setting.batch, setting.threads, session_options.normal(setting.session))
    assert facts(session_options.make(back)) == facts(session_options.make(setting))


@pytest.mark.parametrize("name", plugins.names("providers"))
def test_the_lines_open_a_session_on_each_provider_that_is_here(name: str, tmp_path: Path) -> None:
    reason = plugins.make("providers", Spec(name), Provider).missing()
    if reason is not None:
        pytest.skip(f"{name}: {reason}")
    setting = Setting(Spec(name), threads=1, session={"cpu_arena": False, "intra_op_spinning": False})
    asking = (
        "import json\n"
        "kept = session.get_session_options()\n"
        "spinning = kept.get_session_config_entry('session.intra_op.allow_spinning')\n"
        "print(json.dumps([kept.intra_op_num_threads, kept.enable_cpu_mem_arena, spinning, session.get_providers()]))\n"
    )
    script = session_options.snippet(setting, str(onnx_graphs.save_mlp(tmp_path / "model.onnx"))) + asking
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    threads, arena, spinning, providers = json.loads(ended.stdout.splitlines()[-1])
    document = json.loads(session_options.to_json(setting))
    assert (threads, arena, spinning) == (1, False, "0")
    assert document["provider"] in providers


class Everything(Provider):
    """A provider of a build that changes all that a provider may change."""

    runtime_name = "AzureExecutionProvider"  # the one beside the CPU's that every build lists
    ways = (Build("onnxruntime"),)
    behind = ("CUDAExecutionProvider",)

    def configure(self, options: onnxruntime.SessionOptions) -> Wish:
        threads, options.intra_op_num_threads = options.intra_op_num_threads, 1
        options.enable_mem_pattern = False
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.dynamic_block_base", "2")
        return Wish({"threads": str(threads)})


def test_what_a_provider_changes_is_in_the_file_and_in_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "make", lambda *_: Everything())
    setting = Setting(CPU, threads=3)
    document = json.loads(session_options.to_json(setting))
    assert (document["provider_options"], document["fallback_providers"]) == (
        {"threads": "3"},
        ["CUDAExecutionProvider"],
    )
    assert (document["intra_op_num_threads"], document["enable_mem_pattern"]) == (1, False)
    assert session_options.snippet(setting, "model.onnx").splitlines() == [
        "import onnxruntime",
        "",
        "options = onnxruntime.SessionOptions()",
        "options.intra_op_num_threads = 1",
        "options.enable_mem_pattern = False",
        'options.add_session_config_entry("session.dynamic_block_base", "2")',
        "# enable_fallback=0: else a provider that can't be created is replaced by the CPU's.",
        'session = onnxruntime.InferenceSession("model.onnx", options, providers=[("AzureExecutionProvider", '
        '{"threads": "3"}), "CUDAExecutionProvider"], enable_fallback=0)',
    ]
    assert session_options.from_json(session_options.to_json(setting)).threads == 3


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shows the threads of a process and their CPUs")
def test_threads_are_bound_to_the_cpus_that_are_given(tmp_path: Path) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("this process may use one CPU only: every thread is bound to it")
    before = set(os.listdir("/proc/self/task"))
    options = session_options.make(Setting(CPU, threads=2), cpus[:2])
    session = onnxruntime.InferenceSession(
        str(onnx_graphs.save_mlp(tmp_path / "model.onnx")), options, providers=["CPUExecutionProvider"]
    )

    def bound() -> list[set[int]]:
        return [os.sched_getaffinity(int(thread)) for thread in set(os.listdir("/proc/self/task")) - before]

    deadline = time.monotonic() + 10
    while bound() != [{cpus[1]}] and time.monotonic() < deadline:  # a thread binds itself, a moment after it was made
        time.sleep(0.01)
    assert bound() == [{cpus[1]}]
    del session


def test_binding_needs_one_cpu_a_thread() -> None:
    with pytest.raises(ValueError, match="binding 2 threads needs 2 CPUs, not 3"):
        session_options.make(Setting(CPU, threads=2), (0, 1, 2))


@pytest.mark.parametrize(
    ("session", "complaint"),
    [
        ({"intra_op_spining": False}, "no setting 'intra_op_spining'; did you mean 'intra_op_spinning'"),
        ({"cpu_arena": 1}, "cpu_arena must be true or false, not 1"),
        ({"dynamic_block_base": True}, "dynamic_block_base must be a whole number, not True"),
        ({"dynamic_block_base": -1}, "dynamic_block_base must not be negative"),
        ({"graph_optimization_level": "most"}, "must be one of disable, basic, extended, layout, all, not 'most'"),
        ({"inter_op_threads": 2}, "need execution_mode=parallel"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_words(session: dict[str, Value], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        session_options.settings_of(session)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"setting": {"provider": "cpu"}}'])
def test_a_file_that_is_something_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"not a session_options\.json that costopt wrote"):
        session_options.from_json(text)


def test_a_file_with_an_unknown_setting_is_refused() -> None:
    text = session_options.to_json(Setting(CPU, session={"cpu_arena": False}))
    with pytest.raises(UsageError, match="no setting 'cpu_area'; did you mean 'cpu_arena'"):
        session_options.from_json(text.replace("cpu_arena", "cpu_area"))
