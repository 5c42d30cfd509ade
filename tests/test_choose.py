"""The choice, on made-up records whose figures are exactly what each test says (`factories.py`)."""

import datetime
import math
import time
from dataclasses import replace

import pytest

from costopt.errors import ConfigError
from costopt.judging.choose import judge, quote_for
from costopt.records import Candidate, Currency, Failed, Invalid, Measured, Outcome, Plan, Run, Skipped, Spec, Traffic
from costopt.verdict import Report, Row
from tests.factories import CORRECT, TODAY, measured, plan, recipe, run, twenty

ORIGINAL = measured(ms=1.0)
QUANTISED = measured(recipe("int8_static"), ms=0.5, correct=3699, swapped=12)
SLOWER = measured(recipe("int4_weights"), ms=1.2)
WORSE = measured(recipe("int8_dynamic"), ms=0.4, correct=3500)


def judged(*found: Outcome, by: Plan | None = None, of: Run | None = None) -> Report:
    return judge(of or run(found), found, by or plan(), TODAY)


def row_of(report: Report, outcome: Outcome) -> Row:
    return report.row(outcome.candidate.id)


def won(report: Report, outcome: Outcome) -> bool:
    return report.winner == outcome.candidate.id


# ---------------------------------------------------------------------------------------- the winner


def test_the_cheapest_that_provably_keeps_the_accuracy_wins() -> None:
    report = judged(ORIGINAL, WORSE, QUANTISED, SLOWER, by=plan(accuracy_drop=0.01, usd_per_hour=0.09))
    assert report.verdict == "met"
    assert won(report, QUANTISED)
    assert not report.keep_original
    assert report.headline == (
        "int8_static on cpu costs $0.0125 per million, 2.00x less than the original; "
        "accuracy -0.03 points [-0.29, +0.24], certified"
    )


def test_everyone_else_is_told_why_it_lost() -> None:
    report = judged(ORIGINAL, WORSE, QUANTISED, SLOWER, by=plan(accuracy_drop=0.01, usd_per_hour=0.09))
    assert [row.lost for row in report.rows] == [
        "costs 2.00x the winner",
        "accuracy -5.00 points [-5.72, -4.37], limit -1.00 points",
        None,
        "0.83x: slower than the original",
    ]


def test_the_original_wins_when_nothing_is_better() -> None:
    report = judged(ORIGINAL, SLOWER, WORSE, by=plan(accuracy_drop=0.01))
    assert report.verdict == "met"
    assert report.keep_original
    assert report.headline == (
        "Leave it alone: the original on cpu is the cheapest that meets the budget; "
        "int4_weights on cpu costs 1.20x the original"
    )


def test_the_original_on_another_provider_is_a_change_like_any_other() -> None:
    elsewhere = measured(provider="openvino", ms=0.4)
    report = judged(ORIGINAL, elsewhere)
    assert won(report, elsewhere)
    assert not report.keep_original
    assert report.headline.startswith(
        "the original on openvino takes 1/2.5 of the original's compute, so costs 2.50x less"
    )


def test_of_two_that_can_not_be_told_apart_the_simpler_wins_and_the_report_says_so() -> None:
    fancy = measured(recipe("slim", "int8_static"), ms=0.498, wobble=0.01)
    report = judged(ORIGINAL, fancy, QUANTISED)
    assert won(report, QUANTISED)
    assert row_of(report, fancy).lost == "indistinguishable from the winner, which is simpler"
    said = "the best are indistinguishable; the winner is simpler, compared with slim + int8_static on cpu"
    assert said in report.notes


def test_a_file_like_the_original_is_no_reason_to_change() -> None:
    twin = measured(recipe("slim"), ms=0.997, wobble=0.01)
    report = judged(ORIGINAL, twin)
    assert report.keep_original
    assert report.headline.endswith("; slim on cpu is indistinguishable from it")


