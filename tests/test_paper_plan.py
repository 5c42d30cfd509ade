"""`costopt plan --arch`: which machine is chosen for a model that is not here, and what is said of it."""

import datetime
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costopt.distributing import (
    big_or_small,
    paper,
    paper_asked,
    paper_facts,
    paper_sheet,
    paper_words,
    spreading,
    wins,
)  # fmt: skip
from costopt.distributing.on_paper import on_paper
from costopt.distributing.pace import pace
from costopt.distributing.paper import Paper, PaperRow
from costopt.distributing.paper_options import Options
from costopt.distributing.replicas import least_copies
from costopt.pricing import book
from costopt.pricing.book import Book
from costopt.reports import markdown, table
from tests.test_reports import GOLDEN

BOOK = book.overlaid(book.read(book.SHIPPED), ())
TODAY = datetime.date(2026, 8, 1)
LLAMA = Options("llama", params=70e9, context=8192, rate=3.0)
SMALL_LLAMA = Options("llama", params=8e9, context=8192, rate=3.0, ttft_ms=500, tpot_ms=30)
MIXTRAL = Options("mixtral", params=46.7e9, layers=32, hidden=4096, heads=32, kv_heads=8, rate=3.0)
MINILM = Options("encoder", params=22.7e6, tokens=128, rate=500.0, p99_ms=20)


def some(*instances: str) -> Book:
    """A book of these machines only."""
    return Book({key: one for key, one in BOOK.offers.items() if one.instance in instances})


FEW = some(
    "aws/c7g.4xlarge", "aws/g6.xlarge", "aws/g6.12xlarge", "aws/p4d.24xlarge", "aws/p5.48xlarge", "aws/inf2.48xlarge",
    "aws/f2.6xlarge", "gcp/tpu-v5e", "gcp/e2-standard-4", "vast/1x-H100_SXM-32-65536",
)  # fmt: skip


def planned(options: Options = LLAMA, prices: Book = FEW) -> Paper:
    return on_paper(options, None, (), prices)


def at(found: Paper, instance: str) -> PaperRow:
    return next(row for row in found.rows if row.offer.instance == instance)


def usd(found: Paper) -> float:
    assert found.choice is not None
    assert found.choice.fleet is not None
    return found.choice.fleet.month_usd


# ---------------------------------------------------------------------------------------- what is chosen


@pytest.mark.parametrize(("name", "options"), [("llama", LLAMA), ("minilm", MINILM)])
@pytest.mark.parametrize("form", ["table.100.txt", "md"])
def test_a_plan_on_paper_reads_as_it_did(
    name: str, options: Options, form: str, request: pytest.FixtureRequest
) -> None:
    sheet = paper_sheet.sheet(planned(options), TODAY)
    shown = markdown.written(sheet) if form == "md" else table.written(sheet, 100)
    golden = GOLDEN / f"paper_{name}.{form}"
    if request.config.getoption("--update-golden"):
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")


def test_llama_70b_takes_two_h100s_for_its_weights_alone() -> None:
    found = at(planned(), "aws/p5.48xlarge").found
    assert min(way.spread.chips for way in found.ways) == 4  # two for 140 GB, and 8192 tokens of state on top
    small = on_paper(replace(LLAMA, context=700), None, (), FEW)
    assert min(way.spread.chips for way in at(small, "aws/p5.48xlarge").found.ways) == 2


def test_a_machine_that_is_too_small_and_has_no_network_figure_says_how_many_chips_it_lacks() -> None:
    row = at(planned(), "vast/1x-H100_SXM-32-65536")
    assert row.verdict == "can't run"
    assert row.words == (
        "needs 145 GB, can fill 72.0 GB of 80.0 GB: 3 chips, it has 1; what its network sustains is not known, so "
        "nothing is spread over several"
    )


