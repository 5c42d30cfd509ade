"""`costopt plan`: what it prints, how it ends, what it says no to; on a made-up run and a book of four machines."""

import datetime
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from costopt.errors import ConfigError, UsageError
from costopt.journal import Journal
from costopt.planning import plan_facts, plan_sheet, traffic_file
from costopt.planning.answer import Planned, planned
from costopt.pricing.book import Book
from costopt.pricing.offers import Offer
from costopt.records import Measured, Plan, Spec
from costopt.reports import markdown, table
from tests import factories
from tests.factories import measured, recipe

GOLDEN = Path(__file__).parent / "golden"

CALLS = 140

FOUND = (
    measured(ms=4.0, baseline_ms=4.0, calls=CALLS, spread=0.2),
    measured(recipe("int8_static"), ms=1.5, baseline_ms=4.0, calls=CALLS, spread=0.2),
    measured(recipe("slim", "int8_static"), ms=1.4, baseline_ms=4.0, calls=CALLS, spread=0.2),
    measured(recipe("fp16"), ms=1.0, baseline_ms=4.0, calls=CALLS, correct=3400),
    measured(recipe("int8_static"), ms=8.0, batch=8, baseline_ms=4.0, calls=CALLS),
)

IN_BATCHES = (measured(ms=32.0, batch=8, baseline_ms=32.0, baseline_batch=8, calls=CALLS),)


def offer(instance: str, vcpus: int | None, usd_per_hour: float, region: str = "us-east-1") -> Offer:
    return Offer(
        instance, region, vcpus, 4.0, "", 0, usd_per_hour, None, None, "2026-07-20", "", "https://example.org/prices"
    )  # fmt: skip


OFFERS = (
    offer("aws/c7i.large", 2, 0.1),
    offer("aws/c7i.xlarge", 4, 0.2),
    offer("aws/c7i.2xlarge", None, 0.4),
    offer("aws/c7g.large", 2, 0.08),
)
BOOK = Book({one.key: one for one in OFFERS})
PLAN = factories.plan(accuracy_drop=0.01, usd_per_hour=0.1, instance="aws/c7i.large")


def answer(
    tmp_path: Path, text: str, found: tuple[Measured, ...] = FOUND, plan: Plan = PLAN, prices: Book = BOOK
) -> Planned:
    path = tmp_path / "traffic.yaml"
    path.write_text(text)
    asked = traffic_file.read(path, prices)
    return planned(factories.run(found), plan, found, None, asked, prices, datetime.date(2026, 8, 1))


BUSY = "requests_per_second: 400\npeak_to_mean: 2\np99_ms: 20\nspare: 1\nwork: {hours: 8, usd_per_hour: 90}\n"


