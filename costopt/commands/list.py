"""`costopt list`: what can be named in the budget file, and which providers work here."""

import typing
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from costopt.plugins import Kind

INDENT = "    "


def list_(
    kind: Annotated[
        str, typer.Argument(help="methods, metrics, providers, scenarios, formats, feeds, prices, reports or runners.")
    ],
) -> None:
    """List the methods, metrics, providers or formats that there are, with their options."""
    from costopt import plugins

    for name in plugins.names(known_kind(kind)):
        for line in _lines(known_kind(kind), name):
            typer.echo(line)


def known_kind(kind: str) -> "Kind":
    """A folder of plug-ins by its name. Raises UsageError with the nearest."""
    from costopt.errors import UsageError
    from costopt.plugins import Kind, nearest

    for known in typing.get_args(Kind):
        if kind == known:
            return typing.cast(Kind, known)
    raise UsageError(f"there is no list of '{kind}'{nearest(kind, typing.get_args(Kind))}")


def _lines(kind: "Kind", name: str) -> Iterator[str]:
    from costopt import plugins

    yield f"{name}: {plugins.describe(kind, name)}"
    if kind == "providers":
        yield f"{INDENT}{_whether_here(name)}"
    for option, one in plugins.options(kind, name).items():
        default = "must be given" if one.default is None else f"default {one.default}"
        yield f"{INDENT}{option}: {plugins.in_words(one.hint)} ({default})"


def _whether_here(name: str) -> str:
    from costopt import plugins
    from costopt.providers import Provider
    from costopt.records import Spec

    provider = plugins.make("providers", Spec(name), Provider)
    missing = provider.missing()
    seen = f"seen at work: {provider.seen}" if provider.seen else "not seen at work by us: each run proves it anew"
    return f"{'here' if missing is None else f'not here: {missing}'} ({seen})"
