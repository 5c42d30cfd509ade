"""The formats that `costopt prices refresh` reads, by name.

karpenter-aws      aws/karpenter-provider-aws               pkg/providers/pricing/zz_generated.pricing_aws.go
karpenter-azure    Azure/karpenter-provider-azure           pkg/providers/pricing/zz_generated.pricing.go
karpenter-gcp      cloudpilot-ai/karpenter-provider-gcp     pkg/providers/pricing/initial-prices.json
spotinfo           alexei-led/spotinfo                      internal/spot/data/spot-price-data.json
skypilot           skypilot-org/skypilot-catalog            catalogs/<version>/<cloud>/vms.csv
gpuhunt            dstackai/gpuhunt                         <provider>.csv in its catalog.zip
csv                a price book of your own                 the columns of `costopt prices list --format csv`
"""

from costopt import plugins
from costopt.errors import UsageError
from costopt.pricing import book, gpuhunt, karpenter, skypilot, spotinfo
from costopt.pricing.incoming import Incoming, Reader, Refusal


def own_format(text: str, provider: str | None = None) -> Incoming:  # noqa: ARG001 - see incoming.Reader
    """A price book: rows with their own dates. Raises UsageError for a file that is none."""
    offers, faults = book.parse(text)
    if not offers and faults:
        raise UsageError(faults[0])
    refused = (Refusal(*fault.split(": ", 1)) for fault in faults)
    return Incoming(offers=offers, refused=tuple(refused))


FORMATS: dict[str, Reader] = {
    "csv": own_format,
    "karpenter-aws": karpenter.aws,
    "karpenter-azure": karpenter.azure,
    "karpenter-gcp": karpenter.gcp,
    "spotinfo": spotinfo.read,
    "skypilot": skypilot.read,
    "gpuhunt": gpuhunt.read,
}


def reader_of(name: str) -> Reader:
    """The reader of a format. Raises UsageError with the nearest name."""
    if name not in FORMATS:
        raise UsageError(f"there is no price source '{name}'{plugins.nearest(name, FORMATS)}")
    return FORMATS[name]
