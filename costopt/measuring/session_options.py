"""How ONNX Runtime is to serve a model: from a `Setting` to its `SessionOptions`, to a file, and to lines to paste.

    Setting ─▶ make      onnxruntime.SessionOptions, for this process
            ─▶ to_json   session_options.json, for whoever serves the model; `from_json` reads it back
            ─▶ snippet   the Python lines that serve the model just so, without costopt

All three say the same: they read the fields of `SessionSettings`, whose names and defaults stand here once. Source of
the keys and their meaning: ONNX Runtime's onnxruntime_session_options_config_keys.h and
https://onnxruntime.ai/docs/performance/tune-performance/threading.html. ONNX Runtime accepts a key that it does not
know without a word, so a test looks each of them up in the library.
"""

import dataclasses
import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from costopt import plugins
from costopt.errors import UsageError
from costopt.providers import CPU, Provider
from costopt.records import Setting, Spec, Value

if TYPE_CHECKING:
    import onnxruntime

GraphLevel = Literal["disable", "basic", "extended", "layout", "all"]
ExecutionMode = Literal["sequential", "parallel"]

_GRAPH_LEVELS: Mapping[GraphLevel, str] = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "layout": "ORT_ENABLE_LAYOUT",
    "all": "ORT_ENABLE_ALL",
}
_EXECUTION_MODES: Mapping[ExecutionMode, str] = {"sequential": "ORT_SEQUENTIAL", "parallel": "ORT_PARALLEL"}

_QUIET = 3  # ONNX Runtime's severity "error": its warnings about optimised-away nodes help nobody here


@dataclass(frozen=True, slots=True)
class SessionSettings:
    """What `Setting.session` may hold. The defaults are ONNX Runtime's own."""

    graph_optimization_level: GraphLevel = "all"
    """How far the graph is rewritten at load: each level includes the ones before it. `extended` adds fusions that
    only some providers have, `layout` blocked memory layouts, `all` whatever there is."""
    execution_mode: ExecutionMode = "sequential"
    """Whether nodes of different branches may run at the same time."""
    inter_op_threads: int = 0
    """Threads for branches in parallel execution; 0 leaves their number to ONNX Runtime."""
    intra_op_spinning: bool = True
    """Idle threads wait in a loop for the next operator: a quicker start, paid for in CPU time and energy."""
    inter_op_spinning: bool = True
    """The same for the threads of parallel execution."""
    dynamic_block_base: int = 0
    """Above 0, an operator's work is dealt out in ever smaller blocks, so that a thread that was held up holds up the
    others less; 0 deals it out in equal blocks. 4 is the advice where latency varies (ONNX Runtime's troubleshooting
    page; microsoft/onnxruntime pull request 9833)."""
    cpu_arena: bool = True
    """Keep freed memory for the next call. False gives it back: less memory, more time in the allocator."""
    mem_pattern: bool = True
    """Plan all buffers of a call as one block when shapes repeat."""
    prepacking: bool = True
    """Rewrite weights at load into the layout that kernels read. False saves memory and load time."""
    denormal_as_zero: bool = False
    """Treat numbers too small for full precision (under 1.2e-38) as 0, which CPUs handle faster. Changes results."""


def settings_of(session: Mapping[str, Value]) -> SessionSettings:
    """The settings that `session` asks for, the others at their defaults.

    Raises UsageError for an unknown name (with the nearest), a value of the wrong kind, and a setting that would have
    no effect beside the others.
    """
    hints = typing.get_type_hints(SessionSettings)
    for name, value in session.items():
        if name not in hints:
            raise UsageError(f"session: no setting '{name}'{plugins.nearest(name, hints)}")
        if not _fits(value, hints[name]):
            raise UsageError(f"session: {name} must be {plugins.in_words(hints[name])}, not {value!r}")
        if isinstance(value, int) and value < 0:
            raise UsageError(f"session: {name} must not be negative, but is {value}")
    settings = SessionSettings(**typing.cast(dict[str, Any], dict(session)))
    if settings.execution_mode == "sequential" and (settings.inter_op_threads or not settings.inter_op_spinning):
        raise UsageError("session: inter_op_threads and inter_op_spinning need execution_mode=parallel")
    return settings


