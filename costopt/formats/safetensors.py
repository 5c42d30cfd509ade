"""A state dict in a `.safetensors` file; `--arch` names the model."""

from dataclasses import dataclass

from costopt.errors import ModelFileError
from costopt.formats import Format, Head, Modules
from costopt.loading import architecture
from costopt.records import ModelSource

LARGEST_HEADER_BYTES = 100_000_000
"""What the library itself allows: https://github.com/huggingface/safetensors, MAX_HEADER_SIZE."""


@dataclass(frozen=True)
class Safetensors(Format):
    """Tensors by name: a length, a JSON header of that length, and raw bytes. There is nothing in it that could run."""

    def recognises(self, head: Head) -> bool:
        """By the length of its header and the brace that opens it."""
        length = int.from_bytes(head.first[:8], "little")
        return head.first[8:9] == b"{" and 1 < length <= LARGEST_HEADER_BYTES

    def load(self, source: ModelSource) -> Modules:
        """The model of `--arch` with these weights."""
        try:
            from safetensors import SafetensorError
            from safetensors.torch import load_file
        except ModuleNotFoundError as error:
            raise ModelFileError(f"{source.path}: to read it, pip install 'costopt[safetensors]'") from error
        try:
            tensors = load_file(source.path)
        except SafetensorError as error:
            raise ModelFileError(f"{source.path}: damaged or cut off ({error}); copy or download it again") from error
        return architecture.build(source, tensors)