def test_small_machines_join_in_a_pipeline_where_their_network_is_known() -> None:
    row = at(planned(), "aws/g6.xlarge")
    assert row.fleet is not None
    assert row.fleet.way.spread.stages == row.fleet.way.spread.machines > 7
    assert row.fleet.instances % row.fleet.way.spread.machines == 0


def test_fpgas_and_unknown_processors_are_said_to_run_nothing() -> None:
    found = planned()
    assert "no maintained ONNX Runtime execution provider for FPGAs" in at(found, "aws/f2.6xlarge").words
    assert at(found, "gcp/e2-standard-4").words == "nothing known of its processor"


def test_another_toolchain_is_undecided_at_best() -> None:
    cheap = replace(at(planned(SMALL_LLAMA), "gcp/tpu-v5e").offer, usd_per_hour=0.001)
    found = planned(SMALL_LLAMA, Book({one.key: one for one in (*FEW.offers.values(), cheap)}))
    row = at(found, "gcp/tpu-v5e")
    assert row.verdict == "undecided"
    assert row.words == "another toolchain (XLA): port it and measure: about $0.00200 (an hour)"
    assert found.choice is not row


def test_a_limit_within_the_band_is_undecided_and_says_what_measuring_costs() -> None:
    row = at(planned(SMALL_LLAMA, some("aws/g6e.xlarge")), "aws/g6e.xlarge")
    assert row.fleet is not None
    step_ms = 1e3 * row.fleet.pace.step_s
    for factor, verdict in ((0.6, "impossible"), (1.0, "undecided"), (1.5, "meets")):
        limit = replace(SMALL_LLAMA, ttft_ms=None, tpot_ms=_alone_ms("aws/g6e.xlarge") * factor)
        assert at(planned(limit, some("aws/g6e.xlarge")), "aws/g6e.xlarge").verdict == verdict, (step_ms, factor)
    within = replace(SMALL_LLAMA, ttft_ms=None, tpot_ms=_alone_ms("aws/g6e.xlarge"))
    words = at(planned(within, some("aws/g6e.xlarge")), "aws/g6e.xlarge").words
    assert words == "the margin lies within 35 %; measure: about $1.86 (an hour)"


def _alone_ms(instance: str) -> float:
    """A step of the 8B model for one request, as projected."""
    asked = paper_asked.read(SMALL_LLAMA, None, (), FEW)
    row = paper.row(asked, some(instance).of(instance)[0])
    return 1e3 * min(pace(asked.workload, way, 1).step_s for way in row.found.ways)


def test_a_processor_below_32_bits_is_undecided_at_best() -> None:
    """AMX has 16 times the fp32 rate; what share of it a small model reaches was never measured."""
    sixteen, whole = (at(planned(replace(MINILM, bits=bits, p99_ms=200)), "aws/c7g.4xlarge") for bits in (16, 32))
    assert (sixteen.verdict, whole.verdict) == ("undecided", "meets")
    told = "only fp32 was held against measurements on a processor: plan with --bits 32, or measure: about $0.580"
    assert sixteen.words == f"{told} (an hour)"


def test_a_margin_within_the_band_does_not_hide_another_toolchain() -> None:
    few = some("gcp/tpu-v6e")
    quickest = paper.row(paper_asked.read(SMALL_LLAMA, None, (), few), few.of("gcp/tpu-v6e")[0])
    assert quickest.fleet is not None
    step_ms = min(1e3 * pace(paper_asked.read(SMALL_LLAMA, None, (), few).workload, way, 1).step_s
                  for way in quickest.found.ways)  # fmt: skip
    row = at(planned(replace(SMALL_LLAMA, ttft_ms=None, tpot_ms=step_ms), few), "gcp/tpu-v6e")
    assert row.verdict == "undecided"
    assert row.words.endswith("; another toolchain (XLA)")