def _fits(value: Value, hint: object) -> bool:
    if typing.get_origin(hint) is Literal:
        return value in typing.get_args(hint)
    return type(value) is hint


def normal(session: Mapping[str, Value]) -> dict[str, Value]:
    """The same settings without those that stand at their default: two ways to say one thing become one.

    Raises UsageError as `settings_of` does.
    """
    defaults = dataclasses.asdict(SessionSettings())
    return {name: value for name, value in dataclasses.asdict(settings_of(session)).items() if value != defaults[name]}


# ---------------------------------------------------------------------------------------- to ONNX Runtime


def attributes(setting: Setting) -> dict[str, int | bool | str]:
    """The attributes of `onnxruntime.SessionOptions` that the setting decides; enumerators by their names."""
    settings = settings_of(setting.session)
    return {
        "intra_op_num_threads": setting.threads,
        "inter_op_num_threads": settings.inter_op_threads,
        "execution_mode": _EXECUTION_MODES[settings.execution_mode],
        "graph_optimization_level": _GRAPH_LEVELS[settings.graph_optimization_level],
        "enable_cpu_mem_arena": settings.cpu_arena,
        "enable_mem_pattern": settings.mem_pattern,
    }


def config_entries(setting: Setting) -> dict[str, str]:
    """The `add_session_config_entry` pairs for what differs from ONNX Runtime's defaults."""
    defaults = _every_entry(SessionSettings())
    wanted = _every_entry(settings_of(setting.session))
    return {key: value for key, value in wanted.items() if value != defaults[key]}


def _every_entry(settings: SessionSettings) -> dict[str, str]:
    return {
        "session.intra_op.allow_spinning": str(int(settings.intra_op_spinning)),
        "session.inter_op.allow_spinning": str(int(settings.inter_op_spinning)),
        "session.dynamic_block_base": str(settings.dynamic_block_base),
        "session.disable_prepacking": str(int(not settings.prepacking)),
        "session.set_denormal_as_zero": str(int(settings.denormal_as_zero)),
    }


def make(setting: Setting, cpus: Sequence[int] = ()) -> "onnxruntime.SessionOptions":
    """Session options for a setting, without its provider (`Provider.attach`).

    `cpus`, one for each thread, binds thread i to cpus[i] from the second thread on; the first is the thread that
    calls the model, and its caller's to bind. Raises UsageError as `settings_of` does, and ValueError when CPUs and
    threads differ in number.
    """
    import onnxruntime

    settings = settings_of(setting.session)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = setting.threads
    options.inter_op_num_threads = settings.inter_op_threads
    options.execution_mode = onnxruntime.ExecutionMode.__members__[_EXECUTION_MODES[settings.execution_mode]]
    level = _GRAPH_LEVELS[settings.graph_optimization_level]
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.__members__[level]
    options.enable_cpu_mem_arena = settings.cpu_arena
    options.enable_mem_pattern = settings.mem_pattern
    for key, value in config_entries(setting).items():
        options.add_session_config_entry(key, value)
    if cpus and setting.threads > 1:
        options.add_session_config_entry("session.intra_op_thread_affinities", affinities(setting.threads, cpus))
    return options


def affinities(threads: int, cpus: Sequence[int]) -> str:
    """`session.intra_op_thread_affinities`: a CPU for each thread but the first, counted from 1, parted by ";".

    Raises ValueError when there is not one CPU a thread.
    """
    if len(cpus) != threads:
        raise ValueError(f"binding {threads} threads needs {threads} CPUs, not {len(cpus)}")
    return ";".join(str(cpu + 1) for cpu in cpus[1:])


# ---------------------------------------------------------------------------------------- with its provider


