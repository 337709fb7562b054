"""The HTTP library's errors and answers that are no feed, as FetchError. The one place for both."""

import contextlib
import ssl
from collections.abc import Iterator
from typing import NoReturn

import httpcore2
import httpx2

from shared.errors import FetchError


@contextlib.contextmanager
def mapped_errors() -> Iterator[None]:
    """Turn the library's exceptions into FetchError, without a URL: the caller knows it."""
    try:
        yield
    except httpcore2.ConnectTimeout as exc:
        raise FetchError("", "connect", "no connection in time", retryable=True) from exc
    except httpcore2.TimeoutException as exc:
        raise FetchError("", "timeout", "the request took too long", retryable=True) from exc
    except (httpcore2.NetworkError, httpcore2.RemoteProtocolError) as exc:
        _raise_for_connection(exc)
    except (httpcore2.LocalProtocolError, httpcore2.UnsupportedProtocol, httpx2.InvalidURL):
        # Their texts may quote headers, and with them credentials; so they are not in the trace.
        raise FetchError("", "bad_url", "the request cannot be sent as configured") from None


def _raise_for_connection(exc: Exception) -> NoReturn:
    cause = exc.__cause__ or exc.__context__
    if isinstance(cause, ssl.SSLCertVerificationError):
        raise FetchError("", "tls", f"certificate refused: {cause.verify_message}") from exc
    if isinstance(cause, ssl.SSLError):
        raise FetchError("", "tls", f"no secure connection: {cause}", retryable=True) from exc
    raise FetchError("", "connect", f"connection failed: {exc}", retryable=True) from exc


def raise_for_status(response: httpx2.Response, retry_after_s: float | None) -> NoReturn:
    """Raise the FetchError of an answer that carries no feed.

    Retryable are only server errors that do not say when to come back.
    """
    status = response.status_code
    kind = {401: "blocked", 403: "blocked", 410: "gone", 429: "rate_limited"}.get(status)
    if status == 503 and retry_after_s is not None:
        kind = "rate_limited"
    if response.headers.get("cf-mitigated", "").lower() == "challenge":
        kind = "blocked"
    raise FetchError(
        "",
        kind or "http_status",
        f"server answered {status}",
        retryable=kind is None and status >= 500,
        http_status=status,
        retry_after_s=retry_after_s if status in (429, 503) else None,
    )
