"""Whose requests are served: by the host they name, key, origin, and how often they start work."""

import ipaddress
import math
import time
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from limits import parse
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.keys import Key, Tokens, find_key
from server.api.problems import ProblemResponse
from server.api.values import show_text
from shared.logs import get_logger
from shared.queue import RedisConnection

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SCHEME = b"bearer "
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="feedmill"'}
_KEY_NEEDED = "API key required: send Authorization: Bearer KEY"
_WRONG_KEY = "wrong or expired API key: send Authorization: Bearer KEY with the server's API_KEY"
_READ_ONLY = "%s not allowed with a read-only key; use the server's API_KEY"
_FOREIGN = "requests from pages of another site are refused"
_MAX_SHOWN = 100
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

log = get_logger("server.api.guards")


def allowed_hosts(bound_to: str, named: Sequence[str]) -> list[str]:
    """Return the hosts a server answers to: loopback's names, ``HOST`` and ``ALLOWED_HOSTS``.

    A ``HOST`` that stands for every address names none.
    """
    address = _read_address(bound_to)
    if address is not None and address.is_unspecified:
        return [*LOOPBACK_HOSTS, *named]
    own = f"[{bound_to}]" if ":" in bound_to else bound_to
    return [*LOOPBACK_HOSTS, own, *named]


class AllowedHosts:
    """Refuses (400) requests that name another host: the guard against DNS rebinding.

    A page of any site can make its own name point at this machine. To the browser that is still
    the page's own site, so it may read and send everything; only the ``Host`` header shows it.

    An address, not a name, is let in too where it is the one that the connection came in at: no
    page can be at it but ours, and Prometheus asks each server by its address. The two health
    checks are answered whatever they name: load balancers send what they like, and learn
    nothing there.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self._app = app
        self._trusted_host = TrustedHostMiddleware(_do_nothing, hosts, www_redirect=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or await self._is_allowed(scope, receive):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await ProblemResponse(400, _explain(scope))(scope, receive, send)

    async def _is_allowed(self, scope: Scope, receive: Receive) -> bool:
        if scope["path"] in OPEN_PATHS or _is_own_address(scope):
            return True
        refusals: list[Message] = []

        async def note(message: Message) -> None:
            refusals.append(message)

        # Starlette compares. Its own refusal is plain text: only whether it refuses is of use.
        await self._trusted_host(scope, receive, note)
        return not refusals


class BearerAuth:
    """Refuses (401) every request without a key, whether or not its path exists.

    A read-only key is refused (403) for all methods but GET and HEAD. ``is_open`` names paths that
    look after themselves, as the dashboard does with its session. ``tokens`` are taken beside the
    ``keys``: those of the page that shows the API.
    """

    def __init__(
        self, app: ASGIApp, keys: Sequence[Key], tokens: Tokens, is_open: Callable[[str], bool]
    ) -> None:
        self._app = app
        self._keys = keys
        self._tokens = tokens
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refuse(scope)
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await refusal(scope, receive, send)

    def _refuse(self, scope: Scope) -> ProblemResponse | None:
        if scope["type"] == "lifespan" or scope["path"] in OPEN_PATHS:
            return None
        if self._is_open(scope["path"]):
            return None
        given = _read_bearer(scope)
        if not given:
            return ProblemResponse(401, _KEY_NEEDED, _CHALLENGE)
        key = find_key(self._keys, given) or self._tokens.find_key(given)
        if key is None:
            return ProblemResponse(401, _WRONG_KEY, _CHALLENGE)
        method = scope.get("method", "GET")  # a websocket has none
        return None if key.access.allows(method) else ProblemResponse(403, _READ_ONLY % method)


class SameOrigin:
    """Refuses (403) what a page of another site makes a browser send: the API has no cookie to
    check, and may be open on loopback. Programs send neither header, and pass.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _SAFE_METHODS:
            headers = Headers(scope=scope)
            if _is_foreign(headers):
                await ProblemResponse(403, _explain_origin(headers))(scope, receive, send)
                return
        await self._app(scope, receive, send)


