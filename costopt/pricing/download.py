"""A price list from a file, or from an https address that the user named: text, of bounded size, in bounded time.

Nothing is fetched that was not asked for, a redirect may not leave https, and what comes is text that is parsed.
"""

import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Protocol

from costopt.errors import UsageError
from costopt.pricing import book

TIMEOUT_S = 30.0
"""For the server to answer, and between two pieces of its answer."""

LIMIT_S = 300.0
"""For all of it."""

_PIECE_BYTES = 2**16


def text_of(place: str) -> str:
    """The text of a file, or at an https address. Raises UsageError in words."""
    scheme, mark, _ = place.partition("://")
    if not mark:
        return book.text_of(Path(place))
    if scheme.lower() != "https":
        raise UsageError(f"{place}: only https:// addresses and files are read, not {scheme}://")
    return _fetched(place)


def shown(place: str) -> str:
    """A place as a source may be written down: an address without password and query, a file by its name."""
    if "://" not in place:
        return Path(place).name
    parts = urllib.parse.urlsplit(place)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


class HttpsOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects as long as they stay encrypted."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The request to make instead. Raises UsageError when it is not https."""
        if not newurl.lower().startswith("https://"):
            raise UsageError(f"{shown(req.full_url)}: leads to {shown(newurl)}, which is not https; nothing was read")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetched(address: str) -> str:
    opener = urllib.request.build_opener(HttpsOnly)
    request = urllib.request.Request(address, headers={"User-Agent": "costopt"})
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            content = bounded(answer, address, time.monotonic() + LIMIT_S)
        return content.decode("utf-8-sig")
    except (urllib.error.URLError, HTTPException, OSError) as fault:
        reason = fault.reason if isinstance(fault, urllib.error.URLError) else fault
        raise UsageError(
            f"{shown(address)}: could not be read ({reason}); fetch it yourself and give the file"
        ) from fault
    except UnicodeDecodeError as fault:
        raise UsageError(f"{shown(address)}: not a text (byte {fault.start} is not UTF-8)") from fault


class Readable(Protocol):
    """Something that gives bytes, piece by piece, until there are none left."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""


def bounded(answer: Readable, address: str, deadline: float) -> bytes:
    """All of an answer. Raises UsageError when it is over `book.MAX_BYTES`, or not there by `deadline` (monotonic)."""
    content = bytearray()
    while piece := answer.read(_PIECE_BYTES):
        content += piece
        if len(content) > book.MAX_BYTES:
            raise UsageError(f"{shown(address)}: over {book.MAX_BYTES >> 20} MiB is too much for a price list")
        if time.monotonic() > deadline:
            raise UsageError(f"{shown(address)}: not there after {LIMIT_S:.0f} s; fetch it yourself and give the file")
    return bytes(content)
