"""Fetch a feed's URL: conditionally, politely, and within limits that no server can widen.

A request is one GET: no cookies but those set on the way by its own redirects, no referrer, nothing
added to the URL. Redirects are followed here, each target vetted like the first. No error
of the HTTP library leaves but as ``FetchError``.
"""

import base64
import contextlib
import hashlib
import ssl
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import httpcore2
import httpx2

from server.fetching.addresses import IPNetwork, check_url, mask_url
from server.fetching.body import Body, read_body, read_start
from server.fetching.errors import START_BYTES, mapped_errors, raise_for_status
from server.fetching.fetched import FetchedFeed, Validators
from server.fetching.headers import (
    read_max_age_s,
    read_retry_after_s,
    read_validator,
    usable_headers,
)
from server.fetching.network import Deadline, Resolver, VettedBackend, resolve
from server.fetching.trust import make_ssl_context
from shared.clock import Clock
from shared.errors import ErrorKind, FetchError, InvalidRequestError
from shared.host_names import host_of

MAX_REDIRECTS = 5
MAX_CONNECTIONS = 100
MAX_IDLE_CONNECTIONS = 20
IDLE_CONNECTION_S = 15.0
# At a body that only decides how an error is worded.
LONGEST_LOOK_S = 1.0
__all__ = ["FetchedFeed", "Fetcher", "Validators"]

ACCEPT = (
    "application/atom+xml, application/rss+xml, application/rdf+xml, application/feed+json, "
    "application/xml;q=0.9, text/xml;q=0.9, application/json;q=0.8, */*;q=0.1"
)
# What the decoders undo in bounded steps.
ACCEPT_ENCODING = "gzip, deflate"
_PERMANENT = frozenset({301, 308})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(slots=True)
class _Visit:
    """One fetch on its way through redirects: what is asked for, where it began and where it is."""

    origin: httpx2.URL
    validators: Validators
    headers: Mapping[str, str]
    cookies: httpx2.Cookies
    target: httpx2.URL


