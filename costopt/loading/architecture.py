"""Weights without a model, and the model that they belong to.

A state dict holds tensors by name and no code. The user names the code: `--arch package.module:factory`, and what to
call the factory with (`--arch-args '{"width": 32}'`). What doesn't fit is told by name, with the nearest name that
would: it is mostly a renamed layer, a wrong size or a prefix.
"""

import difflib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from costopt.errors import ModelFileError, UsageError
from costopt.formats import Modules
from costopt.records import ModelSource
from costopt.user_code import function_named

if TYPE_CHECKING:
    from torch import Tensor, nn

PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "model.", "net.")
"""What DataParallel, torch.compile and Lightning put before the names of the model that they wrap."""

SHOWN = 4
"""How many names of a long list are shown."""


def build(source: ModelSource, checkpoint: object) -> Modules:
    """The model that `source.arch` names, with the tensors of the checkpoint, in eval mode.

    Its note says when they were taken out of a larger checkpoint or had a prefix. Raises ModelFileError
    when there are no tensors, when no architecture is named, when the factory fails, or when names or shapes differ.
    """
    file = Path(source.path).name
    place, tensors = _tensors_in(file, checkpoint)
    if source.arch is None:
        raise ModelFileError(_ask_for_arch(source.path, place, tensors))
    module = _made(source)
    expected = module.state_dict()
    prefix = _prefix(tensors, expected)
    tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    _check_fit(source, tensors, expected)
    module.load_state_dict(tensors)
    return Modules(module.eval(), input_names(module), _note(file, place, prefix))


def _note(file: str, place: str, prefix: str) -> str:
    """What was unwrapped to get at the weights; empty when nothing was."""
    taken = f" from its entry '{place}'" if place else ""
    without = f" without the prefix '{prefix}'" if prefix else ""
    return f"{file}: weights taken{taken}{without}" if taken or without else ""


def input_names(module: "nn.Module") -> tuple[str, ...]:
    """The arguments of forward that have no default."""
    stars = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(module.forward).parameters.values()
    return tuple(one.name for one in parameters if one.kind not in stars and one.default is inspect.Parameter.empty)


def shortened(names: Iterable[str]) -> str:
    """`a, b, c, d and 12 more`."""
    listed = list(names)
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return ", ".join(listed[:SHOWN]) + more


def _tensors_in(file: str, checkpoint: object) -> tuple[str, dict[str, "Tensor"]]:
    """Where in a checkpoint the state dict lies ("" for the checkpoint itself), and its tensors."""
    found = {place: tensors for place, part in _parts(checkpoint) if (tensors := _tensors(part))}
    if not found:
        kind = type(checkpoint).__name__
        raise ModelFileError(
            f"{file} holds no state dict but a {kind}; write one with torch.save(model.state_dict(), 'weights.pt')"
        )
    place = max(found, key=lambda place: (place == "", "state_dict" in place, len(found[place])))
    return place, found[place]


def _parts(checkpoint: object) -> Iterable[tuple[str, object]]:
    yield "", checkpoint
    if isinstance(checkpoint, Mapping):
        yield from ((str(key), value) for key, value in checkpoint.items() if "optim" not in str(key))


def _tensors(part: object) -> dict[str, "Tensor"]:
    import torch

    if not isinstance(part, Mapping):
        return {}
    return {name: value for name, value in part.items() if isinstance(name, str) and isinstance(value, torch.Tensor)}


def _ask_for_arch(path: str, place: str, tensors: Mapping[str, "Tensor"]) -> str:
    where = f" in its entry '{place}'" if place else ""
    return (
        f"{path} holds weights{where} ({shortened(tensors)}; {len(tensors)} in all) and not the code of the model.\n"
        f"Name the class: costopt compress {path} --config budget.yaml --arch your_package.your_module:YourModel"
    )


def _made(source: ModelSource) -> "nn.Module":
    from torch import nn

    assert source.arch is not None
    try:
        factory = function_named(source.arch)
    except UsageError as error:
        raise ModelFileError(f"--arch {error}") from error
    arguments = dict(source.arch_args)
    try:
        made = factory(**arguments)
    except Exception as error:  # the factory is the user's code; say whose error it is
        raise ModelFileError(
            f"--arch {source.arch} called with {arguments or 'no arguments'} raised {type(error).__name__}: {error};\n"
            "its arguments are given as JSON: --arch-args '{\"width\": 32}'"
        ) from error
    if not isinstance(made, nn.Module):
        kind = type(made).__name__
        raise ModelFileError(f"--arch {source.arch} gave a {kind}; name what gives the torch.nn.Module")
    return made


def _prefix(tensors: Mapping[str, "Tensor"], expected: Mapping[str, "Tensor"]) -> str:
    """The prefix without which most names fit; "" unless one fits better than none."""
    return max(("", *PREFIXES), key=lambda prefix: len({name.removeprefix(prefix) for name in tensors} & set(expected)))


def _check_fit(source: ModelSource, tensors: Mapping[str, "Tensor"], expected: Mapping[str, "Tensor"]) -> None:
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    sizes = [
        f"{name} ({list(tensors[name].shape)} in the file, {list(tensor.shape)} in the model)"
        for name, tensor in expected.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    lines = [f"{source.path} does not fit {source.arch}:"]
    if missing:
        lines.append(f"  the file lacks {len(missing)}: {shortened(_with_nearest(missing, extra))}")
    if extra:
        lines.append(f"  the model lacks {len(extra)}: {shortened(_with_nearest(extra, missing))}")
    if sizes:
        lines.append(f"  {len(sizes)} of another shape: {shortened(sizes)}")
    if len(lines) > 1:
        advice = "Give the model its arguments: --arch-args '{\"width\": 32}'"
        raise ModelFileError("\n".join([*lines, advice if sizes else "Name the class that wrote it with --arch"]))


def _with_nearest(names: Iterable[str], others: list[str]) -> Iterable[str]:
    for name in names:
        near = difflib.get_close_matches(name, others, n=1, cutoff=0.8)
        yield f"{name} (there is {near[0]})" if near else name
