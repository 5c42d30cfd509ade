"""`costopt explain`: every filled formula gives the value beside it, every value is the bill's, and what it refuses."""

import ast
import datetime
import json
import math
import operator
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt import units
from costopt.errors import UsageError
from costopt.explaining import explain_facts, explain_sheet, explanation, lines
from costopt.explaining.explanation import Explanation
from costopt.explaining.lines import Line
from costopt.journal import Journal
from costopt.judging.choose import judge
from costopt.planning import theory
from costopt.records import Measured, Plan, Skipped, Spec
from costopt.reports import markdown, table
from tests import factories
from tests.factories import measured, recipe
from tests.test_plan_command import BOOK, BUSY, FOUND, GOLDEN, PLAN, answer

TODAY = datetime.date(2026, 8, 1)
EGRESS = "egress: {bytes_per_response: 2000, usd_per_gb: 0.09}\n"
QUIET = "requests_per_second: 5\np99_ms: 100\n"
WITH_TRAFFIC = replace(PLAN, traffic=factories.plan(requests_per_second=400, peak_to_mean=2).traffic)


def of_run(name: str | None = None, plan: Plan = PLAN, found: tuple[Measured, ...] = FOUND) -> Explanation:
    return explanation.of_run(factories.run(found), plan, found, None, BOOK, TODAY, name)


def lines_of(found: Explanation) -> tuple[Line, ...]:
    return tuple(line for section in found.sections for line in section.lines)


def value(found: Explanation, name: str, section: str = "") -> float:
    """The first value of that name, in a section whose title begins so."""
    whole = (one for one in found.sections if one.title.startswith(section))
    known = next(line.value for one in whole for line in one.lines if line.name == name)
    assert known is not None
    return known


PRICES = (
    Spec("table", {"instance": "aws/c7i.large", "discount": 0.2}),
    Spec("fixed", {"instance": "", "usd_per_hour": 0.05, "discount": 0.1}),
    Spec("owned", {"purchase_usd": 4000.0, "years": 4.0, "watts": 300.0, "usd_per_kwh": 0.15}),
    Spec(
        "owned",
        {
            "purchase_usd": 4000.0, "years": 4.0, "watts": 300.0, "usd_per_kwh": 0.15, "pue": 1.2,
            "staff_share_usd_per_year": 500.0, "utilisation": 0.6,
        },
    ),
)  # fmt: skip


# ---------------------------------------------------------------------------------------- formulas


FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "ceil": math.ceil, "max": max, "log": math.log, "erlang_c": lambda c, a: theory.erlang_c(int(c), a),
}  # fmt: skip
OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def worked_out(node: ast.AST) -> float:
    """What a calculator makes of a filled formula: numbers, four operations, brackets and four functions."""
    match node:
        case ast.Expression():
            return worked_out(node.body)
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=ast.USub()):
            return -worked_out(node.operand)
        case ast.BinOp():
            return OPERATORS[type(node.op)](worked_out(node.left), worked_out(node.right))
        case ast.Call(func=ast.Name(id=name)):
            return FUNCTIONS[name](*(worked_out(one) for one in node.args))
    raise AssertionError(f"{ast.dump(node)} is nothing that a calculator takes")


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> tuple[Explanation, ...]:
    """Of all kinds: with and without traffic, for each candidate, for what meets and what does not."""
    return tuple(explanations(tmp_path_factory.mktemp("every")))


def explanations(tmp_path: Path) -> Iterator[Explanation]:
    extras = "load_balancer: {usd_per_hour: 0.02, usd_per_gb: 0.008, bytes_per_request: 3000}\nstorage: {copies: 2}\n"
    names = ("original", "int8_static", "slim + int8_static", "fp16")
    for plan in (PLAN, WITH_TRAFFIC, replace(PLAN, budget=replace(PLAN.budget, size_mb=0.1))):
        yield from (of_run(name, plan) for name in (None, *names))
    yield from (of_run(plan=replace(PLAN, price=price)) for price in PRICES)
    for text in (
        BUSY,
        BUSY + EGRESS + extras,
        QUIET,
        "requests_per_second: 5\np99_ms: 0.1\n",
        "requests_per_second: 9000\n",
    ):
        planned = answer(tmp_path, text)
        yield from (explanation.of_plan(planned, name) for name in (None, *names))