class Fetcher:
    """Fetches URLs; may be used by many threads at once, and keeps connections for a while.

    ``timeout_s`` limits any fetch with all its redirects, ``max_bytes`` the body, both as it comes
    over the wire and decoded. Without ``allow_private`` only public addresses, or such of
    ``extra_networks``, on ports 80, 443 and ``extra_ports`` are connected to.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        timeout_s: float,
        max_bytes: int,
        user_agent: str,
        clock: Clock,
        resolver: Resolver = resolve,
        extra_ports: Collection[int] = (),
        extra_networks: Collection[IPNetwork] = (),
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._user_agent = user_agent
        self._clock = clock
        self._deadline = Deadline()
        backend = VettedBackend(
            allow_private=allow_private,
            extra_ports=frozenset(extra_ports),
            extra_networks=tuple(extra_networks),
            resolver=resolver,
            deadline=self._deadline,
        )
        self._pool = _open_pool(backend, ssl_context)

    def fetch(
        self,
        url: str,
        *,
        validators: Validators | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> FetchedFeed:
        """Fetch ``url`` once, conditionally if ``validators`` are given.

        ``headers`` are the feed's own; beyond the first origin only harmless ones go along.
        ``timeout_s`` can only shorten the fetcher's own limit.

        Raises:
            FetchError: anything but a 200 or 304; ``retryable`` for what may pass by itself.
        """
        started_s = self._clock.monotonic_s()
        self._deadline.start(min(self._timeout_s, timeout_s or self._timeout_s))
        visit: _Visit | None = None
        try:
            with mapped_errors():
                target = _parse_target(url, ErrorKind.BAD_URL)
                visit = _Visit(
                    target, validators or Validators(), headers or {}, httpx2.Cookies(), target
                )
                return self._follow(url, visit, started_s)
        except FetchError as exc:
            exc.url = mask_url(url)
            if visit is not None:
                exc.host = host_of(str(visit.target))
            raise

    def close(self) -> None:
        """Close all idle connections. Fetches under way fail."""
        self._pool.close()

    def _follow(self, url: str, visit: _Visit, started_s: float) -> FetchedFeed:
        is_permanent = True
        for hop in range(MAX_REDIRECTS + 1):
            response = self._send(visit)
            with contextlib.closing(response):
                if response.status_code not in _REDIRECTS:
                    permanent_url = _without_secrets(visit.target) if hop and is_permanent else None
                    return self._read_answer(url, visit, response, permanent_url, started_s)
                visit.cookies.extract_cookies(response)
                is_permanent = is_permanent and response.status_code in _PERMANENT
                visit.target = _next_target(visit.target, response)
        raise FetchError("", ErrorKind.REDIRECT, f"more than {MAX_REDIRECTS} redirects")

    def _send(self, visit: _Visit) -> httpx2.Response:
        target = visit.target
        request = httpx2.Request("GET", target, headers=self._request_headers(visit))
        visit.cookies.set_cookie_header(request)
        remaining_s = self._deadline.remaining_s()
        answer = self._pool.handle_request(
            httpcore2.Request(
                "GET",
                httpcore2.URL(
                    scheme=target.raw_scheme,
                    host=target.raw_host,
                    port=target.port,
                    target=target.raw_path,
                ),
                headers=request.headers.raw,
                extensions={"timeout": {"pool": remaining_s}},
            )
        )
        stream = _AnswerStream(answer)
        return httpx2.Response(
            answer.status, headers=answer.headers, stream=stream, request=request
        )

    def _request_headers(self, visit: _Visit) -> list[tuple[bytes, bytes]]:
        target = visit.target
        same_origin = _is_same_origin(visit.origin, target)
        chosen = {
            "user-agent": self._user_agent,
            "accept": ACCEPT,
            "accept-encoding": ACCEPT_ENCODING,
            **_credentials(visit.origin if same_origin else target),
            **usable_headers(visit.headers, same_origin=same_origin),
            **_conditions(visit.validators, target),
        }
        return [(name.encode("latin-1"), _encode_value(value)) for name, value in chosen.items()]

    def _read_answer(
        self,
        url: str,
        visit: _Visit,
        response: httpx2.Response,
        permanent_url: str | None,
        started_s: float,
    ) -> FetchedFeed:
        now = self._clock.now()
        retry_after_s = read_retry_after_s(response.headers.get("retry-after"), now)
        final_url = _without_secrets(response.request.url)
        is_304 = response.status_code == 304 and _is_conditional(response.request)
        if not is_304 and not 200 <= response.status_code < 300:
            raise_for_status(response, retry_after_s, lambda: self._look_at(response))
        body = Body() if is_304 else read_body(response, self._max_bytes)
        carried = (
            visit.validators if is_304 else _read_validators(response, body.content, final_url)
        )
        return FetchedFeed(
            url=url,
            final_url=final_url,
            http_status=response.status_code,
            not_modified=is_304 or carried.body_hash == visit.validators.body_hash,
            body=body.content,
            content_type=response.headers.get("content-type"),
            validators=carried,
            cache_max_age_s=read_max_age_s(response.headers, now),
            retry_after_s=retry_after_s,
            permanent_url=permanent_url,
            duration_s=self._clock.monotonic_s() - started_s,
            is_cut=body.is_cut,
            faults=tuple(body.faults),
            refresh=response.headers.get("refresh"),
            link=response.headers.get("link"),
        )

    def _look_at(self, response: httpx2.Response) -> bytes:
        """Return how the body of an error begins; it is not waited for long."""
        self._deadline.shorten(LONGEST_LOOK_S)
        return read_start(response, START_BYTES)


class _AnswerStream(httpx2.SyncByteStream):
    """The body of an answer as it comes over the wire."""

    def __init__(self, answer: httpcore2.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


def _open_pool(
    backend: VettedBackend, ssl_context: ssl.SSLContext | None
) -> httpcore2.ConnectionPool:
    # Not a client: that would keep cookies, and take proxies and passwords from the environment.
    return httpcore2.ConnectionPool(
        ssl_context=ssl_context or make_ssl_context(),
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=MAX_IDLE_CONNECTIONS,
        keepalive_expiry=IDLE_CONNECTION_S,
        network_backend=backend,
    )


def _parse_target(url: str, kind: ErrorKind) -> httpx2.URL:
    # Addresses and ports are vetted when connecting, where names are known too.
    try:
        return httpx2.URL(check_url(url, allow_private=True))
    except (InvalidRequestError, httpx2.InvalidURL) as exc:
        raise FetchError("", kind, str(exc)) from exc


def _next_target(current: httpx2.URL, response: httpx2.Response) -> httpx2.URL:
    location = response.headers.get("location", "").strip()
    if not location:
        raise FetchError("", ErrorKind.REDIRECT, f"{response.status_code} without a target")
    try:
        joined = current.copy_with(userinfo=b"", fragment=None).join(location)
    except (httpx2.InvalidURL, ValueError):
        # Their texts quote the address, and with it secrets that the redirect took along.
        raise FetchError("", ErrorKind.REDIRECT, "redirected to a malformed address") from None
    target = _parse_target(str(joined.copy_with(fragment=None)), ErrorKind.REDIRECT)
    if current.scheme == "https" and target.scheme != "https":
        raise FetchError("", ErrorKind.REDIRECT, "redirected from https to http")
    return target


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


def _conditions(validators: Validators, target: httpx2.URL) -> dict[str, str]:
    if validators.final_url not in (None, _without_secrets(target)):
        return {}
    conditions = {
        "if-none-match": validators.etag,
        "if-modified-since": validators.last_modified,
    }
    return {name: value for name, value in conditions.items() if value}


def _is_conditional(request: httpx2.Request) -> bool:
    return "if-none-match" in request.headers or "if-modified-since" in request.headers


def _read_validators(response: httpx2.Response, body: bytes, final_url: str) -> Validators:
    raw = {name.lower(): value for name, value in reversed(response.headers.raw)}
    return Validators(
        etag=read_validator(raw.get(b"etag")),
        last_modified=read_validator(raw.get(b"last-modified")),
        body_hash=hashlib.sha256(body).hexdigest(),
        final_url=final_url,
    )


def _without_secrets(url: httpx2.URL) -> str:
    return str(url.copy_with(userinfo=b"", fragment=None))


def _encode_value(value: str) -> bytes:
    try:
        return value.encode("latin-1")
    except UnicodeEncodeError:
        return value.encode("utf-8")
