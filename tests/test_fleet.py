"""`costopt fleet`: what it prints, how it ends, which limit it names; on a made-up run and a book of four machines."""

import datetime
import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costopt.errors import UsageError
from costopt.journal import Journal
from costopt.planning.demand import constant
from costopt.planning.paces import Paced
from costopt.planning.places import BAND
from costopt.planning.simulation import Batching, simulated
from costopt.planning.traffic_file import Promise
from costopt.pricing import book
from costopt.pricing.book import Book
from costopt.pricing.offers import Offer
from costopt.records import Machine, Measured, Plan
from costopt.reports import markdown, table
from costopt.scheduling import fleet_facts, fleet_file, fleet_sheet, ways
from costopt.scheduling.fleet_answer import packed
from costopt.scheduling.fleet_file import ModelAsked
from costopt.scheduling.fleet_records import Packed
from costopt.scheduling.forms import Form, checked, response_ms
from costopt.scheduling.layout import Group
from costopt.scheduling.routing import response_by_weights_ms
from costopt.scheduling.ways import Way, undominated
from tests import factories
from tests.factories import measured, recipe

GOLDEN = Path(__file__).parent / "golden"
TODAY = datetime.date(2026, 8, 1)
CALLS = 140

FOUND = (
    measured(ms=4.0, baseline_ms=4.0, calls=CALLS, spread=0.2),
    measured(recipe("int8_static"), ms=1.5, baseline_ms=4.0, calls=CALLS, spread=0.2),
    measured(recipe("fp16"), ms=1.0, baseline_ms=4.0, calls=CALLS, correct=3400),
)
PLAN = factories.plan(accuracy_drop=0.01, usd_per_hour=0.1, instance="aws/c7i.large")


def offer(instance: str, vcpus: int | None, usd_per_hour: float, spot: float | None = None) -> Offer:
    memory = None if vcpus is None else 2.0 * vcpus
    return Offer(
        instance, "us-east-1", vcpus, memory, "", 0, usd_per_hour, spot, None, "2026-07-20", "2026-07-20", "a list"
    )  # fmt: skip


OFFERS = (
    offer("aws/c7i.large", 2, 0.1),
    offer("aws/c7i.xlarge", 4, 0.2, spot=0.05),
    offer("aws/c7i.2xlarge", None, 0.4),
    offer("aws/c7g.large", 2, 0.08),
)
BOOK = Book({one.key: one for one in OFFERS})

SEARCH = "  search: {run: run, requests_per_second: 400, peak_to_mean: 2, p99_ms: 20}\n"
BY_HAND = "calls_ms: 3.2, cores: 1, memory_mb: 800, measured_on: aws/c7i.large"
SPAM = f"  spam: {{{BY_HAND}, requests_per_second: 5, p95_ms: 50}}\n"
TAGS = "  tags: {calls_ms: 9, cores: 3, memory_mb: 200, measured_on: aws/c7i.xlarge, requests_per_second: 30}\n"


def run_in(
    folder: Path,
    plan: Plan = PLAN,
    unfinished: bool = False,
    found: tuple[Measured, ...] = FOUND,
    machine: Machine = factories.MACHINE,
) -> None:
    journal = Journal(folder / "run")
    with journal.held():
        journal.write_run(replace(factories.run(found), machine=machine))
        journal.write_plan(plan)
        for one in found[: -1 if unfinished else None]:
            journal.append(one)


def answer(folder: Path, text: str, prices: Book = BOOK) -> Packed:
    if not (folder / "run").exists():
        run_in(folder)
    path = folder / "fleet.yaml"
    path.write_text(text)
    return packed(fleet_file.read(path, prices), prices, TODAY)


def facts(found: Packed) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(fleet_facts.written(found))
    return told


