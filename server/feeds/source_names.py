"""The sources that new feeds may have, and those of feeds that nobody has named. Pure."""

import hashlib
import re
from urllib.parse import urlsplit

from shared.errors import InvalidRequestError
from shared.models import MAX_SOURCE_LENGTH, is_source

_HASH_LENGTH = 8
_UNFIT = re.compile(r"[^a-z0-9_.-]+")
_FALLBACK = "feed"


def check_new_source(source: str) -> None:
    """Refuse what is no slug, or cannot stand in an address.

    Raises:
        InvalidRequestError: it is not fit.
    """
    if not is_source(source):
        raise InvalidRequestError(f"source {source[:80]!r} must be 1 to 64 of a-z 0-9 - _ .")
    if source in (".", ".."):
        raise InvalidRequestError(f"source {source!r} cannot be part of an address: use another")


def make_source(url: str) -> str:
    """Return a slug of the URL's host and path: ``lwn.net-headlines-rss``.

    Credentials, port and query stay out. One that would be too long is cut and gets the hash.
    """
    parts = urlsplit(url)
    host = _ascii_host(parts.hostname or "").removeprefix("www.")
    slug = _UNFIT.sub("-", f"{host}/{parts.path}".lower()).strip("-.") or _FALLBACK
    return slug if len(slug) <= MAX_SOURCE_LENGTH else _with_hash(slug, url)


def make_hashed_source(url: str) -> str:
    """Return the slug with a short hash of the URL, for when the plain one is taken."""
    return _with_hash(make_source(url), url)


def _with_hash(slug: str, url: str) -> str:
    digest = hashlib.sha256(url.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_LENGTH]
    kept = slug[: MAX_SOURCE_LENGTH - _HASH_LENGTH - 1].rstrip("-.")
    return f"{kept}-{digest}"


def _ascii_host(host: str) -> str:
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host
