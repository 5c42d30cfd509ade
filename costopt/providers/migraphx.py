"""AMD GPUs by ROCm's MIGraphX (build `onnxruntime-migraphx`).

It takes the place of the ROCm provider, which ONNX Runtime dropped in release 1.23. It compiles the model at load; with
`cache`, the next start reads the compiled program from disk. Option names: the library of onnxruntime-migraphx 1.27.1.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from costopt.providers import Build, Provider, Wish

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Migraphx(Provider):
    """The MIGraphX execution provider. `cache` is a folder for compiled programs, null for none."""

    device_id: int = 0
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    cache: str | None = None

    runtime_name: ClassVar[str] = "MIGraphXExecutionProvider"
    ways: ClassVar[tuple[Build, ...]] = (Build("onnxruntime-migraphx"),)
    needs: ClassVar[str] = "an AMD GPU with ROCm and MIGraphX"
    asynchronous: ClassVar[bool] = True
    full_precision: ClassVar[str] = "migraphx:precision=float32"

    def configure(self, options: "onnxruntime.SessionOptions") -> Wish:  # noqa: ARG002 - reads its own alone
        """Its options."""
        cache = {"migraphx_model_cache_dir": self.cache} if self.cache else {}
        return Wish(
            {
                "device_id": str(self.device_id),
                "migraphx_fp16_enable": str(int(self.precision == "float16")),
                "migraphx_bf16_enable": str(int(self.precision == "bfloat16")),
                **cache,
            }
        )
