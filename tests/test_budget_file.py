"""The budget file's JSON Schema, its template, and the options that both read from the plug-ins' text."""

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from costopt import plan, plugins
from costopt.errors import ConfigError, UsageError
from costopt.records import Budget, InputSpec, Spec, Traffic

REPOSITORY = Path(__file__).parent.parent
TEMPLATE = REPOSITORY / "costopt" / "budget.yaml"
KINDS: tuple[plugins.Kind, ...] = ("methods", "metrics", "providers", "prices")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return plan.json_schema()


def test_the_json_schema_is_a_schema(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


def test_every_key_of_the_schema_tells_an_editor_what_it_is(schema: dict[str, Any]) -> None:
    for section in (schema, *schema["$defs"].values()):
        assert section["description"]
        for key, value in section["properties"].items():
            assert "description" in value or "$ref" in value, key


@pytest.mark.parametrize(
    "path", [TEMPLATE, *sorted(REPOSITORY.glob("configs/*/budget.yaml"))], ids=lambda path: path.parent.name
)
def test_every_budget_in_this_repository_is_read_and_fits_the_schema(path: Path, schema: dict[str, Any]) -> None:
    plan.read(path, data_must_exist=False)
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), schema)


def switched_on(template: str) -> str:
    """The template with every option that is shown in a comment switched on."""
    keys = "|".join(sorted({"data", *plan.BudgetFile.model_fields, *nested_keys()} - {"recipes", "instance"}))
    return re.sub(rf"^( *)# ( *)(?=({keys}|x):)", r"\1\2", template, flags=re.MULTILINE)


def nested_keys() -> set[str]:
    sections = plan.BudgetFile.sections.values()
    return {key for section in sections for key in section.model_fields} | {"shape", "dtype"}


def test_every_key_is_in_the_template_and_its_example_is_right(tmp_path: Path, schema: dict[str, Any]) -> None:
    text = switched_on(TEMPLATE.read_text(encoding="utf-8"))
    (tmp_path / "budget.yaml").write_text(text, encoding="utf-8")
    found = plan.read(tmp_path / "budget.yaml", data_must_exist=False)
    assert found.budget == Budget(0.01, 5.0, 0.05, 1.0, 200.0, 0.05, 20.0)
    assert found.traffic == Traffic(50.0, 3.0)
    assert found.inputs == (InputSpec("x", ("batch", 3, 224, 224), "float32"),)
    written = yaml.safe_load(text)
    assert set(written) == set(schema["properties"])
    for section in ("data", "budget", "traffic", "energy"):
        assert set(written[section]) == set(plan.BudgetFile.sections[section].model_fields)


@pytest.mark.parametrize(
    ("given_value", "fits"),
    [
        ({"metric": "top1"}, True),
        ({"metric": "my.module:function"}, True),
        ({"metric": {"f1": {"average": "micro"}}}, True),
        ({"metric": {"f1": {"average": "mean"}}}, False),
        ({"metric": "top7"}, False),
        ({"recipes": "auto"}, True),
        ({"recipes": [["slim"], [], [{"int8_static": {"per_channel": True}}], "fp16"]}, True),
        ({"recipes": [["slimm"]]}, False),
        ({"recipes": [[{"int8_static": {"per_chanel": True}}]]}, False),
        ({"budget": {"p95_ms": "5ms"}}, True),
        ({"budget": {"p95_ms": -5}}, False),
        ({"budget": {"p95_ms": 0}}, False),
        ({"budget": {"accuracy_drop": 0}}, True),
        ({"budget": {"p95": 5}}, False),
        ({"providers": ["gpu"]}, False),
        ({"batch": []}, False),
        ({"batch": [1, 1]}, False),
        ({"confidence": 0.4}, False),
        ({"objective": "energy"}, True),
        ({"machine": {"instance": "aws/c7i.large", "terms": "spot", "discount": "20%"}}, True),
        ({"machine": {"instance": "aws/c7i.large", "terms": "spott"}}, False),
        ({"machine": {"owned": {"purchase_usd": 1, "years": 1, "watts": 1, "usd_per_kwh": 0.1}}}, True),
        ({"machine": {"owned": {"purchase_usd": 1, "years": 0, "watts": 1, "usd_per_kwh": 0.1}}}, False),
        ({"energy": {"grid": "FRA", "pue": 1.15}, "budget": {"co2_grams_per_million": 5}}, True),
        ({"energy": {"grid": 56}}, True),
        ({"energy": {"pue": 0.5}}, False),
        ({"budget": {"joules_per_inference": 0}}, False),
        ({"machine": {"owned": {"purchase": 1, "years": 1, "watts": 1, "usd_per_kwh": 0.1}}}, False),
        ({"surprise": 1}, False),
    ],
)
def test_schema_and_reader_agree(
    tmp_path: Path, schema: dict[str, Any], given_value: dict[str, Any], fits: bool
) -> None:
    (tmp_path / "evaluation.npz").touch()
    whole = {"data": {"evaluation": "evaluation.npz"}, **given_value}
    assert jsonschema.Draft202012Validator(schema).is_valid(whole) == fits
    (tmp_path / "budget.yaml").write_text(yaml.safe_dump(whole))
    try:
        plan.read(tmp_path / "budget.yaml")
        assert fits
    except ConfigError:
        assert not fits


# ---------------------------------------------------------------------------------------- options without importing


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in plugins.names(kind)])
def test_the_options_that_are_read_from_the_text_are_the_ones_that_the_class_has(kind: plugins.Kind, name: str) -> None:
    plugin = plugins.find(kind, name, object)
    hints = typing.get_type_hints(plugin)
    fields = {one.name: hints[one.name] for one in dataclasses.fields(plugin)}  # type: ignore[arg-type]
    assert {option: one.hint or type(None) for option, one in plugins.options(kind, name).items()} == fields


def test_a_missing_option_is_asked_for() -> None:
    with pytest.raises(UsageError, match="prices/table needs the option 'instance'"):
        plugins.check("prices", Spec("table"))
