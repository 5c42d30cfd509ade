"""Channel pruning: how much goes, from where, and what least squares makes good."""

import numpy as np
import pytest
import torch
from torch import fx

from costopt import surgery
from costopt.allotment import Curve, step_of
from costopt.errors import CandidateError, NotApplicable
from costopt.importance import Importance, scores
from costopt.methods import Arrays
from costopt.methods.prune_channels import PruneChannels
from costopt.ties import Group, structure_of
from tests.torch_patients import PATIENTS, context_of, relative_error


def pruned(name: str, method: PruneChannels, arrays: Arrays | None = None) -> fx.GraphModule:
    module = PATIENTS[name].graph()
    return method(module, context_of(module, arrays or PATIENTS[name].arrays(64)))


def work(module: fx.GraphModule, name: str) -> int:
    inputs = [torch.from_numpy(array) for array in PATIENTS[name].arrays(2).values()]
    return sum(surgery.macs(module, inputs).values())


@pytest.mark.parametrize("macs", [0.25, 0.6])
@pytest.mark.parametrize("name", ["cnn", "inverted", "dense", "autoencoder"])
def test_at_least_the_share_of_work_that_was_asked_for_goes(name: str, macs: float) -> None:
    left = work(pruned(name, PruneChannels(macs=macs)), name) / work(PATIENTS[name].graph(), name)
    assert 0 < left <= 1 - macs


@pytest.mark.parametrize("importance", ["group_norm", "activation", "taylor"])
@pytest.mark.parametrize("name", ["cnn", "lenet", "inverted", "encoder"])
def test_least_squares_brings_the_outputs_back_towards_the_original_s(name: str, importance: Importance) -> None:
    original, fresh = PATIENTS[name].graph(), PATIENTS[name].arrays(96)
    held_out = {key: array[64:] for key, array in fresh.items()}
    seen = {key: array[:64] for key, array in fresh.items()}
    errors = [
        relative_error(
            pruned(name, PruneChannels(macs=0.2, importance=importance, reconstruct=reconstruct), seen),
            original,
            held_out,
        )
        for reconstruct in (True, False)
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("importance", ["group_norm", "activation", "taylor"])
def test_a_channel_without_weights_is_the_least_important(importance: Importance) -> None:
    patient = PATIENTS["lenet"]
    module = patient.graph()
    for parameter in (module.get_parameter("second.weight"), module.get_parameter("hidden.weight")):
        parameter.data[7 if parameter.ndim == 4 else slice(None), *([slice(63, 72)] if parameter.ndim == 2 else [])] = 0
    inputs = [torch.from_numpy(array) for array in patient.arrays(8).values()]
    structure = structure_of(module, inputs)
    found = scores(importance, module, structure, [tuple(inputs)], seed=0)
    second = next(group for group in structure.groups if group.name == "second")
    assert np.argmin(found[second.units]) == 7


def test_taylor_sees_that_nothing_reads_a_channel_where_the_norm_does_not() -> None:
    patient = PATIENTS["lenet"]
    module = patient.graph()
    module.get_parameter("hidden.weight").data[3] *= 100  # a large neuron ...
    module.get_parameter("head.weight").data[:, 3] = 0  # ... that nothing reads
    inputs = [torch.from_numpy(array) for array in patient.arrays(8).values()]
    structure = structure_of(module, inputs)
    hidden = next(group for group in structure.groups if group.name == "hidden").units
    assert scores("taylor", module, structure, [tuple(inputs)], 0)[hidden[3]] == 0
    assert np.argmax(scores("group_norm", module, structure, [tuple(inputs)], 0)[hidden]) == 3


@pytest.mark.parametrize(
    ("width", "round_to", "step"), [(6, 8, 1), (16, 8, 8), (16, 16, 16), (24, 16, 16), (128, 16, 16), (4096, 8, 128)]
)
def test_widths_are_rounded_to_what_fits_the_layer(width: int, round_to: int, step: int) -> None:
    assert step_of(width, round_to) == step


def test_a_group_gets_narrower_in_steps_and_never_vanishes() -> None:
    units = np.arange(30)
    curve = Curve(Group("layer", units, units), units, 8, np.array([0]), np.array([0.0]))
    lost = [0]
    while (further := curve.next(lost[-1])) is not None:
        lost.append(further)
    assert [30 - one for one in lost] == [30, 24, 16, 8]


def test_layers_share_the_loss_unevenly() -> None:
    module = PATIENTS["cnn"].graph()
    module.get_parameter("body.1.second.weight").data.zero_()  # so that nothing depends on body.1.first
    changed = PruneChannels(macs=0.2)(module, context_of(module, PATIENTS["cnn"].arrays(32)))
    assert len(changed.get_parameter("body.1.first.weight")) < len(changed.get_parameter("body.0.first.weight"))


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (PruneChannels(macs=0.0), "macs is the share of the multiply-accumulates that go, between 0 and 1, not 0.0"),
        (PruneChannels(macs=1.0), "not 1.0"),
        (PruneChannels(round_to=0), "round_to must be at least 1, not 0"),
        (PruneChannels(samples=0), "0 of 64 calibration samples: one is needed at least"),
    ],
)
def test_an_option_out_of_range_is_refused(method: PruneChannels, words: str) -> None:
    with pytest.raises(CandidateError, match=words):
        pruned("cnn", method)


def test_more_than_can_go_is_refused_with_what_can() -> None:
    with pytest.raises(NotApplicable, match=r"\d+ % of the multiply-accumulates sit in channels that can go, and 90 %"):
        pruned("encoder", PruneChannels(macs=0.9))


def test_a_model_of_fixed_widths_is_none_for_it() -> None:
    with pytest.raises(NotApplicable, match="no layer can lose channels"):
        pruned("recurrent", PruneChannels())


@pytest.mark.parametrize("importance", ["group_norm", "activation", "taylor"])
def test_weights_that_are_not_numbers_are_refused(importance: Importance) -> None:
    module = PATIENTS["cnn"].graph()
    module.get_parameter("stem.weight").data[0] = float("nan")
    with pytest.raises(CandidateError, match="NaN or infinite"):
        PruneChannels(importance=importance)(module, context_of(module, PATIENTS["cnn"].arrays(8)))


@pytest.mark.parametrize("samples", [1, 8])
def test_calibration_that_says_nothing_does_no_harm(samples: int) -> None:
    constant: Arrays = {"image": np.zeros((samples, 1, 12, 12), np.float32)}
    changed = pruned("cnn", PruneChannels(), constant)
    assert all(parameter.isfinite().all() for parameter in changed.parameters())
    assert relative_error(changed, PATIENTS["cnn"].graph(), PATIENTS["cnn"].arrays(8)) < 1
