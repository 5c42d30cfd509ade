"""`costopt plan --arch`: which machine is chosen for a model that is not here, what is said, and what is refused."""

import datetime
import json
import math
import subprocess
import sys
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
    paper_models,
    paper_sheet,
    paper_words,
    training_plan,
    wins,
)  # fmt: skip
from costopt.distributing.decoders import Answering, Decoder
from costopt.distributing.on_paper import on_paper
from costopt.distributing.pace import pace
from costopt.distributing.paper import Paper, PaperRow
from costopt.distributing.paper_options import Options
from costopt.distributing.replicas import least_copies
from costopt.distributing.training_plan import TrainingAsked
from costopt.errors import ConfigError, UsageError
from costopt.pricing import book
from costopt.pricing.book import Book
from costopt.pricing.offers import Offer
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


def test_one_big_machine_is_held_against_several_small_ones_with_the_cheaper_first() -> None:
    told = big_or_small.sentences(planned(LLAMA, some("aws/g6.xlarge", "aws/g6.12xlarge")))
    assert told[0].startswith("NVIDIA L4: ")
    assert "aws/g6.xlarge in groups of " in told[0]
    assert "; against " in told[0]


def test_one_queue_before_all_copies_needs_fewer_than_a_queue_each() -> None:
    found = planned(replace(MINILM, rate=3000.0, p99_ms=3), some("aws/c7g.4xlarge"))
    assert found.choice is not None
    assert found.choice.fleet is not None
    apart = big_or_small.queues_apart(found.choice, 3000.0, found.asked.limits)
    assert apart is not None
    assert apart > found.choice.fleet.served.copies
    assert f"with a queue each, {apart} are needed" in big_or_small.sentences(found)[-1]


def test_queues_apart_are_found_as_by_trying_one_number_after_the_other() -> None:
    found = planned(replace(MINILM, rate=3000.0, p99_ms=3), some("aws/c7g.4xlarge"))
    row, limits = found.choice, found.asked.limits
    assert row is not None
    assert row.fleet is not None
    slow = row.fleet.pace.times(row.fleet.factor)

    def enough(copies: int) -> bool:
        alone = least_copies(slow, 3000.0 / copies, limits)
        return alone is not None and alone.copies == 1

    tried = next(copies for copies in range(row.fleet.served.copies, 10_000) if enough(copies))
    assert big_or_small.queues_apart(row, 3000.0, limits) == tried


def test_queues_apart_of_a_hundred_thousand_copies_take_no_time() -> None:
    found = planned(replace(MINILM, rate=3e7, p99_ms=12), some("aws/c7g.4xlarge"))
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