@pytest.mark.parametrize(
    ("simpler", "other"),
    [
        (measured(recipe("a"), ms=0.5), measured(recipe("a", "b"), ms=0.499)),
        (measured(recipe("a"), ms=0.5), measured(recipe(Spec("a", {"x": 1})), ms=0.499)),
        (measured(recipe("a"), ms=0.5), measured(recipe("a"), ms=0.499, provider="openvino")),
        (measured(recipe("a"), ms=0.5), measured(recipe("a"), ms=3.992, batch=8)),
        (measured(recipe("a"), ms=0.499), measured(recipe("b"), ms=0.5)),
    ],
    ids=["fewer methods", "fewer options", "the CPU provider", "a smaller batch", "or else the faster"],
)
def test_simpler_means(simpler: Measured, other: Measured) -> None:
    assert won(judged(ORIGINAL, simpler, other), simpler)
    assert won(judged(ORIGINAL, other, simpler), simpler)


def test_of_two_as_simple_and_as_fast_the_one_that_keeps_more_accuracy_wins() -> None:
    worse, better = measured(recipe("a"), ms=0.499, correct=3600), measured(recipe("b"), ms=0.5, correct=3700)
    report = judged(ORIGINAL, worse, better)
    assert won(report, better)
    assert row_of(report, worse).lost == "indistinguishable from the winner, which keeps more accuracy"


def test_a_machine_whose_speed_changed_is_told() -> None:
    slow = measured(recipe("a"), ms=2.0, baseline_ms=4.0)
    said = [note for note in judged(ORIGINAL, slow).notes if "speed changed while it measured" in note]
    assert len(said) == 1
    assert "1.00 to 4.00 ms" in said[0]
    steady = judged(ORIGINAL, measured(recipe("a"), ms=0.5))
    assert not [note for note in steady.notes if "speed changed" in note]


def test_being_indistinguishable_is_measured_from_the_single_best_and_does_not_creep() -> None:
    """Each is within the noise of its neighbour; the simplest is not within the noise of the best."""
    best, middle = measured(recipe("a", "b", "c"), ms=0.500), measured(recipe("a", "b"), ms=0.505)
    simplest = measured(recipe("a"), ms=0.5101)
    report = judged(ORIGINAL, simplest, middle, best)
    assert won(report, middle)
    assert row_of(report, simplest).lost == "costs 1.01x the winner"


def test_one_that_is_ahead_of_the_winner_lost_to_the_best() -> None:
    """The winner's rounds differ so much that it may be as fast as the best; the one between is surely not."""
    best, between = measured(recipe("a", "b", "c"), ms=0.50), measured(recipe("a", "b"), ms=0.515)
    ragged = measured(recipe("a"), ms=0.52, wobble=0.05)
    report = judged(ORIGINAL, best, between, ragged)
    assert won(report, ragged)
    assert row_of(report, best).lost == "indistinguishable from the winner, which is simpler"
    assert row_of(report, between).lost == "costs 1.03x the best, from which the winner is indistinguishable"


def test_two_rivals_of_the_best_are_told_so_when_the_simpler_of_them_wins() -> None:
    best, near = measured(recipe("a", "b", "c"), ms=0.500), measured(recipe("a", "b"), ms=0.502)
    simplest = measured(recipe("a"), ms=0.504)
    report = judged(ORIGINAL, best, near, simplest)
    assert won(report, simplest)
    assert row_of(report, near).lost == "indistinguishable from the best, as is the winner, which is simpler"


def test_slower_than_the_original_is_no_reason_where_the_winner_is_slower_too() -> None:
    small, smaller = (measured(recipe(name), ms=ms, size_bytes=500_000) for name, ms in (("a", 1.5), ("b", 1.2)))
    report = judged(ORIGINAL, small, smaller, by=plan(size_mb=1))
    assert won(report, smaller)
    assert report.headline.startswith("b on cpu takes 1.20x the original's compute, so costs 1.20x as much")
    assert row_of(report, small).lost == "costs 1.25x the winner"


# ---------------------------------------------------------------------------------------- objectives


