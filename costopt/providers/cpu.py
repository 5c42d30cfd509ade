"""ONNX Runtime's own CPU kernels (MLAS): always there, and the baseline's provider."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from costopt.providers import CPU, Build, Provider, Wish

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Cpu(Provider):
    """The CPU execution provider. Every build of ONNX Runtime has it."""

    runtime_name: ClassVar[str] = CPU
    ways: ClassVar[tuple[Build, ...]] = (Build("onnxruntime"),)
    seen: ClassVar[str] = "2026-11-22, AMD EPYC, onnxruntime 1.31.1"

    def configure(self, options: "onnxruntime.SessionOptions") -> Wish:  # noqa: ARG002 - nothing to prepare
        """Nothing: it reads the session's options."""
        return Wish()
