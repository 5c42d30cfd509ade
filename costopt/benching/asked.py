"""What was asked of `costopt bench` on the command line, checked word by word before anything is opened.

--provider openvino:inference_precision=f32 --batch 1,8 --threads 1,2 --dim sequence=128 --rate max
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from costopt import plugins, units
from costopt.benching.measurements import BenchPlan
from costopt.errors import UsageError
from costopt.records import Spec, Value
from costopt.user_code import is_reference


@dataclass(frozen=True)
class Asked:
    """The words of the command line, as they came. `scenario_options` are None where they were not given."""

    models: Sequence[Path]
    scenario: str
    scenario_options: Mapping[str, str | float | int | None]
    providers: Sequence[str]
    batch: str
    threads: str | None
    inputs: str | None
    dimensions: Sequence[str]
    precision: str
    confidence: float
    time_limit: str
    seed: int
    pinned: bool
    reference: str | None
    tuned: bool

    def plan(self) -> BenchPlan:
        """What they mean. Raises UsageError for the first that means nothing."""
        return BenchPlan(
            models=tuple(str(model) for model in self.models),
            scenario=self._scenario(),
            providers=providers(self.providers),
            batch=_counts("--batch", self.batch),
            threads=() if self.threads is None else _counts("--threads", self.threads),
            inputs=inputs(self.inputs),
            dimensions=dimensions(self.dimensions),
            precision=_share("--precision", self.precision),
            confidence=_confidence(self.confidence),
            time_limit_s=time_limit_s(self.time_limit),
            seed=_seed(self.seed),
            pinned=_pinned(self.pinned),
            references=_references(self.reference),
            tuned=self._tuned(),
        )

    def _tuned(self) -> bool:
        if self.tuned and self.scenario != "single_stream":
            raise UsageError(
                f"--tune searches in the single_stream scenario only, not in {self.scenario}; leave it out"
            )
        return self.tuned

    def _scenario(self) -> Spec:
        given: dict[str, Value] = {name: value for name, value in self.scenario_options.items() if value is not None}
        if "rate" in given:
            given["rate"] = _rate(str(given["rate"]))
        if self.scenario != "server" and (
            misplaced := sorted({"rate", "p99_ms", "max_wait_ms", "instances"} & set(given))
        ):
            flag = misplaced[0].replace("_", "-")
            raise UsageError(f"--{flag} belongs to the server scenario; add --scenario server")
        if self.scenario == "server" and "p99_ms" not in given:
            raise UsageError("--scenario server needs the latency that was promised: --p99-ms 20")
        if self.scenario == "server" and "rate" not in given:
            raise UsageError("--scenario server needs --rate 200 (does it hold?) or --rate max (how much holds?)")
        for name in ("p99_ms", "max_batch", "instances"):
            _above_zero(name, given.get(name))
        spec = Spec(self.scenario, given)
        plugins.check("scenarios", spec)
        return spec


def _above_zero(name: str, value: Value) -> None:
    if isinstance(value, int | float) and not (math.isfinite(value) and value > 0):
        raise UsageError(f"--{name.replace('_', '-')}: {value:g} must be more than zero")


def _rate(words: str) -> float | None:
    """Requests per second; None for max."""
    if words == "max":
        return None
    try:
        rate = float(words)
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise UsageError(f"--rate: '{words}' is no rate; write requests per second, more than zero, or max")
    return rate


def providers(words: Sequence[str]) -> tuple[Spec, ...] | None:
    """What --provider asks for; None for every provider found here. Raises UsageError."""
    return tuple(_provider(one) for one in words) or None


def _provider(words: str) -> Spec:
    """`openvino`, or `openvino:inference_precision=f32,device=CPU`."""
    name, _, rest = words.partition(":")
    spec = Spec(name, dict(_option(words, one) for one in rest.split(",") if rest))
    plugins.check("providers", spec)
    return spec


def _option(words: str, one: str) -> tuple[str, Value]:
    key, equals, value = one.partition("=")
    if not equals:
        raise UsageError(f"--provider {words}: '{one}' is no option; write name:option=value,option=value")
    return key.strip(), _value(value.strip())


def _value(text: str) -> Value:
    plain: dict[str, Value] = {"true": True, "false": False, "null": None}
    if text in plain:
        return plain[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _counts(flag: str, words: str) -> tuple[int, ...]:
    """`1,8,32`, each from 1 up and once."""
    try:
        counts = tuple(int(one) for one in words.split(","))
    except ValueError:
        counts = ()
    if not counts or min(counts) < 1:
        raise UsageError(f"{flag}: '{words}' must be whole numbers from 1 up: {flag} 1,8,32")
    if len(set(counts)) < len(counts):
        raise UsageError(f"{flag}: '{words}' names a number twice; keep one")
    return counts


def dimensions(words: Sequence[str]) -> dict[str, int]:
    """What --dim says of axes that vary. Raises UsageError."""
    return dict(_dimension(one) for one in words)


def _dimension(words: str) -> tuple[str, int]:
    name, _, length = words.partition("=")
    if not name or not length.isdigit() or int(length) < 1:
        raise UsageError(f"--dim: '{words}' must be an axis and its length: --dim sequence=128")
    return name, int(length)


def inputs(words: str | None) -> str | None:
    """What --inputs names; None for inputs made up at random. Raises UsageError."""
    return None if words in (None, "random") else _source(str(words))


def _source(words: str) -> str:
    """A data file, absolute; or `module:function`."""
    path = os.path.expanduser(words)
    if not os.path.exists(path) and is_reference(words):
        return words
    if not os.path.isfile(path):
        raise UsageError(f"--inputs: no such file: {words} (or write random, for made-up inputs)")
    return str(Path(path).absolute())


def _share(flag: str, words: str) -> float:
    try:
        share = units.parse_share(float(words) if "%" not in words else words)
    except ValueError as problem:
        raise UsageError(f"{flag}: '{words}' is not a share; write 2% or 0.02") from problem
    if not 0 < share < 1:
        raise UsageError(f"{flag}: '{words}' must be more than 0 and less than 100 %; write 2% or 0.02")
    return share


def _confidence(value: float) -> float:
    if not 0.5 < value < 1:
        raise UsageError(f"--confidence: {value:g} must be more than 0.5 and less than 1")
    return value


def time_limit_s(words: str) -> float:
    """What --time-limit says, in seconds. Raises UsageError."""
    return _seconds("--time-limit", words)


def _seconds(flag: str, words: str) -> float:
    try:
        seconds = units.parse_seconds(float(words) if words.replace(".", "", 1).isdigit() else words)
    except ValueError as problem:
        raise UsageError(f"{flag}: {problem}") from problem
    if not seconds > 0:
        raise UsageError(f"{flag}: '{words}' leaves no time; write 3m, 90s or 1h")
    return seconds


def _seed(value: int) -> int:
    if not 0 <= value < 2**32:
        raise UsageError(f"--seed: {value} must be from 0 to {2**32 - 1}")
    return value


def _pinned(wanted: bool) -> bool:
    import sys

    if wanted and sys.platform != "linux":
        raise UsageError(f"--pin: {sys.platform} gives no way to bind a process to CPUs; leave it out")
    return wanted


def _references(words: str | None) -> bool:
    if words not in (None, "torch"):
        raise UsageError(f"--reference: '{words}' is not known; only torch is")
    return words is not None