def test_with_traffic_whole_machines_are_compared_and_then_machine_time() -> None:
    """1,500 a second at the peak: the original needs 2 machines, both others one; the faster of the two wins."""
    fast, middling = measured(recipe("a"), ms=0.3), measured(recipe("b"), ms=0.6)
    report = judged(ORIGINAL, middling, fast, by=plan(usd_per_hour=0.09, requests_per_second=500, peak_to_mean=3))
    assert won(report, fast)
    assert row_of(report, ORIGINAL).lost == "costs 2.00x the winner: needs 2 machines at the peak instead of 1"
    assert row_of(report, middling).lost == (
        "costs the same at this traffic, but 2.00x the winner on machines that never idle"
    )
    # One machine at 0.09 USD an hour for 500 * 3600 inferences an hour: 0.05 USD a million.
    assert report.headline.startswith(
        "a on cpu costs $0.0500 per million at this traffic, 2.00x less than the original"
    )


def test_a_saving_that_this_traffic_does_not_show_is_told_as_such() -> None:
    report = judged(ORIGINAL, QUANTISED, by=plan(usd_per_hour=0.09, requests_per_second=1))
    assert report.headline.startswith(
        "int8_static on cpu costs $25.0 per million at this traffic, as the original does, "
        "and 2.00x less than the original on machines that never idle"
    )


def test_without_a_price_the_saving_is_told_in_compute() -> None:
    report = judged(ORIGINAL, QUANTISED)
    assert report.headline.startswith("int8_static on cpu takes 1/2.0 of the original's compute, so costs 2.00x less; ")
    assert any(note.startswith("no price is known") for note in report.notes)


def test_for_latency_the_shortest_call_wins_though_a_batch_be_cheaper() -> None:
    batched = measured(ms=2.0, batch=8)
    report = judged(ORIGINAL, batched, QUANTISED, by=plan(objective="latency"))
    assert won(report, QUANTISED)
    assert won(judged(ORIGINAL, batched, QUANTISED, by=plan(objective="cost")), batched)
    assert report.headline.startswith(
        "int8_static on cpu in batches of 1 answers 95 % of calls within 0.520 ms, 2.00x faster than the original"
    )
    assert row_of(report, batched).lost == "p95 under 2.08 ms, that of the winner under 0.520 ms"


def test_equal_medians_with_unequal_tails_are_told_apart_by_latency_and_not_by_cost() -> None:
    steady = measured(recipe("a", "b"), ms=0.5, spread=0.01)
    ragged = measured(recipe("a"), ms=0.5, spread=0.5)
    assert won(judged(ORIGINAL, steady, ragged, by=plan(objective="latency")), steady)
    assert won(judged(ORIGINAL, steady, ragged, by=plan(objective="cost")), ragged)


def test_a_batch_of_two_that_takes_the_originals_time_for_one_answers_no_sooner() -> None:
    batched = measured(recipe("a"), ms=1.0, batch=2)
    for calls in (40, 4):
        original = measured(calls=calls)
        report = judged(original, batched, by=plan(objective="latency"))
        assert report.keep_original
        assert row_of(report, batched).lost == "indistinguishable from the winner, which is simpler"


def test_with_too_few_calls_a_batch_counts_by_its_whole_call() -> None:
    few, batched = measured(recipe("a"), ms=0.5, calls=4), measured(recipe("b"), ms=2.0, batch=8)
    report = judged(ORIGINAL, batched, few, by=plan(objective="latency"))
    assert won(report, few)
    assert row_of(report, batched).lost == "a median call takes 4.00x the time of the winner"


def test_with_too_few_calls_for_a_p95_the_median_call_decides_and_the_report_says_so() -> None:
    few = measured(recipe("a"), ms=0.5, calls=4)
    report = judged(ORIGINAL, few, by=plan(objective="latency"))
    assert won(report, few)
    assert report.headline.startswith("a on cpu answers 2.00x faster than the original (median call)")
    assert any("ordered by their median call" in note for note in report.notes)


