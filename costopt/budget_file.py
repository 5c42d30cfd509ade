"""What a budget file may say: one pydantic model a section.

The models are the one source of the checks (`plan.read`) and of the JSON Schema that editors use (`costopt schema`);
the words under each field are what an editor shows.

Names of methods, metrics and providers, and their options, are checked against the plug-in folders without importing
a plug-in, so that reading a budget costs milliseconds.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainValidator,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import CoreSchema, core_schema

from costopt import plugins, units
from costopt.errors import UsageError
from costopt.powering import grids
from costopt.powering.grids import Grid
from costopt.pricing.offers import iso_date
from costopt.pricing.ownership import PUE_ON_PREMISES
from costopt.records import Spec, Value

JsonObject = dict[str, Any]
T = TypeVar("T")

DTYPES = (
    "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool",
)  # fmt: skip

# `package.module:function`, as opposed to a path.
FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")

# A section whose every line is a comment is a section left out; any other key without a value is a slip.
_MAY_BE_EMPTY = {"budget", "traffic", "machine", "energy", "currency", "inputs"}

# ---------------------------------------------------------------------------------------- kinds of value


class KeyFault(ValueError):
    """A fault in a key of the section being checked; `key` is appended to the section's path."""

    def __init__(self, key: str, words: str) -> None:
        """`words` say what is wrong and what to do."""
        super().__init__(words)
        self.key = key


@dataclass(frozen=True)
class _JsonSchema:
    """What editors are told of a value; made when asked for, since it may list plug-ins."""

    make: Callable[[], JsonObject]

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonObject:
        return self.make()


def _positive(parse: Callable[[object], float], *examples: float | str) -> tuple[Any, ...]:
    """A number above zero, or a text with a unit that `parse` understands."""
    number_or_text = [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]
    schema = {"anyOf": number_or_text, "examples": list(examples)}
    return Field(gt=0), BeforeValidator(parse), WithJsonSchema(schema)


def _distinct(given: list[T]) -> list[T]:
    for index, one in enumerate(given):
        if one in given[:index]:
            shown = [str(part) for part in one] if isinstance(one, list) else one
            raise ValueError(f"{shown} is listed twice; keep one")
    return given


def _spec(kind: plugins.Kind, given: object) -> Spec:
    """A plug-in from `name` or `{name: {option: value}}`. Raises ValueError with the nearest name."""
    if isinstance(given, str):
        spec = Spec(given)
    elif isinstance(given, dict) and len(given) == 1:
        ((name, options),) = given.items()
        spec = Spec(name, _options(name, options))
    else:
        raise ValueError(f"must be a name or {{name: {{option: value}}}}, not {given!r}")
    try:
        plugins.check(kind, spec)
    except UsageError as error:  # pydantic adds the path to a ValueError only
        raise ValueError(str(error).removeprefix(f"{kind}: ")) from error
    return spec


def _options(name: str, given: object) -> Mapping[str, Value]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise ValueError(f"the options of {name} must be `option: value` lines, not {given!r}")
    for option, value in given.items():
        if isinstance(value, dict | list):
            raise ValueError(f"{name}: the option '{option}' must be a single value, not {value!r}")
    return given


def _method(given: object) -> Spec:
    return _spec("methods", given)


def _metric(given: object) -> Spec:
    if isinstance(given, str) and FUNCTION.fullmatch(given):
        return Spec("own", {"function": given})
    return _spec("metrics", given)


def _provider(given: object) -> Spec:
    return _spec("providers", given)


def _recipes(given: object) -> object:
    """None for `auto`; a recipe that is a single method may be written without its brackets."""
    if given == "auto":
        return None
    if not isinstance(given, list):
        raise ValueError(f"must be auto, or a list of recipes such as [[slim], [int8_static]], not {given!r}")
    return _distinct([one if isinstance(one, list) else [one] for one in given])


def _factory(given: object) -> str:
    if isinstance(given, str) and FUNCTION.fullmatch(given):
        return given
    raise ValueError(f"must be module:factory, such as my_models:small, not {given!r}")


def _currency_code(given: str) -> str:
    if re.fullmatch("[A-Z]{3}", given):
        return given
    raise ValueError(f"{given[:40]!r} is no code of a currency: write three capitals, such as EUR")


def _grid(given: object) -> Grid:
    if isinstance(given, str):
        return grids.of(given)
    if isinstance(given, int | float) and not isinstance(given, bool):
        return grids.given(float(given))
    raise ValueError(f"must be a country (FRA), a region (us-east-1) or g CO2e per kWh (369), not {given!r}")


