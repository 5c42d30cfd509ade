"""Reports are text made from a report; cases are written by hand (`*_cases`), their texts lie in `golden/`.

`pytest --update-golden` (`make golden`) writes the texts anew: read the difference before it is committed.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt import plugins, stats, units
from costopt.benching import bench_facts
from costopt.benching.measurements import BenchReport, Energy
from costopt.providers import Provider
from costopt.records import Round, Setting, Spec, Timing
from costopt.reports import Render, sheet
from costopt.verdict import Interval, Report, Usd
from tests import bench_cases
from tests.bench_cases import BENCH_CASES
from tests.report_cases import CASES, STATIC, faults, keep_original, met, no_price, nothing_meets

GOLDEN = Path(__file__).parent / "golden"

FORMS = {
    "table.100.txt": ("table", 100),
    "table.80.txt": ("table", 80),
    "json": ("json", 100),
    "csv": ("csv", 100),
    "md": ("markdown", 100),
}


EVERY_CASE: dict[str, Callable[[], Report | BenchReport]] = {**CASES, **BENCH_CASES}


def render(form: str, report: Report | BenchReport, width: int = 100, colour: bool = False) -> str:
    return plugins.make("reports", Spec(form), Render)(report, width, colour)


@pytest.mark.parametrize("case", EVERY_CASE)
@pytest.mark.parametrize("form", FORMS)
def test_a_report_reads_as_it_did(case: str, form: str, request: pytest.FixtureRequest) -> None:
    name, width = FORMS[form]
    text, golden = render(name, EVERY_CASE[case](), width), GOLDEN / f"{case}.{form}"
    if request.config.getoption("--update-golden"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


PERCENTILE_SCHEMA = {"type": ["number", "null"], "minimum": 0}
JSON_SCHEMA = {
    "type": "object",
    "required": [
        "schema", "verdict", "keep_original", "winner", "baseline", "run", "candidates", "machine", "price", "versions",
        "inputs",
    ],
    "properties": {
        "schema": {"const": 1},
        "verdict": {"enum": ["met", "not_met"]},
        "keep_original": {"type": "boolean"},
        "winner": {"type": ["string", "null"]},
        "baseline": {"type": "string"},
        "run": {"type": "string"},
        "headline": {"type": "string", "minLength": 1},
        "finished": {"type": "boolean"},
        "nearest": {"type": "array", "maxItems": 3, "items": {"type": "string"}},
        "notes": {"type": "array", "items": {"type": "string"}},
        "machine": {"type": "object", "required": ["cpu", "cores", "memory_bytes", "system"]},
        "price": {"type": ["object", "null"], "required": ["instance", "usd_per_hour", "as_of", "source"]},
        "versions": {"type": "object", "additionalProperties": {"type": "string"}},
        "inputs": {"type": "object", "required": ["model_sha256"]},
        "candidates": {"type": "array", "items": {"$ref": "#/$defs/candidate"}},
    },
    "$defs": {
        "candidate": {
            "type": "object",
            "required": [
                "id", "recipe", "provider", "batch", "threads", "status", "reason", "stage", "latency_ms",
                "throughput_per_s", "speedup", "metric", "size_bytes", "peak_memory_bytes", "load_s", "usd_per_million",
                "joules_per_inference", "placement", "meets", "refusals",
            ],
            "properties": {
                "id": {"type": "string", "minLength": 10},
                "recipe": {"type": "array", "items": {"type": "object", "required": ["name", "options"]}},
                "provider": {"type": "string"},
                "batch": {"type": "integer", "minimum": 1},
                "threads": {"type": "integer", "minimum": 1},
                "status": {"enum": ["measured", "failed", "invalid", "skipped"]},
                "reason": {"type": ["string", "null"]},
                "stage": {"type": ["string", "null"]},
                "latency_ms": {
                    "type": ["object", "null"],
                    "required": ["p50", "p95", "p99", "samples"],
                    "properties": {"p50": PERCENTILE_SCHEMA, "p95": PERCENTILE_SCHEMA, "p99": PERCENTILE_SCHEMA},
                },
                "speedup": {"type": ["object", "null"], "required": ["ratio", "low", "high"]},
                "metric": {
                    "type": ["object", "null"],
                    "required": ["name", "value", "drop", "low", "high", "samples", "certified"],
                    "properties": {"certified": {"type": ["boolean", "null"]}},
                },
                "size_bytes": {"type": ["integer", "null"]},
                "usd_per_million": {"type": ["object", "null"], "required": ["saturated", "at_traffic"]},
                "joules_per_inference": {"const": {"value": None, "label": "not measured"}},
                "placement": {"type": "object", "additionalProperties": {"type": "number", "maximum": 1}},
                "meets": {"type": ["boolean", "null"]},
                "refusals": {"type": "array", "items": {"type": "object", "required": ["limit", "value", "bound"]}},
            },
        }
    },
}  # fmt: skip


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def as_json(report: Report | BenchReport) -> dict[str, Any]:
    found = json.loads(render("json", report), parse_constant=refuse_constant)
    assert isinstance(found, dict)
    return found


def lines_of_table(text: str) -> list[str]:
    """The lines of the candidates: from the rule under the head to the next empty line."""
    lines = text.splitlines()
    first = next(index for index, line in enumerate(lines) if set(line) == {"-"}) + 1
    return lines[first : lines.index("", first)]


@pytest.mark.parametrize("form", plugins.names("reports"))
@pytest.mark.parametrize("case", EVERY_CASE)
def test_every_format_renders_every_case_and_ends_in_a_newline(form: str, case: str) -> None:
    text = render(form, EVERY_CASE[case]())
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


@pytest.mark.parametrize("case", CASES)
def test_the_json_report_has_the_fields_that_other_programs_read(case: str) -> None:
    jsonschema.validate(as_json(CASES[case]()), JSON_SCHEMA)


def test_the_json_schema_of_these_tests_sees_a_field_that_is_gone() -> None:
    found = as_json(met())
    del found["candidates"][0]["speedup"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, JSON_SCHEMA)


def test_json_carries_the_figures_as_they_are() -> None:
    found = as_json(met())
    winner = next(one for one in found["candidates"] if one["id"] == found["winner"])
    assert winner["recipe"] == [{"name": "int8_static", "options": {}}]
    assert winner["speedup"] == {"ratio": 1.67, "low": 1.67 * 0.96, "high": 1.67 * 1.05}
    assert winner["metric"]["drop"] == -0.0003
    assert winner["usd_per_million"]["saturated"] == 0.0292 / 1.67
    assert found["price"]["usd_per_hour"] == 0.0893


def test_json_has_null_for_a_percentile_without_enough_samples() -> None:
    latency_ms = as_json(no_price())["candidates"][0]["latency_ms"]
    assert latency_ms["p99"] is None
    assert latency_ms["needs"]["p99"] == 662


def test_json_has_null_for_an_interval_without_an_upper_end() -> None:
    report = met()
    open_ended = replace(report.rows[1], speedup=Interval(1.5, 0.0, math.inf))
    found = as_json(replace(report, rows=(report.rows[0], open_ended)))
    assert found["candidates"][1]["speedup"] == {"ratio": 1.5, "low": 0.0, "high": None}


@pytest.mark.parametrize("case", CASES)
def test_csv_has_one_row_a_candidate_and_the_same_columns_everywhere(case: str) -> None:
    report = CASES[case]()
    found = list(csv.DictReader(io.StringIO(render("csv", report))))
    assert [one["id"] for one in found] == [one.candidate.id for one in report.rows]
    assert all(None not in one and None not in one.values() for one in found)
    assert list(found[0]) == list(csv.DictReader(io.StringIO(render("csv", faults()))).fieldnames or ())


def test_csv_leaves_empty_what_was_not_measured() -> None:
    failed = list(csv.DictReader(io.StringIO(render("csv", faults()))))[2]
    assert failed["status"] == "failed"
    assert failed["speedup"] == failed["p50_ms"] == failed["size_bytes"] == ""


@given(case=st.sampled_from(sorted(EVERY_CASE)), width=st.integers(40, 220))
def test_the_table_never_leaves_its_width(case: str, width: int) -> None:
    assert max(map(len, render("table", EVERY_CASE[case](), width).splitlines())) <= width


@pytest.mark.parametrize("width", [80, 100])
def test_no_cell_is_cut_at_80_and_100_columns(width: int) -> None:
    for case in EVERY_CASE.values():
        assert "…" not in render("table", case(), width)


@pytest.mark.parametrize(
    ("width", "lost"), [(100, ()), (80, ("MB",)), (73, ("MB", "p50")), (64, ("MB", "p50", "batch"))]
)
def test_a_narrow_table_gives_up_columns_in_the_stated_order(width: int, lost: tuple[str, ...]) -> None:
    head = render("table", met(), width).partition("\n--")[0]
    missing = tuple(word for word in ("MB", "p50", "batch", "speed-up") if word not in head)
    assert missing == lost


def test_a_wide_table_has_one_line_a_candidate() -> None:
    assert len(lines_of_table(render("table", keep_original(), 200))) == 2
    assert len(lines_of_table(render("table", keep_original(), 100))) == 4


def test_only_the_chosen_row_is_marked() -> None:
    marked = [line for line in lines_of_table(render("table", met())) if line.startswith(">")]
    assert len(marked) == 1
    assert "chosen" in marked[0]
    assert not any(line.startswith(">") for line in lines_of_table(render("table", nothing_meets())))


@pytest.mark.parametrize("case", EVERY_CASE)
def test_colour_changes_nothing_but_the_colour(case: str) -> None:
    report = EVERY_CASE[case]()
    coloured = render("table", report, colour=True)
    assert "\x1b[" in coloured
    without = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert [line.rstrip() for line in without.splitlines()] == render("table", report).splitlines()


def test_without_colour_there_is_no_escape_sequence() -> None:
    assert "\x1b" not in render("table", met(), colour=False)


def test_no_color_in_the_environment_is_respected_even_when_colour_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", render("table", met(), colour=True))


def test_an_escape_sequence_in_a_reason_does_not_reach_the_terminal() -> None:
    report = faults()
    hostile = replace(report.rows[2], lost="boom \x1b[2J\x07\nsecond line")
    hostile_report = replace(report, rows=(*report.rows[:2], hostile))
    for form in ("table", "markdown"):
        text = render(form, hostile_report)
        assert "\x1b" not in text
        assert "\x07" not in text
        assert "second line" in text


def test_markdown_is_not_broken_by_what_it_quotes() -> None:
    report = faults()
    hostile = replace(report.rows[2], lost="a | b <script>alert(1)</script> **bold** `code`")
    text = render("markdown", replace(report, rows=(*report.rows[:2], hostile)))
    assert "<script>" not in text
    assert r"a \| b" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1


def test_what_stands_for_an_unknown_figure_is_explained() -> None:
    text = render("table", no_price())
    assert "p95 -: needs 130 samples, has 40" in text
    assert "relative cost: 1.00x is what the original costs" in text


def test_a_skipped_candidate_is_listed_with_its_reason_and_has_no_row() -> None:
    text = render("table", faults())
    assert not any("fp16" in line for line in lines_of_table(text))
    assert "- fp16: every weight is float16 already" in text


def test_a_recipe_that_was_skipped_everywhere_is_said_once() -> None:
    report = faults()
    skipped = next(row for row in report.rows if row.status == "skipped")
    again = replace(skipped, candidate=replace(skipped.candidate, batch=8))
    text = render("table", replace(report, rows=(*report.rows, again)))
    assert text.count("- fp16") == 1
    elsewhere = replace(again, reason="another reason")
    text = render("table", replace(report, rows=(*report.rows, elsewhere)))
    assert "- fp16 on cpu, batch 1: every weight is float16 already" in text
    assert "- fp16 on cpu, batch 8: another reason" in text


def test_an_invalid_candidate_is_listed_with_the_fix() -> None:
    assert "pip install 'costopt[openvino]'" in " ".join(render("table", faults()).split())


def test_threads_are_told_where_candidates_differ_in_them() -> None:
    report = met()
    single = replace(report.rows[1], candidate=replace(STATIC, threads=1))
    assert "threads" not in render("table", report)
    text = render("table", replace(report, rows=(*report.rows, single)), 120)
    assert "batch 1, 1 thread " in text
    assert "batch 1, 2 threads" in text


def test_costs_at_traffic_take_the_place_of_saturated_ones() -> None:
    report = met()
    busy = replace(report.rows[1], usd=Usd(Interval(0.6, 0.57, 0.62), 0.0175, 1.488, 3))
    text = render("table", replace(report, rows=(report.rows[0], busy)))
    assert "$1.49" in text
    assert "at your traffic, on whole machines" in text


def test_the_users_own_metric_goes_by_its_functions_name() -> None:
    report = met()
    own = replace(report.run, metric=Spec("own", {"function": "my_metrics:psnr"}))
    assert "psnr" in render("table", replace(report, run=own)).split("---")[0]


# ---------------------------------------------------------------------------------------- bench


def bench_row(report: BenchReport, form: str = "csv") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render(form, report))))


@pytest.mark.parametrize("case", BENCH_CASES)
def test_the_json_of_a_bench_says_what_it_is_and_has_every_field_for_every_contender(case: str) -> None:
    report = BENCH_CASES[case]()
    found = as_json(report)
    assert (found["schema"], found["kind"]) == (1, "bench")
    assert [one["id"] for one in found["rows"]] == [one.contender.id for one in report.rows]
    assert found["baseline"] == report.run.contenders[0].id
    assert len({tuple(one) for one in found["rows"]}) == 1
    documented = set(re.findall(r'"(\w+)"', bench_facts.__doc__ or ""))
    assert set(found) | set(found["rows"][0]) <= documented


def test_the_json_of_compress_has_no_kind_and_no_percentile_that_it_did_not_have() -> None:
    found = as_json(met())
    assert "kind" not in found
    assert "p90" not in found["candidates"][0]["latency_ms"]


def test_what_is_not_finite_is_null_in_json_and_empty_in_csv() -> None:
    report = bench_cases.unfinished()
    assert as_json(report)["rows"][1]["speedup"]["high"] is None
    assert bench_row(report)[1]["speedup_high"] == ""
    assert bench_row(report)[1]["speedup_low"] == "0.0"


@pytest.mark.parametrize("case", BENCH_CASES)
def test_the_csv_of_a_bench_has_one_row_a_contender_and_the_stated_columns(case: str) -> None:
    found = bench_row(BENCH_CASES[case]())
    assert [one["id"] for one in found] == [one.contender.id for one in BENCH_CASES[case]().rows]
    assert all(tuple(one) == bench_facts.COLUMNS for one in found)


def test_one_call_after_another_has_no_throughput_anywhere() -> None:
    report = bench_cases.single_stream()
    assert all(one["samples_per_s"] == one["throughput_per_s"] == "" for one in bench_row(report))
    assert not re.search(r"throughput|samples/s", render("table", report, 200))


def test_measured_and_modelled_joules_never_share_a_column() -> None:
    report = bench_cases.energy()
    heads = {column.head.line: column.cells for column in sheet(report).grids[0].columns if "joules" in column.name}
    figures = {head: [cell.line for cell in cells] for head, cells in heads.items()}
    assert figures == {
        "joules per inference, measured": ["0.0132", "-"],
        "joules per inference, modelled": ["-", "0.0121"],
    }
    alone = replace(report.rows[0], energy=Energy(0.0132, "measured", "a counter"))
    assert "modelled" not in render("table", replace(report, rows=(alone,)), 200)


def test_random_inputs_are_named_before_any_figure() -> None:
    for form in ("table", "markdown"):
        text = render(form, bench_cases.unfinished())
        assert 0 < text.index("RANDOM INPUTS") < text.index("p50")
        assert "RANDOM" not in render(form, bench_cases.single_stream())


def test_the_first_contender_has_no_interval_for_being_as_fast_as_itself() -> None:
    first, second, *_ = lines_of_table(render("table", bench_cases.single_stream(), 180))
    assert "1.00x" in first
    assert "[" not in first
    assert "baseline" in first
    assert "[1.96x, 2.00x]" in " ".join((second, *_))


def test_a_single_contender_is_compared_with_nothing() -> None:
    report = bench_cases.single_stream()
    run = replace(report.run, contenders=report.run.contenders[:1])
    text = render("table", replace(report, run=run, rows=report.rows[:1]))
    assert "0.588" in text
    for word in ("speed-up", "verdict", "baseline"):
        assert word not in text.partition("\n\n")[2]


@pytest.mark.parametrize("name", plugins.names("providers"))
def test_every_provider_is_known_by_the_name_that_the_runtime_gives_it(name: str) -> None:
    runtime = plugins.find("providers", name, Provider).runtime_name.removesuffix("ExecutionProvider")
    report = bench_cases.single_stream()
    contender = replace(report.rows[0].contender, setting=Setting(Spec(name)))
    whole, half = ({runtime: 1.0}, {runtime: 0.9, "Another": 0.1})
    rows = [
        replace(report.rows[0], contender=contender, opened=bench_cases.opened(seconds=seconds))
        for seconds in (whole, half)
    ]
    shares = [one["share_of_asked_provider"] for one in bench_row(replace(report, rows=tuple(rows)))]
    assert shares == ["1.0", "0.9"]


def test_a_share_of_others_that_does_not_show_is_not_told() -> None:
    report = bench_cases.faults()
    opened = bench_cases.opened(seconds={"OpenVINO": 0.9999, "CPU": 0.0001})
    text = render("table", replace(report, rows=(report.rows[0], replace(report.rows[1], opened=opened))))
    assert "Who did the work" not in text
    assert "100 %" not in text


def test_nothing_of_a_models_name_reaches_the_terminal_but_its_letters() -> None:
    report = bench_cases.single_stream()
    hostile = replace(report.rows[1], contender=replace(report.rows[1].contender, model="a\x1b[2J\x07b\nc|d"))
    for form in ("table", "markdown"):
        text = render(form, replace(report, rows=(report.rows[0], hostile)))
        assert "\x1b" not in text
        assert "\x07" not in text
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines() if line.startswith("|")}) == 1


def test_long_names_are_broken_where_a_reader_would() -> None:
    lines = [line.split()[0] for line in lines_of_table(render("table", bench_cases.single_stream(), 80))]
    assert lines[-2:] == ["inference_", "precision=f32"]


def test_the_way_and_the_rate_that_are_best_are_marked() -> None:
    for report in (bench_cases.offline(), bench_cases.server_max()):
        main, *details = sheet(report).grids
        assert not main.marked
        assert [len(grid.marked) for grid in details] == [1, 1]
    assert "holds 412/s, does not hold 430/s" in render("markdown", bench_cases.server_max())


def test_a_note_that_run_and_report_share_is_told_once() -> None:
    report = bench_cases.faults()
    note = report.notes[0]
    assert render("table", replace(report, run=replace(report.run, notes=(note,)))).count(note) == 1


def test_latency_has_the_percentile_that_mlperf_asks_of_a_single_stream() -> None:
    calls = tuple(index / 1e3 for index in range(1, 101))
    found = stats.latency(Timing((Round(calls, calls),), 1, 1, "here"))
    assert found.p90 is not None
    assert found.p90.seen_ms == pytest.approx(90.0)
    assert found.p90.needs == 64
    assert found.p95.seen_ms is None


@given(st.floats(1e-3, 1e6))
def test_an_estimated_time_is_never_shorter_than_it_is_and_at_most_twice_as_long(seconds: float) -> None:
    number, unit = units.about_duration(seconds).split()
    said = float(number) * {"s": 1, "min": 60, "h": 3600}[unit]
    assert seconds <= said <= max(2 * seconds, 1)
