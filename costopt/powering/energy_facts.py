"""A plan's energy and carbon as plain values, for programs; null for what is not known."""

from costopt.powering.capping import Capping
from costopt.powering.energy_file import DataAsked
from costopt.powering.footprints import Footprint, Power
from costopt.verdict import Interval

Facts = dict[str, object]


def of_fleet(found: Footprint | None) -> Facts | None:
    """One row's. Every figure is modelled, from published power."""
    if found is None:
        return None
    return {
        "label": "modelled",
        "watts": _span(found.watts),
        "idle_share": found.idle_share,
        "kwh_per_month": _span(found.kwh),
        "electricity_usd_per_month": _span(found.usd),
        "joules_per_request": _span(found.joules_per_request),
        "co2e_kg_per_month": _span(found.kg_co2e),
        "co2e_grams_per_million": _span(found.grams_per_million),
    }


def of_power(power: Power, cap: Capping | None) -> Facts:
    """The site, the limits, what each machine's figure is of, and advice on power caps."""
    site, grid = power.site, power.site.grid
    return {
        "grid": None
        if grid is None
        else {
            "name": grid.name,
            "country": grid.country,
            "grams_co2e_per_kwh": grid.grams_co2e_per_kwh,
            "year": grid.year,
            "source": grid.source,
            "note": grid.note,
        },
        "pue": site.pue,
        "pue_source": site.pue_source,
        "usd_per_kwh": site.usd_per_kwh,
        "usd_per_kwh_source": site.price_source,
        "owned": site.owned,
        "limits": {
            "co2_kg_per_month": power.limits.co2_kg_per_month,
            "joules_per_request": power.limits.joules_per_request,
        },
        "machines": {
            instance: {
                "of": draw.words,
                "idle_w": draw.idle_w,
                "max_w": draw.max_w,
                "source": draw.source,
                "as_of": draw.as_of,
            }
            for instance, draw in power.draws.items()
        },
        "power_cap": None if cap is None else _cap(cap),
    }


def _cap(found: Capping) -> Facts:
    """`gpu` and what the table says of it are null for a tenant; dollars are a month's."""
    cap, worth = found.cap, found.worth
    return {
        "gpu": None if cap is None else cap.gpu,
        "watts": None if cap is None else cap.best_cap * cap.max_w,
        "energy_saved_share": None if cap is None else cap.best_saved,
        "slowdown_share": None if cap is None else cap.best_slowdown,
        "source": None if cap is None else cap.source,
        "as_of": None if cap is None else cap.as_of,
        "electricity_saved_usd": None if worth is None else worth.saved_usd,
        "time_usd": None if worth is None else worth.time_usd,
        "pays": cap is not None and worth is not None and worth.pays,
        "busiest_load": found.load,
        "capped_busiest_load": found.capped_load,
        "words": found.words,
    }


def of_data(asked: DataAsked | None, requests: float | None) -> Facts | None:
    """The data's way, and what it moves in a month of so many requests; None where nobody asked."""
    if asked is None:
        return None
    route = asked.route
    return {
        "path": route.path,
        "request_bytes": route.request_bytes,
        "response_bytes": route.response_bytes,
        "compression_ratio": route.compression_ratio,
        "wire_bytes_per_request": route.wire_bytes,
        "paid_bytes_per_request": route.paid_bytes,
        "cpu_ms_per_request": route.cpu_ms,
        "network_kwh_per_month": None if requests is None else _span(route.kwh(requests)),
    }


def _span(span: Interval | None) -> Facts | None:
    return None if span is None else {"value": span.value, "low": span.low, "high": span.high}
