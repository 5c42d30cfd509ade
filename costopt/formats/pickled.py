"""A pickled `nn.Module`, which runs code when it is read: with `--trust-pickle` only."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from costopt.errors import ModelFileError
from costopt.formats import Format, Head, Modules
from costopt.loading import architecture, pickles
from costopt.records import ModelSource

MODULE_SIGNS = ("torch.nn.modules.", "torch._utils._rebuild_parameter")
"""What a pickled module imports, and a checkpoint does not: state dicts hold tensors, modules hold parameters."""

PICKLE_PROTOCOLS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


@dataclass(frozen=True)
class Pickled(Format):
    """What `torch.save(model, path)` writes, or a checkpoint with more than tensors in it."""

    def recognises(self, head: Head) -> bool:
        """By what its pickle imports: more than tensors."""
        imports = pickles.imports_of(head)
        if imports is None:
            return head.first.startswith(PICKLE_PROTOCOLS)
        return not pickles.holds_tensors_only(imports)

    def load(self, source: ModelSource) -> Modules:
        """The module itself, or the model of `--arch` with the weights of the checkpoint."""
        import torch

        path = Path(source.path)
        if not source.trust_pickle or pickles.imports_of(Head.of(path)) is None:
            raise ModelFileError(_refusal(path))
        if os.getcwd() not in sys.path:  # the classes that it names are the user's own
            sys.path.insert(0, os.getcwd())
        try:
            loaded = torch.load(source.path, map_location="cpu", weights_only=False)
        except Exception as error:  # unpickling runs whatever the file says
            raise ModelFileError(
                f"{source.path}: unpickling raised {type(error).__name__}: {error};\n"
                "run costopt where the model's own modules can be imported"
            ) from error
        if isinstance(loaded, torch.nn.Module):
            return Modules(loaded.eval(), architecture.input_names(loaded))
        return architecture.build(source, loaded)


def _refusal(path: Path) -> str:
    """What the file is, and the ways on."""
    imports = pickles.imports_of(Head.of(path))
    if imports is None:
        return _not_torch(path)
    own = [name for name in imports if not name.startswith(("torch.", "collections.", "builtins.", "__builtin__."))]
    shown = architecture.shortened(own or imports)
    command = f"costopt compress {path} --config budget.yaml --trust-pickle"
    if any(name.startswith(MODULE_SIGNS) for name in imports):
        return (
            f"{path} is a pickled model ({shown}): reading it runs code.\n"
            f"If you trust its author: {command}\n"
            "Better, where it was made, save it as .pt2:\n"
            f"  model = torch.load('{path.name}', weights_only=False).eval()\n"
            "  program = torch.export.export(model, (example_input,))\n"
            "  torch.export.save(program, 'model.pt2')"
        )
    return (
        f"{path} is a checkpoint with more than tensors in it ({shown}): reading it runs code.\n"
        f"If you trust its author: {command} --arch your_package.your_module:YourModel\n"
        "Better, where it was made: torch.save(model.state_dict(), 'weights.pt')"
    )


def _not_torch(path: Path) -> str:
    with path.open("rb") as file:
        imports = pickles.imports(file)
    what = f"{path} is a Python pickle that torch did not write ({architecture.shortened(imports) or 'plain data'})"
    if any(name.startswith("sklearn.") for name in imports):
        return f"{what}; convert it to ONNX: skl2onnx.to_onnx(model, X[:1]) gives the model to save as model.onnx"
    return f"{what}; save the model as ONNX, or with torch.export.save as .pt2"
