"""gpuhunt's catalogue: one CSV a provider in `catalog.zip`, one row a machine, place and kind of price.

    instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot[,disk_size,gpu_vendor,flags,...]

On-demand and spot prices stand in rows of their own; neither provider nor date stand in the file. A machine that is
offered several times in one place (other disks, other flags) counts with its cheapest offer.
"""

import csv
import io
from collections.abc import Iterable, Mapping

from costopt.errors import UsageError
from costopt.pricing.incoming import Incoming, Listing, Refusal, cheapest, provider_named
from costopt.pricing.offers import dollars

COLUMNS = ("instance_name", "location", "price", "cpu", "memory", "gpu_count", "gpu_name", "spot")


def read(text: str, provider: str | None = None) -> Incoming:
    """The machines of one provider. Raises UsageError for another CSV, and when nobody says whose it is."""
    owner = provider_named(provider, "nebius")
    table = csv.DictReader(io.StringIO(text, newline=""))
    try:
        missing = [one for one in COLUMNS if one not in (table.fieldnames or ())]
        if missing:
            raise UsageError(f"no CSV of gpuhunt's catalogue: the column {missing[0]} is missing")
        return gathered(listing(row, owner) for row in table)
    except csv.Error as problem:
        raise UsageError(f"line {table.line_num + 1}: not CSV ({problem})") from problem


def gathered(found: Iterable[Listing | Refusal]) -> Incoming:
    """On-demand and spot rows of a machine as one listing each."""
    rows = tuple(found)
    listings = cheapest(one for one in rows if isinstance(one, Listing))
    return Incoming(listings, tuple(dict.fromkeys(one for one in rows if isinstance(one, Refusal))))


def listing(row: Mapping[str, str], owner: str) -> Listing | Refusal:
    """One row of a catalogue, of `owner`'s machines: a price on demand or on spot."""
    name = f"{owner}/{row['instance_name']}"
    try:
        price, is_spot = dollars(row["price"]), row["spot"].lower() == "true"
        count = int(dollars(row["gpu_count"] or "0"))
        return Listing(
            instance=name,
            region=row["location"],
            usd_per_hour=None if is_spot else price,
            spot_usd_per_hour=price if is_spot else None,
            vcpus=int(dollars(row["cpu"])) if row["cpu"] else None,
            memory_gib=dollars(row["memory"]) if row["memory"] else None,
            accelerator=row["gpu_name"] if count else "",
            accelerator_count=count,
        )
    except (ValueError, TypeError, AttributeError) as problem:
        return Refusal(f"{name} in {row['location']}", str(problem))
