"""The HTTP library's errors and answers that are no feed, as FetchError. The one place for both."""

import contextlib
import re
import ssl
from collections.abc import Callable, Iterator
from typing import NoReturn

import httpcore2
import httpx2

from shared.errors import ErrorKind, FetchError

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


@contextlib.contextmanager
def mapped_errors() -> Iterator[None]:
    """Turn the library's exceptions into FetchError, without a URL: the caller knows it."""
    try:
        yield
    except httpcore2.ConnectTimeout as exc:
        raise FetchError("", ErrorKind.CONNECT, "no connection in time", retryable=True) from exc
    except httpcore2.TimeoutException as exc:
        raise FetchError(
            "", ErrorKind.TIMEOUT, "the request took too long", retryable=True
        ) from exc
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as exc:
        _raise_for_connection(exc)
    except (httpcore2.LocalProtocolError, httpcore2.UnsupportedProtocol, httpx2.InvalidURL):
        # Their texts may quote headers, and with them credentials; so they are not in the trace.
        raise FetchError(
            "", ErrorKind.BAD_URL, "the request cannot be sent as configured"
        ) from None


def _raise_for_connection(exc: Exception) -> NoReturn:
    cause = exc.__cause__ or exc.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        raise FetchError("", ErrorKind.TLS, f"certificate refused: {cause.verify_message}") from exc
    if isinstance(cause, ssl.SSLError):
        raise FetchError(
            "", ErrorKind.TLS, f"no secure connection: {cause}", retryable=True
        ) from exc
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


def _is_feed(start: bytes) -> bool:
    # Of UTF-16, what is ASCII remains.
    text = start.replace(b"\0", b"")
    found = _FEED.search(text) or _JSON_FEED.match(text)
    return found is not None and not _PAGE.search(text, 0, found.end())
