"""The lists that Karpenter's cloud providers carry in pkg/providers/pricing: two Go files and a JSON, read as text.

    aws    zz_generated.pricing_aws.go  "us-east-1": { "c7i.large": 0.089250, ...
    azure  zz_generated.pricing.go      initialOnDemandPrices["eastus"] = map[string]float64{ "Standard_D2s_v5": 0.096,
    gcp    initial-prices.json          {"prices": {"us-central1": {"on_demand": {"c3-standard-4": 0.2}, "spot": ...

The Go files say when they were generated; the JSON file does not. All have Linux prices in US dollars, without vCPUs
and memory; only GCP's has spot.
"""

import json
import re
from collections.abc import Iterator

from costopt.errors import UsageError
from costopt.pricing.incoming import Incoming, Listing, Refusal
from costopt.pricing.offers import iso_date

_GENERATED = re.compile(r"^// generated at (\d{4}-\d\d-\d\d)T", re.MULTILINE)
_PAIR = r'"(?P<type>[^"\n]+)":\s*(?P<price>[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)(?=\s*[,}])'
_AWS = re.compile(rf'"(?P<region>[a-z0-9-]+)":\s*\{{|{_PAIR}')
_AZURE = re.compile(rf'initialOnDemandPrices\["(?P<region>\w+)"\]\s*=\s*map\[string\]float64\s*\{{|{_PAIR}')
_COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)

_IN_OTHER_MONEY = re.compile(r"cn-")
"""AWS's regions in China are priced in renminbi."""


def aws(text: str, provider: str | None = None) -> Incoming:  # noqa: ARG001 - see incoming.Reader
    """What aws/karpenter-provider-aws carries. Raises UsageError for a text without such a map."""
    found = tuple(_pairs(text, _AWS, "zz_generated.pricing_aws.go"))
    refused = {
        region: Refusal(f"aws in {region}", "prices in China are in renminbi, and a book holds US dollars")
        for region, _, _ in found
        if _IN_OTHER_MONEY.match(region)
    }
    listings = (Listing(f"aws/{kind}", region, price) for region, kind, price in found if region not in refused)
    return Incoming(tuple(listings), tuple(refused.values()), _generated(text))


def azure(text: str, provider: str | None = None) -> Incoming:  # noqa: ARG001 - see incoming.Reader
    """What Azure/karpenter-provider-azure carries, without its dedicated hosts. Raises UsageError likewise."""
    found = tuple(_pairs(text, _AZURE, "zz_generated.pricing.go"))
    hosts = sorted({kind for _, kind, _ in found if not _is_machine(kind)})
    listings = (Listing(f"azure/{kind}", region, price) for region, kind, price in found if _is_machine(kind))
    refused = (Refusal(f"azure/{kind}", "a dedicated host and not a machine") for kind in hosts)
    return Incoming(tuple(listings), tuple(refused), _generated(text))


def gcp(text: str, provider: str | None = None) -> Incoming:  # noqa: ARG001 - see incoming.Reader
    """What cloudpilot-ai/karpenter-provider-gcp carries, spot too. Raises UsageError for another JSON."""
    try:
        prices = json.loads(text)["prices"]
        return Incoming(tuple(one for region, both in prices.items() for one in _of_region(region, both)))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as problem:
        raise UsageError(
            "no initial-prices.json of karpenter-provider-gcp: it should hold `prices` by region"
        ) from problem


def _of_region(region: str, both: dict[str, dict[str, float]]) -> Iterator[Listing]:
    on_demand, spot = both.get("on_demand", {}), both.get("spot", {})
    for kind in dict.fromkeys((*on_demand, *spot)):
        prices = (_number(on_demand.get(kind)), _number(spot.get(kind)))
        yield Listing(f"gcp/{kind}", region, *prices)


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)


def _is_machine(kind: str) -> bool:
    return kind.startswith(("Standard_", "Basic_"))


def _pairs(text: str, pattern: re.Pattern[str], name: str) -> Iterator[tuple[str, str, float]]:
    """Region, type and price of each entry of a Go map of maps. Raises UsageError when there is none."""
    region, found = "", False
    for match in pattern.finditer(_COMMENT.sub("", text)):
        if match["region"]:
            region = match["region"]
        elif region:
            found = True
            yield region, match["type"], float(match["price"])
    if not found:
        raise UsageError(f"no prices by region were found in it; is it karpenter's {name}?")


def _generated(text: str) -> str | None:
    found = _GENERATED.search(text)
    try:
        return None if found is None else iso_date(found[1])
    except ValueError:
        return None  # a damaged date is no date: the user is asked for it
