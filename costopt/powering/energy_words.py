"""A plan's energy and carbon in words: of the chosen fleet, on one line each."""

from collections.abc import Iterator

from costopt import units
from costopt.planning.ranking import Row
from costopt.planning.traffic_file import Asked
from costopt.powering import power_caps
from costopt.powering.footprints import Footprint, Limits, Power
from costopt.powering.power_caps import PowerCap
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
    billed = units.cents(_billed_usd(found, choice, power))
    price = f"{units.given(power.site.usd_per_kwh)} USD/kWh ({power.site.price_source})"
    ends = units.span(found.usd.low, found.usd.high, units.cents)
    return (
        f"electricity, in the bill: {billed} a month at {price} with every hour at full power; at this load about "
        f"{units.cents(found.usd.value)} {ends}"
    )


def _billed_usd(found: Footprint, choice: Row, power: Power) -> float:
    """All hours of the month at full power, in US dollars."""
    per_watt = found.usd.value / found.watts.value if found.watts.value else 0.0
    return per_watt * power.draws[choice.place.instance].max_w * choice.paid


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
    if not power.site.owned and power.limits != Limits():
        yield power_caps.tenant(compute_usd, found.usd.value)
    if power.site.owned and cap is not None:
        yield power_caps.advice(cap)
        yield _worth(cap, found, choice, power, compute_usd)


def _worth(cap: PowerCap, found: Footprint, choice: Row, power: Power, compute_usd: float) -> str:
    """Time that stands idle anyway costs nothing, so what the cap does to the busiest time is told beside the money."""
    saved = cap.best_saved * min(1.0, cap.max_w / power.draws[choice.place.instance].max_w)  # of the whole machine
    rest_usd = compute_usd - _billed_usd(found, choice, power)
    worth = power_caps.worth(rest_usd, found.usd.value, saved, cap.best_slowdown)
    told = f"that cap saves about {units.usd(worth.saved_usd)} of electricity a month"
    if worth.pays:
        return f"{told}, more than its time is worth: {units.usd(worth.time_usd)} of machine and staff"
    busiest = choice.busiest_load or 0.0
    return (
        f"{told}; its time is worth {units.usd(worth.time_usd)} of machine and staff, so it pays only in hours that "
        f"are idle anyway: the load at the busiest time would go from {units.percent(busiest)} to "
        f"{units.percent(busiest * (1 + cap.best_slowdown))}"
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