def test_a_choice_without_a_date_of_its_price_says_so() -> None:
    undated = planned(SMALL_LLAMA, some("vast/1x-H100_SXM-32-65536"))
    notes = tuple(paper_words.notes(undated, TODAY))
    assert "the price of vast/1x-H100_SXM-32-65536 has no date: check it" in notes


def test_what_does_not_fit_is_not_said_to_have_been_spread_over_more_machines_than_it_has_layers() -> None:
    deep = Options("decoder", params=900e9, layers=3, hidden=8192, heads=64, kv_heads=8, rate=1)
    row = at(planned(deep, some("aws/g6.xlarge")), "aws/g6.xlarge")
    assert row.words.endswith("; 3 of them don't hold it either")


def test_what_is_impossible_names_the_nearest_and_by_how_much() -> None:
    found = planned(replace(LLAMA, ttft_ms=1))
    assert found.choice is None
    sheet = paper_sheet.sheet(found, TODAY)
    assert sheet.headline.startswith("Impossible on any number of these machines: the nearest, aws/p5.48xlarge: TTFT ")
    assert "at the fast end, the limit 1 ms (" in sheet.headline


def test_bills_whose_ranges_overlap_are_indistinguishable_but_not_on_equal_chips() -> None:
    h100 = at(planned(SMALL_LLAMA), "vast/1x-H100_SXM-32-65536").offer
    a100 = BOOK.of("vast/1x-A100_PCIE-32-65536")[0]
    dear = replace(h100, instance="vast/dear", usd_per_hour=h100.usd_per_hour * 1.01)
    offers = (h100, dear, replace(a100, usd_per_hour=h100.usd_per_hour / 2.1))
    found = planned(replace(SMALL_LLAMA, rate=100.0), Book({one.key: one for one in offers}))
    assert found.choice is not None
    alike = {row.offer.instance for row in found.alike}
    chosen = found.choice.offer.instance
    assert "vast/dear" not in alike or chosen == a100.instance
    assert alike & {h100.instance, a100.instance}


def test_smaller_steps_of_the_same_chip_are_indistinguishable_where_the_fast_end_needs_fewer() -> None:
    """4 cores stand against 2 x 2 of them at the same price; were times a third shorter, 2 would do."""
    encoder = Options("encoder", params=12e6, bits=32, rate=20.0, p99_ms=60)
    found = planned(encoder, some("aws/c7g.xlarge", "aws/c7g.large"))
    assert found.choice is not None
    assert found.choice.offer.instance == "aws/c7g.xlarge"
    small = at(found, "aws/c7g.large")
    assert usd(found) == pytest.approx(105.85)
    assert small.low_usd == pytest.approx(52.925)
    assert found.alike == (small,)


# ---------------------------------------------------------------------------------------- what must hold


rates = st.floats(0.1, 200)


@settings(max_examples=10, deadline=None)
@given(rates, st.sampled_from([SMALL_LLAMA, MINILM]))
def test_more_traffic_never_costs_less(rate: float, options: Options) -> None:
    assert usd(planned(replace(options, rate=rate))) <= usd(planned(replace(options, rate=2 * rate)))


@settings(max_examples=10, deadline=None)
@given(rates, st.integers(50, 2000), st.integers(10, 500))
def test_more_tokens_never_cost_less(rate: float, prompt: int, answer: int) -> None:
    base = replace(LLAMA, rate=rate, prompt_tokens=prompt, answer_tokens=answer)
    cost = usd(planned(base))
    assert cost <= usd(planned(replace(base, prompt_tokens=prompt + 100)))
    assert cost <= usd(planned(replace(base, answer_tokens=answer + 50)))


