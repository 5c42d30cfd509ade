"""The sections of a traffic file (`traffic_file`), each a pydantic model; the words under a field are what it means."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from costopt import units
from costopt.budget_file import Seconds, Section, Share
from costopt.planning.extra_lines import STORAGE_USD_PER_GB_MONTH

MOST = 1e12
"""Of any amount: what is larger is a slip, and products of some such stay finite."""

LEAST_RATE = 1e-9
"""Requests a second: one in 30 years. What is smaller is a slip, and times between requests stay finite."""

MOST_MACHINES = 10**6
"""As `sizes.MOST_INSTANCES`."""

NotNegative = Annotated[float, Field(ge=0, le=MOST)]
Machines = Annotated[int, Field(ge=0, le=MOST_MACHINES)]


class EgressSection(Section):
    """What leaves the cloud with each answer."""

    bytes_per_response: NotNegative
    """Bytes of an answer as it is sent, headers included."""
    usd_per_gb: NotNegative
    """What sending 10^9 bytes costs."""


class WorkSection(Section):
    """People's time that compressing takes."""

    hours: NotNegative
    usd_per_hour: NotNegative


class BatchingSection(Section):
    """How candidates that were measured in batches take requests."""

    max_wait_ms: Annotated[float, BeforeValidator(units.parse_ms)] = 0.0
    """How long a free server may wait for a batch to fill; without it, it takes what is there."""


class AutoscalingSection(Section):
    """Machines that follow the traffic, hour by hour or minute by minute."""

    start_up_s: Annotated[Seconds, Field(le=3600)] = 60.0
    """From asking for a machine until it answers: the next hour's machines are paid for so long before it."""
    min_instances: Annotated[Machines, Field(ge=1)] = 1
    """Never fewer than these."""


class ScaleToZeroSection(Section):
    """All machines are given back while no request comes."""

    idle_s: Seconds
    """So long without a request, then nothing is up."""
    cold_start_s: Seconds
    """The request that comes then waits so long, and so do those that come meanwhile."""


class SpotSection(Section):
    """Machines on spot, beside those on demand."""

    interruptions_per_month: Annotated[Share, Field(le=10)] | None = None
    """How often a month a machine is taken away; left out: the upper end of its family's band."""
    restart_s: Seconds = 120.0
    """How long until another serves in its place."""
    fallback: Literal["on_demand", "none"] = "on_demand"
    """What stands in meanwhile."""
    over_provision: Annotated[Share, Field(le=1)] = 0.1
    """Machines beyond need, as a share, rounded up to whole ones."""


class LoadBalancerSection(Section):
    """By the hour, and by what goes through it."""

    usd_per_hour: NotNegative
    usd_per_gb: NotNegative = 0.0
    bytes_per_request: NotNegative | None = None
    """Both ways; left out: the bytes of an answer in `egress`."""


class StorageSection(Section):
    """Where the model lies."""

    usd_per_gb_month: NotNegative = STORAGE_USD_PER_GB_MONTH
    copies: Annotated[Machines, Field(ge=1)] = 1


class RegistrySection(Section):
    """What each machine pulls that starts."""

    usd_per_gb: NotNegative
    image_mb: NotNegative = 0.0
    """Software around the model, in 10^6 bytes."""


class CommittedSection(Section):
    """A discount for machines that are paid whether they are used or not."""

    discount: Annotated[Share, Field(gt=0, lt=1)]
    """The share of the price on demand that is taken off."""
    hours: Annotated[float, Field(gt=0)] = 8760.0
    """For how long they are paid: 8760 is a year."""
