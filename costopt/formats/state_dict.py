"""A state dict in a `.pt` or `.pth` file, as torch.save writes it; `--arch` names the model."""

from dataclasses import dataclass

from costopt.errors import ModelFileError
from costopt.formats import Format, Head, Modules
from costopt.loading import architecture, pickles
from costopt.records import ModelSource


@dataclass(frozen=True)
class StateDict(Format):
    """Tensors by name, alone or inside a checkpoint; read by torch's unpickler that imports nothing but tensors."""

    def recognises(self, head: Head) -> bool:
        """By what its pickle imports: nothing but tensors."""
        imports = pickles.imports_of(head)
        return imports is not None and pickles.holds_tensors_only(imports)

    def load(self, source: ModelSource) -> Modules:
        """The model of `--arch` with these weights."""
        import torch

        try:
            checkpoint = torch.load(source.path, map_location="cpu", weights_only=True)
        except Exception as error:  # the unpickler and the zip reader have no common error type
            reason = " ".join(str(error).split())[:160]
            raise ModelFileError(
                f"{source.path}: torch can't read these tensors ({reason}); copy or download the file again"
            ) from error
        return architecture.build(source, checkpoint)