# ---------------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options("lama", params=7e9, rate=1), r"--arch lama: unknown; did you mean llama\? There are llama, gpt"),
        (replace(LLAMA, params=0), "--params is 0: it must be more than 0"),
        (replace(LLAMA, params=float("nan")), "--params is nan: it must be more than 0"),
        (replace(LLAMA, params=math.inf), r"--params is over 1e\+18: it must be more than 0 and at most 1e\+18"),
        (replace(LLAMA, context=10**400), r"--context is over 1e\+18: it must be more than 0 and at most 1e\+18"),
        (replace(LLAMA, rate=math.inf), "--rate is inf: it must be more than 0, and finite"),
        (Options("ünïcødé", rate=1), r"--arch ünïcødé: unknown\. There are llama, gpt"),
        (replace(MIXTRAL, params=460e9), "no published mixtral has about 460B .* no option says what its experts are"),
        (replace(MINILM, kv_bits=8), "--kv-bits: --arch encoder has none"),
        (replace(LLAMA, rate=-3), "--rate is -3: it must be more than 0"),
        (replace(LLAMA, context=0), "--context is 0: it must be more than 0"),
        (replace(LLAMA, ttft_ms=0), "--ttft-ms is 0: it must be more than 0"),
        (replace(LLAMA, bits=5), "--bits is 5: write 32, 16, 8 or 4"),
        (replace(LLAMA, kv_bits=32), "--kv-bits is 32: write 16, 8 or 4"),
        (replace(LLAMA, context=600), r"--context is 600: prompt and answer have 550 \+ 150 tokens \(some of them by"),
        (replace(LLAMA, params=None), "--arch llama needs --params, such as --params 70e9"),
        (replace(LLAMA, rate=None), "--arch needs the traffic: --rate 3"),
        (replace(LLAMA, tokens=5), "--tokens: --arch llama has none; it belongs to encoder"),
        (replace(LLAMA, flops=5), "--flops: --arch llama has none; it belongs to cnn"),
        (replace(LLAMA, hidden=1000), "--hidden is 1000: it must be a multiple of the 64 heads"),
        (replace(LLAMA, kv_heads=7), "--kv-heads is 7: the 64 heads .* must be a multiple of it"),
        (replace(LLAMA, params=3e12), r"no published llama has about 3,000B parameters .* give --layers, --hidden"),
        (Options("decoder", params=7e9, rate=1), "--arch decoder needs its shape: give --layers, --hidden, --heads"),
        (Options("cnn", rate=1), "--arch cnn needs --flops, such as --flops 1.1e9"),
        (Options("encoder", params=22e6, rate=1, ttft_ms=5), "--ttft-ms: --arch encoder has none"),
    ],
)
def test_bad_input_is_told_with_its_value_and_a_remedy(options: Options, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        planned(options)


def test_a_shape_of_ones_own_needs_no_published_model() -> None:
    own = Options(
        "decoder", params=3e12, layers=160, hidden=24576, heads=192, kv_heads=8, bits=4, rate=1, prompt_tokens=100,
        answer_tokens=10,
    )  # fmt: skip
    assert planned(own, some("aws/p5.48xlarge", "aws/p5en.48xlarge")).choice is not None


@pytest.mark.parametrize("rate", [1e9, 1e300])
def test_a_rate_beyond_any_region_is_impossible_and_says_so(rate: float) -> None:
    found = planned(replace(LLAMA, rate=rate))
    assert found.choice is None
    assert at(found, "aws/p5.48xlarge").words == "over 1,000,000 copies would be needed"
    assert "over 1,000,000 copies would be needed" in paper_sheet.sheet(found, TODAY).headline


def test_a_context_that_no_machine_holds_is_said_plainly() -> None:
    found = planned(replace(LLAMA, context=10**9))
    assert {row.verdict for row in found.rows} == {"can't run"}
    told = paper_sheet.sheet(found, TODAY).headline
    assert told.startswith("Nothing here can hold this model: the nearest, aws/p5.48xlarge: needs ")


def test_traffic_is_said_once(tmp_path: Path) -> None:
    traffic = tmp_path / "traffic.yaml"
    traffic.write_text("requests_per_second: 3\np99_ms: 8000\n")
    with pytest.raises(UsageError, match="says already how many requests come; keep one of the two"):
        on_paper(LLAMA, traffic, (), FEW)
    with pytest.raises(UsageError, match="--p99-ms: the traffic file promises a percentile already"):
        on_paper(replace(LLAMA, rate=None, p99_ms=5), traffic, (), FEW)
    with pytest.raises(UsageError, match=r"add --config traffic\.yaml"):
        on_paper(LLAMA, None, ("spare=1",), FEW)
    traffic.write_text("requests_per_second: 3\nmachines: [aws/p6]\n")
    with pytest.raises(ConfigError, match="'aws/p6' matches no machine of the price book"):
        on_paper(replace(LLAMA, rate=None), traffic, (), FEW)


def test_an_unusual_offer_breaks_nothing() -> None:
    bare = Offer(
        "aws/g6.xlarge", "us-east-1", None, None, "NVIDIA L4", 0, 0.8, None, None, "2026-07-20", "", "a test"
    )  # fmt: skip
    found = planned(SMALL_LLAMA, Book({bare.key: bare}))
    assert at(found, "aws/g6.xlarge").verdict in ("meets", "undecided", "impossible")
    paper_facts.written(found, TODAY)


# ---------------------------------------------------------------------------------------- models


def decoder_of(options: Options) -> Decoder:
    work = paper_models.decoder(options)[0]
    assert isinstance(work, Answering)
    return work.decoder


def test_a_mixture_of_ones_own_shape_keeps_the_experts_of_the_published_one() -> None:
    own, like = decoder_of(MIXTRAL), decoder_of(Options("mixtral", params=46.7e9))
    assert own == like
    assert own.active_params == pytest.approx(12.9e9, rel=0.01)
    assert own.weight_bytes_read(1) < own.weight_bytes / 3


def test_heads_as_they_are_published_keep_their_published_width() -> None:
    nemo = decoder_of(Options("mistral", params=12e9, heads=32, hidden=5120))
    assert nemo.head_dim == decoder_of(Options("mistral", params=12e9)).head_dim == 128
    assert decoder_of(Options("mistral", params=12e9, heads=40)).head_dim == 128  # 5120 / 40
    assert decoder_of(Options("mistral", params=12e9, heads=16, kv_heads=8)).head_dim == 320


@pytest.mark.parametrize("params", [11.5e6, 12e6, 22.7e6, 40e6])
def test_an_encoder_multiplies_the_same_share_of_its_parameters_whatever_their_number(params: float) -> None:
    """30,522 x 384 of MiniLM's 22.7 million are embeddings: held in memory, looked up, and not read in a pass."""
    work = paper_models.encoder(Options("encoder", params=params, layers=6, tokens=128))[0]
    one = work.prefill()
    share = 1 - 30522 * 384 / 22.7e6 if params < 25e6 else 1 - 30522 * 384 / 33.4e6
    assert one.flops == pytest.approx(2 * share * params * 128 + 4 * 6 * 384 * 128**2)
    assert one.weight_bytes == pytest.approx(2 * share * params)
    assert work.weight_bytes == pytest.approx(2 * params)


def test_an_encoder_of_ones_own_shape_says_that_embeddings_count() -> None:
    own = Options("encoder", params=22.7e6, layers=6, hidden=384, heads=12)
    work, notes = paper_models.encoder(own)
    assert work.prefill().weight_bytes == work.weight_bytes
    assert "all parameters are taken to be multiplied: leave those of embeddings out of --params" in notes


def test_an_input_longer_than_the_model_was_published_for_is_told() -> None:
    assert "MiniLM-L6 was published for 512 tokens, not 513" in paper_models.encoder(replace(MINILM, tokens=513))[1]
    assert not any("was published for" in note for note in paper_models.encoder(replace(MINILM, tokens=512))[1])


@pytest.mark.parametrize(("bits", "row_bytes"), [(32, 4), (16, 2), (8, 2), (4, 2)])
def test_what_passes_between_layers_has_16_bits_at_least(bits: int, row_bytes: int) -> None:
    assert decoder_of(Options("llama", params=8e9, bits=bits)).row_bytes == 4096 * row_bytes
    assert paper_models.encoder(replace(MINILM, bits=bits))[0].prefill().row_bytes == 128 * 384 * row_bytes


def test_a_shape_from_memory_is_told() -> None:
    told = "the layers, width and heads of {} are from memory: check them"
    assert told.format("MiniLM-L6") in planned(MINILM).asked.notes
    assert not any("from memory" in note for note in planned(LLAMA).asked.notes)


# ---------------------------------------------------------------------------------------- training

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


# ---------------------------------------------------------------------------------------- the command


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    whole = [sys.executable, "-m", "costopt", "plan", *arguments]
    return subprocess.run(whole, capture_output=True, text=True, check=False)


def test_the_command_prints_a_table_and_ends_with_3_where_nothing_meets() -> None:
    ended = command("--arch", "llama", "--params", "70e9", "--context", "8192", "--rate", "3")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("On paper: llama of 70.0B parameters")
    late = command("--arch", "llama", "--params", "70e9", "--rate", "3", "--ttft-ms", "1", "--format", "json")
    assert (late.returncode, late.stderr) == (3, "")
    assert json.loads(late.stdout)["choice"] is None


@pytest.mark.parametrize("form", ["table", "json", "markdown"])
def test_the_command_plans_a_training(form: str) -> None:
    ended = command("--arch", "llama", "--params", "8e9", "--training", "--batch-tokens", "4e6", "--format", form)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "On paper: training llama of 8.00B parameters costs least on 1 " in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--arch", "lama", "--rate", "3"), "costopt: --arch lama: unknown; did you mean llama?"),
        (("--params", "7e9"), "costopt: --params, --rate and the like describe a model on paper: add --arch"),
        (("run", "--arch", "llama", "--params", "7e9", "--rate", "1"), "costopt: both a run ('run') and --arch"),
        (("--batch-tokens", "4e6"), "costopt: --training, --batch-tokens and --waiting-usd-per-hour go together"),
        (
            ("--arch", "llama", "--params", "8e9", "--rate", "1", "--batch-tokens", "4e6"),
            "costopt: --training, --batch-",
        ),
        (
            ("--arch", "llama", "--params", "8e9", "--training", "--batch-tokens", "4e6", "--config", "t.yaml"),
            "costopt: --training serves no traffic: leave --config, --set and --machine out",
        ),
        ((), "costopt: nothing to plan with: give a run, --model model.onnx --measure, or --arch"),
    ],
)
def test_the_command_ends_with_2_and_one_line_for_bad_input(arguments: tuple[str, ...], words: str) -> None:
    ended = command(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(words)
    assert ended.stderr.count("\n") == 1