@settings(max_examples=10, deadline=None)
@given(rates, st.floats(200, 5000), st.floats(20, 200))
def test_a_looser_limit_never_costs_more(rate: float, ttft_ms: float, tpot_ms: float) -> None:
    base = replace(SMALL_LLAMA, rate=rate, ttft_ms=ttft_ms, tpot_ms=tpot_ms)
    found = planned(base)
    if found.choice is not None:
        assert usd(planned(replace(base, ttft_ms=1.3 * ttft_ms))) <= usd(found)
        assert usd(planned(replace(base, tpot_ms=1.3 * tpot_ms))) <= usd(found)
        assert usd(planned(replace(base, ttft_ms=None, tpot_ms=None))) <= usd(found)


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(sorted(FEW.offers)), st.floats(0.05, 1))
def test_a_cheaper_price_never_raises_the_bill(key: tuple[str, str], factor: float) -> None:
    cheaper = replace(FEW.offers[key], usd_per_hour=factor * FEW.offers[key].usd_per_hour)
    assert usd(planned(SMALL_LLAMA, Book(dict(FEW.offers) | {key: cheaper}))) <= usd(planned(SMALL_LLAMA))


def test_doubling_every_price_doubles_the_bill_and_keeps_the_choice() -> None:
    double = Book({key: replace(one, usd_per_hour=2 * one.usd_per_hour) for key, one in FEW.offers.items()})
    here, there = planned(SMALL_LLAMA), planned(SMALL_LLAMA, double)
    assert usd(there) == pytest.approx(2 * usd(here))
    assert here.choice is not None
    assert there.choice is not None
    assert here.choice.offer.instance == there.choice.offer.instance


def test_prompts_and_answers_share_the_whole_bill() -> None:
    found = planned(LLAMA)
    assert found.choice is not None
    million = paper.at_traffic(found.asked, found.choice)
    assert million is not None
    assert million.answer_usd is not None
    month = 3.0 * 3600 * 730 * (550 * million.prompt_usd + 150 * million.answer_usd) / 1e6
    assert month == pytest.approx(usd(found))


def test_fewer_bits_need_fewer_chips_and_never_cost_more() -> None:
    bills = [usd(planned(replace(LLAMA, bits=bits))) for bits in (16, 8, 4)]
    assert bills == sorted(bills, reverse=True)
    four = at(planned(replace(LLAMA, bits=4)), "vast/1x-H100_SXM-32-65536")
    assert four.verdict == "meets"


