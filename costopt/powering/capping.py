"""What limiting a GPU's power would bring to a plan's fleet: to its owner where the GPU is named, and
that a tenant should not, where the GPU is named or energy is limited.

A cap acts while the GPU works. So only the energy of that time is saved, against only that time's share of the machines
and staff; what idles draws and costs the same either way.
"""

from dataclasses import dataclass

from costopt import units
from costopt.measuring.energy import ON_THE_CPU
from costopt.planning.ranking import Row
from costopt.planning.traffic_file import Asked
from costopt.powering import power_caps
from costopt.powering.footprints import Footprint, Limits, Power
from costopt.powering.power_caps import PowerCap, Worth


@dataclass(frozen=True, slots=True)
class Capping:
    """A month of the cap of least energy. `cap` is None for a tenant, who is told of the best that is known of any GPU.

    `worth` is None where the GPU does not compute. `load` is that of the busiest time, `capped_load` the same with the
    cap: over 1 the machines are too few.
    """

    cap: PowerCap | None
    worth: Worth | None
    load: float
    capped_load: float
    words: tuple[str, ...]


def capping(choice: Row | None, asked: Asked, power: Power) -> Capping | None:
    """None where nobody asked, and where nothing is known of what the chosen machine draws."""
    if choice is None or choice.bill is None or choice.footprint is None:
        return None
    cap = None if asked.energy is None else asked.energy.gpu
    if power.site.owned and cap is not None:
        return _owners(cap, choice, choice.bill.compute_usd - billed_usd(choice, asked, power), power)
    if not power.site.owned and (cap is not None or power.limits != Limits()):
        return _tenants(choice, choice.bill.compute_usd, choice.footprint.usd.value)
    return None


def billed_usd(choice: Row, asked: Asked, power: Power) -> float:
    """Electricity in the fleet's price of a month, in US dollars; 0 where it is rented."""
    return (power.site.billed_usd_per_hour or 0.0) * choice.on_average * asked.hours_per_month


def _tenants(choice: Row, compute_usd: float, energy_usd: float) -> Capping:
    slower = power_caps.TYPICAL_SLOWDOWN
    worth = power_caps.worth(compute_usd, energy_usd, power_caps.most_saved(), slower)
    return Capping(None, worth, *_loads(choice, slower), (power_caps.tenant(compute_usd, energy_usd),))


def _owners(cap: PowerCap, choice: Row, rest_usd: float, power: Power) -> Capping:
    """`rest_usd` is the fleet's month without its electricity."""
    if choice.service.candidate.provider in ON_THE_CPU:
        words = f"power cap of a {cap.gpu}: saves nothing here, for {choice.service.name} computes on the processor"
        return Capping(cap, None, *_loads(choice, 0.0), (words,))
    found, max_w = choice.footprint, power.draws[choice.place.instance].max_w
    busy = 0.0 if choice.idle is None else 1 - choice.idle
    at_work_usd = 0.0 if found is None else busy * max_w * choice.on_average * _usd_per_watt(found)
    saved = cap.best_saved * min(1.0, cap.max_w / max_w)  # of the whole machine
    worth = power_caps.worth(busy * rest_usd, at_work_usd, saved, cap.best_slowdown)
    loads = _loads(choice, cap.best_slowdown)
    return Capping(cap, worth, *loads, (power_caps.advice(cap), _worth(worth, *loads), power_caps.CLOCKS))


def _usd_per_watt(found: Footprint) -> float:
    """What a watt costs that is drawn all the month."""
    return found.usd.value / found.watts.value


def _loads(choice: Row, slower: float) -> tuple[float, float]:
    busiest = choice.busiest_load or 0.0
    return busiest, busiest * (1 + slower)


def _worth(worth: Worth, load: float, capped_load: float) -> str:
    """Time that stands idle anyway costs nothing, so what the cap does to the busiest time is told beside the money."""
    told = f"that cap saves about {units.usd(worth.saved_usd)} of electricity a month"
    if worth.pays:
        return f"{told}, more than its time is worth: {units.usd(worth.time_usd)} of machine and staff"
    return (
        f"{told}; its time is worth {units.usd(worth.time_usd)} of machine and staff, so it pays only in hours that "
        f"are idle anyway: the load at the busiest time would go from {units.percent(load)} to "
        f"{units.percent(capped_load)}"
    )
