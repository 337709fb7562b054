"""What a request for a feed says of itself: standard headers, the feed's own, conditions. Pure."""

import base64
import re
from collections.abc import Mapping

import httpx2

from server.fetching.answers import Validators

ACCEPT = (
    "application/atom+xml, application/rss+xml, application/rdf+xml, application/feed+json, "
    "application/xml;q=0.9, text/xml;q=0.9, application/json;q=0.8, */*;q=0.1"
)
# What the decoders undo in bounded steps.
ACCEPT_ENCODING = "gzip, deflate"

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
# Made by the fetcher or by HTTP itself; a feed's own headers cannot replace them.
_RESERVED = frozenset(
    {
        "host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer",
        "accept-encoding", "if-none-match", "if-modified-since", "range", "proxy-authorization",
    }
)  # fmt: skip
# Say who asks and for what; all others may be secrets and stay with the origin they are meant for.
_PUBLIC = frozenset({"user-agent", "accept", "accept-language", "from"})


def request_headers(
    origin: httpx2.URL,
    target: httpx2.URL,
    *,
    user_agent: str,
    configured: Mapping[str, str],
    conditions: Mapping[str, str],
    cookie: str | None,
) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request for ``target`` in a fetch that began at ``origin``.

    ``configured`` are the feed's own. Beyond the first origin only harmless ones go along, and no
    credentials but those that a redirect's target itself holds.
    """
    same_origin = _is_same_origin(origin, target)
    chosen = {
        "user-agent": user_agent,
        "accept": ACCEPT,
        "accept-encoding": ACCEPT_ENCODING,
        **({"cookie": cookie} if cookie is not None else {}),
        **_credentials(origin if same_origin else target),
        **usable_headers(configured, same_origin=same_origin),
        **conditions,
    }
    encoded = [(name.encode("latin-1"), _encode_value(value)) for name, value in chosen.items()]
    return [(b"Host", target.netloc), *encoded]


def usable_headers(configured: Mapping[str, str], *, same_origin: bool) -> dict[str, str]:
    """Return the feed's own headers that may go along, by lower-case name."""
    lowered = {name.strip().lower(): value.strip() for name, value in configured.items()}
    return {
        name: value
        for name, value in lowered.items()
        if _TOKEN.fullmatch(name) and name not in _RESERVED and (same_origin or name in _PUBLIC)
    }


def conditions_for(validators: Validators, url: str) -> dict[str, str]:
    """Return the conditions of a request; none for another URL than the validators came from."""
    if validators.final_url not in (None, url):
        return {}
    conditions = {
        "if-none-match": validators.etag,
        "if-modified-since": validators.last_modified,
    }
    return {name: value for name, value in conditions.items() if value}


def _is_same_origin(first: httpx2.URL, second: httpx2.URL) -> bool:
    if first.host != second.host:
        return False
    is_upgrade = first.scheme == "http" and second.scheme == "https"
    if is_upgrade and first.port is None and second.port is None:
        return True
    return first.scheme == second.scheme and first.port == second.port


def _credentials(url: httpx2.URL) -> dict[str, str]:
    if not url.userinfo:
        return {}
    pair = f"{url.username}:{url.password}".encode()
    return {"authorization": f"Basic {base64.b64encode(pair).decode('ascii')}"}


def _encode_value(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8")
