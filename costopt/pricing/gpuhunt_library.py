"""What the `gpuhunt` library fetches: the catalogues that dstack publishes, a version a provider, with its date.

The only source that names its own address; so it is fetched only when the user says `--from library`. The library
downloads all of its offline providers at once (https://github.com/dstackai/gpuhunt); `GPUHUNT_CATALOG_URL` sends it to
another place.
"""

import datetime
import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from costopt.errors import UsageError
from costopt.plugins import nearest
from costopt.pricing import gpuhunt
from costopt.pricing.incoming import Incoming

if TYPE_CHECKING:
    from gpuhunt import Catalog, CatalogItem

PLACE = "library"
"""What stands in place of a file or an address."""

_OUR_NAMES = {"lambdalabs": "lambda", "vastai": "vast"}
"""Where the price book calls a provider otherwise than the library does."""


def read(provider: str | None = None) -> Incoming:
    """Every machine of a provider, or of all; dated by the oldest catalogue that it comes from.

    Raises UsageError where the library is missing, can't reach its catalogues, or doesn't know the provider.
    """
    catalog = _loaded()
    wanted = _wanted(tuple(catalog.catalog), provider)
    found = tuple(catalog.query(provider=list(wanted)))
    incoming = gpuhunt.gathered(gpuhunt.listing(_row(one), _OUR_NAMES.get(one.provider, one.provider)) for one in found)
    return Incoming(incoming.listings, incoming.refused, min(_date(catalog.catalog[one].version) for one in wanted))


def _loaded() -> "Catalog":
    try:
        import gpuhunt as library
    except ModuleNotFoundError as problem:
        raise UsageError("gpuhunt is not installed: pip install 'costopt[prices]', or give a file of its") from problem
    logging.getLogger("gpuhunt").addHandler(logging.NullHandler())  # else each provider that fails is a traceback
    catalog = library.Catalog(balance_resources=False, auto_reload=False)
    try:
        catalog.load()
    except Exception as problem:  # gpuhunt raises its own error, urllib's and zipfile's, without a common root
        raise UsageError(
            f"gpuhunt could not load its catalogues ({problem.__cause__ or problem}); fetch a <provider>.csv yourself "
            "and give the file: --from aws.csv --provider aws"
        ) from problem
    return catalog


def _wanted(known: Sequence[str], provider: str | None) -> tuple[str, ...]:
    if provider is None:
        return tuple(known)
    theirs = {ours: name for name, ours in _OUR_NAMES.items()}
    name = theirs.get(provider, provider)
    if name not in known:
        raise UsageError(f"--provider {provider}: gpuhunt loaded no catalogue of it{nearest(provider, known)}")
    return (name,)


def _row(item: "CatalogItem") -> dict[str, str]:
    return {
        "instance_name": item.instance_name,
        "location": item.location,
        "price": str(item.price),
        "cpu": str(item.cpu or ""),
        "memory": str(item.memory or ""),
        "gpu_count": str(item.gpu_count or 0),
        "gpu_name": item.gpu_name or "",
        "spot": str(item.spot),
    }


def _date(version: str) -> str:
    """The day in a catalogue's version, such as 20260818-42. Raises UsageError where there is none."""
    found = re.match(r"(\d{4})(\d\d)(\d\d)", version)
    try:
        return datetime.date(*map(int, found.groups())).isoformat() if found else _undated(version)
    except ValueError:
        return _undated(version)


def _undated(version: str) -> str:
    raise UsageError(
        f"gpuhunt's catalogue is of version {version!r}, which has no date: prices without one are refused"
    )