class StartLimit:
    """Counts the calls that start work, per client, in a moving window as ``60/minute``.

    All servers count together in Redis, under keys that begin with ``key_prefix``; while it does
    not answer, each counts for itself.
    """

    def __init__(self, limit: str, *, client: RedisConnection, key_prefix: str) -> None:
        self._limit = parse(limit)
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._shared = MovingWindowRateLimiter(_open_storage(client, key_prefix))

    def count(self, client: str) -> int | None:
        """Count one call; returns None, or the seconds to wait when it is one too many."""
        try:
            return self._count_in(self._shared, client)
        except StorageError as exc:
            log.warning("rate_limit_counts_alone", error=str(exc))
            return self._count_in(self._own, client)

    def _count_in(self, limiter: MovingWindowRateLimiter, client: str) -> int | None:
        if limiter.hit(self._limit, client):
            return None
        reset_at = limiter.get_window_stats(self._limit, client).reset_time
        return max(1, math.ceil(reset_at - time.time()))


def _read_bearer(scope: Scope) -> bytes:
    """Return what a request shows as its key; empty for nothing."""
    written = Headers(scope=scope).get("authorization", "").encode("latin-1")
    has_scheme = written[: len(_SCHEME)].lower() == _SCHEME
    return written[len(_SCHEME) :].strip() if has_scheme else b""


async def _do_nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    """Stand for the application where only the guard's decision is wanted."""


def _is_own_address(scope: Scope) -> bool:
    own = _read_address((scope.get("server") or ("",))[0] or "")
    if own is None:
        return False
    host = Headers(scope=scope).get("host", "")
    return _read_address(_without_port(host)) == own


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _read_address(text: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    # A socket for both families shows IPv4 as a part of IPv6.
    return getattr(address, "ipv4_mapped", None) or address


def _explain(scope: Scope) -> str:
    host = Headers(scope=scope).get("host")
    if host is None:
        return "the request has no Host header: send one"
    return (
        f"this server does not answer to the host {show_text(host)[:_MAX_SHOWN]!r}: "
        "use its IP address, or add the host to ALLOWED_HOSTS and restart the server"
    )


def _is_foreign(headers: Headers) -> bool:
    site = headers.get("sec-fetch-site", "none")
    if site != "none":
        # No page can set this header. It is right also where a proxy does not pass the Host on.
        return site != "same-origin"
    origin = headers.get("origin")
    if origin is None:
        return False
    try:
        return urlsplit(origin).netloc != headers.get("host")
    except ValueError:
        return True


def _explain_origin(headers: Headers) -> str:
    origin = headers.get("origin", "null")
    if origin == "null" or headers.get("sec-fetch-site", "none") != "none":
        return _FOREIGN
    page, host = (show_text(text)[:_MAX_SHOWN] for text in (origin, headers.get("host", "")))
    return f"{_FOREIGN}: the page is at {page}, the request is to {host}; a proxy must pass on Host"


class _ClusterStorage(RedisStorage):
    """Counts through the client of a Cluster, which has a pool for each of its nodes."""

    def __init__(self, client: Any, key_prefix: str) -> None:
        self._client = client
        super().__init__("redis://", key_prefix=key_prefix, wrap_exceptions=True)

    def get_connection(self, readonly: bool = False) -> Any:
        return self._client

    @property
    def base_exceptions(self) -> tuple[type[Exception], ...]:
        # What the driver finds wrong with a Cluster is none of its other errors.
        return (self.dependency.RedisError, self.dependency.exceptions.RedisClusterException)


def _open_storage(client: RedisConnection, key_prefix: str) -> Storage:
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        return _ClusterStorage(client, key_prefix)
    # On the client's own pool, so with its timeouts and without the driver's retries.
    return RedisStorage(
        "redis://",
        connection_pool=pool,
        key_prefix=key_prefix,
        wrap_exceptions=True,
    )
