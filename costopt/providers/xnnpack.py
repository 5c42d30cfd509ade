"""Google's XNNPACK: float kernels for small CPUs, mostly Arm's. No Python package has it; ONNX Runtime can be built so.

It brings threads of its own. ONNX Runtime's advice, followed here: give the session's pool one thread that does not
spin. https://onnxruntime.ai/docs/execution-providers/Xnnpack-ExecutionProvider.html
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from costopt.providers import Build, Provider, Wish

if TYPE_CHECKING:
    import onnxruntime


@dataclass(frozen=True)
class Xnnpack(Provider):
    """The XNNPACK execution provider."""

    runtime_name: ClassVar[str] = "XnnpackExecutionProvider"
    ways: ClassVar[tuple[Build, ...]] = (Build(None),)

    def configure(self, options: "onnxruntime.SessionOptions") -> Wish:
        """The session's threads become its own."""
        threads = options.intra_op_num_threads
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return Wish({"intra_op_num_threads": str(threads)} if threads else {})