def test_every_filled_formula_gives_the_value_beside_it(every: tuple[Explanation, ...]) -> None:
    filled = [line for found in every for line in lines_of(found) if line.filled]
    assert len({line.name for line in filled}) > 25
    for line in filled:
        whole = ast.parse(line.filled, mode="eval")
        # Numbers are written to five digits or six: a formula is as good as that, and a difference as what it is of.
        differences = [one for one in ast.walk(whole) if isinstance(one, ast.BinOp) and isinstance(one.op, ast.Sub)]
        room = 1e-5 * max((abs(worked_out(side)) for one in differences for side in (one.left, one.right)), default=0.0)
        assert worked_out(whole) == pytest.approx(line.value, rel=3e-5, abs=room), line


def test_every_formulas_names_are_filled_in(every: tuple[Explanation, ...]) -> None:
    for found in every:
        for line in lines_of(found):
            names = {one.id for one in ast.walk(ast.parse(line.filled)) if isinstance(one, ast.Name)}
            assert names <= set(FUNCTIONS), line
            assert line.filled or line.value is None or line.formula not in ("", line.name) or line.source


@given(st.floats(-1e9, 1e9).filter(lambda one: one == 0 or abs(one) > 1e-9))
def test_a_number_in_a_formula_is_plain_and_good_to_five_digits(number: float) -> None:
    text = lines.fill("one", {"one": number})
    assert worked_out(ast.parse(text, mode="eval")) == pytest.approx(number, rel=1e-5)
    assert units.operand(number) == text.strip("()")


# ---------------------------------------------------------------------------------------- values


def test_a_run_is_explained_with_the_figures_of_its_report() -> None:
    report = judge(factories.run(FOUND), FOUND, WITH_TRAFFIC, TODAY)
    assert report.winner is not None
    row, original = report.row(report.winner), report.row(report.run.baseline)
    assert row.usd is not None
    assert original.usd is not None
    found = of_run(plan=WITH_TRAFFIC)
    mine = f"A million inferences: {row.candidate.label}"
    assert found.headline == report.headline
    assert value(found, "saturated", mine) == row.usd.saturated
    assert value(found, "saturated", "A million inferences: the original") == original.usd.saturated
    assert value(found, "machines", mine) == row.usd.instances
    assert value(found, "at that traffic", mine) == row.usd.at_traffic
    assert value(found, "compute", "The compression model") == pytest.approx(row.usd.saturated)
    assert value(found, "machine time of the run") == pytest.approx(600 / 3600 * 0.1)
    speedup = next(line for line in lines_of(found) if line.name == "speed-up")
    assert row.speedup is not None
    assert (speedup.value, speedup.low, speedup.high) == (row.speedup.value, row.speedup.low, row.speedup.high)
    drop = next(line for line in lines_of(found) if line.name == "drop of top1")
    assert row.drop is not None
    assert (drop.value, drop.low, drop.high) == (row.drop.drop.value, row.drop.drop.low, row.drop.drop.high)


def test_a_machine_of_ones_own_is_explained_in_its_parts() -> None:
    found = of_run(plan=replace(PLAN, price=PRICES[-1]))
    parts = [value(found, f"{part} of an hour") for part in ("purchase", "staff", "power")]
    assert parts == pytest.approx([0.1903, 0.0951, 0.3 * 1.2 * 0.15], rel=1e-3)
    assert value(found, "an hour of the machine") == pytest.approx(sum(parts))


def test_a_traffic_is_explained_with_the_figures_of_the_plan(tmp_path: Path) -> None:
    planned = answer(tmp_path, BUSY + EGRESS)
    row, found = planned.choice, explanation.of_plan(planned)
    assert row is not None
    assert row.bill is not None
    assert planned.compressing is not None
    assert planned.compressing.original is not None
    assert planned.compressing.original.bill is not None
    assert planned.compressing.even is not None
    assert value(found, "bill of a month", "A month's bill") == row.bill.usd
    assert value(found, "machines", "A month's bill") == row.bill.compute_usd
    assert value(found, "egress") == row.bill.egress_usd
    assert value(found, "bill of a month", "The original's") == planned.compressing.original.bill.usd
    assert value(found, "saved a month") == planned.compressing.saved_usd
    assert value(found, "break-even") == planned.compressing.even.requests
    assert value(found, "p99, simulated") == row.response_ms
    assert value(found, "machines and answers") == pytest.approx(row.bill.usd)
    assert row.idle is not None
    assert value(found, "paid time that serves") == pytest.approx(1 - row.idle)
    assert value(found, "algorithm") == pytest.approx(planned.compressing.even.usd)