def _dimension(given: object) -> int | str:
    whole = isinstance(given, int) and not isinstance(given, bool) and given > 0
    if isinstance(given, int | str) and (whole or (isinstance(given, str) and given.isidentifier())):
        return given
    raise ValueError(f"a dimension is a number from 1, or a name when it varies (batch), not {given!r}")


def _dtype(given: object) -> str:
    if given not in DTYPES:
        raise ValueError(f"no dtype {given!r}{plugins.nearest(str(given), DTYPES)}")
    return str(given)


def _plugin_schema(kind: plugins.Kind) -> JsonObject:
    """`name`, or `{name: {option: value}}`, with every name and option of the folder."""
    names = plugins.names(kind)
    by_name = {name: _options_schema(plugins.options(kind, name)) for name in names}
    with_options = {"type": "object", "properties": by_name, "minProperties": 1, "maxProperties": 1}
    return {"anyOf": [{"enum": list(names)}, with_options | {"additionalProperties": False}]}


def _options_schema(options: Mapping[str, plugins.Option]) -> JsonObject:
    return {
        "type": ["object", "null"],
        "properties": {
            name: TypeAdapter(option.hint).json_schema() | {"description": f"default: {option.default or 'none'}"}
            for name, option in options.items()
        },
        "required": [name for name, option in options.items() if option.default is None],
        "additionalProperties": False,
    }


def _metric_schema() -> JsonObject:
    schema = _plugin_schema("metrics")
    return {"anyOf": [*schema["anyOf"], {"type": "string", "pattern": f"^{FUNCTION.pattern}$"}]}


def _recipes_schema() -> JsonObject:
    method = _plugin_schema("methods")
    recipe = {"anyOf": [method, {"type": "array", "items": method}]}
    return {"anyOf": [{"const": "auto"}, {"type": "array", "items": recipe, "uniqueItems": True}], "default": "auto"}


Text = Annotated[str, Field(min_length=1)]
Milliseconds = Annotated[float, *_positive(units.parse_ms, 5, "5ms")]
Megabytes = Annotated[float, *_positive(units.parse_megabytes, 1, "900 kB")]
Seconds = Annotated[float, *_positive(units.parse_seconds, 600, "10m")]
Usd = Annotated[float, *_positive(units.parse_usd, 0.05, "$0.05"), Field(le=1e12)]
Share = Annotated[
    float,
    BeforeValidator(units.parse_share),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string"}], "examples": [0.01, "1%"]}),
]
Count = Annotated[int, Field(ge=1)]
Method = Annotated[Spec, PlainValidator(_method)]
Listed = (Field(min_length=1, json_schema_extra={"uniqueItems": True}), AfterValidator(_distinct))
Provider = Annotated[Spec, PlainValidator(_provider), _JsonSchema(lambda: _plugin_schema("providers"))]
GridName = Annotated[
    Grid,
    PlainValidator(_grid),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}], "examples": ["FRA", 369]}),
]
Dimension = Annotated[int | str, PlainValidator(_dimension), WithJsonSchema({"type": ["integer", "string"]})]

# ---------------------------------------------------------------------------------------- sections


class Section(BaseModel):
    """`key: value` lines, each key known."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _only_known_keys(cls, given: object) -> object:
        for key, value in given.items() if isinstance(given, dict) else ():
            if key not in cls.model_fields:
                raise KeyFault(key, f"unknown key{cls.near(key)}")
            if value is None and key not in _MAY_BE_EMPTY:
                raise KeyFault(key, "is empty: give a value, or remove the line")
        return given

    @classmethod
    def near(cls, key: str) -> str:
        """What an unknown key may have been meant to be, as the end of a sentence."""
        return plugins.nearest(key, cls.model_fields)


class _Section(Section):
    """A section of the budget file."""

    @classmethod
    def near(cls, key: str) -> str:
        """Where a key belongs that stands in the wrong section; else the nearest of its own section."""
        homes = [name for name, other in BudgetFile.sections.items() if key in other.model_fields]
        if homes:
            return f"; it belongs under `{homes[0]}:`"
        if key in BudgetFile.model_fields:
            return "; it belongs at the top level, without indentation"
        return super().near(key)


class DataSection(_Section):
    """Where the data lies."""

    evaluation: Text
    """Inputs and labels (`target`) that judge every candidate: a file, or module:function. Without labels a candidate
    is judged by its agreement with the original."""
    calibration: Text | None = None
    """Inputs that show a quantiser the range of real values; labels are not needed. Left out: evaluation's inputs."""


