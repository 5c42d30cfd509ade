"""An explanation as JSON, for other programs. Fields may be added, never renamed; `schema` counts versions."""

import json
import math

from costopt.explaining.explanation import Explanation
from costopt.explaining.lines import Line

EXPLANATION_SCHEMA = 1

Facts = dict[str, object]


def written(found: Explanation) -> str:
    """The whole as one JSON object, indented, keys in a fixed order; what is not known or not finite is null."""
    return json.dumps(facts(found), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def facts(found: Explanation) -> Facts:
    """The explanation as plain values; figures as they are, not as they are shown."""
    return {
        "schema": EXPLANATION_SCHEMA,
        "kind": "explanation",
        "verdict": "met" if found.met else "not_met",
        "run": found.run.id,
        "candidate": None if found.candidate is None else found.candidate.id,
        "machine": found.machine,
        "headline": found.headline,
        "sections": [
            {"title": section.title, "lines": [_line(line) for line in section.lines]} for section in found.sections
        ],
        "notes": found.notes,
    }


def _line(line: Line) -> Facts:
    return {
        "name": line.name,
        "formula": line.formula,
        "filled": line.filled,
        "value": _finite(line.value),
        "unit": line.unit,
        "low": _finite(line.low),
        "high": _finite(line.high),
        "label": line.label,
        "source": line.source,
        "words": line.words,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
