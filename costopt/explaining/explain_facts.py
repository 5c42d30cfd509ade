"""An explanation as JSON, for other programs. Fields may be added, never renamed; `schema` counts versions."""

from costopt.explaining.explanation import Explanation
from costopt.explaining.lines import Line
from costopt.json_text import json_text

EXPLANATION_SCHEMA = 1

Facts = dict[str, object]


def written(found: Explanation) -> str:
    """The whole as one JSON object, indented, keys in a fixed order; what is not known or not finite is null."""
    return json_text(facts(found))


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
        "value": line.value,
        "unit": line.unit,
        "low": line.low,
        "high": line.high,
        "label": line.label,
        "source": line.source,
        "words": line.words,
    }
