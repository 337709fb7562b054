"""What stands before the server: a path that it is served under, and proxies that are trusted."""

from collections.abc import Sequence
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

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
    """Believes what the named proxies say of a request: client, scheme and host.

    ``X-Forwarded-For``, ``-Proto`` and ``-Host`` of everybody else are left unread. Of several
    hosts the last counts: the trusted proxy itself wrote it.
    """

    def __init__(self, app: ASGIApp, proxies: Sequence[str]) -> None:
        super().__init__(app, list(proxies))  # type: ignore[arg-type]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the request as it was before the proxy."""
        client = scope.get("client")
        if scope["type"] != "lifespan" and client and client[0] in self.trusted_hosts:
            scope = {**scope, "headers": _with_forwarded_host(scope["headers"])}
        await super().__call__(scope, receive, send)


def _with_forwarded_host(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    named = [value for name, value in headers if name == _FORWARDED_HOST]
    host = named[-1].rpartition(b",")[2].strip() if named else b""
    if not host:
        return list(headers)
    return [(b"host", host), *((name, value) for name, value in headers if name != b"host")]
