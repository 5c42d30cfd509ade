"""Qualcomm's NPU and GPU, on Snapdragon processors (plug-in `onnxruntime-qnn`, from release 2).

It takes fixed shapes only: of a model with a free batch it leaves every node to the CPU, without a word (seen
2026-11-22; microsoft/onnxruntime issue 22439). On x86-64 its package holds an emulator of the NPU, whose arithmetic and
times are not the device's, so there it counts as absent.
Options: https://onnxruntime.ai/docs/execution-providers/QNN-ExecutionProvider.html
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from costopt.providers import Plugin, Provider, Wish

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Qnn(Provider):
    """The QNN execution provider. `htp` is the NPU; `auto` leaves the choice to the device that is found."""

    backend: Literal["auto", "htp", "gpu"] = "auto"
    performance: Literal["default", "burst", "balanced", "high_performance", "power_saver"] = "default"

    runtime_name: ClassVar[str] = "QNNExecutionProvider"
    ways: ClassVar[tuple[Plugin, ...]] = (Plugin("onnxruntime_qnn", "'onnxruntime-qnn>=2'"),)
    needs: ClassVar[str] = "a Qualcomm Snapdragon (on x86-64 its package holds an emulator, whose times say nothing)"
    processors: ClassVar[tuple[str, ...]] = ("arm64", "aarch64")

    def configure(self, options: "onnxruntime.SessionOptions") -> Wish:  # noqa: ARG002 - reads its own alone
        """The backend, and how hard the NPU may be driven."""
        backend = {} if self.backend == "auto" else {"backend_type": self.backend}
        return Wish({"htp_performance_mode": self.performance, **backend})
