"""Apple's Core ML: CPU, GPU and Neural Engine of a Mac. ONNX Runtime's ordinary package for macOS has it.

The Neural Engine computes in float16. Options: https://onnxruntime.ai/docs/execution-providers/CoreML-ExecutionProvider.html
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from costopt.providers import Build, Provider, Wish

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Coreml(Provider):
    """The Core ML execution provider. The defaults are ONNX Runtime's."""

    compute_units: Literal["ALL", "CPUOnly", "CPUAndGPU", "CPUAndNeuralEngine"] = "ALL"
    model_format: Literal["NeuralNetwork", "MLProgram"] = "NeuralNetwork"

    runtime_name: ClassVar[str] = "CoreMLExecutionProvider"
    ways: ClassVar[tuple[Build, ...]] = (Build("onnxruntime"),)
    systems: ClassVar[tuple[str, ...]] = ("Darwin",)

    def configure(self, options: "onnxruntime.SessionOptions") -> Wish:  # noqa: ARG002 - reads its own alone
        """Its options under ONNX Runtime's names."""
        return Wish({"MLComputeUnits": self.compute_units, "ModelFormat": self.model_format})