class BudgetSection(_Section):
    """The limits: each optional, and a candidate must meet all that are given."""

    accuracy_drop: Share | None = None
    """How far the metric may fall below the original's, certified at `confidence`: 0.01 or 1% is one point of a share;
    for other metrics it is in the metric's own unit."""
    p95_ms: Milliseconds | None = None
    """95 of 100 calls are answered within this time, in milliseconds."""
    usd_per_million: Usd | None = None
    """USD per million inferences, at your traffic when it is given, else on a machine that never idles."""
    size_mb: Megabytes | None = None
    """Size of the model file in megabytes (10^6 bytes)."""
    memory_mb: Megabytes | None = None
    """Peak memory of the serving process above what it held before the model was loaded, in megabytes."""
    joules_per_inference: Annotated[float, Field(gt=0)] | None = None
    """Energy of an inference while it computes, in joules at the server: modelled from published power, so a limit
    within its band is undecided."""
    co2_grams_per_million: Annotated[float, Field(gt=0)] | None = None
    """Grams of CO2e of a million inferences while they compute, the building's share included; see `energy`."""


class EnergySection(_Section):
    """Where the machine's electricity comes from, for limits on CO2."""

    grid: GridName | None = None
    """A country (FRA), a cloud's region (us-east-1), or g CO2e per kWh (369). Left out: that of `machine`."""
    pue: Annotated[float, Field(ge=1)] | None = None
    """Power that the building draws over what its machines draw. Left out: what the provider says of its own."""
    watts: Annotated[float, Field(gt=0)] | None = None
    """What the machine draws while it serves, measured at the plug. Left out: published power of its processor."""


class TrafficSection(_Section):
    """The load that the model serves; instances are whole, and sized at the peak."""

    requests_per_second: Annotated[float, Field(gt=0)]
    """Mean over the day."""
    peak_to_mean: Annotated[float, Field(ge=1)] = 1.0
    """The busiest moment over the mean."""


_SHARE_OF_ONE = (
    BeforeValidator(units.parse_share),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}], "examples": ["20%"]}
    ),
)
"""A share that is less than all, or all at most."""


class OwnedSection(_Section):
    """A machine of your own: its price is spread over the hours in which it works."""

    purchase_usd: Usd
    """What it cost to buy, in US dollars."""
    years: Annotated[float, Field(gt=0)]
    """How long it is kept."""
    watts: Annotated[float, Field(ge=0)]
    """What it draws at work, at the plug."""
    usd_per_kwh: Annotated[float, Field(ge=0)]
    """What a kilowatt-hour costs."""
    pue: Annotated[float, Field(ge=1)] = PUE_ON_PREMISES
    """Power that the site draws over what its machines draw; 1.56 is the average of the industry (Uptime, 2024)."""
    staff_share_usd_per_year: Annotated[float, Field(ge=0)] = 0.0
    """This machine's share of what the people cost who look after it."""
    utilisation: Annotated[float, Field(gt=0, le=1), *_SHARE_OF_ONE] = 1.0
    """The share of all hours in which it does this or other paid work: 0.6 or 60%. Leave it out where `traffic` is
    given: there idle hours are counted already."""


class MachineSection(_Section):
    """What the machine costs."""

    instance: Text | None = None
    """A name from the price book (`costopt prices list`), such as aws/c7i.large; beside usd_per_hour it is only a
    label."""
    region: Text | None = None
    """Where it is rented, such as us-east-1. Left out: the provider's home region."""
    terms: Literal["on_demand", "spot", "reserved"] | None = None
    """How it is paid for. The book has on-demand prices, spot for many machines, and reserved where your own has."""
    discount: Annotated[float, Field(ge=0, lt=1), *_SHARE_OF_ONE] | None = None
    """The share that is taken off your bill: 0.2 or 20%."""
    usd_per_hour: Usd | None = None
    """Your own price of an hour: agreed, reserved or committed."""
    owned: OwnedSection | None = None
    """A machine of your own, in place of all the others."""

    @model_validator(mode="after")
    def _one_price(self) -> "MachineSection":
        if self.owned is None and self.instance is None and self.usd_per_hour is None:
            raise ValueError("give `instance: aws/c7i.large` (a name from the price book) or `usd_per_hour: 0.09`")
        beside = sorted(self.model_fields_set - {"owned"})
        if self.owned is not None and beside:
            raise KeyFault(beside[0], "a machine of your own (`owned`) has a price of its own; remove this line")
        return self


