"""The same model in PyTorch itself, as a reference: the child's side, in the place of `session.open_session`.

Whoever asks what ONNX Runtime brings asks: against what? So a bench can show PyTorch's own rows beside it: eager, as
the model's author runs it, and `torch.compile`. All tasks of `session` then work on it as on any other session, over
the same inputs, from NumPy arrays to NumPy arrays. A `.pt2` file runs as the modules that it was exported from
(`modules`), without the checks that an exported program makes at each call.

On the CPU only. `held_against` tells whether it computes what the ONNX file computes.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from costopt.errors import CandidateError, ModelFileError
from costopt.formats import Modules, OnnxFile
from costopt.journal import from_json
from costopt.loading import load
from costopt.measuring import session
from costopt.measuring.session import Arrays, Run, Served
from costopt.records import ModelSource, Setting
from costopt.sampling.samples import Samples
from costopt.worker import Answer, Request

if TYPE_CHECKING:
    import torch

NO_COMPILER = (
    "torch.compile needs a C++ compiler, and none was found; install one (Debian and Ubuntu: sudo apt install g++), or "
    "name it in the variable CXX"
)


def open_program(request: Request) -> Answer:
    """Load a model into PyTorch. Request: as `session.open_session`, and compiled: whether by `torch.compile`.

    Answers as `session.open_session`, with no nodes; compiling is part of first_call_s, with an empty cache and in one
    process. Raises CandidateError for what PyTorch can't run, or torch.compile can't compile.
    """
    import torch

    setting, samples = from_json(Setting, request["setting"]), Samples.from_json(request["samples"])
    session.pin(request["cpus"])
    torch.set_num_threads(setting.threads)
    feeds = itertools.cycle(session.feeds_of(samples, setting.batch))
    empty_bytes = session.forget_peak()
    begin = time.perf_counter()
    modules = _modules(request["path"], samples)
    load_s = time.perf_counter() - begin
    run = _run_of(_compiled(modules.module) if request["compiled"] else modules.module, modules.input_names)
    session.serve(Served(run, (), samples, setting.batch, feeds, empty_bytes))
    return {"load_s": load_s, "first_call_s": _first_call_s(request["compiled"]), "nodes": {}}


def _modules(path: str, samples: Samples) -> Modules:
    """The model as modules that take the samples' inputs by name. Raises CandidateError."""
    from costopt.loading.modules import modules_of

    try:
        _, loaded = load.load(ModelSource(path))
    except ModelFileError as problem:  # the file was read before, for ONNX; what it lacks is for PyTorch alone
        raise CandidateError("load", str(problem)) from problem
    if isinstance(loaded, OnnxFile):
        raise CandidateError("load", f"{Path(path).name} is an ONNX file, which PyTorch can't run; give the .pt2 file")
    modules = loaded if isinstance(loaded, Modules) else modules_of(loaded)
    fed = {one.name for one in samples.inputs}
    missing = [name for name in modules.input_names if name not in fed]
    if missing:
        raise CandidateError("load", f"the model takes '{missing[0]}', and the inputs are {', '.join(sorted(fed))}")
    return modules


def _run_of(module: Callable[..., object], names: tuple[str, ...]) -> Run:
    """A call from arrays by name to the outputs' arrays, in order."""
    import torch
    from torch.utils import _pytree as pytree

    def run(feed: Arrays) -> list[NDArray[np.generic]]:
        with torch.inference_mode():
            outputs = module(**{name: torch.from_numpy(feed[name]) for name in names})
            leaves = [leaf for leaf in pytree.tree_leaves(outputs) if isinstance(leaf, torch.Tensor)]
            # NumPy has no bfloat16.
            return [(leaf.float() if leaf.dtype is torch.bfloat16 else leaf).numpy() for leaf in leaves]

    return run


# ---------------------------------------------------------------------------------------- torch.compile


def _compiled(module: "torch.nn.Module") -> Callable[..., object]:
    """The module as a function that Inductor compiles at its first call. Raises CandidateError when that can't be."""
    import torch
    from torch._inductor import config, cpp_builder, exc

    if isinstance(module, torch.jit.ScriptModule):
        raise CandidateError("load", "torch.compile does not compile TorchScript; export the model as .pt2")
    try:
        cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler as problem:
        raise CandidateError("load", NO_COMPILER) from problem
    config.compile_threads = 1  # its worker processes would outlive a child that is killed
    compiled: Callable[..., object] = torch.compile(module)
    return compiled


def _first_call_s(compiled: bool) -> float:
    """Seconds of the first call. Raises CandidateError when PyTorch fails, or compiled nothing."""
    one = session.served()
    feed = next(one.feeds)
    with _empty_cache() if compiled else nullcontext():
        begin = time.perf_counter()
        try:
            one.run(feed)
        except Exception as problem:  # third-party call: the model's own code, and the compiler's
            from costopt.export import in_short

            what = "torch.compile can't compile it" if compiled else "PyTorch can't run it"
            raise CandidateError("load", f"{what}: {in_short(problem)}") from problem
        seconds = time.perf_counter() - begin
    if compiled and not _graphs_compiled():
        raise CandidateError("load", "torch.compile found nothing in the model that it can compile")
    return seconds


@contextmanager
def _empty_cache() -> Iterator[None]:
    """Inductor's cache, empty, and gone afterwards: what was compiled yesterday would make a cold start look warm.

    All else is as torch has it: so the first call also pays for precompiling torch's headers.
    """
    from torch._inductor.utils import fresh_cache

    with tempfile.TemporaryDirectory() as folder, fresh_cache(dir=folder):
        yield


def _graphs_compiled() -> int:
    """How many graphs torch.compile has compiled in this process."""
    from torch._dynamo.utils import counters

    return int(counters["stats"]["unique_graphs"])


# ---------------------------------------------------------------------------------------- the same computation?


def held_against(request: Request) -> Answer:
    """Compare outputs with those of an ONNX file on ONNX Runtime's CPU provider, on one feed. Request: path.

    Answers relative_error, of the worst output (`parity`). Raises CandidateError when it is over the tolerance of an
    export: then two different computations would be compared. Ask it last: it opens a second session.
    """
    from costopt import parity
    from costopt.graph import describe

    one, path = session.served(), Path(request["path"])
    feed, names = next(one.feeds), tuple(output.name for output in describe(path).outputs)
    reference = list(next(parity.reference_outputs(OnnxFile(path), [feed], names)).values())
    found = one.run(feed)
    if len(found) != len(reference):
        raise CandidateError("check", f"PyTorch gives {len(found)} outputs, {path.name} {len(reference)}")
    worst = max(parity.difference(*both)[1] for both in zip(reference, found, strict=True))
    allowed = parity.tolerance(path)
    if not worst <= allowed:
        raise CandidateError("check", f"PyTorch's outputs are off by {worst:.3g} of {path.name}'s, allowed {allowed:g}")
    return {"relative_error": worst}
