"""AWS spot prices as spotinfo carries them: `internal/spot/data/spot-price-data.json`, a copy of AWS's own feed.

    {"config": {"currencies": ["USD"], "regions": [{"region": "us-east-1", "instanceTypes": [{"sizes": [
        {"size": "c7i.large", "valueColumns": [{"name": "linux", "prices": {"USD": "0.0303"}}, ...

One price a region (zones differ), no date inside, `N/A*` where there is no offer, some rows twice. It has spot prices
only, so each goes to the on-demand price that the book has.
"""

import json
from collections.abc import Iterator
from typing import Any

from costopt.errors import UsageError
from costopt.pricing.incoming import Incoming, Listing, Refusal
from costopt.pricing.offers import dollars

REGIONS = {
    "us-east": "us-east-1",
    "us-west": "us-west-1",
    "eu-ireland": "eu-west-1",
    "apac-sin": "ap-southeast-1",
    "apac-syd": "ap-southeast-2",
    "apac-tokyo": "ap-northeast-1",
}
"""The names that AWS's older price feeds have for its oldest regions."""


def read(text: str, provider: str | None = None) -> Incoming:  # noqa: ARG001 - see incoming.Reader
    """The Linux spot prices. Raises UsageError for a text that is no such file, or one in another currency."""
    try:
        config = json.loads(text)["config"]
        if "USD" not in config["currencies"]:
            raise UsageError(f"its prices are in {config['currencies']}; a book holds US dollars")
        found = [one for region in config["regions"] for one in _of_region(region)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
        raise UsageError("no spot-price-data.json of spotinfo: it should hold `config` with `regions`") from problem
    listings = dict.fromkeys(one for one in found if isinstance(one, Listing))
    return Incoming(tuple(listings), tuple(one for one in found if isinstance(one, Refusal)))


def _of_region(region: dict[str, Any]) -> Iterator[Listing | Refusal]:
    name = REGIONS.get(region["region"], region["region"])
    for kind in region["instanceTypes"]:
        for size in kind["sizes"]:
            for column in size["valueColumns"]:
                price = column["prices"].get("USD", "")
                if column["name"] == "linux" and not price.startswith("N/A"):
                    yield _listing(f"aws/{size['size']}", name, price)


def _listing(instance: str, region: str, price: str) -> Listing | Refusal:
    try:
        return Listing(instance, region, spot_usd_per_hour=dollars(price))
    except ValueError as problem:
        return Refusal(f"{instance} in {region}", str(problem))