def test_for_size_the_smallest_file_wins_and_half_a_percent_is_no_difference() -> None:
    small = measured(recipe("int8_static"), size_bytes=320_000)
    as_small = measured(recipe("a", "b"), size_bytes=319_000)
    report = judged(ORIGINAL, small, as_small, by=plan(objective="size"))
    assert won(report, small)
    assert report.headline.startswith("int8_static on cpu is 320 kB, 3.94x smaller than the original")
    assert row_of(report, ORIGINAL).lost == "is 3.94x the size of the winner"


def test_energy_is_refused_where_nobody_knows_what_the_processor_draws() -> None:
    with pytest.raises(ConfigError, match="energy is not known here: no power is published for this processor"):
        judged(ORIGINAL, by=plan(objective="energy"))


# ---------------------------------------------------------------------------------------- limits


def test_a_drop_whose_interval_straddles_the_limit_is_undecided_and_says_what_would_decide() -> None:
    near = measured(recipe("int8_static"), ms=0.5, correct=3670, swapped=60)
    row = row_of(judged(ORIGINAL, near, by=plan(accuracy_drop=0.01)), near)
    assert row.drop is not None
    assert row.drop.certified is None
    assert row.meets is None
    assert [(one.limit, one.undecided) for one in row.refusals] == [("accuracy_drop", True)]
    assert row.drop.samples_to_decide is not None
    assert row.lost == (
        "accuracy undecided: -0.75 points [-1.36, -0.15], limit -1.00 points; needs about 24,000 samples, has 4,000"
    )


def test_the_number_of_samples_that_would_decide_does_decide() -> None:
    """The same rates of lost and gained on so many samples: the interval lies inside."""
    near = measured(recipe("int8_static"), correct=3670, swapped=60)
    row = row_of(judged(ORIGINAL, near, by=plan(accuracy_drop=0.01)), near)
    assert row.drop is not None
    assert row.drop.samples_to_decide is not None
    times = math.ceil(row.drop.samples_to_decide / 4000)
    original = measured(correct=CORRECT * times, samples=4000 * times)
    more = measured(recipe("int8_static"), correct=3670 * times, swapped=60 * times, samples=4000 * times)
    assert row_of(judged(original, more, by=plan(accuracy_drop=0.01)), more).meets is True


@pytest.mark.parametrize(("correct", "certified"), [(3700, True), (3500, False)])
def test_a_drop_is_certified_or_refused_when_its_whole_interval_lies_on_one_side(correct: int, certified: bool) -> None:
    other = measured(recipe("int8_static"), correct=correct)
    drop = row_of(judged(ORIGINAL, other, by=plan(accuracy_drop=0.01)), other).drop
    assert drop is not None
    assert drop.certified is certified
    assert drop.samples_to_decide is None


def test_the_original_never_drops() -> None:
    drop = row_of(judged(ORIGINAL, by=plan(accuracy_drop=0.0)), ORIGINAL).drop
    assert drop is not None
    assert (drop.drop.low, drop.drop.value, drop.drop.high, drop.certified) == (0, 0, 0, True)
    assert drop.value == CORRECT / 4000


def test_a_limit_of_zero_can_not_be_proven_by_a_candidate_that_equals_the_original() -> None:
    twin = measured(recipe("slim"), ms=0.5)
    row = row_of(judged(ORIGINAL, twin, by=plan(accuracy_drop=0.0)), twin)
    assert row.meets is None
    assert row.lost is not None
    assert row.lost.endswith("the estimate sits on the limit, so more samples may not decide")


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (plan(p95_ms=0.49), "p95 0.518 ms is over 0.49 ms by 5.7 %"),
        (plan(p95_ms=0.5185), "p95 undecided: 0.518 ms seen, under 0.520 ms for certain, limit 0.5185 ms"),
        (plan(usd_per_million=0.01, usd_per_hour=0.09), "$0.0125 per million is over $0.01 by 25 %"),
        (
            plan(usd_per_million=10, usd_per_hour=0.09, requests_per_second=1),
            "$25.0 per million is 2.50x the limit of $10",
        ),
        (plan(size_mb=1), "1.26 MB is over 1 MB by 26 %"),
        (plan(memory_mb=20), "peak memory 50.0 MB is 2.50x the limit of 20 MB"),
    ],
)
def test_a_limit_that_is_missed_says_by_how_much(by: Plan, words: str) -> None:
    report = judged(ORIGINAL, QUANTISED, by=by)
    assert report.verdict == "not_met"
    assert row_of(report, QUANTISED).lost == words


