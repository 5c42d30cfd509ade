"""A plan's energy and carbon in words: of the chosen fleet, on one line each."""

from collections.abc import Iterator

from costopt import units
from costopt.planning.ranking import Row
from costopt.planning.traffic_file import Asked
from costopt.powering import power_caps
from costopt.powering.footprints import Footprint, Limits, Power
from costopt.verdict import Interval


def paragraph(choice: Row | None, original: Row | None, asked: Asked, power: Power) -> tuple[str, ...]:
    """Nothing where neither energy nor the data's way was asked for and electricity is on somebody else's bill."""
    if choice is None or choice.bill is None or (asked.energy is None and asked.data is None and not power.site.owned):
        return ()
    return tuple(_lines(choice, original, asked, power))


def _lines(choice: Row, original: Row | None, asked: Asked, power: Power) -> Iterator[str]:
    found = choice.footprint
    if found is None:
        yield (
            f"no figure is known for what {choice.place.instance} draws: give energy.watts and energy.idle_watts, as "
            "measured at the plug"
        )
    else:
        yield _energy(found, choice, power)
        yield _carbon(found, power)
        if power.site.owned:
            yield _electricity(found, choice, power)
        yield from _saved(found, original)
        yield from _caps(found, choice, asked, power)
    yield from _data(choice, asked)


def _energy(found: Footprint, choice: Row, power: Power) -> str:
    draw, site = power.draws[choice.place.instance], power.site
    return (
        f"energy, modelled: {_span(found.watts)} W on average, {_span(found.kwh)} kWh a month at the meter (PUE "
        f"{units.given(site.pue)}: {site.pue_source}), {units.percent(found.idle_share)} of it idling; "
        f"{_span(found.joules_per_request)} J a request ({draw.words})"
    )


def _carbon(found: Footprint, power: Power) -> str:
    grid = power.site.grid
    if grid is None or found.kg_co2e is None or found.grams_per_million is None:
        return "CO2: no carbon intensity is known for this place: give energy.grid, a country such as FRA or g/kWh"
    note = f"; {grid.note}" if grid.note else ""
    return (
        f"CO2e, modelled: {_span(found.kg_co2e)} kg a month, {_span(found.grams_per_million)} g per million requests, "
        f"at {grid.words}, an annual mean of all generation there{note}"
    )


def _electricity(found: Footprint, choice: Row, power: Power) -> str:
    """What the bill holds of electricity, at the power at work in every hour, beside what the load makes of it."""
    site, draw = power.site, power.draws[choice.place.instance]
    billed = found.usd.value / found.watts.value * draw.max_w * choice.paid if found.watts.value else 0.0
    price = f"{units.given(site.usd_per_kwh)} USD/kWh ({site.price_source})"
    return (
        f"electricity, in the bill: {units.cents(billed)} a month at {price} with every hour at full power; at this "
        f"load about {units.cents(found.usd.value)} {units.span(found.usd.low, found.usd.high, units.usd)}"
    )


def _saved(found: Footprint, original: Row | None) -> Iterator[str]:
    """What compressing saves of energy, against the original's own fleet."""
    if original is None or original.footprint is None or original.footprint == found:
        return
    before = original.footprint
    less = 1 - found.kwh.value / before.kwh.value
    way = f"{units.percent(less)} less" if less >= 0 else f"{units.percent(-less)} more"
    kwh = units.significant(before.kwh.value)
    yield f"compressing takes {way} energy than the original on its own best machines ({kwh} kWh a month)"


def _caps(found: Footprint, choice: Row, asked: Asked, power: Power) -> Iterator[str]:
    """On one's own machines where their GPU is named; to a tenant only under a limit, and that it would lose money."""
    compute_usd = 0.0 if choice.bill is None else choice.bill.compute_usd
    cap = None if asked.energy is None else asked.energy.gpu
    if not power.site.owned:
        if power.limits != Limits():
            yield power_caps.tenant(compute_usd, found.usd.value)
        return
    if cap is None:
        return
    yield power_caps.advice(cap)
    worth = power_caps.worth(compute_usd - found.usd.value, found.usd.value, cap.best_saved, cap.best_slowdown)
    verdict = "it pays" if worth.pays else "so it pays only while the machine would stand idle anyway, or for its CO2"
    yield (
        f"that cap saves about {units.usd(worth.saved_usd)} of electricity a month; its lost time is worth "
        f"{units.usd(worth.time_usd)} of machine and staff: {verdict}"
    )


def _data(choice: Row, asked: Asked) -> Iterator[str]:
    if asked.data is None or choice.bill is None:
        return
    route, egress = asked.data.route, asked.egress
    sent = units.bytes(route.wire_bytes * choice.bill.requests)
    price = "" if egress is None else f" at {units.given(egress.usd_per_gb)} USD/GB"
    yield f"data, {route.path}: {sent} a month on the wire, {units.cents(choice.bill.egress_usd)}{price}"
    if route.compression_ratio > 1 and egress is not None:
        saved = choice.bill.egress_usd * (route.compression_ratio - 1)
        cost = f", for {units.ms(route.cpu_ms)} ms of CPU a request that is not in the plan" if route.cpu_ms else ""
        yield f"packing {units.ratio(route.compression_ratio)} saves {units.cents(saved)} of that{cost}"
    energy = route.kwh(choice.bill.requests)
    if energy is None:
        yield "network energy: left out; within a zone no figure is published"
    else:
        yield f"network energy, outside the figures above: {_span(energy)} kWh a month (estimates differ that much)"


def _span(span: Interval) -> str:
    """`12.3 [9.8, 29]`, and the value alone where there is no band."""
    if span.low == span.high:
        return units.significant(span.value)
    return f"{units.significant(span.value)} {units.span(span.low, span.high, units.significant)}"
