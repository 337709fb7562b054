"""What one HTTP answer means: a feed, nothing new, or a FetchError of a known kind.

The HTTP library's own errors become FetchError here too.
"""

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

from shared.errors import ErrorKind, FetchError

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