def test_erlangs_wait_lies_above_that_of_calls_which_hardly_vary(tmp_path: Path) -> None:
    planned = answer(tmp_path, BUSY)
    row = planned.choice
    assert row is not None
    assert row.response_ms is not None
    found = explanation.of_plan(planned)
    slowest_ms = 1e3 * row.service.calls_s.max() * (1 + row.band)
    assert row.response_ms < value(found, "p99 of the wait alone") + slowest_ms


def test_nothing_saved_is_never_earned_back(tmp_path: Path) -> None:
    found = explanation.of_plan(answer(tmp_path, QUIET), "int8_static")
    even = next(line for line in lines_of(found) if line.name == "break-even")
    assert (even.value, even.words) == (None, "never: nothing is saved")
    assert lines.shown(even) == "not known"


def test_what_was_timed_on_another_makers_processor_is_projected() -> None:
    run = factories.run(FOUND)
    amd = replace(run, machine=replace(run.machine, cpu="AMD EPYC"))
    labels = {line.name: line.label for line in lines_of(explanation.of_run(amd, PLAN, FOUND, None, BOOK, TODAY))}
    assert (labels["saturated"], labels["speed-up"]) == ("projected", "measured")
    assert {line.name: line.label for line in lines_of(of_run())}["saturated"] == "measured"


def test_what_is_worked_out_from_a_projection_is_no_better_than_it(tmp_path: Path) -> None:
    bigger = factories.plan(usd_per_hour=0.2, instance="aws/c7i.xlarge")
    found = explanation.of_plan(answer(tmp_path, BUSY + EGRESS, plan=bigger))
    labels = {line.name: line.label for line in lines_of(found)}
    assert {labels[one] for one in ("mean call", "machines", "p99, simulated", "bill of a month", "saturated")} == {
        "projected"
    }
    assert (labels["requests a month"], labels["egress"], labels["mean traffic"]) == ("modelled", "modelled", "given")


def test_only_an_original_is_explained_without_holding_it_against_itself(tmp_path: Path) -> None:
    found = of_run(found=FOUND[:1])
    assert [section.title for section in found.sections][1:2] == ["A million inferences: the original on cpu"]
    assert not any("saved" in line.name for line in lines_of(found))
    alone = explanation.of_plan(answer(tmp_path, BUSY, FOUND[:1]))
    assert not any(section.title.startswith("The original's") for section in alone.sections)


# ---------------------------------------------------------------------------------------- nothing meets


def test_when_nothing_meets_the_budget_the_nearest_is_explained() -> None:
    found = of_run(plan=replace(PLAN, budget=replace(PLAN.budget, size_mb=0.1)))
    assert not found.met
    assert found.headline.startswith("Nothing meets the budget: the nearest, ")
    assert value(found, "saturated") > 0


def test_when_nothing_keeps_the_promise_the_nearest_calls_are_shown_and_no_bill(tmp_path: Path) -> None:
    found = explanation.of_plan(answer(tmp_path, "requests_per_second: 5\np99_ms: 0.1\n"))
    assert not found.met
    assert found.headline.startswith("Impossible on any number of these machines")
    assert value(found, "p99 of the calls, seen") > 0.1
    assert not any(line.name == "bill of a month" for line in lines_of(found))


def test_when_no_machine_can_be_planned_with_only_the_traffic_is_left(tmp_path: Path) -> None:
    found = explanation.of_plan(answer(tmp_path, "requests_per_second: 5\nmachines: [aws/c7g.large]\n"))
    assert (found.met, found.candidate, len(found.sections)) == (False, None, 1)
    assert json.loads(explain_facts.written(found))["candidate"] is None


# ---------------------------------------------------------------------------------------- which candidate


@pytest.mark.parametrize("name", ["int8_static", "int8_static on cpu", FOUND[1].candidate.id[:6]])
def test_a_candidate_is_known_by_its_label_or_the_start_of_its_id(name: str) -> None:
    assert of_run(name).candidate == FOUND[1].candidate


