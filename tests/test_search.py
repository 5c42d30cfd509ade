"""What is tried and in which order, before anything is measured."""

from pathlib import Path

import pytest

from costopt import plugins, provenance
from costopt.errors import UsageError
from costopt.methods import Knob, Method, Offer
from costopt.records import Data, Failed, Graph, InputSpec, Invalid, Machine, ModelSource, Plan, Skipped, Spec
from costopt.search import refuse_early
from costopt.searching.heats import never_built
from costopt.searching.tries import Tries, what_to_try
from tests import onnx_graphs

pytestmark = pytest.mark.alone

HERE = Machine("a CPU", 4, 8 << 30, "Linux")
IMAGE = InputSpec("image", ("batch", 1, 8, 8), "float32")
LOGITS = InputSpec("logits", ("batch", 10), "float32")
DENSE = Graph((IMAGE,), (LOGITS,), {"MatMul": 4, "Relu": 3}, {"MatMul": 40_000}, 20, 160_000)
FIXED = Graph((InputSpec("image", (1, 1, 8, 8), "float32"),), (LOGITS,), {"MatMul": 4}, {"MatMul": 40_000}, 20, 160_000)


OFFERS = (
    Offer("distill", ({},), None, False, False, True, None),
    Offer("fp16", ({},), None, True, False, False, None),
    Offer("int4_weights", ({},), None, True, False, False, "its weights sit elsewhere"),
    Offer("int8_dynamic", ({}, {"per_channel": False}), None, True, False, False, None),
    Offer("prune_channels", ({},), Knob("macs", 0.1, 0.9, 0.5), False, False, True, None),
)


def tries(
    plan: Plan,
    graph: Graph = DENSE,
    providers: dict[str, str | None] | None = None,
    offers: tuple[Offer, ...] = OFFERS,
) -> Tries:
    found = tuple((Spec(name), reason) for name, reason in (providers or {"cpu": None}).items())
    return what_to_try(plan, graph, offers, found, HERE)


def plan(**changes: object) -> Plan:
    return Plan(Data("evaluation.npz"), **changes)  # type: ignore[arg-type]


def test_the_original_on_the_cpu_provider_comes_first_and_is_the_baseline() -> None:
    found = tries(plan(recipes=((Spec("fp16"),),), batch=(8, 1)), providers={"openvino": None, "cpu": None})
    assert found.candidates[0] == found.baseline
    assert (found.baseline.recipe, found.baseline.provider, found.baseline.batch) == ((), "cpu", 8)


def test_every_recipe_meets_every_provider_batch_and_thread_count_once() -> None:
    found = tries(
        plan(recipes=((Spec("fp16"),), (Spec("slim"), Spec("fp16"))), batch=(1, 8), threads=(1, 2)),
        providers={"cpu": None, "openvino": None},
    )
    assert len(found.candidates) == 3 * 2 * 2 * 2
    assert len({one.id for one in found.candidates}) == len(found.candidates)


def test_a_provider_with_options_is_another_candidate_and_carries_them() -> None:
    float32 = Spec("openvino", {"inference_precision": "f32"})
    found = what_to_try(plan(recipes=()), DENSE, (), ((Spec("openvino"), None), (float32, None)), HERE)
    assert [dict(one.options) for one in found.candidates] == [{}, {"inference_precision": "f32"}]
    assert found.candidates[0].id != found.candidates[1].id
    assert found.candidates[1].setting.provider == float32


def test_threads_are_the_machines_cores_unless_the_budget_file_says_otherwise() -> None:
    assert tries(plan(recipes=())).baseline.threads == 4
    assert tries(plan(recipes=(), threads=(2,))).baseline.threads == 2


def test_the_original_is_tried_once_whether_it_is_listed_or_not() -> None:
    assert len(tries(plan(recipes=())).candidates) == len(tries(plan(recipes=((),))).candidates) == 1


def test_auto_tries_each_method_by_itself_by_promise_and_says_why_another_does_not_suit() -> None:
    found = tries(plan())
    assert found.space is not None
    assert found.space.singles == (
        (Spec("int8_dynamic"),),  # products of matrices: this gains most
        (Spec("int8_dynamic", {"per_channel": False}),),
        (Spec("fp16"),),
    )
    assert set(found.space.cuts) == {"prune_channels"}
    assert [(one.candidate.label, one.reason) for one in found.settled if isinstance(one, Skipped)] == [
        ("int4_weights", "its weights sit elsewhere")
    ]


def test_nothing_is_cut_where_nothing_mends_it() -> None:
    found = tries(plan(), offers=tuple(one for one in OFFERS if one.name != "distill"))
    assert found.space is not None
    assert not found.space.cuts


def test_the_automatic_options_of_every_method_are_options_that_it_has() -> None:
    for name in plugins.names("methods"):
        for options in plugins.find("methods", name, Method).automatic:
            plugins.make("methods", Spec(name, options), Method)


def test_a_provider_that_is_not_here_is_invalid_and_says_the_fix() -> None:
    found = tries(plan(recipes=()), providers={"cpu": None, "openvino": "pip install it"})
    (absent,) = found.settled
    assert isinstance(absent, Invalid)
    assert absent.candidate.provider == "openvino"
    assert absent.fix == "pip install it"


def test_a_batch_that_the_model_does_not_take_is_refused_with_the_remedy() -> None:
    with pytest.raises(UsageError, match=r"takes batches of 1 only.*Write `batch: \[1\]`") as caught:
        tries(plan(batch=(1, 8)), FIXED)
    assert "dynamic_shapes" in str(caught.value)
    assert tries(plan(batch=(1,), recipes=()), FIXED).baseline.batch == 1


def test_a_torch_side_method_after_an_onnx_side_one_is_refused() -> None:
    with pytest.raises(UsageError, match="must come before"):
        refuse_early(ModelSource("model.pt2"), plan(recipes=((Spec("fp16"), Spec("fold_batchnorm")),)))


def test_a_student_that_is_not_there_is_refused_before_anything_is_measured() -> None:
    with pytest.raises(UsageError, match="nosuch:small: there is no module 'nosuch'"):
        refuse_early(ModelSource("model.pt2"), plan(student="nosuch:small"))


def test_an_onnx_file_teaches_no_student(tmp_path: Path) -> None:
    file = onnx_graphs.save_mlp(tmp_path / "mlp.onnx")
    with pytest.raises(UsageError, match=r"mlp.onnx is an ONNX file, which can't teach; give the PyTorch model"):
        refuse_early(ModelSource(str(file)), plan(student="tests.models:small_cnn"))


def test_a_file_that_cannot_be_made_is_not_tried_again_for_other_providers() -> None:
    candidate = tries(plan(recipes=())).baseline
    assert never_built(Failed(candidate, "export", "no way"))
    assert never_built(Skipped(candidate, "nothing to do"))
    assert not never_built(Failed(candidate, "bench", "this provider only"))


def test_another_student_under_the_same_name_is_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def run(asked: Plan) -> str:
        return provenance.run_id(ModelSource("model.pt2"), asked, {}, "original", HERE, {})

    (tmp_path / "mine.py").write_text("WIDTH = 8")
    named, listed = plan(student="mine:small"), plan(recipes=((Spec("distill", {"student": "mine:small"}),),))
    before = {run(named), run(listed)}
    (tmp_path / "mine.py").write_text("WIDTH = 16")
    assert before.isdisjoint({run(named), run(listed)})
    assert run(plan()) not in before
