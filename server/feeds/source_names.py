"""A feed's source, made from its URL when nobody named one."""

import hashlib
import re
from urllib.parse import urlsplit

from shared.models import MAX_SOURCE_LENGTH

_HASH_LENGTH = 8
_UNFIT = re.compile(r"[^a-z0-9_.-]+")
_FALLBACK = "feed"


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
