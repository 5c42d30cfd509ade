"""A plan's energy and carbon in words: of the chosen fleet, on one line each."""

from collections.abc import Iterator

from costopt import units
from costopt.planning.ranking import Row
from costopt.planning.traffic_file import Asked
from costopt.powering.capping import billed_usd, capping
from costopt.powering.footprints import Footprint, Power
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
            yield _electricity(found, billed_usd(choice, asked, power), power)
        yield from _saved(found, original)
        cap = capping(choice, asked, power)
        yield from () if cap is None else cap.words
    yield from _data(choice, asked, power)


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


def _electricity(found: Footprint, billed_usd: float, power: Power) -> str:
    """What the bill holds of electricity, at the power at work in every hour, beside what the load makes of it."""
    price = f"{units.given(power.site.usd_per_kwh)} USD/kWh ({power.site.price_source})"
    return (
        f"electricity, in the bill: {units.cents(billed_usd)} a month, every hour at full power; at this load about "
        f"{units.cents(found.usd.value)} {units.span(found.usd.low, found.usd.high, units.cents)}, at {price}"
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


def _data(choice: Row, asked: Asked, power: Power) -> Iterator[str]:
    if asked.data is None or choice.bill is None or asked.egress is None:
        return
    route, requests, usd = asked.data.route, choice.bill.requests, choice.bill.egress_usd
    price = f"{units.cents(usd)} at {units.given(asked.egress.usd_per_gb)} USD/GB"
    nearer = ", and nothing within one zone" if route.path == "cross_zone" and usd else ""
    yield f"data, {route.path}: {units.bytes(route.wire_bytes * requests)} a month on the wire, {price}{nearer}"
    if route.compression_ratio > 1:
        ratio, saved = units.ratio(route.compression_ratio), units.cents(usd * (route.compression_ratio - 1))
        yield f"packing {ratio} saves {saved} a month of it{_packing(choice, asked, power)}"
    energy = route.kwh(requests)
    if energy is None:
        yield "network energy: left out; within a zone no figure is published"
    else:
        yield f"network energy, outside the figures above: {_span(energy)} kWh a month (estimates differ that much)"


def _packing(choice: Row, asked: Asked, power: Power) -> str:
    """What packing takes of one vCPU, where that was given; energy above idling, as far as the draw is known."""
    cpu_ms = 0.0 if asked.data is None else asked.data.route.cpu_ms
    if not cpu_ms:
        return ""
    draw = power.draws.get(choice.place.instance)
    if draw is None:
        joules = ""
    else:
        per_vcpu_w = (draw.max_w - draw.idle_w) / choice.place.vcpus
        joules = f" and {units.significant(per_vcpu_w * cpu_ms / 1e3 * power.site.pue)} J"
    return f", for {units.ms(cpu_ms)} ms of CPU{joules} a request that are not in the plan"


def _span(span: Interval) -> str:
    """`12.3 [9.8, 29]`, and the value alone where there is no band."""
    if span.low == span.high:
        return units.significant(span.value)
    return f"{units.significant(span.value)} {units.span(span.low, span.high, units.significant)}"
