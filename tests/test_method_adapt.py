"""A model learns from labelled data of its domain, and what comes after it learns from the adapted model."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import fx

from costopt.errors import CandidateError, NotApplicable
from costopt.methods import Arrays, Context
from costopt.methods.adapt import Adapt
from costopt.methods.distill import Distill
from tests.torch_patients import PATIENTS, context_of, outputs

SAMPLES = 160


def case(seed: int = 0) -> tuple[fx.GraphModule, Context, Arrays, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """A patient, its context with labels that it does not know, and inputs and labels that it has not seen.

    A sample's label tells in which third of the image it is brightest.
    """
    module, arrays = PATIENTS["lenet"].graph(), PATIENTS["lenet"].arrays(SAMPLES + 100)
    ((name, images),) = arrays.items()
    images = images.astype(np.float32)
    labels = np.random.default_rng(seed).integers(0, 3, len(images))
    for image, label in zip(images, labels, strict=True):
        image[:, 4 * label : 4 * label + 4] += 1.0
    context = replace(context_of(module, {name: images[:SAMPLES]}), labels=labels[:SAMPLES])
    return module, context, {name: images[SAMPLES:]}, labels[SAMPLES:]


def right(module: fx.GraphModule, inputs: Arrays, labels: np.ndarray[tuple[int], np.dtype[np.int64]]) -> float:
    (scores,) = outputs(module, inputs)
    return float((scores.argmax(1).numpy() == labels).mean())


def test_a_model_learns_what_the_labels_say() -> None:
    module, context, unseen, labels = case()
    before = right(module, unseen, labels)
    adapted = Adapt(steps=80, batch=32, learning_rate=3e-3, augment="none")(module, context)
    assert right(adapted, unseen, labels) > max(0.8, before + 0.3)


def test_without_labels_the_remedy_is_told() -> None:
    module, context, _, _ = case()
    with pytest.raises(CandidateError, match="hold no labels: add an array called 'target'"):
        Adapt(steps=2)(module, replace(context, labels=None))


def test_labels_that_teach_nothing_are_no_result() -> None:
    module, context, _, _ = case()
    with pytest.raises(NotApplicable, match="no nearer to the labels"):
        Adapt(steps=3, batch=32, learning_rate=1e3)(module, context)


def test_labels_may_have_a_share_in_distillation() -> None:
    module, context, unseen, labels = case()
    both = Distill(steps=60, batch=32, learning_rate=3e-3, augment="none", labels=0.9)(module, context)
    assert right(both, unseen, labels) > 0.6
    with pytest.raises(CandidateError, match="labels is a share of the loss, from 0 to 1, not 2"):
        Distill(steps=1, labels=2.0)(context.original(), context)


def test_a_mixture_of_two_samples_has_no_label_and_is_not_made() -> None:
    module, context, _, _ = case()
    learned = [
        Adapt(steps=4, batch=32, augment=augment)(fresh, context).state_dict()
        for augment, fresh in (("mixup", context.original()), ("none", module))
    ]
    assert all(torch.equal(learned[0][name], learned[1][name]) for name in learned[0])