@pytest.mark.parametrize("form", ["table.100.txt", "md"])
def test_a_plan_reads_as_it_did(form: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    text = f"{BUSY}egress: {{bytes_per_response: 2000, usd_per_gb: 0.09}}\nmachines: ['aws/*']\n"
    sheet = plan_sheet.sheet(answer(tmp_path, text))
    shown = markdown.written(sheet) if form == "md" else table.written(sheet, 100)
    golden = GOLDEN / f"plan.{form}"
    if request.config.getoption("--update-golden"):
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")


def facts(found: Planned) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(plan_facts.written(found))
    return told


def test_programs_get_every_pair_with_its_figures(tmp_path: Path) -> None:
    told = facts(answer(tmp_path, BUSY))
    assert (told["schema"], told["kind"], told["verdict"]) == (1, "plan", "met")
    assert told["asked"]["promise"] == {"share": 0.99, "ms": 20.0}
    assert len(told["rows"]) == 5 * 2  # two machines have prices and vCPUs
    first = told["rows"][0]
    assert (first["candidate"], first["machine"]) == (told["choice"]["candidate"], told["choice"]["machine"])
    assert (first["label"], first["band"], first["spare"]) == ("measured", 0.0, 1)
    assert first["checked_by_simulation"] is True
    assert first["response_ms"] <= 20
    monthly = (first["instances"] + first["spare"]) * 0.1 * 730
    assert first["usd_per_month"]["total"] == pytest.approx(monthly)
    assert first["usd_per_million"]["saturated"] == pytest.approx(0.1 / 3600 * first["service_ms"]["mean"] * 1e3)
    assert {row["label"] for row in told["rows"]} == {"measured", "projected"}
    refused = [row for row in told["rows"] if row["verdict"] == "refused"]
    assert {row["recipe"][0]["name"] for row in refused} == {"fp16"}
    assert told["left_out"] == [{"reason": "its vCPUs are not known", "machines": ["aws/c7i.2xlarge"]}]


def test_compressing_is_held_against_the_original_on_its_best_machine_and_earns_its_work_back(tmp_path: Path) -> None:
    found = answer(tmp_path, BUSY)
    told = facts(found)["compressing"]
    own = [row for row in facts(found)["rows"] if not row["recipe"] and row["verdict"] == "meets"]
    saved = min(row["usd_per_month"]["total"] for row in own) - facts(found)["rows"][0]["usd_per_month"]["total"]
    assert told["saved_usd_per_month"] == pytest.approx(saved)
    assert told["break_even"]["usd"] == pytest.approx(720 + 0.1 * 600 / 3600)
    assert told["break_even"]["days"] == pytest.approx(told["break_even"]["usd"] / saved * 730 / 24)
    assert "is earned back after" in told["words"]


def test_at_little_traffic_faster_saves_nothing_and_the_plan_says_why(tmp_path: Path) -> None:
    found = answer(tmp_path, "requests_per_second: 5\np99_ms: 100\n")
    assert found.headline.startswith("the original on cpu, served by 1 aws/c7i.large, costs $73.00 a month; p99 ")
    assert found.compressing is not None
    assert found.compressing.words == (
        "2.86x faster saves $0 here, because 1 aws/c7i.large is needed either way, and idle 98 % of the time"
    )
    assert any(note.startswith("the bill is the same with 3 other candidates: the simplest") for note in found.notes)


def test_a_run_in_batches_alone_is_planned_and_its_calls_count_as_full(tmp_path: Path) -> None:
    found = answer(tmp_path, "requests_per_second: 200\np99_ms: 100\n", found=IN_BATCHES)
    assert found.headline.startswith("the original on cpu in batches of 8, served by 1 aws/c7i.large")
    (row, *_) = found.rows
    assert row.busiest_load == pytest.approx(200 * row.service.mean_s / 8)
    assert row.saturated == pytest.approx(0.1 / 3600 * row.service.mean_s / 8 * 1e6)
    assert any(note.startswith("batches: a free server takes the requests that wait") for note in found.notes)


def test_a_wait_for_a_full_batch_is_part_of_the_promise(tmp_path: Path) -> None:
    text = "requests_per_second: 5\np99_ms: 50\nbatching: {max_wait_ms: 30}\n"
    found = answer(tmp_path, text, found=IN_BATCHES)
    assert found.choice is None
    assert "of the calls alone is 33.3 ms after a wait of 30.0 ms for a full batch, the limit 50 ms" in found.headline
    assert facts(found)["asked"]["batching"] == {"max_wait_ms": 30.0}


def test_a_promise_that_only_the_compressed_keep_is_what_compressing_makes_possible(tmp_path: Path) -> None:
    found = answer(tmp_path, "requests_per_second: 5\np99_ms: 3\n")
    assert found.choice is not None
    assert not found.choice.service.is_original
    assert found.compressing is not None
    assert found.compressing.even is None
    assert "the original meets this on none of these machines" in found.compressing.words


def test_a_promise_below_every_call_is_impossible_and_says_by_how_much(tmp_path: Path) -> None:
    found = answer(tmp_path, "requests_per_second: 5\np99_ms: 0.1\n")
    assert found.choice is None
    assert found.headline.startswith("Impossible on any number of these machines: the nearest, ")
    assert "the limit 0.1 ms (16.8x too slow)" in found.headline
    assert facts(found)["verdict"] == "not_met"
    table.written(plan_sheet.sheet(found))


def test_when_all_miss_the_runs_own_budget_that_is_said(tmp_path: Path) -> None:
    strict = replace(PLAN, budget=replace(PLAN.budget, size_mb=0.1))
    found = answer(tmp_path, "requests_per_second: 5\n", plan=strict)
    assert found.choice is None
    assert found.headline.startswith("Nothing meets the run's own budget: the nearest, ")
    assert "1.26 MB is 12.6x the limit of 0.1 MB" in found.headline


def test_machines_of_other_families_are_named_and_not_guessed(tmp_path: Path) -> None:
    found = answer(tmp_path, "requests_per_second: 5\nmachines: [aws/c7g.large]\n")
    assert found.choice is None
    assert found.headline == (
        "Nothing can be planned: aws/c7g.large: another family than aws/c7i.large, not measured there: "
        "run `costopt compress` there"
    )
    markdown.written(plan_sheet.sheet(found))


def test_a_machine_with_other_cores_than_were_measured_is_only_projected(tmp_path: Path) -> None:
    bigger = factories.plan(usd_per_hour=0.2, instance="aws/c7i.xlarge")
    found = answer(tmp_path, "requests_per_second: 5\n", plan=bigger)
    labels = {row.place.instance: (row.place.label, row.place.services) for row in found.rows}
    assert labels == {"aws/c7i.xlarge": ("projected", 2), "aws/c7i.large": ("projected", 1)}


def test_a_machine_whose_processor_is_of_another_maker_than_the_timed_one_was_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "traffic.yaml"
    path.write_text("requests_per_second: 5\n")
    run = factories.run(FOUND)
    timed = replace(run, machine=replace(run.machine, cpu="AMD EPYC"))
    asked = traffic_file.read(path, BOOK)
    found = planned(timed, PLAN, FOUND, None, asked, BOOK, datetime.date(2026, 8, 1))
    assert {row.place.label for row in found.rows} == {"projected"}
    assert any("aws/c7i.large has a processor of Intel: nothing here was measured" in note for note in found.notes)


def test_a_machine_without_a_name_is_planned_by_its_price_alone(tmp_path: Path) -> None:
    unnamed = factories.plan(usd_per_hour=0.05)
    found = answer(tmp_path, "requests_per_second: 5\n", plan=unnamed)
    assert {row.place.instance for row in found.rows} == {"the machine of the run"}
    with pytest.raises(ConfigError, match="the run's machine has no name, so it has no family: remove `machines`"):
        answer(tmp_path, "requests_per_second: 5\nmachines: [aws/c7i.large]\n", plan=unnamed)


def test_the_runs_terms_hold_for_other_sizes_too(tmp_path: Path) -> None:
    half = replace(PLAN, price=Spec("table", {"instance": "aws/c7i.large", "discount": 0.5}))
    prices = {row.place.instance: row.place.usd_per_hour for row in answer(tmp_path, BUSY, plan=half).rows}
    assert prices["aws/c7i.xlarge"] == pytest.approx(0.1)


def test_bursts_in_a_log_are_told(tmp_path: Path) -> None:
    burst = [second + place / 1000 for second in range(0, 120, 10) for place in range(100)]
    (tmp_path / "log.csv").write_text("\n".join(map(str, burst)))
    notes = answer(tmp_path, "arrivals: log.csv\np99_ms: 20\n").notes
    assert any(note.startswith("arrivals come in bursts: a second's count has a variance of ") for note in notes)


@pytest.mark.parametrize(
    ("found", "plan", "words"),
    [
        (FOUND, factories.plan(), "run example names no machine, so nothing can be priced: `costopt choose`"),
        (FOUND[1:], PLAN, "run example: the original was not measured"),
    ],
)
def test_a_run_that_cannot_be_planned_with_is_refused(
    tmp_path: Path, found: tuple[Measured, ...], plan: Plan, words: str
) -> None:
    (tmp_path / "traffic.yaml").write_text("requests_per_second: 5\n")
    asked = traffic_file.read(tmp_path / "traffic.yaml", BOOK)
    run = factories.run(found, baseline=FOUND[0].candidate.id)
    with pytest.raises(UsageError, match=words):
        planned(run, plan, found, None, asked, BOOK, factories.TODAY)


# ---------------------------------------------------------------------------------------- the command


def command(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    journal = Journal(folder / "runs" / "example")
    with journal.held():
        journal.write_run(factories.run(FOUND))
        journal.write_plan(PLAN)
        for one in FOUND[: -1 if "unfinished" in arguments else None]:
            journal.append(one)
    (folder / "traffic.yaml").write_text("requests_per_second: 5\np99_ms: 100\n")
    kept = [one for one in arguments if one != "unfinished"]
    whole = [sys.executable, "-m", "costopt", "plan", str(journal.folder), "-c", str(folder / "traffic.yaml"), *kept]
    return subprocess.run(whole, capture_output=True, text=True, check=False)


def test_the_command_prints_a_table_and_nothing_else(tmp_path: Path) -> None:
    ended = command(tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "> original" in ended.stdout


def test_the_command_ends_with_3_when_nothing_meets_the_promise(tmp_path: Path) -> None:
    ended = command(tmp_path, "--set", "p99_ms=0.1", "--format", "json")
    assert (ended.returncode, ended.stderr) == (3, "")
    assert json.loads(ended.stdout)["choice"] is None


def test_the_command_ends_with_2_and_one_line_for_bad_input(tmp_path: Path) -> None:
    ended = command(tmp_path, "--set", "requests_per_second=0")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == ("costopt: --set requests_per_second=0: requests_per_second: must be more than 0, not 0\n")


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    ended = command(tmp_path, "unfinished")
    assert ended.returncode == 2
    assert ended.stderr == (
        "costopt: run example is not finished: 1 of 5 candidates are not measured; run the same `costopt compress` "
        "again to go on\n"
    )