@dataclass(slots=True)
class _StandIn:
    """Takes the place of `SessionOptions` while a provider attaches itself, and keeps what the provider did.

    It has slots: a provider that sets something which is not written down here fails, rather than being forgotten.
    """

    intra_op_num_threads: int
    inter_op_num_threads: int
    execution_mode: Any
    graph_optimization_level: Any
    enable_cpu_mem_arena: bool
    enable_mem_pattern: bool
    entries: dict[str, str]
    devices: tuple[Any, ...] = ()
    device_options: Mapping[str, str] = field(default_factory=dict)

    def add_provider_for_devices(self, devices: Sequence[Any], options: Mapping[str, str]) -> None:
        """A plug-in provider joins a session by its devices."""
        self.devices, self.device_options = tuple(devices), options

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Some providers need an entry of the session beside their own options."""
        self.entries[key] = value

    def attributes(self) -> dict[str, int | bool | str]:
        """What `attributes` gives, as the provider left it."""
        return {
            "intra_op_num_threads": self.intra_op_num_threads,
            "inter_op_num_threads": self.inter_op_num_threads,
            "execution_mode": _enumerator(self.execution_mode),
            "graph_optimization_level": _enumerator(self.graph_optimization_level),
            "enable_cpu_mem_arena": self.enable_cpu_mem_arena,
            "enable_mem_pattern": self.enable_mem_pattern,
        }


def _enumerator(value: Any) -> str:
    """The name of one of ONNX Runtime's enumerators; ours are names from the start."""
    return value if isinstance(value, str) else str(value.name)


def _stand_in(setting: Setting) -> _StandIn:
    return _StandIn(**typing.cast(dict[str, Any], attributes(setting)), entries=config_entries(setting))


@dataclass(frozen=True, slots=True)
class _Plugin:
    """The package that brings a provider, and which of its devices: of a kind ("" for any), counted from 0."""

    package: str
    device: str
    index: int


@dataclass(frozen=True, slots=True)
class _Session:
    """All that a session is opened with. The providers `behind` take what the first one leaves."""

    attributes: Mapping[str, int | bool | str]
    entries: Mapping[str, str]
    provider: str
    provider_options: Mapping[str, str]
    behind: tuple[str, ...] = ()
    plugin: _Plugin | None = None


def _session(setting: Setting) -> _Session:
    """What a setting comes to with its provider. Raises CandidateError when the provider can't work here."""
    provider = plugins.make("providers", setting.provider, Provider)
    stand_in = _stand_in(setting)
    named = provider.attach(stand_in)
    after, entries = stand_in.attributes(), stand_in.entries
    if stand_in.devices:
        one = stand_in.devices[0]
        wish = provider.configure(_stand_in(setting))  # the device itself does not say how it was counted
        # A plug-in's package carries its library, so the folder of the one bears the name of the other.
        plugin = _Plugin(Path(one.ep_metadata["library_path"]).parent.name, wish.device, wish.index)
        return _Session(after, entries, one.ep_name, dict(stand_in.device_options), plugin=plugin)
    pairs = [(one, dict[str, str]()) if isinstance(one, str) else one for one in named]
    (name, options), *others = pairs
    return _Session(after, entries, name, options, tuple(other for other, _ in others))


# ---------------------------------------------------------------------------------------- to a file, and back


def to_json(setting: Setting) -> str:
    """The text of a `session_options.json`: everything that ONNX Runtime needs to serve a model as it was measured.

        provider, provider_options      ONNX Runtime's name, and the provider's options as ONNX Runtime takes them
        fallback_providers              names of those that take what the provider leaves; the CPU's comes last anyway
        plugin                          package that brings the provider, kind of device and its number, or null
        intra_op_num_threads, ...       attributes of `SessionOptions`, enumerators by their names
        config_entries                  pairs for `add_session_config_entry`
        setting                         the same as costopt describes it: what `from_json` reads

    Raises CandidateError when the provider can't work here: its options are asked of the provider itself.
    """
    session = _session(setting)
    document = {
        "provider": session.provider,
        "provider_options": session.provider_options,
        "fallback_providers": session.behind,
        "plugin": dataclasses.asdict(session.plugin) if session.plugin else None,
        **session.attributes,
        "config_entries": session.entries,
        "setting": {
            "provider": setting.provider.name,
            "options": dict(setting.provider.options),
            "batch": setting.batch,
            "threads": setting.threads,
            "session": normal(setting.session),
        },
    }
    return json.dumps(document, indent=2) + "\n"


