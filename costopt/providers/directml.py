"""Any GPU with DirectX 12 on Windows (build `onnxruntime-directml`).

Options and limits: https://onnxruntime.ai/docs/execution-providers/DirectML-ExecutionProvider.html
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from costopt.providers import Build, Provider, Wish

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Directml(Provider):
    """The DirectML execution provider. `device_id` counts the GPUs as DirectX lists them."""

    device_id: int = 0

    runtime_name: ClassVar[str] = "DmlExecutionProvider"
    ways: ClassVar[tuple[Build, ...]] = (Build("onnxruntime-directml"),)
    needs: ClassVar[str] = "a GPU with DirectX 12"
    systems: ClassVar[tuple[str, ...]] = ("Windows",)
    asynchronous: ClassVar[bool] = True

    def configure(self, options: "onnxruntime.SessionOptions") -> Wish:
        """Without planned memory and parallel branches: DirectML supports neither."""
        import onnxruntime

        options.enable_mem_pattern = False
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        return Wish({"device_id": str(self.device_id)})
