"""Options of the test run, and what makes it short."""

import functools
import gc
import os
from collections.abc import Iterator

import pytest

# Before torch is loaded. Models of tests are tiny: threads that spin between two operations of a microsecond would take
# most of the processor (seven times as much for the tests of `prune_channels`).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:  # others run beside this process: one thread each
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The exporter makes and drops small objects by the hundred thousand beside the million that torch, transformers and the
# tests keep: looking through all of them as often as Python does by itself takes a tenth of the time.
gc.set_threshold(50_000, 20, 20)

# Whoever runs the tests may have a price book of their own, which would change what machines cost here.
os.environ["COSTOPT_PRICES"] = os.path.join(os.path.dirname(__file__), "no-such-book.csv")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the texts in tests/golden anew")


@pytest.fixture(scope="session", autouse=True)
def translators_are_read_once() -> Iterator[None]:
    """Every `torch.onnx.export` reads the source of its 500 translators anew: half a second of two, and never another.

    A run of costopt exports once in a process, a run of the tests hundreds of times. Nothing writes into the list but
    `custom_translation_table`, which costopt does not use.
    """
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(functools.cache(ONNXRegistry.from_torchlib)))
        yield
