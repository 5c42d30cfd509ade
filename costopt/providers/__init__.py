"""Execution providers, one a file: who computes the graph.

ONNX Runtime comes by a provider in two ways, and some providers exist in both:

    Build     compiled into an onnxruntime package (onnxruntime-gpu ...); a session names it
    Plugin    a package of its own beside any ONNX Runtime; its library is registered, a session gets its device

A provider's fields are its options, and its one method turns them into what ONNX Runtime reads (`configure`). The rest
is here: whether it can work on this machine (`missing`), and how it joins a session (`attach`). That a package is
installed proves little: ONNX Runtime lists CUDA on machines without a GPU, and then computes on the CPU with no more
than a line in the log. So `missing` opens a small graph in a process of its own, and looks who took it.

Whether the provider then did the work of a *model*, and in which precision, is measured in every run (`placement`,
`precision`): that is why a provider may be used that we have not seen at work ourselves (`seen`).
"""

import functools
import importlib
import importlib.metadata
import importlib.util
import pickle
import platform
import re
import subprocess
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from costopt.errors import CandidateError

if TYPE_CHECKING:
    import onnxruntime

Named = list[str | tuple[str, dict[str, str]]]
"""The `providers` argument of `InferenceSession`."""

CPU = "CPUExecutionProvider"

TRIAL_LIMIT_S = 120.0
"""A first session on a GPU may compile kernels; past this, the provider hangs."""

_REASON_LENGTH = 200


@dataclass(frozen=True)
class Wish:
    """What a provider asks of ONNX Runtime for one session: its options, in ONNX Runtime's words, and its device.

    `device` is CPU, GPU or NPU, or "" for whatever the provider lists first; `index` counts the devices of that kind.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    index: int = 0


# ---------------------------------------------------------------------------------------- where providers come from


@dataclass(frozen=True)
class Build:
    """A provider that is compiled into ONNX Runtime.

    `package` is the distribution that has it, None when there is only the source; `device_option` names the option
    that takes the kind of device, "" when there is none.
    """

    package: str | None
    device_option: str = ""

    def has(self, runtime_name: str) -> bool:
        """Whether the installed ONNX Runtime was built with the provider."""
        return runtime_name in _built_in()

    def how_to_get(self) -> str:
        """What to type."""
        if self.package is None:
            return "no package has it: build ONNX Runtime from source with it"
        others = " ".join(name for name in installed_builds() if name != self.package) or "onnxruntime"
        return (
            f"pip uninstall {others}, then pip install {self.package} "
            "(packages with an ONNX Runtime of their own overwrite one another)"
        )

    def join(self, options: "onnxruntime.SessionOptions", runtime_name: str, wish: Wish) -> Named:  # noqa: ARG002
        """Name the provider, with its options."""
        device = {self.device_option: wish.device} if self.device_option and wish.device else {}
        return [(runtime_name, {**device, **wish.options})]


@dataclass(frozen=True)
class Plugin:
    """A provider in a package of its own; `module` is what Python imports, `package` what pip installs."""

    module: str
    package: str

    def has(self, runtime_name: str) -> bool:  # noqa: ARG002 - a plug-in package holds one provider
        """Whether the package is installed."""
        return importlib.util.find_spec(self.module) is not None

    def how_to_get(self) -> str:
        """What to type."""
        return f"pip install {self.package}"

    def join(self, options: "onnxruntime.SessionOptions", runtime_name: str, wish: Wish) -> Named:
        """Add the plug-in's device to the options: such a session names no provider."""
        devices = [
            device
            for device in _devices(self.module)
            if device.ep_name == runtime_name and wish.device in ("", device.device.type.name)
        ]
        if len(devices) <= wish.index:
            found = f"{len(devices)} {wish.device}".strip() if devices else wish.device
            words = f"it has only {found} devices" if devices else f"it takes no {found} device of this machine"
            raise CandidateError("bench", f"{self.package}: {' '.join(words.split())}")
        options.add_provider_for_devices([devices[wish.index]], dict(wish.options))
        return []


Way = Build | Plugin


@functools.cache
def _built_in() -> tuple[str, ...]:
    """The providers of the installed build: asked once, because a plug-in that was registered is listed among them."""
    import onnxruntime

    return tuple(onnxruntime.get_available_providers())


