"""SkyPilot's catalogues: `catalogs/<version>/<cloud>/vms.csv`, one row a machine and zone.

    InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region[,AvailabilityZone,Arch]

The order of columns differs by cloud, and neither cloud nor date stand in the file. What its clouds do that would
mislead (read in the files of 2026): GCP lists a machine with accelerators without them, and the accelerators in rows
of their own; unknown prices are 700.0 (GCP's TPUs) or 0.00 (spot at Vast); RunPod's spot column repeats the on-demand
price. A TPU's row is the whole slice and is taken by the TPU's name. Of several zones the cheapest counts.
"""

import csv
import io
from collections.abc import Mapping

from costopt.errors import UsageError
from costopt.pricing.families import is_accelerated
from costopt.pricing.incoming import Incoming, Listing, Refusal, cheapest, provider_named
from costopt.pricing.offers import dollars
from costopt.pricing.rules import SENTINELS

COLUMNS = ("InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "SpotPrice", "Region")

_UNKNOWN_SPOT = (0.0, *SENTINELS)


def read(text: str, provider: str | None = None) -> Incoming:
    """The machines of one cloud. Raises UsageError for another CSV, and when nobody says whose it is."""
    cloud = provider_named(provider, "lambda")
    table = csv.DictReader(io.StringIO(text, newline=""))
    try:
        missing = [one for one in COLUMNS if one not in (table.fieldnames or ())]
        if missing:
            raise UsageError(f"no vms.csv of SkyPilot's catalogue: the column {missing[0]} is missing")
        found = [_listing(row, cloud) for row in table]
    except csv.Error as problem:
        raise UsageError(f"line {table.line_num + 1}: not CSV ({problem})") from problem
    refused = dict.fromkeys(one for one in found if isinstance(one, Refusal))
    return Incoming(cheapest(one for one in found if isinstance(one, Listing)), tuple(refused))


def _listing(row: Mapping[str, str], cloud: str) -> Listing | Refusal:
    accelerator = row["AcceleratorName"] or ""
    name = row["InstanceType"] or (accelerator if accelerator.startswith("tpu") else "")
    if not name:
        return Refusal(f"{cloud}, {accelerator or 'a row without a name'}", "an accelerator without its machine")
    if cloud == "gcp" and not accelerator and is_accelerated(f"gcp/{name}"):
        return Refusal(f"gcp/{name} in {row['Region']}", "the price of the machine without its accelerators")
    try:
        price = dollars(row["Price"])
        return Listing(
            instance=f"{cloud}/{name}",
            region=row["Region"],
            usd_per_hour=price,
            spot_usd_per_hour=_spot(row["SpotPrice"], price, cloud),
            vcpus=_count(row["vCPUs"]),
            memory_gib=dollars(row["MemoryGiB"]) if row["MemoryGiB"] else None,
            accelerator=accelerator,
            accelerator_count=_count(row["AcceleratorCount"]) or 0,
        )
    except (ValueError, TypeError) as problem:
        return Refusal(f"{cloud}/{name} in {row['Region']}", str(problem))


def _spot(text: str, price: float, cloud: str) -> float | None:
    spot = dollars(text) if text else None
    repeated = cloud == "runpod" and spot == price
    return None if repeated or spot in _UNKNOWN_SPOT else spot


def _count(text: str) -> int | None:
    return int(dollars(text)) if text else None
