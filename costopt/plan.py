"""The budget file: YAML in, `Plan` out, strict.

`read` composes the YAML with its line numbers (`located`), lets the models of `budget_file` judge it, and answers each
fault with its line, its path and what to do:

    budget.yaml:12: budget.p95_ms: '5 parsec' is not a time: write 5 (milliseconds), '5ms' or '0.005s'
"""

import functools
import os
import re
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from costopt import located, plugins, units
from costopt.budget_file import (
    FUNCTION,
    BudgetFile,
    BudgetSection,
    DataSection,
    EnergySection,
    KeyFault,
    MachineSection,
    Section,
    json_schema,
)
from costopt.errors import ConfigError, UsageError
from costopt.located import KeyPath, Located
from costopt.powering import grids
from costopt.powering.buildings import pue_of
from costopt.prices import Prices
from costopt.pricing.book import HOME_REGIONS
from costopt.records import Budget, Currency, Data, Electricity, InputSpec, Plan, Recipe, Spec, Traffic, Value

__all__ = ["BudgetFile", "json_schema", "price_of", "read", "validated"]

# A drop of 1 in these would be the whole scale: whoever writes 1 means one per cent.
_AT_MOST_ONE = units.SHARES | {"cosine"}

# Whoever has more faults than this mends these first: a screenful of errors is not read.
_FAULTS_SHOWN = 2

INIT = "`costopt init` writes an example"

File = TypeVar("File", bound=Section)


def read(path: Path, overrides: tuple[str, ...] = (), data_must_exist: bool = True) -> Plan:
    """The plan that a budget file describes, with every default filled in.

    `overrides` are assignments such as `budget.p95_ms=3`, from `--set`; each value is YAML, and `null` takes the key
    out. `data_must_exist` is False where nothing is measured (a stored run is judged again).

    Raises ConfigError: one line a fault, with its place, path and remedy; two at most, then how many more there are.
    """
    source = functools.reduce(Located.override, overrides, located.read(path))
    file = validated(BudgetFile, source)
    _refuse_contradictions(file, source)
    limits, machine = file.budget or BudgetSection(), file.machine
    return Plan(
        data=_data(file.data, source, path.absolute().parent, data_must_exist),
        metric=file.metric,
        budget=Budget(**limits.model_dump()),
        confidence=file.confidence,
        objective=file.objective,
        traffic=None if file.traffic is None else Traffic(**file.traffic.model_dump()),
        price=None if machine is None else price_of(machine, source),
        providers=None if file.providers is None else tuple(file.providers),
        batch=tuple(file.batch),
        threads=tuple(file.threads or ()),
        recipes=None if file.recipes is None else _as_recipes(file.recipes),
        time_limit_s=file.time_limit,
        seed=file.seed,
        inputs=tuple(InputSpec(name, tuple(one.shape), one.dtype) for name, one in (file.inputs or {}).items()),
        opset=file.opset,
        precision=file.precision,
        tune=file.tune,
        race=file.race,
        student=file.student,
        currency=None if file.currency is None else Currency(**file.currency.model_dump()),
        electricity=_electricity(file, source),
    )


def _as_recipes(given: list[list[Spec]]) -> tuple[Recipe, ...]:
    return tuple(tuple(recipe) for recipe in given)


def validated(kind: type[File], source: Located, example: str = INIT) -> File:
    """What a file says, judged by its model; `example` is where a missing key can be looked up.

    Raises ConfigError: one line a fault, with its place, path and remedy; two at most, then how many more there are.
    """
    try:
        return kind.model_validate(source.value)
    except ValidationError as error:
        faults = [_fault(source, detail, example) for detail in error.errors()]
        more = len(faults) - _FAULTS_SHOWN
        rest = [f"(and {more} more)"] if more > 0 else []
        raise ConfigError("\n".join(faults[:_FAULTS_SHOWN] + rest)) from error


def _fault(source: Located, detail: ErrorDetails, example: str) -> str:
    cause = detail.get("ctx", {}).get("error")
    path: KeyPath = (*detail["loc"], cause.key) if isinstance(cause, KeyFault) else detail["loc"]
    return str(source.error(path, str(cause) if cause is not None else _in_words(detail, example)))


