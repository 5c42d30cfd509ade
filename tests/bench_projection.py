"""How well a calibration foretells models that it never saw: `python -m tests.bench --only projection`.

The reference graphs are timed and the machine's rates fitted, as `costopt calibrate` does; then models of the wild are
timed in the same way, and held against what the rates foretell. Nothing passes or fails; to reach: a median error of
15 % at most, and nine of ten pairs of models in the right order.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from costopt import units
from costopt.projecting import counting
from costopt.projecting.calibrating import calibrated
from costopt.projecting.fitting import Accuracy, accuracy, demand
from costopt.projecting.trials import Trial, timed
from costopt.records import Spec
from tests.projection_models import HeldOut, held_out

CPU = Spec("cpu")


def lines(folder: Path, threads: int = 1) -> Iterator[str]:
    """The accuracy, then a line a model. `folder` keeps the exported models for another time."""
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(action="ignore"):  # the exporter's, of every model
        logging.disable()
        models = list(held_out(folder))  # exported before anything is timed
        logging.disable(logging.NOTSET)
    rates = calibrated(CPU, threads, "", _silent)
    with tempfile.TemporaryDirectory() as scratch:
        seconds = timed([Trial(one.name, one.path, one.feed) for one in models], CPU, threads, Path(scratch), _silent)
    foretold = {one.name: rates.seconds(demand(counting.of_file(one.path, {}), rates.cache_bytes)) for one in models}
    yield _summary("references", [abs(error) for error in rates.errors.values()])
    yield told(accuracy([foretold[one.name] for one in models], [seconds[one.name] for one in models]))
    for one in sorted(models, key=lambda one: seconds[one.name]):
        yield _line(one, seconds[one.name], foretold[one.name])


def told(found: Accuracy) -> str:
    """`31 models held out: median error 4.4 %, worst 19 %, 99 % of pairs in order`."""
    return (
        f"{found.models} models held out: median error {units.percent(found.median)}, worst "
        f"{units.percent(found.worst)}, {units.percent(found.ordered)} of pairs in order"
    )


def _summary(what: str, errors: list[float]) -> str:
    middle = sorted(errors)[len(errors) // 2]
    return f"{len(errors)} {what}: median error {units.percent(middle)}, worst {units.percent(max(errors))}"


def _line(one: HeldOut, took_s: float, foretold_s: float) -> str:
    error = units.signed(100 * (foretold_s / took_s - 1))
    return f"  {one.name}: {units.ms(1e3 * took_s)} ms, foretold {units.ms(1e3 * foretold_s)} ms ({error} %)"


def _silent(_: str) -> None:
    pass


def main(folder: Path) -> None:
    """Print all lines."""
    for line in lines(folder):
        print(line, flush=True)
