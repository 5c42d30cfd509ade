"""A machine taught in a minute: reference graphs are written, timed as candidates are, and its rates fitted to them."""

import datetime
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx

from costopt import machine
from costopt.projecting import counting
from costopt.projecting.caches import last_cache_bytes
from costopt.projecting.calibration import SCHEMA, Calibration, signed
from costopt.projecting.fitting import CACHE_BYTES, demand, fitted, predicted_s
from costopt.projecting.references import references
from costopt.projecting.trials import Trial, timed
from costopt.records import Spec


def calibrated(provider: Spec, threads: int, instance: str, tell: Callable[[str], None]) -> Calibration:
    """This machine's rates on a provider. `tell` hears which graph is being timed.

    Raises UsageError when the provider runs none of the reference graphs.
    """
    cache_bytes = last_cache_bytes() or CACHE_BYTES
    with tempfile.TemporaryDirectory(prefix="costopt-") as name:
        trials = list(written(Path(name)))
        seconds = timed(trials, provider, threads, Path(name), tell)
        asked = {one.name: demand(counting.of_file(one.path, {}), cache_bytes) for one in trials if one.name in seconds}
    rates = fitted([asked[name] for name in seconds], list(seconds.values()))
    return signed(
        Calibration(
            schema=SCHEMA,
            costopt=metadata.version("costopt"),
            onnxruntime=metadata.version("onnxruntime"),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            machine=machine.here(),
            instance=instance,
            provider=provider.name,
            threads=threads,
            cache_bytes=cache_bytes,
            rates=rates,
            errors={name: predicted_s(rates, asked[name]) / took - 1 for name, took in seconds.items()},
        )
    )


def written(folder: Path) -> Iterator[Trial]:
    """Every reference graph as a file, and what goes into it."""
    chance = np.random.default_rng(0)
    for number, (name, make) in enumerate(references()):
        model = make()
        path = folder / f"{number}.onnx"
        onnx.save(model, path)
        kind = model.graph.input[0].type.tensor_type
        shape = [axis.dim_value for axis in kind.shape.dim]
        if kind.elem_type == onnx.TensorProto.FLOAT:
            yield Trial(name, path, {"x": chance.standard_normal(shape, dtype=np.float32)})
        else:
            yield Trial(name, path, {"x": chance.integers(0, 100, shape)})
