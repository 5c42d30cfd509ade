"""A file that `torch.save` wrote: a tensor, a dict of tensors, or a list or tuple of tensors.

It is read with `weights_only=True`, which builds tensors and plain containers and refuses everything else; what
PyTorch did not write as data (a TorchScript model, a bare pickle) does not even get there. The file is mapped while it
is written again as plain arrays, so that it may be larger than memory.
"""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costopt.errors import DataError
from costopt.feeds import Feed, first_bytes, zip_entries
from costopt.sampling.arrays import CHUNK_BYTES, ArrayFile, ArrayWriter

if TYPE_CHECKING:
    import torch

_PICKLES = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1))

_BEFORE_1_6 = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""torch.serialization.MAGIC_NUMBER as a pickle of its own: how torch.save began until it wrote zip archives."""

_HOW_TO_SAVE = "save tensors alone: torch.save({'image': images, 'target': labels}, path)"


@dataclass(frozen=True)
class Pt(Feed):
    """Tensors saved by PyTorch, in the zip format or in the older one."""

    def recognises(self, source: str) -> bool:
        """A zip archive with a `data.pkl`, or a bare pickle."""
        return first_bytes(source, 2) in _PICKLES or "data.pkl" in _entries(source)

    def arrays(self, source: str, scratch: Path) -> tuple[ArrayFile, ...]:
        """The tensors in their order; a dict's keys are their names."""
        path = Path(source).absolute()
        if "constants.pkl" in _entries(source):
            raise DataError(f"{path} is a TorchScript model, and data are wanted here; {_HOW_TO_SAVE}")
        zipped = bool(zip_entries(source))
        if not zipped and not first_bytes(source).startswith(_BEFORE_1_6):
            raise DataError(f"{path} is a pickle, which could run code, so it is not opened; {_HOW_TO_SAVE}")
        named = _named(path, _loaded(path, mapped=zipped))
        return tuple(
            _written(path, name, tensor, scratch / str(position)) for position, (name, tensor) in enumerate(named)
        )


def _entries(source: str) -> set[str]:
    """The names in a zip archive, without their folders."""
    return {Path(entry).name for entry in zip_entries(source)}


def _loaded(path: Path, mapped: bool) -> object:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as problem:  # third-party call: a parser of bytes that may be anything
        raise DataError(
            f"{path}: PyTorch does not read it as bare tensors ({str(problem).strip().partition(chr(10))[0][:120]}).\n"
            f"What else it holds could run code, so it is not opened; {_HOW_TO_SAVE}"
        ) from problem


def _named(path: Path, loaded: object) -> list[tuple[str, "torch.Tensor"]]:
    import torch

    if isinstance(loaded, torch.Tensor):
        return [("", loaded)]
    found: list[tuple[str, object]] = []
    if isinstance(loaded, Mapping):
        found = [(str(name), value) for name, value in loaded.items()]
    elif isinstance(loaded, Sequence) and not isinstance(loaded, str):
        found = [("", value) for value in loaded]
    tensors = [(name, value) for name, value in found if isinstance(value, torch.Tensor)]
    if not tensors or len(tensors) != len(found):
        other = next((type(value).__name__ for _, value in found if not isinstance(value, torch.Tensor)), "nothing")
        kind = type(loaded).__name__
        raise DataError(
            f"{path}: it holds a {kind}" + (f" with a {other} in it" if found else "") + f"; {_HOW_TO_SAVE}"
        )
    return tensors


def _written(path: Path, name: str, tensor: "torch.Tensor", scratch: Path) -> ArrayFile:
    import torch

    what = f"{path}: tensor '{name}'" if name else str(path)
    if tensor.ndim == 0 or tensor.layout != torch.strided or tensor.is_quantized:
        raise DataError(
            f"{what} is {tensor.dtype} {tuple(tensor.shape)}, {tensor.layout}; save dense samples, one a row"
        )
    writer = ArrayWriter(scratch, what)
    rows = max(1, CHUNK_BYTES // max(1, tensor[:1].numel() * tensor.element_size()))
    for start in range(0, max(1, len(tensor)), rows):
        part = tensor[start : start + rows].detach()
        try:
            writer.append((name,), (part.contiguous().numpy(),))
        except TypeError as problem:
            raise DataError(f"{what} is {part.dtype}, which numpy does not know; save it as x.float()") from problem
    return writer.finish()[0]