class CurrencySection(_Section):
    """A currency that amounts are shown in beside US dollars, at a fixed, dated rate; limits stay in US dollars."""

    code: Annotated[str, AfterValidator(_currency_code), WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$"})]
    """ISO 4217: EUR."""
    usd: Annotated[float, Field(gt=0)]
    """What one of it is worth in US dollars."""
    as_of: Annotated[str, AfterValidator(iso_date), WithJsonSchema({"type": "string", "format": "date"})]
    """When it was worth that: 2026-11-01."""


class InputSection(_Section):
    """One input of the model."""

    shape: Annotated[list[Dimension], Field(min_length=1)]
    """Its dimensions: a number, or a name when it varies: [batch, 3, 224, 224]."""
    dtype: Annotated[str, BeforeValidator(_dtype), WithJsonSchema({"enum": list(DTYPES)})] = "float32"
    """The type of its elements, as NumPy names it."""


class BudgetFile(_Section):
    """A budget for costopt: what the compressed model may lose, how fast it must answer, and what it costs to serve."""

    data: DataSection
    metric: Annotated[Spec, PlainValidator(_metric), _JsonSchema(_metric_schema)] = Field("top1", validate_default=True)
    """How good outputs are: a name, {name: {options}}, or module:function of your own."""
    budget: BudgetSection | None = None
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """How sure every verdict must be: more than 0.5, less than 1."""
    objective: Literal["cost", "latency", "size", "energy"] = "cost"
    """What to make as small as possible among the candidates that meet the budget."""
    traffic: TrafficSection | None = None
    machine: MachineSection | None = None
    energy: EnergySection | None = None
    currency: CurrencySection | None = None
    providers: Annotated[list[Provider], *Listed] | None = None
    """Execution providers to try, each a name or {name: {options}}: [cpu, {openvino: {inference_precision: f32}}].
    Left out: every provider found on this machine."""
    batch: Annotated[list[Count], *Listed] = [1]
    """Batch sizes to try."""
    threads: Annotated[list[Count], *Listed] | None = None
    """Thread counts to try. Left out: all of this machine's cores."""
    recipes: Annotated[list[list[Method]] | None, BeforeValidator(_recipes), _JsonSchema(_recipes_schema)] = None
    """What to try: auto, or a list of recipes, each a list of methods: [[slim], [{int8_static: {per_channel: true}}]].
    The original is always measured; [] measures it alone."""
    time_limit: Seconds = 600.0
    """Stop after this long and report the best so far: 600 (seconds), 10m, 1h30m."""
    precision: Annotated[
        float,
        Field(gt=0, lt=1),
        BeforeValidator(units.parse_share),
        WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}], "examples": ["5%"]}),
    ] = 0.05
    """How narrow a speed-up's interval must be before timing a candidate may end, (high - low) / speed-up: 0.05 or 5%.
    Narrower takes longer: halving it takes four times as long."""
    tune: bool = False
    """Search ONNX Runtime's session options (threads, spinning, arena, graph level ...) for the winner."""
    race: bool = True
    """Under `recipes: auto`: stop measuring a candidate as soon as it can't win for certain. false measures all of them
    to the end."""
    student: Annotated[str | None, BeforeValidator(_factory)] = None
    """Under `recipes: auto`: a network of your own that may learn from the original, as module:factory; the factory
    takes no arguments."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Start of every random choice, so that a second run repeats the first."""
    inputs: dict[str, InputSection] | None = None
    """The model's inputs, for files that do not describe them."""
    opset: Annotated[int, Field(ge=18, le=25)] = 20
    """The ONNX operator set to export to: 18 to 25, the range that onnxscript converts between."""

    sections: ClassVar[Mapping[str, type[_Section]]] = {
        "data": DataSection, "budget": BudgetSection, "traffic": TrafficSection, "machine": MachineSection,
        "machine.owned": OwnedSection, "energy": EnergySection, "currency": CurrencySection,
    }  # fmt: skip


class _WithoutNull(GenerateJsonSchema):
    """A key is given with a value or left out, so `null` is nowhere in the schema."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonObject:
        """Only what the value is when it is given."""
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonObject:
        """No default where the default is to leave the key out."""
        found = super().default_schema(schema)
        return {key: value for key, value in found.items() if key != "default" or value is not None}


def json_schema() -> JsonObject:
    """The JSON Schema (draft 2020-12) of the budget file, for editors."""
    schema = BudgetFile.model_json_schema(schema_generator=_WithoutNull)
    return {"$schema": _WithoutNull.schema_dialect, **schema, "title": "costopt budget"}
