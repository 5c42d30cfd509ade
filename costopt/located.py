"""YAML in which every value knows where it was written, so that an error can name the line.

A file becomes plain dicts, lists and scalars, and beside them a map from each value's path to its place:
`budget.yaml:12`, or the command-line flag that set it.

Plain scalars are read by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema), not by PyYAML's
1.1, in which `1e-2` is a text, `yes` is true and `10:30` is 630. A budget file may come from somebody else, so what it
does not need is refused: aliases (nine lines of them can unfold into gigabytes), tags, great size and depth.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from costopt.errors import ConfigError

KeyPath = tuple[str | int, ...]

# A budget file has about a hundred lines; whoever gives more has most likely named the wrong file.
MAX_BYTES = 256 * 1024
MAX_DEPTH = 20

# Letters of an error: a line or two can be read, the whole of a wrong value can't.
MAX_WORDS = 600

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def dotted(path: KeyPath) -> str:
    """`budget.p95_ms`, `recipes[1][0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


@dataclass(frozen=True, slots=True)
class Located:
    """A mapping of plain values, and the place of each."""

    name: str
    value: Mapping[str, object]
    places: Mapping[KeyPath, str]

    def where(self, path: KeyPath) -> str:
        """The place of a value, or of the nearest thing around it when it is not there."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]

    def written(self, path: KeyPath) -> str:
        """A value as text, before any unit was understood; "" when it is not there."""
        value: object = self.value
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        return "" if value is None else str(value)

    def error(self, path: KeyPath, words: str) -> ConfigError:
        """`budget.yaml:12: budget.p95_ms: must be more than 0`."""
        parts = [self.where(path), *([dotted(path)] if path else []), words]
        text = ": ".join(parts)
        return ConfigError(text if len(text) <= MAX_WORDS else f"{text[:MAX_WORDS]} ...")

    def override(self, assignment: str) -> "Located":
        """The same with one value set, as by `--set budget.p95_ms=3`; `null` takes the key out.

        The value is YAML. Raises ConfigError that names the flag.
        """
        flag = f"--set {assignment}"
        dotted_path, equals, text = assignment.partition("=")
        path = tuple(dotted_path.strip().split("."))
        if not equals or not all(path):
            raise ConfigError(f"{flag}: write --set section.key=value, such as --set budget.p95_ms=3")
        below: dict[KeyPath, str] = {}
        value = _Reader(flag, below, numbered=False).read(text)
        kept = {known: place for known, place in self.places.items() if known[: len(path)] != path}
        added = {path + rest: place for rest, place in below.items()}
        return Located(self.name, _with(self.value, path, value, flag), kept | (added if value is not None else {}))


INIT = "`costopt init` writes one to start from"


def read(path: Path, remedy: str = INIT) -> Located:
    """Read a YAML file that holds a mapping; `remedy` is what to do where there is none.

    Raises ConfigError, with the line, for what can't be read, is not YAML, or is not `key: value` lines at the top.
    """
    text = _text(path, remedy)
    places: dict[KeyPath, str] = {}
    value = _Reader(str(path), places, numbered=True).read(text)
    if value is None:
        raise ConfigError(f"{path}: the file is empty; {remedy}")
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else f"the text {str(value)[:40]!r}"
        raise ConfigError(f"{path}:1: must be `key: value` lines at the top, not {kind}; {remedy}")
    return Located(str(path), value, places)


def _text(path: Path, remedy: str) -> str:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_BYTES:
            raise ConfigError(f"{path}: {size_bytes} bytes is too much for a budget file; is it the right file?")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; {remedy}") from error
    except OSError as error:
        raise ConfigError(f"{path}: can't be read ({error.strerror}); name a YAML file") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not a text file (byte {error.start} is not UTF-8); name a YAML file") from error


def _with(tree: Mapping[str, object], path: KeyPath, value: object, flag: str) -> dict[str, object]:
    """A copy of the tree with one value set, or taken out when it is None."""
    key, rest = str(path[0]), path[1:]
    if not rest:
        others = {known: old for known, old in tree.items() if known != key}
        return others if value is None else others | {key: value}
    inner = tree.get(key)
    if inner is not None and not isinstance(inner, dict):
        raise ConfigError(f"{flag}: '{key}' is not a section: it is {inner!r}")
    return {**tree, key: _with(inner or {}, rest, value, flag)}


class _Loader(yaml.SafeLoader):
    """Composes nodes only; leaves plain scalars as they are, for `_scalar`."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own way to say that no plain scalar has a type
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: object) -> yaml.Node | None:
        """Compose one value. Raises ComposerError for what a budget file does not need."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        self.depth += 1
        if isinstance(event, yaml.AliasEvent):
            problem = f"'*{event.anchor}' is an alias; write the value out"
        elif isinstance(event, yaml.CollectionStartEvent | yaml.ScalarEvent) and event.tag not in (None, "!"):
            problem = f"'{event.tag}' is a tag; a budget file has none: remove it"
        elif self.depth > MAX_DEPTH:
            problem = f"nested deeper than {MAX_DEPTH} levels"
        else:
            node = super().compose_node(parent, index)  # type: ignore[arg-type]
            self.depth -= 1
            return node
        raise yaml.composer.ComposerError(None, None, problem, event.start_mark)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Turns text into values and writes down each value's place."""

    name: str
    places: dict[KeyPath, str]
    numbered: bool

    def read(self, text: str) -> object:
        """The document in the text; None when it is empty."""
        try:
            node = yaml.compose(text, _Loader)
        except yaml.YAMLError as error:
            raise self._in_words(error, text) from error
        self.places[()] = self._place(0)
        return None if node is None else self._value(node, ())

    def _place(self, line: int) -> str:
        return f"{self.name}:{line + 1}" if self.numbered else self.name

    def _value(self, node: yaml.Node, path: KeyPath) -> object:
        self.places.setdefault(path, self._place(node.start_mark.line))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(child, (*path, index)) for index, child in enumerate(node.value)]
        return _scalar(str(node.value), quoted=isinstance(node, yaml.ScalarNode) and node.style is not None)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, object]:
        values: dict[str, object] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node.start_mark.line)
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(f"{place}: a key must be a plain word")
            here = (*path, key_node.value)
            if key_node.value in values:
                raise ConfigError(f"{place}: {dotted(here)}: given twice, first at {self.places[here]}; keep one")
            self.places[here] = place
            values[key_node.value] = self._value(value_node, here)
        return values

    def _in_words(self, error: yaml.YAMLError, text: str) -> ConfigError:
        if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
            return ConfigError(f"{self.name}: not a text file ({str(error).partition(chr(10))[0]}); name a YAML file")
        line = error.problem_mark.line
        lines = text.splitlines()
        indent = lines[line].lstrip(" ")[:1] if line < len(lines) else ""
        if indent == "\t" or "'\\t'" in str(error.problem):
            return ConfigError(f"{self._place(line)}: has a tab; YAML indents with spaces: put two in its place")
        return ConfigError(f"{self._place(line)}: not YAML: {error.problem}")


def _scalar(text: str, quoted: bool) -> bool | int | float | str | None:
    if quoted:
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "")) if _SPECIAL.fullmatch(text) else text
