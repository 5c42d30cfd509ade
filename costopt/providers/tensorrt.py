"""NVIDIA GPUs by TensorRT, which builds an engine for the model and its shapes at load (build `onnxruntime-gpu`).

Building takes seconds to minutes; with `cache`, the next start on the same GPU reads the engine from disk. Nodes that
TensorRT does not know go to CUDA. Options: https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from costopt.providers import Build, Provider, Wish

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Tensorrt(Provider):
    """The TensorRT execution provider. `cache` is a folder for engines and tactic timings, null for none."""

    device_id: int = 0
    fp16: bool = False
    cache: str | None = None

    runtime_name: ClassVar[str] = "TensorrtExecutionProvider"
    ways: ClassVar[tuple[Build, ...]] = (Build("onnxruntime-gpu"),)
    needs: ClassVar[str] = "an NVIDIA GPU, CUDA, cuDNN and TensorRT's libraries (pip install tensorrt)"
    behind: ClassVar[tuple[str, ...]] = ("CUDAExecutionProvider",)
    asynchronous: ClassVar[bool] = True
    full_precision: ClassVar[str] = "tensorrt:fp16=false and the environment variable NVIDIA_TF32_OVERRIDE=0"

    def configure(self, options: "onnxruntime.SessionOptions") -> Wish:  # noqa: ARG002 - reads its own alone
        """Also load CUDA's libraries from Python packages, where the system's loader does not look."""
        import onnxruntime

        onnxruntime.preload_dlls()
        return Wish({"device_id": str(self.device_id), "trt_fp16_enable": str(int(self.fp16)), **_caches(self.cache)})


def _caches(folder: str | None) -> dict[str, str]:
    if folder is None:
        return {}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
    }