@functools.cache
def _devices(module: str) -> tuple["onnxruntime.OrtEpDevice", ...]:
    """All devices after a plug-in's library was registered; twice in one process is an error, hence the cache."""
    import onnxruntime

    _built_in()
    plugin = importlib.import_module(module)
    try:
        onnxruntime.register_execution_provider_library(plugin.get_ep_name(), plugin.get_library_path())
    except Exception as problem:  # third-party call: a library that lacks another one does not load
        raise CandidateError("bench", f"{module}: {_trimmed(str(problem))}") from problem
    return tuple(onnxruntime.get_ep_devices())


@functools.cache
def installed_builds() -> tuple[str, ...]:
    """The installed packages that hold an ONNX Runtime: with two of them, the one installed last has the files."""
    return tuple(sorted(set(importlib.metadata.packages_distributions().get("onnxruntime", ()))))


def clash(builds: Sequence[str]) -> tuple[str, str] | None:
    """What is wrong with several packages that hold an ONNX Runtime, and what to type; None for one.

    They write the same files: whichever came last won, and the GPU is then left out without a word
    (microsoft/onnxruntime issue 26996).
    """
    if len(builds) < 2:
        return None
    special = [name for name in builds if name != "onnxruntime"]
    words = f"{', '.join(builds)} overwrite each other's files: providers of some are gone without a word"
    others = f" (or instead: {', '.join(special[1:])})" if len(special) > 1 else ""
    return words, f"pip uninstall -y {' '.join(builds)} && pip install {special[0]}{others}"


# ---------------------------------------------------------------------------------------- the provider


class Provider(ABC):
    """One of ONNX Runtime's execution providers. Its fields are its options."""

    runtime_name: ClassVar[str]
    """The name that ONNX Runtime gives it, as in `CPUExecutionProvider`."""
    ways: ClassVar[tuple[Way, ...]]
    """Where it comes from, the preferred way first."""
    needs: ClassVar[str] = ""
    """What it needs beside its package, in words; "" for nothing."""
    systems: ClassVar[tuple[str, ...]] = ()
    """Operating systems that have it (`platform.system()`); empty for all."""
    processors: ClassVar[tuple[str, ...]] = ()
    """Processors that have it (`platform.machine()`, lower case); empty for all."""
    behind: ClassVar[tuple[str, ...]] = ()
    """Providers of the same build that take the nodes which it leaves, before the CPU does."""
    asynchronous: ClassVar[bool] = False
    """Whether a kernel's call returns when the work is queued, so that a profile of calls shows no work."""
    full_precision: ClassVar[str] = ""
    """What makes it multiply float32 numbers as they are, in words; "" when it has nothing for that."""
    seen: ClassVar[str] = ""
    """When, and on what, we saw it serve a real model; "" when we never did."""

    @abstractmethod
    def configure(self, options: "onnxruntime.SessionOptions") -> Wish:
        """Its options in ONNX Runtime's words; what it needs changed in the session's options is changed there."""

    def missing(self) -> str | None:
        """Why it can't work on this machine, and what to do; None when it can. The first call may take seconds."""
        here = (platform.system(), platform.machine())
        if self.systems and here[0] not in self.systems:
            return f"it runs on {' or '.join(_SYSTEMS[name] for name in self.systems)} only; this is {here[0]}"
        if self.processors and here[1].lower() not in self.processors:
            return f"it needs {self.needs}; this is {here[1]}"
        if self._way() is None:
            beside = f"; it also needs {self.needs}" if self.needs else ""
            easiest_first = sorted(self.ways, key=lambda way: isinstance(way, Build))
            return f"not installed: {', or '.join(way.how_to_get() for way in easiest_first)}{beside}"
        reason = _trial(self) if self.needs else None
        return None if reason is None else f"it needs {self.needs}; ONNX Runtime says: {reason}"

    def narrowed(self, probed: str) -> str | None:
        """What a report must say of the format that float32 was seen to be multiplied in; None when it is float32."""
        if probed in ("float32", "unknown", ""):
            return None
        remedy = f"; {self.full_precision} keeps float32" if self.full_precision else ""
        return f"multiplies float32 numbers in {probed} here{remedy}"

    def attach(self, options: "onnxruntime.SessionOptions") -> Named:
        """Make sessions with these options use it. Returns the `providers` argument of `InferenceSession`.

        A plug-in is attached to the options alone, and the list is empty. Raises CandidateError when it is not here.
        """
        way = self._way()
        if way is None:
            raise CandidateError("bench", f"{self.runtime_name} is {self.missing()}")
        named = way.join(options, self.runtime_name, self.configure(options))
        return [*named, *self.behind] if named else []

    def _way(self) -> Way | None:
        return next((way for way in self.ways if way.has(self.runtime_name)), None)


