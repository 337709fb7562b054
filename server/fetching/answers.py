"""What a request for a feed says of itself, and what the HTTP answer to it means.

An answer is a feed, nothing new, or a FetchError of a known kind.

The HTTP library's own errors become FetchError here too.
"""

import base64
import contextlib
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NoReturn

import httpcore2
import httpx2

from shared.error_kinds import ErrorKind
from shared.errors import FetchError

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
LONGEST_WAIT_S = 7 * 86400.0
MAX_VALIDATOR_BYTES = 1024
# Of the body that comes with an error: enough to tell whether it is a feed.
START_BYTES = 4096

_KIND_OF_STATUS = {
    401: ErrorKind.BLOCKED,
    403: ErrorKind.BLOCKED,
    410: ErrorKind.GONE,
    429: ErrorKind.RATE_LIMITED,
}
_FEED = re.compile(rb"<(?:[\w-]+:)?(?:rss|feed|rdf|channel)[\s>]", re.IGNORECASE)
_JSON_FEED = re.compile(rb"\s*\{.*?\"version\"\s*:\s*\"https?://jsonfeed\.org/", re.DOTALL)
_PAGE = re.compile(rb"<!doctype\s+html|<html\b", re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?[0-9]+")
_NEVER_FRESH = frozenset({"no-cache", "no-store"})


@dataclass(frozen=True, slots=True)
class Validators:
    """What a later request sends back to ask only for news: opaque, byte for byte as received.

    ``final_url`` is the URL whose answer carried them; they are sent to no other. ``body_hash`` is
    ours: the same body again counts as not modified.
    """

    etag: str | None = None
    last_modified: str | None = None
    body_hash: str | None = None
    final_url: str | None = None


@dataclass(frozen=True, slots=True)
class FetchedFeed:
    """An answer of 200 or 304.

    ``not_modified`` is True for 304 (no body then) and for a body equal to the last. ``validators``
    are those that this answer carries, after a 304 the ones that were sent. ``permanent_url`` is
    the target of a chain of none but permanent redirects. URLs here hold no credentials, except
    ``url``, which is as configured. ``is_cut``: the body ended before its end, as far as HTTP
    tells; ``faults`` are what was wrong with the answer, for people. ``refresh`` and ``link`` are
    the headers of these names.
    """

    url: str
    final_url: str
    http_status: int
    not_modified: bool
    body: bytes
    content_type: str | None
    validators: Validators
    cache_max_age_s: float | None
    retry_after_s: float | None
    permanent_url: str | None
    duration_s: float
    is_cut: bool = False
    faults: tuple[str, ...] = ()
    refresh: str | None = None
    link: str | None = None


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


@contextlib.contextmanager
def mapped_errors(host: str) -> Iterator[None]:
    """Turn the library's exceptions into FetchError, of the host that is being asked.

    Their URL is left empty: only whoever began the fetch knows it.
    """
    try:
        with _mapped_library_errors():
            yield
    except FetchError as exc:
        exc.host = host
        raise


@contextlib.contextmanager
def _mapped_library_errors() -> Iterator[None]:
    try:
        yield
    except httpcore2.ConnectTimeout as exc:
        raise FetchError("", ErrorKind.CONNECT, "no connection in time", retryable=True) from exc
    except httpcore2.TimeoutException as exc:
        reason = "the request took too long"
        raise FetchError("", ErrorKind.TIMEOUT, reason, retryable=True) from exc
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as exc:
        _raise_for_connection(exc)
    except (httpcore2.LocalProtocolError, httpcore2.UnsupportedProtocol, httpx2.InvalidURL):
        # Their texts may quote headers, and with them credentials; so they are not in the trace.
        reason = "the request cannot be sent as configured"
        raise FetchError("", ErrorKind.BAD_URL, reason) from None


def _raise_for_connection(exc: Exception) -> NoReturn:
    cause = exc.__cause__ or exc.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        reason = f"certificate refused: {cause.verify_message}"
        raise FetchError("", ErrorKind.TLS, reason) from exc
    if isinstance(cause, ssl.SSLError):
        reason = f"no secure connection: {cause}"
        raise FetchError("", ErrorKind.TLS, reason, retryable=True) from exc
    raise FetchError("", ErrorKind.CONNECT, f"connection failed: {exc}", retryable=True) from exc


def raise_for_status(
    response: httpx2.Response, retry_after_s: float | None, read_start: Callable[[], bytes]
) -> NoReturn:
    """Raise the FetchError of an answer whose status says that it is no feed.

    Retryable are only server errors that do not say when to come back. ``read_start`` returns the
    first bytes of the body: where a feed came all the same, the error says so.
    """
    status = response.status_code
    kind = _KIND_OF_STATUS.get(status)
    if status == 503 and retry_after_s is not None:
        kind = ErrorKind.RATE_LIMITED
    if response.headers.get("cf-mitigated", "").lower() == "challenge":
        kind = ErrorKind.BLOCKED
    reason = f"server answered {status}"
    if kind != ErrorKind.RATE_LIMITED and status >= 400 and _is_feed(read_start()):
        reason += ", though with a feed: its publisher has to correct the status"
    raise FetchError(
        "",
        kind or ErrorKind.HTTP_STATUS,
        reason,
        retryable=kind is None and status >= 500,
        http_status=status,
        retry_after_s=retry_after_s if status in (429, 503) else None,
    )


def read_validator(raw: bytes | None) -> str | None:
    """Return a validator as received, byte for byte, or None for one too odd to send back."""
    if raw is None or not raw.strip() or len(raw) > MAX_VALIDATOR_BYTES:
        return None
    text = raw.decode("latin-1")
    return None if any(character < " " or character == "\x7f" for character in text) else text


def read_retry_after_s(value: str | None, now: datetime) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, from 0 to seven days; None without one."""
    if value is None:
        return None
    text = value.strip()
    if _INTEGER.fullmatch(text):
        # Numbers that no clock could hold need not be read.
        seconds = float(text) if len(text) < 13 else LONGEST_WAIT_S * (text[0] != "-")
        return _bound_s(seconds)
    moment = _read_http_date(text)
    return _bound_s((moment - now).total_seconds()) if moment is not None else None


def read_max_age_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return the seconds for which an answer says it stays fresh, or None where it does not.

    ``max-age`` less ``Age`` wins over ``Expires``; seven days at most. ``no-cache`` and
    ``no-store`` take all of it back.
    """
    directives = [part.strip() for part in headers.get("cache-control", "").lower().split(",")]
    if not _NEVER_FRESH.isdisjoint(directives):
        return None
    for directive in directives:
        name, _, value = directive.partition("=")
        digits = value.strip().strip('"')
        if name == "max-age" and _INTEGER.fullmatch(digits):
            age_s = headers.get("age", "").strip()
            used_s = float(age_s[:12]) if _INTEGER.fullmatch(age_s) else 0.0
            return _bound_s(float(digits[:12]) - used_s)
    expires = _read_http_date(headers.get("expires", ""))
    if expires is None:
        return None
    received = _read_http_date(headers.get("date", "")) or now
    return _bound_s((expires - received).total_seconds())


def _bound_s(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT_S)


def _read_http_date(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _is_feed(start: bytes) -> bool:
    # Of UTF-16, what is ASCII remains.
    text = start.replace(b"\0", b"")
    found = _FEED.search(text) or _JSON_FEED.match(text)
    return found is not None and not _PAGE.search(text, 0, found.end())
