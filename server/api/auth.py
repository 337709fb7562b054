"""The API key: without it, nothing but a sign of life."""

import hmac
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.problems import ProblemResponse

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
_SCHEME = b"bearer "
_REFUSAL = "a valid key is needed: Authorization: Bearer KEY"


class BearerAuth:
    """Refuses (401) every request without the key, whether or not its path exists.

    ``is_open`` names paths that look after themselves, as the dashboard does with its session.
    """

    def __init__(self, app: ASGIApp, key: str, is_open: Callable[[str], bool]) -> None:
        self._app = app
        self._key = key.encode()
        self._is_open = is_open

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_let_in(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            refusal = ProblemResponse(
                401, _REFUSAL, {"WWW-Authenticate": 'Bearer realm="feedmill"'}
            )
            await refusal(scope, receive, send)

    def _is_let_in(self, scope: Scope) -> bool:
        path = scope["path"]
        return path in OPEN_PATHS or self._is_open(path) or is_key(scope, self._key)


def is_key(scope: Scope, key: bytes) -> bool:
    """Tell whether a request carries the key; takes as long for a wrong one as for the right."""
    written = Headers(scope=scope).get("authorization", "").encode("latin-1")
    has_scheme = written[: len(_SCHEME)].lower() == _SCHEME
    given = written[len(_SCHEME) :].strip() if has_scheme else b""
    return hmac.compare_digest(given, key)