@pytest.mark.parametrize("form", ["table.100.txt", "md"])
def test_a_fleet_reads_as_it_did(form: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    sheet = fleet_sheet.sheet(answer(tmp_path, f"models:\n{SEARCH}{SPAM}{TAGS}spare: 1\n"))
    shown = markdown.written(sheet) if form == "md" else table.written(sheet, 100)
    golden = GOLDEN / f"fleet.{form}"
    if request.config.getoption("--update-golden"):
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")


def test_programs_get_machines_models_and_weights_that_add_up(tmp_path: Path) -> None:
    told = facts(answer(tmp_path, f"models:\n{SEARCH}{SPAM}{TAGS}spare: 1\n"))
    assert (told["schema"], told["kind"], told["verdict"], told["solved_in_time"]) == (1, "fleet", "met", True)
    usd = sum(one["count"] * one["usd_per_hour"] * 730 for one in told["machines"])
    assert told["usd_per_month"] == pytest.approx(usd)
    assert told["usd_per_month_at_least"] == pytest.approx(usd)
    assert told["usd_per_month_each_alone"] == pytest.approx(sum(one["usd_per_month_alone"] for one in told["models"]))
    assert told["usd_per_month_each_alone"] > usd
    for one in told["machines"]:
        assert one["vcpus_taken"] <= one["vcpus"]
        assert one["memory_bytes_taken"] <= one["memory_bytes"]
    for one in told["models"]:
        assert sum(part["count"] * part["weight_of_each"] for part in one["weights"]) == pytest.approx(1)
        assert sum(part["count"] * part["replicas_on_each"] for part in one["weights"]) == one["replicas"]
        held = sorted(part["replicas_on_each"] for part in one["weights"] for _ in range(part["count"]))
        assert sum(held[:-1]) >= one["replicas_needed"]
        assert one["promise"] is None or one["response_ms"] <= one["promise"]["ms"]
    search = next(one for one in told["models"] if one["model"] == "search")
    assert (search["served_by"], search["label"], search["band"]) == ("int8_static on cpu", "projected", BAND)
    reasons = {one["reason"]: one["machines"] for one in told["left_out"]}
    assert reasons["its vCPUs or its memory are not known"] == ["aws/c7i.2xlarge"]
    assert reasons["no model was measured on its family"] == ["aws/c7g.large"]


def test_the_same_file_has_the_same_answer(tmp_path: Path) -> None:
    text = f"models:\n{SEARCH}{SPAM}{TAGS}spare: 1\n"
    assert fleet_facts.written(answer(tmp_path, text)) == fleet_facts.written(answer(tmp_path, text))


@settings(max_examples=5, deadline=None)
@given(st.floats(1, 400), st.floats(1, 3), st.integers(0, 1))
def test_more_traffic_never_lowers_the_cost(
    tmp_path_factory: pytest.TempPathFactory, rate: float, times: float, spare: int
) -> None:
    folder = tmp_path_factory.mktemp("fleet")
    both = [
        answer(folder, f"models:\n{SPAM}{TAGS.replace('30', repr(one))}spare: {spare}\n").usd
        for one in (rate, rate * times)
    ]
    assert both[0] <= both[1] + 1e-6


def test_prices_follow_the_terms_and_machines_without_such_a_price_are_left_out(tmp_path: Path) -> None:
    found = answer(tmp_path, f"models:\n{SPAM}terms: spot\n")
    assert [(one.name, one.machine.usd_per_hour) for one in found.sites] == [("aws/c7i.xlarge", 0.05)]
    assert any("spot machines are taken away at short notice" in note for note in found.notes)


# ---------------------------------------------------------------------------------------- which limit is in the way


@pytest.mark.parametrize(
    ("models", "more", "words"),
    [
        (
            SPAM.replace("p95_ms: 50", "p95_ms: 2"), "",
            "spam: p95 2 ms: no machine is fast enough, the nearest, calls by hand on aws/c7i.large, 3.20 ms",
        ),
        (
            SEARCH.replace("p99_ms: 20", "p99_ms: 0.9"), "",
            "search: p99 0.9 ms: no machine is fast enough, the nearest, int8_static on cpu on aws/c7i.large, 1.8",
        ),
        (
            SPAM.replace("p95_ms: 50", "p95_ms: 4"), "",
            "spam: p95 4 ms: undecided: the nearest, calls by hand on aws/c7i.large, 3.20 ms, and beside others or on",
        ),
        (SPAM.replace("memory_mb: 800", "memory_mb: 64GB"), "", "spam: memory: a replica takes 64.0 GB, the largest"),
        (SPAM.replace("_second: 5", "_second: 1e9"), "", "spam: p95 50 ms: over 100,000 replicas would be needed"),
        (TAGS.replace("_second: 30", "_second: 1e12"), "", "tags: over 100,000 replicas would be needed"),
        (SPAM, "terms: reserved\n", "spam: aws/c7i.large: no reserved price"),
        (
            SPAM.replace("large", "2xlarge"), "machines: [aws/c7i.2xlarge]\n",
            "spam: aws/c7i.2xlarge: its vCPUs or its memory are not known",
        ),
        (SPAM.replace("cores: 1", "cores: 8"), "", "spam: fewer vCPUs than the 8 of a replica"),
        (
            SPAM, "machines: [aws/c7g.large]\n",
            "spam: another family than aws/c7i.large, not measured there: add aws/c7i.large or its sizes to `machines`",
        ),
        (SPAM, "budget: {usd_per_month: 50}\n", "budget 50 USD/month: the cheapest fleet costs $73.00"),
        (
            SPAM + TAGS, "budget: {max_instances: {aws/c7i.large: 0, aws/c7i.xlarge: 0}}\n",
            "spam: max_instances (aws/c7i.large 0, aws/c7i.xlarge 0): too few machines for it, even by itself",
        ),
        (
            SPAM + TAGS, "budget: {max_instances: {aws/c7i.large: 0, aws/c7i.xlarge: 1}}\nspare: 0\n",
            "",
        ),
        (
            SPAM.replace("memory_mb: 800", "memory_mb: 5GB") + TAGS.replace("200", "6GB"),
            "budget: {max_instances: {aws/c7i.xlarge: 1}}\n",
            "too few machines for it beside the others",
        ),
    ],
)  # fmt: skip
def test_it_says_which_model_and_which_limit(tmp_path: Path, models: str, more: str, words: str) -> None:
    found = answer(tmp_path, f"models:\n{models}{more}")
    assert words in found.headline
    assert facts(found)["verdict"] == ("not_met" if words else "met")
    table.written(fleet_sheet.sheet(found), 80)
    markdown.written(fleet_sheet.sheet(found))


def test_a_promise_within_the_band_is_kept_on_the_measured_machine_alone(tmp_path: Path) -> None:
    whole = SPAM.replace("cores: 1", "cores: 2").replace("p95_ms: 50", "p95_ms: 4")
    found = answer(tmp_path, f"models:\n{whole}")
    assert [(found.sites[one.machine].name, one.count) for one in found.groups] == [("aws/c7i.large", 1)]
    assert [(one.form.label, one.form.band) for one in found.served] == [("given", 0.0)]


def test_a_percentile_of_few_calls_is_not_taken_for_certain(tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text("3\n4\n")
    found = answer(tmp_path, f"models:\n{SPAM.replace('calls_ms: 3.2', 'calls: calls.csv')}")
    assert found.headline == "spam: p95 50 ms: p95 needs 130 calls, has 2: measure more"


def test_a_model_measured_on_two_families_is_served_by_the_cheaper(tmp_path: Path) -> None:
    ways = ", ".join(
        f"{{calls_ms: 3, cores: 1, memory_mb: 80, measured_on: {one}}}" for one in ("aws/c7i.large", "aws/c7g.large")
    )
    found = answer(tmp_path, f"models:\n  both: {{ways: [{ways}], requests_per_second: 5, p95_ms: 50}}\n")
    assert [found.sites[one.machine].name for one in found.groups] == ["aws/c7g.large"]


def test_a_month_has_the_hours_of_the_file_and_prices_are_those_of_the_region(tmp_path: Path) -> None:
    dear = replace(OFFERS[0], region="eu-west-1", usd_per_hour=0.3)
    prices = Book({one.key: one for one in (*OFFERS, dear)})
    assert answer(tmp_path, f"models:\n{SPAM}", prices).usd == pytest.approx(73)
    asked = f"models:\n{SPAM}region: eu-west-1\nhours_per_month: 100\n"
    assert answer(tmp_path, asked, prices).usd == pytest.approx(30)


def test_a_replica_takes_the_memory_that_was_measured_and_that_of_its_process(tmp_path: Path) -> None:
    (model,) = facts(answer(tmp_path, f"models:\n{SEARCH}"))["models"]
    assert model["memory_bytes"] == 50_000_000 + 64_000_000


def test_where_the_curves_find_too_few_replicas_a_simulation_adds_them(tmp_path: Path) -> None:
    """One call in 400 is a hundred times as long: the percentile jumps as soon as one in a hundred waits for it."""
    (tmp_path / "calls.csv").write_text("1\n" * 3980 + "100\n" * 10)
    hand = "calls: calls.csv, cores: 1, memory_mb: 80, measured_on: aws/c7i.large"
    found = answer(tmp_path, f"models:\n  a: {{{hand}, requests_per_second: 40, p99_ms: 60}}\n")
    (model,) = found.served
    assert model.response_ms is not None
    assert model.response_ms <= 60
    assert 1e3 * simulated(model.form.way.calls_s * (1 + BAND), 40.0, 1).percentile_s(0.99) > 60
    assert model.form.replicas == 2


def test_a_way_is_left_out_only_where_another_is_no_slower_no_larger_and_takes_as_many_at_once() -> None:
    slow = way((0.2, 0.3))
    small, large = replace(slow, memory_bytes=10), replace(slow, memory_bytes=20)
    fast = replace(large, calls_s=slow.calls_s / 2)
    batches = replace(slow, batching=Batching(8))
    assert undominated((large, small)) == (small,)
    assert undominated((small, fast)) == (small, fast)
    assert undominated((slow, batches)) == (slow, batches)


def test_an_accelerator_is_not_shared_and_a_replica_beside_one_takes_the_whole_machine(tmp_path: Path) -> None:
    gpu = replace(offer("aws/g5.xlarge", 4, 1.0), accelerator="NVIDIA A10", accelerator_count=1)
    prices = Book({one.key: one for one in (*OFFERS, gpu)})
    hand = "calls_ms: 5, cores: 1, memory_mb: 3, measured_on: aws/g5.xlarge, p99_ms: 50"
    text = f"models:\n  a: {{{hand}, requests_per_second: 250}}\n  b: {{{hand}, requests_per_second: 5}}\n"
    told = facts(answer(tmp_path, text, prices))
    replicas = [one["replicas"] for one in told["models"]]
    assert sum(one["count"] for one in told["machines"]) == sum(replicas) == 4
    assert {(one["vcpus"], one["vcpus_taken"]) for one in told["machines"]} == {(4, 4)}
    assert {one["cores"] for one in told["models"]} == {4}


def test_a_processor_of_another_maker_is_told_and_nothing_on_it_is_called_measured(tmp_path: Path) -> None:
    run_in(tmp_path, machine=replace(factories.MACHINE, cpu="AMD EPYC", cores=2))
    found = answer(tmp_path, f"models:\n{SEARCH.replace('p99_ms: 20', 'p99_ms: 2.7')}")
    assert found.served[0].form.label == "projected"
    told = "search: run example, timed on AMD EPYC, 2 cores, and aws/c7i.large has a processor of Intel: nothing was "
    assert any(note.startswith(told) for note in found.notes)
    tight = answer(tmp_path, f"models:\n{SEARCH.replace('p99_ms: 20', 'p99_ms: 2')}")
    assert tight.verdict == "not_met"  # 1.82 ms and the band


def test_a_call_serves_as_many_requests_as_its_batch(tmp_path: Path) -> None:
    """Eight requests in 4 ms: one replica bears 1,900 a second at a load of 0.95, and 950 take half of its time."""
    eight = measured(ms=4.0, baseline_ms=4.0, batch=8, calls=CALLS)
    run_in(tmp_path, found=(measured(ms=4.0, baseline_ms=4.0, calls=CALLS), eight))
    (model,) = facts(answer(tmp_path, "models:\n  a: {run: run, requests_per_second: 950, p95_ms: 40}\n"))["models"]
    assert (model["batch"], model["replicas"]) == (8, 1)
    assert model["busiest_load"] == pytest.approx(950 * 0.004 / 8, rel=0.05)
    assert 4 * (1 + BAND) < model["response_ms"] < 40


@pytest.mark.parametrize(
    ("plan", "unfinished", "words"),
    [
        (
            PLAN,
            True,
            "fleet.yaml:2: models.search.run: run example is not finished: 1 of 3 candidates are not measured",
        ),
        (factories.plan(), False, "fleet.yaml:2: models.search.run: run example names no machine: `costopt choose`"),
    ],
)
def test_a_run_that_cannot_be_planned_with_is_refused(tmp_path: Path, plan: Plan, unfinished: bool, words: str) -> None:
    run_in(tmp_path, plan, unfinished)
    with pytest.raises(UsageError) as caught:
        answer(tmp_path, f"models:\n{SEARCH}")
    assert words in str(caught.value)


# ---------------------------------------------------------------------------------------- queues


def way(calls_s: tuple[float, ...]) -> Way:
    calls = np.sort(np.array(calls_s))
    return Way("calls by hand", calls, None, None, 0, len(calls), 1, 1, "aws/c7i.large", "", True, "")


def test_dealt_out_by_weight_each_machine_has_a_queue_of_its_own() -> None:
    quantiles = (np.arange(2000) + 0.5) / 2000
    exponential = tuple((-np.log1p(-quantiles)).tolist())
    form = Form(0, way(exponential), 0.0, frozenset((0,)), 4)
    asked = ModelAsked("a", (), constant(4 * 0.7, 1.0), Promise(0.95, 1e6))
    seen_s = (response_by_weights_ms(form, asked, (Group(0, 4, ((0, 1),)),)) or 0.0) / 1e3
    assert seen_s == pytest.approx(math.log(20) / (1 - 0.7), rel=0.1)  # M/M/1: exponential at mu - lambda
    pooled_s = simulated(form.way.calls_s, 4 * 0.7, 4).percentile_s(0.95)
    assert pooled_s < 0.7 * seen_s


def test_a_promise_that_no_number_of_replicas_keeps_in_a_simulation_is_given_up() -> None:
    slow = Form(0, way((0.003,) * 97 + (0.1,) * 3), 0.0, frozenset((0,)), 2)
    assert checked(slow, ModelAsked("a", (), constant(50.0, 1.0), Promise(0.99, 10.0))) is None


def test_a_check_adds_the_replicas_that_a_simulation_asks_for() -> None:
    short = Form(0, way((0.003,)), 0.0, frozenset((0,)), 2)
    asked = ModelAsked("a", (), constant(900.0, 1.0), Promise(0.99, 4.0))
    grown = checked(short, asked)
    assert grown is not None
    assert grown.replicas > 3  # three are busy 90 % of the time, and too many wait for over a millisecond
    assert (response_ms(grown, asked) or 0.0) <= 4.0
    assert (response_ms(replace(grown, replicas=grown.replicas - 1), asked) or 0.0) > 4.0


def test_with_all_replicas_on_one_machine_weights_change_nothing() -> None:
    form = Form(0, way((0.9, 1.0, 1.1)), 0.0, frozenset((0,)), 3)
    asked = ModelAsked("a", (), constant(2.0, 1.0), Promise(0.95, 1e6))
    one = (response_by_weights_ms(form, asked, (Group(0, 1, ((0, 3),)),)) or 0.0) / 1e3
    assert one == pytest.approx(simulated(form.way.calls_s, 2.0, 3).percentile_s(0.95), rel=0.05)


def test_a_promise_that_random_weights_would_break_is_told(tmp_path: Path) -> None:
    busy = SPAM.replace("requests_per_second: 5,", "requests_per_second: 1500,").replace("p95_ms: 50", "p95_ms: 9")
    found = answer(tmp_path, f"models:\n{busy}")
    assert found.verdict == "met"
    assert any("spam: dealt out at random by the weights alone, p95 would be" in note for note in found.notes)


# ---------------------------------------------------------------------------------------- the command


def command(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    prices = folder / "prices.csv"
    prices.write_text(book.written(OFFERS))
    run_in(folder)
    (folder / "fleet.yaml").write_text(f"models:\n{SEARCH}{SPAM}machines: [aws/c7i.large, aws/c7i.xlarge]\n")
    whole = [sys.executable, "-m", "costopt", "fleet", str(folder / "fleet.yaml"), *arguments]
    return subprocess.run(whole, capture_output=True, text=True, check=False)


def test_the_command_prints_a_table_and_nothing_else(tmp_path: Path) -> None:
    ended = command(tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Weights for a load balancer" in ended.stdout


def test_the_command_ends_with_3_when_there_is_no_fleet_within_the_budget(tmp_path: Path) -> None:
    ended = command(tmp_path, "--set", "budget.usd_per_month=10", "--format", "json")
    assert (ended.returncode, ended.stderr) == (3, "")
    assert json.loads(ended.stdout)["reasons"][0].startswith("budget 10 USD/month: the cheapest fleet costs $")


def test_the_command_ends_with_2_and_one_line_for_bad_input(tmp_path: Path) -> None:
    ended = command(tmp_path, "--set", "machines=[aws/c7i.lrge]")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "costopt: --set machines=[aws/c7i.lrge]: machines[0]: 'aws/c7i.lrge' matches no machine of the price book; "
        "near: aws/c7i.large, aws/c7i.xlarge, aws/c7i.4xlarge\n"
    )


def test_times_on_another_makers_processor_are_those_that_are_paced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice as long there for the original; of the other it is not known, so that it does not compete."""
    original, *others = FOUND
    run_in(tmp_path)
    text = f"models:\n{SEARCH}"
    alike = answer(tmp_path, text).served[0].form.way
    unclear = {one.candidate.id: "what it does is not known" for one in others}
    paced = Paced(0, {original.candidate.id: 2.0}, unclear)
    monkeypatch.setattr(ways, "_paced", lambda *_: paced)
    (asked,) = fleet_file.read(tmp_path / "fleet.yaml", BOOK).models
    found = ways.of_model(asked, BOOK, TODAY)
    assert [one.name for one in found.found] == ["the original on cpu"]
    assert any("what it does is not known" in words for words in found.refused)
    # The slowest calls are raised to what their p99 is for certain.
    assert found.found[0].mean_s == pytest.approx(2 * served_mean_s(original), rel=1e-3)
    assert alike.name != "the original on cpu"


def served_mean_s(one: Measured) -> float:
    return float(np.mean(one.timing.seconds))
