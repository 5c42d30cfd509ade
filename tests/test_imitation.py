"""How far outputs are apart, and what can be seen inside."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from costopt.learning import hidden
from costopt.learning.imitation import Imitation, are_scores, divergence, relative_error
from costopt.learning.pairing import visible
from tests.torch_patients import PATIENTS, context_of

scores = st.lists(st.lists(st.floats(-20, 20), min_size=3, max_size=3), min_size=2, max_size=6).map(torch.tensor)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_constant_at_the_mean_has_a_relative_error_of_one() -> None:
    teacher = random(50, 4)
    assert float(relative_error(teacher.mean().expand(50, 4), teacher)) == pytest.approx(1, abs=1e-5)
    assert float(relative_error(teacher, teacher)) == 0


@given(teacher=scores, factor=st.sampled_from([0.01, 3.0, 1000.0]))
def test_the_relative_error_knows_no_unit(teacher: Tensor, factor: float) -> None:
    assume(float(teacher.var(correction=0)) > 1e-6)  # below, the guard against constant outputs has a say
    apart = float(relative_error(0.5 * teacher, teacher))
    assert float(relative_error(0.5 * factor * teacher, factor * teacher)) == pytest.approx(apart, rel=1e-3, abs=1e-6)


def test_a_constant_output_that_is_met_but_for_rounding_counts_nothing() -> None:
    constant = torch.full((20, 3), 7.0)
    assert float(relative_error(constant * (1 + 1e-7), constant)) < 1e-6
    assert float(relative_error(torch.zeros(20, 3), torch.zeros(20, 3))) == 0


def test_the_divergence_is_that_of_the_definition() -> None:
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3.0), 0.0]])
    wanted = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert float(divergence(student, teacher, 1.0)) == pytest.approx(wanted, rel=1e-5)


@given(teacher=scores, shift=st.floats(-5, 5), temperature=st.sampled_from([0.5, 1.0, 4.0]))
def test_scores_that_differ_by_a_constant_are_the_same_distribution(
    teacher: Tensor, shift: float, temperature: float
) -> None:
    assert float(divergence(teacher + shift, teacher, temperature)) == pytest.approx(0, abs=1e-4)


def test_scores_are_told_from_embeddings_and_numbers() -> None:
    logits = random(8, 10)
    assert are_scores(logits)
    assert not are_scores(nn.functional.normalize(logits, dim=1))
    assert not are_scores(logits[:, :1])
    assert not are_scores(logits[:, :, None])


def test_agreement_of_scores_is_the_share_of_equal_classes_and_of_others_what_the_error_leaves() -> None:
    ours, theirs = torch.tensor([[1.0, 2.0], [3.0, 1.0]]), torch.tensor([[0.0, 9.0], [0.0, 1.0]])
    assert Imitation((True,)).agreement([ours], [theirs]) == 0.5
    assert Imitation((False,)).agreement([0.75 * theirs], [theirs]) == pytest.approx(0.75)
    assert Imitation((False,)).agreement([-theirs], [theirs]) == 0


def test_what_is_inside_counts_as_much_as_what_comes_out() -> None:
    one, far = random(20, 4), random(20, 4, seed=1)
    imitation, apart = Imitation((False,)), float(relative_error(far, one))
    assert float(imitation.loss([one, far, one], [one, one, one])) == pytest.approx(apart / 2)
    assert float(imitation.loss([far, one, one], [one, one, one])) == pytest.approx(apart)


def test_padding_is_not_compared() -> None:
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    hidden_states, embedding = random(2, 3, 5), random(2, 5)
    seen, same = visible([hidden_states, embedding], {"input_ids": mask + 4, "attention_mask": mask})
    assert torch.equal(seen, torch.stack([hidden_states[0, 0], hidden_states[0, 1], hidden_states[1, 0]]))
    assert torch.equal(same, embedding)


# ---------------------------------------------------------------------------------------- inside


def test_the_normalisations_that_both_have_are_compared() -> None:
    student = PATIENTS["encoder"].graph()
    teacher = context_of(student, PATIENTS["encoder"].arrays(2)).original()
    student.graph.eliminate_dead_code()
    paths = hidden.candidates(student, teacher)
    assert paths == ("layers.0.attention_norm", "layers.0.norm", "layers.1.attention_norm", "layers.1.norm")


def test_a_layer_that_is_called_twice_is_not_compared() -> None:
    student = PATIENTS["shared"].graph()
    assert "twice" not in hidden.candidates(student, student)
    assert "head" in hidden.candidates(student, student)


@given(count=st.integers(1, 50))
def test_few_layers_are_compared_and_the_last_is_among_them(count: int) -> None:
    paths = [str(number) for number in range(count)]
    chosen = hidden.spread(paths)
    assert len(chosen) <= hidden.MOST
    assert chosen[-1] == paths[-1]
    assert sorted(chosen, key=int) == list(chosen)


def test_what_was_caught_is_what_the_layer_gave_and_nothing_is_left_behind() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    caught = hidden.Caught(model, ("0",))
    inputs = random(5, 3)
    model(inputs)
    assert torch.equal(caught.taken()[0], model[0](inputs))
    caught.release()
    assert not model[0]._forward_hooks
