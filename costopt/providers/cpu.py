"""ONNX Runtime's own CPU kernels (MLAS): always there, and the baseline's provider."""

from dataclasses import dataclass
from typing import ClassVar

import onnxruntime

from costopt.providers import Provider


@dataclass(frozen=True)
class Cpu(Provider):
    """The CPU execution provider. Every build of ONNX Runtime has it."""

    runtime_name: ClassVar[str] = "CPUExecutionProvider"

    def missing(self) -> str | None:
        """Never missing."""
        return None

    def attach(self, options: onnxruntime.SessionOptions) -> list[str]:  # noqa: ARG002 - nothing to prepare
        """Name it."""
        return [self.runtime_name]
