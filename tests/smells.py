"""Counts the smells that this house does not allow, and says where they are: `python -m tests.smells`.

- a broad `except` (bare, `Exception`, `BaseException`) that is not round one third-party call, re-raised at once as our
  own error, with the reason in a comment on its line;
- `hasattr` and `getattr`: know the type that you hold;
- `**kwargs`: name the parameters;
- lines in files called `*util*`, `*helper*` or `*common*`: an idea without a name.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "costopt"


def broad_excepts(tree: ast.AST, lines: list[str]) -> Iterator[int]:
    """Lines of broad handlers that lack a reason, or don't re-raise at once."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _is_excused(node, lines):
            yield node.lineno


def _is_broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or (
        isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException")
    )


def _is_excused(handler: ast.ExceptHandler, lines: list[str]) -> bool:
    return "  # " in lines[handler.lineno - 1] and isinstance(handler.body[-1], ast.Raise)


def probings(tree: ast.AST) -> Iterator[int]:
    """Lines that ask an object what it is."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("hasattr", "getattr"):
            yield node.lineno


def nameless_parameters(tree: ast.AST) -> Iterator[int]:
    """Lines of functions that take `**kwargs`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and node.args.kwarg:
            yield node.lineno


def found(package: Path) -> dict[str, list[str]]:
    """Every smell with its places, as `file:line`."""
    places: dict[str, list[str]] = {
        "broad except": [],
        "hasattr/getattr": [],
        "**kwargs": [],
        "lines in *util*/*helper*/*common* files": [],
    }
    for path in sorted(package.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        tree, lines, name = ast.parse(text), text.splitlines(), path.relative_to(package.parent)
        places["broad except"] += [f"{name}:{line}" for line in broad_excepts(tree, lines)]
        places["hasattr/getattr"] += [f"{name}:{line}" for line in probings(tree)]
        places["**kwargs"] += [f"{name}:{line}" for line in nameless_parameters(tree)]
        if any(word in path.name for word in ("util", "helper", "common")):
            places["lines in *util*/*helper*/*common* files"] += [f"{name}:{line}" for line in range(len(lines))]
    return places


def excused(package: Path) -> list[str]:
    """The exceptions that are allowed, each with its reason."""
    return [
        f"{path.relative_to(package.parent)}:{number}: {line.partition('#')[2].strip()}"
        for path in sorted(package.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if line.strip().startswith(("except Exception", "except BaseException", "except:")) and "  # " in line
    ]


def main() -> None:
    """Print the counts; exit 1 when one is not zero."""
    smells = found(PACKAGE)
    for smell, places in smells.items():
        print(f"{smell}: {len(places)}  {', '.join(places)}")
    reasons = excused(PACKAGE)
    print(f"broad except round one third-party call, re-raised as our own error: {len(reasons)}")
    for reason in reasons:
        print(f"  {reason}")
    sys.exit(any(smells.values()))


if __name__ == "__main__":
    main()
