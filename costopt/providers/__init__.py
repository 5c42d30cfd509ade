"""Execution providers, one a file: who computes the graph.

A provider says whether it can work here (`missing`), and prepares a session's options (`attach`). Whether it then did
the work is not believed but read from ONNX Runtime's own assignment record (`bench`).
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import onnxruntime


class Provider(ABC):
    """One of ONNX Runtime's execution providers."""

    runtime_name: ClassVar[str]
    """The name that ONNX Runtime gives it, as in `CPUExecutionProvider`."""

    @abstractmethod
    def missing(self) -> str | None:
        """Why it can't work on this machine, and what to do; None when it can."""

    @abstractmethod
    def attach(self, options: "onnxruntime.SessionOptions") -> list[str]:
        """Make sessions with these options use it. Returns the `providers` argument of `InferenceSession`.

        A plug-in provider attaches itself to the options and returns an empty list.
        """