@pytest.mark.parametrize(
    "by",
    [
        plan(accuracy_drop=0.01, p95_ms=0.52),
        plan(usd_per_million=0.0126, usd_per_hour=0.09),
        plan(usd_per_million=25.0001, usd_per_hour=0.09, requests_per_second=1),
        plan(size_mb=1.26),
        plan(memory_mb=50),
    ],
)
def test_a_limit_that_is_kept_is_met(by: Plan) -> None:
    row = row_of(judged(ORIGINAL, QUANTISED, by=by), QUANTISED)
    assert (row.meets, row.refusals) == (True, ())


def test_too_few_calls_leave_the_p95_undecided() -> None:
    few = measured(recipe("int8_static"), ms=0.5, calls=8)
    row = row_of(judged(ORIGINAL, few, by=plan(p95_ms=5)), few)
    assert row.meets is None
    assert (row.refusals[0].value, row.refusals[0].undecided) == (None, True)
    assert row.lost == "p95 needs 130 samples, has 40"


def test_a_limit_on_cost_without_a_price_names_the_line_to_add() -> None:
    with pytest.raises(ConfigError, match=r"add `machine: \{instance: aws/c7i.large\}`"):
        quote_for(plan(usd_per_million=1))
    with pytest.raises(ConfigError, match="usd_per_million"):
        judged(ORIGINAL, by=plan(usd_per_million=1))


# ---------------------------------------------------------------------------------------- nothing meets


def test_when_nothing_meets_the_nearest_is_named_with_the_limit_and_the_gap() -> None:
    report = judged(ORIGINAL, QUANTISED, SLOWER, by=plan(p95_ms=0.4))
    assert report.verdict == "not_met"
    assert report.winner is None
    assert not report.keep_original
    assert report.headline == (
        "Nothing meets the budget: the nearest, int8_static on cpu, misses p95_ms by 0.118 ms (0.518 against 0.4)"
    )
    assert report.nearest == (QUANTISED.candidate.id, ORIGINAL.candidate.id, SLOWER.candidate.id)


@pytest.mark.parametrize(
    ("by", "gap"),
    [
        (plan(usd_per_hour=0.09, usd_per_million=0.01), "misses usd_per_million by $0.00250 ($0.0125 against 0.01)"),
        (plan(size_mb=1), "misses size_mb by 260 kB (1.26 against 1)"),
        (plan(memory_mb=40), "misses memory_mb by 10.0 MB (50.0 against 40)"),
    ],
)
def test_the_gap_is_told_in_the_limits_own_unit(by: Plan, gap: str) -> None:
    assert judged(ORIGINAL, QUANTISED, by=by).headline.endswith(gap)


def test_a_missed_accuracy_is_told_in_points() -> None:
    slow_original = measured(ms=1.0, spread=0.04)
    report = judged(slow_original, WORSE, by=plan(accuracy_drop=0.01, p95_ms=0.5))
    assert report.headline.endswith("misses p95_ms by 0.536 ms (1.04 against 0.5)")
    report = judged(slow_original, WORSE, by=plan(accuracy_drop=0.03, p95_ms=0.5))
    assert report.headline.endswith(
        "int8_dynamic on cpu, misses accuracy_drop by 2.00 points (5.00 points against 3.00 points)"
    )


