"""Who has shown the API key: a signed cookie, and nothing kept on the server."""

import hashlib
import hmac

from itsdangerous import BadSignature, TimestampSigner
from starlette.requests import Request
from starlette.responses import Response

from shared.clock import Clock

COOKIE = "feedmill_session"
MAX_AGE_S = 14 * 86_400
_SALT = "feedmill.dashboard.session"
_CONTENT = b"operator"


class Sessions:
    """Gives and checks sessions. Without an API key nobody needs one.

    The signing key derives from the API key: changing it ends all sessions.
    """

    def __init__(self, api_key: str | None, clock: Clock) -> None:
        self._api_key = api_key
        self._signer = _Signer(api_key, clock) if api_key is not None else None

    @property
    def are_needed(self) -> bool:
        """Whether there is an API key to ask for."""
        return self._signer is not None

    def is_key(self, given: str) -> bool:
        """Tell whether this is the API key; takes as long for a wrong one as for the right."""
        return hmac.compare_digest(given.encode(), (self._api_key or "").encode())

    def lets_in(self, request: Request) -> bool:
        """Tell whether a request may see the dashboard."""
        if self._signer is None:
            return True
        return self._signer.is_valid(request.cookies.get(COOKIE, ""))

    def begin(self, request: Request, response: Response) -> None:
        """Give a session; the browser keeps it for two weeks, and from other sites' pages."""
        if self._signer is None:
            return
        response.set_cookie(
            COOKIE,
            self._signer.sign(_CONTENT).decode(),
            max_age=MAX_AGE_S,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )

    def end(self, request: Request, response: Response) -> None:
        """Take the session away from this browser."""
        response.delete_cookie(
            COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https"
        )


class _Signer(TimestampSigner):
    """Signs with the time of our clock."""

    def __init__(self, api_key: str, clock: Clock) -> None:
        super().__init__(api_key, salt=_SALT, key_derivation="hmac", digest_method=hashlib.sha256)
        self._clock = clock

    def get_timestamp(self) -> int:
        return self._clock.now_ms() // 1000

    def is_valid(self, cookie: str) -> bool:
        try:
            return self.unsign(cookie, max_age=MAX_AGE_S) == _CONTENT
        except BadSignature:
            return False
