"""Lines of a bill beside machines and egress: a load balancer, storage of the model, pulls from a registry."""

from dataclasses import dataclass

from costopt.planning.bills import BYTES_PER_GB, Factor, Line, by_gb

STORAGE_USD_PER_GB_MONTH = 0.10
"""A GB in Amazon's container registry (ECR) for a month, as Infracost's unit prices had it in 2024. Object storage is
cheaper: S3 0.023, Azure Hot 0.018 by the same source."""


@dataclass(frozen=True, slots=True)
class LoadBalancer:
    """By the hour, and by the GB that goes through it; `bytes_per_request` counts both ways."""

    usd_per_hour: float
    usd_per_gb: float
    bytes_per_request: float


@dataclass(frozen=True, slots=True)
class Storage:
    """Where the model lies, in so many `copies`."""

    usd_per_gb_month: float
    copies: int


@dataclass(frozen=True, slots=True)
class Registry:
    """What each machine that starts pulls: the model, and `image_bytes` of software around it."""

    usd_per_gb: float
    image_bytes: float


@dataclass(frozen=True, slots=True)
class Extras:
    """What was asked for; None leaves a line out."""

    load_balancer: LoadBalancer | None = None
    storage: Storage | None = None
    registry: Registry | None = None


@dataclass(frozen=True, slots=True)
class Use:
    """What the lines are counted by, in a month: `starts` of machines, `model_bytes` of the file that each serves."""

    requests: float
    hours: float
    starts: float
    model_bytes: float


NOTHING = Extras()
"""No line beside machines and egress."""


def lines(extras: Extras, use: Use) -> tuple[Line, ...]:
    """The lines that were asked for; a GB is 10^9 bytes."""
    found: list[Line] = []
    balancer, storage, registry = extras.load_balancer, extras.storage, extras.registry
    if balancer is not None:
        found.append(Line("load balancer", (Factor(use.hours, "hours"), Factor(balancer.usd_per_hour, "USD/hour"))))
        found.append(by_gb("load balancer", use.requests, balancer.bytes_per_request, balancer.usd_per_gb))
    if storage is not None:
        kept = (
            Factor(storage.copies, "copy" if storage.copies == 1 else "copies"),
            Factor(use.model_bytes / BYTES_PER_GB, "GB"),
        )
        found.append(Line("storage", (*kept, Factor(storage.usd_per_gb_month, "USD/GB/month"))))
    if registry is not None:
        pulled = Factor((use.model_bytes + registry.image_bytes) / BYTES_PER_GB, "GB")
        found.append(Line("registry", (Factor(use.starts, "starts"), pulled, Factor(registry.usd_per_gb, "USD/GB"))))
    return tuple(found)
