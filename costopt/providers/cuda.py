"""NVIDIA GPUs by CUDA, cuBLAS and cuDNN (build `onnxruntime-gpu`).

On GPUs since Ampere it multiplies float32 numbers in TF32 (10 bits of mantissa) unless told otherwise.
Options: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from costopt.providers import Build, Provider, Wish

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Cuda(Provider):
    """The CUDA execution provider. `tf32` allows TensorFloat-32 in products of float32 numbers."""

    device_id: int = 0
    tf32: bool = True

    runtime_name: ClassVar[str] = "CUDAExecutionProvider"
    ways: ClassVar[tuple[Build, ...]] = (Build("onnxruntime-gpu"),)
    needs: ClassVar[str] = (
        "an NVIDIA GPU, CUDA and cuDNN: pip install 'onnxruntime-gpu[cuda,cudnn]' brings the latter two"
    )
    asynchronous: ClassVar[bool] = True
    full_precision: ClassVar[str] = "cuda:tf32=false"

    def configure(self, options: "onnxruntime.SessionOptions") -> Wish:  # noqa: ARG002 - reads its own alone
        """Also load CUDA's libraries from Python packages, where the system's loader does not look."""
        import onnxruntime

        onnxruntime.preload_dlls()
        return Wish({"device_id": str(self.device_id), "use_tf32": str(int(self.tf32))})
