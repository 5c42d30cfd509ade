"""Queries of several samples: as many calls in a row as the batch makes of them, on both sides."""

from pathlib import Path

import pytest

from costopt.errors import Untrue, UsageError
from costopt.measuring import bench
from costopt.measuring.bench import Pair
from costopt.scenarios.multi_stream import MultiStream
from costopt.timings import Timing
from tests import models, stages

pytestmark = pytest.mark.alone


class Enough(Exception):
    """Ends a measurement before it starts."""


@pytest.mark.parametrize(("batch", "calls"), [(1, 8), (2, 4), (3, 3), (8, 1)])
def test_a_query_is_as_many_calls_as_its_samples_need(
    batch: int, calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Pair] = []

    def measure(pair: Pair, *_: object) -> None:
        asked.append(pair)
        raise Enough

    monkeypatch.setattr(bench, "measure", measure)
    with pytest.raises(Enough):
        MultiStream().measure(stages.stage(models.two_in_two_out, tmp_path, batch=batch, baseline_batch=4))
    assert (asked[0].calls, asked[0].other_calls) == (calls, 2)


def test_a_batch_that_one_query_cannot_fill_is_invalid_with_the_fix(tmp_path: Path) -> None:
    with pytest.raises(Untrue, match="8 samples, which can't fill a batch of 16") as caught:
        MultiStream().measure(stages.stage(models.two_in_two_out, tmp_path, batch=16))
    assert "--batch 8" in caught.value.fix


def test_a_query_without_a_sample_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="samples_per_query must be 1 or more, not 0"):
        MultiStream(samples_per_query=0).measure(stages.stage(models.two_in_two_out, tmp_path))


@pytest.mark.slow
def test_a_real_query_of_four_calls_takes_longer_than_one_of_a_single_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages.look_away(monkeypatch)
    found = MultiStream().measure(stages.stage(models.small_cnn, tmp_path, batch=2, baseline_batch=8)).found
    assert isinstance(found, Timing)
    assert (found.batch, found.baseline_batch) == (8, 8)
    baseline = [second for one in found.rounds for second in one.baseline_seconds]
    assert sorted(found.seconds)[len(found.seconds) // 2] > sorted(baseline)[len(baseline) // 2]
