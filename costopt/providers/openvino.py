"""Intel's OpenVINO: a plug-in beside ordinary ONNX Runtime (`onnxruntime-ep-openvino`), or the build with it inside.

It often beats the CPU provider by more than a compression method does. Two things to know. The plug-in computes float32
models in bfloat16, unasked, on CPUs with instructions for it (seen 2026-11 on a Xeon with AMX and an EPYC with
AVX512-BF16); the build 1.24.1 computes them in float32. And release 1.8.1 of the plug-in takes Intel CPUs only
(microsoft/onnxruntime pull request 31981), where the build runs on AMD's as well.
"""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from costopt.providers import Build, Plugin, Provider, Way, Wish

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Openvino(Provider):
    """The OpenVINO execution provider.

    `inference_precision` is OpenVINO's INFERENCE_PRECISION_HINT, a hint: on a CPU without instructions for f16 it
    computes in bf16 instead (seen on an EPYC).
    """

    device: Literal["CPU", "GPU", "NPU"] = "CPU"
    inference_precision: Literal["auto", "f32", "bf16", "f16"] = "auto"

    runtime_name: ClassVar[str] = "OpenVINOExecutionProvider"
    ways: ClassVar[tuple[Way, ...]] = (
        Build("onnxruntime-openvino", device_option="device_type"),
        Plugin("onnxruntime_ep_openvino", "onnxruntime-ep-openvino"),
    )
    needs: ClassVar[str] = (
        "an Intel CPU, GPU or NPU (the plug-in up to 1.8 refuses other CPUs; the build onnxruntime-openvino takes them)"
    )
    full_precision: ClassVar[str] = "openvino:inference_precision=f32"
    seen: ClassVar[str] = "2026-11-22, AMD EPYC, onnxruntime-openvino 1.24.1; plug-in 1.8.1 on an Intel Xeon in 2026-11"

    def configure(self, options: "onnxruntime.SessionOptions") -> Wish:
        """`load_config`: properties of OpenVINO by device. Its threads are its own: it does not read the session's."""
        properties: dict[str, str] = {}
        if self.inference_precision != "auto":
            properties["INFERENCE_PRECISION_HINT"] = self.inference_precision
        if self.device == "CPU" and options.intra_op_num_threads:
            properties["INFERENCE_NUM_THREADS"] = str(options.intra_op_num_threads)
        config = {"load_config": json.dumps({self.device: properties})} if properties else {}
        return Wish(config, self.device)
