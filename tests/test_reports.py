"""Reports are text made from a `Report`; cases are written by hand (`report_cases`), their texts lie in `golden/`.

`pytest --update-golden` (`make golden`) writes the texts anew: read the difference before it is committed.
"""

import csv
import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costopt import plugins
from costopt.records import Interval, Report, Spec, Usd
from costopt.reports import Render
from tests.report_cases import CASES, STATIC, faults, keep_original, met, no_price, nothing_meets

GOLDEN = Path(__file__).parent / "golden"

FORMS = {
    "table.100.txt": ("table", 100),
    "table.80.txt": ("table", 80),
    "json": ("json", 100),
    "csv": ("csv", 100),
    "md": ("markdown", 100),
}


def render(form: str, report: Report, width: int = 100, colour: bool = False) -> str:
    return plugins.make("reports", Spec(form), Render)(report, width, colour)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("form", FORMS)
def test_a_report_reads_as_it_did(case: str, form: str, request: pytest.FixtureRequest) -> None:
    name, width = FORMS[form]
    text, golden = render(name, CASES[case](), width), GOLDEN / f"{case}.{form}"
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


def as_json(report: Report) -> dict[str, Any]:
    found = json.loads(render("json", report), parse_constant=refuse_constant)
    assert isinstance(found, dict)
    return found


def lines_of_table(text: str) -> list[str]:
    """The lines of the candidates: from the rule under the head to the next empty line."""
    lines = text.splitlines()
    first = next(index for index, line in enumerate(lines) if set(line) == {"-"}) + 1
    return lines[first : lines.index("", first)]


@pytest.mark.parametrize("form", plugins.names("reports"))
@pytest.mark.parametrize("case", CASES)
def test_every_format_renders_every_case_and_ends_in_a_newline(form: str, case: str) -> None:
    text = render(form, CASES[case]())
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


@given(case=st.sampled_from(sorted(CASES)), width=st.integers(50, 220))
def test_the_table_never_leaves_its_width(case: str, width: int) -> None:
    assert max(map(len, render("table", CASES[case](), width).splitlines())) <= width


@pytest.mark.parametrize("width", [80, 100])
def test_no_cell_is_cut_at_80_and_100_columns(width: int) -> None:
    for case in CASES.values():
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


@pytest.mark.parametrize("case", CASES)
def test_colour_changes_nothing_but_the_colour(case: str) -> None:
    report = CASES[case]()
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
