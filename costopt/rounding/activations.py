"""What flows inside an ONNX model while it works on calibration data.

Methods that scale, correct or rank layers need the tensors between the nodes. `flowing` runs the model on small batches
with those tensors as further outputs; one batch is in memory at a time.

    batches(model, calibration, samples) ─▶ flowing(model, names, …) ─▶ {name: array} for each batch
"""

import tempfile
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from costopt import rewriting
from costopt.errors import CandidateError
from costopt.methods import Arrays, Calibration

BATCH = 4
"""Samples in one run: all tensors that are asked for are in memory at once."""


def batches(model: onnx.ModelProto, calibration: Calibration, samples: int, size: int = BATCH) -> Iterator[Arrays]:
    """At most `samples` calibration samples, in batches of `size`, or of the one size that the model takes.

    A model with a batch of fixed size gets its last batch filled up with samples of that batch, which changes no range.
    Raises CandidateError when there are no samples.
    """
    if min(samples, calibration.samples) < 1:
        seen = f"{samples} of {calibration.samples} calibration samples"
        raise CandidateError("compress", f"{seen}: ranges can't be measured without one; set samples, or give data")
    first = model.graph.input[0].type.tensor_type.shape.dim
    fixed = first[0].dim_value if first else 0
    for batch in calibration.batches(fixed or size, samples):
        yield {name: np.resize(array, (fixed or len(array), *array.shape[1:])) for name, array in batch.items()}


def flowing(model: onnx.ModelProto, names: Collection[str], inputs: Iterable[Arrays]) -> Iterator[Arrays]:
    """The tensors called `names` (inputs and outputs of the graph may be among them), batch by batch.

    Raises CandidateError when the model can't be run.
    """
    given = {one.name for one in model.graph.input}
    asked = [name for name in dict.fromkeys(names) if name not in given]
    session = opened(_with_outputs(model, asked))
    for batch in inputs:
        with rewriting.third_party("calibration"):
            found: list[NDArray[np.generic]] = session.run(asked, batch) if asked else []
        yield {**{name: batch[name] for name in names if name in given}, **dict(zip(asked, found, strict=True))}


def opened(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """A session on the CPU that says nothing. Raises CandidateError when ONNX Runtime refuses the model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = rewriting.ERRORS_ONLY
    with rewriting.third_party("opening the model"), tempfile.TemporaryDirectory(prefix="costopt-") as folder:
        path = Path(folder, "model.onnx")
        rewriting.write(model, path)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _with_outputs(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """The model with further outputs; nothing but the graph's own list is copied."""
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    there = {one.name for one in seen.graph.output}
    seen.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    return seen