def test_a_spare_machine_is_a_whole_group_where_a_copy_takes_one(tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.yaml"
    traffic.write_text("requests_per_second: 3\nspare: 1\nmachines: [aws/g6.xlarge]\n")
    found = on_paper(replace(LLAMA, rate=None), traffic, (), FEW)
    assert [row.offer.instance for row in found.rows] == ["aws/g6.xlarge"]
    assert found.choice is not None
    assert found.choice.fleet is not None
    assert found.choice.fleet.spare == found.choice.fleet.way.spread.machines
    assert usd(found) == pytest.approx((found.choice.fleet.instances + found.choice.fleet.spare) * 0.8048 * 730)


def test_machines_are_for_the_busiest_hour_and_egress_for_the_mean(tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.yaml"
    base = "machines: [aws/g6e.xlarge]\np99_ms: 20000\n"

    def of(lines: str) -> PaperRow:
        traffic.write_text(base + lines)
        return at(on_paper(replace(LLAMA, params=8e9, rate=None), traffic, (), BOOK), "aws/g6e.xlarge")

    mean, busy = of("requests_per_second: 10\n"), of("requests_per_second: 10\npeak_to_mean: 4\n")
    same, sent = of("requests_per_second: 40\n"), of(
        "requests_per_second: 10\npeak_to_mean: 4\negress: {bytes_per_response: 100000, usd_per_gb: 0.09}\n"
    )  # fmt: skip
    assert mean.fleet is not None
    assert busy.fleet is not None
    assert same.fleet is not None
    assert sent.fleet is not None
    assert mean.fleet.instances < busy.fleet.instances == same.fleet.instances == sent.fleet.instances
    assert sent.fleet.month_usd - busy.fleet.month_usd == pytest.approx(10 * 3600 * 730 * 1e5 / 1e9 * 0.09)


def test_two_bills_are_told_apart_only_where_the_whole_range_of_one_lies_above_the_other() -> None:
    options = replace(SMALL_LLAMA, rate=100.0)
    base = some("vast/1x-H100_SXM-32-65536", "vast/1x-A100_PCIE-32-65536")
    first = planned(options, base)
    other = next(row for row in first.rows if row is not first.choice)
    assert other.low_usd is not None
    for share, alike in ((0.99, True), (1.01, False)):
        dearer = share * usd(first) / other.low_usd * other.offer.usd_per_hour
        moved = {
            one.key: replace(one, usd_per_hour=dearer) if one == other.offer else one for one in base.offers.values()
        }
        found = planned(options, Book(moved))
        assert (other.offer.instance in {row.offer.instance for row in found.alike}) == alike, share


def test_what_a_traffic_file_says_and_a_paper_plan_leaves_out_is_told(tmp_path: Path) -> None:
    traffic, log = tmp_path / "traffic.yaml", tmp_path / "log.csv"
    log.write_text("\n".join(str(second + place / 1000) for second in range(0, 120, 10) for place in range(100)))
    traffic.write_text("arrivals: log.csv\nwork: {hours: 8, usd_per_hour: 90}\n")
    told = on_paper(replace(LLAMA, rate=None), traffic, (), FEW).asked.notes
    assert "not planned with on paper, though the traffic file has it: work" in told
    assert any(note.startswith("arrivals come in bursts: ") for note in told)


def test_the_traffic_files_percentile_limits_the_whole_answer(tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.yaml"
    traffic.write_text("requests_per_second: 3\np95_ms: 8000\n")
    found = on_paper(replace(LLAMA, rate=None), traffic, (), FEW)
    assert (found.asked.limits.share, found.asked.limits.whole_s) == (0.95, 8.0)
    assert found.choice is not None
    assert found.choice.fleet is not None
    assert found.choice.fleet.served.whole_s <= 8.0


# ---------------------------------------------------------------------------------------- which hardware wins


def test_the_winner_of_each_kind_of_work_is_the_cheapest_or_fastest_of_the_rows() -> None:
    found = planned(SMALL_LLAMA)
    told = wins.sentences(found)
    able = [row for row in found.rows if row.found.ways]
    cheapest = min(able, key=lambda row: wins.batch_usd(row, found.asked.workload))
    quickest = min(able, key=lambda row: wins.alone_s(row, found.asked.workload))
    assert told[0].startswith("batch work: ")
    assert f"({cheapest.offer.instance}" in told[0].partition(";")[0]
    assert f"({quickest.offer.instance}" in told[2].partition(";")[0]
    assert any(one.startswith("FPGA: nothing runs this there") for one in told)


def test_dense_work_is_told_by_how_many_chips_have_more_bytes_than_it_needs() -> None:
    told = wins.sentences(planned(LLAMA, some("aws/p5.48xlarge")))
    assert "a prompt is 552 operations a byte: on 1 of 1 chip operations decide, elsewhere memory" in told
    assert any("operations a byte: on 0 of 1 chip operations decide" in one for one in told)  # H100: 295 a byte


def test_whether_operations_decide_is_told_by_the_rates_that_chips_reach() -> None:
    """An L40S: 0.5 of 362 TFLOP/s over 0.75 of 864 GB/s are 279 operations a byte; at the peaks it would be 419."""
    told = wins.sentences(planned(replace(SMALL_LLAMA, prompt_tokens=300), some("aws/g6e.xlarge")))
    bound = next(one for one in told if one.startswith("a prompt is "))
    assert 279 < float(bound.split()[3]) < 419
    assert bound.endswith("on 1 of 1 chip operations decide, elsewhere memory")


def test_an_encoder_too_slow_for_its_limit_is_told_by_its_pass() -> None:
    row = at(planned(replace(MINILM, p99_ms=0.01)), "aws/g6.xlarge")
    assert row.verdict == "impossible"
    assert row.words.startswith("the pass 0.")


def test_the_number_of_chips_that_is_told_to_cost_least_does() -> None:
    found = planned(LLAMA, some("aws/p5.48xlarge"))
    row = found.choice
    assert row is not None
    assert row.fleet is not None
    batch = row.fleet.pace.batch
    ways = [way for way in row.found.ways if way.most >= batch]
    assert len(ways) > 1
    usd_of = {
        way.spread.chips: paper.saturated(row.offer, way, pace(found.asked.workload, way, batch)).requests_usd
        for way in ways
    }
    assert f"; {min(usd_of, key=usd_of.__getitem__)} cost least, " in spreading.sentences(found)[-1]


def test_one_big_machine_is_held_against_several_small_ones_with_the_cheaper_first() -> None:
    told = big_or_small.sentences(planned(LLAMA, some("aws/g6.xlarge", "aws/g6.12xlarge")))
    assert told[0].startswith("NVIDIA L4: ")
    assert "aws/g6.xlarge in groups of " in told[0]
    assert "; against " in told[0]


def test_one_queue_before_all_copies_needs_fewer_than_a_queue_each() -> None:
    found = planned(replace(MINILM, bits=32, rate=1000.0, p99_ms=15), some("aws/c7g.4xlarge"))
    assert found.choice is not None
    assert found.choice.fleet is not None
    apart = big_or_small.queues_apart(found.choice, 1000.0, found.asked.limits)
    assert apart is not None
    assert apart > found.choice.fleet.served.copies
    assert f"with a queue each, {apart} are needed" in big_or_small.sentences(found)[-1]


def test_queues_apart_are_found_as_by_trying_one_number_after_the_other() -> None:
    found = planned(replace(MINILM, bits=32, rate=1000.0, p99_ms=15), some("aws/c7g.4xlarge"))
    row, limits = found.choice, found.asked.limits
    assert row is not None
    assert row.fleet is not None
    slow = row.fleet.pace.times(row.fleet.factor)

    def enough(copies: int) -> bool:
        alone = least_copies(slow, 1000.0 / copies, limits)
        return alone is not None and alone.copies == 1

    tried = next(copies for copies in range(row.fleet.served.copies, 10_000) if enough(copies))
    assert big_or_small.queues_apart(row, 1000.0, limits) == tried


def test_queues_apart_of_a_hundred_thousand_copies_take_no_time() -> None:
    found = planned(replace(MINILM, bits=32, rate=1e7, p99_ms=20), some("aws/c7g.4xlarge"))
    assert found.choice is not None
    begin = time.process_time()
    big_or_small.sentences(found)
    assert time.process_time() - begin < 1.0


# ---------------------------------------------------------------------------------------- for programs


def test_programs_get_every_machine_labelled_projected() -> None:
    told: dict[str, Any] = json.loads(paper_facts.written(planned(SMALL_LLAMA), TODAY))
    assert (told["kind"], told["label"], told["verdict"]) == ("plan_on_paper", "projected", "met")
    assert len(told["rows"]) == len(FEW.offers)
    assert {row["label"] for row in told["rows"]} == {"projected"}
    fleet = told["rows"][0]["fleet"]
    assert fleet["sized_at"] == 1.35
    assert fleet["ttft_ms_at_size"] <= 500
    assert fleet["sized_at"] * fleet["tpot_ms"] <= 30
    assert fleet["bytes_per_chip"] < 0.9 * fleet["memory_bytes_per_chip"]


def test_the_whole_book_takes_less_than_two_seconds() -> None:
    begin = time.process_time()
    found = planned(LLAMA, BOOK)
    json.loads(paper_facts.written(found, TODAY))
    assert time.process_time() - begin < 2.0
    assert len(found.rows) >= 130