def from_json(text: str) -> Setting:
    """The setting in a `session_options.json`, on any machine.

    Raises UsageError when the text is no such file, or names a session setting that does not exist.
    """
    try:
        words = json.loads(text)["setting"]
        provider = Spec(words["provider"], words["options"])
        setting = Setting(provider, int(words["batch"]), int(words["threads"]), words["session"])
    except (ValueError, LookupError, TypeError) as problem:
        raise UsageError(f"not a session_options.json that costopt wrote: {problem!r}") from problem
    settings_of(setting.session)
    return setting


# ---------------------------------------------------------------------------------------- lines to paste


def snippet(setting: Setting, file: str) -> str:
    """Python lines that open `file` in a session with this setting, as `session`, without costopt.

    Raises CandidateError when the provider can't work here: its options are asked of the provider itself.
    """
    session = _session(setting)
    imports = ["import onnxruntime", *([f"import {session.plugin.package} as plugin"] if session.plugin else [])]
    options = ["options = onnxruntime.SessionOptions()", *_attribute_lines(session), *_entry_lines(session)]
    opening = _plugin_lines(session, session.plugin, file) if session.plugin else _build_lines(session, file)
    return "\n".join([*imports, "", *options, *opening]) + "\n"


def _attribute_lines(session: _Session) -> list[str]:
    defaults = attributes(Setting(Spec("cpu"), threads=0))
    return [
        f"options.{name} = {_literal(name, value)}"
        for name, value in session.attributes.items()
        if value != defaults[name]
    ]


def _literal(name: str, value: int | bool | str) -> str:
    enumerations = {"execution_mode": "ExecutionMode", "graph_optimization_level": "GraphOptimizationLevel"}
    return f"onnxruntime.{enumerations[name]}.{value}" if name in enumerations else repr(value)


def _entry_lines(session: _Session) -> list[str]:
    return [
        f"options.add_session_config_entry({_quoted(key)}, {_quoted(value)})" for key, value in session.entries.items()
    ]


def _quoted(value: object) -> str:
    """Text, or a mapping or list of texts, as a Python literal in double quotes."""
    return json.dumps(value)


def _build_lines(session: _Session, file: str) -> list[str]:
    first = f"({_quoted(session.provider)}, {_quoted(session.provider_options)})"
    named = first if session.provider_options else _quoted(session.provider)
    providers = ", ".join([named, *(_quoted(one) for one in session.behind)])
    opening = f"session = onnxruntime.InferenceSession({_quoted(file)}, options, providers=[{providers}]"
    if session.provider == CPU:
        return [f"{opening})"]
    reason = "# enable_fallback=0: else a provider that can't be created is replaced by the CPU's."
    return [reason, f"{opening}, enable_fallback=0)"]


def _plugin_lines(session: _Session, plugin: _Plugin, file: str) -> list[str]:
    kind = f"    and device.device.type == onnxruntime.OrtHardwareDeviceType.{plugin.device}"
    return [
        "onnxruntime.register_execution_provider_library(plugin.get_ep_name(), plugin.get_library_path())",
        "devices = [",
        "    device",
        "    for device in onnxruntime.get_ep_devices()",
        f"    if device.ep_name == {_quoted(session.provider)}",
        *([kind] if plugin.device else []),
        "]",
        f"options.add_provider_for_devices([devices[{plugin.index}]], {_quoted(session.provider_options)})",
        f"session = onnxruntime.InferenceSession({_quoted(file)}, options)",
    ]
