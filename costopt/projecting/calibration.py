"""What `costopt calibrate` learnt of a machine, in a small JSON file to bring home.

The file names the machine, the provider, the threads and the version of ONNX Runtime, because the figures hold for
these and for no others; and it carries a digest of itself, so that figures which were changed by hand are not taken for
measured ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from costopt.disk import write_atomically
from costopt.errors import UsageError
from costopt.journal import from_json, to_json
from costopt.projecting.fitting import COLUMNS, Demand, predicted_s
from costopt.records import Machine, short_hash

SCHEMA = 1

AGAIN = "run `costopt calibrate` on that machine again"


@dataclass(frozen=True, slots=True)
class Calibration:
    """Seconds a unit of each kind of work (`fitting.COLUMNS`) on one machine.

    `instance` is its name in the price book, "" where none was given. `errors` are how far the fit lies from each
    reference graph's time, as a share of that, signed. `digest` is over all other fields.
    """

    schema: int
    costopt: str
    onnxruntime: str
    created: str
    machine: Machine
    instance: str
    provider: str
    threads: int
    cache_bytes: int
    rates: Mapping[str, float]
    errors: Mapping[str, float]
    digest: str = ""

    def seconds(self, asked: Demand) -> float:
        """Seconds of a call that asks so much."""
        return predicted_s(self.rates, asked)

    def same_machine(self, machine: Machine) -> bool:
        """Whether it was made on such a machine: the same processor, cores and instructions."""
        own = self.machine
        return (own.cpu, own.cores, own.features) == (machine.cpu, machine.cores, machine.features)


def signed(calibration: Calibration) -> Calibration:
    """The same with its digest."""
    return replace(calibration, digest=_digest(calibration))


def write(calibration: Calibration, path: Path) -> None:
    """Write it whole, or not at all. Raises CostoptError when the disk does not take it."""
    write_atomically(path, to_json(signed(calibration)) + "\n")


def read(path: Path) -> Calibration:
    """Raises UsageError for a file that isn't there, isn't whole, or can't be believed; it says which."""
    try:
        text = path.read_bytes()
    except OSError as fault:
        raise UsageError(f"can't read the calibration {path}: {fault.strerror}") from fault
    try:
        found = from_json(Calibration, text)
    except ValidationError as problem:
        where = ".".join(str(part) for part in problem.errors()[0]["loc"])
        at = f" (at '{where}')" if where else ""
        raise UsageError(
            f"{path} is no calibration, cut short, or of another version of costopt{at}: {AGAIN}"
        ) from problem
    if words := _distrusted(found):
        raise UsageError(f"{path}: {words}: {AGAIN}")
    return found


def _distrusted(found: Calibration) -> str:
    """Why its figures can't be used; "" when they can."""
    if found.schema != SCHEMA:
        return f"its schema is {found.schema}, this costopt reads {SCHEMA}"
    negative = next((name for name, rate in found.rates.items() if not 0 <= rate < 1), None)
    if negative is not None:
        return f"the rate of {negative} is {found.rates[negative]}, and must lie between 0 and 1 s"
    if found.rates.keys() != COLUMNS.keys():
        other = sorted(found.rates.keys() ^ COLUMNS.keys())
        return f"it was made by costopt {found.costopt}, whose rates are others ({', '.join(other[:3])})"
    if found.threads < 1 or found.cache_bytes < 1:
        return "threads and cache_bytes must be above 0"
    return "" if found.digest == _digest(found) else "its figures were changed after they were measured"


def _digest(calibration: Calibration) -> str:
    import json

    return short_hash(json.loads(to_json(replace(calibration, digest=""))))
