"""From watts to joules, kilowatt-hours and grams of CO2: arithmetic, nothing rounded."""

from dataclasses import dataclass

JOULES_PER_KWH = 3.6e6
SECONDS_PER_HOUR = 3600.0
GRAMS_PER_KG = 1e3
MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Inference:
    """Joules at the meter of the building: what computing takes above idling, and what idling takes all the while."""

    active_joules: float
    idle_joules: float

    @property
    def joules(self) -> float:
        """Both together."""
        return self.active_joules + self.idle_joules

    @property
    def idle_share(self) -> float:
        """The idle part of all, 0 to 1; 0 where nothing is drawn."""
        return self.idle_joules / self.joules if self.joules else 0.0


def power_w(idle_w: float, max_w: float, load: float) -> float:
    """Watts at a load from 0 to 1: idle + (max - idle) * load.

    Source: linear in load as in Cloud Carbon Footprint's methodology. Raises ValueError for another load, or for powers
    that fall with it.
    """
    if not (0 <= load <= 1 and 0 <= idle_w <= max_w):
        raise ValueError(f"load is a share from 0 to 1 and 0 <= idle <= max watts, not {load}, {idle_w} and {max_w}")
    return idle_w + (max_w - idle_w) * load


def per_inference(watts: float, idle_w: float, rate_per_s: float, pue: float) -> Inference:
    """Energy per inference, in joules, of machines that draw `watts` while they serve `rate_per_s` a second:

        E = (idle + (max - idle) * load) * t * PUE,   t = 1 / rate,   watts = idle + (max - idle) * load

    PUE is the building's power over the machines' (no unit, at least 1). Idle power flows all the time, so it is told
    apart: it goes away with machines, not with faster models.
    Source: Lannelongue et al. 2021, "Green Algorithms", doi:10.1002/advs.202100707. Raises ValueError for a rate of 0.
    """
    if rate_per_s <= 0:
        raise ValueError(f"the rate must be above 0, not {rate_per_s}: energy is shared out over requests")
    return Inference((watts - idle_w) / rate_per_s * pue, idle_w / rate_per_s * pue)


def kwh(watts: float, hours: float, pue: float) -> float:
    """Kilowatt-hours at the building's meter: watts of the machines * PUE * hours / 1000."""
    return watts * pue * hours / 1e3


def usd(watts: float, hours: float, pue: float, usd_per_kwh: float) -> float:
    """What that electricity costs, in US dollars. A g4dn.xlarge at full load: 104 W * 1.15 * 0.08 = 0.0096 an hour."""
    return kwh(watts, hours, pue) * usd_per_kwh


def kg_co2e(kilowatt_hours: float, grams_per_kwh: float) -> float:
    """Kilograms of CO2 equivalent: kWh * g/kWh / 1000. Operation only: building the machine is not in it."""
    return kilowatt_hours * grams_per_kwh / GRAMS_PER_KG


def grams_per_million(joules: float, grams_per_kwh: float) -> float:
    """Grams of CO2 equivalent for a million inferences of `joules` each, at the building's meter."""
    return joules * MILLION / JOULES_PER_KWH * grams_per_kwh


def energy_delay(energy_ratio: float, time_ratio: float) -> float:
    """The energy-delay product over that before: under 1 where saving energy is worth its slowness when both count
    alike. Source: Gonzalez & Horowitz 1996, "Energy dissipation in general purpose microprocessors"."""
    return energy_ratio * time_ratio
