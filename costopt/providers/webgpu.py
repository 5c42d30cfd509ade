"""WebGPU (Google's Dawn): any GPU with Vulkan, Metal or Direct3D 12, as a plug-in or as a build.

Kernels are queued, so a call of the model returns its outputs only after a wait that no node's time shows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from costopt.providers import Build, Plugin, Provider, Way, Wish

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Webgpu(Provider):
    """The WebGPU execution provider.

    `layout` is the memory layout that convolutions are rewritten to; `power_preference` chooses between two GPUs.
    """

    layout: Literal["NHWC", "NCHW"] = "NHWC"
    power_preference: Literal["high-performance", "low-power"] = "high-performance"

    runtime_name: ClassVar[str] = "WebGpuExecutionProvider"
    ways: ClassVar[tuple[Way, ...]] = (
        Build("onnxruntime-webgpu"),
        Plugin("onnxruntime_ep_webgpu", "onnxruntime-ep-webgpu"),
    )
    needs: ClassVar[str] = "a GPU with a Vulkan, Metal or Direct3D 12 driver"
    asynchronous: ClassVar[bool] = True
    seen: ClassVar[str] = "2026-11-22, the software GPU SwiftShader, build 1.27.0 and plug-in 0.4.0"

    def configure(self, options: "onnxruntime.SessionOptions") -> Wish:
        """As entries of the session: build and plug-in read them there, while the build ignores provider options."""
        options.add_session_config_entry("ep.webgpuexecutionprovider.preferredLayout", self.layout)
        options.add_session_config_entry("ep.webgpuexecutionprovider.powerPreference", self.power_preference)
        return Wish()
