"""Fetch a feed's URL: conditionally, politely, and within limits that no server can widen.

A request is one GET: no cookies but those set on the way by its own redirects, no referrer, nothing
added to the URL. Redirects are followed here, each target vetted like the first. No error
of the HTTP library leaves but as ``FetchError``.
"""

import contextlib
import hashlib
import ssl
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import httpcore2
import httpx2

from server.fetching.addresses import IPNetwork, check_url, mask_url
from server.fetching.answers import (
    START_BYTES,
    FetchedFeed,
    Validators,
    conditions_for,
    mapped_errors,
    raise_for_status,
    read_max_age_s,
    read_retry_after_s,
    read_validator,
    request_headers,
)
from server.fetching.body import Body, read_body, read_start
from server.fetching.network import Deadline, Resolver, VettedBackend, resolve, shared_ssl_context
from shared.clock import Clock
from shared.error_kinds import ErrorKind
from shared.errors import FetchError, InvalidRequestError
from shared.urls import host_of

MAX_REDIRECTS = 5
MAX_CONNECTIONS = 100
MAX_IDLE_CONNECTIONS = 20
IDLE_CONNECTION_S = 15.0
# At a body that only decides how an error is worded.
LONGEST_LOOK_S = 1.0
_PERMANENT = frozenset({301, 308})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be fetched: the URL as configured, and what goes along with its requests."""

    url: str
    origin: httpx2.URL
    validators: Validators
    headers: Mapping[str, str]
    started_s: float


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer whose body has not been read, and the URL that it is of, without secrets."""

    response: httpx2.Response
    final_url: str
    is_conditional: bool
    permanent_url: str | None


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
        self._backend = VettedBackend(
            allow_private=allow_private,
            extra_ports=frozenset(extra_ports),
            extra_networks=tuple(extra_networks),
            resolver=resolver,
            deadline=self._deadline,
        )
        self._pool = _open_pool(self._backend, ssl_context)

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
        try:
            origin = _parse_target(url, ErrorKind.BAD_URL)
            wanted = _Wanted(url, origin, validators or Validators(), headers or {}, started_s)
            return self._follow(wanted)
        except FetchError as exc:
            exc.url = mask_url(url)
            raise

    def close(self) -> None:
        """Close all idle connections. Fetches under way fail."""
        self._pool.close()

    def _follow(self, wanted: _Wanted) -> FetchedFeed:
        target, cookies, is_permanent = wanted.origin, httpx2.Cookies(), True
        for hop in range(MAX_REDIRECTS + 1):
            final_url = _without_secrets(target)
            conditions = conditions_for(wanted.validators, final_url)
            with mapped_errors(host_of(final_url)):
                response = self._send(wanted, target, conditions, cookies)
                with contextlib.closing(response):
                    if response.status_code not in _REDIRECTS:
                        permanent_url = final_url if hop and is_permanent else None
                        answer = _Answer(response, final_url, bool(conditions), permanent_url)
                        return self._read(wanted, answer)
                    _keep_cookies(cookies, response, target)
                    is_permanent = is_permanent and response.status_code in _PERMANENT
                    target = _next_target(target, response)
        reason = f"more than {MAX_REDIRECTS} redirects"
        raise FetchError("", ErrorKind.REDIRECT, reason, host=host_of(_without_secrets(target)))

    def _send(
        self,
        wanted: _Wanted,
        target: httpx2.URL,
        conditions: Mapping[str, str],
        cookies: httpx2.Cookies,
    ) -> httpx2.Response:
        headers = request_headers(
            wanted.origin,
            target,
            user_agent=self._user_agent,
            configured=wanted.headers,
            conditions=conditions,
            cookie=_cookie_for(cookies, target),
        )
        url = httpcore2.URL(
            scheme=target.raw_scheme,
            host=target.raw_host,
            port=target.port,
            target=target.raw_path,
        )
        extensions = {"timeout": {"pool": self._deadline.remaining_s()}}
        answer = self._ask(httpcore2.Request("GET", url, headers=headers, extensions=extensions))
        return httpx2.Response(answer.status, headers=answer.headers, stream=_AnswerStream(answer))

    def _ask(self, request: httpcore2.Request) -> httpcore2.Response:
        opened = self._backend.opened
        try:
            return self._pool.handle_request(request)
        except (httpcore2.NetworkError, httpcore2.RemoteProtocolError):
            if self._backend.opened != opened:
                raise
        # The server closed a kept connection just then, which says nothing (RFC 9112, 9.3.1).
        return self._pool.handle_request(request)

    def _read(self, wanted: _Wanted, answer: _Answer) -> FetchedFeed:
        """Return what an answer holds.

        Raises:
            FetchError: its status, or its body, is no feed's.
        """
        response, headers, now = answer.response, answer.response.headers, self._clock.now()
        retry_after_s = read_retry_after_s(headers.get("retry-after"), now)
        is_304 = response.status_code == 304 and answer.is_conditional
        body = _skip_body(response) if is_304 else self._read_body(response, retry_after_s)
        carried = wanted.validators if is_304 else _read_validators(answer, body.content)
        return FetchedFeed(
            url=wanted.url,
            final_url=answer.final_url,
            http_status=response.status_code,
            not_modified=is_304 or carried.body_hash == wanted.validators.body_hash,
            body=body.content,
            content_type=headers.get("content-type"),
            validators=carried,
            cache_max_age_s=read_max_age_s(headers, now),
            retry_after_s=retry_after_s,
            permanent_url=answer.permanent_url,
            duration_s=self._clock.monotonic_s() - wanted.started_s,
            is_cut=body.is_cut,
            faults=tuple(body.faults),
            refresh=headers.get("refresh"),
            link=headers.get("link"),
        )

    def _read_body(self, response: httpx2.Response, retry_after_s: float | None) -> Body:
        if not 200 <= response.status_code < 300:
            raise_for_status(response, retry_after_s, lambda: self._look_at(response))
        return read_body(response, self._max_bytes)

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
        ssl_context=ssl_context or shared_ssl_context(),
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
        # Their texts quote the URL, and with it secrets that the redirect took along.
        raise FetchError("", ErrorKind.REDIRECT, "redirected to a malformed address") from None
    target = _parse_target(str(joined.copy_with(fragment=None)), ErrorKind.REDIRECT)
    if current.scheme == "https" and target.scheme != "https":
        raise FetchError("", ErrorKind.REDIRECT, "redirected from https to http")
    return target


def _keep_cookies(cookies: httpx2.Cookies, response: httpx2.Response, target: httpx2.URL) -> None:
    if "set-cookie" in response.headers:
        response.request = httpx2.Request("GET", target)
        cookies.extract_cookies(response)


def _cookie_for(cookies: httpx2.Cookies, target: httpx2.URL) -> str | None:
    if not cookies:
        return None
    request = httpx2.Request("GET", target)
    cookies.set_cookie_header(request)
    return request.headers.get("cookie")


def _skip_body(response: httpx2.Response) -> Body:
    # There is none; but only an answer that was read to its end leaves its connection to the next.
    for _ in response.iter_raw():
        pass
    return Body()


def _read_validators(answer: _Answer, body: bytes) -> Validators:
    raw = {name.lower(): value for name, value in reversed(answer.response.headers.raw)}
    return Validators(
        etag=read_validator(raw.get(b"etag")),
        last_modified=read_validator(raw.get(b"last-modified")),
        body_hash=hashlib.sha256(body).hexdigest(),
        final_url=answer.final_url,
    )


def _without_secrets(url: httpx2.URL) -> str:
    has_any = url.userinfo or url.fragment
    return str(url.copy_with(userinfo=b"", fragment=None) if has_any else url)