def test_what_is_only_undecided_is_nearer_than_what_is_refused() -> None:
    few = measured(recipe("a"), ms=9.0, calls=8)
    report = judged(ORIGINAL, few, by=plan(p95_ms=1.0))
    assert report.nearest == (few.candidate.id, ORIGINAL.candidate.id)
    assert report.headline == (
        "Nothing provably meets the budget: the nearest is a on cpu (p95 needs 130 samples, has 40)"
    )


def test_at_most_three_are_called_nearest() -> None:
    others = [measured(recipe(name), ms=1 + place / 10) for place, name in enumerate("abcde")]
    assert len(judged(ORIGINAL, *others, by=plan(p95_ms=0.1)).nearest) == 3


# ---------------------------------------------------------------------------------------- what was not measured


def test_failures_are_rows_with_their_reason() -> None:
    failed = Failed(Candidate(recipe("fp16"), "cpu", 1, 2), "export", "no kernel for Conv(float16)")
    invalid = Invalid(Candidate((), "cuda", 1, 2), "CUDA took no node", "install onnxruntime-gpu")
    skipped = Skipped(Candidate(recipe("slim"), "cpu", 1, 2), "nothing to fold")
    report = judged(ORIGINAL, failed, invalid, skipped)
    rows = [row_of(report, one) for one in (failed, invalid, skipped)]
    assert [row.status for row in rows] == ["failed", "invalid", "skipped"]
    assert [row.lost for row in rows] == [
        "failed at export: no kernel for Conv(float16)",
        "CUDA took no node",
        "nothing to fold",
    ]
    assert rows[1].fix == "install onnxruntime-gpu"
    assert all(row.meets is None for row in rows)
    assert report.finished


def test_an_unfinished_run_says_so() -> None:
    of = run([ORIGINAL, QUANTISED, SLOWER])
    report = judge(of, (ORIGINAL,), plan(), TODAY)
    assert not report.finished
    assert [row.lost for row in report.rows[1:]] == ["not measured yet"] * 2
    assert "2 of 3 candidates are not measured yet: the answer may change" in report.notes


def test_only_candidates_of_the_run_are_judged() -> None:
    report = judge(run([ORIGINAL]), (ORIGINAL, QUANTISED), plan(), TODAY)
    assert [row.candidate for row in report.rows] == [ORIGINAL.candidate]


def test_without_the_original_nothing_can_be_judged() -> None:
    report = judge(run([ORIGINAL, QUANTISED]), (QUANTISED,), plan(accuracy_drop=0.01), TODAY)
    assert report.verdict == "not_met"
    assert report.headline.startswith("Nothing can be judged: the original was not measured")
    assert row_of(report, QUANTISED).lost == "not judged: the original was not measured"
    assert row_of(report, QUANTISED).latency is not None


def test_an_empty_run_is_no_crash() -> None:
    assert judge(run([ORIGINAL]), (), plan(), TODAY).verdict == "not_met"


# ---------------------------------------------------------------------------------------- what a reader must know


def test_speed_ups_are_per_inference_beside_the_original() -> None:
    batched = measured(ms=4.0, batch=8)
    report = judged(ORIGINAL, batched)
    row = row_of(report, batched)
    assert row.speedup is not None
    assert row.speedup.value == pytest.approx(2)
    assert row.throughput_per_s == pytest.approx(2000)
    assert row_of(report, ORIGINAL).speedup is not None
    assert "speed-ups are per inference, against the original on cpu in batches of 1" in report.notes
    assert "latency is per call, and a call serves a whole batch" in report.notes


def test_agreement_is_not_called_accuracy() -> None:
    agreement, original = Spec("agreement"), "original"
    same = measured(correct=4000, metric=agreement, against="original")
    other = measured(recipe("int8_static"), ms=0.5, correct=3968, metric=agreement, against="original")
    of = run([same, other], metric=agreement, against="original")
    report = judged(same, other, by=plan(accuracy_drop=0.02), of=of)
    assert report.headline.endswith("agrees with the original on 99.20 % of samples [98.87 %, 99.43 %], certified")
    assert f"there are no labels: the score is agreement with the {original}, which may itself be wrong" in report.notes


