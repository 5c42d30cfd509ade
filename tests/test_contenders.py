"""Who is measured: names that tell models apart, every setting once, batches that each model takes."""

from pathlib import Path

import pytest

from costopt.benching import contenders
from costopt.benching.contenders import Model
from costopt.benching.measurements import BenchPlan
from costopt.errors import UsageError
from costopt.records import Graph, InputSpec, ModelSource, Spec
from costopt.sampling.samples import Samples

CPU, OTHER = Spec("cpu"), Spec("openvino", {"inference_precision": "f32"})


def model(name: str, batch: int | str = "batch") -> Model:
    graph = Graph((InputSpec("x", (batch, 4), "float32"),), (), {}, {}, 20, 100)
    return Model(name, ModelSource(f"/models/{name}"), Path(f"/models/{name}"), "0" * 64, 100, graph, Samples(()))


def plan(scenario: str = "single_stream", **changes: object) -> BenchPlan:
    return BenchPlan(("a.onnx",), Spec(scenario), **changes)  # type: ignore[arg-type]


def test_models_are_called_by_as_much_of_their_path_as_tells_them_apart() -> None:
    assert contenders.names(["x/a.onnx", "y/b.onnx"]) == ("a.onnx", "b.onnx")
    assert contenders.names(["olive/model.onnx", "nncf/model.onnx"]) == ("olive/model.onnx", "nncf/model.onnx")
    with pytest.raises(UsageError, match="named twice"):
        contenders.names(["a.onnx", "./a.onnx"])


def test_every_model_meets_every_provider_batch_and_thread_count_once_and_the_baselines_provider_comes_first() -> None:
    found = contenders.contenders(
        plan(batch=(1, 8), threads=(1, 2)), [model("a"), model("b")], [OTHER, CPU], first=CPU, cores=2
    )
    assert len(found) == len({one.id for one in found}) == 2 * 2 * 2 * 2
    assert (found[0].model, found[0].setting.provider, found[0].setting.batch) == ("a", CPU, 1)


def test_a_model_of_a_fixed_batch_is_measured_at_that_batch_and_at_no_other() -> None:
    found = contenders.contenders(plan(batch=(1, 8)), [model("a"), model("b", batch=8)], [CPU], first=CPU, cores=1)
    assert [(one.model, one.setting.batch) for one in found] == [("a", 1), ("a", 8), ("b", 8)]
    with pytest.raises(UsageError, match="write --batch 4"):
        contenders.contenders(plan(batch=(1, 8)), [model("b", batch=4)], [CPU], first=CPU, cores=1)


def test_scenarios_that_find_threads_or_batch_themselves_have_one_contender_for_all_of_them() -> None:
    for scenario, threads, batches in (("offline", [2], [1, 8]), ("server", [1, 2], [1])):
        asked = plan(scenario, batch=(1, 8), threads=(1, 2))
        found = contenders.contenders(asked, [model("a")], [CPU], first=CPU, cores=2)
        assert sorted({one.setting.threads for one in found}) == threads
        assert sorted({one.setting.batch for one in found}) == batches
