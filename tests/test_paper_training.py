"""`costopt plan --arch --training`: seconds of a step, what chips and machines exchange, and what is refused."""

import math
from dataclasses import replace

import pytest

from costopt.distributing import paper_asked, training_plan
from costopt.distributing.paper_options import Options
from costopt.distributing.training_plan import TrainingAsked
from costopt.errors import UsageError
from tests.test_paper_plan import BOOK, MIXTRAL

TRAINED = Options("llama", params=8e9)


def test_training_costs_least_on_one_machine_unless_somebody_waits() -> None:
    asked = paper_asked.training(TRAINED, 4e6, 0.0)
    alone = training_plan.rows(asked, tuple(BOOK.offers.values()))
    assert {row.worth for row in alone} == {1}
    waiting = paper_asked.training(TRAINED, 4e6, 200.0)
    p5 = training_plan.row(waiting, BOOK.of("aws/p5.48xlarge")[0])
    assert p5.step is not None
    assert 1 < p5.worth < p5.fastest
    assert p5.step.usd(p5.worth + 1, 55.04, 200.0) > p5.step.usd(p5.worth, 55.04, 200.0)
    assert p5.step.seconds(p5.fastest + 1) >= p5.step.seconds(p5.fastest)


def test_a_step_on_one_machine_is_six_operations_a_parameter_and_token() -> None:
    found = training_plan.row(paper_asked.training(TRAINED, 4e6, 0.0), BOOK.of("lambda/gpu_1x_b200_sxm6")[0])
    assert found.step is not None
    assert found.step.seconds(1) == pytest.approx(6 * 8e9 * 4e6 / (0.75 * 2250e12))
    assert (found.fastest, found.network) == (1, "not known")


def test_a_mixture_computes_with_active_parameters_and_exchanges_all() -> None:
    asked = paper_asked.training(replace(MIXTRAL, rate=None), 4e6, 0.0)
    found = training_plan.row(asked, BOOK.of("aws/p5.48xlarge")[0])
    assert found.why.startswith("needs 747 GB")
    big = training_plan.row(asked, BOOK.of("aws/p6-b200.48xlarge")[0])
    assert big.step is not None
    assert asked.active_params == pytest.approx(12.88e9, rel=0.001)
    assert big.step.gradient_bytes == 2 * 46.7e9
    computed_s = 6 * asked.active_params * 4e6 / (8 * 0.75 * 2250e12)
    assert computed_s < big.step.seconds(1) < 1.1 * computed_s


@pytest.mark.parametrize(("params", "volumes"), [(8e9, 2), (30e9, 3)])
def test_weights_that_fit_on_no_chip_are_gathered_twice(params: float, volumes: int) -> None:
    """On 8 H100 80 GB: 8B is 30 GB a chip beside its share of the state; 30B would be 112 GB."""
    asked = TrainingAsked("", params, params, 4e6)
    found = training_plan.row(asked, BOOK.of("aws/p5.48xlarge")[0])
    assert found.step is not None
    computed_s = 6 * params * 4e6 / (8 * 0.75 * 989e12)
    exchanged_s = volumes * (7 / 8 * 2 * params / 450e9 + 7 * 1e-6)
    assert found.step.seconds(1) == pytest.approx(computed_s + exchanged_s, rel=1e-9)


@pytest.mark.parametrize(
    ("instance", "why"),
    [
        ("aws/p5.4xlarge", "needs 128 GB, can fill 72.0 GB"),
        ("aws/inf2.48xlarge", "AWS Inferentia2 is made for inference"),
        ("gcp/e2-standard-4", "nothing known of its processor"),
    ],
)
def test_what_a_model_cannot_be_trained_on_says_why(instance: str, why: str) -> None:
    found = training_plan.row(paper_asked.training(TRAINED, 4e6, 0.0), BOOK.of(instance)[0])
    assert (found.step, found.why) == (None, why)


@pytest.mark.parametrize(
    ("options", "tokens", "waiting", "words"),
    [
        (TRAINED, None, 0.0, "--arch llama needs --batch-tokens, such as --batch-tokens 4e6"),
        (TRAINED, 0.0, 0.0, "--batch-tokens is 0: it must be 1 at least and 1e\\+18 at most"),
        (TRAINED, 4e6, -1.0, "--waiting-usd-per-hour is -1: it can't be less than 0"),
        (replace(TRAINED, rate=3.0), 4e6, 0.0, "--rate: training serves no requests; leave it out"),
        (
            replace(TRAINED, bits=4),
            4e6,
            0.0,
            "--bits 4: training is planned in mixed precision of 16 bits; leave it out",
        ),
        (replace(TRAINED, context=4096), 4e6, 0.0, "--context: training serves no requests; leave it out"),
        (TRAINED, math.inf, 0.0, "--batch-tokens is inf: it must be 1 at least"),
        (TRAINED, 4e6, math.inf, "--waiting-usd-per-hour is inf: it can't be less than 0 or more than"),
        (Options("cnn", flops=1e9), 4e6, 0.0, "--training: --arch cnn is not planned"),
    ],
)
def test_bad_input_of_a_training_is_told(options: Options, tokens: float | None, waiting: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        paper_asked.training(options, tokens, waiting)
