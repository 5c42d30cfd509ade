"""The words of `costopt bench`: each becomes what it means, and what means nothing is answered with what would."""

from pathlib import Path
from typing import Any

import pytest

from costopt.benching.asked import Asked
from costopt.errors import UsageError
from costopt.records import Spec

USUAL: dict[str, Any] = {
    "models": [Path("a.onnx")],
    "scenario": "single_stream",
    "scenario_options": {},
    "providers": [],
    "batch": "1",
    "threads": None,
    "inputs": None,
    "dimensions": [],
    "precision": "2%",
    "confidence": 0.95,
    "time_limit": "3m",
    "seed": 0,
    "pinned": False,
    "reference": None,
    "tuned": False,
}


def asked(**changes: Any) -> Asked:
    return Asked(**{**USUAL, **changes})


def test_what_is_left_out_has_the_documented_default() -> None:
    plan = asked().plan()
    assert (plan.providers, plan.batch, plan.threads, plan.inputs) == (None, (1,), (), None)
    assert (plan.precision, plan.time_limit_s) == (0.02, 180.0)


def test_lists_providers_with_options_and_dimensions_are_read() -> None:
    plan = asked(
        batch="1,8,32",
        threads="1,2",
        providers=["cpu", "openvino:inference_precision=f32"],
        dimensions=["sequence=128"],
        precision="0.5%",
        time_limit="90s",
    ).plan()
    assert plan.batch == (1, 8, 32)
    assert plan.threads == (1, 2)
    assert plan.providers == (Spec("cpu"), Spec("openvino", {"inference_precision": "f32"}))
    assert plan.dimensions == {"sequence": 128}
    assert plan.precision == pytest.approx(0.005)
    assert plan.time_limit_s == 90.0


def test_a_rate_of_max_is_no_rate_and_a_number_is_one() -> None:
    for words, rate in (("max", None), ("200", 200.0)):
        plan = asked(scenario="server", scenario_options={"rate": words, "p99_ms": 20.0}).plan()
        assert plan.scenario == Spec("server", {"rate": rate, "p99_ms": 20.0})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": "0"}, "--batch: '0' must be whole numbers"),
        ({"batch": "1,8,1"}, "twice"),
        ({"threads": "two"}, "--threads: 'two'"),
        ({"providers": ["opnvino"]}, "did you mean 'openvino'"),
        ({"providers": ["cpu:precision=f32"]}, "has no option 'precision'"),
        ({"providers": ["cpu:f32"]}, "'f32' is no option"),
        ({"scenario": "servr"}, "did you mean 'server'"),
        ({"scenario": "server", "scenario_options": {"rate": "0", "p99_ms": 20.0}}, "--rate: '0' is no rate"),
        ({"scenario": "server", "scenario_options": {"rate": "fast", "p99_ms": 20.0}}, "requests per second"),
        ({"scenario": "server", "scenario_options": {"rate": "20"}}, "needs the latency"),
        ({"scenario": "server", "scenario_options": {"p99_ms": 20.0}}, "--rate max"),
        ({"scenario": "server", "scenario_options": {"rate": "20", "p99_ms": 0.0}}, "more than zero"),
        ({"scenario_options": {"rate": "20"}}, "add --scenario server"),
        ({"dimensions": ["sequence"]}, "--dim sequence=128"),
        ({"precision": "wide"}, "write 2%"),
        ({"precision": "0"}, "more than 0"),
        ({"confidence": 1.0}, "--confidence"),
        ({"time_limit": "soon"}, "--time-limit"),
        ({"time_limit": "0"}, "leaves no time"),
        ({"inputs": "nowhere.npz"}, "no such file: nowhere.npz"),
        ({"reference": "jax"}, "only torch is"),
        ({"seed": -1}, "--seed"),
        ({"tuned": True, "scenario": "offline"}, "single_stream scenario only"),
    ],
)
def test_what_means_nothing_is_answered_with_what_would(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(**changes).plan()
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) <= 2