def test_a_candidate_that_was_refused_is_explained_with_the_reason(tmp_path: Path) -> None:
    told = explanation.of_plan(answer(tmp_path, BUSY), "fp16").headline
    assert told.startswith("fp16 on cpu on aws/c7i.large: refused: accuracy -7.50 points ")
    assert of_run("fp16").headline.startswith("fp16 on cpu: accuracy -7.50 points ")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("int8_statik", "--candidate int8_statik: the run has no such candidate; did you mean 'int8_static'?"),
        ("", "--candidate : the run has no such candidate"),
        ("slim", "--candidate slim: slim on cpu was not measured (skipped: nothing to remove)"),
    ],
)
def test_a_candidate_that_is_not_there_is_refused(name: str, words: str) -> None:
    skipped = Skipped(replace(FOUND[0].candidate, recipe=recipe("slim")), "nothing to remove")
    run = factories.run((*FOUND, skipped))
    with pytest.raises(UsageError) as refused:
        explanation.of_run(run, PLAN, (*FOUND, skipped), None, BOOK, TODAY, name)
    assert str(refused.value).startswith(words)


def test_the_start_of_several_ids_is_refused() -> None:
    found = tuple(measured(recipe("low_rank"), threads=place) for place in range(1, 40))
    ids = [one.candidate.id for one in found]
    first = next(one[0] for one in ids if sum(other[0] == one[0] for other in ids) > 1)
    with pytest.raises(UsageError, match=f"--candidate {first}: begins several ids: "):
        explanation.of_run(factories.run(found), PLAN, found, None, BOOK, TODAY, first)


def test_a_candidate_in_batches_has_no_wait_by_erlang(tmp_path: Path) -> None:
    found = explanation.of_plan(answer(tmp_path, BUSY), FOUND[-1].candidate.id)
    assert value(found, "saturated") > 0
    assert not any("erlang_c" in line.formula for line in lines_of(found))


def test_a_run_without_a_machine_or_without_its_original_has_no_bill() -> None:
    with pytest.raises(UsageError, match="run example names no machine, so there is no bill to explain: add --machine"):
        of_run(plan=factories.plan())
    run = factories.run(FOUND)
    with pytest.raises(UsageError, match="run example: the original was not measured"):
        explanation.of_run(run, PLAN, FOUND[1:], None, BOOK, TODAY)


# ---------------------------------------------------------------------------------------- how it reads


@pytest.mark.parametrize("form", ["table.100.txt", "table.80.txt", "md"])
@pytest.mark.parametrize("of", ["run", "plan"])
def test_an_explanation_reads_as_it_did(of: str, form: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    found = of_run(plan=WITH_TRAFFIC) if of == "run" else explanation.of_plan(answer(tmp_path, BUSY + EGRESS))
    sheet = explain_sheet.sheet(found)
    shown = markdown.written(sheet) if form == "md" else table.written(sheet, int(form.split(".")[1]))
    golden = GOLDEN / f"explain_{of}.{form}"
    if request.config.getoption("--update-golden"):
        golden.write_text(shown, encoding="utf-8")
    assert shown == golden.read_text(encoding="utf-8")


def command(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    journal = Journal(folder / "runs" / "example")
    with journal.held():
        journal.write_run(factories.run(FOUND))
        journal.write_plan(PLAN)
        for one in FOUND:
            journal.append(one)
    (folder / "traffic.yaml").write_text(BUSY)
    whole = [sys.executable, "-m", "costopt", "explain", "example", "--out", str(folder / "runs"), *arguments]
    return subprocess.run(whole, cwd=folder, capture_output=True, text=True, check=False)


def test_programs_get_every_line(tmp_path: Path) -> None:
    ended = command(tmp_path, "--config", "traffic.yaml", "--format", "json")
    assert (ended.returncode, ended.stderr) == (0, "")
    told = json.loads(ended.stdout)
    assert (told["schema"], told["kind"], told["verdict"]) == (1, "explanation", "met")
    every = [line for section in told["sections"] for line in section["lines"]]
    assert {line["label"] for line in every} <= {"measured", "projected", "modelled", "given"}
    assert {tuple(line) for line in every} == {
        ("name", "formula", "filled", "value", "unit", "low", "high", "label", "source", "words")
    }


def test_the_command_ends_with_3_when_nothing_meets_and_with_2_for_bad_input(tmp_path: Path) -> None:
    assert command(tmp_path, "--config", "traffic.yaml", "--set", "p99_ms=0.1").returncode == 3
    ended = command(tmp_path, "--set", "p99_ms=0.1")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "costopt: --set overrides keys of a traffic file, and none is given: add --config traffic.yaml\n"
    )
