"""NVIDIA RTX GPUs by TensorRT for RTX, as a plug-in (`onnxruntime-ep-nv-tensorrt-rtx`).

Release 0.5.0 takes GPUs of compute capability 8.6, 8.9 and from 12.0: no A100, no H100. It is strongly typed: a
float32 model is not silently made a float16 one. Source of both and of the options: tensorrt_rtx_provider_options.h
in the package.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from costopt.providers import Plugin, Provider, Wish

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class NvTensorrtRtx(Provider):
    """The TensorRT RTX execution provider. `cache` is a folder for compiled engines, null for none."""

    device_id: int = 0
    cache: str | None = None

    runtime_name: ClassVar[str] = "NvTensorRTRTXExecutionProvider"
    ways: ClassVar[tuple[Plugin, ...]] = (Plugin("onnxruntime_ep_nv_tensorrt_rtx", "onnxruntime-ep-nv-tensorrt-rtx"),)
    needs: ClassVar[str] = "an NVIDIA RTX GPU (compute capability 8.6, 8.9, or 12.0 and up) and CUDA's runtime library"
    systems: ClassVar[tuple[str, ...]] = ("Linux", "Windows")
    asynchronous: ClassVar[bool] = True

    def configure(self, options: "onnxruntime.SessionOptions") -> Wish:  # noqa: ARG002 - reads its own alone
        """The engine cache, and which of the GPUs."""
        return Wish({"nv_runtime_cache_path": self.cache} if self.cache else {}, "GPU", self.device_id)
