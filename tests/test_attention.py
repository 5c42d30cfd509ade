"""Where attention looks: read from the graph as it is, in whichever form it stands there."""

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn.functional import scaled_dot_product_attention as fused
from torch.utils import _pytree as pytree

from costopt.cutting.surgery import copied
from costopt.learning import attention
from costopt.learning.imitation import Imitation, elsewhere
from costopt.learning.pairing import Pair, tensors
from costopt.methods.prune_heads import PruneHeads
from tests.torch_patients import PATIENTS, context_of, graph_of

BOOLEAN = torch.tensor([[True, True, False], [True, False, True], [True, True, True]])


class Attending(nn.Module):
    """One fused attention of its input, two heads of four, over three places; its output is that of the heads."""

    def __init__(self, mask: Tensor | None, causal: bool, scale: float | None) -> None:
        super().__init__()
        self.query, self.mask, self.causal, self.scale = nn.Linear(8, 8), mask, causal, scale

    def forward(self, x: Tensor) -> Tensor:
        query, value = (one.view(-1, 3, 2, 4).transpose(1, 2) for one in (self.query(x), x))
        return fused(query, value, value, attn_mask=self.mask, is_causal=self.causal, scale=self.scale)


@pytest.mark.parametrize(
    ("mask", "causal", "scale"),
    [(None, False, None), (BOOLEAN, False, None), (BOOLEAN.float() * 3, False, 0.2), (None, True, None)],
    ids=["plain", "boolean mask", "added mask and scale", "causal"],
)
def test_the_map_of_fused_attention_is_what_it_weighs_values_with(
    mask: Tensor | None, causal: bool, scale: float | None
) -> None:
    x = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0))
    module = graph_of(Attending(mask, causal, scale), {"x": x.numpy()})
    model = attention.watched(module)
    assert model is not None
    given, weights = pytree.tree_leaves(model(x))
    value = x.view(5, 3, 2, 4).transpose(1, 2)
    assert torch.allclose(weights.transpose(1, 2) @ value, given, atol=1e-5)


def test_a_map_is_read_from_softmax_too_and_says_how_attention_is_shared() -> None:
    inputs = tensors(PATIENTS["encoder"].arrays(6))
    model = attention.watched(PATIENTS["encoder"].graph())
    assert model is not None
    _, weights = model(*inputs.values())
    assert weights.shape[:2] == inputs["input_ids"].shape
    assert torch.allclose(weights.sum(-1), torch.ones(()))
    unseen = (inputs["attention_mask"] == 0)[:, None, None].expand_as(weights)
    assert float(weights[unseen].detach().max()) < 1e-6


def test_what_is_watched_is_the_model_itself() -> None:
    module = PATIENTS["encoder"].graph()
    nodes = len(module.graph.nodes)
    model = attention.watched(module)
    assert model is not None
    assert {id(one) for one in model.parameters()} == {id(one) for one in module.parameters()}
    assert len(module.graph.nodes) == nodes


def test_without_attention_there_is_no_map() -> None:
    assert attention.watched(PATIENTS["cnn"].graph()) is None


# ---------------------------------------------------------------------------------------- in a lesson


def maps_of(student: fx.GraphModule, teacher: fx.GraphModule) -> int:
    arrays = PATIENTS["encoder"].arrays(6)
    pair = Pair(student, teacher, tuple(arrays), tensors(arrays), None)
    try:
        says = [model(tensors(arrays)) for model in (pair.student_says, pair.teacher_says)]
        assert [len(one) for one in says] == [len(says[0])] * 2
        return pair.maps
    finally:
        pair.release()


def test_a_student_with_as_many_heads_is_compared_in_its_map() -> None:
    module = PATIENTS["encoder"].graph()
    assert maps_of(copied(module), module) == 1


def test_a_student_with_fewer_heads_is_not() -> None:
    module = PATIENTS["encoder"].graph()
    narrow = PruneHeads(heads=0.5)(copied(module), context_of(module, PATIENTS["encoder"].arrays(32)))
    assert maps_of(narrow, module) == 0


def test_long_sequences_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "MOST_PLACES", 4)
    module = PATIENTS["encoder"].graph()
    assert maps_of(copied(module), module) == 0


def test_maps_count_by_their_divergence() -> None:
    ours, theirs = torch.tensor([[0.5, 0.5, 0.0]]), torch.tensor([[0.75, 0.25, 0.0]])
    apart = float(elsewhere(ours, theirs))
    assert apart == pytest.approx(0.1308, abs=1e-4)  # 0.75 ln 1.5 + 0.25 ln 0.5
    output = torch.zeros(1, 2)
    assert float(Imitation((True,), maps=1).loss([output, ours], [output, theirs])) == pytest.approx(apart, abs=1e-5)
    assert float(Imitation((True,), maps=1).loss([output], [output])) == 0
