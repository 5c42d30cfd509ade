"""The sections of a traffic file on energy and on the way of the data.

energy: {grid: FRA, pue: 1.15, usd_per_kwh: 0.08, co2_kg_per_month: 50, joules_per_request: 2}
    grid                  a country (FRA), a cloud's region (us-east-1), or g CO2e per kWh (369)
    watts, idle_watts     one of the run's machines at full load and at rest, at the plug, where you measured them
    gpu                   the GPU in it, for advice on power caps (V100)
    co2_kg_per_month, joules_per_request    limits; all optional
data: {request_bytes: 150000, response_bytes: 2000, path: internet, compression_ratio: 3}
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, model_validator

from costopt.budget_file import GridName, KeyFault, Section
from costopt.powering import power_caps
from costopt.powering.footprints import Limits
from costopt.powering.grids import Grid
from costopt.powering.power_caps import PowerCap
from costopt.powering.routes import Route


def _gpu(value: object) -> PowerCap:
    if not isinstance(value, str):
        raise ValueError(f"must be the name of a GPU, such as V100, not {value!r}")
    return power_caps.of(value)


Positive = Annotated[float, Field(gt=0)]


class EnergySection(Section):
    """What electricity is made of and costs where the machines stand, and limits."""

    grid: GridName | None = None
    pue: Annotated[float, Field(ge=1)] | None = None
    usd_per_kwh: Annotated[float, Field(ge=0)] | None = None
    watts: Positive | None = None
    idle_watts: Annotated[float, Field(ge=0)] | None = None
    gpu: Annotated[PowerCap, PlainValidator(_gpu)] | None = None
    co2_kg_per_month: Positive | None = None
    joules_per_request: Positive | None = None

    @model_validator(mode="after")
    def _powers_belong_together(self) -> "EnergySection":
        if self.idle_watts is not None and (self.watts is None or self.idle_watts > self.watts):
            raise KeyFault("idle_watts", "needs watts at full load beside it, and can't be more than that")
        return self


class DataSection(Section):
    """Bytes of a request and of its answer before they are packed, and the way that they go."""

    request_bytes: Annotated[float, Field(ge=0)]
    response_bytes: Annotated[float, Field(ge=0)]
    path: Literal["same_zone", "cross_zone", "internet"]
    compression_ratio: Annotated[float, Field(ge=1)] = 1.0
    """Size before over size after, as gzip or zstd reach on your data."""
    compression_ms_per_mb: Annotated[float, Field(ge=0)] = 0.0
    """CPU time to pack and unpack 10^6 bytes."""
    usd_per_gb: Annotated[float, Field(ge=0)] | None = None
    """What a GB costs on this path. Left out: the provider's list price."""


@dataclass(frozen=True, slots=True)
class EnergyAsked:
    """The section `energy`; None for what the machine's place and provider say."""

    grid: Grid | None
    pue: float | None
    usd_per_kwh: float | None
    watts: float | None
    idle_watts: float | None
    gpu: PowerCap | None
    limits: Limits


@dataclass(frozen=True, slots=True)
class DataAsked:
    """The section `data`; `usd_per_gb` is None for the provider's list price."""

    route: Route
    usd_per_gb: float | None


def energy_asked(section: EnergySection | None) -> EnergyAsked | None:
    """What the section asks for."""
    if section is None:
        return None
    limits = Limits(section.co2_kg_per_month, section.joules_per_request)
    powers = section.watts, section.idle_watts
    return EnergyAsked(section.grid, section.pue, section.usd_per_kwh, *powers, section.gpu, limits)


def data_asked(section: DataSection | None) -> DataAsked | None:
    """What the section asks for."""
    if section is None:
        return None
    route = Route(
        section.request_bytes,
        section.response_bytes,
        section.path,
        section.compression_ratio,
        section.compression_ms_per_mb,
    )
    return DataAsked(route, section.usd_per_gb)