def _in_words(detail: ErrorDetails, example: str) -> str:
    """What pydantic found, in this program's words; its own where there are none."""
    given, bounds = detail["input"], detail.get("ctx", {})
    words = {
        "missing": f"is missing; {example}",
        "model_type": f"must be a section of `key: value` lines, not {given!r}",
        "dict_type": f"must be a section of `key: value` lines, not {given!r}",
        "list_type": f"must be a list: [{given}]",
        "int_type": f"must be a whole number, not {given!r}",
        "float_type": f"must be a number, not {given!r}",
        "finite_number": f"must be a finite number, not {given!r}",
        "string_type": f"must be a text, not {given!r}",
        "string_too_short": "is empty: give a value, or remove the line",
        "too_short": "the list is empty; name one or more, or remove the line",
        "greater_than": f"must be more than {bounds.get('gt', 0):g}, not {given!r}",
        "greater_than_equal": f"must be at least {bounds.get('ge', 0):g}, not {given!r}",
        "less_than": f"must be less than {bounds.get('lt', 0):g}, not {given!r}",
        "less_than_equal": f"must be at most {bounds.get('le', 0):g}, not {given!r}",
        "literal_error": f"must be {bounds.get('expected')}, not {given!r}",
    }
    return words.get(detail["type"], detail["msg"])


def _refuse_contradictions(file: BudgetFile, source: Located) -> None:
    """What each value allows and the others do not. Raises ConfigError."""
    limits, metric = file.budget or BudgetSection(), file.metric.name
    if limits.accuracy_drop is not None and metric in _AT_MOST_ONE and limits.accuracy_drop >= 1:
        words = f"{limits.accuracy_drop:g} would allow any drop of {metric}; one point is 0.01 or 1%"
        raise source.error(("budget", "accuracy_drop"), words)
    if metric not in _AT_MOST_ONE | {"own"} and source.written(("budget", "accuracy_drop")).endswith("%"):
        words = f"{metric} is not a share, so % has no meaning; write the drop in its own unit, such as 0.05"
        raise source.error(("budget", "accuracy_drop"), words)
    if file.student is not None and file.recipes is not None:
        words = "is for `recipes: auto`; in a recipe of your own write {distill: {student: " + file.student + "}}"
        raise source.error(("student",), words)
    if limits.usd_per_million is not None and file.machine is None:
        words = "needs the machine's price; add `machine: {instance: aws/c7i.large}` or `machine: {usd_per_hour: 0.09}`"
        raise source.error(("budget", "usd_per_million"), words)


def _data(data: DataSection, source: Located, folder: Path, must_exist: bool) -> Data:
    def resolved(key: str, given: str) -> str:
        path = folder / os.path.expanduser(given)
        if os.path.exists(path):  # not Path.exists, which raises for a name that is too long
            return str(path)
        if FUNCTION.fullmatch(given):
            return given
        if must_exist:
            raise source.error(("data", key), f"no such file: {path} (paths are relative to the budget file)")
        return str(path)

    calibration = None if data.calibration is None else resolved("calibration", data.calibration)
    return Data(resolved("evaluation", data.evaluation), calibration)


def _electricity(file: BudgetFile, source: Located) -> Electricity | None:
    """The grid that is named, else that of the machine's region; only where `energy` or a limit on CO2 asks for it."""
    limited = file.budget is not None and file.budget.co2_grams_per_million is not None
    if file.energy is None and not limited:
        return None
    asked, machine = file.energy or EnergySection(), file.machine
    rented = "" if machine is None or machine.instance is None else machine.instance.partition("/")[0]
    grid = asked.grid or grids.find((machine.region if machine else None) or HOME_REGIONS.get(rented, "nowhere"))
    if grid is None and limited:
        words = "needs to know where the electricity comes from: add `energy: {grid: FRA}` (a country, or g CO2e/kWh)"
        raise source.error(("budget", "co2_grams_per_million"), words)
    owned = machine.owned.pue if machine is not None and machine.owned is not None else None
    pue, whose = pue_of(rented or ("" if machine is None or machine.owned is not None else "another"))
    pue, whose = (pue, whose) if owned is None else (owned, "machine.owned")
    pue, whose = (pue, whose) if asked.pue is None else (asked.pue, "given")
    words = f"{'no known grid' if grid is None else grid.words} and PUE {units.given(pue)} ({whose})"
    return Electricity(None if grid is None else grid.grams_co2e_per_kwh, pue, words, asked.watts)


def price_of(machine: MachineSection, source: Located) -> Spec:
    """The price source that a file's `machine:` names.

    It is asked for its quote at once, so that an unknown instance is found before work starts. Raises ConfigError.
    """
    spec = _price_source(machine)
    try:
        plugins.make("prices", spec, Prices).quote()
    except UsageError as error:
        blamed = re.match(r"machine\.(\w+): ", str(error))
        path = ("machine", blamed[1]) if blamed else ("machine",)
        raise source.error(path, str(error)[blamed.end() if blamed else 0 :]) from error
    return spec


def _price_source(machine: MachineSection) -> Spec:
    """The plug-in in `prices/` that a machine's keys ask for, with the options that were given."""
    given = machine.model_dump(exclude_none=True)
    if machine.owned is not None:
        return Spec("owned", given["owned"])
    if machine.usd_per_hour is None:
        return Spec("table", given)
    own_price: dict[str, Value] = {key: value for key, value in given.items() if key != "region"}
    return Spec("fixed", {"instance": "", **own_price})
