"""`costopt prices list | show | check | refresh`: the price book, the rules that keep it honest, and newer prices."""

import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costopt.commands import print_text, width_and_colour

if TYPE_CHECKING:
    from collections.abc import Sequence

    from costopt.pricing.offers import Offer
    from costopt.pricing.refresh import Refreshed

prices = typer.Typer(help="What machines cost: list, show, check and refresh the price book.", no_args_is_help=True)

SOURCES = "The kind of list: karpenter-aws, karpenter-azure, karpenter-gcp, spotinfo, skypilot, gpuhunt or csv."

REFUSALS_SHOWN = 10
"""Whoever has more of them asks for all with --verbose."""


class ListForm(StrEnum):
    """How a list of offers is printed; csv is a price book again."""

    table = "table"
    json = "json"
    csv = "csv"


class Form(StrEnum):
    """How one machine is printed."""

    table = "table"
    json = "json"


@prices.command("list")
def list_(
    match: Annotated[str, typer.Option(help="Part of the name: c7i, gcp/, large.")] = "",
    accelerator: Annotated[str, typer.Option(help="Part of the accelerator's name: H100, TPU, FPGA.")] = "",
    region: Annotated[str, typer.Option(help="Part of the region: us-east, westus.")] = "",
    spot: Annotated[bool, typer.Option("--spot", help="Only what has a spot price, ordered by it.")] = False,
    form: Annotated[ListForm, typer.Option("--format", "-f", help="How the list is printed.")] = ListForm.table,
) -> None:
    """List what machines cost an hour, the cheapest first; old prices are marked with their age."""
    from costopt.errors import UsageError
    from costopt.pricing import book, price_sheet
    from costopt.reports.table import written

    found = price_sheet.Wanted(match, accelerator, region, spot).of(book.current().offers.values())
    if not found:
        near = book.current().near(match) if match else ""
        raise UsageError(f"the price book has no such offer{near}; `costopt prices list` shows all")
    match form:
        case ListForm.csv:
            print_text(book.written(found))
        case ListForm.json:
            print_text(_json(found))
        case ListForm.table:
            print_text(written(price_sheet.sheet(found, _today()), *width_and_colour()))


@prices.command()
def show(
    instance: Annotated[str, typer.Argument(help="A machine, such as aws/c7i.large.")],
    form: Annotated[Form, typer.Option("--format", "-f", help="How it is printed.")] = Form.table,
) -> None:
    """Show everything that the book says of one machine: prices, dates, sources, in each region."""
    from costopt.pricing import book, price_sheet

    current = book.current()
    found = current.of(instance) or (current.find(instance),)
    print_text(_json(found) if form is Form.json else price_sheet.page(found, _today()))


@prices.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="A price book; left out, the one that holds today.")] = None,
) -> None:
    """Name every price that can't be right. Exits with 2 when there is one; old prices are counted, not refused."""
    from costopt.errors import UsageError
    from costopt.pricing import book, rules

    everything = tuple(book.current().offers.values()) if file is None else ()
    offers, faults = (everything, ()) if file is None else book.parse(book.text_of(file))
    findings = (*faults, *map(str, rules.check(offers, _today())))
    name = "the price book" if file is None else str(file)
    print_text("".join(f"{line}\n" for line in (*findings, _in_all(name, offers, _today()))))
    if findings:
        raise UsageError(
            f"{name}: {len(findings)} things are wrong (they are listed above); correct them, or take them out"
        )


@prices.command()
def refresh(
    source: Annotated[str, typer.Argument(help=SOURCES)],
    place: Annotated[
        str,
        typer.Option(
            "--from", help="A file, an https:// address, or `library` (gpuhunt alone: what that library fetches)."
        ),
    ],
    as_of: Annotated[str | None, typer.Option(help="The date of a list that has none inside: YYYY-MM-DD.")] = None,
    provider: Annotated[str | None, typer.Option(help="Whose prices they are, where the list does not say.")] = None,
    region: Annotated[
        list[str] | None, typer.Option(help="Regions to take (repeatable), or all. Left out: a cloud's home region.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Name every row that was refused.")] = False,
) -> None:
    """Bring newer prices into your own book, which is laid over the shipped one; the book before it is kept.

    The files: karpenter-provider-aws's zz_generated.pricing_aws.go, karpenter-provider-azure's
    zz_generated.pricing.go, karpenter-provider-gcp's initial-prices.json, spotinfo's spot-price-data.json,
    skypilot-catalog's <cloud>/vms.csv, a <provider>.csv of gpuhunt's catalog.zip, or a price book of your own.
    Nothing else is fetched.
    """
    from costopt.pricing.refresh import Asked
    from costopt.pricing.refresh import refresh as run

    asked = Asked(source, place, as_of, provider, tuple(region or ()))
    done = run(asked, datetime.datetime.now(datetime.UTC), _today())
    print_text("".join(f"{line}\n" for line in _told(done, verbose)))


def _today() -> datetime.date:
    """The latest date anywhere that this clock may stand for: a price of today is not of the future."""
    return max(datetime.date.today(), datetime.datetime.now(datetime.UTC).date())


def _json(offers: "Sequence[Offer]") -> str:
    import json

    from costopt.pricing import price_sheet

    return json.dumps([price_sheet.facts(one, _today()) for one in offers], indent=2, ensure_ascii=False) + "\n"


def _in_all(name: str, offers: "Sequence[Offer]", today: datetime.date) -> str:
    from costopt import units
    from costopt.pricing import offers as offer_dates

    ages = [offer_dates.age_days(one.as_of, today) for one in offers]
    old = sum(one is not None and one > offer_dates.OLD_AFTER_DAYS for one in ages)
    undated = sum(one is None for one in ages)
    told = f"{name}: {units.count_of(len(offers), 'row')}; {old} old (over {offer_dates.OLD_AFTER_DAYS} days)"
    return f"{told}, {undated} undated"


def _told(done: "Refreshed", verbose: bool) -> list[str]:
    """What became of a list, a line each."""
    from costopt import units

    settled = done.settled
    lines = [f"{units.count_of(len(settled.taken), 'price')} taken into {done.path}"]
    if done.kept is not None:
        lines.append(f"the book before it is kept as {done.kept.name}")
    if done.changed:
        old, new = done.changed[0]
        prices = f"${units.given(old.usd_per_hour)}, now ${units.given(new.usd_per_hour)}"
        counted = (
            "1 has changed:" if len(done.changed) == 1 else f"{units.count(len(done.changed))} have changed, such as"
        )
        lines.append(f"{counted} {new.instance} in {new.region}: {prices}")
    if done.outdated:
        lines.append(f"{units.count(done.outdated)} of them older than what your book has: the newer ones stay")
    if settled.incomplete:
        lines.append(
            f"{units.count(settled.incomplete)} without vCPUs, memory or accelerator: neither list nor book has them"
        )
    if settled.elsewhere:
        lines.append(f"{units.count_of(settled.elsewhere, 'row')} of other regions left out (--region all takes them)")
    if settled.refused:
        lines.append(f"{units.count_of(len(settled.refused), 'row')} refused:")
        told = settled.refused if verbose else settled.refused[:REFUSALS_SHOWN]
        lines += [f"  {one}" for one in told]
        if len(told) < len(settled.refused):
            lines.append(f"  and {len(settled.refused) - len(told)} more (--verbose names them)")
    return lines
