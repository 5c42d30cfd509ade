"""A calibration in words: what the machine reaches, in the units that people know."""

import statistics
from collections.abc import Iterator

from costopt import units
from costopt.projecting.calibration import Calibration

_SPEEDS = (
    ("convolutions", "conv_fp32", "conv_int8"),
    ("depthwise convolutions", "depthwise_fp32", "depthwise_int8"),
    ("matrix products", "matmul_fp32", "matmul_int8"),
)
_BYTES = (("cached weights", "weights_cached"), ("weights from memory", "weights_streamed"))


def lines(found: Calibration) -> Iterator[str]:
    """What was timed, how well it fits, and the figures."""
    errors = [abs(error) for error in found.errors.values()]
    where = f"{found.instance} ({found.machine.cpu})" if found.instance else found.machine.cpu
    threads = units.count_of(found.threads, "thread")
    yield f"{where}, {threads}, provider {found.provider}, ONNX Runtime {found.onnxruntime}"
    fit = f"median error {units.percent(statistics.median(errors))}, worst {units.percent(max(errors))}"
    yield f"fitted to {units.count(len(errors))} reference graphs: {fit}"
    for words, wide, narrow in _SPEEDS:
        yield f"  {words}: {_giga(found, wide)} Gop/s in float32, {_giga(found, narrow)} in 8 bits"
    for words, column in _BYTES:
        yield f"  {words}: {_giga(found, column)} GB/s"
    call, node = (units.significant(1e6 * found.rates[one], 2) for one in ("call", "node"))
    yield f"  overhead: {call} us a call, {node} us a node"


def _giga(found: Calibration, column: str) -> str:
    rate = found.rates[column]
    return "any" if rate == 0 else units.significant(1e-9 / rate)
