"""Where a plan's machines stand and what they draw: from the traffic file, the machine's own figures, or the tables."""

from collections.abc import Iterable

from costopt.errors import ConfigError
from costopt.measuring.devices import device_of
from costopt.planning.bills import Egress
from costopt.planning.places import Place
from costopt.powering import draws, grids, routes
from costopt.powering.buildings import USD_PER_KWH, Site, pue_of
from costopt.powering.draws import Draw
from costopt.powering.energy_file import DataAsked, EnergyAsked
from costopt.powering.footprints import Limits, Power
from costopt.powering.grids import Grid
from costopt.pricing import ownership
from costopt.pricing.book import Book
from costopt.pricing.ownership import PUE_ON_PREMISES
from costopt.records import Plan, Run, Spec, Value
from costopt.verdict import Quote


def power(run: Run, plan: Plan, quote: Quote, book: Book, places: Iterable[Place], asked: EnergyAsked | None) -> Power:
    """The site and the draws of a plan's machines; a machine without a figure has none."""
    found = {one.instance: _draw(one, run, plan, quote, book, asked) for one in places}
    known = {instance: draw for instance, draw in found.items() if draw is not None}
    return Power(_site(plan, quote, book, asked), known, Limits() if asked is None else asked.limits)


def _draw(place: Place, run: Run, plan: Plan, quote: Quote, book: Book, asked: EnergyAsked | None) -> Draw | None:
    own = not quote.instance or place.instance == quote.instance
    if own and asked is not None and asked.watts is not None:
        return draws.given(asked.idle_watts, asked.watts, "given in the traffic file")
    if is_owned(plan):
        return draws.given(None, _number(plan.price, "watts"), "given as machine.owned.watts")
    if not quote.instance:
        device = device_of(run.machine)
        return None if device is None else draws.of_device(device, run.machine.cores)
    offer = next(iter(book.of(place.instance)), None)
    if offer is None:
        return draws.of_instance(place.instance, place.vcpus)
    return draws.of_instance(place.instance, place.vcpus, offer.accelerator, offer.accelerator_count)


def _site(plan: Plan, quote: Quote, book: Book, asked: EnergyAsked | None) -> Site:
    """What the traffic file says goes before what the owned machine says, and that before tables."""
    owned = plan.price if is_owned(plan) else None
    pue, pue_source = pue_of("" if owned is not None else quote.instance.partition("/")[0] or "another")
    price, price_source = USD_PER_KWH, "the US industrial mean of 2024"
    if owned is not None:
        pue, pue_source = _number(owned, "pue", pue), "machine.owned" if "pue" in owned.options else pue_source
        price, price_source = _number(owned, "usd_per_kwh", price), "machine.owned"
    if asked is not None and asked.pue is not None:
        pue, pue_source = asked.pue, "given"
    if asked is not None and asked.usd_per_kwh is not None:
        price, price_source = asked.usd_per_kwh, "given"
    grid = asked.grid if asked is not None and asked.grid is not None else _grid(plan, quote, book)
    return Site(grid, pue, price, pue_source, price_source, None if owned is None else _billed_usd_per_hour(owned))


def _billed_usd_per_hour(owned: Spec) -> float:
    """The power in the price of an hour of an owned machine, as `ownership.hour` has it."""
    pue = _number(owned, "pue", PUE_ON_PREMISES)
    return ownership.hour(0.0, 1.0, _number(owned, "watts"), _number(owned, "usd_per_kwh"), pue).power_usd


def _grid(plan: Plan, quote: Quote, book: Book) -> Grid | None:
    """That of the region of the run's machine, where it has one."""
    named = None if plan.price is None else plan.price.options.get("region")
    offer = next(iter(book.of(quote.instance)), None)
    region = named if isinstance(named, str) else "" if offer is None else offer.region
    return grids.find(region) if region else None


def is_owned(plan: Plan) -> bool:
    """Whether the run's machine is one's own."""
    return plan.price is not None and plan.price.name == "owned"


def _number(price: Spec | None, option: str, default: float = 0.0) -> float:
    value: Value = None if price is None else price.options.get(option)
    return float(value) if isinstance(value, int | float) else default


def egress(asked: DataAsked | None, quote: Quote) -> Egress | None:
    """The line of the bill for the data's way. Raises ConfigError where nobody says what a GB costs."""
    if asked is None:
        return None
    provider = quote.instance.partition("/")[0]
    price = routes.usd_per_gb(asked.route.path, provider) if asked.usd_per_gb is None else asked.usd_per_gb
    if price is None:
        whose = f"'{provider}'" if provider else "a machine without a name"
        raise ConfigError(f"data.path: no price per GB to the internet is known for {whose}: give data.usd_per_gb")
    return routes.egress(asked.route, price)