_SYSTEMS = {"Darwin": "macOS", "Windows": "Windows", "Linux": "Linux"}


def opened(
    model: str | bytes, options: "onnxruntime.SessionOptions", provider: Provider
) -> "onnxruntime.InferenceSession":
    """A session of a model (its path, or its bytes) that really has the provider.

    Raises CandidateError when ONNX Runtime left the provider out, and whatever ONNX Runtime raises. It has two ways to
    go on without a provider that can't be created: a retry on the CPU, which `enable_fallback` switches off, and (CUDA,
    OpenVINO) a line in the log and a session without it, which only the session's own list shows.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(
        model, options, providers=provider.attach(options) or None, enable_fallback=0
    )
    if provider.runtime_name not in session.get_providers():
        raise CandidateError("bench", f"ONNX Runtime could not create {provider.runtime_name}: its log says why")
    return session


def recorded(session: "onnxruntime.InferenceSession") -> dict[str, int]:
    """Nodes by the provider that took them, as ONNX Runtime recorded them when it dealt out the graph.

    The session must be opened with `session.record_ep_graph_assignment_info` set to 1. Nodes that a provider fused
    count one by one. Releases before 1.31 lose nodes of providers that rewrite the memory layout (1.27.0 with WebGPU).
    """
    taken: Counter[str] = Counter()
    for subgraph in session.get_provider_graph_assignment_info():
        taken[subgraph.ep_name] += len(subgraph.get_nodes())
    return dict(taken)


# ---------------------------------------------------------------------------------------- the trial


@functools.cache
def _trial(provider: Provider) -> str | None:
    """Open a small graph on it, in a process of its own: why that failed, or None.

    In its own process, because a library that can't work here may crash, and one that can holds the GPU's memory.
    """
    code = "import pickle, sys; from costopt.providers import try_out; try_out(pickle.load(sys.stdin.buffer))"
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-c", code],
            input=pickle.dumps(provider),
            capture_output=True,
            timeout=TRIAL_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"nothing within {TRIAL_LIMIT_S:.0f} s"
    return None if ended.returncode == 0 else _reason(ended.stderr.decode(errors="replace"), ended.returncode)


def try_out(provider: Provider) -> None:
    """Open a matrix product on a provider. Raises CandidateError when another one took it, or whatever it raises."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    taken = recorded(opened(_product(), options, provider))
    if set(taken) == {CPU} and provider.runtime_name != CPU:
        raise CandidateError("bench", "it took no node of a float32 matrix product")


def _product(size: int = 16) -> bytes:
    """An ONNX file with one float32 matrix product of fixed shape, which every provider is made for."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    shape = [size, size]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.eye(size, dtype=np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file: bytes = model.SerializeToString()
    return file


def _reason(said: str, code: int) -> str:
    """What ONNX Runtime's log and the traceback give as the cause: a library that did not load comes first."""
    cause = re.search(r"(?:with|load backend,) error: +(.+)", said)
    if cause:
        return _trimmed(cause[1])
    lines = [line for line in said.splitlines() if re.match(r"[\w.]+(Error|Fail|Exception|Argument|Graph)\w*: ", line)]
    return _trimmed(lines[-1].partition(": ")[2]) if lines else f"its process ended with code {code}"


def _trimmed(text: str) -> str:
    """The end of a message of ONNX Runtime, without C++ signatures, status codes and colours."""
    line = re.sub(r"\x1b\[[\d;]*m", "", text.strip().splitlines()[0])
    last = re.split(r"\[ONNXRuntimeError\] : \d+ : \w+ : |was false\. |ProviderOptions\w*&\w*\) ", line)[-1]
    return last.strip()[:_REASON_LENGTH]
