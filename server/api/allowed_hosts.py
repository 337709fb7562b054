"""Which hosts a request may name: the guard against DNS rebinding.

A page of any site can make its own name point at this machine. To the browser that is still the
page's own site, so it may read and send everything; only the ``Host`` header shows the name.
"""

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.auth import OPEN_PATHS
from server.api.presentation import show_text
from server.api.problems import ProblemResponse

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_MAX_SHOWN = 100
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


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
    """Refuses (400) requests that name another host; Starlette's own middleware compares them.

    An address, not a name, is let in too where it is the one that the connection came in at: no
    page can be at it but ours, and Prometheus asks each server by its address. The two health
    checks are answered whatever they name: load balancers send what they like, and nothing is
    told there.
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

        # It answers by itself when it refuses, in plain text: only whether it does is of use.
        await self._trusted_host(scope, receive, note)
        return not refusals


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
        return "the request names no host: send a Host header"
    return (
        f"this server does not answer to the host {show_text(host)[:_MAX_SHOWN]!r}: "
        "use its address on this machine, or name the host in ALLOWED_HOSTS and restart it"
    )
