"""Intel's OpenVINO as a plug-in beside ordinary ONNX Runtime (package `onnxruntime-ep-openvino`).

It often beats the CPU provider by more than a compression method does. Two things to know: on CPUs with bfloat16
instructions it computes float32 models in bfloat16, unasked (measured 2026-11: cosine 0.99999 to the original on an
encoder); and release 1.8.1 takes Intel CPUs only, though OpenVINO itself runs on others
(microsoft/onnxruntime pull request 31981).
"""

import importlib.util
import json
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import onnxruntime

from costopt.errors import CandidateError
from costopt.providers import Provider


@dataclass(frozen=True)
class Openvino(Provider):
    """The OpenVINO plug-in execution provider on this machine's CPU."""

    runtime_name: ClassVar[str] = "OpenVINOExecutionProvider"

    def missing(self) -> str | None:
        """The package, or a CPU that it takes."""
        if importlib.util.find_spec("onnxruntime_ep_openvino") is None:
            return "the plug-in is not installed: pip install 'costopt[openvino]'"
        if not _cpu_devices():
            return (
                "the plug-in takes no device of this machine: its releases up to 1.8 take Intel hardware only; "
                "measure on an Intel machine, or leave openvino out of `providers`"
            )
        return None

    def attach(self, options: onnxruntime.SessionOptions) -> list[str]:
        """Add the plug-in's CPU device to the options."""
        devices = _cpu_devices()
        if not devices:
            raise CandidateError("bench", f"openvino: {self.missing()}")
        options.add_provider_for_devices(devices[:1], _settings(options.intra_op_num_threads))
        return []


def _settings(threads: int) -> dict[str, str]:
    """OpenVINO has a thread pool of its own and does not read the session's count; 0 leaves the choice to it."""
    return {"load_config": json.dumps({"CPU": {"INFERENCE_NUM_THREADS": str(threads)}})} if threads else {}


@cache
def _cpu_devices() -> tuple[onnxruntime.OrtEpDevice, ...]:
    """The plug-in's own CPU device; registering the library twice in one process is an error, hence the cache."""
    import onnxruntime_ep_openvino as plugin

    onnxruntime.register_execution_provider_library(plugin.get_ep_name(), plugin.get_library_path())
    return tuple(
        device
        for device in onnxruntime.get_ep_devices()
        if device.ep_name == plugin.get_ep_name() and device.device.type == onnxruntime.OrtHardwareDeviceType.CPU
    )
