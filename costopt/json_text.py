"""What programs read: plain values as JSON text, one form for all commands."""

import json
import math
from collections.abc import Mapping


def json_text(facts: object) -> str:
    """Indented, keys in the order given, a line's end behind it; null for every number that JSON has no word for."""
    return json.dumps(_finite(facts), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _finite(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
