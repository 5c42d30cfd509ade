"""Attention heads: which go, and what follows them."""

import pytest
import torch
from torch import fx, nn

from costopt.cutting import surgery
from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Arrays
from costopt.methods.prune_heads import PruneHeads
from tests.onnx_graphs import normal
from tests.torch_patients import PATIENTS, context_of, graph_of, outputs, relative_error

ENCODER = PATIENTS["encoder"]


def pruned(method: PruneHeads) -> fx.GraphModule:
    module = ENCODER.graph()
    return method(module, context_of(module, ENCODER.arrays(64)))


def heads(module: fx.GraphModule, layer: int) -> int:
    return len(module.get_parameter(f"layers.{layer}.attention.query.weight")) // 8


@pytest.mark.parametrize(("share", "left"), [(0.25, 6), (0.5, 4), (0.7, 2)])
def test_the_share_of_all_heads_goes_and_each_layer_keeps_one(share: float, left: int) -> None:
    module = pruned(PruneHeads(heads=share))
    kept = [heads(module, layer) for layer in (0, 1)]
    assert sum(kept) == left
    assert min(kept) >= 1


def test_a_head_that_is_not_read_goes_first_and_costs_nothing() -> None:
    module = ENCODER.graph()
    module.get_parameter("layers.1.attention.output.weight").data[:, 8:24] = 0
    before = surgery.copied(module)
    changed = PruneHeads(heads=0.25, reconstruct=False)(module, context_of(module, ENCODER.arrays(32)))
    assert (heads(changed, 0), heads(changed, 1)) == (4, 2)
    assert relative_error(changed, before, ENCODER.arrays(8)) < 1e-5


def test_least_squares_makes_up_for_a_part() -> None:
    errors = [
        relative_error(pruned(PruneHeads(heads=0.5, reconstruct=on)), ENCODER.graph(), ENCODER.arrays(16))
        for on in (True, False)
    ]
    assert errors[0] < 0.8 * errors[1]


class GroupedQueries(nn.Module):
    """Six query heads of width 4 share two of key and value, as in small decoders."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.both, self.output = nn.Linear(16, 24), nn.Linear(16, 16), nn.Linear(24, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query = self.query(x).view(-1, 5, 6, 4).transpose(1, 2)
        both = self.both(x).view(-1, 5, 2, 2, 4).transpose(1, 3)
        key, value = (one[:, :, None].expand(-1, -1, 3, -1, -1).reshape(-1, 6, 5, 4) for one in both.unbind(2))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        out: torch.Tensor = self.output(mixed.transpose(1, 2).reshape(-1, 5, 24))
        return out


def test_queries_that_share_a_key_go_together() -> None:
    torch.manual_seed(0)
    arrays: Arrays = {"x": normal(32, 5, 16)}
    module = graph_of(GroupedQueries(), arrays)
    changed = PruneHeads(heads=0.5)(module, context_of(module, arrays))
    assert tuple(changed.get_parameter("output.weight").shape) == (16, 12)
    assert outputs(changed, {"x": normal(3, 5, 16)})[0].shape == (3, 5, 16)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_nothing_or_all_is_refused(share: float) -> None:
    with pytest.raises(CandidateError, match=f"heads is the share that goes, between 0 and 1, not {share}"):
        pruned(PruneHeads(heads=share))


def test_a_model_without_attention_is_none_for_it() -> None:
    module = PATIENTS["cnn"].graph()
    with pytest.raises(NotApplicable, match="no attention with several heads"):
        PruneHeads()(module, context_of(module, PATIENTS["cnn"].arrays(8)))
