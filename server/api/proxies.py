"""What stands before the server: a path that it is served under, and proxies that are trusted."""

import ipaddress
from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from shared.setting_values import ANY_HOST

_FORWARDED_HOST = b"x-forwarded-host"


class RootPath:
    """Takes ``ROOT_PATH`` off the paths of requests, so that all within sees them without it.

    A proxy may leave the root path on or take it off: both work. Paths outside of it are served as
    they are: programs on this machine need not know it.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self._app = app
        self._root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and self._is_under(scope["path"]):
            scope = {**scope, **self._strip(scope)}
        await self._app(scope, receive, send)

    def _is_under(self, path: str) -> bool:
        return path == self._root_path or path.startswith(f"{self._root_path}/")

    def _strip(self, scope: Scope) -> dict[str, Any]:
        stripped = {"path": scope["path"].removeprefix(self._root_path) or "/"}
        raw = scope.get("raw_path")
        if raw is None:
            return stripped
        # Its characters need no quoting: the setting allows no others.
        return {**stripped, "raw_path": raw.removeprefix(self._root_path.encode()) or b"/"}


class TrustedProxies(ProxyHeadersMiddleware):
    """Takes client, scheme and host of a request from the headers of the named proxies.

    ``X-Forwarded-For``, ``-Proto`` and ``-Host`` of everybody else are not read. Of several hosts
    the last counts: the trusted proxy itself wrote it.

    A proxy may pass on an ``X-Forwarded-Host`` that the client made up. So check the ``Host`` of
    requests before this, and once more after it.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[str]) -> None:
        trusted = ANY_HOST if ANY_HOST in proxies else list(proxies)
        super().__init__(app, trusted)  # type: ignore[arg-type]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the request as it was before the proxy."""
        if scope["type"] != "lifespan" and scope.get("client"):
            host, port = scope["client"]
            client = _without_mapping(host)
            scope = {**scope, "client": (client, port)}
            if client in self.trusted_hosts:
                scope["headers"] = _with_forwarded_host(scope["headers"])
        await super().__call__(scope, receive, send)


def _without_mapping(client: str) -> str:
    """Return an IPv4 address as such: a socket for both families shows it as ``::ffff:…``."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    return str(getattr(address, "ipv4_mapped", None) or address)


def _with_forwarded_host(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    named = [value for name, value in headers if name == _FORWARDED_HOST]
    host = named[-1].rpartition(b",")[2].strip() if named else b""
    if not host:
        return list(headers)
    return [(b"host", host), *((name, value) for name, value in headers if name != b"host")]
