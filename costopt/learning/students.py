"""A student that is no remainder of the original: a network of the user's own, to be taught from its first weights."""

import torch
from torch import Tensor, fx, nn

from costopt import export
from costopt.errors import CandidateError
from costopt.formats import Modules
from costopt.loading.architecture import input_names
from costopt.loading.modules import modules_of
from costopt.methods import Context
from costopt.records import InputSpec
from costopt.user_code import function_named


def made(reference: str, original: fx.GraphModule, context: Context) -> fx.GraphModule:
    """What `module:factory` makes, in the form that methods work on, with the axes that vary in the original.

    Its weights are those that the factory gives it, from the context's seed. Raises UsageError when there is no such
    function, CandidateError when it gives no network, or one that does not take the original's inputs.
    """
    student = _called(reference, context.seed).eval()
    names = input_names(student)
    if len(names) != len(context.input_names):
        ours, theirs = ", ".join(names) or "nothing", ", ".join(context.input_names)
        raise CandidateError("compress", f"student {reference} takes {ours}, and the original takes {theirs}")
    few = next(context.calibration.batches(_batch(original)))
    example = {name: few[theirs] for name, theirs in zip(names, context.input_names, strict=True)}
    inputs = tuple(_like(name, value) for name, value in zip(names, _values(original), strict=True))
    program = export.program_of(Modules(student, names), inputs, example)
    module = modules_of(program, context.input_names).module
    assert isinstance(module, fx.GraphModule)
    return module


def _called(reference: str, seed: int) -> nn.Module:
    factory = function_named(reference)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            student = factory()
    except Exception as error:  # third-party call: the user's factory may raise anything
        raise CandidateError("compress", f"student {reference} raised {type(error).__name__}: {error}") from error
    if not isinstance(student, nn.Module):
        raise CandidateError("compress", f"student {reference} gave a {type(student).__name__}, not a torch.nn.Module")
    return student


def _values(original: fx.GraphModule) -> list[Tensor]:
    """What stands for the inputs in the graph: tensors whose sizes are numbers, or symbols where they vary."""
    return [node.meta["val"] for node in original.graph.nodes if node.op == "placeholder"]


def _like(name: str, value: Tensor) -> InputSpec:
    shape = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    return InputSpec(name, shape, str(value.dtype).removeprefix("torch."))


def _batch(original: fx.GraphModule) -> int:
    first = _values(original)[0].shape[0]
    return first if isinstance(first, int) else 2