def test_no_accuracy_limit_is_said_aloud() -> None:
    report = judged(ORIGINAL, WORSE)
    assert won(report, WORSE)
    assert report.headline.endswith("accuracy -5.00 points [-5.72, -4.37], no accuracy limit set")
    assert "the winner is certainly worse than the original: accuracy -5.00 points [-5.72, -4.37]" in report.notes


@pytest.mark.parametrize(("days", "old"), [(90, False), (91, True)])
def test_a_price_older_than_a_quarter_is_called_old(days: int, old: bool) -> None:
    today = datetime.date(2026, 7, 20) + datetime.timedelta(days)
    report = judge(run([ORIGINAL]), (ORIGINAL,), plan(instance="aws/c7i.large"), today)
    note = f"the price of aws/c7i.large is of 2026-07-20, {days} days old: check it"
    assert (note in report.notes) is old


def test_amounts_are_shown_in_a_currency_of_ones_own_at_its_dated_rate() -> None:
    by = replace(plan(usd_per_hour=3.6), currency=Currency("EUR", 1.25, "2026-11-01"))
    notes = judged(ORIGINAL, by=by).notes
    assert (
        "at 1 EUR = 1.25 USD of 2026-11-01, an hour of the machine is 2.88 EUR and a million of the winner 0.800 EUR"
        in notes
    )
    assert not any("EUR" in note for note in judged(ORIGINAL, by=plan(usd_per_hour=3.6)).notes)


def test_a_price_for_another_machine_than_the_measured_one_is_pointed_out() -> None:
    notes = judged(ORIGINAL, by=plan(instance="aws/c7i.large")).notes
    assert any("Example CPU at 2.0 GHz (2 cores), the price is that of aws/c7i.large" in note for note in notes)
    assert not any("Example CPU" in note for note in judged(ORIGINAL, by=plan(usd_per_hour=0.09)).notes)


def test_a_machine_that_was_not_quiet_is_pointed_out() -> None:
    restless = replace(ORIGINAL, timing=measured(ms=1.1).timing)
    notes = judged(restless).notes
    assert any("the original against itself came out at 0.91x [0.90x, 0.92x]" in note for note in notes)
    assert not any("against itself" in note for note in judged(ORIGINAL).notes)


def test_what_the_run_noted_is_passed_on() -> None:
    assert (
        "calibration used the evaluation inputs"
        in judged(ORIGINAL, of=run([ORIGINAL], notes=("calibration used the evaluation inputs",))).notes
    )


def test_a_run_can_not_be_judged_by_a_metric_that_it_was_not_scored_with() -> None:
    with pytest.raises(ConfigError, match="this run was scored with top1, not f1"):
        judged(ORIGINAL, by=plan(metric=Spec("f1")))


def test_at_traffic_fewer_machines_win_unless_noise_made_the_difference() -> None:
    """Just under and just over one machine's capacity: the same speed, so the simpler wins."""
    under, over = measured(recipe("a", "b"), ms=0.4995), measured(recipe("a"), ms=0.5005)
    by = replace(plan(usd_per_hour=0.09), traffic=Traffic(2000, 1))
    report = judged(ORIGINAL, under, over, by=by)
    assert [row.usd.instances for row in report.rows if row.usd] == [2, 1, 2]
    assert won(report, over)


def test_twenty_candidates_of_four_thousand_samples_are_judged_in_half_a_second() -> None:
    """Processor time, so that a busy machine does not matter; the limit for the whole command is one second."""
    found = twenty()
    judge(run(found), found, plan(accuracy_drop=0.01), TODAY)  # imports scipy
    began = time.process_time()
    judge(run(found), found, plan(accuracy_drop=0.01), TODAY)
    assert time.process_time() - began < 0.5
