"""What labels teach: the loss against them, and what does not fit the model."""

import math

import numpy as np
import pytest
import torch

from costopt.errors import CandidateError
from costopt.learning.labels import Labels

SCORES = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 2.0], [2.0, 0.0, 0.0]])
PLACES = torch.arange(4)


def test_the_number_of_a_class_is_compared_by_cross_entropy() -> None:
    labels = Labels.of(np.array([0, 1, 2, 1]), SCORES)
    right = -math.log(math.exp(2) / (math.exp(2) + 2))
    assert float(labels.loss(SCORES, PLACES)) == pytest.approx((3 * right + right + 2) / 4)
    assert labels.right(SCORES, PLACES) == 0.75


def test_values_are_compared_by_their_squared_error_over_the_variance() -> None:
    wanted = np.array([[1.0, 0.0, 0.0]] * 2 + [[0.0, 0.0, 0.0]] * 2, dtype=np.float32)
    labels = Labels.of(wanted, SCORES)
    assert float(labels.loss(torch.from_numpy(wanted), PLACES)) == 0
    assert labels.right(torch.from_numpy(wanted), PLACES) == 1
    assert float(labels.loss(torch.from_numpy(wanted).mean(), PLACES)) == pytest.approx(1.0)


def test_labels_are_taken_by_the_place_of_their_sample() -> None:
    labels = Labels.of(np.array([0, 1, 2, 1]), SCORES)
    assert labels.right(SCORES[[2, 0]], torch.tensor([2, 0])) == 1
    assert labels.right(SCORES[[2, 0]], torch.tensor([0, 2])) == 0


def test_a_column_of_classes_is_a_row_of_them() -> None:
    assert Labels.of(np.array([[0], [1], [2], [1]]), SCORES).values.shape == (4,)


@pytest.mark.parametrize("array", [np.array([0, 1, 2, 3]), np.array([0, -1, 2, 1]), np.zeros((4, 2), np.float32)])
def test_labels_that_fit_nothing_are_refused_with_what_they_are(
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]],
) -> None:
    with pytest.raises(CandidateError, match=r"labels of the calibration data \(.*\) fit no class and no value") as why:
        Labels.of(array, SCORES)
    assert "mend 'target', or leave it out" in str(why.value)
